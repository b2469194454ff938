//! The gRPC door: A2A's service `lf.a2a.v1.A2AService`, on the port of all doors.

mod card;
mod deadline;
mod read;
mod service;
mod status;
mod struct_value;
#[cfg(test)]
mod tests;
mod write;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use tower::ServiceExt as _;

use self::deadline::Deadline;
pub(super) use self::status::refusal;
use super::{Doors, negotiate};
use crate::core::call::Call;
use crate::limits;

/// What `build.rs` makes of `proto/a2a.proto`.
mod pb {
    #![expect(
        unreachable_pub,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::doc_markdown,
        clippy::enum_variant_names,
        clippy::too_many_lines,
        reason = "written by the generator"
    )]

    include!(concat!(env!("OUT_DIR"), "/lf.a2a.v1.rs"));
}

use pb::a2a_service_server::A2aServiceServer;

/// Answers a request to `/lf.a2a.v1.A2AService/<operation>`.
pub(super) async fn answer(doors: &Doors, call: Call, mut request: Request) -> Response {
    if let Err(error) = negotiate::version(request.headers(), request.uri().query()) {
        return refusal(&error);
    }
    let (deadline, trail) = (Deadline::of(request.headers()), call.trail.clone());
    request.extensions_mut().insert(call);
    let service = service::Service { core: doors.core.clone() };
    let server = A2aServiceServer::new(service).max_decoding_message_size(limits::BODY_BYTES_MAX);
    let answering = server.oneshot(request);
    let answered = match deadline {
        None => Some(answering.await),
        Some(deadline) => deadline.hold(answering).await,
    };
    let response = match answered {
        None => return refusal(&deadline::passed(&trail)),
        Some(Ok(response)) => response,
        Some(Err(never)) => match never {},
    };
    if let Some(error) = status::unread(response.headers()) {
        return refusal(&error);
    }
    match deadline {
        None => response.map(Body::new),
        Some(deadline) => response.map(|body| deadline.bound(Body::new(body), trail)),
    }
}
