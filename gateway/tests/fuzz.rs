//! Runs every parser of the JSON doors over mutated examples, seeded and bounded.
//!
//! A failure prints the input as a Rust byte string: add it to `REGRESSIONS`.

#![expect(clippy::indexing_slicing, reason = "helpers of tests fail the test that calls them")]

mod mutate;

use std::panic::catch_unwind;

use axum::http::{HeaderMap, HeaderValue, Method};
use gateway::a2a::error::Error;
use gateway::a2a::render;
use gateway::a2a::request::{CancelTaskRequest, ListTasksRequest, PushConfig, SendMessageRequest};
use gateway::core::events::Cursor;
use gateway::doors::operation::Operation;
use gateway::doors::query::Query;
use gateway::doors::route::{Found, route};
use gateway::doors::{answer, body, jsonrpc, negotiate};
use mutate::{Random, mutated};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Inputs that once made a target fail.
const REGRESSIONS: &[(&str, &[u8])] = &[];

const ADDRESSES: &[&[u8]] = &[
    b"/",
    b"/agents/echo/",
    b"/agents/echo/acme/tasks/s7:cancel",
    b"/acme~echo/message:send",
    b"/tasks/s7/pushNotificationConfigs/p1",
    b"/tasks/s%2F7:subscribe",
    b"/.well-known/agent-card.json",
    b"/v1/tasks/s7/signals/paid",
    b"/files/acme/s7/report.pdf",
    b"/lf.a2a.v1.A2AService/SendMessage",
];
const QUERIES: &[&[u8]] = &[
    b"contextId=a%20b+c&pageSize=7&pageToken=x&includeArtifacts=true&status=working",
    b"statusTimestampAfter=2026-01-31T12:00:00.5Z&historyLength=0&tenant=acme",
    b"A2A-Version=1.0&A2A-Extensions=urn:weft:a2a:resume:v1,urn:x",
];
const BODIES: &[&[u8]] = &[
    br#"{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"hi"}]}}}"#,
    br#"{"message":{"message_id":"m","role":"ROLE_USER","contextId":"c","parts":[{"raw":"aGk=","mediaType":"a/b"},{"data":{"a":[null,1]}}],"metadata":{"weft/skill":"echo"}},"configuration":{"historyLength":"3","returnImmediately":true}}"#,
    br#"{"jsonrpc":"2.0","id":"x","method":"ListTasks","params":{"pageSize":5,"statusTimestampAfter":"2026-01-31T12:00:00Z","includeArtifacts":false}}"#,
    br#"{"taskId":"s7","url":"https://example.org/hook","authentication":{"scheme":"Bearer","credentials":"x"}}"#,
];
const CURSORS: &[&[u8]] = &[b"0.0", b"7.2", b"18446744073709551615.4294967295"];

fn bounded(name: &str, seeds: &[&[u8]], inputs: usize, run: fn(&[u8]) -> bool) {
    let mut read = 0;
    let mut one = |data: &[u8]| {
        let Ok(fine) = catch_unwind(|| run(data)) else {
            unreachable!("{name} failed on b\"{}\"", data.escape_ascii());
        };
        read += usize::from(fine);
    };
    seeds.iter().for_each(|seed| one(seed));
    REGRESSIONS.iter().filter(|(target, _)| *target == name).for_each(|(_, data)| one(data));
    let mut random = Random(0x67_61_74_65);
    for _ in 0..inputs {
        one(&mutated(&mut random, seeds));
    }
    assert!(read > inputs / 50, "only {read} of {inputs} got through {name}");
}

/// Every error can be written in every form, and its place is a text.
fn writes(error: &Error) {
    assert!(render::status(error)["error"]["details"].is_array());
    assert!(render::jsonrpc(&Value::Null, error)["error"]["code"].is_i64());
    assert!(error.names().http < 500, "{error:?} is called a fault of the gateway");
    drop(answer::said_in_headers(error));
}

#[test]
fn addresses_hold_for_50000_inputs() {
    bounded("route", ADDRESSES, 50_000, |data| {
        let path = String::from_utf8_lossy(data);
        let mut found = false;
        for method in [Method::GET, Method::POST, Method::DELETE, Method::HEAD, Method::OPTIONS] {
            let one = route(&method, &path);
            match &one.found {
                Found::Endpoint(endpoint) => {
                    found = true;
                    assert_eq!(endpoint.door(), one.door);
                    assert!(one.values.iter().all(|value| !value.is_empty()));
                }
                Found::OtherMethods(methods) => assert!(!methods.is_empty()),
                Found::Nothing => {}
            }
            drop(answer::refusal(&one, &answer::miss(&one, method.as_str(), &path)));
        }
        found
    });
}

#[test]
fn queries_hold_for_50000_inputs() {
    bounded("query", QUERIES, 50_000, |data| {
        let text = String::from_utf8_lossy(data);
        let query = Query::read(&text);
        let mut fine = true;
        for operation in Operation::ALL {
            match query.typed(operation.in_query()) {
                // What a query gave has the types of the request.
                Ok(members) if operation == Operation::ListTasks => {
                    let read = body::request::<ListTasksRequest>(Value::Object(members), &[]);
                    assert!(read.is_ok(), "{read:?}");
                }
                Ok(_) => {}
                Err(error) => {
                    writes(&error);
                    fine = false;
                }
            }
        }
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(data) {
            headers.insert("a2a-extensions", value.clone());
            headers.insert("a2a-version", value);
        }
        drop(negotiate::used(&negotiate::named(&headers, Some(&text))));
        negotiate::version(&headers, Some(&text)).is_ok() || fine
    });
}

fn reads<T: DeserializeOwned>(value: &Value, operation: Operation) -> bool {
    match body::request::<T>(value.clone(), operation.required()) {
        Ok(_) => true,
        Err(error) => {
            writes(&error);
            assert!(!error.violations().is_empty(), "{error:?} names no field");
            false
        }
    }
}

#[test]
fn bodies_hold_for_50000_inputs() {
    bounded("body", BODIES, 50_000, |data| {
        let value = match body::json(data) {
            Ok(value) => value,
            Err(error) => {
                writes(&error);
                return false;
            }
        };
        let sent = reads::<SendMessageRequest>(&value, Operation::SendMessage);
        let listed = reads::<ListTasksRequest>(&value, Operation::ListTasks);
        let canceled = reads::<CancelTaskRequest>(&value, Operation::CancelTask);
        sent | listed | canceled | reads::<PushConfig>(&value, Operation::CreatePushConfig)
    });
}

#[test]
fn json_rpc_holds_for_50000_inputs() {
    bounded("jsonrpc", BODIES, 50_000, |data| match jsonrpc::asked(data) {
        Ok(asked) => {
            assert!(asked.params.is_object());
            true
        }
        Err((id, error)) => {
            assert!(id.is_null() || id.is_string() || id.is_number());
            writes(&error);
            false
        }
    });
}

#[test]
fn cursors_hold_for_20000_inputs() {
    bounded("cursor", CURSORS, 20_000, |data| {
        let text = String::from_utf8_lossy(data);
        let cursor = Cursor::parse(&text);
        if let Some(cursor) = cursor {
            assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        }
        cursor.is_some()
    });
}
