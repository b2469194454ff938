//! The synchronous door on the bus: `nats req weft.call.<skill>` submits durably and answers with the result.
//!
//! The asker's headers are the submission's; the answer is the finished task in A2A JSON. An asker that gives up
//! loses only the answer: the task goes on. Beyond [`CALLS_MAX`] at once, calls are refused before anything is stored.

use std::sync::Arc;
use std::time::Duration;

use client::{Client, Receipt, Submission, SubmitError, WatchError};
use protocol::fault::{Fault, code};
use protocol::header::{self, Headers};
use protocol::id::{ContextId, Owner, Skill, TaskId};
use protocol::limits::CALLS_MAX;
use protocol::subject::Subject;
use runtime::bus::{Bus, KvError, ListenError, Message, Outgoing, StoreError, Topic};
use runtime::metric::Metrics;
use runtime::supervisor::{Kind, Supervisor};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a call is waited for; the asker usually gives up earlier.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// The queue group that shares the calls among coordinators.
const GROUP: &str = "coordinators";

/// Answers calls until `stop`.
pub(crate) async fn serve(
    client: Client,
    supervisor: Supervisor,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(), ListenError> {
    let bus = client.bus().clone();
    let room = Arc::new(Semaphore::new(CALLS_MAX));
    let mut calls =
        bus.listen(vec![Topic { subject: bus.subjects().all_calls(), group: Some(GROUP) }]).await?;
    loop {
        let call = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            call = calls.next() => call,
        };
        // Nobody waits for it.
        let Some(reply) = call.reply.clone() else { continue };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            metrics.coordinator.calls_refused.inc();
            tell(&bus, reply, &busy()).await;
            continue;
        };
        let client = client.clone();
        supervisor.spawn("call", Kind::Work, async move {
            match answer(&client, call).await {
                Ok((task, body)) => client.bus().answer(reply, &task, body.into()).await,
                Err(fault) => tell(client.bus(), reply, &fault).await,
            }
            drop(place);
        });
    }
}

async fn tell(bus: &Bus, reply: String, fault: &Fault) {
    let body = json!({ "error": fault }).to_string();
    bus.tell(reply, &Headers::new(), body.into()).await;
}

fn busy() -> Fault {
    Fault::new(code::BUSY, format!("{CALLS_MAX} calls are under way here; nothing was submitted"))
        .hint("call again later, start a further coordinator, or submit the task and follow it")
}

/// The task that a call became, and the answer.
async fn answer(client: &Client, call: Message) -> Result<(TaskId, Vec<u8>), Fault> {
    let bus = client.bus();
    let Some(Subject::Call(skill)) = bus.subjects().parse(&call.subject) else {
        return Err(Fault::new(code::BAD_HEADER, format!("{:?} names no skill", call.subject)));
    };
    let subject = in_order(client, &skill, &call.headers).await?;
    let receipt = store(client, Outgoing::new(subject, call.headers, call.payload)).await?;
    let unavailable = |error: &dyn std::fmt::Display| {
        Fault::new(code::BUS_UNAVAILABLE, error.to_string()).at(format!("task {}", receipt.task))
    };
    let id = match timeout(WAIT_MAX, end_of(client, &receipt)).await {
        Ok(ended) => ended.map_err(|error| unavailable(&error))?,
        Err(late) => return Err(unavailable(&late)),
    };
    let task = client.task(&receipt.owner, &id).await.map_err(|error| unavailable(&error))?;
    let body = serde_json::to_vec(&task).map_err(|error| unavailable(&error))?;
    Ok((id, body))
}

/// Where the task is queued: in the lane of its conversation when the skill keeps the order of conversations.
async fn in_order(client: &Client, skill: &Skill, headers: &Headers) -> Result<String, Fault> {
    let (subjects, owner) = (client.bus().subjects(), Owner::default());
    let context = headers.get(header::CONTEXT_ID).and_then(|text| ContextId::parse(text).ok());
    let Some(context) = context else { return Ok(subjects.task(skill, &owner)) };
    let bare = Submission { context: Some(context), ..Submission::new(skill.clone(), "") };
    let unavailable =
        |error: KvError| Fault::new(code::BUS_UNAVAILABLE, format!("registry: {error}"));
    let placed = client.in_order(bare).await.map_err(unavailable)?;
    Ok(match placed.lane {
        Some(lane) => subjects.task_in_lane(skill, &owner, &lane),
        None => subjects.task(skill, &owner),
    })
}

/// Follows this one task: a subscription to all results would cost the mesh a message for every task there is.
async fn end_of(client: &Client, receipt: &Receipt) -> Result<TaskId, WatchError> {
    let mut watch = client.watch(&receipt.owner, &receipt.task).await?;
    while watch.next().await?.is_some() {}
    Ok(watch.task().clone())
}

async fn store(client: &Client, message: Outgoing) -> Result<Receipt, Fault> {
    client.submit_raw(message).await.map_err(|error| match &error {
        SubmitError::TooLarge { .. } => Fault::new(code::TOO_LARGE, error.to_string()),
        SubmitError::Store { source: StoreError::TooLarge { .. }, .. } => {
            Fault::new(code::TOO_LARGE, error.to_string())
        }
        SubmitError::Refused { fault } => fault.clone(),
        SubmitError::Store { source, .. } => Fault::new(code::BUS_UNAVAILABLE, source.to_string()),
    })
}
