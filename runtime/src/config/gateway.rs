//! The gateway's section: where it listens, who may come in, and what its cards say.

mod access;
mod audit;
mod card;
mod limits;
mod network;
mod push;

use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use access::{
    AccessSection, CertificateSection, JwksSource, JwtSection, KeyHash, KeySection, OPERATIONS,
    ROLE_ANYBODY, ROLE_CALLER, RoleSection,
};
pub use audit::{AuditScope, AuditSection};
pub use card::{CARD_MAX_AGE_DEFAULT, CardSection, SignSection};
pub use limits::DoorLimits;
pub use network::Network;
pub use push::PushSection;

use super::Faults;

/// Settings of a gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewaySection {
    /// Its name; made up when there is none.
    pub name: Option<protocol::NodeName>,
    /// Where the doors are, such as `127.0.0.1:8080`.
    pub listen: Option<String>,
    /// Where health and metrics are served.
    pub http: Option<String>,
    /// The address that clients use, as cards name it; the one that it listens on without it.
    pub url: Option<String>,
    /// The skill that a message is for when neither address nor message names one.
    pub default_skill: Option<protocol::Skill>,
    /// Whether callers without credentials are let in, as anybody.
    pub open: bool,
    /// Whether an open gateway may listen where others than this machine reach it.
    pub open_anywhere: bool,
    /// Whether agent cards are shown to callers without credentials.
    pub public_cards: bool,
    /// What the audit holds.
    pub audit: AuditSection,
    /// Certificate and key; without them the doors speak plain HTTP.
    pub tls: Option<TlsSection>,
    /// Who may come in, and what they may do.
    pub access: AccessSection,
    /// How much the doors take.
    pub limits: DoorLimits,
    /// Web origins whose pages may call, as browsers name them; `*` allows every page.
    pub origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// What agent cards say, and who vouches for them.
    pub card: CardSection,
    /// How webhooks are called.
    pub push: PushSection,
}

/// The files of TLS, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSection {
    /// The certificate and those between it and the root.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who signs the certificates of clients; without it clients are not asked for one.
    pub client_ca: Option<PathBuf>,
}

/// Where the doors are unless something says otherwise.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8080";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawGateway {
    name: Option<String>,
    listen: Option<String>,
    http: Option<String>,
    url: Option<String>,
    default_skill: Option<String>,
    open: bool,
    open_anywhere: bool,
    public_cards: Option<bool>,
    audit: Option<toml::Value>,
    trusted_proxies: Vec<String>,
    tls: Option<toml::Table>,
    limits: toml::Table,
    cors: toml::Table,
    keys: Vec<toml::Table>,
    jwt: Option<toml::Table>,
    certificates: Vec<toml::Table>,
    roles: toml::Table,
    card: toml::Table,
    sign: toml::Table,
    push: toml::Table,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTls {
    cert: Option<String>,
    key: Option<String>,
    client_ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawCors {
    origins: Vec<String>,
}

impl GatewaySection {
    /// Lets relative paths start at the folder of the settings file.
    pub fn start_paths_at(&mut self, base: &Path) {
        let from_base = |path: &mut PathBuf| *path = base.join(&path);
        if let Some(tls) = &mut self.tls {
            from_base(&mut tls.cert);
            from_base(&mut tls.key);
            if let Some(path) = &mut tls.client_ca {
                from_base(path);
            }
        }
        if let Some(sign) = &mut self.card.sign {
            from_base(&mut sign.key);
        }
        self.push.seal_keys.iter_mut().for_each(from_base);
        if let Some(JwksSource::File(path)) = self.access.jwt.as_mut().map(|jwt| &mut jwt.source) {
            from_base(path);
        }
    }
}

impl Faults {
    pub(super) fn gateway(&mut self, table: toml::Table) -> GatewaySection {
        let raw: RawGateway = self.section("gateway", table);
        let skill = raw.default_skill.as_deref().map(protocol::Skill::parse);
        let cors: RawCors = self.section("gateway.cors", raw.cors);
        let proxies = raw.trusted_proxies.iter();
        let tls = raw.tls.and_then(|table| self.tls(table));
        let access = self.access(raw.keys, raw.jwt, raw.certificates, raw.roles);
        let asks = tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        if !access.certificates.is_empty() && !asks {
            self.0.push(
                "gateway.certificates: no client can show one without gateway.tls.client_ca"
                    .to_owned(),
            );
        }
        let card = self.cards(raw.card, raw.sign, raw.url.is_some());
        GatewaySection {
            name: self.name("gateway.name", raw.name),
            listen: raw.listen,
            http: raw.http,
            url: raw.url,
            default_skill: skill.and_then(|skill| self.take("gateway.default_skill", skill)),
            open: raw.open,
            open_anywhere: raw.open_anywhere,
            public_cards: raw.public_cards.unwrap_or(true),
            audit: self.audit(raw.audit),
            trusted_proxies: proxies
                .filter_map(|text| self.take("gateway.trusted_proxies", text.parse()))
                .collect(),
            tls,
            access,
            limits: self.door_limits(raw.limits),
            origins: self.origins(cors.origins),
            card,
            push: self.push(raw.push),
        }
    }

    fn tls(&mut self, table: toml::Table) -> Option<TlsSection> {
        let raw: RawTls = self.section("gateway.tls", table);
        let cert = self.required("gateway.tls.cert", raw.cert);
        let key = self.required("gateway.tls.key", raw.key);
        Some(TlsSection { cert: cert?.into(), key: key?.into(), client_ca: raw.client_ca })
    }

    /// An origin is a scheme, a host and perhaps a port, as in `https://app.example`.
    fn origins(&mut self, origins: Vec<String>) -> Vec<String> {
        for origin in &origins {
            let host = origin.split_once("://").map(|(_, host)| host);
            let is_origin = host.is_some_and(|host| !host.is_empty() && !host.contains('/'));
            if origin != "*" && !is_origin {
                self.0.push(format!(
                    "gateway.cors.origins: {origin:?} is no origin such as https://app.example"
                ));
            }
        }
        origins
    }
}

#[cfg(test)]
mod tests;
