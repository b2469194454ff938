//! A skill as a node serves it: its agent, compiled schemas, policy and limits.

use std::sync::Arc;
use std::time::Duration;

use protocol::Skill;
use protocol::card::{OnMessage, Order};
use protocol::entry::Kind;
use protocol::fault::{Fault, code};
use protocol::message::{Part, value_of};
use protocol::retry::RetryPolicy;
use protocol::schema::{Schema, SchemaError};
use protocol::submission::{Envelope, Queue};
use runtime::config::GuardSection;
use runtime::metric::Metrics;
use runtime::metric::list::SkillMetrics;

use crate::agent::AnyAgent;

/// How a skill is served.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// The skill.
    pub skill: Skill,
    /// Attempts that may run at once on this node.
    pub concurrency: usize,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How long a canceled attempt may take to end by itself.
    pub cancel_grace: Duration,
    /// What becomes of a message that comes for a task while it runs.
    pub on_message: OnMessage,
    /// What keeps its order among the tasks.
    pub order: Order,
    /// How often and how patiently tasks are tried again.
    pub retry: RetryPolicy,
    /// What watches over the agent's calls.
    pub guard: Arc<GuardSection>,
}

/// A skill, ready to be served.
pub struct Served {
    /// How.
    pub terms: Terms,
    /// By whom.
    pub agent: Arc<dyn AnyAgent>,
    /// What it takes.
    pub input: Option<Schema>,
    /// What it gives, where that is not certain anyway.
    pub output: Option<Schema>,
    /// What is counted.
    pub metrics: Arc<SkillMetrics>,
}

impl Served {
    /// Compiles an agent's schemas.
    ///
    /// # Errors
    /// When one of them is no valid JSON Schema.
    pub fn new(
        terms: Terms,
        agent: Arc<dyn AnyAgent>,
        metrics: &Metrics,
    ) -> Result<Self, SchemaError> {
        let metrics = metrics.skill(&terms.skill);
        Ok(Self {
            input: agent.input_schema().map(Schema::compile).transpose()?,
            output: agent.output_schema().map(Schema::compile).transpose()?,
            terms,
            agent,
            metrics,
        })
    }

    /// Counts the end of an attempt, once it is in the log.
    pub fn count(&self, end: Kind) {
        let metrics = &self.metrics;
        match end {
            Kind::Completed => metrics.tasks_completed.inc(),
            Kind::Failed => {
                metrics.dead_letters.inc();
                metrics.tasks_failed.inc()
            }
            Kind::Canceled => metrics.tasks_canceled.inc(),
            Kind::Rejected => metrics.tasks_rejected.inc(),
            Kind::AttemptFailed => metrics.tasks_retried.inc(),
            Kind::Claimed
            | Kind::Status
            | Kind::Artifact
            | Kind::Reserved
            | Kind::Step
            | Kind::Received
            | Kind::Refunded
            | Kind::Delegated
            | Kind::Suspended
            | Kind::Escalated
            | Kind::Resumed
            | Kind::Released => return,
        };
    }

    /// Judges whether a submission can keep the order that the skill promises.
    ///
    /// # Errors
    /// A `lane_missing` fault.
    pub fn check_order(&self, envelope: &Envelope) -> Result<(), Fault> {
        let Some(context) = envelope.context.as_ref().filter(|_| {
            self.terms.order == Order::Context
                && envelope.lane.is_none()
                && envelope.source.queue == Queue::Inbox
        }) else {
            return Ok(());
        };
        let skill = &self.terms.skill;
        Err(Fault::new(
            code::LANE_MISSING,
            format!(
                "skill {skill} keeps the order of a conversation, and the subject names no lane"
            ),
        )
        .at("subject")
        .hint(format!("publish to weft.task.{skill}.{}.{context}", envelope.owner)))
    }

    /// Judges an input.
    ///
    /// # Errors
    /// An `invalid_input` fault with the JSON path.
    pub fn check_input(&self, parts: &[Part]) -> Result<(), Fault> {
        self.input.as_ref().map_or(Ok(()), |schema| schema.check_input(&value_of(parts)))
    }

    /// Judges an output, unless its type already vouches for it.
    ///
    /// # Errors
    /// An `invalid_output` fault with the JSON path.
    pub fn check_output(&self, parts: &[Part]) -> Result<(), Fault> {
        match &self.output {
            Some(schema) if !self.agent.vouches_for_output() => {
                schema.check(&value_of(parts), code::INVALID_OUTPUT)
            }
            Some(_) | None => Ok(()),
        }
    }
}
