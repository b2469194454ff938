//! Bodies from the bus into A2A messages, and back.
//!
//! Anything may arrive here. Size and depth are checked on the raw bytes, before a decoder allocates;
//! what cannot be read becomes a [`Fault`] that says what, where and what to do.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::fault::{Fault, code};
use crate::limits::{DEPTH_MAX, PARTS_MAX, STORED_DEPTH_MAX, TASK_BYTES_MAX};
use crate::message::{Message, Part};

/// Any JSON value.
pub const JSON: &str = "application/json";
/// An A2A message in JSON.
pub const A2A_JSON: &str = "application/a2a+json";
/// An A2A message in MessagePack, with field names.
pub const MSGPACK: &str = "application/msgpack";
/// Plain text.
pub const TEXT: &str = "text/plain";

/// What a `Content-Type` makes of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Guess,
    Json,
    A2aJson,
    Msgpack,
    Text,
    Raw,
}

/// The list of what is read. Everything else is refused.
fn kind_of(content_type: Option<&str>) -> Result<Kind, Fault> {
    let Some(full) = content_type else { return Ok(Kind::Guess) };
    let essence = full.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        JSON => Ok(Kind::Json),
        A2A_JSON => Ok(Kind::A2aJson),
        MSGPACK | "application/x-msgpack" | "application/vnd.msgpack" => Ok(Kind::Msgpack),
        "application/octet-stream" | "application/pdf" | "application/zip" => Ok(Kind::Raw),
        text if text.starts_with("text/") => Ok(Kind::Text),
        media if ["image/", "audio/", "video/"].iter().any(|p| media.starts_with(p)) => {
            Ok(Kind::Raw)
        }
        _ => Err(Fault::new(
            code::UNSUPPORTED_CONTENT_TYPE,
            format!("content type {:?} is none that a task may have", cut(full)),
        )
        .at("header Content-Type")
        .hint(format!(
            "leave the header out, or use {JSON}, {A2A_JSON}, {MSGPACK}, text/*, image/*, audio/*, video/*, \
             application/pdf or application/octet-stream"
        ))),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Reads a task's body.
///
/// Without a content type, a JSON object or array is data, other UTF-8 is text, and the rest is bytes.
///
/// # Errors
/// A fault with one of the codes `too_large`, `too_deep`, `malformed_body`, `unsupported_content_type`.
pub fn decode_body(content_type: Option<&str>, body: &[u8]) -> Result<Message, Fault> {
    let kind = kind_of(content_type)?;
    if body.len() > TASK_BYTES_MAX {
        return Err(Fault::new(
            code::TOO_LARGE,
            format!("the body has {} bytes, at most {TASK_BYTES_MAX} are allowed", body.len()),
        )
        .at("body")
        .hint("put large parts into the object store and refer to them"));
    }
    let message = match kind {
        Kind::Guess => return guess(body),
        Kind::Json => Message::from_user(vec![Part::data(json(body)?)]),
        Kind::Text => Message::from_user(vec![Part {
            media_type: content_type.filter(|full| !full.starts_with(TEXT)).map(str::to_owned),
            ..Part::text(utf8(body)?)
        }]),
        Kind::Raw => {
            Message::from_user(vec![Part::raw(body.to_vec(), content_type.map(str::to_owned))])
        }
        Kind::A2aJson => json(body)?,
        Kind::Msgpack => msgpack(body)?,
    };
    check_parts(message)
}

fn guess(body: &[u8]) -> Result<Message, Fault> {
    let looks_like_json =
        body.iter().find(|b| !b.is_ascii_whitespace()).is_some_and(|b| matches!(b, b'{' | b'['));
    if looks_like_json {
        check_json(body, DEPTH_MAX, usize::MAX)?;
        if let Ok(value) = serde_json::from_slice::<Value>(body) {
            return Ok(Message::from_user(vec![Part::data(value)]));
        }
    }
    Ok(Message::from_user(vec![match std::str::from_utf8(body) {
        Ok(text) => Part::text(text),
        Err(_) => Part::raw(body.to_vec(), None),
    }]))
}

fn check_parts(message: Message) -> Result<Message, Fault> {
    if message.parts.is_empty() {
        return Err(Fault::new(code::MALFORMED_BODY, "the message has no part").at("$.parts"));
    }
    if message.parts.len() > PARTS_MAX {
        return Err(Fault::new(
            code::TOO_LARGE,
            format!(
                "the message has {} parts, at most {PARTS_MAX} are allowed",
                message.parts.len()
            ),
        )
        .at("$.parts"));
    }
    Ok(message)
}

fn utf8(body: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(body).map_err(|error| {
        Fault::new(code::MALFORMED_BODY, "the body is not UTF-8")
            .at(format!("byte {}", error.valid_up_to()))
            .hint("send it as application/octet-stream")
    })
}

/// Reads JSON from outside, within the depth limit [`DEPTH_MAX`].
///
/// # Errors
/// A fault with the place, `too_deep` or `malformed_body`.
pub fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    json_within(body, DEPTH_MAX)
}

/// Reads JSON that Weft itself wrote: log entries, dead letters, registrations. They hold what came in
/// within [`DEPTH_MAX`], and so nest deeper than it.
///
/// # Errors
/// As [`json`], at [`STORED_DEPTH_MAX`] levels.
pub fn stored<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    json_within(body, STORED_DEPTH_MAX)
}

fn json_within<T: DeserializeOwned>(body: &[u8], depth_max: usize) -> Result<T, Fault> {
    check_json(body, depth_max, usize::MAX)?;
    serde_json::from_slice(body).map_err(|error| {
        Fault::new(code::MALFORMED_BODY, format!("the body is not the JSON expected: {error}"))
            .at(format!("line {} column {}", error.line(), error.column()))
    })
}

/// Reads MessagePack within the depth limit; bytes left over are an error.
///
/// # Errors
/// A fault, `too_deep` or `malformed_body`.
pub fn msgpack<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    let mut reader = body;
    let mut decoder = rmp_serde::Deserializer::new(&mut reader);
    // This decoder refuses the level that it is given, not the one after it.
    decoder.set_max_depth(DEPTH_MAX + 1);
    let result = T::deserialize(&mut decoder);
    let malformed = |why: String| {
        Fault::new(code::MALFORMED_BODY, why).at(format!("byte {}", body.len() - reader.len()))
    };
    match result {
        Ok(value) if reader.is_empty() => Ok(value),
        Ok(_) => Err(malformed(format!("{} bytes follow the MessagePack value", reader.len()))),
        Err(rmp_serde::decode::Error::DepthLimitExceeded) => Err(too_deep(DEPTH_MAX)),
        Err(error) => Err(malformed(format!("the body is not the MessagePack expected: {error}"))),
    }
}

/// Writes MessagePack with field names.
///
/// # Errors
/// When the value holds what MessagePack cannot; none of this crate's types does.
pub fn to_msgpack<T: Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
    rmp_serde::to_vec_named(value)
        .map_err(|error| Fault::new(code::MALFORMED_BODY, error.to_string()))
}

fn too_deep(depth_max: usize) -> Fault {
    Fault::new(code::TOO_DEEP, format!("the body nests deeper than {depth_max} levels")).at("body")
}

/// Judges a value that a program made, by the depth limit [`DEPTH_MAX`] of what comes from outside.
///
/// # Errors
/// A `too_deep` fault.
pub fn check_depth(value: &Value) -> Result<(), Fault> {
    let mut open = vec![(value, 1_usize)];
    while let Some((value, depth)) = open.pop() {
        let inside = depth + 1;
        match value {
            Value::Array(_) | Value::Object(_) if depth > DEPTH_MAX => {
                return Err(too_deep(DEPTH_MAX));
            }
            Value::Array(items) => open.extend(items.iter().map(|item| (item, inside))),
            Value::Object(fields) => open.extend(fields.values().map(|field| (field, inside))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    Ok(())
}

/// Judges a JSON text before a parser sees it: by the depth limit [`DEPTH_MAX`], and by how many values it may hold.
///
/// # Errors
/// A `too_deep` or a `too_large` fault.
pub fn check_text(text: &[u8], values_max: usize) -> Result<(), Fault> {
    check_json(text, DEPTH_MAX, values_max)
}

/// Counts brackets and commas outside strings; malformed text is left for the parser to judge.
fn check_json(body: &[u8], depth_max: usize, values_max: usize) -> Result<(), Fault> {
    let (mut depth, mut values) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in body {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => {
                (depth, values) = (depth + 1, values + 1);
                if depth > depth_max {
                    return Err(too_deep(depth_max));
                }
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            (false, b',') => values += 1,
            _ => {}
        }
    }
    if values <= values_max {
        return Ok(());
    }
    let message = format!("the JSON has more than {values_max} values; send them as a file");
    Err(Fault::new(code::TOO_LARGE, message).at("body"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_value_is_judged_like_its_text() {
        for (levels, fine) in [(1, true), (DEPTH_MAX, true), (DEPTH_MAX + 1, false)] {
            let text = ["[".repeat(levels), "]".repeat(levels)].concat();
            let value = serde_json::from_str(&text).unwrap();
            assert_eq!(check_depth(&value).is_ok(), fine, "{levels}");
            assert_eq!(json::<Value>(text.as_bytes()).is_ok(), fine, "{levels}");
        }
    }

    use serde_json::json;

    use super::*;
    use crate::message::{Content, value_of};

    #[test]
    fn without_a_content_type_the_body_speaks_for_itself() {
        for (body, expected) in [
            (&b"hello"[..], json!("hello")),
            (b"", json!("")),
            (b"17", json!("17")),
            (b" {\"a\": 1}", json!({"a": 1})),
            (b"[1]", json!([1])),
            (b"{not json", json!("{not json")),
        ] {
            assert_eq!(value_of(&decode_body(None, body).unwrap().parts), expected);
        }
        let bytes = decode_body(None, &[0xff, 0]).unwrap();
        assert_eq!(bytes.parts[0].content, Content::Raw(vec![0xff, 0]));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let deep = "[".repeat(65);
        for (content_type, body, expected) in [
            (Some("application/json"), &b"{"[..], code::MALFORMED_BODY),
            (Some("application/json; charset=utf-8"), b"\xff", code::MALFORMED_BODY),
            (Some("text/plain"), b"\xff", code::MALFORMED_BODY),
            (Some("application/xml"), b"<a/>", code::UNSUPPORTED_CONTENT_TYPE),
            (Some("application/a2a+json"), b"{\"parts\":[]}", code::MALFORMED_BODY),
            (Some("application/a2a+json"), b"{\"parts\":[{}]}", code::MALFORMED_BODY),
            (Some("application/msgpack"), b"\xc1", code::MALFORMED_BODY),
            (Some("application/json"), deep.as_bytes(), code::TOO_DEEP),
            (None, deep.as_bytes(), code::TOO_DEEP),
            (None, &vec![b'x'; TASK_BYTES_MAX + 1], code::TOO_LARGE),
        ] {
            let fault = decode_body(content_type, body).unwrap_err();
            assert_eq!(fault.code, expected, "{content_type:?}");
        }
    }

    #[test]
    fn both_codecs_stop_at_the_same_depth() {
        for (levels, fine) in [(DEPTH_MAX, true), (DEPTH_MAX + 1, false), (100_000, false)] {
            let packed = [vec![0x91; levels - 1], vec![0x90]].concat();
            let text = ["[".repeat(levels), "]".repeat(levels)].concat();
            for read in [msgpack::<Value>(&packed), json::<Value>(text.as_bytes())] {
                assert_eq!(read.is_ok(), fine, "{levels} levels");
                assert!(read.map_or_else(|fault| fault.code == code::TOO_DEEP, |_| true));
            }
        }
    }

    #[test]
    fn what_was_let_in_can_be_read_from_a_log_again() {
        let text = ["[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX)].concat();
        let message = decode_body(Some(JSON), text.as_bytes()).unwrap();
        let wrapped = serde_json::to_vec(&json!({"a": {"b": [{"c": message}]}})).unwrap();
        assert!(json::<Value>(&wrapped).is_err());
        assert!(stored::<Value>(&wrapped).is_ok());
    }

    #[test]
    fn both_codecs_carry_the_same_message() {
        let message = Message {
            message_id: "m".to_owned(),
            ..Message::from_user(vec![
                Part::text("a"),
                Part::data(json!({"n": [1, 2.5, null]})),
                Part::raw(vec![0, 255], Some("image/png".to_owned())),
            ])
        };
        let as_json = serde_json::to_vec(&message).unwrap();
        assert_eq!(decode_body(Some(A2A_JSON), &as_json).unwrap(), message);
        let packed = to_msgpack(&message).unwrap();
        assert_eq!(decode_body(Some(MSGPACK), &packed).unwrap(), message);
    }
}
