//! A2A messages and the parts they are made of, as ProtoJSON writes them.
//!
//! `camelCase` out, `camelCase` and `snake_case` in, unknown fields ignored (A2A 1.0, section 5). A part
//! is exactly one of text, raw bytes, URL or data; the type cannot hold anything else.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde::de::{self, Unexpected, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// The scheme of a URL that names an object in Weft's own object store: `weft-object:<name>`.
pub const OBJECT_SCHEME: &str = "weft-object:";
/// The key of a referring part's metadata that says as what the object was held: `text`, `raw` or `data`.
pub const OBJECT_CONTENT: &str = "weft/content";
/// The key in the metadata of a result's first part that makes it a direct reply: an A2A client is answered with a message
/// rather than with the task.
pub const REPLY: &str = "weft/reply";

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Role {
    /// The submitter.
    #[default]
    #[serde(rename = "ROLE_USER")]
    User,
    /// The agent.
    #[serde(rename = "ROLE_AGENT")]
    Agent,
}

/// ProtoJSON reads an enum by name or by number.
impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RoleVisitor)
    }
}

struct RoleVisitor;

impl Visitor<'_> for RoleVisitor {
    type Value = Role;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ROLE_USER (1) or ROLE_AGENT (2)")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Role, E> {
        match name {
            "ROLE_USER" | "user" => Ok(Role::User),
            "ROLE_AGENT" | "agent" => Ok(Role::Agent),
            _ => Err(E::invalid_value(Unexpected::Str(name), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Role, E> {
        match number {
            1 => Ok(Role::User),
            2 => Ok(Role::Agent),
            _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Role, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Role, E> {
        match number {
            1.0 => Ok(Role::User),
            2.0 => Ok(Role::Agent),
            _ => Err(E::invalid_value(Unexpected::Float(number), &self)),
        }
    }
}

/// What a part holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Text.
    Text(String),
    /// Bytes; base64 in JSON.
    Raw(Vec<u8>),
    /// A reference, also to Weft's object store ([`OBJECT_SCHEME`]).
    Url(String),
    /// Any JSON value.
    Data(Value),
}

/// One piece of a message or an artifact.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "PartWire")]
pub struct Part {
    /// What it holds.
    pub content: Content,
    /// Its media type, where the content does not say enough.
    pub media_type: Option<String>,
    /// Its file name.
    pub filename: Option<String>,
    /// Anything else.
    pub metadata: Option<Map<String, Value>>,
}

impl Part {
    fn of(content: Content) -> Self {
        Self { content, media_type: None, filename: None, metadata: None }
    }

    /// A text part.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Content::Text(text.into()))
    }

    /// A data part.
    #[must_use]
    pub fn data(value: Value) -> Self {
        Self::of(Content::Data(value))
    }

    /// A part of raw bytes.
    #[must_use]
    pub fn raw(bytes: Vec<u8>, media_type: Option<String>) -> Self {
        Self { media_type, ..Self::of(Content::Raw(bytes)) }
    }

    /// A part that refers to something elsewhere.
    #[must_use]
    pub fn url(url: impl Into<String>) -> Self {
        Self::of(Content::Url(url.into()))
    }

    /// The name of the object in Weft's store that this part refers to.
    #[must_use]
    pub fn object(&self) -> Option<&str> {
        match &self.content {
            Content::Url(url) => url.strip_prefix(OBJECT_SCHEME),
            Content::Text(_) | Content::Raw(_) | Content::Data(_) => None,
        }
    }
}

/// A result, marked as a direct reply.
#[must_use]
pub fn as_reply(mut result: Vec<Part>) -> Vec<Part> {
    if let Some(first) = result.first_mut() {
        first.metadata.get_or_insert_default().insert(REPLY.to_owned(), Value::Bool(true));
    }
    result
}

/// A result that is no direct reply, whatever was said of the parts that it was made from.
#[must_use]
pub fn as_no_reply(mut result: Vec<Part>) -> Vec<Part> {
    for part in &mut result {
        part.metadata.as_mut().and_then(|facts| facts.remove(REPLY));
        part.metadata.take_if(|facts| facts.is_empty());
    }
    result
}

/// Whether a result is a direct reply.
#[must_use]
pub fn is_reply(result: &[Part]) -> bool {
    let facts = result.first().and_then(|part| part.metadata.as_ref());
    facts.and_then(|facts| facts.get(REPLY)) == Some(&Value::Bool(true))
}

/// [`Part`] with a field per kind, as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartWire {
    text: Option<String>,
    raw: Option<String>,
    url: Option<String>,
    #[serde(default, deserialize_with = "present")]
    data: Option<Value>,
    #[serde(alias = "media_type")]
    media_type: Option<String>,
    filename: Option<String>,
    metadata: Option<Map<String, Value>>,
}

/// Keeps `"data": null` apart from no `data` at all.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl TryFrom<PartWire> for Part {
    type Error = String;

    fn try_from(wire: PartWire) -> Result<Self, String> {
        let PartWire { text, raw, url, data, media_type, filename, metadata } = wire;
        let content = match (text, raw, url, data) {
            (Some(text), None, None, None) => Content::Text(text),
            (None, Some(raw), None, None) => Content::Raw(
                base64_bytes(&raw).map_err(|error| format!("raw is not base64: {error}"))?,
            ),
            (None, None, Some(url), None) => Content::Url(url),
            (None, None, None, Some(data)) => Content::Data(data),
            (None, None, None, None) => {
                return Err("a part needs one of text, raw, url, data and has none".to_owned());
            }
            _ => return Err("a part needs one of text, raw, url, data and has several".to_owned()),
        };
        Ok(Self { content, media_type, filename, metadata })
    }
}

/// Reads base64 as ProtoJSON has it: standard or URL-safe, with or without padding.
fn base64_bytes(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const READER: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    READER.decode(text.replace('-', "+").replace('_', "/"))
}

/// One entry of a map: the kind of content under its own name, nothing copied but bytes, which become base64.
impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.content {
            Content::Text(text) => map.serialize_entry("text", text)?,
            Content::Raw(bytes) => map.serialize_entry("raw", &STANDARD.encode(bytes))?,
            Content::Url(url) => map.serialize_entry("url", url)?,
            Content::Data(value) => map.serialize_entry("data", value)?,
        }
        if let Some(media_type) = &self.media_type {
            map.serialize_entry("mediaType", media_type)?;
        }
        if let Some(filename) = &self.filename {
            map.serialize_entry("filename", filename)?;
        }
        if let Some(metadata) = &self.metadata {
            map.serialize_entry("metadata", metadata)?;
        }
        map.end()
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Chosen by the sender. Real clients repeat it: never a dedup key.
    #[serde(default, alias = "message_id")]
    pub message_id: String,
    /// The conversation.
    #[serde(default, alias = "context_id", skip_serializing_if = "Option::is_none")]
    pub context_id: Option<String>,
    /// The task that this is a follow-up to.
    #[serde(default, alias = "task_id", skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Who speaks.
    #[serde(default)]
    pub role: Role,
    /// What is said.
    pub parts: Vec<Part>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// URIs of the A2A extensions in use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// Earlier tasks it refers to.
    #[serde(default, alias = "reference_task_ids", skip_serializing_if = "Vec::is_empty")]
    pub reference_task_ids: Vec<String>,
}

impl Message {
    /// A submitter's message of these parts.
    #[must_use]
    pub fn from_user(parts: Vec<Part>) -> Self {
        Self { parts, ..Self::default() }
    }

    /// An agent's message of one text.
    #[must_use]
    pub fn from_agent(text: impl Into<String>) -> Self {
        Self { role: Role::Agent, parts: vec![Part::text(text)], ..Self::default() }
    }
}

/// The one JSON value that a list of parts stands for, which schemas judge and typed agents read:
/// the value of a lone data part, the string of a lone text part, otherwise the list of parts itself.
#[must_use]
pub fn value_of(parts: &[Part]) -> Value {
    if let [part] = parts {
        match &part.content {
            Content::Data(value) => return value.clone(),
            Content::Text(text) => return Value::String(text.clone()),
            Content::Raw(_) | Content::Url(_) => {}
        }
    }
    serde_json::to_value(parts).unwrap_or(Value::Null)
}

/// The part that stands for a JSON value: the inverse of [`value_of`].
#[must_use]
pub fn part_of(value: Value) -> Part {
    match value {
        Value::String(text) => Part::text(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Part::data(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_part_is_exactly_one_thing() {
        for (wire, fine) in [
            (json!({"text": "a"}), true),
            (json!({"data": null}), true),
            (json!({"raw": "aGk=", "media_type": "text/plain"}), true),
            (json!({"url": "https://example.org/x", "unknown": 1}), true),
            (json!({}), false),
            (json!({"text": "a", "data": 1}), false),
            (json!({"raw": "not base64!"}), false),
        ] {
            let read = serde_json::from_value::<Part>(wire.clone());
            assert_eq!(read.is_ok(), fine, "{wire}");
        }
    }

    #[test]
    fn raw_bytes_come_in_every_base64_and_go_in_one() {
        for text in ["+/8=", "-_8=", "+/8", "-_8", "-/9"] {
            let part: Part = serde_json::from_value(json!({"raw": text})).unwrap();
            assert_eq!(part.content, Content::Raw(vec![0xfb, 0xff]), "{text}");
            assert_eq!(serde_json::to_value(&part).unwrap(), json!({"raw": "+/8="}));
        }
    }

    #[test]
    fn both_spellings_are_read_and_camel_case_is_written() {
        let snake = json!({"message_id": "m", "context_id": "c", "role": "ROLE_USER",
            "parts": [{"raw": "aGk=", "media_type": "x/y"}]});
        let message: Message = serde_json::from_value(snake).unwrap();
        assert_eq!(
            serde_json::to_value(&message).unwrap(),
            json!({"messageId": "m", "contextId": "c", "role": "ROLE_USER",
                "parts": [{"raw": "aGk=", "mediaType": "x/y"}]})
        );
    }

    #[test]
    fn a_role_is_read_by_name_and_by_number_and_written_by_name() {
        for (wire, expected) in [
            (json!("ROLE_USER"), Some(Role::User)),
            (json!("agent"), Some(Role::Agent)),
            (json!(1), Some(Role::User)),
            (json!(2), Some(Role::Agent)),
            (json!(2.0), Some(Role::Agent)),
            (json!(1.5), None),
            (json!("ROLE_UNSPECIFIED"), None),
            (json!(0), None),
            (json!(-1), None),
            (json!(3), None),
            (json!({}), None),
        ] {
            assert_eq!(serde_json::from_value::<Role>(wire.clone()).ok(), expected, "{wire}");
        }
        assert_eq!(json!(Role::Agent), json!("ROLE_AGENT"));
    }

    #[test]
    fn a_reply_is_a_result_that_says_so() {
        let result = || vec![Part::text("a"), Part::text("b")];
        assert!(!is_reply(&result()) && !is_reply(&[]));
        assert!(is_reply(&as_reply(result())) && as_reply(Vec::new()).is_empty());
        assert_eq!(value_of(&as_reply(vec![Part::text("a")])), json!("a"));
        assert_eq!(as_no_reply(as_reply(result())), result(), "nobody can bring it along");
    }

    #[test]
    fn a_value_and_its_part_are_inverse() {
        for value in [json!("text"), json!({"a": [1]}), json!(null), json!(7)] {
            assert_eq!(value_of(&[part_of(value.clone())]), value);
        }
    }
}
