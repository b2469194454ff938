//! Makes an input small enough for the inbox: what is over the inline limit goes to the object store first.
//!
//! Small inputs are sent as they are, byte for byte. A large one becomes an A2A message with a reference, which
//! names the hash of its content: the same input under the same dedup key is the same body again.

use bytes::Bytes;
use protocol::codec::{self, A2A_JSON, JSON, MSGPACK};
use protocol::fault::{Fault, code};
use protocol::limits::{INLINE_PART_BYTES_MAX, OBJECT_BYTES_MAX};
use protocol::message::{Content, Message, OBJECT_CONTENT, OBJECT_SCHEME, Part};
use runtime::bus::{Bus, ObjectError};
use serde_json::Value;

use crate::failure::{Exit, Failure};

/// A body and its content type, as they are submitted.
pub(crate) type Body = (Bytes, Option<String>);

/// Why an input cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LargeError {
    /// It is not what its content type says, or what can be sent.
    #[error("the input cannot be sent: {0}")]
    Input(Fault),
    /// It cannot be stored.
    #[error("the input is over {INLINE_PART_BYTES_MAX} bytes and cannot be stored as an object")]
    Store(#[source] ObjectError),
}

impl From<LargeError> for Failure {
    fn from(error: LargeError) -> Self {
        match error {
            LargeError::Input(_) => Self::new(Exit::Usage, &error),
            LargeError::Store(_) => Self::new(Exit::Failure, &error)
                .todo("weft doctor tells whether the object store exists and may be written"),
        }
    }
}

/// The body to submit for an input.
pub(crate) async fn body(
    bus: &Bus,
    input: Bytes,
    content_type: Option<String>,
) -> Result<Body, LargeError> {
    if input.len() <= INLINE_PART_BYTES_MAX {
        return Ok((input, content_type));
    }
    let mut message = message(&input, content_type.as_deref()).map_err(LargeError::Input)?;
    for part in &mut message.parts {
        if let Some((held_as, bytes)) = large_content(part) {
            if bytes.len() > OBJECT_BYTES_MAX {
                let what = format!("a part has {} bytes, at most {OBJECT_BYTES_MAX}", bytes.len());
                return Err(LargeError::Input(Fault::new(code::TOO_LARGE, what)));
            }
            let name = bus.put_object(bytes).await.map_err(LargeError::Store)?;
            part.content = Content::Url(format!("{OBJECT_SCHEME}{name}"));
            let metadata = part.metadata.get_or_insert_default();
            metadata.insert(OBJECT_CONTENT.to_owned(), held_as.into());
        }
    }
    let body = serde_json::to_vec(&message)
        .map_err(|error| LargeError::Input(Fault::new(code::MALFORMED_BODY, error.to_string())))?;
    Ok((body.into(), Some(A2A_JSON.to_owned())))
}

/// The message that a node would read from this input, were it small.
fn message(input: &Bytes, content_type: Option<&str>) -> Result<Message, Fault> {
    let kind = content_type
        .map(|full| full.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let text = |input: &Bytes| String::from_utf8(input.to_vec()).ok();
    let part = match kind.as_deref() {
        Some(A2A_JSON) => return codec::json(input),
        Some(MSGPACK) => return codec::msgpack(input),
        Some(JSON) => Part::data(codec::json(input)?),
        Some(kind) if kind.starts_with("text/") => {
            let text = text(input).ok_or_else(|| {
                Fault::new(code::MALFORMED_BODY, "the input is not UTF-8")
                    .hint("leave --content-type out, or use application/octet-stream")
            })?;
            Part { media_type: content_type.map(str::to_owned), ..Part::text(text) }
        }
        // Judges the type alone: the types that may be raw are the codec's business.
        Some(_) => {
            codec::decode_body(content_type, b"")?;
            Part::raw(input.to_vec(), content_type.map(str::to_owned))
        }
        None => guess(input)?,
    };
    Ok(Message::from_user(vec![part]))
}

fn guess(input: &Bytes) -> Result<Part, Fault> {
    let first = input.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|byte| matches!(byte, b'{' | b'[')) {
        match codec::json::<Value>(input) {
            Ok(value) => return Ok(Part::data(value)),
            Err(fault) if fault.code == code::TOO_DEEP => return Err(fault),
            Err(_) => {}
        }
    }
    Ok(match String::from_utf8(input.to_vec()) {
        Ok(text) => Part::text(text),
        Err(error) => Part::raw(error.into_bytes(), None),
    })
}

/// What of a part is over the inline limit, and as what it is held.
fn large_content(part: &Part) -> Option<(&'static str, Bytes)> {
    let (held_as, bytes) = match &part.content {
        Content::Url(_) => return None,
        Content::Text(text) => ("text", Bytes::from(text.clone())),
        Content::Raw(raw) => ("raw", Bytes::from(raw.clone())),
        Content::Data(value) => ("data", Bytes::from(value.to_string())),
    };
    // Base64 makes three bytes four.
    let inline_bytes_max = match part.content {
        Content::Raw(_) => INLINE_PART_BYTES_MAX / 4 * 3,
        Content::Text(_) | Content::Data(_) | Content::Url(_) => INLINE_PART_BYTES_MAX,
    };
    (bytes.len() > inline_bytes_max).then_some((held_as, bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_large_input_is_read_as_a_node_reads_a_small_one() {
        for (content_type, input) in [
            (None, &b"plain"[..]),
            (None, b"[1, 2]"),
            (None, b"{ not json"),
            (None, b"\xff\x00"),
            (Some("application/json"), b"7"),
            (Some("application/json; charset=utf-8"), b"{}"),
            (Some("text/markdown"), b"# a"),
            (Some("image/png"), b"\x89PNG"),
            (Some("application/a2a+json"), b"{\"parts\":[{\"text\":\"a\"}]}"),
        ] {
            let ours = message(&Bytes::from_static(input), content_type).unwrap();
            let theirs = codec::decode_body(content_type, input).unwrap();
            assert_eq!(ours, theirs, "{content_type:?}");
        }
        for (content_type, input) in [
            (Some("application/json"), &b"{"[..]),
            (Some("text/plain"), b"\xff"),
            (Some("application/xml"), b"<a/>"),
        ] {
            let ours = message(&Bytes::from_static(input), content_type).unwrap_err();
            let theirs = codec::decode_body(content_type, input).unwrap_err();
            assert_eq!(ours.code, theirs.code, "{content_type:?}");
        }
    }

    #[test]
    fn only_what_is_large_leaves_the_message() {
        let long = "x".repeat(INLINE_PART_BYTES_MAX);
        for (part, held_as) in [
            (Part::text(long.clone()), None),
            (Part::text(format!("{long}x")), Some("text")),
            (Part::data(json!([long])), Some("data")),
            (Part::raw(vec![0; INLINE_PART_BYTES_MAX], None), Some("raw")),
            (Part::url(format!("https://example.org/{long}")), None),
        ] {
            assert_eq!(large_content(&part).map(|(held_as, _)| held_as), held_as);
        }
    }
}
