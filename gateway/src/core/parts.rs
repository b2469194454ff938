//! Makes a message small enough for the bus: what is over the inline limit goes to the object store first.
//!
//! An object is named by the hash of its content, so the same message sent again is the same body again.

use bytes::Bytes;
use protocol::limits::{INLINE_PART_BYTES_MAX, OBJECT_BYTES_MAX};
use protocol::message::{Content, OBJECT_CONTENT, OBJECT_SCHEME, Part};
use runtime::bus::Bus;

use crate::a2a::error::Error;
use crate::limits::INLINE_PARTS_BYTES_MAX;

/// About as many bytes as a reference takes in a message.
const REFERENCE_BYTES: usize = 256;

/// Stores the parts that a message cannot hold, and refers to them.
///
/// # Errors
/// When one is over the limit of an object, or cannot be stored.
pub(super) async fn store_large(bus: &Bus, parts: &mut [Part]) -> Result<(), Error> {
    for at in over(parts) {
        if let Some(part) = parts.get_mut(at) {
            store(bus, part).await?;
        }
    }
    Ok(())
}

/// Which parts have to go: each that is over the limit by itself, then the largest until the rest fits together.
fn over(parts: &[Part]) -> Vec<usize> {
    let mut sizes: Vec<(usize, usize)> = parts.iter().map(inline_bytes).zip(0..).collect();
    sizes.sort_unstable();
    let mut all: usize = sizes.iter().map(|(bytes, _)| bytes).sum();
    let mut chosen = Vec::new();
    while let Some((bytes, at)) = sizes.pop() {
        let needed = bytes > INLINE_PART_BYTES_MAX
            || (all > INLINE_PARTS_BYTES_MAX && bytes > REFERENCE_BYTES);
        if !needed {
            break;
        }
        chosen.push(at);
        all = (all - bytes).saturating_add(REFERENCE_BYTES);
    }
    chosen
}

/// About as many bytes as the content takes in JSON; 0 where there is nothing to move out.
fn inline_bytes(part: &Part) -> usize {
    match &part.content {
        Content::Url(_) => 0,
        Content::Text(text) => text.len(),
        Content::Raw(raw) => raw.len().div_ceil(3) * 4,
        Content::Data(value) => value.to_string().len(),
    }
}

async fn store(bus: &Bus, part: &mut Part) -> Result<(), Error> {
    let (held_as, bytes) = match &part.content {
        Content::Url(_) => return Ok(()),
        Content::Text(text) => ("text", Bytes::from(text.clone())),
        Content::Raw(raw) => ("raw", Bytes::from(raw.clone())),
        Content::Data(value) => ("data", Bytes::from(value.to_string())),
    };
    if bytes.len() > OBJECT_BYTES_MAX {
        let what = format!("a part has {} bytes, at most {OBJECT_BYTES_MAX}", bytes.len());
        return Err(Error::TooLarge(what));
    }
    let name =
        bus.put_object(bytes).await.map_err(|error| Error::Unavailable(error.to_string()))?;
    part.content = Content::Url(format!("{OBJECT_SCHEME}{name}"));
    part.metadata.get_or_insert_default().insert(OBJECT_CONTENT.to_owned(), held_as.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_parts_go_and_small_ones_stay() {
        let text = |bytes: usize| Part::text("x".repeat(bytes));
        let raw = |bytes: usize| Part::raw(vec![0; bytes], None);
        let limit = INLINE_PART_BYTES_MAX;
        for (parts, expected) in [
            (vec![text(1), text(limit)], vec![]),
            (vec![text(limit + 1), text(9)], vec![0]),
            (vec![raw(limit / 4 * 3), raw(limit / 4 * 3 + 1)], vec![1]),
            (vec![text(limit + 1), raw(limit)], vec![1, 0]),
            (vec![text(90_000), text(90_001), text(90_002)], vec![2]),
            (vec![Part::url("https://example.org/x"), text(7)], vec![]),
        ] {
            assert_eq!(
                over(&parts),
                expected,
                "{:?}",
                parts.iter().map(inline_bytes).collect::<Vec<_>>()
            );
        }
    }
}
