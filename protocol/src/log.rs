//! Folds a task's log into where the task stands.
//!
//! The fold is the only reading of a log: attempts, journal, result, A2A task and dead letter all come from
//! [`TaskLog`]. It refuses what cannot have been written by the rules, so a corrupt log is noticed, not
//! guessed at.

mod attempt;
mod children;
mod wait;

use std::collections::{BTreeMap, BTreeSet};

use crate::budget::{Account, Usage};
use crate::entry::{Entry, Event, Kind, Origin};
use crate::fault::{FailureClass, Fault};
use crate::id::TaskId;
use crate::journal::Journaled;
use crate::lifecycle::{self, Phase};
use crate::message::Message;
use crate::submission::Source;
use crate::task::{Artifact, TaskState};
use crate::time::Timestamp;
use crate::wait::WaitingFor;

pub use attempt::{Attempt, AttemptOutcome};

/// Which message in a queue stands for the task now. A message that is not the driver is a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Nothing is written yet: whichever comes first.
    Any,
    /// The message that the first entry names.
    Source(Source),
    /// The message that the entry of this generation asked for.
    Requeue {
        /// The generation.
        generation: u64,
        /// Where the message is stored, once an attempt that it brought has written; a message of this generation
        /// elsewhere is a copy.
        sequence: Option<u64>,
    },
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
    /// A step names an approval that is not there, was not given, or is used up.
    #[error("entry at sequence {sequence}: there is no unused approval {name:?}")]
    Approval {
        /// Stream sequence of the entry.
        sequence: u64,
        /// The approval's name.
        name: String,
    },
    /// It escalates to a level that its approval has not, or that has begun before.
    #[error("entry at sequence {sequence}: there is no new level after {after_ms} ms")]
    Level {
        /// Stream sequence of the entry.
        sequence: u64,
        /// When the level begins, by the entry.
        after_ms: u64,
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
    /// When it ran: the sequences of the entries that each time began and ended with.
    pub runs: Vec<(u64, u64)>,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// Its journal, oldest first.
    pub journal: Vec<Journaled>,
    /// What it produced, the result included.
    pub artifacts: Vec<Artifact>,
    /// What it said last.
    pub status_message: Option<Message>,
    /// The generation of the entry that said so.
    pub said_at: u64,
    /// What it waits for.
    pub waiting_for: Option<WaitingFor>,
    /// Since when it waits.
    pub waiting_since: Option<Timestamp>,
    /// The generation of the entry that it began to wait with.
    pub asked_at: u64,
    /// Which level of an approval's chain has begun by the log, in ms after the request.
    pub escalated_ms: u64,
    /// Until when it waits, if the wait has a limit.
    pub until: Option<Timestamp>,
    /// The messages in the log stream that it has used up.
    pub used: BTreeSet<u64>,
    /// What it may spend and has spent.
    pub account: Account,
    /// Children started over all delegations.
    pub children: u32,
    /// The last steps' fingerprint, and how many in a row have had it.
    pub equal_calls: (Option<String>, u32),
    /// Not before this.
    pub not_before: Option<Timestamp>,
    /// The message that stands for it.
    pub driver: Driver,
    /// Class and fault of the error that ended it.
    pub failure: Option<(FailureClass, Fault)>,
    delegation_open: bool,
    /// A step's reservation that nothing has settled yet.
    open_reservation: Option<(String, Usage)>,
    /// What is set aside for children that have not been settled.
    slices: BTreeMap<TaskId, Usage>,
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
            runs: Vec::new(),
            attempts: Vec::new(),
            journal: Vec::new(),
            artifacts: Vec::new(),
            status_message: None,
            said_at: 0,
            waiting_for: None,
            waiting_since: None,
            asked_at: 0,
            escalated_ms: 0,
            until: None,
            used: BTreeSet::new(),
            account: Account::default(),
            children: 0,
            equal_calls: (None, 0),
            not_before: None,
            driver: Driver::Any,
            failure: None,
            delegation_open: false,
            open_reservation: None,
            slices: BTreeMap::new(),
        }
    }
}

/// A log that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadLogError {
    /// What is stored is no entry.
    #[error(transparent)]
    Entry(#[from] serde_json::Error),
    /// The entries break the rules.
    #[error(transparent)]
    Fold(#[from] FoldError),
}

impl TaskLog {
    /// Folds the stored messages of a log, oldest first: each one's stream sequence and body.
    ///
    /// # Errors
    /// When one of them is no entry, or the log cannot have been written by the rules.
    pub fn read<B: AsRef<[u8]>>(
        stored: impl IntoIterator<Item = (u64, B)>,
    ) -> Result<Self, ReadLogError> {
        let mut log = Self::default();
        for (sequence, body) in stored {
            log.apply(sequence, serde_json::from_slice(body.as_ref())?)?;
        }
        Ok(log)
    }

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

    /// How often the task was tried: a run that goes on after a wait or a drain is no further try.
    #[must_use]
    pub fn tries(&self) -> usize {
        let before = self.attempts.iter().map(|attempt| Some(attempt.outcome));
        let before = std::iter::once(None).chain(before).take(self.attempts.len());
        before.filter(|before| before.is_none_or(|before| !before.is_pause())).count()
    }

    /// How often a run went on after a wait or a drain.
    #[must_use]
    pub fn resumes(&self) -> usize {
        self.attempts.len().saturating_sub(self.tries())
    }

    /// The number of the next attempt.
    #[must_use]
    pub fn next_attempt(&self) -> u32 {
        self.attempts.last().map_or(1, |attempt| attempt.number.saturating_add(1))
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
        if let Event::Step { approval: Some(name), .. } = &entry.event
            && !self.use_approval(name)
        {
            return Err(FoldError::Approval { sequence, name: name.clone() });
        }
        if let Event::Escalated { after_ms, .. } = entry.event
            && !self.has_level(after_ms)
        {
            return Err(FoldError::Level { sequence, after_ms });
        }
        self.note_attempt(&entry);
        if let (Driver::Requeue { sequence: unknown @ None, .. }, Some(found)) =
            (&mut self.driver, entry.driver)
        {
            *unknown = Some(found);
        }
        if let Some(origin) = entry.origin {
            self.driver = Driver::Source(origin.source);
            self.account = Account::new(origin.budget.unwrap_or_default());
            self.origin = Some(origin);
        }
        self.note_run(sequence, next);
        self.last_sequence = sequence;
        self.generation = expected;
        self.phase = next;
        self.changed_at = Some(entry.at);
        self.not_before = None;
        let waited_for = if next == Phase::Waiting { None } else { self.stop_waiting() };
        self.absorb(entry.event, entry.at, waited_for);
        self.state = self.state_after(kind);
        Ok(())
    }

    fn state_after(&self, kind: Kind) -> TaskState {
        let begun = !self.attempts.is_empty();
        match (lifecycle::end_state(kind), &self.waiting_for) {
            (Some(end), _) => end,
            (None, Some(waiting_for)) => lifecycle::waiting_state(waiting_for, begun),
            (None, None) => lifecycle::open_state(self.phase, begun),
        }
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
        if self.attempts.last().is_none_or(|last| last.number != entry.attempt) {
            self.forfeit();
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
                    agent: entry.agent.clone(),
                });
            }
        }
    }

    /// What was set aside for a step that never said what it used counts as spent.
    fn forfeit(&mut self) {
        if let Some((_, amount)) = self.open_reservation.take() {
            self.account.settle(amount, amount);
        }
    }

    fn close_attempt(&mut self, outcome: AttemptOutcome, fault: Option<Fault>) {
        self.forfeit();
        if let Some(last) =
            self.attempts.last_mut().filter(|last| last.outcome == AttemptOutcome::Running)
        {
            last.outcome = outcome;
            last.fault = fault;
        }
    }

    fn absorb(&mut self, event: Event, at: Timestamp, waited_for: Option<WaitingFor>) {
        match event {
            Event::Claimed { .. } => {}
            Event::Status { message } => self.say(message),
            Event::Artifact { artifact, append, .. } => self.add_artifact(artifact, append),
            Event::Reserved { name, usage } => {
                self.forfeit();
                let taken = self.account.reserve(usage);
                self.open_reservation = Some((name, taken));
            }
            Event::Step { name, output, usage, fingerprint, .. } => {
                let reserved =
                    self.open_reservation.take().map_or_else(Usage::default, |(_, taken)| taken);
                self.account.settle(reserved, usage.unwrap_or_default());
                let count = if fingerprint.is_some() && fingerprint == self.equal_calls.0 {
                    self.equal_calls.1.saturating_add(1)
                } else {
                    1
                };
                self.equal_calls = (fingerprint, count);
                self.journal.push(Journaled::Step { name, output });
            }
            Event::Received { waiting_for, answer } => self.journal_answer(waiting_for, answer),
            Event::Refunded { children } => self.refund(&children),
            Event::Delegated { name, more, children } => self.add_children(name, more, children),
            Event::Suspended { waiting_for, until } => {
                self.begin_waiting(waiting_for, at, until);
                self.close_attempt(AttemptOutcome::Suspended, None);
            }
            Event::Escalated { after_ms, .. } => self.escalated_ms = after_ms,
            Event::Resumed { answer, .. } => {
                self.ask_for_another(true);
                match (waited_for, answer) {
                    (Some(WaitingFor::Children { position, .. }), None) => {
                        self.join(position, None)
                    }
                    (Some(waiting_for), Some(answer)) => self.journal_answer(waiting_for, answer),
                    (_, None) | (None, Some(_)) => {}
                }
            }
            Event::AttemptFailed { fault, retry_at, requeued, .. } => {
                self.not_before = Some(retry_at);
                self.ask_for_another(requeued);
                self.close_attempt(AttemptOutcome::Failed, Some(fault));
            }
            Event::Released { requeued, .. } => {
                self.ask_for_another(requeued);
                self.close_attempt(AttemptOutcome::Released, None);
            }
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
                self.say(Message::from_agent(reason));
                self.close_attempt(AttemptOutcome::Ended, None);
            }
        }
    }

    fn say(&mut self, message: Message) {
        self.status_message = Some(message);
        self.said_at = self.generation;
    }

    /// The driver after an entry that may have asked for a message of its own.
    fn ask_for_another(&mut self, requeued: bool) {
        if requeued {
            self.driver = Driver::Requeue { generation: self.generation, sequence: None };
        }
    }

    fn end_badly(&mut self, failure: FailureClass, fault: Fault) {
        self.say(Message::from_agent(fault.to_string()));
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
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
