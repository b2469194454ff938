//! The public keys of an issuer of tokens: read from a file or fetched, kept, and looked at again when a token names one
//! that is not there, though not more often than the settings allow.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use runtime::config::{JwksSource, JwtSection};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::fetch::{Fetch, FetchError};

/// How old known keys may become. One that the issuer has taken back is refused after this time at the latest.
const AGE_MAX: Duration = Duration::from_secs(300);
/// Keys that are tried for a token that names none.
const TRIES_MAX: usize = 4;

/// Why the keys are not known.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// They cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    File {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// It is no set of keys, or no description of an issuer.
    #[error("{place} cannot be used: {reason}")]
    Unusable {
        /// Where it came from.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// They could not be had a moment ago.
    #[error("{0}")]
    StillUnknown(String),
    /// The TLS library does not start.
    #[error("no TLS")]
    Tls(#[from] rustls::Error),
}

/// A public key.
struct Known {
    kid: Option<String>,
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

/// The last look at the issuer's keys.
struct Look {
    at: Instant,
    /// Why it was in vain.
    fault: Option<String>,
}

/// The keys of one issuer.
pub(super) struct Issuer {
    name: String,
    source: JwksSource,
    refresh_min: Duration,
    fetch: Fetch,
    keys: RwLock<Arc<Vec<Known>>>,
    looked: Mutex<Option<Look>>,
}

impl Issuer {
    pub(super) fn new(section: &JwtSection) -> Result<Self, IssuerError> {
        Ok(Self {
            name: section.issuer.clone(),
            source: section.source.clone(),
            refresh_min: section.refresh_min,
            fetch: Fetch::new()?,
            keys: RwLock::default(),
            looked: Mutex::new(None),
        })
    }

    /// The keys that may have signed a token with this header.
    pub(super) async fn keys_for(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<DecodingKey>, IssuerError> {
        let found = self.fitting(kid, algorithm);
        if !found.is_empty() {
            return Ok(found);
        }
        self.look_again(self.refresh_min).await?;
        Ok(self.fitting(kid, algorithm))
    }

    /// Keeps the keys from becoming old, until it is dropped.
    pub(super) async fn keep_fresh(&self) {
        loop {
            if let Err(error) = self.look_again(self.refresh_min).await {
                tracing::warn!(reason = %error, "the issuer's keys are not known, or no longer");
            }
            tokio::time::sleep(AGE_MAX.max(self.refresh_min)).await;
        }
    }

    fn fitting(&self, kid: Option<&str>, algorithm: Algorithm) -> Vec<DecodingKey> {
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        let fits = |known: &&Known| {
            known.key.family() == algorithm.family()
                && known.algorithm.is_none_or(|own| own == algorithm)
                && kid.is_none_or(|kid| known.kid.as_deref() == Some(kid))
        };
        keys.iter().filter(fits).take(TRIES_MAX).map(|known| known.key.clone()).collect()
    }

    /// Looks, unless somebody has within `rest`. Whoever comes meanwhile waits for that look.
    async fn look_again(&self, rest: Duration) -> Result<(), IssuerError> {
        let mut looked = self.looked.lock().await;
        if let Some(look) = looked.as_ref().filter(|look| look.at.elapsed() < rest) {
            let fault = look.fault.clone();
            return fault.map_or(Ok(()), |fault| Err(IssuerError::StillUnknown(fault)));
        }
        let at = Instant::now();
        let looks = self.look().await;
        let fault = looks.as_ref().err().map(ToString::to_string);
        *looked = Some(Look { at, fault });
        looks
    }

    async fn look(&self) -> Result<(), IssuerError> {
        let (place, document) = self.document().await?;
        let keys = read(&document).map_err(|reason| IssuerError::Unusable { place, reason })?;
        tracing::debug!(issuer = self.name, keys = keys.len(), "the issuer's keys are known");
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    async fn document(&self) -> Result<(String, Bytes), IssuerError> {
        match &self.source {
            JwksSource::Url(url) => Ok((url.clone(), self.fetch.get(url).await?)),
            JwksSource::File(path) => {
                let text = tokio::fs::read(path).await;
                let path = path.display().to_string();
                match text {
                    Ok(text) => Ok((path, text.into())),
                    Err(error) => Err(IssuerError::File { path, error }),
                }
            }
            JwksSource::Discovery => {
                let url =
                    format!("{}/.well-known/openid-configuration", self.name.trim_end_matches('/'));
                let found = self.fetch.get(&url).await?;
                let jwks = self
                    .described(&found)
                    .map_err(|reason| IssuerError::Unusable { place: url, reason })?;
                let document = self.fetch.get(&jwks).await?;
                Ok((jwks, document))
            }
        }
    }

    /// Where the issuer's description says that its keys are.
    fn described(&self, document: &[u8]) -> Result<String, String> {
        let document: Value =
            serde_json::from_slice(document).map_err(|error| error.to_string())?;
        let text = |key: &str| document.get(key).and_then(Value::as_str);
        if text("issuer") != Some(&self.name) {
            return Err(format!("it is about another issuer than {:?}", self.name));
        }
        let jwks = text("jwks_uri").ok_or("it names no jwks_uri")?;
        if self.name.starts_with("https://") && !jwks.starts_with("https://") {
            return Err("its jwks_uri does not begin with https://".to_owned());
        }
        Ok(jwks.to_owned())
    }
}

/// Reads a set of keys. Keys that are of no use here are left out: shared secrets, keys for encryption, unknown sorts.
fn read(document: &[u8]) -> Result<Vec<Known>, String> {
    let document: Value = serde_json::from_slice(document).map_err(|error| error.to_string())?;
    let keys = document.get("keys").and_then(Value::as_array).ok_or("it has no list of keys")?;
    let known = keys.iter().filter_map(|value| {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        if jwk.common.public_key_use == Some(PublicKeyUse::Encryption) {
            return None;
        }
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        if key.family() == AlgorithmFamily::Hmac {
            return None;
        }
        let algorithm = value.get("alg").and_then(Value::as_str);
        let algorithm = algorithm.map(str::parse).transpose().ok()?;
        Some(Known { kid: jwk.common.key_id, algorithm, key })
    });
    Ok(known.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_keys_for_signatures_are_taken() {
        let set = r#"{"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            {"kty": "oct", "kid": "b", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"},
            {"kty": "OKP", "crv": "Ed25519", "kid": "c", "use": "enc", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            {"kty": "new", "kid": "d"},
            {"kty": "OKP", "crv": "Ed25519", "kid": "e", "alg": "none", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
        ]}"#;
        let known = read(set.as_bytes()).unwrap();
        let kids: Vec<_> = known.iter().map(|known| known.kid.as_deref().unwrap()).collect();
        assert_eq!(kids, ["a"]);
        assert!(read(b"{}").is_err() && read(b"<html>").is_err());
    }
}
