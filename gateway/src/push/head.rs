//! The headers of a call to a webhook.

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::record::Secrets;
use crate::a2a::VERSION;
use crate::core::events::Cursor;

/// What A2A's own servers send.
const TOKEN_OLD: HeaderName = HeaderName::from_static("x-a2a-notification-token");
/// As the specification of A2A 1.0 spells it.
const TOKEN: HeaderName = HeaderName::from_static("a2a-notification-token");
const A2A_VERSION: HeaderName = HeaderName::from_static("a2a-version");
/// The same for each attempt at one event, and for no other event of any webhook.
const IDEMPOTENCY: HeaderName = HeaderName::from_static("idempotency-key");

/// The headers that tell an event to a webhook. `key` is that of its value.
pub(super) fn head(key: &str, secrets: &Secrets, cursor: Cursor) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/a2a+json"));
    headers
        .insert(USER_AGENT, HeaderValue::from_static(concat!("weft/", env!("CARGO_PKG_VERSION"))));
    headers.insert(A2A_VERSION, HeaderValue::from_static(VERSION));
    let mut put = |name: HeaderName, value: &str, secret: bool| {
        // What cannot stand in a header was refused when the webhook was made.
        if let Ok(mut value) = HeaderValue::from_str(value) {
            value.set_sensitive(secret);
            headers.insert(name, value);
        }
    };
    put(IDEMPOTENCY, &format!("{key}.{cursor}"), false);
    if let Some(token) = &secrets.token {
        put(TOKEN_OLD, token, true);
        put(TOKEN, token, true);
    }
    if let Some(how) = &secrets.authentication
        && let Some(credentials) = how.credentials.as_deref().filter(|text| !text.is_empty())
    {
        put(AUTHORIZATION, &format!("{} {credentials}", how.scheme), true);
    }
    headers
}

/// Whether a text can stand in a header as it is.
pub(super) fn fits(text: &str) -> bool {
    HeaderValue::from_str(text).is_ok() && text.trim() == text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::a2a::request::AuthenticationInfo;

    fn secrets() -> Secrets {
        Secrets {
            url: "https://example.com".to_owned(),
            token: Some("token-1".to_owned()),
            authentication: Some(AuthenticationInfo {
                scheme: "Bearer".to_owned(),
                credentials: Some("secret".to_owned()),
            }),
        }
    }

    #[test]
    fn both_token_headers_and_the_credentials_are_sent_and_not_shown() {
        let headers = head("o.s1.hook", &secrets(), Cursor { generation: 4, index: 1 });
        for (name, value) in [
            ("content-type", "application/a2a+json"),
            ("a2a-version", "1.0"),
            ("authorization", "Bearer secret"),
            ("x-a2a-notification-token", "token-1"),
            ("a2a-notification-token", "token-1"),
            ("idempotency-key", "o.s1.hook.4.1"),
        ] {
            assert_eq!(headers.get(name).unwrap(), value, "{name}");
        }
        let shown = format!("{headers:?}");
        assert!(!shown.contains("secret") && !shown.contains("token-1"), "{shown}");
    }

    #[test]
    fn a_scheme_without_credentials_is_no_authorization() {
        let mut secrets = secrets();
        secrets.authentication =
            Some(AuthenticationInfo { scheme: "Bearer".into(), credentials: None });
        secrets.token = None;
        let headers = head("k", &secrets, Cursor::default());
        for name in ["authorization", "x-a2a-notification-token", "a2a-notification-token"] {
            assert!(!headers.contains_key(name), "{name}");
        }
    }
}
