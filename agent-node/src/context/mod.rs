//! What an agent can do besides computing: say how far it is, hand over artifacts, journal steps, wait, delegate.
//!
//! Calls that write return [`Stop`] when the attempt has to end; agents pass it on with `?`. Journaled calls are made one
//! after the other: each takes the next position of the task's journal when what it did is in the log, so that a run
//! that is repeated asks for the same things in the same order, and gets the same answers.

mod approve;
mod budget;
mod cached;
mod call;
mod children;
pub mod delegate;
mod interrupt;
mod step;
#[cfg(test)]
mod tests;
mod turn;
mod wait;
mod wave;

pub use approve::{ApprovalOptions, Approved, Decided};
pub use call::{Allowed, Call, OpenCall};
pub use interrupt::Interrupted;
pub use step::{Begun, OpenStep};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use protocol::card::OnMessage;
use protocol::entry::{Event, Origin};
use protocol::fault::{Failure, Fault, code};
use protocol::message::{self, Message, Part};
use protocol::submission::TraceContext;
use protocol::task::Artifact;
use protocol::{Owner, Skill, TaskId, Timestamp};
use runtime::config::GuardSection;
use runtime::telemetry::span_context;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::agent::Stop;
use crate::inputs::Ear;
use crate::ledger::AppendError;
use crate::mesh::{MemoryMesh, Mesh};
use crate::scribe::Scribe;

/// What is around an attempt besides its own log.
pub struct Around {
    /// Who serves what.
    pub mesh: Arc<dyn Mesh>,
    /// What watches over the agent's calls.
    pub guard: Arc<GuardSection>,
    /// What becomes of a message that comes while the task runs.
    pub on_message: OnMessage,
    /// Hears what is said to the task, where that may interrupt it.
    pub ear: Option<Ear>,
}

impl Default for Around {
    fn default() -> Self {
        Self {
            mesh: Arc::new(MemoryMesh::default()),
            guard: Arc::default(),
            on_message: OnMessage::default(),
            ear: None,
        }
    }
}

/// One attempt, as its agent sees it.
pub struct Context {
    pub(crate) scribe: Arc<Scribe>,
    origin: Arc<Origin>,
    deadline: Option<Timestamp>,
    cancel: CancellationToken,
    around: Around,
    message_id: String,
    /// Whether the result is a direct reply.
    replies: AtomicBool,
    /// How far the calls have come; locked while one is under way.
    place: Mutex<turn::Place>,
    /// Whether a call of this attempt has set something aside and not settled it.
    unsettled: AtomicBool,
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
        Self {
            scribe,
            origin,
            deadline,
            cancel,
            around: Around::default(),
            message_id: String::new(),
            replies: AtomicBool::new(false),
            place: Mutex::default(),
            unsettled: AtomicBool::new(false),
        }
    }

    /// The same context within a mesh.
    #[must_use]
    pub fn within(self, around: Around) -> Self {
        Self { around, ..self }
    }

    /// The same context for a message of this id.
    #[must_use]
    pub fn answering(self, message_id: String) -> Self {
        Self { message_id, ..self }
    }

    /// The id that the submitter gave the message which began the task; empty when it gave none. Real clients repeat
    /// ids: what must happen once goes by [`Context::task`].
    #[must_use]
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    /// Says that the result is a direct reply: an A2A client is answered with a message, as if there were no task. The task is
    /// stored and listed as any other. Meant for results that come at once and with nothing said before them; agents
    /// that do this say so in [`About::replies`](crate::agent::About), or clients that stream are shown the task.
    pub fn reply_directly(&self) {
        self.replies.store(true, Ordering::Relaxed);
    }

    /// The result as it goes into the log. Only the agent makes it a direct reply: its parts may be those of an input.
    pub(crate) fn finished(&self, output: Vec<Part>) -> Vec<Part> {
        let replies = self.replies.load(Ordering::Relaxed);
        if replies { message::as_reply(output) } else { message::as_no_reply(output) }
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

    /// Says how far the work is, in the log, for everybody who follows the task. Of words that come too fast only the
    /// newest is written, after a moment.
    ///
    /// # Errors
    /// [`Stop::Fenced`] when the task belongs to another worker.
    pub async fn status(&self, text: impl Into<String>) -> Result<(), Stop> {
        self.scribe.say(Message::from_agent(text)).await
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

    /// Fetches an object that a part refers to.
    ///
    /// # Errors
    /// A permanent failure `object_missing` when there is none of this name.
    pub async fn object(&self, name: &str) -> Result<Bytes, Stop> {
        match self.scribe.ledger().get_object(name).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(permanent(Fault::new(
                code::OBJECT_MISSING,
                format!("there is no object {name:?}"),
            ))),
            Err(error) => Err(bus_stop(error)),
        }
    }
}

/// A failure that will not pass.
fn permanent(fault: Fault) -> Stop {
    Stop::Failed { failure: Failure::Permanent, fault }
}

/// A failure that may pass.
fn transient(fault: Fault) -> Stop {
    Stop::Failed { failure: Failure::Transient { retry_after: None }, fault }
}

/// What a bus error means to a running attempt.
pub(crate) fn bus_stop(error: AppendError) -> Stop {
    match error {
        AppendError::Fenced | AppendError::Gone => Stop::Fenced,
        AppendError::Refused(fault) => transient(fault),
    }
}
