//! A2A over JSON-RPC 2.0.
//!
//! One request a body: A2A has no batches, so an array is an invalid request. A request without an id is a notification:
//! it is carried out, and HTTP answers 204 with nothing, since JSON-RPC forbids a response, also to a failed one. What
//! cannot be recognised as a request is answered under the id null.

use axum::extract::Request;
use axum::response::Response;
use serde_json::{Map, Value};

use super::answer::{JSON, bytes_as, empty, jsonrpc_error};
use super::operation::{Answer, Operation, Params};
use super::sse::{self, Frames};
use super::{Doors, body, negotiate, parse};
use crate::a2a::error::Error;
use crate::a2a::render;
use crate::core::StreamEvent;
use crate::core::call::Call;
use crate::limits::JSONRPC_ID_BYTES_MAX;

/// A request as it was read.
#[derive(Debug, PartialEq)]
pub struct Asked {
    /// Its id; nothing for a notification.
    pub id: Option<Value>,
    /// The method's name.
    pub method: String,
    /// What it gets: an object.
    pub params: Value,
}

/// Answers a POST.
pub(super) async fn answer(doors: &Doors, mut call: Call, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let text = match body::bytes(body).await {
        Ok(text) => text,
        Err(error) => return jsonrpc_error(&Value::Null, &error),
    };
    let bytes = text.len();
    let nobody = |error| (Value::Null, error);
    let asked = parse::beside(&doors.core.jobs, bytes, move || asked(&text), nobody).await;
    // Only after the body, which alone knows the id that the refusal has to carry.
    if let Err(error) = body::check_type(&parts.headers, &[JSON, super::answer::A2A_JSON]) {
        let id = asked.map_or_else(|(id, _)| id, |asked| asked.id.unwrap_or_default());
        return jsonrpc_error(&id, &error);
    }
    let asked = match asked {
        Ok(asked) => asked,
        Err((id, error)) => return jsonrpc_error(&id, &error),
    };
    let id = asked.id.clone();
    let after = parts.headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let performed = async {
        let operation = method(&asked.method)?;
        negotiate::version(&parts.headers, parts.uri.query())?;
        let params = Params { value: asked.params, bytes };
        operation.perform(&doors.core, &mut call, params, after).await
    };
    match (performed.await, id) {
        (Err(error), Some(id)) => jsonrpc_error(&id, &error),
        (Ok(Answer::Json(result)), Some(id)) => bytes_as(200, JSON, wrapped(&id, &result)),
        (Ok(Answer::Events(events)), Some(id)) => {
            let closing = doors.core.jobs.shutdown_token();
            match sse::answer(events, Responses { id: id.clone() }, closing).await {
                Ok(response) => response,
                Err(error) => jsonrpc_error(&id, &error),
            }
        }
        (Err(error), None) => {
            tracing::debug!(%error, "a notification failed");
            empty(204)
        }
        (Ok(_), None) => empty(204),
    }
}

fn method(name: &str) -> Result<Operation, Error> {
    Operation::named(name).ok_or_else(|| {
        let names: Vec<&str> = Operation::ALL.iter().map(|one| one.name()).collect();
        let name: String = name.chars().take(80).collect();
        Error::MethodNotFound(format!("there is no method {name:?}, only {}", names.join(", ")))
    })
}

/// Reads a request.
///
/// # Errors
/// With the id that a response has to carry.
pub fn asked(text: &[u8]) -> Result<Asked, (Value, Error)> {
    let nobody = |error| (Value::Null, error);
    let value = body::json(text).map_err(nobody)?;
    let what =
        if value.is_array() { "batches are not supported: send" } else { "the body has to be" };
    let Value::Object(mut members) = value else {
        return Err(nobody(Error::InvalidRequest(format!("{what} one JSON-RPC request object"))));
    };
    let invalid = |id: &Option<Value>, why: &str| {
        let id = id.clone().unwrap_or_default();
        Err((id, Error::InvalidRequest(why.to_owned())))
    };
    let id = members.remove("id");
    if let Some(fault) = id.as_ref().and_then(id_fault) {
        return invalid(&None, &fault);
    }
    if members.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return invalid(&id, "jsonrpc has to be \"2.0\"");
    }
    let Some(Value::String(method)) = members.remove("method") else {
        return invalid(&id, "method has to be a string");
    };
    let params = match members.remove("params") {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(object @ Value::Object(_)) => object,
        Some(_) => {
            let error = Error::field("params", "has to be an object: A2A names its parameters");
            return Err((id.unwrap_or_default(), error));
        }
    };
    Ok(Asked { id, method, params })
}

/// What is wrong with an id. JSON-RPC allows fractions and discourages them: no two ends write them alike.
fn id_fault(id: &Value) -> Option<String> {
    match id {
        Value::Null => None,
        Value::Number(number) if number.is_i64() || number.is_u64() => None,
        Value::String(text) if text.len() <= JSONRPC_ID_BYTES_MAX => None,
        Value::String(text) => {
            let max = JSONRPC_ID_BYTES_MAX;
            Some(format!("id has {} bytes, at most {max} are taken", text.len()))
        }
        Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Some("id has to be a string, a whole number of 64 bits or null".to_owned())
        }
    }
}

/// A response around a result that is JSON already.
fn wrapped(id: &Value, result: &[u8]) -> Vec<u8> {
    let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":");
    [head.as_bytes(), result, b"}"].concat()
}

/// Each event is a response of its own, under the id of the request.
struct Responses {
    id: Value,
}

impl Frames for Responses {
    fn event(&self, event: &StreamEvent) -> Result<Vec<u8>, serde_json::Error> {
        Ok(wrapped(&self.id, &serde_json::to_vec(&event.response)?))
    }

    fn error(&self, error: &Error) -> Value {
        render::jsonrpc(&self.id, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_json_rpc_calls_a_request() {
        let table = [
            (r#"{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"s1"}}"#, Some(json!(1))),
            (r#"{"jsonrpc":"2.0","id":"a","method":"x"}"#, Some(json!("a"))),
            (r#"{"jsonrpc":"2.0","id":null,"method":"x","params":null}"#, Some(json!(null))),
            (r#"{"jsonrpc":"2.0","id":-15,"method":"","extra":true}"#, Some(json!(-15))),
            (r#"{"jsonrpc":"2.0","id":18446744073709551615,"method":""}"#, Some(json!(u64::MAX))),
            (r#"{"jsonrpc":"2.0","method":"x"}"#, None),
        ];
        for (text, id) in table {
            let asked = asked(text.as_bytes()).unwrap();
            assert_eq!(asked.id, id, "{text}");
            assert!(asked.params.is_object(), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_under_the_id_that_the_standard_asks_for() {
        let null = json!(null);
        let table = [
            ("", -32700, null.clone()),
            ("{", -32700, null.clone()),
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"", -32700, null.clone()),
            ("[]", -32600, null.clone()),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"x"}]"#, -32600, null.clone()),
            ("7", -32600, null.clone()),
            ("{}", -32600, null.clone()),
            (r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, -32600, json!(1)),
            (r#"{"id":"b","method":"x"}"#, -32600, json!("b")),
            (r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#, -32600, null.clone()),
            (r#"{"jsonrpc":"2.0","id":true,"method":"x"}"#, -32600, null.clone()),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#, -32600, null.clone()),
            (r#"{"jsonrpc":"2.0","id":1e300,"method":"x"}"#, -32600, null.clone()),
            (r#"{"jsonrpc":"2.0","id":18446744073709551616,"method":"x"}"#, -32600, null.clone()),
            (r#"{"jsonrpc":"2.0","id":1}"#, -32600, json!(1)),
            (r#"{"jsonrpc":"2.0","id":1,"method":5}"#, -32600, json!(1)),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}"#, -32602, json!(1)),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":"y"}"#, -32602, json!(1)),
        ];
        for (text, code, expected) in table {
            let (id, error) = asked(text.as_bytes()).unwrap_err();
            assert_eq!((error.names().jsonrpc, id), (code, expected), "{text}");
        }
        for (bytes, taken) in [(JSONRPC_ID_BYTES_MAX, true), (JSONRPC_ID_BYTES_MAX + 1, false)] {
            let id = "i".repeat(bytes);
            let asked =
                asked(format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"x"}}"#).as_bytes());
            assert_eq!(asked.is_ok(), taken, "{bytes}");
            assert!(
                taken
                    || asked
                        .is_err_and(|(id, error)| id == null && error.names().jsonrpc == -32600)
            );
        }
        let unknown = method("message/send").unwrap_err();
        assert_eq!(unknown.names().jsonrpc, -32601);
        assert!(Operation::ALL.iter().all(|one| method(one.name()) == Ok(*one)));
    }
}
