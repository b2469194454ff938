//! The address that cards name: the one from the settings, else the one that the client used, else the one listened on.
//!
//! `X-Forwarded-*` counts only when it comes from a proxy that the settings trust: anybody else could have cards, and
//! caches in front of them, name an address of theirs. The `Host` header of a request is believed about that request alone.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::{HeaderMap, Uri};
use runtime::config::GatewaySection;

/// The longest host that is believed, in bytes: a name has 253 at most, and a port 6.
const HOST_BYTES_MAX: usize = 259;

/// Where clients reach the doors, without a slash at the end: `https://agents.example.org`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Base(String);

impl Base {
    /// The address in the settings, else that of the request.
    #[must_use]
    pub fn of_request(
        settings: &GatewaySection,
        listen: &str,
        headers: &HeaderMap,
        uri: &Uri,
        peer: Option<IpAddr>,
    ) -> Self {
        if settings.url.is_some() {
            return Self::of_settings(settings, listen);
        }
        let trusted =
            peer.is_some_and(|peer| settings.trusted_proxies.iter().any(|net| net.holds(peer)));
        let forwarded = |name: &str| {
            let value = headers.get(name).filter(|_| trusted)?.to_str().ok()?;
            value.split(',').next().map(str::trim).map(str::to_owned)
        };
        let own = || {
            let host = headers.get(HOST).and_then(|host| host.to_str().ok());
            host.or_else(|| uri.authority().map(axum::http::uri::Authority::as_str))
                .map(str::to_owned)
        };
        let host = forwarded("x-forwarded-host").or_else(own).filter(|host| is_host(host));
        let Some(host) = host else {
            return Self::of_settings(settings, listen);
        };
        let scheme = match forwarded("x-forwarded-proto").as_deref() {
            Some("https") => "https",
            Some("http") => "http",
            _ => scheme(settings),
        };
        Self(format!("{scheme}://{host}"))
    }

    /// The address in the settings, else the one listened on.
    #[must_use]
    pub fn of_settings(settings: &GatewaySection, listen: &str) -> Self {
        match &settings.url {
            Some(url) => Self(url.trim_end_matches('/').to_owned()),
            None => Self(format!("{}://{listen}", scheme(settings))),
        }
    }

    /// It as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What gRPC libraries take as a target: `agents.example.org:443`. There is no room for a path in it.
    #[must_use]
    pub fn grpc_target(&self) -> String {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("http", &self.0));
        let host = rest.split('/').next().unwrap_or(rest);
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| {
            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
        });
        match (has_port, scheme) {
            (true, _) => host.to_owned(),
            (false, "https") => format!("{host}:443"),
            (false, _) => format!("{host}:80"),
        }
    }
}

fn scheme(settings: &GatewaySection) -> &'static str {
    if settings.tls.is_some() { "https" } else { "http" }
}

/// A name or address with or without a port, and nothing that could end it in a URL.
fn is_host(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !text.is_empty() && text.len() <= HOST_BYTES_MAX && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use runtime::config::Settings;

    use super::*;

    fn settings(text: &str) -> GatewaySection {
        Settings::parse(&format!("[gateway]\n{text}")).unwrap().gateway
    }

    #[test]
    fn believes_the_settings_then_trusted_proxies_then_the_request() {
        const PROXY: &str = "trusted_proxies = [\"10.0.0.0/8\"]\n";
        const TLS: &str = "[gateway.tls]\ncert = \"c.pem\"\nkey = \"k.pem\"\n";
        type Pairs = &'static [(&'static str, &'static str)];
        let table: [(&str, &str, Pairs, &str, &str); 8] = [
            ("", "1.1.1.1", &[("host", "a.example:81")], "http://a.example:81", "a.example:81"),
            ("", "1.1.1.1", &[("host", "[::1]:81")], "http://[::1]:81", "[::1]:81"),
            ("", "1.1.1.1", &[], "http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("", "1.1.1.1", &[("host", "a/b\"")], "http://127.0.0.1:8080", "127.0.0.1:8080"),
            (TLS, "1.1.1.1", &[("host", "a.example")], "https://a.example", "a.example:443"),
            (
                "url = \"https://mesh.example/\"\n",
                "1.1.1.1",
                &[("host", "evil.example")],
                "https://mesh.example",
                "mesh.example:443",
            ),
            (
                PROXY,
                "10.1.2.3",
                &[
                    ("host", "inner:8080"),
                    ("x-forwarded-host", "mesh.example, inner"),
                    ("x-forwarded-proto", "https"),
                ],
                "https://mesh.example",
                "mesh.example:443",
            ),
            (
                PROXY,
                "11.1.2.3",
                &[("host", "inner"), ("x-forwarded-host", "evil.example")],
                "http://inner",
                "inner:80",
            ),
        ];
        for (text, peer, pairs, expected, target) in table {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, axum::http::HeaderValue::from_static(value));
            }
            let peer = Some(peer.parse().unwrap());
            let uri = Uri::from_static("/.well-known/agent-card.json");
            let base = Base::of_request(&settings(text), "127.0.0.1:8080", &headers, &uri, peer);
            assert_eq!(base.as_str(), expected, "{text} {pairs:?}");
            assert_eq!(base.grpc_target(), target);
        }
    }
}
