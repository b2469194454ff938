//! API keys: 256 random bits in base64url behind `wk_`. Only their SHA-256 is kept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runtime::config::KeyHash;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What every key begins with, so that people and scanners of secrets know one when they see it.
pub const PREFIX: &str = "wk_";

/// A key that nobody has.
#[must_use]
pub fn new_key() -> String {
    key_of(rand::random())
}

/// A key of these random bits.
#[must_use]
pub fn key_of(random: [u8; 32]) -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random))
}

/// What is kept of a key.
#[must_use]
pub fn hash_of(key: &str) -> KeyHash {
    KeyHash(Sha256::digest(key.as_bytes()).into())
}

/// A hash as the settings file has it.
#[must_use]
pub fn hex(hash: KeyHash) -> String {
    hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value of the key that was shown. All keys are compared, and each in constant time, so that the time taken tells
/// nothing about which one is close.
pub(super) fn find<'a, T>(keys: &'a [(KeyHash, T)], shown: &str) -> Option<&'a T> {
    let shown = hash_of(shown);
    let mut found = None;
    for (hash, value) in keys {
        if bool::from(hash.0.ct_eq(&shown.0)) {
            found = Some(value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_hash_alone() {
        let (one, two) = (key_of([1; 32]), key_of([2; 32]));
        let keys = [(hash_of(&one), 1), (hash_of(&two), 2)];
        assert!(one.starts_with(PREFIX) && one.len() == 46, "{one}");
        assert_eq!(find(&keys, &one), Some(&1));
        assert_eq!(find(&keys, &two), Some(&2));
        for wrong in ["", "wk_", &one[..45], &format!("{one}A"), &hex(hash_of(&one))] {
            assert_eq!(find(&keys, wrong), None, "{wrong}");
        }
        assert_eq!(hex(hash_of(&one)).parse::<KeyHash>(), Ok(hash_of(&one)));
    }
}
