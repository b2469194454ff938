//! `weft task send`: submits a task, and waits for its result if told to.

use std::time::Duration;

use client::{Client, Receipt, Submission, TaskError};
use protocol::budget::Grant;
use protocol::id::{DedupKey, Lane};
use protocol::submission::input_hash;
use protocol::{ContextId, Skill, TaskId, Timestamp};
use runtime::bus::{ReadError, Subscription};
use runtime::config::Span;

use super::{served, wait};
use crate::failure::{Exit, Failure};
use crate::input::InputArgs;
use crate::large::{self, Body};
use crate::print::{Format, tasks};
use crate::session::{ClientArgs, OwnerArgs, Session};

/// How long --wait waits unless told otherwise.
const WAIT_DEFAULT: Duration = Duration::from_secs(60);

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
    /// With --wait: how long to wait at most, such as 30s or 5m [default: 60s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    /// Sending twice with one key does the work once
    #[arg(long, value_name = "KEY", value_parser = DedupKey::parse, conflicts_with = "task_id")]
    dedup_key: Option<DedupKey>,
    /// An id of your choice, such as a UUID
    #[arg(long, value_name = "ID", value_parser = TaskId::parse_chosen)]
    task_id: Option<TaskId>,
    /// The conversation it belongs to (A2A contextId)
    #[arg(long, value_name = "ID")]
    context: Option<ContextId>,
    /// Run after all earlier tasks of the same skill and owner in this lane
    #[arg(long, value_name = "NAME", value_parser = Lane::parse)]
    lane: Option<Lane>,
    #[command(flatten)]
    owner: OwnerArgs,
    /// What it may spend, such as '{"tokens": 1000, "moneyMicros": 500000, "wallClockMs": 60000}'
    #[arg(long, value_name = "JSON", value_parser = budget)]
    budget: Option<Grant>,
    /// When the result stops being of use: a time such as 2026-01-31T12:00:00Z, or a duration
    #[arg(long, value_name = "WHEN", value_parser = deadline)]
    deadline: Option<String>,
    /// A subject that gets the finished task
    #[arg(long, value_name = "SUBJECT")]
    reply_to: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

fn budget(text: &str) -> Result<Grant, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn deadline(text: &str) -> Result<String, String> {
    if Timestamp::parse_bounded(text).is_ok() || text.parse::<Span>().is_ok() {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is neither an RFC 3339 time nor a duration such as 30s"))
}

impl Send {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        if self.timeout.is_some() && !self.wait {
            return Err(Failure::say(Exit::Usage, "--timeout says how long --wait waits")
                .todo("add --wait, or leave --timeout out; --deadline limits the task itself"));
        }
        let input = self.input.read()?;
        let mut session = Session::open(&self.client).await?;
        let client = session.client.clone();
        let body = large::body(client.bus(), input, self.input.content_type.clone()).await?;
        let events = if self.wait { Some(self.events(&client).await?) } else { None };
        let submission = client.in_order(self.submission(body.clone())).await?;
        let submitting = client.submit(submission);
        let (receipt, served) = tokio::join!(submitting, served::look(&client, &self.skill));
        let receipt = receipt?;
        if let Some(warning) = served.and_then(|served| served.warning(&self.skill)) {
            session.printer.note(&warning);
        }
        if let Some(first) = self.conflict(&client, &receipt, &body).await? {
            return Err(conflict(&receipt, &first));
        }
        match events {
            Some(events) => self.print_result(&mut session, &receipt, events).await,
            None => Ok(tasks::receipt(&mut session.printer, &receipt, &self.skill)?),
        }
    }

    /// From before the submission, so that an end that comes at once is not missed.
    async fn events(&self, client: &Client) -> Result<Subscription, Failure> {
        let subject = client.bus().subjects().events_of(&self.owner.owner);
        let events = client.bus().subscribe(subject, None).await;
        let events = events.map_err(|error| Failure::new(Exit::Failure, &error))?;
        client.bus().flush().await;
        Ok(events)
    }

    fn submission(&self, (body, content_type): Body) -> Submission {
        Submission {
            owner: self.owner.owner.clone(),
            content_type,
            task_id: self.task_id.clone(),
            dedup_key: self.dedup_key.clone(),
            context: self.context.clone(),
            lane: self.lane.clone(),
            budget: self.budget,
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
        let first = match first_hash(client, receipt, &self.skill).await {
            // Who may only submit cannot compare.
            Err(TaskError::Read(ReadError::Denied { .. })) => return Ok(None),
            first => first?,
        };
        let ours = input_hash(content_type.as_deref(), body);
        Ok(first.filter(|first| *first != ours))
    }

    async fn print_result(
        &self,
        session: &mut Session,
        receipt: &Receipt,
        events: Subscription,
    ) -> Result<(), Failure> {
        let Session { client, printer, .. } = session;
        let limit = self.timeout.map_or(WAIT_DEFAULT, |span| span.0);
        let of = (&receipt.owner, &receipt.task);
        let done = wait::to_the_end_by_events(client, of, limit, events).await?;
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

/// The hash of the input that a task was first submitted with.
async fn first_hash(
    client: &Client,
    receipt: &Receipt,
    skill: &Skill,
) -> Result<Option<String>, TaskError> {
    let log = client.log(&receipt.owner, &receipt.task).await?;
    if let Some(origin) = log.origin {
        let elsewhere = (origin.skill != *skill).then(|| format!(", at skill {}", origin.skill));
        return Ok(Some(origin.input_hash + &elsewhere.unwrap_or_default()));
    }
    let first = client.submission(&receipt.owner, &receipt.task).await?;
    Ok(first
        .map(|(envelope, message)| input_hash(envelope.content_type.as_deref(), &message.payload)))
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
