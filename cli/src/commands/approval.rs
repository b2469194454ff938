//! `weft approval`: tasks that wait for somebody's decision, and the decisions.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use client::{Choice, Outcome};
use protocol::approval::{Verdict, action_hash};
use protocol::{Owner, TaskId};
use runtime::clock::Clock;
use serde_json::Value;

use crate::failure::{Exit, Failure};
use crate::print::approvals;
use crate::session::{ClientArgs, OwnerArgs, Session};

/// How long a decision waits for what becomes of it. With a quorum it may stay open.
const OUTCOME_LIMIT: Duration = Duration::from_secs(3);

/// List, approve, deny and edit actions that tasks ask for
#[derive(clap::Args)]
pub(crate) struct Approval {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    List(List),
    Approve(Approve),
    Deny(Deny),
    Edit(Edit),
}

/// List actions that wait for a decision, longest wait first
#[derive(clap::Args)]
struct List {
    /// Only this owner's
    #[arg(long)]
    owner: Option<Owner>,
    /// Only what this person may decide about now, an escalation included
    #[arg(long = "for", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    addressed_to: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    client: ClientArgs,
}

/// Allow what a task asks for, as it asks for it
#[derive(clap::Args)]
struct Approve {
    #[command(flatten)]
    decision: DecisionArgs,
}

/// Forbid what a task asks for
#[derive(clap::Args)]
struct Deny {
    #[command(flatten)]
    decision: DecisionArgs,
}

/// Allow another action in place of what a task asks for
#[derive(clap::Args)]
struct Edit {
    #[command(flatten)]
    decision: DecisionArgs,
    /// The action that is allowed
    #[arg(long, value_name = "JSON")]
    action: String,
}

#[derive(clap::Args)]
struct DecisionArgs {
    /// The task
    task: TaskId,
    #[command(flatten)]
    owner: OwnerArgs,
    /// Who decides
    #[arg(
        long,
        value_name = "NAME",
        env = "WEFT_APPROVER",
        hide_env_values = true,
        default_value = "cli",
        value_parser = NonEmptyStringValueParser::new()
    )]
    by: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// The hash of the action that was looked at; refused if the task asks for another one by now
    #[arg(long)]
    hash: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

impl Approval {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List(list) => list.run().await,
            Action::Approve(approve) => approve.decision.decide(Verdict::Approve, None).await,
            Action::Deny(deny) => deny.decision.decide(Verdict::Deny, None).await,
            Action::Edit(edit) => {
                let action = serde_json::from_str(&edit.action).map_err(|error| {
                    Failure::say(Exit::Usage, format!("the action is no JSON: {error}"))
                        .todo("weft approval list -o json shows the action that is asked for")
                })?;
                edit.decision.decide(Verdict::Edit, Some(action)).await
            }
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let Session { client, mut printer, .. } = Session::open(&self.client).await?;
        let now = Clock::system().now();
        // To whom an action is addressed stands in its log: all are read to find some person's.
        let read = if self.addressed_to.is_some() { usize::MAX } else { self.limit };
        let mut found = client.approvals(self.owner.as_ref(), read, now).await?;
        if let Some(name) = &self.addressed_to {
            found.pending.retain(|one| one.is_for(name));
            found.not_all |= found.pending.len() > self.limit;
            found.pending.truncate(self.limit);
        }
        Ok(approvals::list(&mut printer, &found, now)?)
    }
}

impl DecisionArgs {
    async fn decide(self, verdict: Verdict, action: Option<Value>) -> Result<(), Failure> {
        let Session { client, mut printer, .. } = Session::open(&self.client).await?;
        let owner = &self.owner.owner;
        let allowed = action.as_ref().map(action_hash);
        let (by, comment, hash) = (self.by, self.comment, self.hash);
        let choice = Choice { verdict, by, comment, action, hash };
        let cast = client.decide(owner, &self.task, choice, Clock::system().now()).await?;
        let outcome = client.outcome(owner, &self.task, &cast, OUTCOME_LIMIT).await?;
        let hash = allowed.as_deref().unwrap_or(&cast.hash);
        match &outcome {
            Outcome::Counted(ruling) => {
                Ok(approvals::counted(&mut printer, &self.task, hash, Some(ruling))?)
            }
            Outcome::Open => Ok(approvals::counted(&mut printer, &self.task, hash, None)?),
            Outcome::TooLate(ruling) => {
                let what = format!(
                    "task {} was decided before this came: {}",
                    self.task,
                    client::word(ruling)
                );
                Err(Failure::say(Exit::Failure, what)
                    .todo(format!("weft task watch {} shows the whole story", self.task)))
            }
            Outcome::Ended(state) => {
                let what = format!("task {} ended before this came: {state}", self.task);
                Err(Failure::say(Exit::Failure, what))
            }
        }
    }
}
