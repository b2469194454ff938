//! Writes paths of any bytes as text that survives JSON and terminals, and reads them back.
//!
//! A path need not be UTF-8, and JSON has nothing but. A backslash stands as `\\`; a control character, or a
//! byte that belongs to no character, as `\xNN`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// A path as text.
pub(crate) fn escape(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => {
                    let mut bytes = [0; 4];
                    push_bytes(&mut text, c.encode_utf8(&mut bytes).as_bytes());
                }
                c => text.push(c),
            }
        }
        push_bytes(&mut text, chunk.invalid());
    }
    text
}

fn push_bytes(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("\\x{byte:02x}"));
    }
}

/// The path that a text stands for; an escape that is none stands for itself.
pub(crate) fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, taken) = match tail {
            [b'\\', ..] if first == b'\\' => (b'\\', 2),
            [b'x', high, low, ..] if first == b'\\' => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high * 16 + low, 4),
                _ => (first, 1),
            },
            _ => (first, 1),
        };
        bytes.push(byte);
        rest = rest.get(taken..).unwrap_or_default();
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn every_path_is_text_and_comes_back() {
        for (bytes, text) in [
            (&b"a b/\xc3\xbc.rs"[..], "a b/\u{fc}.rs"),
            (b"back\\slash", "back\\\\slash"),
            (b"\\x41", "\\\\x41"),
            (b"bad\xff\xc3(", "bad\\xff\\xc3("),
            (b"line\nend\x1b", "line\\x0aend\\x1b"),
            (b"", ""),
        ] {
            let path = Path::new(OsStr::from_bytes(bytes));
            assert_eq!(escape(path), text);
            assert_eq!(unescape(text), path);
        }
        assert_eq!(unescape("a\\xZZ\\"), Path::new("a\\xZZ\\"));
    }
}
