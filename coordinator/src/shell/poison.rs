//! Finds submissions whose headers no client can parse, and rejects them.
//!
//! Such a message cannot even be delivered: the client library drops its connection when it meets one, and the
//! message comes again to the next node. The stream's leader hands messages out as JSON, so a coordinator can read
//! it there. It looks when a node's connection ends, and now and then.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use protocol::entry::Event;
use protocol::fault::{Fault, code};
use protocol::log::TaskLog;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::log::{LogError, Logs};

const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Messages looked at in one go.
const LOOK_MAX: usize = 2_000;

/// Looks again and again until `stop`.
pub(crate) async fn sweep(logs: Logs, client: Client, hint: Arc<Notify>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = hint.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if let Err(error) = look(&logs, &client).await {
            tracing::debug!(reason = %error, "sweep for poisoned headers not finished");
        }
    }
}

/// Looks at the deliveries that are in flight: between what every consumer has settled and what it has given out.
async fn look(logs: &Logs, client: &Client) -> Result<(), LogError> {
    let bus = &logs.bus;
    let inbox = &bus.names().inbox;
    for range in bus.in_flight(inbox).await? {
        let mut looked = 0;
        for sequence in range {
            looked += 1;
            if looked > LOOK_MAX {
                break;
            }
            if let ControlFlow::Break(()) = look_at(logs, client, sequence).await? {
                break;
            }
        }
    }
    Ok(())
}

async fn look_at(logs: &Logs, client: &Client, sequence: u64) -> Result<ControlFlow<()>, LogError> {
    let inbox = &logs.bus.names().inbox;
    let Some((message, readable)) = logs.bus.inspect(inbox, sequence).await? else {
        return Ok(ControlFlow::Continue(()));
    };
    if readable {
        return Ok(ControlFlow::Continue(()));
    }
    let Some(mut envelope) = client.envelope(&message) else {
        return Ok(ControlFlow::Continue(()));
    };
    envelope.task = protocol::TaskId::from_sequence(sequence);
    tracing::warn!(task_id = %envelope.task, reason = "its headers cannot be parsed", "rejected");
    let origin = Box::new(envelope.origin(&message.payload));
    let fault = Fault::new(code::BAD_HEADER, "the headers are not valid UTF-8 or not well-formed")
        .at("headers")
        .hint("publish with a NATS client that writes headers as UTF-8");
    let mut log = TaskLog::default();
    let rejected = logs.append(
        &envelope.owner,
        &envelope.task,
        &mut log,
        Event::Rejected { fault },
        Some(origin),
    );
    match rejected.await {
        Ok(()) | Err(LogError::Moved) => {}
        Err(error) => return Err(error),
    }
    logs.bus.remove(inbox, sequence).await?;
    Ok(ControlFlow::Continue(()))
}
