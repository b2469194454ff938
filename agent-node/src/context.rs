//! What an agent can do besides computing: say how far it is, hand over artifacts, journal steps, delegate.
//!
//! Calls that write return [`Stop`] when the attempt has to end; agents pass it on with `?`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use protocol::entry::{Event, Origin};
use protocol::fault::{Failure, Fault, code};
use protocol::journal::Journaled;
use protocol::message::{Message, part_of, value_of};
use protocol::submission::TraceContext;
use protocol::task::Artifact;
use protocol::{Owner, Skill, TaskId, Timestamp};
use runtime::telemetry::span_context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::agent::Stop;
use crate::ledger::AppendError;
use crate::scribe::Scribe;

/// One attempt, as its agent sees it.
pub struct Context {
    pub(crate) scribe: Arc<Scribe>,
    origin: Arc<Origin>,
    deadline: Option<Timestamp>,
    cancel: CancellationToken,
    position: AtomicU32,
}

impl Context {
    /// The context of an attempt. `deadline` is the nearer one of the task's and the attempt's.
    #[must_use]
    pub fn new(
        scribe: Arc<Scribe>,
        origin: Arc<Origin>,
        deadline: Option<Timestamp>,
        cancel: CancellationToken,
    ) -> Self {
        Self { scribe, origin, deadline, cancel, position: AtomicU32::new(0) }
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> &TaskId {
        &self.scribe.task
    }

    /// The skill it was submitted to.
    #[must_use]
    pub fn skill(&self) -> &Skill {
        &self.origin.skill
    }

    /// What the task is.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Who it belongs to.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.origin.owner
    }

    /// The conversation: the one that the submitter named, or the task's own.
    #[must_use]
    pub fn context_id(&self) -> &str {
        self.origin.context_id.as_ref().map_or(self.scribe.task.as_str(), |id| id.as_str())
    }

    /// The attempt, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.scribe.attempt
    }

    /// When the attempt will be ended by force, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// The trace to send on with calls and work that this attempt causes.
    #[must_use]
    pub fn trace(&self) -> TraceContext {
        let incoming = TraceContext {
            traceparent: self.origin.traceparent.clone(),
            ..TraceContext::default()
        };
        span_context::outgoing(&tracing::Span::current(), &incoming)
    }

    /// Whether somebody asked for the end of the task.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Returns once somebody asks for the end of the task. An agent that then returns [`Stop::Canceled`] has
    /// ended in good order; one that does not is ended after a grace period.
    pub async fn canceled(&self) {
        self.cancel.cancelled().await;
    }

    /// Says how far the work is, in the log, for everybody who follows the task.
    ///
    /// # Errors
    /// [`Stop::Fenced`] when the task belongs to another worker.
    pub async fn status(&self, text: impl Into<String>) -> Result<(), Stop> {
        self.scribe.append(Event::Status { message: Message::from_agent(text) }).await
    }

    /// Hands over something produced, whole or in pieces; large parts go to the object store.
    ///
    /// # Errors
    /// As [`Context::status`].
    pub async fn artifact(
        &self,
        mut artifact: Artifact,
        append: bool,
        last_chunk: bool,
    ) -> Result<(), Stop> {
        artifact.parts = crate::parts::store_large(&self.scribe, artifact.parts).await?;
        self.scribe.append(Event::Artifact { artifact, append, last_chunk }).await
    }

    /// The key that makes a step's effect idempotent at whoever carries it out: `<task>/<step>`.
    #[must_use]
    pub fn idempotency_key(&self, step: &str) -> String {
        format!("{}/{step}", self.scribe.task)
    }

    /// Runs a step once: when the log already holds its result, that is returned and `effect` is not run.
    ///
    /// # Errors
    /// What `effect` returns; [`Stop::Fenced`]; a permanent failure `nondeterministic` when the log holds
    /// another step at this position.
    pub async fn step<T, F>(&self, name: &str, effect: F) -> Result<T, Stop>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, Stop>>,
    {
        let position = self.next_position();
        let recorded = self.recorded(position, name).await?;
        if let Some(Journaled::Step { output, .. }) = recorded {
            let loaded = crate::parts::load_large(&self.scribe, vec![output]).await?;
            return serde_json::from_value(value_of(&loaded)).map_err(|error| {
                nondeterministic(format!(
                    "the recorded result of step {name:?} does not fit: {error}"
                ))
            });
        }
        let result = effect.await?;
        let value = serde_json::to_value(&result).map_err(|error| {
            Stop::permanent(format!("the result of step {name:?} is not JSON: {error}"))
        })?;
        let stored = crate::parts::store_large(&self.scribe, vec![part_of(value)]).await?;
        for output in stored {
            self.scribe.append(Event::step(name, output)).await?;
        }
        Ok(result)
    }

    /// Takes the next position of the journal. Positions count up in the order of the agent's calls.
    pub(crate) fn next_position(&self) -> u32 {
        self.position.fetch_add(1, Ordering::Relaxed)
    }

    /// What the journal holds at a position, checked against the name that the agent asks for now.
    pub(crate) async fn recorded(
        &self,
        position: u32,
        name: &str,
    ) -> Result<Option<Journaled>, Stop> {
        let found = self
            .scribe
            .with_log(|log| {
                usize::try_from(position).ok().and_then(|at| log.journal.get(at)).cloned()
            })
            .await;
        let Some(recorded) = found.as_ref().map(Journaled::name) else { return Ok(None) };
        if recorded == name {
            Ok(found)
        } else {
            Err(nondeterministic(format!(
                "at position {position} the log holds step {recorded:?} and the agent now asks for {name:?}"
            )))
        }
    }

    /// Fetches an object that a part refers to.
    ///
    /// # Errors
    /// A permanent failure `object_missing` when there is none of this name.
    pub async fn object(&self, name: &str) -> Result<Bytes, Stop> {
        match self.scribe.ledger().get_object(name).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(Stop::Failed {
                failure: Failure::Permanent,
                fault: Fault::new(code::OBJECT_MISSING, format!("there is no object {name:?}")),
            }),
            Err(error) => Err(bus_stop(error)),
        }
    }
}

fn nondeterministic(message: String) -> Stop {
    Stop::Failed {
        failure: Failure::Permanent,
        fault: Fault::new(code::NONDETERMINISTIC, message)
            .hint("the agent's code has changed since the task began; finish it with the old version or redrive it"),
    }
}

/// What a bus error means to a running attempt.
pub(crate) fn bus_stop(error: AppendError) -> Stop {
    match error {
        AppendError::Fenced | AppendError::Gone => Stop::Fenced,
        AppendError::Refused(fault) => {
            Stop::Failed { failure: Failure::Transient { retry_after: None }, fault }
        }
    }
}
