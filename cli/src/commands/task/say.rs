//! `weft task say`: a follow-up message to a task.

use client::Client;
use protocol::entry::Event;
use protocol::input::Input;
use protocol::log::TaskLog;
use protocol::wait::WaitingFor;
use protocol::{Owner, TaskId, codec, view};
use runtime::config::Span;

use super::wait;
use crate::failure::{Exit, Failure};
use crate::input::InputArgs;
use crate::print::tasks;
use crate::session::{ClientArgs, OwnerArgs, Session};

/// Say something to a task: answers its question, or is kept for the next one
///
/// A JSON object or array is data, other text is text; --content-type says otherwise.
#[derive(clap::Args)]
pub(crate) struct Say {
    /// The task
    id: TaskId,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    owner: OwnerArgs,
    /// Wait until the task has ended or asks again, and print that
    #[arg(long, short)]
    wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "DURATION", default_value = "60s", requires = "wait")]
    timeout: Span,
    #[command(flatten)]
    client: ClientArgs,
}

impl Say {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let body = self.input.read()?;
        let message = codec::decode_body(self.input.content_type.as_deref(), &body)
            .map_err(|fault| Failure::say(Exit::Usage, fault.to_string()))?;
        let Session { client, mut printer, .. } = Session::open(&self.client).await?;
        let owner = &self.owner.owner;
        let sequence = client.say(owner, &self.id, &Input::Message(message), None).await?;
        if !self.wait {
            return Ok(tasks::said(&mut printer, &self.id, sequence)?);
        }
        let turn = turn(&client, owner, &self.id, sequence);
        let log = tokio::time::timeout(self.timeout.0, turn).await.unwrap_or_else(|_| {
            let what = format!("task {} has not answered within {:?}", self.id, self.timeout.0);
            Err(Failure::say(Exit::TimedOut, what)
                .todo(format!("weft task watch {} follows it; what was said is kept", self.id)))
        })?;
        let task = view::task(&self.id, &log, None);
        tasks::one(&mut printer, &task)?;
        if log.is_ended() { wait::require_completed(&task) } else { Ok(()) }
    }
}

/// Follows a task until it has used the message up and then ended or asked again.
async fn turn(
    client: &Client,
    owner: &Owner,
    task: &TaskId,
    sequence: u64,
) -> Result<TaskLog, Failure> {
    let mut watch = client.watch(owner, task).await?;
    let mut log = TaskLog::default();
    while let Some(entry) = watch.next().await? {
        let asks = matches!(
            &entry.event,
            Event::Suspended {
                waiting_for: WaitingFor::Input { .. } | WaitingFor::Approval { .. },
                ..
            }
        );
        let generation = entry.generation;
        log.apply(generation, entry).map_err(|error| Failure::new(Exit::Failure, &error))?;
        if asks && log.used.contains(&sequence) {
            break;
        }
    }
    Ok(log)
}
