//! What bodies may look like, a row for each.

use serde_json::json;

use super::*;
use crate::a2a::request::SendMessageRequest;

const REQUIRED: &[&str] = &["message", "message.messageId", "message.role", "message.parts"];

fn fields(result: Result<SendMessageRequest, Error>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(Error::InvalidParams(violations)) => {
            violations.into_iter().map(|one| one.field).collect()
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn names_the_place_of_what_is_wrong() {
    let with = |name: &str, value: Value| {
        let mut message = json!({"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "a"}]});
        message[name] = value;
        json!({ "message": message })
    };
    let table = [
        (with("x", json!(1)), vec![]),
        (with("contextId", json!(null)), vec![]),
        (with("parts", json!([{"data": null}])), vec![]),
        (with("metadata", json!({"a": null})), vec![]),
        (
            json!({"message": {"message_id": "m", "role": "ROLE_USER", "parts": [{"text": ""}]}}),
            vec![],
        ),
        (json!({}), vec!["message", "message.messageId", "message.role", "message.parts"]),
        (
            json!({"message": null}),
            vec!["message", "message.messageId", "message.role", "message.parts"],
        ),
        (with("messageId", json!("")), vec!["message.messageId"]),
        (with("role", json!("ROLE_UNSPECIFIED")), vec!["message.role"]),
        (with("parts", json!([])), vec!["message.parts"]),
        (with("parts", json!(null)), vec!["message.parts"]),
        (with("role", json!("ROLE_KING")), vec!["message.role"]),
        (with("messageId", json!(5)), vec!["message.messageId"]),
        (
            with("parts", json!([{"text": "a"}, {"raw": "no base64!"}])),
            vec!["message.parts[1].raw"],
        ),
        (with("parts", json!([{"text": "a", "url": "b"}])), vec!["message.parts[0]"]),
        (with("parts", json!([{}])), vec!["message.parts[0]"]),
        (with("parts", json!([{"text": 5}])), vec!["message.parts[0].text"]),
        (with("extensions", json!([1])), vec!["message.extensions[0]"]),
        (json!({"message": "hello"}), vec!["message"]),
        (json!([]), vec!["params"]),
    ];
    for (value, expected) in table {
        assert_eq!(fields(request(value.clone(), REQUIRED)), expected, "{value}");
    }
    let wrong = json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "a"}]},
        "configuration": {"historyLength": "many"}});
    assert_eq!(fields(request(wrong, REQUIRED)), ["configuration.historyLength"]);
}

#[test]
fn keeps_the_nulls_that_belong_to_the_user() {
    let value = json!({"message": {"messageId": "m", "role": "ROLE_USER",
        "metadata": {"a": null}, "parts": [{"data": {"b": null}}]}});
    let request: SendMessageRequest = request(value, REQUIRED).unwrap();
    let message = serde_json::to_value(request.message.unwrap()).unwrap();
    assert_eq!(message.pointer("/metadata"), Some(&json!({"a": null})));
    assert_eq!(message.pointer("/parts/0/data"), Some(&json!({"b": null})));
}

#[test]
fn measures_before_it_parses() {
    let nested = |levels: usize| ["[".repeat(levels), "]".repeat(levels)].concat();
    assert!(json(nested(64).as_bytes()).is_ok());
    assert!(matches!(json(nested(65).as_bytes()), Err(Error::TooLarge(_))));
    for broken in ["", "{", "{\"a\":}", "nul", "\u{0}", "{} {}"] {
        assert!(matches!(json(broken.as_bytes()), Err(Error::Parse(_))), "{broken:?}");
    }
}

#[tokio::test]
async fn reads_no_more_than_the_limit() {
    let body = |bytes: usize| Body::from(vec![b' '; bytes]);
    assert_eq!(bytes(body(BODY_BYTES_MAX)).await.unwrap().len(), BODY_BYTES_MAX);
    assert!(matches!(bytes(body(BODY_BYTES_MAX + 1)).await, Err(Error::TooLarge(_))));
}

#[test]
fn takes_the_content_types_of_its_binding() {
    let with = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, axum::http::HeaderValue::from_static(value));
        check_type(&headers, &["application/json", "application/a2a+json"]).is_ok()
    };
    assert!(check_type(&HeaderMap::new(), &[]).is_ok());
    for (value, fine) in [
        ("application/json", true),
        ("Application/JSON; charset=utf-8", true),
        ("application/a2a+json", true),
        ("text/plain", false),
        ("application/jsonp", false),
        ("", false),
    ] {
        assert_eq!(with(value), fine, "{value}");
    }
}
