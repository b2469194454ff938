//! Which version of A2A a client speaks, and which extensions it names: for every binding alike.
//!
//! HTTP says it in headers or, where headers cannot be set, in the query; gRPC's metadata are headers too.

use axum::http::{HeaderMap, HeaderValue};

use super::query::Query;
use crate::a2a::VERSION;
use crate::a2a::error::Error;
use crate::cards::extensions;
use crate::limits::EXTENSIONS_MAX;

const VERSION_NAME: &str = "a2a-version";
const EXTENSIONS_NAME: &str = "a2a-extensions";
/// What a client without the header speaks (A2A 1.0, section 3.6.2).
const UNSAID: &str = "0.3";

/// Whether the client speaks the version that is spoken here.
///
/// # Errors
/// [`Error::VersionNotSupported`].
pub fn version(headers: &HeaderMap, query: Option<&str>) -> Result<(), Error> {
    let said = said(headers, query, VERSION_NAME);
    let said = said.iter().map(|text| text.trim()).find(|text| !text.is_empty());
    let said = said.unwrap_or(UNSAID);
    let major = |version: &str| version.split('.').next().unwrap_or_default().to_owned();
    let numbers = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if major(said) == major(VERSION) && said.split('.').all(numbers) && said.contains('.') {
        Ok(())
    } else {
        Err(Error::VersionNotSupported(said.chars().take(32).collect()))
    }
}

/// The extensions that the client names, each once, in its order.
#[must_use]
pub fn named(headers: &HeaderMap, query: Option<&str>) -> Vec<String> {
    let mut named: Vec<String> = Vec::new();
    let said = said(headers, query, EXTENSIONS_NAME);
    for uri in said.iter().flat_map(|list| list.split(',')).map(str::trim) {
        if named.len() < EXTENSIONS_MAX && !uri.is_empty() && !named.iter().any(|one| one == uri) {
            named.push(uri.to_owned());
        }
    }
    named
}

/// The value of the answer's `A2A-Extensions`: what was named and is known here.
#[must_use]
pub fn used(named: &[String]) -> Option<HeaderValue> {
    let used: Vec<&str> =
        named.iter().map(String::as_str).filter(|uri| extensions::is_known(uri)).collect();
    if used.is_empty() { None } else { HeaderValue::from_str(&used.join(",")).ok() }
}

/// Every value under this name, in headers or else in the query.
fn said(headers: &HeaderMap, query: Option<&str>, name: &str) -> Vec<String> {
    let in_headers: Vec<String> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    if !in_headers.is_empty() {
        return in_headers;
    }
    let query = Query::read(query.unwrap_or_default());
    query.all(|key| key.eq_ignore_ascii_case(name)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn speaks_every_minor_version_of_its_major_one() {
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>, bool);
        let table: &[Row<'_>] = &[
            (&[("a2a-version", "1.0")], None, true),
            (&[("a2a-version", " 1.0.7 ")], None, true),
            (&[("a2a-version", "1.9")], None, true),
            (&[], Some("A2A-Version=1.0"), true),
            (&[], Some("x=1&a2a-version=1.0"), true),
            (&[("a2a-version", "")], None, false),
            (&[], None, false),
            (&[("a2a-version", "0.3")], Some("A2A-Version=1.0"), false),
            (&[("a2a-version", "1")], None, false),
            (&[("a2a-version", "1.x")], None, false),
            (&[("a2a-version", "1.")], None, false),
            (&[("a2a-version", "10.0")], None, false),
            (&[("a2a-version", "2.0")], None, false),
            (&[("a2a-version", "latest")], None, false),
        ];
        for (said, query, fine) in table {
            let mut map = HeaderMap::new();
            for (name, value) in *said {
                map.append(
                    axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                );
            }
            assert_eq!(version(&map, *query).is_ok(), *fine, "{said:?} {query:?}");
        }
        let unsaid = version(&HeaderMap::new(), None);
        assert_eq!(unsaid, Err(Error::VersionNotSupported("0.3".to_owned())));
    }

    #[test]
    fn names_extensions_once_and_answers_with_those_it_knows() {
        let map = headers(&[
            ("a2a-extensions", "urn:weft:a2a:resume:v1, https://other.example/v1,,"),
            ("A2A-Extensions", "urn:weft:a2a:resume:v1"),
        ]);
        let named = named(&map, None);
        assert_eq!(named, ["urn:weft:a2a:resume:v1", "https://other.example/v1"]);
        assert_eq!(used(&named).unwrap(), "urn:weft:a2a:resume:v1");
        assert_eq!(used(&[]), None);
    }
}
