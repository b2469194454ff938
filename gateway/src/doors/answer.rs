//! Answers of the HTTP doors: results and errors, in the form of the door that they leave by.

use axum::body::Body;
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, Response as HttpResponse, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;

use super::Door;
use super::route::{Found, Route};
use crate::a2a::error::Error;
use crate::a2a::render;

/// JSON of anybody.
pub const JSON: &str = "application/json";
/// JSON of A2A's HTTP+JSON binding.
pub const A2A_JSON: &str = "application/a2a+json";

/// An answer in JSON.
#[must_use]
pub fn json(status: u16, content_type: &'static str, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => bytes_as(status, content_type, bytes),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written");
            bytes_as(500, content_type, Vec::new())
        }
    }
}

/// An answer without a body.
#[must_use]
pub fn empty(status: u16) -> Response {
    let mut response = HttpResponse::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response
}

pub(super) fn bytes_as(status: u16, content_type: &'static str, bytes: Vec<u8>) -> Response {
    let mut response = HttpResponse::new(Body::from(bytes));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Why nothing is done at an address that has no endpoint.
#[must_use]
pub fn miss(route: &Route, method: &str, path: &str) -> Error {
    match &route.found {
        Found::OtherMethods(allowed) => {
            Error::WrongMethod { method: method.to_owned(), allowed: allowed.clone() }
        }
        Found::Endpoint(_) | Found::Nothing => {
            let path: String = path.chars().take(200).collect();
            Error::MethodNotFound(format!("there is nothing at {path:?}"))
        }
    }
}

/// An error in the form of the door that the address belongs to.
#[must_use]
pub fn refusal(route: &Route, error: &Error) -> Response {
    let mut response = match route.door {
        Door::JsonRpc => jsonrpc_error(&Value::Null, error),
        Door::Rest => json(error.names().http, A2A_JSON, &render::status(error)),
        Door::Grpc => super::grpc::refusal(error),
        Door::Plain | Door::Card | Door::File | Door::Description => {
            json(error.names().http, JSON, &render::status(error))
        }
    };
    response.headers_mut().extend(said_in_headers(error));
    response
}

/// A JSON-RPC error. HTTP says 200, unless it is HTTP's business: who asks, how, how often and how much.
#[must_use]
pub fn jsonrpc_error(id: &Value, error: &Error) -> Response {
    let status = match error.names().http {
        http @ (401 | 403 | 405 | 413 | 429 | 503) => http,
        _ => 200,
    };
    let mut response = json(status, JSON, &render::jsonrpc(id, error));
    response.headers_mut().extend(said_in_headers(error));
    response
}

/// What HTTP wants to be told in headers: how to come in, when to come again, what is allowed.
#[must_use]
pub fn said_in_headers(error: &Error) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut say = |name: HeaderName, text: String| {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    };
    if let Error::Unauthenticated(_) = error {
        say(WWW_AUTHENTICATE, "Bearer realm=\"weft\"".to_owned());
    }
    if let Error::RateLimited { retry_after } = error {
        // Whole seconds, rounded up: an early retry would be refused again.
        let seconds = retry_after.as_millis().div_ceil(1000).max(1);
        say(RETRY_AFTER, seconds.to_string());
    }
    if let Error::Unavailable(_) = error {
        say(RETRY_AFTER, "1".to_owned());
    }
    if let Error::WrongMethod { allowed, .. } = error {
        say(ALLOW, allowed.join(", "));
    }
    headers
}
