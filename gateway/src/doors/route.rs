//! Which door a request is for, and what it asks there: one pure function over THE LIST of addresses, [`ROWS`].
//!
//! It looks at method and path alone, so that the door, and with it the form of errors, is known before anybody was let
//! in. Segments are percent-decoded one by one after the path was cut: an encoded slash never makes a new segment. One
//! slash at the end changes nothing. A2A's addresses exist at the root, below `/agents/<name>` and below `/<tenant>`.

use axum::http::Method;

use super::Door;
use super::rows::{Endpoint, Place, ROWS, Row};

/// First segments that are no tenants.
pub const RESERVED: [&str; 13] = [
    "agents",
    "v1",
    "files",
    "tasks",
    "message:send",
    "message:stream",
    "extendedAgentCard",
    ".well-known",
    "openapi.json",
    "livez",
    "readyz",
    "metrics",
    "ui",
];

/// What an address means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Whom it belongs to, and so which form errors have.
    pub door: Door,
    /// What is there.
    pub found: Found,
    /// The `<name>` of `/agents/<name>/...`.
    pub agent: Option<String>,
    /// The first segment of `/<tenant>/...`.
    pub tenant: Option<String>,
    /// What stands in the places of the pattern, in their order.
    pub values: Vec<String>,
}

/// What is at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Something that can be done.
    Endpoint(Endpoint),
    /// Nothing with this method.
    OtherMethods(Vec<&'static str>),
    /// Nothing at all.
    Nothing,
}

impl Route {
    /// The place of that number, empty when the pattern has no such place.
    #[must_use]
    pub fn value(&self, index: usize) -> &str {
        self.values.get(index).map_or("", String::as_str)
    }

    /// Whether everybody may ask without credentials: public cards and the description of the doors.
    #[must_use]
    pub fn is_public(&self) -> bool {
        matches!(
            self.found,
            Found::Endpoint(Endpoint::PublicCard | Endpoint::KeySet | Endpoint::Description)
        )
    }
}

/// Reads an address.
#[must_use]
pub fn route(method: &Method, path: &str) -> Route {
    let Some(segments) = segments(path) else {
        return nothing(Door::Rest);
    };
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let found = prefixes(&segments).into_iter().find_map(|(prefix, places)| {
        let (row, values) = first(places, segments.get(prefix.length..)?)?;
        Some(Route {
            door: row.endpoint.door(),
            found: with_method(row, method),
            agent: prefix.agent.map(str::to_owned),
            tenant: prefix.tenant.map(str::to_owned),
            values,
        })
    });
    found.unwrap_or_else(|| nothing(door_of(&segments)))
}

fn nothing(door: Door) -> Route {
    Route { door, found: Found::Nothing, agent: None, tenant: None, values: Vec::new() }
}

/// Whose error form suits an address where nothing is.
fn door_of(segments: &[&str]) -> Door {
    match segments.first().copied() {
        Some("v1" | "openapi.json") => Door::Plain,
        Some("files") => Door::File,
        Some(first) if is_grpc(first) => Door::Grpc,
        _ => Door::Rest,
    }
}

fn is_grpc(segment: &str) -> bool {
    segment.starts_with("lf.a2a.") || segment.starts_with("grpc.")
}

/// The decoded segments; `None` when one is empty, or no UTF-8 once decoded.
fn segments(path: &str) -> Option<Vec<String>> {
    let inner = path.strip_prefix('/')?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() {
        return Some(Vec::new());
    }
    let decoded = inner
        .split('/')
        .map(|segment| if segment.is_empty() { None } else { percent_decode(segment) });
    decoded.collect()
}

/// Decodes `%XX`; `None` when the bytes are no UTF-8 or a `%` has no two hex digits behind it.
#[must_use]
pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        if byte == b'%' {
            let (high, low) = (hex(*rest.next()?)?, hex(*rest.next()?)?);
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[derive(Default)]
struct Prefix<'a> {
    length: usize,
    agent: Option<&'a str>,
    tenant: Option<&'a str>,
}

/// The ways in which the first segments may be a prefix, the plainest first.
fn prefixes<'a>(segments: &[&'a str]) -> Vec<(Prefix<'a>, &'static [Place])> {
    const ROOT: &[Place] = &[Place::Root, Place::Agents, Place::Everywhere];
    const AGENT: &[Place] = &[Place::Agents, Place::Everywhere];
    const TENANT: &[Place] = &[Place::Everywhere];
    let named = |segment: &str| !RESERVED.contains(&segment) && !is_grpc(segment);
    let mut all = vec![(Prefix::default(), ROOT)];
    match segments {
        ["agents", agent, rest @ ..] => {
            let agent = Some(*agent);
            all.push((Prefix { length: 2, agent, tenant: None }, AGENT));
            if let [tenant, ..] = rest
                && named(tenant)
            {
                all.push((Prefix { length: 3, agent, tenant: Some(*tenant) }, TENANT));
            }
        }
        [tenant, ..] if named(tenant) => {
            all.push((Prefix { length: 1, agent: None, tenant: Some(*tenant) }, TENANT));
        }
        _ => {}
    }
    all
}

/// The first row there whose pattern fits. Rows with a verb stand before those without.
fn first(places: &[Place], segments: &[&str]) -> Option<(&'static Row, Vec<String>)> {
    ROWS.iter()
        .filter(|row| places.contains(&row.place))
        .find_map(|row| Some((row, captured(row.path, segments)?)))
}

/// The row with this method among those that have the same path.
fn with_method(row: &Row, method: &Method) -> Found {
    let same = || ROWS.iter().filter(|other| other.path == row.path && other.place == row.place);
    let exact = |wanted: &str| same().find(|other| other.method == wanted);
    let found = exact(method.as_str()).or_else(|| {
        // A HEAD is a GET whose body the server leaves out; a stream has no end to leave out.
        let head = *method == Method::HEAD;
        exact("GET").filter(|row| head && !row.endpoint.streams())
    });
    found.map_or_else(
        || Found::OtherMethods(same().map(|other| other.method).collect()),
        |row| Found::Endpoint(row.endpoint),
    )
}

/// What stands in the places of a pattern such as `/tasks/{id}:cancel`; `None` when it does not fit.
fn captured(pattern: &str, segments: &[&str]) -> Option<Vec<String>> {
    let mut values = Vec::new();
    let mut segments = segments.iter();
    for wanted in pattern.split('/').filter(|wanted| !wanted.is_empty()) {
        let segment = segments.next()?;
        let Some(named) = wanted.strip_prefix('{') else {
            if wanted == *segment {
                continue;
            }
            return None;
        };
        let (name, verb) = named.split_once('}')?;
        if name.ends_with("...") {
            let rest: Vec<&str> = segments.copied().collect();
            values.push([&[*segment], rest.as_slice()].concat().join("/"));
            return Some(values);
        }
        let value = segment.strip_suffix(verb).filter(|value| !value.is_empty())?;
        values.push(value.to_owned());
    }
    segments.next().is_none().then_some(values)
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
