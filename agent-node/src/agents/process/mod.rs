//! Agents that are programs: any program, in any language, spoken to in JSON lines over its standard input
//! and output.
//!
//! [`ProcessAgent`] is what the node runs; [`line`] and [`request`] hold what is said. A program does one task at a time, and an agent
//! runs as many programs as it may do tasks at once.

mod child;
mod desk;
pub mod environment;
mod exchange;
mod guard;
mod kind;
pub mod line;
mod log;
mod pool;
pub mod request;
pub mod settings;
mod stderr;
mod stdout;
mod stop;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use protocol::message::Part;
use runtime::supervisor::Supervisor;
use serde_json::Value;

pub use self::kind::KIND;
use self::pool::Pool;
pub use self::settings::{Mode, ProcessSettings, SchemaSource, SettingFault, SettingsError};
use crate::agent::{About, AnyAgent, Stop};
use crate::context::Context;

/// What the node provides to a process agent.
#[derive(Debug, Clone)]
pub struct Provided {
    /// Where relative paths in the settings start.
    pub base: PathBuf,
    /// The node's own environment, of which the program gets a small part.
    pub environment: Vec<(OsString, OsString)>,
    /// Programs at once, at least 1: what the node's slots for this agent are.
    pub concurrency: usize,
    /// Sees to programs that are being stopped after their attempt has ended.
    pub supervisor: Supervisor,
}

/// An agent that is a program.
#[derive(Debug)]
pub struct ProcessAgent {
    pool: Arc<Pool>,
    about: Described,
    input_schema: Option<Value>,
    output_schema: Option<Value>,
}

#[derive(Debug)]
struct Described {
    name: Option<String>,
    description: Option<String>,
    version: Option<String>,
    tags: Vec<String>,
    examples: Vec<String>,
    input_modes: Vec<String>,
    output_modes: Vec<String>,
    replies: bool,
}

impl ProcessAgent {
    /// An agent, called `agent` in logs. Starts nothing: programs are started when there are tasks.
    ///
    /// # Errors
    /// Everything that is wrong with the settings, a missing program or directory included.
    pub fn new(
        agent: &str,
        settings: &ProcessSettings,
        provided: Provided,
    ) -> Result<Self, SettingsError> {
        let checked = settings::check(agent, settings, &provided.base, &provided.environment)?;
        Ok(Self {
            pool: Pool::new(checked.launch, provided.concurrency, provided.supervisor),
            about: Described {
                name: settings.name.clone(),
                description: settings.description.clone(),
                version: settings.version.clone(),
                tags: settings.tags.clone(),
                examples: settings.examples.clone(),
                input_modes: settings.input_modes.clone(),
                output_modes: settings.output_modes.clone(),
                replies: settings.replies,
            },
            input_schema: checked.input_schema,
            output_schema: checked.output_schema,
        })
    }

    /// Whether the program can still be started: it may have been moved away since the node began.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(&self) -> Result<(), SettingFault> {
        self.pool.launch.check()
    }
}

impl AnyAgent for ProcessAgent {
    fn about(&self) -> About {
        let hello = self.pool.hello().unwrap_or_default();
        let own = &self.about;
        let list =
            |own: &[String], said: Vec<String>| if own.is_empty() { said } else { own.to_vec() };
        About {
            kind: "process".to_owned(),
            name: own.name.clone().or(hello.name).unwrap_or_else(|| self.pool.launch.agent.clone()),
            description: own.description.clone().or(hello.description).unwrap_or_default(),
            version: own.version.clone().or(hello.version).unwrap_or_default(),
            tags: list(&own.tags, hello.tags),
            examples: list(&own.examples, hello.examples),
            input_modes: list(&own.input_modes, hello.input_modes),
            output_modes: list(&own.output_modes, hello.output_modes),
            replies: own.replies || hello.replies,
        }
    }

    fn input_schema(&self) -> Option<Value> {
        self.input_schema.clone()
    }

    fn output_schema(&self) -> Option<Value> {
        self.output_schema.clone()
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        input: Vec<Part>,
    ) -> BoxFuture<'a, Result<Vec<Part>, Stop>> {
        Box::pin(async move { exchange::run(&self.pool, context, &input).await })
    }

    /// Stops the idle programs politely. Without it they are killed when the agent is dropped.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.pool.close())
    }
}
