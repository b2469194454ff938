//! Answers lists of tasks from the read model, for whoever asks on core NATS.
//!
//! Every coordinator that keeps a read model is in one queue group, so a question gets one answer. Without any of them
//! clients read the streams themselves.

use std::sync::Arc;

use projection::Projection;
use protocol::fault::{Fault, code};
use protocol::header::Headers;
use protocol::query::Query;
use runtime::bus::{Bus, ListenError, Topic};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// The queue group that shares the questions among coordinators.
const GROUP: &str = "coordinators";

/// Answers until `stop`.
pub(crate) async fn serve(
    bus: Bus,
    projection: Arc<Projection>,
    stop: CancellationToken,
) -> Result<(), ListenError> {
    let mut questions =
        bus.listen(vec![Topic { subject: bus.subjects().query(), group: Some(GROUP) }]).await?;
    loop {
        let question = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            question = questions.next() => question,
        };
        let Some(reply) = question.reply.clone() else { continue };
        let projection = Arc::clone(&projection);
        let answering =
            tokio::task::spawn_blocking(move || answer(&projection, &question.payload)).await;
        let body = answering.unwrap_or_else(|error| failed(code::BUS_UNAVAILABLE, &error));
        bus.tell(reply, &Headers::new(), body.into()).await;
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
