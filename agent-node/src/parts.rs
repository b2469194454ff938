//! Moves large parts between messages and the object store.
//!
//! The log and the queues stay small: a part over the inline limit is stored as an object and replaced by a
//! `weft-object:` reference; before an agent sees its input, references are replaced by what they name.

use bytes::Bytes;
use protocol::fault::{Failure, Fault, code};
use protocol::limits::{INLINE_PART_BYTES_MAX, OBJECT_BYTES_MAX};
use protocol::message::{Content, OBJECT_CONTENT, OBJECT_SCHEME, Part};

use crate::agent::Stop;
use crate::context::bus_stop;
use crate::scribe::Scribe;

/// Stores every part over the inline limit and refers to it.
///
/// # Errors
/// A permanent failure when a part is over the object limit; [`Stop::Fenced`] when the bus is gone.
pub async fn store_large(scribe: &Scribe, parts: Vec<Part>) -> Result<Vec<Part>, Stop> {
    let mut stored = Vec::with_capacity(parts.len());
    for part in parts {
        stored.push(Box::pin(store_one(scribe, part)).await?);
    }
    Ok(stored)
}

async fn store_one(scribe: &Scribe, mut part: Part) -> Result<Part, Stop> {
    let (kind, bytes) = match &part.content {
        Content::Url(_) => return Ok(part),
        Content::Text(text) if text.len() <= INLINE_PART_BYTES_MAX => return Ok(part),
        Content::Text(text) => ("text", Bytes::from(text.clone())),
        Content::Raw(raw) if raw.len() * 4 / 3 <= INLINE_PART_BYTES_MAX => return Ok(part),
        Content::Raw(raw) => ("raw", Bytes::from(raw.clone())),
        Content::Data(value) => {
            protocol::codec::check_depth(value)
                .map_err(|fault| Stop::Failed { failure: Failure::Permanent, fault })?;
            let text = value.to_string();
            if text.len() <= INLINE_PART_BYTES_MAX {
                return Ok(part);
            }
            ("data", Bytes::from(text))
        }
    };
    if bytes.len() > OBJECT_BYTES_MAX {
        return Err(Stop::Failed {
            failure: Failure::Permanent,
            fault: Fault::new(
                code::TOO_LARGE,
                format!("a part has {} bytes, at most {OBJECT_BYTES_MAX} are allowed", bytes.len()),
            ),
        });
    }
    let name = scribe.ledger().put_object(bytes).await.map_err(bus_stop)?;
    part.content = Content::Url(format!("{OBJECT_SCHEME}{name}"));
    part.metadata.get_or_insert_default().insert(OBJECT_CONTENT.to_owned(), kind.into());
    Ok(part)
}

/// Replaces references into the object store by what they name.
///
/// # Errors
/// A permanent failure `object_missing` or `malformed_body`.
pub async fn load_large(scribe: &Scribe, parts: Vec<Part>) -> Result<Vec<Part>, Stop> {
    let mut loaded = Vec::with_capacity(parts.len());
    for part in parts {
        loaded.push(load_one(scribe, part).await?);
    }
    Ok(loaded)
}

async fn load_one(scribe: &Scribe, mut part: Part) -> Result<Part, Stop> {
    let Some(name) = part.object().map(str::to_owned) else { return Ok(part) };
    let permanent = |fault: Fault| Stop::Failed { failure: Failure::Permanent, fault };
    let bytes = scribe.ledger().get_object(&name).await.map_err(bus_stop)?.ok_or_else(|| {
        permanent(Fault::new(code::OBJECT_MISSING, format!("there is no object {name:?}")))
    })?;
    let kind = part.metadata.as_mut().and_then(|metadata| metadata.remove(OBJECT_CONTENT));
    part.metadata = part.metadata.filter(|metadata| !metadata.is_empty());
    part.content = match kind.as_ref().and_then(|kind| kind.as_str()) {
        Some("text") => Content::Text(String::from_utf8(bytes.to_vec()).map_err(|_| {
            permanent(Fault::new(code::MALFORMED_BODY, format!("object {name:?} is not UTF-8")))
        })?),
        Some("data") => Content::Data(protocol::codec::json(&bytes).map_err(permanent)?),
        Some(_) | None => Content::Raw(bytes.to_vec()),
    };
    Ok(part)
}
