//! Makes new inputs from good ones: the same ones for the same seed, for ever and on every platform.
//!
//! Half of the changes are made to bytes, which tries the parsers; the other half to the tree of a document,
//! so that most of what comes out parses and tries what lies behind the parser.

#![expect(clippy::indexing_slicing, reason = "a helper of a test may fail the test")]

use serde_json::{Map, Value, json};
use weft_protocol::codec;

use crate::judge::Form;

mod bytes;

pub(crate) use bytes::Random;
use bytes::scratch;

/// A good input: bytes, and in most cases a document among them.
pub(crate) struct Seed {
    pub(crate) before: Vec<u8>,
    pub(crate) document: Option<(Value, Form)>,
    pub(crate) after: Vec<u8>,
}

impl Seed {
    /// The input itself.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let document = self.document.as_ref().map(|(value, form)| encoded(value, *form));
        [&self.before[..], &document.unwrap_or_default(), &self.after].concat()
    }

    /// A changed input.
    pub(crate) fn mutated(&self, random: &mut Random, others: &[Self]) -> Vec<u8> {
        match &self.document {
            _ if random.below(32) == 0 => random.bytes(),
            Some((value, form)) if random.below(2) == 0 => {
                let mut value = value.clone();
                for _ in 0..=random.below(2) {
                    reshape(&mut value, random, others);
                }
                [&self.before[..], &encoded(&value, *form), &self.after].concat()
            }
            _ => {
                let mut data = self.bytes();
                for _ in 0..=random.below(3) {
                    scratch(&mut data, random, PIECES, |random| random.pick(others).bytes());
                }
                data
            }
        }
    }
}

fn encoded(value: &Value, form: Form) -> Vec<u8> {
    match form {
        Form::Json => value.to_string().into_bytes(),
        Form::Msgpack => codec::to_msgpack(value).unwrap_or_default(),
    }
}

/// Pieces that parsers trip over.
const PIECES: &[&[u8]] = &[
    b"null",
    b"-1",
    b"1e400",
    b"-0.0",
    b"18446744073709551616",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"\0",
    b"\r",
    b"\n",
    b"\xff",
    b"\xc1",
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\x91",
    b"\x81",
    b"\xc7\x04\x01",
    b"\xca\x7f\xc0\0\0",
    b"\xf0\x9f\xa6\x80",
    b"\nWeft-Deadline:9223372036854775807h",
    b"\nWeft-Deadline:-009999-01-01T00:00:00Z",
    b"\nWeft-Deadline:9999-12-31T23:59:59-25:59",
    b"\nWeft-Reply-To:a.b",
    b"\nWeft-Dedup-Key:k",
    b"\nWeft-Budget:{\"tokens\":18446744073709551615}",
    b"\nWeft-Budget:{\"wallClockMs\":18446744073709551615}",
    b"\nWeft-Lane:l",
    b"\nWeft-Input:signal\nWeft-Name:n",
    b"\ntraceparent:\r",
];

/// Changes one place of a document.
fn reshape(value: &mut Value, random: &mut Random, others: &[Seed]) {
    let stop = random.below(4) == 0;
    match value {
        Value::Object(members) if !stop && !members.is_empty() => {
            let index = random.below(members.len());
            let name = members.keys().nth(index).cloned().unwrap_or_default();
            match random.below(12) {
                0 => drop(members.remove(&name)),
                1 => drop(members.insert(text(random), scalar(random))),
                _ => members
                    .values_mut()
                    .skip(index)
                    .take(1)
                    .for_each(|inner| reshape(inner, random, others)),
            }
        }
        Value::Array(items) if !stop && !items.is_empty() => {
            let index = random.below(items.len());
            match random.below(8) {
                0 => drop(items.remove(index)),
                1 => items.extend_from_within(index..),
                _ => items
                    .iter_mut()
                    .skip(index)
                    .take(1)
                    .for_each(|inner| reshape(inner, random, others)),
            }
        }
        Value::String(kept) if random.below(2) == 0 => *kept = text(random),
        Value::Number(_) if random.below(2) == 0 => {
            *value = json!(random.next() >> random.below(64))
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => *value = other_value(random, others),
    }
}

fn other_value(random: &mut Random, others: &[Seed]) -> Value {
    match random.below(8) {
        0 => others[random.below(others.len())]
            .document
            .clone()
            .map_or(Value::Null, |(value, _)| value),
        1 => (0..random.below(90)).fold(scalar(random), |inner, _| json!([inner])),
        2 => (0..random.below(90)).fold(scalar(random), |inner, _| json!({"data": inner})),
        3 => Value::Object(Map::new()),
        _ => scalar(random),
    }
}

fn scalar(random: &mut Random) -> Value {
    match random.below(8) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 => json!(random.next() >> random.below(64)),
        3 => json!((random.next() >> random.below(64)).cast_signed()),
        4 => json!(f64::from_bits(random.next())),
        _ => Value::String(text(random)),
    }
}

/// A word of the wire, or characters from all over Unicode.
fn text(random: &mut Random) -> String {
    const WORDS: &[&str] = &[
        "",
        "text",
        "raw",
        "url",
        "data",
        "_-8",
        "ROLE_AGENT",
        "user",
        "completed",
        "step",
        "children",
        "lost",
        "s17",
        "a.b",
        "2026-11-21T12:36:58.0079Z",
        "0000-01-01T00:00:00+23:59",
        "weft-object:x",
        "$ref",
        "#",
        "pattern",
        "(a+)+$",
        "multipleOf",
        "minLength",
        "unevaluatedProperties",
        "message_id",
        "approve",
        "edit",
        "signal",
        "time",
    ];
    if random.below(2) == 0 {
        return (*random.pick(WORDS)).to_owned();
    }
    let length = random.below(9) * random.below(12);
    let widest = *random.pick(&[0x7f, 0xff, 0xffff, 0x10_ffff]);
    (0..length).filter_map(|_| char::from_u32(u32::try_from(random.below(widest)).ok()?)).collect()
}
