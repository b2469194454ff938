//! The conversions, as tables: what goes in comes out, what cannot be is named.

use std::time::Duration;

use prost::{Message as _, Name as _};
use prost_types::value::Kind;
use protocol::message::{Message, Part};
use protocol::task::{Task, TaskState};
use protocol::{TaskId, Timestamp};
use serde_json::{Value, json};
use tonic::Code;

use super::pb;
use super::read::{Reader, read};
use super::status::{BadRequest, ErrorInfo, RpcStatus, status, unread};
use crate::a2a::error::{Error, Violation};
use crate::a2a::request::{ListTasksRequest, PushConfig, SendMessageRequest};
use crate::doors::operation::Operation;

fn wire_part(content: pb::part::Content) -> pb::Part {
    pb::Part { content: Some(content), ..pb::Part::default() }
}

fn asked(message: pb::Message) -> Result<SendMessageRequest, Error> {
    let wire = pb::SendMessageRequest { message: Some(message), ..Default::default() };
    read(wire, Reader::send)
}

#[test]
fn what_json_says_comes_through_protobuf_unchanged() {
    for part in [
        json!({"text": ""}),
        json!({"text": "caf\u{e9}", "mediaType": "text/plain", "filename": "a.txt"}),
        json!({"raw": "AP8=", "metadata": {"a": {"b": [1, null, true, "x", 1.5, -3]}}}),
        json!({"url": "https://example.org/x"}),
        json!({"data": null}),
        json!({"data": {"whole": 9_007_199_254_740_992_i64, "half": 0.5, "deep": [[{}]]}}),
    ] {
        let message = json!({
            "messageId": "m", "contextId": "c", "taskId": "t", "role": "ROLE_AGENT",
            "parts": [part], "metadata": {"k": "v"}, "extensions": ["urn:x"],
            "referenceTaskIds": ["r"],
        });
        let ours: Message = serde_json::from_value(message.clone()).unwrap();
        let wire = pb::Message::from(ours.clone()).encode_to_vec();
        let back = asked(pb::Message::decode(wire.as_slice()).unwrap()).unwrap().message.unwrap();
        assert_eq!(back, ours);
        assert_eq!(serde_json::to_value(back).unwrap(), message);
    }
}

#[test]
fn every_state_has_its_name_and_its_number() {
    for state in TaskState::ALL {
        let name = serde_json::to_value(state).unwrap();
        assert_eq!(pb::TaskState::from(state).as_str_name(), name);
        let wire = pb::ListTasksRequest {
            status: pb::TaskState::from(state).into(),
            ..Default::default()
        };
        let read = read(wire, Reader::list).unwrap();
        assert_eq!(read.status.as_deref(), name.as_str());
    }
    let none = read(pb::ListTasksRequest::default(), Reader::list).unwrap();
    assert_eq!(none, ListTasksRequest::default());
}

#[test]
fn times_keep_their_milliseconds() {
    for text in ["1969-12-31T23:59:59.001Z", "2026-01-31T12:00:00.999Z", "0000-01-01T00:00:00.000Z"]
    {
        let time = Timestamp::parse(text).unwrap();
        let task = json!({"id": "s1", "contextId": "s1",
            "status": {"state": "TASK_STATE_WORKING", "timestamp": text}});
        let task: Task = serde_json::from_value(task).unwrap();
        let timestamp = pb::Task::from(task).status.unwrap().timestamp;
        let wire = pb::ListTasksRequest { status_timestamp_after: timestamp, ..Default::default() };
        assert_eq!(read(wire, Reader::list).unwrap().status_timestamp_after, Some(time), "{text}");
    }
}

#[test]
fn an_empty_webhook_is_nothing_and_a_full_one_is_whole() {
    let full = json!({"tenant": "acme", "id": "p", "taskId": "s1", "url": "https://example.org",
        "token": "t", "authentication": {"scheme": "Bearer", "credentials": "c"}});
    for json in [json!({}), full] {
        let ours: PushConfig = serde_json::from_value(json.clone()).unwrap();
        let back = read(ours.clone().into(), Reader::push_config).unwrap();
        assert_eq!(back, ours);
        assert_eq!(serde_json::to_value(back).unwrap(), json);
    }
}

#[test]
fn what_cannot_be_is_named_by_its_path() {
    let text = wire_part(pb::part::Content::Text("a".into()));
    let fine = pb::Message {
        message_id: "m".to_owned(),
        role: 1,
        parts: vec![text.clone()],
        ..Default::default()
    };
    let data = |kind| wire_part(pb::part::Content::Data(prost_types::Value { kind }));
    let with = |parts| pb::Message { parts, ..fine.clone() };
    for (message, path) in [
        (pb::Message { role: 0, ..fine.clone() }, "message.role"),
        (pb::Message { role: 7, ..fine.clone() }, "message.role"),
        (with(vec![pb::Part::default()]), "message.parts[0]"),
        (with(vec![text, pb::Part::default()]), "message.parts[1]"),
        (with(vec![data(None)]), "message.parts[0].data"),
        (with(vec![data(Some(Kind::NumberValue(f64::NAN)))]), "message.parts[0].data"),
        (with(vec![data(Some(Kind::NumberValue(f64::INFINITY)))]), "message.parts[0].data"),
    ] {
        let refused = asked(message).unwrap_err();
        let paths: Vec<_> = refused.violations().iter().map(|one| one.field.as_str()).collect();
        assert_eq!(paths, [path], "{refused}");
    }
    let mut deep = Value::Null;
    for _ in 0..61 {
        deep = json!([deep]);
    }
    let deep = with(vec![pb::Part::from(Part::data(deep))]);
    let refused = asked(deep).unwrap_err();
    assert_eq!(refused.violations()[0].field, "message.parts[0].data", "{refused}");
    let many = asked(with(vec![pb::Part::default(); 1000])).unwrap_err();
    assert_eq!(many.violations().len(), 16);
    let every = pb::Message { role: 0, parts: vec![pb::Part::default()], ..fine };
    assert_eq!(asked(every).unwrap_err().violations().len(), 2, "all faults at once");
    for time in [(i64::MAX, 0), (0, -1), (0, 1_000_000_000), (253_402_300_800, 0)] {
        let time = prost_types::Timestamp { seconds: time.0, nanos: time.1 };
        let wire = pb::ListTasksRequest {
            status_timestamp_after: Some(time),
            status: 99,
            ..Default::default()
        };
        let refused = read(wire, Reader::list).unwrap_err();
        let paths: Vec<_> = refused.violations().iter().map(|one| one.field.as_str()).collect();
        assert_eq!(paths, ["status", "statusTimestampAfter"]);
    }
}

fn missing<W: Default, T: std::fmt::Debug>(operation: Operation, reading: fn(&mut Reader, W) -> T) {
    let required = operation.required();
    let fields = match read(W::default(), reading) {
        Ok(_) => Vec::new(),
        Err(refused) => refused.violations().to_vec(),
    };
    assert!(fields.iter().all(|one| one.description == "is required"), "{fields:?}");
    let fields: Vec<_> = fields.iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, required, "{operation:?}");
}

#[test]
fn an_empty_request_misses_what_the_json_doors_would_miss() {
    missing(Operation::SendMessage, Reader::send);
    missing(Operation::SendStreamingMessage, Reader::send);
    missing(Operation::GetTask, Reader::get);
    missing(Operation::ListTasks, Reader::list);
    missing(Operation::CancelTask, Reader::cancel);
    missing(Operation::SubscribeToTask, Reader::subscribe);
    missing(Operation::CreatePushConfig, Reader::create_push);
    missing(Operation::GetPushConfig, Reader::get_push);
    missing(Operation::DeletePushConfig, Reader::delete_push);
    missing(Operation::ListPushConfigs, Reader::list_push);
    missing(Operation::GetExtendedAgentCard, Reader::extended_card);
    let empty = asked(pb::Message::default()).unwrap_err();
    let fields: Vec<_> = empty.violations().iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, ["message.messageId", "message.role", "message.parts"]);
}

#[test]
fn an_error_is_told_as_google_tells_errors() {
    let task = TaskId::parse("s1").unwrap();
    let field = Violation { field: "message.parts".to_owned(), description: "empty".to_owned() };
    for (error, code, reason, fields) in [
        (Error::TaskNotFound("s1".to_owned()), Code::NotFound, "TASK_NOT_FOUND", 0),
        (
            Error::TaskNotCancelable { task, state: "completed" },
            Code::FailedPrecondition,
            "TASK_NOT_CANCELABLE",
            0,
        ),
        (
            Error::InvalidParams(vec![field.clone(), field]),
            Code::InvalidArgument,
            "INVALID_PARAMS",
            2,
        ),
        (Error::Unauthenticated("no".to_owned()), Code::Unauthenticated, "UNAUTHENTICATED", 0),
        (
            Error::RateLimited { retry_after: Duration::from_millis(1500) },
            Code::ResourceExhausted,
            "RATE_LIMITED",
            0,
        ),
        (Error::Internal("caf\u{e9} %\n".to_owned()), Code::Internal, "INTERNAL_ERROR", 0),
    ] {
        let told = status(&error);
        assert_eq!((told.code(), told.message()), (code, error.to_string().as_str()));
        let details = RpcStatus::decode(told.details()).unwrap();
        assert_eq!((details.code, &details.message), (code as i32, &error.to_string()));
        let first = &details.details[0];
        assert_eq!(first.type_url, "type.googleapis.com/google.rpc.ErrorInfo");
        let info = ErrorInfo::decode(first.value.as_slice()).unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, error.names().domain));
        assert_eq!(info.metadata.len(), error.metadata().len());
        let bad =
            details.details.get(1).map(|any| BadRequest::decode(any.value.as_slice()).unwrap());
        assert_eq!(bad.map_or(0, |bad| bad.field_violations.len()), fields);
        assert_eq!(BadRequest::full_name(), "google.rpc.BadRequest");
    }
    let unknown = status(&Error::MethodNotFound("no such thing".to_owned()));
    assert_eq!(unknown.code(), Code::Unimplemented);
    let limited = status(&Error::RateLimited { retry_after: Duration::from_millis(1500) });
    assert_eq!(limited.metadata().get("retry-after").unwrap(), "2");
}

/// A value in every field, so that a field that is forgotten is missed.
fn every_field() -> Value {
    let flow = json!({"authorizationUrl": "a", "tokenUrl": "t", "refreshUrl": "r",
        "scopes": {"s": "what"}, "pkceRequired": true});
    json!({
        "name": "n", "description": "d", "version": "1",
        "supportedInterfaces": [{"url": "u", "protocolBinding": "GRPC", "tenant": "t", "protocolVersion": "1.0"}],
        "provider": {"url": "u", "organization": "o"},
        "documentationUrl": "doc", "iconUrl": "icon",
        "capabilities": {"streaming": true, "pushNotifications": false, "extendedAgentCard": true,
            "extensions": [{"uri": "urn:x", "description": "d", "required": true, "params": {"a": [1]}}]},
        "securitySchemes": {
            "key": {"apiKeySecurityScheme": {"description": "d", "location": "header", "name": "X"}},
            "http": {"httpAuthSecurityScheme": {"description": "d", "scheme": "Bearer", "bearerFormat": "JWT"}},
            "oauth": {"oauth2SecurityScheme": {"description": "d", "oauth2MetadataUrl": "m",
                "flows": {"authorizationCode": flow}}},
            "oidc": {"openIdConnectSecurityScheme": {"description": "d", "openIdConnectUrl": "o"}},
            "mtls": {"mtlsSecurityScheme": {"description": "d"}},
        },
        "securityRequirements": [{"schemes": {"oauth": {"list": ["s"]}}}],
        "defaultInputModes": ["a/b"], "defaultOutputModes": ["c/d"],
        "skills": [{"id": "i", "name": "n", "description": "d", "tags": ["t"], "examples": ["e"],
            "inputModes": ["a/b"], "outputModes": ["c/d"],
            "securityRequirements": [{"schemes": {"key": {"list": []}}}]}],
        "signatures": [{"protected": "p", "signature": "s", "header": {"kid": "k"}}],
    })
}

#[test]
fn what_the_library_cannot_read_is_the_clients_fault() {
    let headers = |status: tonic::Status| status.into_http::<axum::body::Body>().headers().clone();
    let own = status(&Error::Internal("ours".to_owned()));
    for (said, expected) in [
        (tonic::Status::internal("failed to decode"), Some("INVALID_REQUEST")),
        (tonic::Status::out_of_range("message too large"), Some("TOO_LARGE")),
        (tonic::Status::unimplemented("compressed"), None),
        (own, None),
    ] {
        let read = unread(&headers(said));
        assert_eq!(read.map(|error| error.names().reason), expected);
    }
    assert!(unread(&axum::http::HeaderMap::new()).is_none());
}

#[test]
fn a_card_keeps_every_field() {
    let card = super::card::card(&every_field());
    let shown = format!("{card:?}");
    for absent in ["\"\"", "None", "[]"] {
        // The one empty list is the scopes of an API key.
        let allowed = usize::from(absent == "[]");
        assert_eq!(shown.matches(absent).count(), allowed, "{absent} in {shown}");
    }
    assert_eq!(card.security_schemes.len(), 5);
    assert_eq!(card.capabilities.unwrap().push_notifications, Some(false));
    assert_eq!(super::card::card(&json!("no card")), pb::AgentCard::default());
}

#[test]
fn a_part_of_a_message_is_read_as_the_json_doors_read_it() {
    let wire = pb::Message {
        message_id: "m".to_owned(),
        role: 1,
        parts: vec![wire_part(pb::part::Content::Text("hi".to_owned()))],
        ..Default::default()
    };
    let json = json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]});
    let ours: Message = serde_json::from_value(json).unwrap();
    assert_eq!(asked(wire).unwrap().message, Some(ours.clone()));
    assert_eq!(ours.parts, [Part::text("hi")]);
}
