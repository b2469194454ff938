//! Hands work to others and waits for it without holding a worker.
//!
//! The first time, the children are written into the log, put into their queues, and the attempt ends as
//! suspended. Once all of them have ended, the agent runs again from the start, finds the delegation in its
//! journal, and gets the results. Child ids are derived from parent, position and index, so dispatching twice
//! starts nothing twice.

use protocol::consequence;
use protocol::entry::{Child, Entry, Event};
use protocol::fault::{Failure, Fault, code};
use protocol::header;
use protocol::journal::Journaled;
use protocol::limits::CHILDREN_PER_ENTRY_MAX;
use protocol::message::{Part, part_of, value_of};
use protocol::wait::WaitingFor;
use protocol::{Skill, TaskId};
use runtime::bus::{Outgoing, StoredMessage};
use serde_json::Value;

use crate::agent::Stop;
use crate::context::{Context, bus_stop};
use crate::ledger::AppendError;

/// A piece of work for somebody else.
#[derive(Debug, Clone, PartialEq)]
pub struct Delegation {
    /// What is to be done.
    pub skill: Skill,
    /// Its input.
    pub input: Value,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildEnd {
    /// The child.
    pub task: TaskId,
    /// What it returned, or why it did not complete.
    pub result: Result<Value, Fault>,
}

/// Entries of one delegation stay below this, in bytes, with room for what is around the children.
const ENTRY_BYTES: usize = 256 * 1024;

impl Context {
    /// Hands work to the mesh and returns how each piece ended, in the order given. The task waits without a
    /// worker in between: the call then ends the attempt with [`Stop::Suspended`], to be passed on with `?`.
    ///
    /// # Errors
    /// [`Stop::Suspended`], [`Stop::Fenced`], or a failure `nondeterministic` as for [`Context::step`].
    pub async fn delegate(&self, name: &str, work: Vec<Delegation>) -> Result<Vec<ChildEnd>, Stop> {
        if work.is_empty() {
            return Ok(Vec::new());
        }
        let position = self.next_position();
        let children = match self.recorded(position, name).await? {
            Some(Journaled::Delegated { children, .. })
                if !self.scribe.with_log(|log| log.delegation_is_open()).await =>
            {
                children
            }
            Some(other @ (Journaled::Step { .. } | Journaled::Answered { .. })) => {
                return Err(Stop::permanent(format!(
                    "{name:?} was a {} and is a delegation now",
                    other.word()
                )));
            }
            found => {
                let from = match found {
                    Some(Journaled::Delegated { children, .. }) => children,
                    Some(Journaled::Step { .. } | Journaled::Answered { .. }) | None => Vec::new(),
                };
                self.write_children(name, position, from, work).await?
            }
        };
        let ends = self.child_ends(&children).await?;
        let ended = ends.iter().flatten().count();
        if ended == children.len() {
            return Ok(ends.into_iter().flatten().collect());
        }
        self.dispatch(&children, &ends).await?;
        Err(Stop::Suspended {
            waiting_for: WaitingFor::Children { position, enough: None },
            until: None,
        })
    }

    /// Writes the children that the log does not hold yet, in as many entries as it takes.
    async fn write_children(
        &self,
        name: &str,
        position: u32,
        mut children: Vec<Child>,
        work: Vec<Delegation>,
    ) -> Result<Vec<Child>, Stop> {
        let written = children.len();
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut rest = (0_u32..).zip(work).skip(written).peekable();
        while let Some((index, Delegation { skill, input })) = rest.next() {
            let stored = crate::parts::store_large(&self.scribe, vec![part_of(input)]).await?;
            for input in stored {
                bytes += serde_json::to_vec(&input).map_or(0, |text| text.len()) + 128;
                let task = TaskId::of_child(self.owner(), self.task(), position, index);
                batch.push(Child {
                    task,
                    skill: skill.clone(),
                    input,
                    budget: None,
                    reason: None,
                    avoid: None,
                });
            }
            let full = batch.len() >= CHILDREN_PER_ENTRY_MAX || bytes >= ENTRY_BYTES;
            if full || rest.peek().is_none() {
                let event = Event::Delegated {
                    name: name.to_owned(),
                    more: rest.peek().is_some(),
                    children: batch.clone(),
                };
                self.scribe.append(event).await?;
                children.append(&mut batch);
                bytes = 0;
            }
        }
        Ok(children)
    }

    /// Puts every child that has no log yet into its queue.
    async fn dispatch(&self, children: &[Child], ends: &[Option<ChildEnd>]) -> Result<(), Stop> {
        let begun = self.last_entries(children).await?;
        let waiting = children.iter().zip(ends).filter(|(child, end)| {
            let log = self.scribe.subjects().log(self.owner(), &child.task);
            end.is_none() && !begun.iter().any(|message| message.subject == log)
        });
        let trace = self.trace();
        let sends = waiting.map(|(child, _)| {
            let mut publication =
                consequence::dispatch(self.scribe.subjects(), self.origin(), self.task(), child);
            if let Some(traceparent) = &trace.traceparent {
                publication.headers.push(header::TRACEPARENT, traceparent.as_str());
            }
            self.scribe.ledger().append(vec![Outgoing::new(
                publication.subject,
                publication.headers,
                publication.payload,
            )])
        });
        let sent: Result<Vec<u64>, AppendError> =
            futures_util::future::join_all(sends).await.into_iter().collect();
        sent.map(drop).map_err(bus_stop)
    }

    async fn last_entries(&self, children: &[Child]) -> Result<Vec<StoredMessage>, Stop> {
        let subjects = children
            .iter()
            .map(|child| self.scribe.subjects().log(self.owner(), &child.task))
            .collect::<Vec<_>>();
        self.scribe.ledger().last_of(&subjects).await.map_err(bus_stop)
    }

    /// How each child ended, `None` for those that have not.
    async fn child_ends(&self, children: &[Child]) -> Result<Vec<Option<ChildEnd>>, Stop> {
        let last = self.last_entries(children).await?;
        let by_subject: std::collections::HashMap<&str, &StoredMessage> =
            last.iter().map(|message| (message.subject.as_str(), message)).collect();
        let mut ends = Vec::with_capacity(children.len());
        for child in children {
            let subject = self.scribe.subjects().log(self.owner(), &child.task);
            let end = match by_subject.get(subject.as_str()) {
                None => None,
                Some(message) => match end_of(&message.payload)? {
                    None => None,
                    Some(Ok(output)) => {
                        let output = crate::parts::load_large(&self.scribe, output).await?;
                        Some(Ok(value_of(&output)))
                    }
                    Some(Err(fault)) => Some(Err(fault)),
                },
            };
            ends.push(end.map(|result| ChildEnd { task: child.task.clone(), result }));
        }
        Ok(ends)
    }
}

/// What a log's last entry says about the end.
fn end_of(payload: &[u8]) -> Result<Option<Result<Vec<Part>, Fault>>, Stop> {
    let entry: Entry = serde_json::from_slice(payload).map_err(|error| Stop::Failed {
        failure: Failure::Permanent,
        fault: Fault::new(code::MALFORMED_BODY, format!("a child's log is unreadable: {error}")),
    })?;
    Ok(match entry.event {
        Event::Completed { output } => Some(Ok(output)),
        Event::Failed { fault, .. } | Event::Rejected { fault } => Some(Err(fault)),
        Event::Canceled { reason } => Some(Err(Fault::new(code::CHILD_FAILED, reason))),
        Event::Claimed { .. }
        | Event::Status { .. }
        | Event::Artifact { .. }
        | Event::Reserved { .. }
        | Event::Step { .. }
        | Event::Received { .. }
        | Event::Refunded { .. }
        | Event::Delegated { .. }
        | Event::Suspended { .. }
        | Event::Resumed { .. }
        | Event::AttemptFailed { .. }
        | Event::Released { .. } => None,
    })
}
