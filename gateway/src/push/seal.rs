//! Seals what a webhook's client entrusts to the mesh: who reads the bucket, its disk or a copy of it learns none of it.
//!
//! AES-256-GCM under a key of the settings. The place of the value in its bucket is sealed in, and the URL with the
//! credentials: what is moved to another webhook does not open, and nobody can have credentials sent elsewhere. A
//! value is sealed once and again only under another key, so that random nonces do not meet.

use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::record::{Kept, Secrets};

const KEY_BYTES: usize = 32;
/// Bytes of a key's hash in its name.
const NAME_BYTES: usize = 8;
const LABEL: &[u8] = b"weft webhook 1 ";

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SealKeyError {
    /// The file cannot be read.
    #[error("gateway.push.seal_keys: cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error(
        "gateway.push.seal_keys: {} is no key: 64 hexadecimal digits, as `openssl rand -hex 32` makes",
        path.display()
    )]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
}

/// Why something was not sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Its key is not in the settings.
    #[error(
        "it is sealed under key {0}, which this gateway does not have: see gateway.push.seal_keys"
    )]
    NoKey(String),
    /// It was not sealed for this place, or has been changed.
    #[error("it is not as it was sealed for this webhook")]
    Broken,
    /// It cannot be written.
    #[error("it cannot be sealed")]
    NotSealed,
}

/// What is sealed.
#[derive(Clone, Serialize, Deserialize)]
pub struct Sealed {
    /// The name of its key.
    pub key: String,
    /// Nonce, text and tag, in base64.
    pub text: String,
}

/// The keys: the first one seals, each of them opens.
pub struct Seals(Vec<Key>);

struct Key {
    name: String,
    key: LessSafeKey,
}

impl Seals {
    /// Reads the keys; with none, nothing is sealed.
    ///
    /// # Errors
    /// When a file holds no key.
    pub fn open(paths: &[PathBuf]) -> Result<Self, SealKeyError> {
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path)
                .map_err(|source| SealKeyError::Unreadable { path: path.clone(), source })?;
            let bytes = key_bytes(text.trim());
            bytes.and_then(Key::new).ok_or_else(|| SealKeyError::NotAKey { path: path.clone() })
        };
        paths.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The names of the keys, in their order. They tell nothing about the keys.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| key.name.as_str())
    }

    /// Whether something is kept as it would be kept if it were written now.
    #[must_use]
    pub fn is_current(&self, kept: &Kept) -> bool {
        match (self.0.first(), kept) {
            (None, _) => true,
            (Some(_), Kept::Open(_)) => false,
            (Some(first), Kept::Sealed { sealed }) => sealed.key == first.name,
        }
    }

    /// Seals what belongs to the key `place` of the bucket, if there is a key to do it with.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn seal(&self, place: &str, secrets: &Secrets) -> Result<Kept, SealError> {
        let Some(first) = self.0.first() else { return Ok(Kept::Open(secrets.clone())) };
        let mut text = serde_json::to_vec(secrets).map_err(|_| SealError::NotSealed)?;
        let nonce: [u8; NONCE_LEN] = rand::random();
        let once = Nonce::assume_unique_for_key(nonce);
        let sealed = first.key.seal_in_place_append_tag(once, bound_to(place), &mut text);
        sealed.map_err(|_| SealError::NotSealed)?;
        let text = STANDARD.encode([nonce.as_slice(), &text].concat());
        Ok(Kept::Sealed { sealed: Sealed { key: first.name.clone(), text } })
    }

    /// Opens what is kept under the key `place` of the bucket.
    ///
    /// # Errors
    /// When its key is not there, or it was not sealed for this place.
    pub fn unseal(&self, place: &str, kept: &Kept) -> Result<Secrets, SealError> {
        let sealed = match kept {
            Kept::Open(secrets) => return Ok(secrets.clone()),
            Kept::Sealed { sealed } => sealed,
        };
        let key = self.0.iter().find(|key| key.name == sealed.key);
        let key = key.ok_or_else(|| SealError::NoKey(sealed.key.clone()))?;
        let mut text = STANDARD.decode(&sealed.text).map_err(|_| SealError::Broken)?;
        let (nonce, text) = text.split_at_mut_checked(NONCE_LEN).ok_or(SealError::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Broken)?;
        let text = key.key.open_in_place(nonce, bound_to(place), text);
        serde_json::from_slice(text.map_err(|_| SealError::Broken)?).map_err(|_| SealError::Broken)
    }
}

impl Key {
    fn new(bytes: [u8; KEY_BYTES]) -> Option<Self> {
        let hash = digest(&SHA256, &[b"weft seal key ", bytes.as_slice()].concat());
        let name = hash.as_ref().iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}"));
        let key = UnboundKey::new(&AES_256_GCM, &bytes).ok()?;
        Some(Self { name: name.collect(), key: LessSafeKey::new(key) })
    }
}

fn key_bytes(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
    let digits = digits.filter(|digits| digits.len() == KEY_BYTES * 2)?;
    let bytes =
        digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit));
    bytes.collect::<Vec<u8>>().try_into().ok()
}

fn bound_to(place: &str) -> Aad<Vec<u8>> {
    Aad::from([LABEL, place.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seals(keys: &[u8]) -> Seals {
        Seals(keys.iter().map(|byte| Key::new([*byte; KEY_BYTES]).unwrap()).collect())
    }

    fn secrets() -> Secrets {
        Secrets {
            url: "https://example.com/hook?key=hidden".to_owned(),
            token: Some("my-token".to_owned()),
            authentication: None,
        }
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_at_its_place_only() {
        let kept = seals(&[1]).seal("o.s1.hook", &secrets()).unwrap();
        let Kept::Sealed { sealed } = &kept else { panic!("in the clear") };
        let name = sealed.key.clone();
        let changed = |text: String| Kept::Sealed { sealed: Sealed { key: name.clone(), text } };
        let flipped = changed(sealed.text.replacen(&sealed.text[..1], "?", 1));
        let mut bytes = STANDARD.decode(&sealed.text).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        for (keys, place, kept, expected) in [
            (&[1][..], "o.s1.hook", &kept, Ok("my-token")),
            (&[2, 1], "o.s1.hook", &kept, Ok("my-token")),
            (&[2], "o.s1.hook", &kept, Err(SealError::NoKey(name.clone()))),
            (&[], "o.s1.hook", &kept, Err(SealError::NoKey(name.clone()))),
            (&[1], "o.s1.hook2", &kept, Err(SealError::Broken)),
            (&[1], "p.s1.hook", &kept, Err(SealError::Broken)),
            (&[1], "o.s1.hook", &flipped, Err(SealError::Broken)),
            (&[1], "o.s1.hook", &changed(STANDARD.encode(&bytes)), Err(SealError::Broken)),
            (&[1], "o.s1.hook", &changed(String::new()), Err(SealError::Broken)),
            (&[], "o.s1.hook", &Kept::Open(secrets()), Ok("my-token")),
        ] {
            let found = seals(keys).unseal(place, kept).map(|secrets| secrets.token.unwrap());
            assert_eq!(found, expected.map(str::to_owned), "{keys:?} at {place}");
        }
        assert!(seals(&[1, 2]).is_current(&kept) && !seals(&[2, 1]).is_current(&kept));
        assert!(seals(&[]).is_current(&Kept::Open(secrets())));
        let again = seals(&[1]).seal("o.s1.hook", &secrets()).unwrap();
        let Kept::Sealed { sealed: again } = &again else { panic!("in the clear") };
        assert_ne!(again.text, sealed.text, "the nonce is another one");
    }

    #[test]
    fn a_key_is_64_hexadecimal_digits() {
        let hex = "00ff".repeat(16);
        let expected: Vec<u8> = [0, 255].repeat(16);
        assert_eq!(key_bytes(&hex).unwrap().as_slice(), expected);
        for text in ["", "00ff", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(key_bytes(text), None, "{text}");
        }
    }
}
