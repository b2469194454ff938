//! Finds tasks that wait for somebody's decision, and decides.
//!
//! A decision names the hash of the action that it was made about. It is stored like anything that is said to a task;
//! the log says whether it counted, and a second one finds that out from there.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::StreamExt as _;
use protocol::approval::{ApprovalRequest, Decision, Ruling, Verdict};
use protocol::entry::{Entry, Event, Kind};
use protocol::input::Input;
use protocol::journal::Journaled;
use protocol::log::TaskLog;
use protocol::message::Message;
use protocol::subject::Subject;
use protocol::wait::{Answer, WaitingFor};
use protocol::{Owner, Skill, TaskId, Timestamp};
use serde::Serialize;
use serde_json::Value;

use crate::say::SayError;
use crate::{Client, TaskError, WatchError};

/// Messages of the log stream that are looked at for waiting tasks, newest first.
const WINDOW: u64 = 200_000;
/// Logs read at once.
const READ_AHEAD: usize = 32;

/// A task that waits for a decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// The task.
    pub task: TaskId,
    /// Who it belongs to.
    pub owner: Owner,
    /// What it does.
    pub skill: Option<Skill>,
    /// The name that the agent gave the approval.
    pub name: String,
    /// What is to be decided.
    pub request: ApprovalRequest,
    /// Since when it waits.
    pub since: Timestamp,
    /// Until when, if the wait has a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who may decide now; nobody named: anybody, or with a chain nobody yet.
    pub deciders: Vec<String>,
    /// Whom of them it is put to now: those of the last level that has come.
    pub addressees: Vec<String>,
    /// When further people may decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalates: Option<Timestamp>,
}

impl Pending {
    /// Whether it is addressed to somebody now: they may decide.
    #[must_use]
    pub fn is_for(&self, name: &str) -> bool {
        self.request.chain.is_empty() || self.deciders.iter().any(|decider| decider == name)
    }
}

/// The tasks that wait for a decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Approvals {
    /// Longest wait first.
    pub pending: Vec<Pending>,
    /// Whether older messages, or more tasks than the limit, were not looked at.
    pub not_all: bool,
}

/// What somebody wants to decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The word.
    pub verdict: Verdict,
    /// Who decides.
    pub by: String,
    /// Why.
    pub comment: Option<String>,
    /// With an edit: the action that is allowed in place of the one asked for.
    pub action: Option<Value>,
    /// The hash that was looked at; the current one when it is left out.
    pub hash: Option<String>,
}

/// A decision that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cast {
    /// Its place in the log stream.
    pub sequence: u64,
    /// The hash that it is about.
    pub hash: String,
    /// The log's generation that asked.
    pub generation: u64,
}

/// What became of a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It counted.
    Counted(Ruling),
    /// The request was settled without it.
    TooLate(Ruling),
    /// The task has ended without it.
    Ended(&'static str),
    /// The task still waits: more have to agree, or nobody has looked yet.
    Open,
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// The task asks for nothing.
    #[error("task {task} asks for no decision now: {state}")]
    NotAsked {
        /// The task.
        task: TaskId,
        /// Its state.
        state: &'static str,
    },
    /// Somebody has decided before.
    #[error("{name:?} of task {task} is already decided: {}", word(.ruling))]
    Decided {
        /// The task.
        task: TaskId,
        /// The approval's name.
        name: String,
        /// What was decided.
        ruling: Box<Ruling>,
    },
    /// It asks about something else than was looked at.
    #[error("task {task} asks about another action now: its hash is {current}, not {looked_at}")]
    Changed {
        /// The task.
        task: TaskId,
        /// The hash of what it asks about.
        current: String,
        /// The hash that was looked at.
        looked_at: String,
    },
    /// They may not decide, or not yet.
    #[error("{by:?} may not decide about task {task} now; {}", who(.deciders))]
    MayNot {
        /// The task.
        task: TaskId,
        /// Who wants to.
        by: String,
        /// Who may.
        deciders: Vec<String>,
    },
    /// What an edit puts in the place of the action that is asked about is no such action.
    #[error("the edit of what task {task} asks carries no action that can be allowed: {reason}")]
    BadAction {
        /// The task.
        task: TaskId,
        /// What is wrong with it.
        reason: String,
    },
    /// It was not said.
    #[error(transparent)]
    Say(#[from] SayError),
}

fn who(deciders: &[String]) -> String {
    if deciders.is_empty() {
        return "nobody may yet".to_owned();
    }
    format!("{} may", deciders.join(", "))
}

/// What was decided, and by whom, in words.
#[must_use]
pub fn word(ruling: &Ruling) -> String {
    let by = ruling.by.join(", ");
    match ruling.verdict {
        Some(Verdict::Approve) => format!("approved by {by}"),
        Some(Verdict::Edit) => format!("another action allowed by {by}"),
        Some(Verdict::Deny) => format!("denied by {by}"),
        None => "nobody decided in time".to_owned(),
    }
}

impl Client {
    /// The tasks that wait for a decision now, of one owner or of all.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn approvals(
        &self,
        owner: Option<&Owner>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Approvals, TaskError> {
        let (suspended, cut) = self.suspended_for_approval(owner).await?;
        let over = suspended.len() > limit;
        // Who has waited longest was suspended first.
        let mut suspended: Vec<_> = suspended.into_iter().collect();
        suspended.sort_by_key(|(_, sequence)| *sequence);
        let reads = suspended.into_iter().take(limit).map(|((owner, task), _)| async move {
            let log = self.log(&owner, &task).await;
            (owner, task, log)
        });
        let mut pending = Vec::new();
        let mut logs = futures_util::stream::iter(reads).buffered(READ_AHEAD);
        while let Some((owner, task, log)) = logs.next().await {
            pending.extend(pending_of(owner, task, &log?, now));
        }
        pending.sort_by(|a, b| (a.since, &a.task).cmp(&(b.since, &b.task)));
        Ok(Approvals { pending, not_all: cut || over })
    }

    /// The tasks whose last entry waits for an approval, with the place at which they began to, and whether older messages were left out.
    async fn suspended_for_approval(
        &self,
        owner: Option<&Owner>,
    ) -> Result<(BTreeMap<(Owner, TaskId), u64>, bool), TaskError> {
        let (bus, mut found) = (self.bus(), BTreeMap::new());
        let (stream, subjects) = (&bus.names().log, bus.subjects());
        let filter = owner.map_or_else(|| subjects.all_logs(), |owner| subjects.logs_of(owner));
        let state = bus.stream_state(stream).await?;
        let from = state.last_seq.saturating_sub(WINDOW) + 1;
        bus.scan(stream, &filter, from, |message| {
            if let Some(Subject::Log(owner, task)) = subjects.parse(&message.subject) {
                let kind = message.entry_kind();
                let asks = kind == Some(Kind::Suspended)
                    && serde_json::from_slice::<Entry>(&message.payload)
                        .is_ok_and(|entry| asks(&entry));
                if asks || kind == Some(Kind::Escalated) {
                    found.entry((owner, task)).or_insert(message.sequence);
                } else {
                    found.remove(&(owner, task));
                }
            }
            ControlFlow::Continue(())
        })
        .await?;
        Ok((found, from > state.first_seq.max(1)))
    }

    /// What a task asks to be decided now; `None` when it asks for nothing.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn pending(
        &self,
        owner: &Owner,
        task: &TaskId,
        now: Timestamp,
    ) -> Result<Option<Pending>, TaskError> {
        let log = self.log(owner, task).await?;
        Ok(pending_of(owner.clone(), task.clone(), &log, now))
    }

    /// Decides about what a task asks now.
    ///
    /// # Errors
    /// See [`DecideError`].
    pub async fn decide(
        &self,
        owner: &Owner,
        task: &TaskId,
        choice: Choice,
        now: Timestamp,
    ) -> Result<Cast, DecideError> {
        self.decide_in(owner, task, choice, now, None).await
    }

    /// The same by a message, which is kept with the decision: it belongs to the task's history.
    ///
    /// # Errors
    /// See [`DecideError`].
    pub async fn decide_in(
        &self,
        owner: &Owner,
        task: &TaskId,
        choice: Choice,
        now: Timestamp,
        message: Option<&Message>,
    ) -> Result<Cast, DecideError> {
        let log = self.log(owner, task).await.map_err(SayError::from)?;
        let Some(asked) = pending_of(owner.clone(), task.clone(), &log, now) else {
            return Err(self.not_asked(owner, task, &log).await?);
        };
        let hash = asked.request.hash.clone();
        if let Some(looked_at) = choice.hash.filter(|looked_at| *looked_at != hash) {
            return Err(DecideError::Changed { task: task.clone(), current: hash, looked_at });
        }
        if !asked.is_for(&choice.by) {
            let (by, deciders) = (choice.by, asked.deciders);
            return Err(DecideError::MayNot { task: task.clone(), by, deciders });
        }
        if choice.verdict == Verdict::Edit {
            let action = choice.action.as_ref().unwrap_or(&Value::Null);
            asked.request.check_edit(action).map_err(|reason| {
                let task = task.clone();
                DecideError::BadAction { task, reason }
            })?;
        }
        let decision = Decision {
            hash: hash.clone(),
            verdict: choice.verdict,
            by: choice.by,
            comment: choice.comment,
            action: choice.action,
        };
        let body = message.map(|message| decision.said_in(message));
        let (headers, bare) = Input::Decision(Box::new(decision)).write();
        let body = body.unwrap_or(bare);
        let sequence = self.store_said(owner, task, headers, body, None, None).await?;
        Ok(Cast { sequence, hash, generation: log.generation })
    }

    /// Why there is nothing to decide.
    async fn not_asked(
        &self,
        owner: &Owner,
        task: &TaskId,
        log: &TaskLog,
    ) -> Result<DecideError, SayError> {
        let known = log.origin.is_some() || self.submission(owner, task).await?.is_some();
        if !known {
            return Err(SayError::Unknown { task: task.clone(), owner: owner.clone() });
        }
        let decided = log.journal.iter().rev().find_map(|journaled| match journaled {
            Journaled::Answered {
                waiting_for, answer: Answer::Approval { ruling, .. }, ..
            } => {
                let name = waiting_for.name().unwrap_or_default().to_owned();
                Some((name, Box::new(ruling.clone())))
            }
            Journaled::Answered { .. } | Journaled::Step { .. } | Journaled::Delegated { .. } => {
                None
            }
        });
        let task = task.clone();
        Ok(match decided {
            Some((name, ruling)) => DecideError::Decided { task, name, ruling },
            None => DecideError::NotAsked { task, state: log.state.word() },
        })
    }

    /// Waits until it is clear what became of a decision, at most for `limit`.
    ///
    /// # Errors
    /// See [`WatchError`].
    pub async fn outcome(
        &self,
        owner: &Owner,
        task: &TaskId,
        cast: &Cast,
        limit: Duration,
    ) -> Result<Outcome, WatchError> {
        let follow = async {
            let mut watch = self.watch(owner, task).await?;
            while let Some(entry) = watch.next().await? {
                if entry.generation <= cast.generation {
                    continue;
                }
                if let Some(state) = protocol::lifecycle::end_state(entry.event.kind()) {
                    return Ok(Outcome::Ended(state.word()));
                }
                let Event::Resumed { answer: Some(answer), .. } = entry.event else { continue };
                if let Answer::Approval { sequences, ruling } = answer {
                    return Ok(match sequences.contains(&cast.sequence) {
                        true => Outcome::Counted(ruling),
                        false => Outcome::TooLate(ruling),
                    });
                }
            }
            Ok(Outcome::Open)
        };
        tokio::time::timeout(limit, follow).await.unwrap_or(Ok(Outcome::Open))
    }
}

fn asks(entry: &Entry) -> bool {
    matches!(&entry.event, Event::Suspended { waiting_for: WaitingFor::Approval { .. }, .. })
}

fn pending_of(owner: Owner, task: TaskId, log: &TaskLog, now: Timestamp) -> Option<Pending> {
    let Some(WaitingFor::Approval { name, request }) = &log.waiting_for else { return None };
    let since = log.waiting_since?;
    // Whoever asks may have looked at the clock before the task began to wait.
    let age_ms = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
    let next = request.next_level(age_ms);
    Some(Pending {
        task,
        owner,
        skill: log.origin.as_ref().map(|origin| origin.skill.clone()),
        name: name.clone(),
        since,
        until: log.until,
        deciders: request.deciders(age_ms),
        addressees: request.addressees(age_ms),
        escalates: next.map(|after_ms| since.after(Duration::from_millis(after_ms))),
        request: (**request).clone(),
    })
}
