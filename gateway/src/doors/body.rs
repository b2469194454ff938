//! Reads request bodies: the one place where bytes of strangers become values.
//!
//! Size and depth are measured before a parser allocates, and whatever does not fit is named by its place, as in
//! `message.parts[0].raw`. Both spellings of a field are read and unknown fields are ignored; a member that is null
//! counts as left out, as ProtoJSON has it.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use protocol::codec;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::a2a::error::{Error, Violation};
use crate::limits::{BODY_BYTES_MAX, BODY_WAIT_MAX, JSON_VALUES_MAX};

/// Reads a body as bytes.
///
/// # Errors
/// When it is over the limit, takes too long, or breaks off.
pub async fn bytes(body: Body) -> Result<Bytes, Error> {
    let limited = Limited::new(body, BODY_BYTES_MAX);
    match tokio::time::timeout(BODY_WAIT_MAX, limited.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Error::TooLarge(format!("the body has more than {BODY_BYTES_MAX} bytes")))
        }
        Ok(Err(error)) => Err(Error::Parse(format!("the body breaks off: {error}"))),
        Err(_) => Err(Error::InvalidRequest(format!("the body took over {BODY_WAIT_MAX:?}"))),
    }
}

/// Checks what the body says that it is; saying nothing is fine.
///
/// # Errors
/// [`Error::ContentTypeNotSupported`].
pub fn check_type(headers: &HeaderMap, allowed: &[&str]) -> Result<(), Error> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let said = String::from_utf8_lossy(value.as_bytes());
    let essence = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if allowed.contains(&essence.as_str()) {
        return Ok(());
    }
    Err(Error::ContentTypeNotSupported {
        media_type: format!("a body of {:?}", essence.chars().take(80).collect::<String>()),
        agent: "this address".to_owned(),
        supported: allowed.iter().map(|&media_type| media_type.to_owned()).collect(),
    })
}

/// Reads JSON within the limits of depth and number: a value takes a hundred times the room of its text.
///
/// # Errors
/// [`Error::Parse`], or [`Error::TooLarge`] when it nests too deep or has too many values.
pub fn json(text: &[u8]) -> Result<Value, Error> {
    codec::check_text(text, JSON_VALUES_MAX).map_err(|fault| Error::TooLarge(fault.message))?;
    serde_json::from_slice(text).map_err(|error| Error::Parse(error.to_string()))
}

/// Reads a request out of its JSON.
///
/// # Errors
/// [`Error::InvalidParams`] with every required field that is missing, or with the first one that is wrong.
pub fn request<T: DeserializeOwned>(mut value: Value, required: &[&str]) -> Result<T, Error> {
    // A list would be read as the fields of a struct, in their order.
    if !value.is_object() {
        return Err(Error::field("params", "has to be an object"));
    }
    drop_nulls(&mut value);
    let missing: Vec<Violation> = required
        .iter()
        .filter(|path| is_missing(&value, path))
        .map(|path| Violation { field: (*path).to_owned(), description: "is required".to_owned() })
        .collect();
    if !missing.is_empty() {
        return Err(Error::InvalidParams(missing));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (path, why) = (error.path().to_string(), error.inner().to_string());
        Error::field(place(&path, &why), why)
    })
}

/// Where it is wrong. A part is read as a whole, so that only the words say which of its fields is meant.
fn place(path: &str, why: &str) -> String {
    let in_raw = if why.starts_with("raw is not base64") { ".raw" } else { "" };
    format!("{path}{in_raw}")
}

/// Whether a required field is not there, or as empty as protobuf leaves a field that was not set. What should be an
/// object and is none is left to the reader, which says so.
fn is_missing(value: &Value, path: &str) -> bool {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let Value::Object(members) = value else { return false };
    let member = members.get(name).or_else(|| members.get(super::query::snake_case(name).as_str()));
    match (member, rest) {
        (None, _) => true,
        (Some(member), Some(rest)) => is_missing(member, rest),
        (Some(Value::String(text)), None) => text.is_empty() || text == "ROLE_UNSPECIFIED",
        (Some(Value::Array(items)), None) => items.is_empty(),
        (Some(_), None) => false,
    }
}

/// Takes out members that are null. What belongs to the user is left as it is.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, member| !member.is_null() || name == "data");
            for (name, member) in members {
                if name != "data" && name != "metadata" {
                    drop_nulls(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
