//! Moves large parts between messages and the object store.
//!
//! The log and the queues stay small: a part over the inline limit is stored as an object and replaced by a
//! `weft-object:` reference; before an agent sees its input, references are replaced by what they name.

use bytes::Bytes;
use protocol::fault::{Failure, Fault, code};
use protocol::limits::{ENTRY_PARTS_BYTES_MAX, INLINE_PART_BYTES_MAX, OBJECT_BYTES_MAX};
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
        stored.push(Box::pin(store_one(scribe, part, INLINE_PART_BYTES_MAX)).await?);
    }
    if let [_] = stored.as_slice() {
        return Ok(stored);
    }
    // Each fits by itself, but an entry holds them all.
    let mut sizes: Vec<(usize, usize)> = stored.iter().map(inline_bytes).zip(0..).collect();
    let mut all: usize = sizes.iter().map(|(bytes, _)| bytes).sum();
    sizes.sort_unstable();
    while all > ENTRY_PARTS_BYTES_MAX
        && let Some((bytes, at)) = sizes.pop()
        && bytes > REFERENCE_BYTES
    {
        if let Some(part) = stored.get_mut(at) {
            *part = Box::pin(store_one(scribe, part.clone(), 0)).await?;
        }
        all = all - bytes + REFERENCE_BYTES;
    }
    Ok(stored)
}

/// About as many bytes as a reference takes in an entry.
const REFERENCE_BYTES: usize = 256;

/// The bytes of a part in an entry; 0 where there is nothing to move out.
fn inline_bytes(part: &Part) -> usize {
    match &part.content {
        Content::Url(_) => 0,
        Content::Text(_) | Content::Raw(_) | Content::Data(_) => {
            serde_json::to_vec(part).map_or(0, |text| text.len())
        }
    }
}

/// Stores a part over the limit and refers to it.
async fn store_one(scribe: &Scribe, mut part: Part, inline_max: usize) -> Result<Part, Stop> {
    let (kind, bytes) = match &part.content {
        Content::Url(_) => return Ok(part),
        Content::Text(text) if text.len() <= inline_max => return Ok(part),
        Content::Text(text) => ("text", Bytes::from(text.clone())),
        Content::Raw(raw) if raw.len() * 4 / 3 <= inline_max => return Ok(part),
        Content::Raw(raw) => ("raw", Bytes::from(raw.clone())),
        Content::Data(value) => {
            protocol::codec::check_depth(value)
                .map_err(|fault| Stop::Failed { failure: Failure::Permanent, fault })?;
            let text = value.to_string();
            if text.len() <= inline_max {
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
/// A permanent failure `object_missing`, `malformed_body`, or `too_large` when this attempt has fetched too much.
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
    scribe.fetched().take(bytes.len()).map_err(permanent)?;
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
