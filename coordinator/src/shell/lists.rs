//! Answers lists of tasks from the read model, for whoever asks on core NATS.
//!
//! Every coordinator that keeps a read model is in one queue group, so a question gets one answer. Without any of them
//! clients read the streams themselves.

use std::sync::Arc;
use std::time::Duration;

use projection::Projection;
use protocol::fault::{Fault, code};
use protocol::header::Headers;
use protocol::query::Query;
use runtime::bus::{Bus, ListenError, Topic};
use runtime::supervisor::Supervisor;
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// How long an answer waits for the index to see what was stored before the question.
const FRESH_LIMIT: Duration = Duration::from_secs(1);
/// The queue group that shares the questions among coordinators.
const GROUP: &str = "coordinators";

/// Answers until `stop`.
pub(crate) async fn serve(
    bus: Bus,
    projection: Arc<Projection>,
    jobs: Supervisor,
    stop: CancellationToken,
) -> Result<(), ListenError> {
    let jobs = jobs.many("list");
    let mut questions =
        bus.listen(vec![Topic { subject: bus.subjects().query(), group: Some(GROUP) }]).await?;
    loop {
        let question = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            question = questions.next() => question,
        };
        let Some(reply) = question.reply.clone() else { continue };
        let (bus, projection) = (bus.clone(), Arc::clone(&projection));
        jobs.spawn(async move {
            // Who has just been told that a task is stored finds it in the list.
            if !projection.caught_up(FRESH_LIMIT).await {
                tracing::debug!(reason = "the index is behind", "listed all the same");
            }
            let answering =
                tokio::task::spawn_blocking(move || answer(&projection, &question.payload)).await;
            let body = answering.unwrap_or_else(|error| failed(code::BUS_UNAVAILABLE, &error));
            bus.tell(reply, &Headers::new(), body.into()).await;
        });
    }
}

fn answer(projection: &Projection, question: &[u8]) -> Vec<u8> {
    let query: Query = match serde_json::from_slice(question) {
        Ok(query) => query,
        Err(error) => return failed(code::MALFORMED_BODY, &error),
    };
    match projection.list(&query) {
        Ok(page) => serde_json::to_vec(&page).unwrap_or_default(),
        Err(error) => failed(code::INVALID_INPUT, &error),
    }
}

fn failed(code: &str, error: &dyn std::fmt::Display) -> Vec<u8> {
    json!({ "error": Fault::new(code, error.to_string()) }).to_string().into_bytes()
}
