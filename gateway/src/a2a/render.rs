//! Errors as JSON: the same `google.rpc` details inside of a JSON-RPC error and of a `google.rpc.Status`.

use serde_json::{Map, Value, json};

use super::error::Error;

const TYPE: &str = "type.googleapis.com/google.rpc.";

/// `ErrorInfo`, and `BadRequest` when fields are wrong.
#[must_use]
pub fn details(error: &Error) -> Vec<Value> {
    let names = error.names();
    let metadata: Map<String, Value> =
        error.metadata().into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
    let mut details = vec![json!({
        "@type": format!("{TYPE}ErrorInfo"),
        "reason": names.reason,
        "domain": names.domain,
        "metadata": metadata,
    })];
    let violations: Vec<Value> = error
        .violations()
        .iter()
        .map(|one| json!({"field": one.field, "description": one.description}))
        .collect();
    if !violations.is_empty() {
        details.push(json!({
            "@type": format!("{TYPE}BadRequest"),
            "fieldViolations": violations,
        }));
    }
    details
}

/// A JSON-RPC response that holds the error. `id` is the request's, null when nobody could read it.
#[must_use]
pub fn jsonrpc(id: &Value, error: &Error) -> Value {
    json!({
        "jsonrpc": "2.0",
        "id": id,
        "error": {
            "code": error.names().jsonrpc,
            "message": error.to_string(),
            "data": details(error),
        },
    })
}

/// The body of an HTTP answer (A2A 1.0, section 11.6).
#[must_use]
pub fn status(error: &Error) -> Value {
    let names = error.names();
    json!({
        "error": {
            "code": names.http,
            "status": names.status,
            "message": error.to_string(),
            "details": details(error),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_every_wrong_field() {
        let error = Error::field("message.parts", "has no part");
        let body = status(&error);
        assert_eq!(body.pointer("/error/code"), Some(&json!(400)));
        assert_eq!(body.pointer("/error/details/0/reason"), Some(&json!("INVALID_PARAMS")));
        let field = "/error/details/1/fieldViolations/0/field";
        assert_eq!(body.pointer(field), Some(&json!("message.parts")));
        let body = jsonrpc(&json!(7), &error);
        assert_eq!(body.pointer("/error/code"), Some(&json!(-32602)));
        assert_eq!(body.pointer("/id"), Some(&json!(7)));
    }

    #[test]
    fn adds_no_bad_request_to_other_errors() {
        let body = jsonrpc(&Value::Null, &Error::TaskNotFound("s1".to_owned()));
        assert_eq!(body.pointer("/error/data/0/metadata/taskId"), Some(&json!("s1")));
        assert_eq!(body.pointer("/error/data/1"), None);
    }
}
