//! Reads a document as Weft itself reads it: the judge that the published schemas are held against.
//!
//! One arm per published schema. What is read comes back as Weft would write it, so that callers can
//! compare spellings and check that Weft's own output fits its own contract.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weft_protocol::approval::Decision;
use weft_protocol::audit::AuditEntry;
use weft_protocol::budget::Grant;
use weft_protocol::card::Registration;
use weft_protocol::codec;
use weft_protocol::dead::DeadLetter;
use weft_protocol::entry::Entry;
use weft_protocol::fault::{Fault, code};
use weft_protocol::header::{self, Headers};
use weft_protocol::id::Lane;
use weft_protocol::input::Input;
use weft_protocol::subject::Subjects;
use weft_protocol::submission::{Envelope, Stored};
use weft_protocol::task::Task;
use weft_protocol::time::Timestamp;

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// JSON.
    Json,
    /// MessagePack with field names.
    Msgpack,
}

/// Reads a document as what the schema with this name describes.
pub(crate) fn read(contract: &str, form: Form, bytes: &[u8]) -> Result<Value, Fault> {
    match contract {
        "message" => {
            let content_type = match form {
                Form::Json => codec::A2A_JSON,
                Form::Msgpack => codec::MSGPACK,
            };
            codec::decode_body(Some(content_type), bytes).map(|message| written(&message))
        }
        "submission-headers" => headers(&typed::<BTreeMap<String, String>>(form, bytes)?),
        "grant" => typed::<Grant>(form, bytes).map(|grant| written(&grant)),
        "input-headers" => input_headers(&typed::<BTreeMap<String, String>>(form, bytes)?),
        "decision" => typed::<Decision>(form, bytes).map(|decision| written(&decision)),
        "task" => typed::<Task>(form, bytes).map(|task| written(&task)),
        "entry" => entry(&typed::<Entry>(form, bytes)?),
        "dead-letter" => typed::<DeadLetter>(form, bytes).map(|letter| written(&letter)),
        "registration" => typed::<Registration>(form, bytes).map(|agent| written(&agent)),
        "audit-entry" => typed::<AuditEntry>(form, bytes).map(|entry| written(&entry)),
        other => Err(Fault::new("no_reader", format!("nothing reads {other:?}"))),
    }
}

/// A value as JSON.
pub(crate) fn written<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn typed<T: DeserializeOwned>(form: Form, bytes: &[u8]) -> Result<T, Fault> {
    match form {
        Form::Json => codec::stored(bytes),
        Form::Msgpack => codec::msgpack(bytes),
    }
}

/// What the fold of a log refuses in a single entry, whatever came before it.
fn entry(entry: &Entry) -> Result<Value, Fault> {
    let refusal = |why, place| Err(Fault::new(code::MALFORMED_BODY, why).at(place));
    if entry.generation == 0 {
        return refusal("generations count from 1", "$.generation");
    }
    if entry.origin.is_some() != (entry.generation == 1) {
        return refusal("the first entry has an origin and no other", "$.origin");
    }
    Ok(written(entry))
}

/// Headers have two readers: the envelope, and for `Content-Type` the body's codec. A lane stands in the subject, which
/// the header repeats.
fn headers(values: &BTreeMap<String, String>) -> Result<Value, Fault> {
    let headers: Headers = values.clone().into_iter().collect();
    let subjects = Subjects::default();
    let at = Timestamp::from_millis(0);
    let lane = headers.get(header::LANE).and_then(|lane| Lane::parse(lane).ok());
    let subject = lane.map_or_else(
        || "weft.task.echo".to_owned(),
        |lane| format!("weft.task.echo.default.{lane}"),
    );
    let stored = Stored { subject: &subject, headers: &headers, sequence: 1, at };
    if let Some(Err(refused)) = Envelope::read(&subjects, stored) {
        return Err(refused.fault);
    }
    match codec::decode_body(headers.get(header::CONTENT_TYPE), b"") {
        Err(fault) if fault.code == code::UNSUPPORTED_CONTENT_TYPE => Err(fault),
        Ok(_) | Err(_) => Ok(written(values)),
    }
}

/// The headers alone are judged: whatever is wrong with the body is of no interest here.
fn input_headers(values: &BTreeMap<String, String>) -> Result<Value, Fault> {
    let headers: Headers = values.clone().into_iter().collect();
    match Input::read(&headers, b"{}") {
        Err(fault)
            if [code::BAD_HEADER, code::UNSUPPORTED_CONTENT_TYPE]
                .contains(&fault.code.as_str()) =>
        {
            Err(fault)
        }
        Ok(_) | Err(_) => Ok(written(values)),
    }
}
