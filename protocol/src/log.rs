//! Folds a task's log into where the task stands.
//!
//! The fold is the only reading of a log: attempts, journal, result, A2A task and dead letter all come from
//! [`TaskLog`]. It refuses what cannot have been written by the rules, so a corrupt log is noticed, not
//! guessed at.

use serde::{Deserialize, Serialize};

use crate::entry::{Child, Entry, Event, Kind, Origin, WaitingFor};
use crate::fault::{FailureClass, Fault};
use crate::id::NodeName;
use crate::lifecycle::{self, Phase};
use crate::message::{Message, Part};
use crate::submission::Source;
use crate::task::{Artifact, TaskState};
use crate::time::Timestamp;

/// One run of a task by one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// From 1, never reused within a task.
    pub number: u32,
    /// Who ran it.
    pub node: NodeName,
    /// When its first entry was written.
    pub started_at: Timestamp,
    /// When its last entry was written.
    pub seen_at: Timestamp,
    /// How it went.
    pub outcome: AttemptOutcome,
    /// What went wrong, if something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// How an attempt went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// Under way, as far as the log knows.
    Running,
    /// Another one began before it ended.
    Lost,
    /// It failed.
    Failed,
    /// It was given back; costs nothing.
    Released,
    /// It waits without a worker.
    Suspended,
    /// It ended the task.
    Ended,
}

/// One journaled piece of a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Journaled {
    /// A step and what it returned.
    Step {
        /// Its name.
        name: String,
        /// What it returned.
        output: Part,
    },
    /// Work handed to others.
    Delegated {
        /// Its name.
        name: String,
        /// The work.
        children: Vec<Child>,
    },
}

/// Which message in a queue stands for the task now. A message that is not the driver is a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Nothing is written yet: whichever comes first.
    Any,
    /// The message that the first entry names.
    Source(Source),
    /// The message that the entry of this generation asked for.
    Requeue(u64),
}

/// A log that cannot have been written by the rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// The generation is not the next one.
    #[error("entry at sequence {sequence} has generation {found}, expected {expected}")]
    Generation {
        /// Stream sequence of the entry.
        sequence: u64,
        /// What it says.
        found: u64,
        /// What it should say.
        expected: u64,
    },
    /// The lifecycle has no such arrow.
    #[error("entry at sequence {sequence}: {kind:?} may not follow in phase {phase:?}")]
    Arrow {
        /// Stream sequence of the entry.
        sequence: u64,
        /// Its type.
        kind: Kind,
        /// The phase before it.
        phase: Phase,
    },
    /// The first entry has no origin, or a later one has.
    #[error(
        "entry at sequence {sequence} of generation {generation} has the origin in the wrong place"
    )]
    Origin {
        /// Stream sequence of the entry.
        sequence: u64,
        /// Its generation.
        generation: u64,
    },
}

/// Where a task stands: the fold of its log.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskLog {
    /// Stream sequence of the last entry, 0 when there is none: what the next append must expect.
    pub last_sequence: u64,
    /// Generation of the last entry, 0 when there is none.
    pub generation: u64,
    /// The phase.
    pub phase: Phase,
    /// The A2A state.
    pub state: TaskState,
    /// When the state or its message last changed.
    pub changed_at: Option<Timestamp>,
    /// What the task is.
    pub origin: Option<Box<Origin>>,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// Its journal, oldest first.
    pub journal: Vec<Journaled>,
    /// What it produced, the result included.
    pub artifacts: Vec<Artifact>,
    /// What it said last.
    pub status_message: Option<Message>,
    /// What it waits for.
    pub waiting_for: Option<WaitingFor>,
    /// Not before this.
    pub not_before: Option<Timestamp>,
    /// The message that stands for it.
    pub driver: Driver,
    /// Class and fault of the error that ended it.
    pub failure: Option<(FailureClass, Fault)>,
    delegation_open: bool,
}

impl Default for TaskLog {
    fn default() -> Self {
        Self {
            last_sequence: 0,
            generation: 0,
            phase: Phase::Queued,
            state: TaskState::Submitted,
            changed_at: None,
            origin: None,
            attempts: Vec::new(),
            journal: Vec::new(),
            artifacts: Vec::new(),
            status_message: None,
            waiting_for: None,
            not_before: None,
            driver: Driver::Any,
            failure: None,
            delegation_open: false,
        }
    }
}

impl TaskLog {
    /// Folds the entries of a log, oldest first, each with its stream sequence.
    ///
    /// # Errors
    /// When the log cannot have been written by the rules.
    pub fn fold(entries: impl IntoIterator<Item = (u64, Entry)>) -> Result<Self, FoldError> {
        let mut log = Self::default();
        for (sequence, entry) in entries {
            log.apply(sequence, entry)?;
        }
        Ok(log)
    }

    /// Whether nothing can follow.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// How many attempts failed or were lost. One that is under way by the log counts as lost: ask only when
    /// its delivery came again.
    #[must_use]
    pub fn failures(&self) -> u32 {
        let failed = self.attempts.iter().filter(|attempt| {
            matches!(
                attempt.outcome,
                AttemptOutcome::Failed | AttemptOutcome::Lost | AttemptOutcome::Running
            )
        });
        u32::try_from(failed.count()).unwrap_or(u32::MAX)
    }

    /// The number of the next attempt.
    #[must_use]
    pub fn next_attempt(&self) -> u32 {
        self.attempts.last().map_or(1, |attempt| attempt.number.saturating_add(1))
    }

    /// The children of the delegation at this position of the journal.
    #[must_use]
    pub fn children_at(&self, position: u32) -> &[Child] {
        match usize::try_from(position).ok().and_then(|at| self.journal.get(at)) {
            Some(Journaled::Delegated { children, .. }) => children,
            Some(Journaled::Step { .. }) | None => &[],
        }
    }

    /// Whether the last delegation still lacks entries that its writer announced.
    #[must_use]
    pub fn delegation_is_open(&self) -> bool {
        self.delegation_open
    }

    /// Takes in the next entry.
    ///
    /// # Errors
    /// When the entry may not stand there; the log is unchanged then.
    pub fn apply(&mut self, sequence: u64, entry: Entry) -> Result<(), FoldError> {
        let expected = self.generation + 1;
        if entry.generation != expected {
            return Err(FoldError::Generation { sequence, found: entry.generation, expected });
        }
        let kind = entry.event.kind();
        let Some(next) = lifecycle::next(self.phase, kind) else {
            return Err(FoldError::Arrow { sequence, kind, phase: self.phase });
        };
        if entry.origin.is_some() != (expected == 1) {
            return Err(FoldError::Origin { sequence, generation: expected });
        }
        self.note_attempt(&entry);
        if let Some(origin) = entry.origin {
            self.driver = Driver::Source(origin.source);
            self.origin = Some(origin);
        }
        self.last_sequence = sequence;
        self.generation = expected;
        self.phase = next;
        let begun = !self.attempts.is_empty();
        self.state =
            lifecycle::end_state(kind).unwrap_or_else(|| lifecycle::open_state(next, begun));
        self.changed_at = Some(entry.at);
        self.not_before = None;
        if next != Phase::Waiting {
            self.waiting_for = None;
        }
        self.absorb(entry.event);
        Ok(())
    }

    /// Opens the record of a new attempt, closing one that never ended as lost.
    fn note_attempt(&mut self, entry: &Entry) {
        if entry.attempt == 0 {
            // Given up without being run: whoever ran it last has not been heard of since.
            if matches!(entry.event, Event::Failed { .. }) {
                self.close_attempt(AttemptOutcome::Lost, None);
            }
            return;
        }
        let last = self.attempts.last_mut();
        match last {
            Some(last) if last.number == entry.attempt => last.seen_at = entry.at,
            last => {
                if let Some(last) = last.filter(|last| last.outcome == AttemptOutcome::Running) {
                    last.outcome = AttemptOutcome::Lost;
                }
                self.attempts.push(Attempt {
                    number: entry.attempt,
                    node: entry.by.clone(),
                    started_at: entry.at,
                    seen_at: entry.at,
                    outcome: AttemptOutcome::Running,
                    fault: None,
                });
            }
        }
    }

    fn close_attempt(&mut self, outcome: AttemptOutcome, fault: Option<Fault>) {
        if let Some(last) =
            self.attempts.last_mut().filter(|last| last.outcome == AttemptOutcome::Running)
        {
            last.outcome = outcome;
            last.fault = fault;
        }
    }

    fn absorb(&mut self, event: Event) {
        match event {
            Event::Claimed { .. } => {}
            Event::Status { message } => self.status_message = Some(message),
            Event::Artifact { artifact, append, .. } => self.add_artifact(artifact, append),
            Event::Step { name, output } => self.journal.push(Journaled::Step { name, output }),
            Event::Delegated { name, more, children } => self.add_children(name, more, children),
            Event::Suspended { waiting_for } => {
                self.waiting_for = Some(waiting_for);
                self.close_attempt(AttemptOutcome::Suspended, None);
            }
            Event::Resumed { .. } => self.driver = Driver::Requeue(self.generation),
            Event::AttemptFailed { fault, retry_at, requeued, .. } => {
                self.not_before = Some(retry_at);
                if requeued {
                    self.driver = Driver::Requeue(self.generation);
                }
                self.close_attempt(AttemptOutcome::Failed, Some(fault));
            }
            Event::Released { .. } => self.close_attempt(AttemptOutcome::Released, None),
            Event::Completed { output } => {
                self.add_artifact(
                    Artifact {
                        artifact_id: crate::task::RESULT_ARTIFACT.to_owned(),
                        name: None,
                        description: None,
                        parts: output,
                        metadata: None,
                    },
                    false,
                );
                self.status_message = None;
                self.close_attempt(AttemptOutcome::Ended, None);
            }
            Event::Failed { failure, fault } => self.end_badly(failure, fault),
            Event::Rejected { fault } => self.end_badly(FailureClass::Permanent, fault),
            Event::Canceled { reason } => {
                self.status_message = Some(Message::from_agent(reason));
                self.close_attempt(AttemptOutcome::Ended, None);
            }
        }
    }

    fn end_badly(&mut self, failure: FailureClass, fault: Fault) {
        self.status_message = Some(Message::from_agent(fault.to_string()));
        self.close_attempt(AttemptOutcome::Failed, Some(fault.clone()));
        self.failure = Some((failure, fault));
    }

    fn add_artifact(&mut self, artifact: Artifact, append: bool) {
        let known =
            self.artifacts.iter_mut().find(|known| known.artifact_id == artifact.artifact_id);
        match known {
            Some(known) if append => known.parts.extend(artifact.parts),
            Some(known) => *known = artifact,
            None => self.artifacts.push(artifact),
        }
    }

    fn add_children(&mut self, name: String, more: bool, children: Vec<Child>) {
        match self.journal.last_mut() {
            Some(Journaled::Delegated { children: known, .. }) if self.delegation_open => {
                known.extend(children);
            }
            _ => self.journal.push(Journaled::Delegated { name, children }),
        }
        self.delegation_open = more;
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
