//! A2A over HTTP+JSON: addresses, queries and bodies become the request of an operation.
//!
//! What the address says counts more than what query or body say.

use std::convert::identity;

use axum::extract::Request;
use axum::response::Response;
use serde_json::{Map, Value};

use super::answer::{A2A_JSON, JSON, bytes_as, refusal};
use super::operation::{Answer, Operation, Params};
use super::query::Query;
use super::route::Route;
use super::rows::Endpoint;
use super::sse::{self, Frames};
use super::{Doors, body, negotiate, parse};
use crate::a2a::error::Error;
use crate::a2a::render;
use crate::core::StreamEvent;
use crate::core::call::Call;

/// The operation of each address, and the names of what stands in its places.
const OPERATIONS: [(Endpoint, Operation, &[&str]); 11] = [
    (Endpoint::SendMessage, Operation::SendMessage, &[]),
    (Endpoint::SendStreamingMessage, Operation::SendStreamingMessage, &[]),
    (Endpoint::GetTask, Operation::GetTask, &["id"]),
    (Endpoint::ListTasks, Operation::ListTasks, &[]),
    (Endpoint::CancelTask, Operation::CancelTask, &["id"]),
    (Endpoint::SubscribeToTask, Operation::SubscribeToTask, &["id"]),
    (Endpoint::CreatePushConfig, Operation::CreatePushConfig, &["taskId"]),
    (Endpoint::GetPushConfig, Operation::GetPushConfig, &["taskId", "id"]),
    (Endpoint::ListPushConfigs, Operation::ListPushConfigs, &["taskId"]),
    (Endpoint::DeletePushConfig, Operation::DeletePushConfig, &["taskId", "id"]),
    (Endpoint::ExtendedCard, Operation::GetExtendedAgentCard, &[]),
];

/// The operation of an address; `None` for those that are not of this binding.
#[must_use]
pub fn operation(endpoint: Endpoint) -> Option<(Operation, &'static [&'static str])> {
    let row = OPERATIONS.iter().find(|(own, _, _)| *own == endpoint);
    row.map(|(_, operation, places)| (*operation, *places))
}

/// Answers a request to one of the binding's addresses.
pub(super) async fn answer(
    doors: &Doors,
    call: Call,
    route: &Route,
    endpoint: Endpoint,
    request: Request,
) -> Response {
    match answered(doors, call, route, endpoint, request).await {
        Ok(response) => response,
        Err(error) => refusal(route, &error),
    }
}

async fn answered(
    doors: &Doors,
    mut call: Call,
    route: &Route,
    endpoint: Endpoint,
    request: Request,
) -> Result<Response, Error> {
    let (operation, places) = operation(endpoint)
        .ok_or_else(|| Error::Internal(format!("{endpoint:?} is no operation of A2A")))?;
    let (parts, body) = request.into_parts();
    // First of all: a body that nobody reads costs the client its connection.
    let text = body::bytes(body).await?;
    let bytes = text.len();
    negotiate::version(&parts.headers, parts.uri.query())?;
    let mut params = if parts.method == axum::http::Method::POST {
        if !text.is_empty() {
            body::check_type(&parts.headers, &[A2A_JSON, JSON])?;
        }
        parse::beside(&doors.core.jobs, bytes, move || members(&text), identity).await?
    } else {
        Query::read(parts.uri.query().unwrap_or_default()).typed(operation.in_query())?
    };
    for (index, place) in places.iter().enumerate() {
        params.remove(&super::query::snake_case(place));
        params.insert((*place).to_owned(), route.value(index).into());
    }
    let after = parts.headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let params = Params { value: Value::Object(params), bytes };
    match operation.perform(&doors.core, &mut call, params, after).await? {
        Answer::Json(result) => Ok(bytes_as(200, A2A_JSON, result)),
        Answer::Events(events) => sse::answer(events, Bare, doors.core.jobs.shutdown_token()).await,
    }
}

/// The members of a body; none when it is empty.
fn members(text: &[u8]) -> Result<Map<String, Value>, Error> {
    if text.is_empty() {
        return Ok(Map::new());
    }
    if let Value::Object(members) = body::json(text)? {
        return Ok(members);
    }
    Err(Error::InvalidRequest("the body has to be a JSON object".to_owned()))
}

/// Each event is a `StreamResponse`, and an error what the body of a refusal would be.
pub(super) struct Bare;

impl Frames for Bare {
    fn event(&self, event: &StreamEvent) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&event.response)
    }

    fn error(&self, error: &Error) -> Value {
        render::status(error)
    }
}
