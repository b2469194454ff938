//! Judges one setting of something that exists: it is as wanted, another value only adds, or it would take away.
//!
//! Works on the server's own words, so that nothing here depends on what the client library knows of them.

use protocol::Timestamp;
use serde_json::Value;

/// What a setting is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bus) enum Rule {
    /// A list, to which missing words are added. What else it has stays.
    List,
    /// A number that may grow.
    More,
    /// The same, where 0 and less stand for no limit.
    Limit,
    /// A limit of bytes, beyond which messages are dropped.
    Bytes,
    /// A limit of age in nanoseconds, beyond which messages are dropped.
    Age,
    /// Something that may be turned on.
    On,
    /// What a full stream does: refusing is safer than dropping.
    Discard,
    /// Something that may be added where there is none.
    Absent,
    /// What the server does not change.
    Fixed,
}

/// What is stored, as far as a limit could drop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::bus) struct Held {
    /// Bytes of messages.
    pub(in crate::bus) bytes: u64,
    /// How old the oldest message is, in nanoseconds; none without a message, and where nobody knows.
    pub(in crate::bus) oldest_ns: Option<u64>,
}

/// What an upgrade makes of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bus) enum Verdict {
    /// It is as wanted, or has more.
    Same,
    /// This value takes nothing away.
    Adds(Value),
    /// It stays, and why.
    Stays(String),
}

use Verdict::{Adds, Same, Stays};

impl Held {
    /// Reads the server's answer about a stream.
    pub(in crate::bus) fn read(answer: &Value, now: Timestamp) -> Self {
        let state = answer.get("state").cloned().unwrap_or_default();
        let number = |key: &str| state.get(key).and_then(Value::as_u64).unwrap_or(0);
        let first = state.get("first_ts").and_then(Value::as_str);
        let first = first.and_then(|text| Timestamp::parse(text).ok());
        let age = first.map(|at| u64::try_from(now.since(at).as_nanos()).unwrap_or(u64::MAX));
        Self { bytes: number("bytes"), oldest_ns: age.filter(|_| number("messages") > 0) }
    }
}

impl Rule {
    pub(in crate::bus) fn judge(self, found: &Value, wanted: &Value, held: Held) -> Verdict {
        match self {
            Self::List => join(found, wanted),
            Self::More => match (number(found), number(wanted)) {
                (found, wanted) if found == wanted => Same,
                (found, more) if more > found => Adds(wanted.clone()),
                _ => stays("less than there is takes something away"),
            },
            Self::Limit | Self::Bytes | Self::Age => self.limit(found, wanted, held),
            Self::On => match (found == &Value::Bool(true), wanted == &Value::Bool(true)) {
                (false, true) => Adds(wanted.clone()),
                (true, false) => stays("somebody may depend on it"),
                _ => Same,
            },
            Self::Discard => match (found.as_str(), wanted.as_str()) {
                (found, wanted) if found == wanted => Same,
                (_, Some("new")) => Adds(wanted.clone()),
                _ => stays("a full stream would drop its oldest messages"),
            },
            Self::Absent if found.is_null() && !wanted.is_null() => Adds(wanted.clone()),
            Self::Absent if told(found) == told(wanted) => Same,
            Self::Fixed if found == wanted => Same,
            Self::Absent => stays("somebody may depend on it"),
            Self::Fixed => stays("it can only be chosen when it is made"),
        }
    }

    fn limit(self, found: &Value, wanted: &Value, held: Held) -> Verdict {
        let limit = |value: &Value| Some(number(value)).filter(|number| *number > 0);
        let (before, after) = (limit(found), limit(wanted));
        let drops = |held: u64| after.is_some_and(|after| i128::from(held) > i128::from(after));
        match (before, after) {
            _ if before == after => Same,
            (Some(before), Some(after)) if after > before => Adds(wanted.clone()),
            (Some(_), None) => Adds(wanted.clone()),
            _ if self == Self::Bytes && drops(held.bytes) => {
                Stays(format!("{} bytes are stored: the oldest would be dropped", held.bytes))
            }
            _ if self == Self::Age && held.oldest_ns.is_some_and(drops) => {
                let hours = held.oldest_ns.unwrap_or(0) / 3_600_000_000_000;
                Stays(format!("messages of {hours} h ago are stored: they would be dropped"))
            }
            _ if self == Self::Limit => stays("what fits now would be refused, or dropped"),
            _ => Adds(wanted.clone()),
        }
    }
}

fn stays(why: &str) -> Verdict {
    Stays(why.to_owned())
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// An object without what the server does not mention.
fn told(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, member| !matches!(member, Value::Null | Value::Bool(false)));
    }
    value
}

fn join(found: &Value, wanted: &Value) -> Verdict {
    let words = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (mut all, wanted) = (words(found), words(wanted));
    let is_there = |word: &&Value| all.iter().any(|there| covers(there, word));
    let missing: Vec<Value> = wanted.iter().filter(|word| !is_there(word)).cloned().collect();
    if !missing.is_empty() {
        all.retain(|there| !missing.iter().any(|new| covers(new, there)));
        all.extend(missing);
        return Adds(Value::Array(all));
    }
    let is_wanted = |there: &Value| wanted.contains(there);
    if all.iter().all(is_wanted) { Same } else { stays("what is more there may be meant") }
}

/// Whether a subject, which may have the wildcards of NATS, takes in all that another one does. The server refuses a
/// stream with both.
fn covers(wide: &Value, narrow: &Value) -> bool {
    let (Some(wide), Some(narrow)) = (wide.as_str(), narrow.as_str()) else {
        return wide == narrow;
    };
    let (mut wide, mut narrow) = (wide.split('.'), narrow.split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_adds_is_done_and_what_takes_away_is_not() {
        let held = Held { bytes: 500, oldest_ns: Some(70) };
        let none = Value::Null;
        let list = |words: &[&str]| json!(words);
        // Rule, on the server, wanted, what becomes of it; null where it stays.
        for (rule, found, wanted, expected) in [
            (Rule::List, list(&["a"]), list(&["a", "b"]), Some(list(&["a", "b"]))),
            (Rule::List, list(&["z", "a"]), list(&["b", "a"]), Some(list(&["z", "a", "b"]))),
            (Rule::List, list(&["b", "a"]), list(&["a", "b"]), None),
            (Rule::List, list(&["a", "b"]), list(&["a"]), Some(none.clone())),
            (Rule::List, list(&["t.>"]), list(&["t.*", "t.*.*"]), Some(none.clone())),
            (Rule::List, list(&["t.*"]), list(&["t.>"]), Some(list(&["t.>"]))),
            (Rule::List, list(&["t.*"]), list(&["t.a", "u"]), Some(list(&["t.*", "u"]))),
            (Rule::More, json!(1), json!(3), Some(json!(3))),
            (Rule::More, json!(3), json!(1), Some(none.clone())),
            (Rule::Limit, json!(10), json!(-1), Some(json!(-1))),
            (Rule::Limit, json!(-1), json!(10), Some(none.clone())),
            (Rule::Limit, json!(0), json!(-1), None),
            (Rule::Bytes, json!(-1), json!(499), Some(none.clone())),
            (Rule::Bytes, json!(-1), json!(500), Some(json!(500))),
            (Rule::Bytes, json!(600), json!(499), Some(none.clone())),
            (Rule::Bytes, json!(100), json!(499), Some(json!(499))),
            (Rule::Age, json!(0), json!(69), Some(none.clone())),
            (Rule::Age, json!(0), json!(70), Some(json!(70))),
            (Rule::Age, json!(50), json!(0), Some(json!(0))),
            (Rule::On, none.clone(), json!(true), Some(json!(true))),
            (Rule::On, json!(true), none.clone(), Some(none.clone())),
            (Rule::On, none.clone(), json!(false), None),
            (Rule::Discard, json!("old"), json!("new"), Some(json!("new"))),
            (Rule::Discard, json!("new"), json!("old"), Some(none.clone())),
            (Rule::Absent, none.clone(), json!({"src": "a"}), Some(json!({"src": "a"}))),
            (Rule::Absent, json!({"src": "a"}), json!({"src": "b"}), Some(none.clone())),
            (Rule::Absent, json!({"src": "a"}), json!({"src": "a", "headers_only": false}), None),
            (Rule::Fixed, json!("file"), json!("memory"), Some(none)),
        ] {
            let made = match rule.judge(&found, &wanted, held) {
                Same => None,
                Adds(value) => Some(value),
                Stays(_) => Some(Value::Null),
            };
            assert_eq!(made, expected, "{rule:?}: {found} to {wanted}");
        }
        let empty = Held::default();
        assert_eq!(Rule::Age.judge(&json!(0), &json!(1), empty), Adds(json!(1)), "nothing to lose");
    }
}
