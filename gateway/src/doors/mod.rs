//! THE LIST of doors: one file each. A door reads its binding's requests, asks the core, and writes the binding's answers.
//!
//! All of them stand behind one entrance, which reads the address once, makes one [`Call`] of each request and hands it
//! to the door that the address belongs to.

pub mod answer;
pub mod body;
mod cards;
pub mod drain;
mod files;
mod grpc;
pub mod jsonrpc;
pub mod negotiate;
pub mod openapi;
pub mod operation;
mod parse;
mod plain;
pub mod query;
pub mod range;
pub mod request_id;
pub mod rest;
pub mod route;
pub mod rows;
pub mod sse;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use protocol::Owner;

pub use self::answer::refusal;
use self::operation::Operation;
use self::request_id::RequestId;
use self::route::{Found, Route};
use self::rows::Endpoint;
use crate::a2a::error::Error;
use crate::auth::Peer;
use crate::auth::trail::Trail;
use crate::cards::base::Base;
use crate::core::Core;
use crate::core::call::{Call, Caller};

/// What the doors share.
#[derive(Clone)]
pub struct Doors {
    /// What is behind them.
    pub core: Arc<Core>,
}

/// THE LIST of doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// A2A over JSON-RPC 2.0.
    JsonRpc,
    /// A2A over HTTP+JSON.
    Rest,
    /// A2A over gRPC.
    Grpc,
    /// Public agent cards.
    Card,
    /// Files of tasks.
    File,
    /// REST for people without A2A.
    Plain,
    /// What the doors say about themselves.
    Description,
}

/// All doors as one service.
pub fn router(doors: Doors) -> Router {
    Router::new().fallback(entrance).with_state(doors)
}

async fn entrance(State(doors): State<Doors>, request: Request) -> Response {
    let route = route::route(request.method(), request.uri().path());
    let request_id = request.extensions().get::<RequestId>().cloned();
    let request_id = request_id.unwrap_or_else(|| request_id::of(request.headers()));
    let named = negotiate::named(request.headers(), request.uri().query());
    let used = negotiate::used(&named);
    let called = call(&doors, &route, &request, &request_id, named);
    let foreseen = match called {
        Ok(call) => foresee(&doors, &call, &route).await.map(|()| call),
        Err(error) => Err(error),
    };
    let mut response = match foreseen {
        Ok(call) => Box::pin(through(&doors, call, &route, request)).await,
        Err(error) => {
            drain::drain(request.into_body()).await;
            refusal(&route, &error)
        }
    };
    let headers = response.headers_mut();
    headers.insert(request_id::HEADER, request_id.value);
    if let (Some(used), Door::JsonRpc | Door::Rest | Door::Grpc) = (used, route.door) {
        headers.insert("a2a-extensions", used);
    }
    response
}

/// Judges what the address alone tells, before anybody reads the body.
async fn foresee(doors: &Doors, call: &Call, route: &Route) -> Result<(), Error> {
    let Found::Endpoint(endpoint) = route.found else { return Ok(()) };
    let asked = if endpoint == Endpoint::Grpc {
        Operation::named(route.value(0)).map(Operation::asks)
    } else {
        endpoint.asks()
    };
    let Some(asked) = asked.filter(|_| !route.is_public()) else { return Ok(()) };
    let sends = matches!(endpoint, Endpoint::SendMessage | Endpoint::SendStreamingMessage);
    let agent = if endpoint == Endpoint::PlainSubmit {
        Some(route.value(0))
    } else {
        call.agent().filter(|_| sends)
    };
    doors.core.foresee(call, asked, agent).await
}

/// Hands a request to its door.
async fn through(doors: &Doors, call: Call, route: &Route, request: Request) -> Response {
    let Found::Endpoint(endpoint) = route.found else {
        let missed = answer::miss(route, request.method().as_str(), request.uri().path());
        return refusal(route, &missed);
    };
    match route.door {
        Door::JsonRpc => jsonrpc::answer(doors, call, request).await,
        Door::Rest => rest::answer(doors, call, route, endpoint, request).await,
        Door::Grpc => grpc::answer(doors, call, request).await,
        Door::Card => {
            let base = base(doors, &request);
            cards::answer(doors, &base, route, endpoint, request.headers()).await
        }
        Door::Plain => plain::answer(doors, call, route, endpoint, request).await,
        Door::Description => openapi::answer(),
        Door::File => files::answer(doors, call, route, endpoint, request).await,
    }
}

/// One call of each request. Admission has left the caller in the request.
fn call(
    doors: &Doors,
    route: &Route,
    request: &Request,
    request_id: &RequestId,
    extensions: Vec<String>,
) -> Result<Call, Error> {
    let caller = match request.extensions().get::<Arc<Caller>>() {
        Some(caller) => Arc::clone(caller),
        None if route.is_public() => Arc::new(nobody()),
        None => return Err(Error::Unauthenticated("nobody was let in".to_owned())),
    };
    Ok(Call {
        caller,
        agent: route.agent.clone(),
        tenant: route.tenant.clone(),
        base: Some(base(doors, request)),
        extensions,
        request_id: request_id.text.clone(),
        trail: request.extensions().get::<Trail>().cloned().unwrap_or_default(),
        trace: request_id::trace(request.headers()),
    })
}

/// The address that cards name to whoever sent this request.
fn base(doors: &Doors, request: &Request) -> Base {
    let core = &doors.core;
    let peer = request.extensions().get::<Peer>().map(|peer| peer.address.ip());
    let (headers, uri) = (request.headers(), request.uri());
    Base::of_request(&core.settings, core.cards.listen(), headers, uri, peer)
}

/// Somebody who may do nothing: public addresses ask nobody who they are.
fn nobody() -> Caller {
    Caller {
        name: "nobody".to_owned(),
        owner: Owner::default(),
        owners: Some(Vec::new()),
        skills: Some(Vec::new()),
        operations: Vec::new(),
    }
}
