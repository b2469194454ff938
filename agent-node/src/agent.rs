//! What an agent is: code that serves a skill.
//!
//! Authors write [`Agent`], typed by serde and JSON Schema. The node works with [`AnyAgent`], which every
//! [`Agent`] is through [`Typed`] and which kinds that only know parts (a subprocess) implement directly.

use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;
use protocol::fault::{Failure, Fault, code};
use protocol::message::{Part, part_of, value_of};
use protocol::time::Timestamp;
use protocol::wait::WaitingFor;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::context::Context;

/// Why a run did not return a result.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    /// It failed; the failure's class decides what follows.
    Failed {
        /// Lost, transient or permanent.
        failure: Failure,
        /// What went wrong.
        fault: Fault,
    },
    /// It waits for something and holds no worker meanwhile. Comes out of [`Context`] calls; pass it on
    /// with `?`. When the thing is there the agent runs again from the start, and calls that are in the
    /// journal return what they returned before.
    Suspended {
        /// For what.
        waiting_for: Box<WaitingFor>,
        /// For how long.
        until: Option<Timestamp>,
    },
    /// Somebody asked for the end of the task.
    Canceled,
    /// The node is stopping: the task goes back to its queue, and that costs no attempt.
    Released,
    /// The task belongs to another worker now: nothing that this attempt does counts any more.
    Fenced,
}

impl Stop {
    /// An error that will not pass.
    #[must_use]
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::Failed { failure: Failure::Permanent, fault: Fault::new(code::AGENT_ERROR, message) }
    }

    /// An error that may pass; the policy decides when to try again.
    #[must_use]
    pub fn transient(message: impl Into<String>) -> Self {
        Self::Failed {
            failure: Failure::Transient { retry_after: None },
            fault: Fault::new(code::AGENT_ERROR, message),
        }
    }

    /// An error that may pass, not before this wait.
    #[must_use]
    pub fn retry_after(message: impl Into<String>, after: Duration) -> Self {
        Self::Failed {
            failure: Failure::Transient { retry_after: Some(after) },
            fault: Fault::new(code::AGENT_ERROR, message),
        }
    }
}

/// What an agent says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    /// The kind of agent, as `weft.toml` calls it.
    pub kind: String,
    /// A name for people.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The agent's own version.
    pub version: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Inputs that work.
    pub examples: Vec<String>,
    /// Media types it reads; JSON and plain text when it says none.
    pub input_modes: Vec<String>,
    /// Media types it writes; JSON and plain text when it says none.
    pub output_modes: Vec<String>,
    /// Whether its results may be direct replies, by [`Context::reply_directly`]: clients that stream are then shown the task
    /// only once it is clear that there is one.
    pub replies: bool,
}

/// Code that serves a skill, typed.
///
/// `Input` is judged by its JSON Schema before the agent sees it: what does not fit is REJECTED with the
/// JSON path of the fault. A plain-text task arrives as a JSON string.
pub trait Agent: Send + Sync + 'static {
    /// What it takes.
    type Input: DeserializeOwned + JsonSchema + Send + 'static;
    /// What it gives.
    type Output: Serialize + JsonSchema + Send + 'static;

    /// What it says about itself.
    fn about(&self) -> About;

    /// Does one task. Dropped at the next await when the attempt is ended by force.
    fn run(
        &self,
        context: &Context,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, Stop>> + Send;
}

/// An agent as the node sees it.
pub trait AnyAgent: Send + Sync + 'static {
    /// What it says about itself.
    fn about(&self) -> About;
    /// JSON Schema of what it takes, judged before [`AnyAgent::run`].
    fn input_schema(&self) -> Option<Value>;
    /// JSON Schema of what it gives.
    fn output_schema(&self) -> Option<Value>;
    /// Whether its output fits the schema by construction, so that checking it would be wasted.
    fn vouches_for_output(&self) -> bool {
        false
    }
    /// Does one task.
    fn run<'a>(
        &'a self,
        context: &'a Context,
        input: Vec<Part>,
    ) -> BoxFuture<'a, Result<Vec<Part>, Stop>>;
    /// The node is stopping and runs no further task: end what the agent keeps running between tasks.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// An [`Agent`] as [`AnyAgent`].
#[derive(Debug)]
pub struct Typed<A>(pub A);

impl<A: Agent> AnyAgent for Typed<A> {
    fn about(&self) -> About {
        self.0.about()
    }

    fn input_schema(&self) -> Option<Value> {
        Some(schemars::schema_for!(A::Input).to_value())
    }

    fn output_schema(&self) -> Option<Value> {
        Some(schemars::schema_for!(A::Output).to_value())
    }

    fn vouches_for_output(&self) -> bool {
        true
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        input: Vec<Part>,
    ) -> BoxFuture<'a, Result<Vec<Part>, Stop>> {
        Box::pin(async move {
            let input = serde_json::from_value(value_of(&input)).map_err(|error| Stop::Failed {
                failure: Failure::Permanent,
                fault: Fault::new(code::INVALID_INPUT, error.to_string()).at("$"),
            })?;
            let output = self.0.run(context, input).await?;
            let value = serde_json::to_value(output).map_err(|error| Stop::Failed {
                failure: Failure::Permanent,
                fault: Fault::new(code::INVALID_OUTPUT, error.to_string()),
            })?;
            Ok(vec![part_of(value)])
        })
    }
}
