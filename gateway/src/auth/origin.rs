//! Pages in browsers: which may call, and how they are told so (CORS).
//!
//! A page of a strange origin is refused even where the browser would let it through without asking: a gateway that
//! is open to this machine must not be open to every web site that somebody on this machine looks at. For the same reason
//! such a gateway answers only to names of this machine, whatever address a name of a stranger points to.

use std::net::IpAddr;

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST,
    HeaderValue, ORIGIN, VARY,
};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};

use crate::a2a::error::Error;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, A2A-Version, A2A-Extensions, X-API-Key, X-Request-Id, Last-Event-ID, \
     If-None-Match, Range, Traceparent, Tracestate",
);
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "A2A-Extensions, X-Request-Id, Retry-After, WWW-Authenticate, ETag, Content-Range, Accept-Ranges",
);
/// Seconds for which a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Which pages may call.
pub(super) struct Origins {
    allowed: Vec<String>,
    /// The host in the gateway's public address.
    public_host: Option<String>,
    /// Only names of this machine are answered.
    near_only: bool,
}

impl Origins {
    pub(super) fn new(allowed: Vec<String>, url: Option<&str>, near_only: bool) -> Self {
        let public_host = url.and_then(|url| {
            let uri: Uri = url.parse().ok()?;
            Some(uri.host()?.to_ascii_lowercase())
        });
        Self { allowed, public_host, near_only }
    }

    /// The answer to a browser that asks before it calls; `None` when it is another request.
    pub(super) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response> {
        let asks =
            *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let origin = headers.get(ORIGIN).filter(|_| asks)?;
        if !self.allows(origin) {
            return Some(StatusCode::FORBIDDEN.into_response());
        }
        let mut response = StatusCode::NO_CONTENT.into_response();
        self.mark(Some(origin), response.headers_mut());
        let more = [
            (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
            (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        ];
        response.headers_mut().extend(more);
        Some(response)
    }

    /// Refuses requests of strange pages, and of names that are not this machine's.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`].
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = uri.authority().map(|authority| authority.as_str()).or(host);
        if let Some(host) = host
            && self.near_only
            && !is_near(name_of(host))
            && self.public_host.as_deref() != Some(&name_of(host).to_ascii_lowercase())
        {
            return Err(Error::PermissionDenied(
                "this gateway is open to programs on its own machine only, and this request is for another name"
                    .to_owned(),
            ));
        }
        let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
        let same = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        let same =
            same.is_some_and(|(_, from)| host.is_some_and(|host| from.eq_ignore_ascii_case(host)));
        if same || self.allows(origin) {
            return Ok(());
        }
        Err(Error::PermissionDenied(
            "pages of this origin may not call; see gateway.cors".to_owned(),
        ))
    }

    /// Tells the browser that the page may read the answer.
    pub(super) fn mark(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if self.allowed.is_empty() {
            return;
        }
        headers.append(VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin.filter(|origin| self.allows(origin)) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        self.allowed.iter().any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes())
    }
}

/// The name in `name:port`.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_near(name: &str) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let name = name.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    #[test]
    fn strange_pages_and_strange_names_are_refused() {
        let near = Origins::new(Vec::new(), Some("https://weft.example/x"), true);
        let far = Origins::new(vec!["https://app.example".to_owned()], None, false);
        for (origins, host, origin, is_let) in [
            (&near, "127.0.0.1:8080", None, true),
            (&near, "localhost", None, true),
            (&near, "[::1]:8080", None, true),
            (&near, "weft.example", None, true),
            (&near, "evil.example:8080", None, false),
            (&near, "127.0.0.1.evil.example", None, false),
            (&near, "10.0.0.1:8080", None, false),
            (&near, "localhost:8080", Some("http://localhost:8080"), true),
            (&near, "localhost:8080", Some("http://evil.example"), false),
            (&near, "localhost:8080", Some("null"), false),
            (&far, "weft.example", None, true),
            (&far, "weft.example", Some("https://app.example"), true),
            (&far, "weft.example", Some("https://app.example.evil"), false),
        ] {
            let checked = origins.check(&Uri::from_static("/"), &headers(host, origin));
            assert_eq!(checked.is_ok(), is_let, "{host} {origin:?}");
        }
        let uri = Uri::from_static("http://evil.example/");
        assert!(near.check(&uri, &HeaderMap::new()).is_err(), "the name of HTTP/2");
    }

    #[test]
    fn browsers_are_told_what_they_ask() {
        let origins = Origins::new(vec!["https://app.example".to_owned()], None, false);
        for (origin, status) in [("https://app.example", 204), ("https://evil.example", 403)] {
            let mut asked = headers("weft.example", Some(origin));
            assert!(origins.preflight(&Method::OPTIONS, &asked).is_none(), "a plain OPTIONS");
            asked.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
            let answer = origins.preflight(&Method::OPTIONS, &asked).unwrap();
            assert_eq!(answer.status(), status, "{origin}");
            let told = answer.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(told.is_some(), status == 204, "{origin}");
        }
    }
}
