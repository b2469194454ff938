//! Finds the names of objects in whatever was stored. Pure.
//!
//! An object that nothing names is removed one day, so this reads generously: any text with the form of a name counts,
//! wherever it stands in a body of whatever codec, and what only looks like one keeps an object that nobody needs.

use std::borrow::Cow;

/// The SHA-256 of an object's bytes, which its name is the hexadecimal form of.
pub type ObjectHash = [u8; 32];

/// Characters of a name.
const NAME_CHARS: usize = 64;

/// Reads a name: 64 lower-case hexadecimal digits and nothing else.
#[must_use]
pub fn hash(name: &[u8]) -> Option<ObjectHash> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut hash = [0; 32];
    if name.len() != NAME_CHARS {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(name.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(hash)
}

/// Shows every name in a body. In a longer run of digits its beginning and its end count: what a codec puts beside a
/// text may look like a digit.
pub fn named(body: &[u8], mut visit: impl FnMut(ObjectHash)) {
    let body = unescaped(body);
    for run in body.split(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        let ends = [run.first_chunk::<NAME_CHARS>(), run.last_chunk::<NAME_CHARS>()];
        ends.into_iter().flatten().filter_map(|name| hash(name)).for_each(&mut visit);
    }
}

/// A body in which every `\u00..` of JSON is the character it stands for: no usual encoder writes letters and digits that
/// way, but one may.
fn unescaped(body: &[u8]) -> Cow<'_, [u8]> {
    const ESCAPE: &[u8] = b"\\u00";
    if !body.windows(ESCAPE.len()).any(|some| some == ESCAPE) {
        return Cow::Borrowed(body);
    }
    let (mut out, mut rest) = (Vec::with_capacity(body.len()), body);
    while let Some((first, behind)) = rest.split_first() {
        let escape = rest.strip_prefix(ESCAPE).and_then(|behind| behind.split_first_chunk::<2>());
        let byte = escape.and_then(|(digits, behind)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, behind))
        });
        let (byte, behind) = byte.unwrap_or((*first, behind));
        out.push(byte);
        rest = behind;
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn count(body: impl AsRef<[u8]>) -> usize {
        let (expected, mut found) = (hash(NAME.as_bytes()).unwrap(), 0);
        named(body.as_ref(), |one| found += usize::from(one == expected));
        found
    }

    #[test]
    fn a_name_is_found_wherever_it_stands() {
        let escaped: String = NAME.bytes().map(|byte| format!("\\u00{byte:02x}")).collect();
        let part = crate::message::Part::url(format!("weft-object:{NAME}"));
        for body in [
            serde_json::to_vec(&part).unwrap(),
            rmp_serde::to_vec_named(&part).unwrap(),
            // In MessagePack a small number behind a text is one byte, which may be that of a digit.
            rmp_serde::to_vec(&(format!("weft-object:{NAME}"), 0x31)).unwrap(),
            format!("{{\"url\":\"weft-object:{escaped}\"}}").into(),
            format!("{{\"url\":\"\\u0077eft-object:{NAME}\",\"a\":\"\\u00\"}}").into(),
            format!("a{NAME}").into(),
            format!("{NAME}a").into(),
        ] {
            assert!(count(&body) > 0, "{}", String::from_utf8_lossy(&body));
        }
        assert_eq!(count(format!("{NAME} and {NAME}")), 4, "at the beginning and the end of each");
    }

    #[test]
    fn what_has_not_the_form_of_a_name_is_none() {
        for text in
            ["", "0", &NAME[1..], &NAME.to_uppercase(), &format!("{NAME}0"), &"g".repeat(64)]
        {
            assert_eq!(hash(text.as_bytes()), None, "{text}");
        }
        assert_eq!(count(&NAME[1..]), 0);
        assert_eq!(count(NAME.to_uppercase()), 0);
    }
}
