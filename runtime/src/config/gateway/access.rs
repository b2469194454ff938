//! Who may come in and what they may do: API keys, tokens, certificates, and the roles that they have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use protocol::{Owner, Skill};
use serde::Deserialize;

use crate::config::{Faults, SPAN_MAX, Span};

/// Who may come in, and what they may do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AccessSection {
    /// API keys, by their hashes.
    pub keys: Vec<KeySection>,
    /// Whose tokens are good.
    pub jwt: Option<JwtSection>,
    /// Names in certificates of clients.
    pub certificates: Vec<CertificateSection>,
    /// What callers may do, by the role's name.
    pub roles: BTreeMap<String, RoleSection>,
}

impl AccessSection {
    /// Whether anybody at all can show who they are.
    #[must_use]
    pub fn knows_somebody(&self) -> bool {
        !self.keys.is_empty() || self.jwt.is_some() || !self.certificates.is_empty()
    }
}

/// The SHA-256 of an API key. Keys are 256 random bits, so that a hash without salt gives nothing away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHash(pub [u8; 32]);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

impl FromStr for KeyHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "is not 64 hex digits; `weft gateway key` makes a key and its line";
        let mut hash = [0; 32];
        let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
        let digits = digits.filter(|digits| digits.len() == 64).ok_or(WRONG)?;
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte =
                pair.iter().fold(0, |byte, digit| byte << 4 | u8::try_from(*digit).unwrap_or(0));
        }
        Ok(Self(hash))
    }
}

/// An API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySection {
    /// Who has it.
    pub name: String,
    /// Its hash.
    pub hash: KeyHash,
    /// Whose tasks they see and make.
    pub owner: Owner,
    /// What they may do.
    pub role: String,
}

/// Where the public keys of the issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// At this address.
    Url(String),
    /// In this file.
    File(PathBuf),
    /// Where the issuer's `/.well-known/openid-configuration` says.
    Discovery,
}

/// Whose tokens are good, and what they say about their bearers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSection {
    /// The issuer, as `iss` names it.
    pub issuer: String,
    /// This gateway, as `aud` names it; one of them has to be there.
    pub audience: Vec<String>,
    /// Where the issuer's keys are.
    pub source: JwksSource,
    /// The claim that names the owner; dots lead into objects.
    pub owner_claim: String,
    /// The claim with one role, a list of them, or several between spaces.
    pub role_claim: Option<String>,
    /// The role of tokens that name none.
    pub role: Option<String>,
    /// The signatures that are taken.
    pub algorithms: Vec<String>,
    /// The least time between two looks at the issuer's keys.
    pub refresh_min: Duration,
}

/// The name in a client's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSection {
    /// The first DNS name or URI in it; the common name where it has none.
    pub name: String,
    /// Whose tasks they see and make.
    pub owner: Owner,
    /// What they may do.
    pub role: String,
}

/// What callers with a role may do.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleSection {
    /// Words of [`OPERATIONS`].
    pub operations: Vec<String>,
    /// Skills they may use; `None` allows every skill.
    pub skills: Option<Vec<Skill>>,
    /// Owners they may act for beside their own; `None` allows every owner.
    pub owners: Option<Vec<Owner>>,
    /// Requests a second of one caller; no limit without it.
    pub rate: Option<f64>,
    /// Requests that may come at once when a caller was quiet before.
    pub burst: u32,
}

/// What can be allowed.
pub const OPERATIONS: [&str; 6] = ["send", "read", "cancel", "push", "decide", "card"];
/// The role of whoever has none in the file: everything, for one's own owner. A role of that name in the file replaces it.
pub const ROLE_CALLER: &str = "caller";
/// The role of callers without credentials in an open gateway: everything. A role of that name in the file replaces it.
pub const ROLE_ANYBODY: &str = "anybody";
/// The signatures that can be verified. None has a shared secret.
const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
/// The least time between two looks at the issuer's keys.
const REFRESH_MIN_DEFAULT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawKey {
    name: Option<String>,
    sha256: Option<String>,
    owner: Option<String>,
    role: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawJwt {
    issuer: Option<String>,
    audience: Vec<String>,
    jwks_url: Option<String>,
    jwks_file: Option<PathBuf>,
    owner_claim: Option<String>,
    role_claim: Option<String>,
    role: Option<String>,
    algorithms: Option<Vec<String>>,
    refresh_min: Option<Span>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawCertificate {
    name: Option<String>,
    owner: Option<String>,
    role: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRole {
    operations: Vec<String>,
    skills: Option<Vec<String>>,
    owners: Vec<String>,
    rate: Option<f64>,
    burst: Option<u32>,
}

impl Faults {
    pub(super) fn access(
        &mut self,
        keys: Vec<toml::Table>,
        jwt: Option<toml::Table>,
        certificates: Vec<toml::Table>,
        roles: toml::Table,
    ) -> AccessSection {
        let roles: BTreeMap<String, RoleSection> = roles
            .into_iter()
            .filter_map(|(name, value)| {
                let place = format!("gateway.roles.{name}");
                let toml::Value::Table(table) = value else {
                    self.0.push(format!("{place}: is no section"));
                    return None;
                };
                Some((name, self.role(&place, table)))
            })
            .collect();
        let jwt = jwt.and_then(|table| self.jwt(table, &roles));
        let keys = self.keys(keys, &roles);
        let certificates = (0..)
            .zip(certificates)
            .filter_map(|(at, table)| {
                let place = format!("gateway.certificates[{at}]");
                let raw: RawCertificate = self.section(&place, table);
                let role = self.known_role(&place, raw.role, &roles);
                let owner = self.owner(&place, raw.owner);
                let name = self.required(&format!("{place}.name"), raw.name);
                Some(CertificateSection { name: name?, owner: owner?, role })
            })
            .collect();
        AccessSection { keys, jwt, certificates, roles }
    }

    fn keys(
        &mut self,
        keys: Vec<toml::Table>,
        roles: &BTreeMap<String, RoleSection>,
    ) -> Vec<KeySection> {
        let mut hashes = BTreeSet::new();
        let read = (0..).zip(keys).filter_map(|(at, table)| {
            let place = format!("gateway.keys[{at}]");
            let raw: RawKey = self.section(&place, table);
            let role = self.known_role(&place, raw.role, roles);
            let owner = self.owner(&place, raw.owner);
            let name = self.required(&format!("{place}.name"), raw.name);
            let hash = self.required(&format!("{place}.sha256"), raw.sha256);
            let hash = self.take(&format!("{place}.sha256"), hash?.parse::<KeyHash>())?;
            if !hashes.insert(hash) {
                self.0.push(format!("{place}.sha256: another key has the same"));
            }
            Some(KeySection { name: name?, hash, owner: owner?, role })
        });
        read.collect()
    }

    fn owner(&mut self, place: &str, owner: Option<String>) -> Option<Owner> {
        let place = format!("{place}.owner");
        let owner = self.required(&place, owner)?;
        self.take(&place, Owner::parse(&owner))
    }

    fn known_role(
        &mut self,
        place: &str,
        role: Option<String>,
        roles: &BTreeMap<String, RoleSection>,
    ) -> String {
        let role = role.unwrap_or_else(|| ROLE_CALLER.to_owned());
        if role != ROLE_CALLER && !roles.contains_key(&role) {
            self.0.push(format!("{place}.role: there is no section gateway.roles.{role}"));
        }
        role
    }

    fn role(&mut self, place: &str, table: toml::Table) -> RoleSection {
        let raw: RawRole = self.section(place, table);
        let operations = if raw.operations.iter().any(|word| word == "*") {
            OPERATIONS.map(str::to_owned).to_vec()
        } else {
            raw.operations
        };
        for word in &operations {
            if !OPERATIONS.contains(&word.as_str()) {
                let known = OPERATIONS.join(", ");
                self.0.push(format!("{place}.operations: {word:?} is none of {known}, *"));
            }
        }
        if let Some(rate) = raw.rate {
            self.within(&format!("{place}.rate"), rate, 0.001, 1_000_000.0);
        }
        let skills = raw.skills.filter(|skills| !skills.iter().any(|skill| skill == "*"));
        let owners = Some(raw.owners).filter(|owners| !owners.iter().any(|owner| owner == "*"));
        let skill_place = format!("{place}.skills");
        let owner_place = format!("{place}.owners");
        RoleSection {
            operations,
            skills: skills.map(|all| {
                all.iter().filter_map(|text| self.take(&skill_place, Skill::parse(text))).collect()
            }),
            owners: owners.map(|all| {
                all.iter().filter_map(|text| self.take(&owner_place, Owner::parse(text))).collect()
            }),
            rate: raw.rate,
            burst: self.within(&format!("{place}.burst"), raw.burst.unwrap_or(1), 1, 1_000_000),
        }
    }

    fn jwt(
        &mut self,
        table: toml::Table,
        roles: &BTreeMap<String, RoleSection>,
    ) -> Option<JwtSection> {
        let raw: RawJwt = self.section("gateway.jwt", table);
        if raw.audience.is_empty() {
            // Without it, a token that was made for any other service of the issuer would open this one.
            self.0.push("gateway.jwt.audience: is missing".to_owned());
        }
        let role = raw.role.map(|role| self.known_role("gateway.jwt", Some(role), roles));
        if role.is_none() && raw.role_claim.is_none() {
            self.0.push(
                "gateway.jwt: neither role_claim nor role says what callers may do".to_owned(),
            );
        }
        let source = match (raw.jwks_url, raw.jwks_file) {
            (Some(_), Some(_)) => {
                self.0.push("gateway.jwt: has both jwks_url and jwks_file".to_owned());
                JwksSource::Discovery
            }
            (Some(url), None) => {
                self.safe_url("gateway.jwt.jwks_url", &url);
                JwksSource::Url(url)
            }
            (None, Some(path)) => JwksSource::File(path),
            (None, None) => JwksSource::Discovery,
        };
        let algorithms =
            raw.algorithms.unwrap_or_else(|| vec!["RS256".to_owned(), "ES256".to_owned()]);
        for algorithm in &algorithms {
            if !ALGORITHMS.contains(&algorithm.as_str()) {
                let known = ALGORITHMS.join(", ");
                self.0.push(format!("gateway.jwt.algorithms: {algorithm:?} is none of {known}"));
            }
        }
        let issuer = self.required("gateway.jwt.issuer", raw.issuer)?;
        if source == JwksSource::Discovery {
            self.safe_url("gateway.jwt.issuer", &issuer);
        }
        Some(JwtSection {
            issuer,
            audience: raw.audience,
            source,
            owner_claim: raw.owner_claim.unwrap_or_else(|| "sub".to_owned()),
            role_claim: raw.role_claim,
            role,
            algorithms,
            refresh_min: self.span(
                "gateway.jwt.refresh_min",
                raw.refresh_min,
                REFRESH_MIN_DEFAULT,
                (Duration::from_millis(10), SPAN_MAX),
            ),
        })
    }

    /// Keys that came over plain HTTP could be anybody's, unless they came from this machine.
    fn safe_url(&mut self, place: &str, url: &str) {
        let near = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"];
        if !url.starts_with("https://") && !near.iter().any(|near| url.starts_with(near)) {
            self.0.push(format!("{place}: {url:?} does not begin with https://"));
        }
    }
}
