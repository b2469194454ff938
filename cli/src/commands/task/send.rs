//! `weft task send`: submits a task, and waits for its result if told to.

use std::time::Duration;

use client::{Client, Receipt, Submission};
use protocol::id::DedupKey;
use protocol::submission::input_hash;
use protocol::{ContextId, Skill, TaskId, Timestamp};
use runtime::config::Span;

use super::wait;
use crate::failure::{Exit, Failure};
use crate::input::InputArgs;
use crate::large::{self, Body};
use crate::print::{Format, tasks};
use crate::session::{ClientArgs, OwnerArgs, Session};

/// How long --wait waits unless told otherwise.
const WAIT_DEFAULT: &str = "60s";

/// Submit a task: prints its id, or with --wait its result
#[derive(clap::Args)]
pub(crate) struct Send {
    /// The skill, which is also the queue
    skill: Skill,
    #[command(flatten)]
    input: InputArgs,
    /// Wait for the end and print the result
    #[arg(long, short)]
    wait: bool,
    /// How long to wait at most, such as 30s or 5m
    #[arg(long, value_name = "DURATION", default_value = WAIT_DEFAULT, requires = "wait")]
    timeout: Span,
    /// Sending twice with one key does the work once
    #[arg(long, value_name = "KEY", value_parser = DedupKey::parse, conflicts_with = "task_id")]
    dedup_key: Option<DedupKey>,
    /// An id of your choice, such as a UUID
    #[arg(long, value_name = "ID", value_parser = TaskId::parse_chosen)]
    task_id: Option<TaskId>,
    /// The conversation it belongs to (A2A contextId)
    #[arg(long, value_name = "ID")]
    context: Option<ContextId>,
    #[command(flatten)]
    owner: OwnerArgs,
    /// When the result stops being of use: a time such as 2026-01-31T12:00:00Z, or a duration
    #[arg(long, value_name = "WHEN", value_parser = deadline)]
    deadline: Option<String>,
    /// A subject that gets the finished task
    #[arg(long, value_name = "SUBJECT")]
    reply_to: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

fn deadline(text: &str) -> Result<String, String> {
    if Timestamp::parse(text).is_ok() || text.parse::<Span>().is_ok() {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is neither an RFC 3339 time nor a duration such as 30s"))
}

impl Send {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let input = self.input.read()?;
        let mut session = Session::open(&self.client).await?;
        let client = session.client.clone();
        let body = large::body(client.bus(), input, self.input.content_type.clone()).await?;
        let receipt = client.submit(self.submission(body.clone())).await?;
        if let Some(first) = self.conflict(&client, &receipt, &body).await? {
            return Err(conflict(&receipt, &first));
        }
        if !self.wait {
            return Ok(tasks::receipt(&mut session.printer, &receipt, &self.skill)?);
        }
        self.print_result(&mut session, &receipt, self.timeout.0).await
    }

    fn submission(&self, (body, content_type): Body) -> Submission {
        Submission {
            owner: self.owner.owner.clone(),
            content_type,
            task_id: self.task_id.clone(),
            dedup_key: self.dedup_key.clone(),
            context: self.context.clone(),
            deadline: self.deadline.clone(),
            reply_to: self.reply_to.clone(),
            ..Submission::new(self.skill.clone(), body)
        }
    }

    /// The hash of the input that counts, when that is another one than ours.
    async fn conflict(
        &self,
        client: &Client,
        receipt: &Receipt,
        (body, content_type): &Body,
    ) -> Result<Option<String>, Failure> {
        if self.dedup_key.is_none() && self.task_id.is_none() {
            return Ok(None);
        }
        let log = client.log(&receipt.owner, &receipt.task).await?;
        let first = match log.origin {
            Some(origin) => Some(origin.input_hash),
            None => client.submission(&receipt.owner, &receipt.task).await?.map(
                |(envelope, message)| {
                    input_hash(envelope.content_type.as_deref(), &message.payload)
                },
            ),
        };
        let ours = input_hash(content_type.as_deref(), body);
        Ok(first.filter(|first| *first != ours))
    }

    async fn print_result(
        &self,
        session: &mut Session,
        receipt: &Receipt,
        limit: Duration,
    ) -> Result<(), Failure> {
        let Session { client, printer, .. } = session;
        let quiet = |_: &_| Ok(());
        let done =
            wait::to_the_end(client, &receipt.owner, &receipt.task, Some(limit), quiet).await?;
        if printer.format() != Format::Table {
            printer.json(&done)?;
            return wait::require_completed(&done);
        }
        wait::require_completed(&done)?;
        for part in tasks::result_parts(&done) {
            match part.object() {
                None => tasks::part(printer, part)?,
                Some(name) => {
                    let object = client.bus().get_object(name).await?.ok_or_else(|| {
                        let what = format!("the result refers to object {name}, which is gone");
                        Failure::say(Exit::NotFound, what)
                    })?;
                    printer.bytes(&object)?;
                }
            }
        }
        Ok(())
    }
}

fn conflict(receipt: &Receipt, first: &str) -> Failure {
    Failure::say(
        Exit::DedupConflict,
        format!(
            "task {} was submitted before with another input (hash {first}); that one counts, this one does not run",
            receipt.task
        ),
    )
    .todo(format!("weft task get {} shows the first; another key or id starts another task", receipt.task))
}
