//! Tokens (JWT): whether one is good, and what it says about its bearer.
//!
//! Good is: signed by a key of the issuer with an algorithm that the settings name, made by the issuer, for this gateway,
//! begun and not ended. Whatever else is in the token decides nothing of this.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use protocol::Owner;
use runtime::config::JwtSection;
use serde_json::{Map, Value};

use super::issuer::{Issuer, IssuerError};
use super::signature;

/// By how much the clocks of issuer and gateway may differ, in seconds.
const LEEWAY_S: u64 = 10;
/// The sorts of tokens that are for this: plain ones and access tokens.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];
/// Characters of a token. Larger ones are nobody's.
const CHARS_MAX: usize = 16 * 1024;

/// What a good token says about its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bearer {
    /// Its subject.
    pub(super) name: String,
    /// Whose tasks they see and make.
    pub(super) owner: Owner,
    /// What they may do, by the names of roles; not all need be known here.
    pub(super) roles: Vec<String>,
}

/// Why a token lets nobody in.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    /// It is not good; the text is for the operator.
    #[error("{0}")]
    Bad(String),
    /// The issuer's keys are not known.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
}

/// Whether the token's header has `crit`: whoever does not know what it names has to refuse it (RFC 7515, 4.1.11).
fn is_critical(token: &str) -> bool {
    let header = token.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    let header: Map<String, Value> = serde_json::from_slice(&header).unwrap_or_default();
    header.contains_key("crit")
}

/// Takes the tokens of one issuer.
pub(super) struct Tokens {
    pub(super) issuer: Issuer,
    section: JwtSection,
    algorithms: Vec<Algorithm>,
}

impl Tokens {
    pub(super) fn new(section: &JwtSection) -> Result<Self, IssuerError> {
        signature::install();
        Ok(Self {
            issuer: Issuer::new(section)?,
            section: section.clone(),
            algorithms: section.algorithms.iter().filter_map(|name| name.parse().ok()).collect(),
        })
    }

    /// Reads a token.
    pub(super) async fn bearer(&self, token: &str) -> Result<Bearer, TokenError> {
        let bad = |reason: &str| TokenError::Bad(reason.to_owned());
        if token.len() > CHARS_MAX {
            return Err(bad("the token is too long"));
        }
        let header = decode_header(token).map_err(|error| TokenError::Bad(error.to_string()))?;
        if is_critical(token) {
            return Err(bad("the token demands extensions, and none is known here"));
        }
        if !self.algorithms.contains(&header.alg) {
            return Err(bad("the token's algorithm is none of gateway.jwt.algorithms"));
        }
        let fits = |typ: &String| TYPES.contains(&typ.to_ascii_lowercase().as_str());
        if !header.typ.as_ref().is_none_or(fits) {
            return Err(bad("the token is of a sort that is not for this"));
        }
        let keys = self.issuer.keys_for(header.kid.as_deref(), header.alg).await?;
        let validation = self.validation(header.alg);
        let mut why = "the token's key is none of the issuer's".to_owned();
        for key in keys {
            match decode::<Map<String, Value>>(token, &key, &validation) {
                Ok(token) => return self.read(&token.claims).map_err(TokenError::Bad),
                Err(error) => why = error.to_string(),
            }
        }
        Err(TokenError::Bad(why))
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_audience(&self.section.audience);
        validation.set_issuer(&[&self.section.issuer]);
        validation
    }

    fn read(&self, claims: &Map<String, Value>) -> Result<Bearer, String> {
        let name = claims.get("sub").and_then(Value::as_str).ok_or("the token has no subject")?;
        let place = &self.section.owner_claim;
        let owner = at(claims, place)
            .and_then(Value::as_str)
            .ok_or_else(|| format!("the token has no {place:?} that could be an owner"))?;
        let owner = Owner::parse(owner).map_err(|error| format!("{place:?}: {error}"))?;
        let claimed = self.section.role_claim.as_ref().and_then(|place| at(claims, place));
        let mut roles = claimed.map(words).unwrap_or_default();
        if roles.is_empty() {
            roles.extend(self.section.role.clone());
        }
        Ok(Bearer { name: name.to_owned(), owner, roles })
    }
}

/// A claim, by its name or by a path into objects.
fn at<'a>(claims: &'a Map<String, Value>, place: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(place) {
        return Some(value);
    }
    let (first, rest) = place.split_once('.')?;
    at(claims.get(first)?.as_object()?, rest)
}

fn words(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
        Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_found_by_name_and_by_path() {
        let claims = serde_json::json!({
            "a.b": "x", "a": {"b": "y", "c": {"d": ["r", 1, "s"]}}, "scope": " one  two ",
        });
        let claims = claims.as_object().unwrap();
        for (place, found) in [
            ("a.b", &["x"][..]),
            ("a.c.d", &["r", "s"]),
            ("scope", &["one", "two"]),
            ("a.z", &[]),
            ("scope.a", &[]),
            ("", &[]),
        ] {
            assert_eq!(at(claims, place).map(words).unwrap_or_default(), found, "{place}");
        }
    }
}
