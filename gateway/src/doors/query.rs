//! Query strings, and the typed request that one stands for.

use protocol::Timestamp;
use protocol::task::TaskState;
use serde_json::{Map, Value};

use super::route::percent_decode;
use crate::a2a::error::{Error, Violation};

/// A query string's pairs, decoded, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the text behind the `?`. What cannot be decoded is kept as it came.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode(&spaced).unwrap_or(spaced)
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    /// Every value whose name is meant.
    pub fn all(&self, meant: impl Fn(&str) -> bool) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(name, _)| meant(name)).map(|(_, value)| value.as_str())
    }

    /// The first value under this name.
    #[must_use]
    pub fn get(&self, wanted: &str) -> Option<&str> {
        self.all(|name| name == wanted).next()
    }

    /// Refuses what is none of these fields: a filter that is ignored would show more than was asked for.
    ///
    /// # Errors
    /// [`Error::InvalidParams`].
    pub fn only(&self, fields: &[Field]) -> Result<(), Error> {
        let known =
            |name: &str| fields.iter().any(|one| one.name == name || snake_case(one.name) == name);
        let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
        let description = format!("is none of {}", names.join(", "));
        let strange = self.0.iter().filter(|(name, _)| !known(name));
        let violations: Vec<Violation> = strange
            .map(|(name, _)| Violation { field: name.clone(), description: description.clone() })
            .collect();
        if violations.is_empty() { Ok(()) } else { Err(Error::InvalidParams(violations)) }
    }

    /// The members of a request that these fields give: every wrong one is named, unknown names are ignored.
    ///
    /// # Errors
    /// [`Error::InvalidParams`].
    pub fn typed(&self, fields: &[Field]) -> Result<Map<String, Value>, Error> {
        let (mut members, mut violations) = (Map::new(), Vec::new());
        for field in fields {
            let snake = snake_case(field.name);
            let mut given = self.all(|name| name == field.name || name == snake);
            let Some(text) = given.next() else { continue };
            let read = if given.next().is_some() {
                Err("is given twice".to_owned())
            } else {
                field.read(text)
            };
            match read {
                Ok(value) => drop(members.insert(field.name.to_owned(), value)),
                Err(description) => {
                    violations.push(Violation { field: field.name.to_owned(), description });
                }
            }
        }
        if violations.is_empty() { Ok(members) } else { Err(Error::InvalidParams(violations)) }
    }
}

pub(super) fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 2);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// A parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name in `camelCase`.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it is for.
    pub about: &'static str,
}

/// What a parameter may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number of 32 bits.
    Number,
    /// `true` or `false`.
    Bool,
    /// RFC 3339.
    Time,
    /// A `TaskState`: its name, or the word for it.
    State,
}

impl Field {
    fn read(&self, text: &str) -> Result<Value, String> {
        let text = if self.kind == Kind::Text { text } else { text.trim() };
        match self.kind {
            Kind::Text => Ok(text.into()),
            Kind::Number => text
                .parse::<i32>()
                .map(Value::from)
                .map_err(|_| format!("{text:?} is no whole number of 32 bits")),
            Kind::Bool => match text {
                "true" => Ok(true.into()),
                "false" => Ok(false.into()),
                _ => Err(format!("{text:?} is neither true nor false")),
            },
            Kind::Time => Timestamp::parse(text)
                .map(|_| text.into())
                .map_err(|_| format!("{text:?} is no time such as 2026-01-31T12:00:00Z")),
            Kind::State => state(text).ok_or_else(|| format!("{text:?} is no task state")),
        }
    }
}

/// The name of a state that is given as `TASK_STATE_WORKING` or `working`; a number is judged by the core.
fn state(text: &str) -> Option<Value> {
    const UNSPECIFIED: &str = "TASK_STATE_UNSPECIFIED";
    if text == UNSPECIFIED || text.parse::<u8>().is_ok() {
        return Some(text.into());
    }
    TaskState::ALL.iter().find_map(|state| {
        let name = serde_json::to_value(state).ok()?;
        (text == state.word() || name == text).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const fn field(name: &'static str, kind: Kind) -> Field {
        Field { name, kind, about: "" }
    }
    const FIELDS: &[Field] = &[
        field("contextId", Kind::Text),
        field("pageSize", Kind::Number),
        field("includeArtifacts", Kind::Bool),
        field("since", Kind::Time),
        field("status", Kind::State),
    ];

    #[test]
    fn reads_what_is_right_and_names_what_is_wrong() {
        let right = Query::read(
            "contextId=a%20b+c&page_size=7&includeArtifacts=true&status=working&other=1&&since=2026-01-31T12:00:00.5Z",
        );
        assert_eq!(
            Value::Object(right.typed(FIELDS).unwrap()),
            json!({"contextId": "a b c", "pageSize": 7, "includeArtifacts": true,
                "status": "TASK_STATE_WORKING", "since": "2026-01-31T12:00:00.5Z"})
        );
        for (wrong, names) in [
            ("pageSize=x&includeArtifacts=1", vec!["pageSize", "includeArtifacts"]),
            ("pageSize=1&page_size=2", vec!["pageSize"]),
            ("pageSize=4294967296", vec!["pageSize"]),
            ("since=yesterday&status=asleep&pageSize=", vec!["pageSize", "since", "status"]),
        ] {
            let Err(Error::InvalidParams(violations)) = Query::read(wrong).typed(FIELDS) else {
                panic!("{wrong} is not refused");
            };
            let fields: Vec<_> = violations.iter().map(|one| one.field.as_str()).collect();
            assert_eq!(fields, names, "{wrong}");
        }
    }
}
