//! Decides which addresses a webhook may have, so that nobody reaches through the gateway what only the gateway reaches.
//!
//! A URL is judged when the webhook is made and again before each call; its host is resolved, every address that comes
//! of it is judged, and the connection goes to one of exactly these: what the name means a moment later does not matter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use url::{Host, Url};

use crate::limits::PUSH_URL_CHARS_MAX;

/// How long a name may take to resolve.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

/// Why a webhook may not be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no URL.
    #[error("it is no absolute URL: {0}")]
    NoUrl(String),
    /// It is too long.
    #[error("it has more than {PUSH_URL_CHARS_MAX} characters")]
    TooLong,
    /// Another scheme.
    #[error("its scheme is {0:?}; only https is called")]
    Scheme(String),
    /// Credentials in the URL end up in logs.
    #[error("it holds a user or a password; use `authentication`")]
    UserInfo,
    /// An address, or a name for one, that is not out on the internet.
    #[error("{0} is not on the public internet")]
    Local(String),
    /// The name means nothing at the moment.
    #[error("{0} does not resolve")]
    Unresolved(String),
}

impl Refused {
    /// Whether the same URL may be fine later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unresolved(_))
    }
}

/// A URL that may be called, as far as it says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    allow_local: bool,
}

impl Target {
    /// Judges a URL by itself.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn parse(text: &str, allow_local: bool) -> Result<Self, Refused> {
        if text.chars().count() > PUSH_URL_CHARS_MAX {
            return Err(Refused::TooLong);
        }
        // Spellings such as 0x7f.1 and 2130706433 are addresses from here on.
        let url = Url::parse(text).map_err(|error| Refused::NoUrl(error.to_string()))?;
        if url.scheme() != "https" && !(allow_local && url.scheme() == "http") {
            return Err(Refused::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::UserInfo);
        }
        let local = match url.host() {
            None => return Err(Refused::NoUrl("it has no host".to_owned())),
            Some(Host::Ipv4(address)) => !is_public(address.into()),
            Some(Host::Ipv6(address)) => !is_public(address.into()),
            Some(Host::Domain(name)) => is_local_name(name),
        };
        match url.host_str() {
            Some(host) if local && !allow_local => Err(Refused::Local(host.to_owned())),
            _ => Ok(Self { url, allow_local }),
        }
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Host and port: what shares a circuit, and what logs may name.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        format!("{host}:{}", self.url.port_or_known_default().unwrap_or_default())
    }

    /// Where to connect, in the order in which to try.
    ///
    /// # Errors
    /// When the name does not resolve, or any of its addresses is not public.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, Refused> {
        let port = self.url.port_or_known_default().unwrap_or(443);
        let name = match self.url.host() {
            Some(Host::Ipv4(address)) => return self.judge(vec![(address, port).into()]),
            Some(Host::Ipv6(address)) => return self.judge(vec![(address, port).into()]),
            Some(Host::Domain(name)) => name,
            None => return Err(Refused::NoUrl("it has no host".to_owned())),
        };
        let unresolved = || Refused::Unresolved(name.to_owned());
        let found = tokio::time::timeout(RESOLVE_LIMIT, tokio::net::lookup_host((name, port)));
        let found: Vec<SocketAddr> =
            found.await.map_err(|_| unresolved())?.map_err(|_| unresolved())?.collect();
        if found.is_empty() { Err(unresolved()) } else { self.judge(found) }
    }

    /// A name with one address inside is refused with all of them: nobody has both by mistake.
    fn judge(&self, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
        let local = found.iter().any(|address| !is_public(address.ip()));
        if local && !self.allow_local {
            return Err(Refused::Local(self.url.host_str().unwrap_or_default().to_owned()));
        }
        Ok(found)
    }
}

/// Names that mean this machine or its network wherever they are asked (RFC 6761, RFC 6762, RFC 8375).
fn is_local_name(name: &str) -> bool {
    const LOCAL: [&str; 6] = ["localhost", "local", "internal", "home.arpa", "lan", "intranet"];
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    LOCAL.iter().any(|local| {
        name.strip_suffix(local).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// Whether an address is global unicast: nobody's own network, and not this machine.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// By the special-purpose registry of IANA (RFC 6890 and what came after it).
fn is_public_v4(address: Ipv4Addr) -> bool {
    let octets = address.octets();
    let special = matches!(
        octets,
        [0 | 10 | 127, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 31, 196, _]
            | [192, 52, 193, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [192, 175, 48, _]
            | [198, 18..=19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..]
            // Azure's metadata and name service, in the middle of public addresses.
            | [168, 63, 129, 16]
    );
    !special
}

/// Only `2000::/3` is given out at all; of that, not what translates to IPv4 or is for documents and tests.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = segments {
        // A translator stands in front of whatever IPv4 address this is.
        return is_public_v4(four(high, low));
    }
    let special = matches!(
        segments,
        // IETF protocols, Teredo, benchmarks, ORCHID; then documents; then 6to4.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] | [0x2002, ..]
    );
    matches!(segments, [0x2000..=0x3fff, ..]) && !special
}

fn four(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
