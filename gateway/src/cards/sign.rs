//! Signs cards: JSON Web Signature (RFC 7515) over the canonical form, as A2A 1.0, section 8.4 says.
//!
//! P-256 keys sign with ES256, whose signatures differ each time; Ed25519 keys sign with `EdDSA`, and all gateways with one
//! key make the same bytes, and so the same validator.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::card::{AgentCard, AgentCardSignature};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use runtime::config::SignSection;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::canonical::readings;

/// Why cards cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignKeyError {
    /// The file cannot be read, or holds no private key in PEM.
    #[error("gateway.sign.key: {} is no private key in PEM", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// It is a private key of another form or kind.
    #[error(
        "gateway.sign.key: {} is no P-256 or Ed25519 key in PKCS #8, as `openssl genpkey -algorithm ed25519` makes",
        path.display()
    )]
    OtherKind {
        /// The file.
        path: PathBuf,
    },
}

/// Signs cards with one key.
pub struct Signer {
    key: Key,
    kid: String,
    jku: String,
    random: SystemRandom,
}

enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// Reads the key. `own_jku` is where this gateway shows its public keys.
    ///
    /// # Errors
    /// When there is none of a kind that can be used.
    pub fn open(section: &SignSection, own_jku: String) -> Result<Self, SignKeyError> {
        let path = section.key.clone();
        let read = PrivateKeyDer::from_pem_file(&path);
        let key = read.map_err(|source| SignKeyError::Unreadable { path: path.clone(), source })?;
        let random = SystemRandom::new();
        let PrivateKeyDer::Pkcs8(der) = key else {
            return Err(SignKeyError::OtherKind { path });
        };
        let der = der.secret_pkcs8_der();
        let p256 = || EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random);
        let key = match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            Ok(key) => Key::Ed25519(key),
            Err(_) => Key::P256(p256().map_err(|_| SignKeyError::OtherKind { path })?),
        };
        let jku = section.jku.clone().unwrap_or(own_jku);
        Ok(Self { key, kid: section.kid.clone(), jku, random })
    }

    /// Signs a card, once for each reading of it.
    pub fn sign(&self, card: &mut AgentCard) {
        let Ok(document) = serde_json::to_value(&*card) else { return };
        let header =
            json!({"alg": self.algorithm(), "typ": "JOSE", "kid": self.kid, "jku": self.jku});
        let protected = URL_SAFE_NO_PAD.encode(header.to_string());
        let signature = |reading: String| {
            let input = format!("{protected}.{}", URL_SAFE_NO_PAD.encode(reading));
            let bytes = match &self.key {
                Key::Ed25519(key) => key.sign(input.as_bytes()).as_ref().to_vec(),
                Key::P256(key) => match key.sign(&self.random, input.as_bytes()) {
                    Ok(signature) => signature.as_ref().to_vec(),
                    Err(_) => {
                        tracing::error!("no randomness for a signature, the card goes without");
                        return None;
                    }
                },
            };
            Some(AgentCardSignature {
                protected: protected.clone(),
                signature: URL_SAFE_NO_PAD.encode(bytes),
                header: None,
            })
        };
        card.signatures = readings(&document).into_iter().filter_map(signature).collect();
    }

    fn algorithm(&self) -> &'static str {
        match self.key {
            Key::P256(_) => "ES256",
            Key::Ed25519(_) => "EdDSA",
        }
    }

    /// The public key as a JSON Web Key Set (RFC 7517).
    #[must_use]
    pub fn key_set(&self) -> Value {
        let mut key = match &self.key {
            Key::Ed25519(key) => json!({
                "kty": "OKP",
                "crv": "Ed25519",
                "x": URL_SAFE_NO_PAD.encode(key.public_key().as_ref()),
            }),
            Key::P256(key) => {
                // An uncompressed point: a byte 4, then both coordinates.
                let point = key.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at_checked(32).unwrap_or_default();
                json!({
                    "kty": "EC",
                    "crv": "P-256",
                    "x": URL_SAFE_NO_PAD.encode(x),
                    "y": URL_SAFE_NO_PAD.encode(y),
                })
            }
        };
        if let Some(fields) = key.as_object_mut() {
            fields.insert("kid".to_owned(), json!(self.kid));
            fields.insert("alg".to_owned(), json!(self.algorithm()));
            fields.insert("use".to_owned(), json!("sig"));
        }
        json!({"keys": [key]})
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("kid", &self.kid).finish_non_exhaustive()
    }
}
