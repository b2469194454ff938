//! Who asks, and whether they may: credentials to a [`Caller`], rates, and the audit of every decision.
//!
//! Nobody comes in unless the settings say so. What a caller shows decides alone: an API key, a token of the issuer, or
//! the certificate of the connection. Credentials that are wrong look from outside like credentials that are missing; the
//! log and the audit have the difference.

pub mod audit;
pub(crate) mod certificate;
mod client;
mod fetch;
mod issuer;
pub mod key;
mod layer;
mod observe;
mod origin;
mod rate;
mod role;
mod signature;
mod token;
pub mod trail;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use protocol::Owner;
use runtime::config::{
    CertificateSection, GatewaySection, KeyHash, KeySection, Network, ROLE_ANYBODY,
};
use runtime::supervisor::{Kind, Supervisor};

pub use client::household;
pub use issuer::IssuerError;
pub use layer::{Hall, guard};

use crate::a2a::error::Error;
use crate::core::call::Caller;
use origin::Origins;
use rate::Rate;
use role::Roles;
use token::{TokenError, Tokens};

/// The header of API keys.
const API_KEY: &str = "x-api-key";

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The name in its client certificate, if the connection has one that was checked.
    pub certificate: Option<String>,
}

/// Why a gateway does not open.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// Nobody could come in.
    #[error(
        "nobody could come in: the settings have no gateway.keys, no gateway.jwt and no gateway.certificates, and gateway.open is not true"
    )]
    NoWayIn,
    /// Everybody could come in.
    #[error(
        "gateway.open lets everybody in, and {address} can be reached from other machines; give callers keys, listen on 127.0.0.1, or set gateway.open_anywhere = true"
    )]
    OpenAnywhere {
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// Tokens cannot be checked.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
}

/// Somebody who is let in.
struct Admitted {
    caller: Arc<Caller>,
    /// How they showed who they are.
    shown: &'static str,
    roles: Vec<String>,
}

/// Somebody who is not.
struct Refused {
    error: Error,
    /// For the log and the audit.
    reason: String,
}

/// Lets callers in.
pub struct Gate {
    open: bool,
    keys: Vec<(KeyHash, KeySection)>,
    tokens: Option<Arc<Tokens>>,
    certificates: BTreeMap<String, CertificateSection>,
    roles: Roles,
    failures: Option<Rate>,
    proxies: Vec<Network>,
    origins: Origins,
    public_cards: bool,
    ways: String,
}

impl Gate {
    /// A gate as the settings want it, for doors at `address`.
    ///
    /// # Errors
    /// When nobody could come in, or everybody from everywhere, or tokens cannot be checked.
    pub fn new(section: &GatewaySection, address: SocketAddr) -> Result<Self, GateError> {
        let access = &section.access;
        if !section.open && !access.knows_somebody() {
            return Err(GateError::NoWayIn);
        }
        let near = address.ip().to_canonical().is_loopback();
        if section.open && !section.open_anywhere && !near {
            return Err(GateError::OpenAnywhere { address });
        }
        let near_only = section.open && !section.open_anywhere;
        let url = section.url.as_deref();
        let per_second = f64::from(section.limits.failures_per_minute) / 60.0;
        Ok(Self {
            open: section.open,
            keys: access.keys.iter().map(|key| (key.hash, key.clone())).collect(),
            tokens: access.jwt.as_ref().map(Tokens::new).transpose()?.map(Arc::new),
            certificates: access
                .certificates
                .iter()
                .map(|known| (known.name.clone(), known.clone()))
                .collect(),
            roles: Roles::new(access),
            failures: Rate::new(per_second, section.limits.failures_per_minute),
            proxies: section.trusted_proxies.clone(),
            origins: Origins::new(section.origins.clone(), url, near_only),
            public_cards: section.public_cards,
            ways: ways(section),
        })
    }

    /// Keeps what has to stay fresh so, until the process shuts down.
    pub fn keep_fresh(&self, jobs: &Supervisor) {
        let Some(tokens) = self.tokens.clone() else { return };
        let closing = jobs.shutdown_token();
        jobs.spawn("issuer keys", Kind::Work, async move {
            let fresh = closing.run_until_cancelled(tokens.issuer.keep_fresh());
            fresh.await;
        });
    }

    /// Who sent these headers over this connection, if they may come in at all.
    async fn admit(&self, headers: &HeaderMap, peer: &Peer) -> Result<Admitted, Refused> {
        let several = |name: &str| headers.get_all(name).iter().nth(1).is_some();
        if several(API_KEY) || several(AUTHORIZATION.as_str()) {
            return Err(self.unknown("several credentials of one sort"));
        }
        let shown = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        if let Some(key) = shown(API_KEY) {
            return self.by_key(key);
        }
        if let Some(credentials) = shown(AUTHORIZATION.as_str()) {
            let (scheme, secret) = credentials.split_once(' ').unwrap_or((credentials, ""));
            let secret = secret.trim();
            return if !scheme.eq_ignore_ascii_case("bearer") {
                Err(self.unknown("another scheme than Bearer"))
            } else if secret.starts_with(key::PREFIX) {
                self.by_key(secret)
            } else {
                self.by_token(secret).await
            };
        }
        if let Some(name) = &peer.certificate
            && let Some(known) = self.certificates.get(name)
        {
            return self.let_in(name, &known.owner, vec![known.role.clone()], "certificate");
        }
        if self.open {
            let roles = vec![ROLE_ANYBODY.to_owned()];
            return self.let_in("anybody", &Owner::default(), roles, "open");
        }
        Err(match &peer.certificate {
            Some(name) => self.unknown(&format!("nobody is known by the certificate of {name:?}")),
            None => self.unknown("no credentials"),
        })
    }

    fn by_key(&self, key: &str) -> Result<Admitted, Refused> {
        let known = key::find(&self.keys, key).ok_or_else(|| self.unknown("an unknown API key"))?;
        self.let_in(&known.name, &known.owner, vec![known.role.clone()], "key")
    }

    async fn by_token(&self, token: &str) -> Result<Admitted, Refused> {
        let Some(tokens) = &self.tokens else {
            return Err(self.unknown("a token, and no tokens are taken"));
        };
        match tokens.bearer(token).await {
            Ok(bearer) => self.let_in(&bearer.name, &bearer.owner, bearer.roles, "token"),
            Err(TokenError::Bad(reason)) => Err(self.unknown(&reason)),
            Err(error @ TokenError::Issuer(_)) => Err(Refused {
                error: Error::Unavailable(
                    "the keys of the tokens' issuer are not known".to_owned(),
                ),
                reason: error.to_string(),
            }),
        }
    }

    fn let_in(
        &self,
        name: &str,
        owner: &Owner,
        roles: Vec<String>,
        shown: &'static str,
    ) -> Result<Admitted, Refused> {
        match self.roles.caller(name, owner, &roles) {
            Some(caller) => Ok(Admitted { caller: Arc::new(caller), shown, roles }),
            None => Err(Refused {
                error: Error::PermissionDenied(format!("{name} has no role here")),
                reason: format!("{name} has none of the roles in gateway.roles"),
            }),
        }
    }

    /// The one answer to all who cannot show who they are.
    fn unknown(&self, reason: &str) -> Refused {
        let said = format!("credentials are missing or not good; this gateway takes {}", self.ways);
        Refused { error: Error::Unauthenticated(said), reason: reason.to_owned() }
    }

    /// Counts a failed authentication.
    ///
    /// # Errors
    /// [`Error::RateLimited`], when there were too many from this address.
    fn count_failure(&self, address: IpAddr) -> Result<(), Error> {
        let taken = self.failures.as_ref().map_or(Ok(()), |rate| rate.take(&household(address)));
        taken.map_err(|retry_after| Error::RateLimited { retry_after })
    }
}

/// What can be shown, in words.
fn ways(section: &GatewaySection) -> String {
    let access = &section.access;
    let known = [
        (!access.keys.is_empty(), "an API key in X-API-Key or as a bearer token"),
        (access.jwt.is_some(), "a bearer token of its issuer"),
        (!access.certificates.is_empty(), "a client certificate"),
    ];
    let ways: Vec<&str> = known.into_iter().filter_map(|(is, way)| is.then_some(way)).collect();
    if ways.is_empty() { "no credentials at all".to_owned() } else { ways.join(", ") }
}

#[cfg(test)]
mod tests;
