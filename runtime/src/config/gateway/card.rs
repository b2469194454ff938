//! The sections `[gateway.card]` and `[gateway.sign]`: what agent cards say of the mesh, and who vouches for them.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::{Faults, Span};

/// How long clients may keep a card, unless the file says otherwise.
pub const CARD_MAX_AGE_DEFAULT: Duration = Duration::from_secs(60);
/// The longest that they may be told to.
const CARD_MAX_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What the cards of a gateway say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardSection {
    /// The name of the mesh, for people.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Who is responsible for it: name and web site.
    pub provider: Option<(String, String)>,
    /// Where people can read about it.
    pub documentation_url: Option<String>,
    /// Its picture.
    pub icon_url: Option<String>,
    /// How long clients may keep a card.
    pub max_age: Duration,
    /// Whether callers get a card of what they in particular may use.
    pub extended: bool,
    /// Who vouches for the cards.
    pub sign: Option<SignSection>,
}

impl Default for CardSection {
    fn default() -> Self {
        Self {
            name: None,
            description: None,
            provider: None,
            documentation_url: None,
            icon_url: None,
            max_age: CARD_MAX_AGE_DEFAULT,
            extended: true,
            sign: None,
        }
    }
}

/// The key that cards are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignSection {
    /// A PEM file with a private key in PKCS #8: P-256 (ES256) or Ed25519 (`EdDSA`).
    pub key: PathBuf,
    /// The key's name, as verifiers look it up.
    pub kid: String,
    /// Where verifiers find the public key; this gateway's own key set without it.
    pub jku: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawCard {
    name: Option<String>,
    description: Option<String>,
    organization: Option<String>,
    organization_url: Option<String>,
    documentation_url: Option<String>,
    icon_url: Option<String>,
    max_age: Option<Span>,
    extended: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSign {
    key: Option<String>,
    kid: Option<String>,
    jku: Option<String>,
}

impl Faults {
    pub(in crate::config) fn cards(
        &mut self,
        card: toml::Table,
        sign: toml::Table,
        has_url: bool,
    ) -> CardSection {
        let raw: RawCard = self.section("gateway.card", card);
        let provider = match (raw.organization, raw.organization_url) {
            (Some(name), Some(url)) => Some((name, url)),
            (None, None) => None,
            _ => {
                self.0.push(
                    "gateway.card: organization and organization_url are both set or neither"
                        .to_owned(),
                );
                None
            }
        };
        let limits = (Duration::ZERO, CARD_MAX_AGE_MAX);
        let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        CardSection {
            name: filled(raw.name),
            description: filled(raw.description),
            provider,
            documentation_url: filled(raw.documentation_url),
            icon_url: filled(raw.icon_url),
            max_age: self.span("gateway.card.max_age", raw.max_age, CARD_MAX_AGE_DEFAULT, limits),
            extended: raw.extended.unwrap_or(true),
            sign: self.sign(sign, has_url),
        }
    }

    fn sign(&mut self, table: toml::Table, has_url: bool) -> Option<SignSection> {
        if table.is_empty() {
            return None;
        }
        if !has_url {
            // Without it cards name the host that a request names, and anybody could have theirs signed.
            self.0.push("gateway.sign: needs gateway.url, the address that is signed".to_owned());
        }
        let raw: RawSign = self.section("gateway.sign", table);
        let key = self.required("gateway.sign.key", raw.key);
        let kid = self.required("gateway.sign.kid", raw.kid.filter(|kid| !kid.is_empty()));
        Some(SignSection { key: key?.into(), kid: kid?, jku: raw.jku })
    }
}

#[cfg(test)]
#[path = "card_tests.rs"]
mod tests;
