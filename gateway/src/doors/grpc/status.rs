//! Errors as gRPC writes them: a status, and its details as `google.rpc.Status` in `grpc-status-details-bin`.

use std::collections::HashMap;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use prost::{Message as _, Name};
use prost_types::Any;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::a2a::error::Error;
use crate::doors::answer::said_in_headers;

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Any>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ErrorInfo {
    #[prost(string, tag = "1")]
    pub(super) reason: String,
    #[prost(string, tag = "2")]
    pub(super) domain: String,
    #[prost(map = "string, string", tag = "3")]
    pub(super) metadata: HashMap<String, String>,
}

impl Name for ErrorInfo {
    const PACKAGE: &'static str = "google.rpc";
    const NAME: &'static str = "ErrorInfo";
}

/// `google.rpc.BadRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) field_violations: Vec<FieldViolation>,
}

impl Name for BadRequest {
    const PACKAGE: &'static str = "google.rpc";
    const NAME: &'static str = "BadRequest";
}

/// `google.rpc.BadRequest.FieldViolation`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FieldViolation {
    #[prost(string, tag = "1")]
    pub(super) field: String,
    #[prost(string, tag = "2")]
    pub(super) description: String,
}

fn any<M: prost::Message + Name>(message: &M) -> Any {
    let type_url = format!("type.googleapis.com/{}", M::full_name());
    Any { type_url, value: message.encode_to_vec() }
}

/// The error as the status that ends a call.
pub(super) fn status(error: &Error) -> Status {
    let names = error.names();
    let metadata = error.metadata().into_iter().map(|(key, value)| (key.to_owned(), value));
    let info = ErrorInfo {
        reason: names.reason.to_owned(),
        domain: names.domain.to_owned(),
        metadata: metadata.collect(),
    };
    let mut details = vec![any(&info)];
    let violations = error.violations().iter().map(|one| FieldViolation {
        field: one.field.clone(),
        description: one.description.clone(),
    });
    let field_violations: Vec<_> = violations.collect();
    if !field_violations.is_empty() {
        details.push(any(&BadRequest { field_violations }));
    }
    let message = error.to_string();
    let details = RpcStatus { code: code(error) as i32, message: message.clone(), details };
    let details = details.encode_to_vec().into();
    let trailers = MetadataMap::from_headers(said_in_headers(error));
    Status::with_details_and_metadata(code(error), message, details, trailers)
}

/// The status code of an error. What A2A has no word for keeps gRPC's own: clients that look for further services (health,
/// reflection) go on without them only when they are unimplemented.
fn code(error: &Error) -> Code {
    if matches!(error, Error::MethodNotFound(_) | Error::WrongMethod { .. }) {
        return Code::Unimplemented;
    }
    Code::from_i32(error.names().grpc)
}

/// What the library says of a request that it could not read, as an error of ours: it gives no details and blames the
/// server.
pub(super) fn unread(headers: &HeaderMap) -> Option<Error> {
    let said = Status::from_header_map(headers).filter(|said| said.details().is_empty())?;
    let why = said.message().to_owned();
    if said.code() == Code::OutOfRange {
        Some(Error::TooLarge(why))
    } else if said.code() == Code::Internal {
        Some(Error::InvalidRequest(why))
    } else {
        None
    }
}

/// The error as a whole answer, for calls that are refused before they reach the service.
#[must_use]
pub(in crate::doors) fn refusal(error: &Error) -> Response {
    let mut response = status(error).into_http::<axum::body::Body>();
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, grpc);
    response
}
