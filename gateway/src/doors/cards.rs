//! The door of public agent cards, and of the keys that they are signed with. Made for caches: validators, ages, 304.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;

use super::route::Route;
use super::rows::Endpoint;
use super::{Doors, answer};
use crate::a2a::error::Error;
use crate::cards::base::Base;

/// Answers a request for a card or for the key set.
pub(super) async fn answer(
    doors: &Doors,
    base: &Base,
    route: &Route,
    endpoint: Endpoint,
    headers: &HeaderMap,
) -> Response {
    let found = if endpoint == Endpoint::KeySet {
        keys(doors)
    } else {
        card(doors, base, route, headers).await
    };
    found.unwrap_or_else(|error| answer::refusal(route, &error))
}

fn keys(doors: &Doors) -> Result<Response, Error> {
    let core = &doors.core;
    let keys = core.cards.key_set().ok_or_else(|| {
        Error::MethodNotFound("the cards of this gateway are not signed".to_owned())
    })?;
    let mut response = answer::json(200, answer::JSON, &keys);
    response.headers_mut().insert(CACHE_CONTROL, age(doors));
    Ok(response)
}

async fn card(
    doors: &Doors,
    base: &Base,
    route: &Route,
    headers: &HeaderMap,
) -> Result<Response, Error> {
    let made = doors.core.card(route.agent.as_deref(), base).await?;
    let known = headers.get_all(IF_NONE_MATCH).iter().any(|value| names(value, &made.etag));
    let mut response = if known {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let mut response = Response::new(Body::from(made.bytes.clone()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer::JSON));
        response
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, age(doors));
    if let Ok(etag) = HeaderValue::from_str(&made.etag) {
        headers.insert(ETAG, etag);
    }
    let settings = &doors.core.settings;
    if settings.url.is_none() {
        // The card names the address that the client used.
        headers.append(VARY, HeaderValue::from_static("Host, X-Forwarded-Host, X-Forwarded-Proto"));
    }
    if !settings.public_cards {
        headers.append(VARY, HeaderValue::from_static("Authorization, X-API-Key"));
    }
    Ok(response)
}

/// How long the answer may be kept, and by whom.
fn age(doors: &Doors) -> HeaderValue {
    let settings = &doors.core.settings;
    let who = if settings.public_cards { "public" } else { "private" };
    let text = format!("{who}, max-age={}", settings.card.max_age.as_secs());
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("no-cache"))
}

/// Whether a value of `If-None-Match` names a validator. The comparison is weak, as RFC 9110 wants it for this header.
fn names(value: &HeaderValue, etag: &str) -> bool {
    let text = value.to_str().unwrap_or_default().trim();
    let weak = |one: &str| one.trim().trim_start_matches("W/") == etag;
    text == "*" || text.split(',').any(weak)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_none_match_is_read_as_http_says() {
        for (value, expected) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(names(&HeaderValue::from_static(value), "\"a\""), expected, "{value}");
        }
    }
}
