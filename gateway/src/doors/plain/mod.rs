//! REST for people without A2A: any body to any skill, and tasks as JSON.
//!
//! Everything goes through the same core as A2A does, so that both see the same tasks, limits and permissions. A task is
//! an A2A Task here too. `Weft-Owner` names whose tasks are meant, for callers who may act for several owners.

mod content;
mod decide;
mod look;
mod submit;
mod wait;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use protocol::header;

pub(super) use self::look::FILTERS;
use super::query::Query;
use super::route::Route;
use super::rows::Endpoint;
use super::{Doors, answer, body};
use crate::a2a::error::Error;
use crate::core::call::Call;

/// A request as the files of this door see it.
struct Asked<'a> {
    doors: &'a Doors,
    call: Call,
    route: &'a Route,
    parts: Parts,
    query: Query,
    body: bytes::Bytes,
}

impl Asked<'_> {
    fn header(&self, name: &str) -> Result<Option<&str>, Error> {
        text(&self.parts.headers, name)
    }
}

/// A header's value, when there is one that is not empty.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Error> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    match value.to_str() {
        Ok(text) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
        Err(_) => Err(Error::field(name, "holds characters that a header cannot have")),
    }
}

/// Answers a request to one of the door's addresses.
pub(super) async fn answer(
    doors: &Doors,
    call: Call,
    route: &Route,
    endpoint: Endpoint,
    request: Request,
) -> Response {
    match answered(doors, call, route, endpoint, request).await {
        Ok(response) => response,
        Err(error) => answer::refusal(route, &error),
    }
}

async fn answered(
    doors: &Doors,
    mut call: Call,
    route: &Route,
    endpoint: Endpoint,
    request: Request,
) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    call.tenant = text(&parts.headers, header::OWNER)?.map(str::to_owned);
    let query = Query::read(parts.uri.query().unwrap_or_default());
    let body = body::bytes(body).await?;
    let asked = Asked { doors, call, route, parts, query, body };
    match endpoint {
        Endpoint::PlainSubmit => submit::submit(asked).await,
        Endpoint::PlainSay => submit::say(asked).await,
        Endpoint::PlainSignal => submit::signal(asked).await,
        Endpoint::PlainTask => look::task(asked).await,
        Endpoint::PlainTasks => look::tasks(asked).await,
        Endpoint::PlainEvents => look::events(asked).await,
        Endpoint::PlainTree => look::tree(asked).await,
        Endpoint::PlainPush => look::push(asked).await,
        Endpoint::PlainAgents => look::agents(asked).await,
        Endpoint::PlainCancel => look::cancel(asked).await,
        Endpoint::PlainDecide => decide::decide(asked).await,
        Endpoint::PlainApprovals => decide::approvals(asked).await,
        Endpoint::JsonRpc
        | Endpoint::Grpc
        | Endpoint::SendMessage
        | Endpoint::SendStreamingMessage
        | Endpoint::GetTask
        | Endpoint::ListTasks
        | Endpoint::CancelTask
        | Endpoint::SubscribeToTask
        | Endpoint::CreatePushConfig
        | Endpoint::GetPushConfig
        | Endpoint::ListPushConfigs
        | Endpoint::DeletePushConfig
        | Endpoint::ExtendedCard
        | Endpoint::PublicCard
        | Endpoint::KeySet
        | Endpoint::File
        | Endpoint::BringFile
        | Endpoint::Description => {
            Err(Error::Internal(format!("{endpoint:?} is no address of plain REST")))
        }
    }
}
