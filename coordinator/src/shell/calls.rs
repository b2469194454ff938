//! The synchronous door on the bus: `nats req weft.call.<skill>` submits durably and answers with the result.
//!
//! The asker's headers are the submission's; the answer is the finished task in A2A JSON. An asker that gives up
//! loses only the answer: the task goes on.

use std::time::Duration;

use client::{Client, Receipt, SubmitError, WatchError};
use protocol::fault::{Fault, code};
use protocol::header::Headers;
use protocol::id::Owner;
use protocol::subject::Subject;
use runtime::bus::{Message, Outgoing, StoreError};
use runtime::supervisor::{Kind, Supervisor};
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::care::Closed;

/// How long a call is waited for; the asker usually gives up earlier.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// The queue group that shares the calls among coordinators.
const GROUP: &str = "coordinators";

/// Answers calls until `stop`.
pub(crate) async fn serve(
    client: Client,
    supervisor: Supervisor,
    stop: CancellationToken,
) -> Result<(), Closed> {
    let bus = client.bus().clone();
    let mut calls =
        bus.subscribe(bus.subjects().all_calls(), Some(GROUP)).await.map_err(|_| Closed)?;
    loop {
        let call = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            call = calls.next() => call.ok_or(Closed)?,
        };
        let client = client.clone();
        supervisor.spawn("call", Kind::Work, async move {
            if let Some(reply) = call.reply.clone() {
                let body = match answer(&client, call).await {
                    Ok(task) => task,
                    Err(fault) => json!({ "error": fault }),
                };
                let bytes = body.to_string().into();
                client.bus().tell(reply, &Headers::new(), bytes).await;
            }
        });
    }
}

async fn answer(client: &Client, call: Message) -> Result<serde_json::Value, Fault> {
    let bus = client.bus();
    let Some(Subject::Call(skill)) = bus.subjects().parse(&call.subject) else {
        return Err(Fault::new(code::BAD_HEADER, format!("{:?} names no skill", call.subject)));
    };
    let subject = bus.subjects().task(&skill, &Owner::default());
    let receipt = store(client, Outgoing::new(subject, call.headers, call.payload)).await?;
    let unavailable = |error: &dyn std::fmt::Display| {
        Fault::new(code::BUS_UNAVAILABLE, error.to_string()).at(format!("task {}", receipt.task))
    };
    match timeout(WAIT_MAX, end_of(client, &receipt)).await {
        Ok(ended) => ended.map_err(|error| unavailable(&error))?,
        Err(late) => return Err(unavailable(&late)),
    }
    let task =
        client.task(&receipt.owner, &receipt.task).await.map_err(|error| unavailable(&error))?;
    serde_json::to_value(task).map_err(|error| unavailable(&error))
}

/// Follows this one task: a subscription to all results would cost the mesh a message for every task there is.
async fn end_of(client: &Client, receipt: &Receipt) -> Result<(), WatchError> {
    let mut watch = client.watch(&receipt.owner, &receipt.task).await?;
    while watch.next().await?.is_some() {}
    Ok(())
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
