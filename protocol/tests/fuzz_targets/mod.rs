//! THE LIST of fuzz targets: what is done with arbitrary bytes, and what must hold whatever they are.
//!
//! The test suite runs them for seconds over mutated examples, `fuzz/` runs them for as long as one likes.
//! A target fails by panicking.

use std::sync::LazyLock;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weft_protocol::approval::{ApprovalRequest, Decision};
use weft_protocol::budget::Unit;
use weft_protocol::codec;
use weft_protocol::contract;
use weft_protocol::entry::{Entry, Kind};
use weft_protocol::fault::{Fault, code};
use weft_protocol::header::Headers;
use weft_protocol::input::Input;
use weft_protocol::limits::{FAULT_CHARS_MAX, NAME_CHARS_MAX, PARTS_MAX, TASK_BYTES_MAX};
use weft_protocol::log::TaskLog;
use weft_protocol::message::{Message, value_of};
use weft_protocol::schema::Schema;
use weft_protocol::subject::Subjects;
use weft_protocol::submission::{Envelope, Stored};
use weft_protocol::time::Timestamp;

use crate::judge::{self, Form};

/// A decoder, driven by bytes.
pub(crate) struct Target {
    /// Its name here and in `fuzz/fuzz_targets/`.
    pub(crate) name: &'static str,
    /// Feeds the bytes in and checks what comes out.
    pub(crate) run: fn(&[u8]) -> Verdict,
}

/// What a decoder made of its bytes, so that a run in which nothing gets through can be noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It read them.
    Read,
    /// It refused them, as it should.
    Refused,
}

/// Every target.
pub(crate) const ALL: [Target; 8] = [
    Target { name: "body", run: body },
    Target { name: "entry", run: entry },
    Target { name: "envelope", run: envelope },
    Target { name: "input", run: input },
    Target { name: "approval", run: approval },
    Target { name: "msgpack", run: msgpack },
    Target { name: "contract", run: contract },
    Target { name: "schema", run: schema },
];

/// What the first byte of a `body` input stands for.
pub(crate) const CONTENT_TYPES: [Option<&str>; 10] = [
    None,
    Some(codec::JSON),
    Some(codec::A2A_JSON),
    Some(codec::MSGPACK),
    Some("text/plain; charset=utf-8"),
    Some("TEXT/html"),
    Some("image/png"),
    Some("application/octet-stream"),
    Some("application/xml"),
    Some(";"),
];

/// A task's body: the first byte chooses the content type.
fn body(data: &[u8]) -> Verdict {
    let Some((choice, bytes)) = data.split_first() else { return Verdict::Refused };
    let content_type = CONTENT_TYPES.iter().cycle().nth(usize::from(*choice)).copied().flatten();
    match codec::decode_body(content_type, bytes) {
        Ok(message) => {
            assert!(bytes.len() <= TASK_BYTES_MAX, "a body over the limit was read");
            assert!((1..=PARTS_MAX).contains(&message.parts.len()), "too few or too many parts");
            // Agents and schemas read the message through this.
            std::hint::black_box(value_of(&message.parts));
            survives(&message)
        }
        Err(fault) => explained(
            &fault,
            &[
                code::TOO_LARGE,
                code::TOO_DEEP,
                code::MALFORMED_BODY,
                code::UNSUPPORTED_CONTENT_TYPE,
            ],
        ),
    }
}

/// One entry of a log, and the log that it would make.
fn entry(data: &[u8]) -> Verdict {
    match codec::stored::<Entry>(data) {
        Ok(entry) => {
            let kind = entry.event.kind();
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
            let mut log = TaskLog::default();
            let (before, fits) = (log.clone(), log.apply(1, entry.clone()).is_ok());
            assert!(fits || log == before, "a refused entry changed the log");
            assert!(log.apply(2, entry.clone()).is_err(), "one generation was taken twice");
            survives(&entry)
        }
        Err(fault) => explained(&fault, &[code::TOO_DEEP, code::MALFORMED_BODY]),
    }
}

/// `name:value` headers, one a line.
fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> Headers {
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A subject in the first line, headers in the others.
fn envelope(data: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let subject = lines.next().unwrap_or_default();
    let headers = headers(lines);
    let subjects = Subjects::default();
    let at = Timestamp::from_millis(1_795_264_618_007);
    let stored = Stored { subject, headers: &headers, sequence: u64::MAX, at };
    let mut verdict = Verdict::Read;
    let envelope = match Envelope::read(&subjects, stored) {
        None => return Verdict::Refused,
        Some(Ok(envelope)) => envelope,
        Some(Err(refused)) => {
            let codes = [code::BAD_HEADER, code::TOO_LARGE, code::LANE_MISSING];
            verdict = explained(&refused.fault, &codes);
            assert_eq!(refused.envelope.task.sequence(), Some(u64::MAX), "an id from a bad header");
            *refused.envelope
        }
    };
    assert!(subjects.parse(&subjects.log(&envelope.owner, &envelope.task)).is_some());
    if let Some(reply_to) = &envelope.reply_to {
        assert!(!reply_to.starts_with("weft.") && !reply_to.starts_with('$'), "{reply_to:?}");
        assert!(!reply_to.contains(['\r', '\n', ' ', '*', '>']), "{reply_to:?}");
    }
    if let Some(deadline) = envelope.deadline {
        assert_eq!(Timestamp::parse(&deadline.to_string()), Ok(deadline));
    }
    if let Some(grant) = envelope.budget {
        for unit in Unit::ALL {
            assert_eq!(grant.usage().of(unit), grant.of(unit).unwrap_or(0), "{unit:?}");
        }
        let text = serde_json::to_string(&grant).unwrap_or_default();
        assert_eq!(serde_json::from_str(&text).ok(), Some(grant), "a grant through JSON");
    }
    drop(codec::decode_body(envelope.content_type.as_deref(), envelope.task.as_str().as_bytes()));
    verdict
}

/// What is said to a task: headers up to a zero byte, then the body.
fn input(data: &[u8]) -> Verdict {
    let mut pieces = data.splitn(2, |byte| *byte == 0);
    let text = String::from_utf8_lossy(pieces.next().unwrap_or_default());
    let body = pieces.next().unwrap_or_default();
    let codes = [
        code::BAD_HEADER,
        code::TOO_LARGE,
        code::TOO_DEEP,
        code::MALFORMED_BODY,
        code::UNSUPPORTED_CONTENT_TYPE,
    ];
    let read = match Input::read(&headers(text.split('\n')), body) {
        Ok(read) => read,
        Err(fault) => return explained(&fault, &codes),
    };
    if let Input::Signal { name, .. } = &read {
        assert!((1..=NAME_CHARS_MAX).contains(&name.chars().count()), "{name:?}");
    }
    let (headers, body) = read.write();
    match Input::read(&headers, &body) {
        Ok(again) => assert_eq!(again, read),
        // A message of a single value is wrapped when it is written.
        Err(fault) => {
            assert!([code::TOO_DEEP, code::TOO_LARGE].contains(&fault.code.as_str()), "{fault:?}");
        }
    }
    Verdict::Read
}

/// A request for approval and, behind a zero byte, a decision: whatever they say, a decision allows nothing but the
/// action whose hash it names.
fn approval(data: &[u8]) -> Verdict {
    let mut pieces = data.splitn(2, |byte| *byte == 0);
    let mut next = || pieces.next().unwrap_or_default();
    let request = match codec::json::<ApprovalRequest>(next()) {
        Ok(request) => request,
        Err(fault) => return explained(&fault, &[code::TOO_DEEP, code::MALFORMED_BODY]),
    };
    let decision = match codec::json::<Decision>(next()) {
        Ok(decision) => decision,
        Err(fault) => return explained(&fault, &[code::TOO_DEEP, code::MALFORMED_BODY]),
    };
    let (since, later) = (Timestamp::from_millis(0), Timestamp::from_millis(7_200_000));
    let ruled = request.rule(since, &[(3, later, &decision), (4, later, &decision)], false);
    if let Some((sequences, ruling)) = ruled {
        assert_eq!(decision.hash, request.hash, "another action was decided");
        assert_eq!((sequences, ruling.by.len()), (vec![3], 1), "one person counted twice");
        assert_eq!(ruling.action, decision.action, "another action than was decided");
        std::hint::black_box(request.raise(&ruling));
    }
    survives(&request);
    survives(&decision)
}

/// A message in MessagePack.
fn msgpack(data: &[u8]) -> Verdict {
    match codec::msgpack::<Message>(data) {
        Ok(message) => survives(&message),
        Err(fault) => explained(&fault, &[code::TOO_DEEP, code::MALFORMED_BODY]),
    }
}

/// Any document in either codec, held against every published schema and the type behind it.
fn contract(data: &[u8]) -> Verdict {
    static SCHEMAS: LazyLock<Vec<(&str, Schema)>> = LazyLock::new(|| {
        contract::ALL.iter().filter_map(|c| Some((c.name, c.compile().ok()?))).collect()
    });
    assert_eq!(SCHEMAS.len(), contract::ALL.len(), "a published schema is broken");
    let value = codec::json::<Value>(data).ok();
    let mut verdict = Verdict::Refused;
    for (name, schema) in SCHEMAS.iter() {
        for fault in value.iter().flat_map(|value| schema.faults(value, code::SCHEMA_MISMATCH)) {
            explained(&fault, &[code::SCHEMA_MISMATCH]);
        }
        for form in [Form::Json, Form::Msgpack] {
            let Ok(written) = judge::read(name, form, data) else { continue };
            verdict = Verdict::Read;
            // Headers are passed on as they came, in spellings that the schema does not state.
            if ["submission-headers", "input-headers"].contains(name) {
                continue;
            }
            let faults = schema.faults(&written, code::SCHEMA_MISMATCH);
            assert!(faults.is_empty(), "{name}: Weft writes what its schema refuses: {faults:?}");
        }
    }
    verdict
}

/// An agent's schema and, behind a zero byte, a value for it to judge.
fn schema(data: &[u8]) -> Verdict {
    let mut pieces = data.splitn(2, |byte| *byte == 0);
    let (source, value) = (pieces.next().unwrap_or_default(), pieces.next().unwrap_or_default());
    let Ok(source) = codec::json::<Value>(source) else { return Verdict::Refused };
    let Ok(schema) = Schema::compile(source) else { return Verdict::Refused };
    let value = codec::json(value).unwrap_or(Value::Null);
    if let Err(fault) = schema.check_input(&value) {
        explained(&fault, &[code::INVALID_INPUT]);
    }
    Verdict::Read
}

/// What was read can be written in both codecs and reads the same again.
fn survives<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) -> Verdict {
    let text = serde_json::to_vec(value).unwrap_or_default();
    assert_eq!(codec::stored::<T>(&text).as_ref(), Ok(value), "through JSON");
    let packed = codec::to_msgpack(value).unwrap_or_default();
    match codec::msgpack::<T>(&packed) {
        Ok(read) => assert_eq!(&read, value, "through MessagePack"),
        // What is wrapped around an input may take it over the limit for what comes from outside.
        Err(fault) => {
            assert_eq!(fault.code, code::TOO_DEEP);
            let in_json = codec::json::<T>(&text).err().map(|fault| fault.code);
            assert_eq!(in_json.as_deref(), Some(code::TOO_DEEP), "only MessagePack refuses it");
        }
    }
    Verdict::Read
}

/// A fault says what and where, in bounds.
fn explained(fault: &Fault, codes: &[&str]) -> Verdict {
    assert!(codes.contains(&fault.code.as_str()), "unexpected code: {fault:?}");
    assert!(!fault.message.is_empty(), "no message: {fault:?}");
    assert!(fault.place.as_ref().is_some_and(|place| !place.is_empty()), "no place: {fault:?}");
    for text in [Some(&fault.message), fault.place.as_ref(), fault.hint.as_ref()] {
        let chars = text.map_or(0, |text| text.chars().count());
        assert!(chars <= FAULT_CHARS_MAX + 64, "{chars} characters in a fault");
    }
    Verdict::Refused
}
