//! Names and ids: what they may look like and how derived ones are made.
//!
//! Every one of them becomes a token of a NATS subject, so none can hold a dot, a wildcard or white
//! space. A value of these types is always valid; the only way in is [`parse`](TaskId::parse) or a
//! derivation. Derived task ids live in reserved forms that nobody can claim by hand.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::limits::{DEDUP_KEY_CHARS_MAX, NAME_CHARS_MAX};
use crate::time::Timestamp;

/// Why a text is no such name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// It has no character at all.
    #[error("{what} is empty")]
    Empty {
        /// Which name.
        what: &'static str,
    },
    /// It is longer than the limit.
    #[error("{what} has {chars} characters, at most {max} are allowed")]
    TooLong {
        /// Which name.
        what: &'static str,
        /// How long it is.
        chars: usize,
        /// The limit.
        max: usize,
    },
    /// It holds a character that a subject token or this name may not have.
    #[error("{what} holds {found:?}; allowed are {allowed}")]
    BadCharacter {
        /// Which name.
        what: &'static str,
        /// The first bad character.
        found: char,
        /// The characters allowed.
        allowed: &'static str,
    },
    /// It has the form of a derived task id (`s17`, `s17-1700000000000`, `k-...`, `c-...`).
    #[error(
        "task id {found:?} has a form reserved for derived ids (s<number>, s<number>-<number>, k-..., c-...); choose \
         another, for example a UUID"
    )]
    Reserved {
        /// The id.
        found: String,
    },
}

const TOKEN_CHARS: &str = "letters, digits, '-' and '_'";

fn check(what: &'static str, text: &str, max: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { what });
    }
    if let Some(found) =
        text.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '-' || *c == '_'))
    {
        return Err(IdError::BadCharacter { what, found, allowed: TOKEN_CHARS });
    }
    if text.len() > max {
        return Err(IdError::TooLong { what, chars: text.len(), max });
    }
    Ok(())
}

macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Reads such a name.
            ///
            /// # Errors
            /// When it is empty, too long or holds anything but letters, digits, `-` and `_`.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check($what, text, NAME_CHARS_MAX)?;
                Ok(Self(text.to_owned()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

token!(
    /// A named capability, and the queue that its tasks wait in.
    Skill, "skill"
);
token!(
    /// Who a task belongs to, for permissions and results.
    Owner, "owner"
);
token!(
    /// A conversation (A2A `contextId`).
    ContextId, "context id"
);
token!(
    /// A key that tasks are kept in order by.
    Lane, "lane"
);
token!(
    /// A process that runs agents.
    NodeName, "node name"
);
token!(
    /// One unit of work (an A2A Task).
    TaskId, "task id"
);

/// The owner of a task that was published without one.
pub const OWNER_DEFAULT: &str = "default";

impl NodeName {
    /// A name for a process that nobody named: its role and a number, which the caller draws at random.
    #[must_use]
    pub fn made_up(role: Role, number: u32) -> Self {
        Self(format!("{}-{number:08x}", role.word()))
    }
}

/// What a process of the mesh does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs agents.
    Node,
    /// Looks after tasks that nobody is running.
    Coordinator,
    /// Lets clients in that do not speak NATS.
    Gateway,
}

impl Role {
    /// The word for it in names and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Coordinator => "coordinator",
            Self::Gateway => "gateway",
        }
    }
}

impl From<&ContextId> for Lane {
    /// The lane of a conversation: a context id is such a name already.
    fn from(context: &ContextId) -> Self {
        Self(context.0.clone())
    }
}

impl Default for Owner {
    fn default() -> Self {
        Self(OWNER_DEFAULT.to_owned())
    }
}

impl TaskId {
    /// Reads an id that a submitter chose.
    ///
    /// # Errors
    /// As [`TaskId::parse`], and when the id has a form reserved for derived ones.
    pub fn parse_chosen(text: &str) -> Result<Self, IdError> {
        let id = Self::parse(text)?;
        let numbered = text.strip_prefix('s').is_some_and(|rest| match rest.split_once('-') {
            None => is_number(rest),
            Some((place, time)) => !place.is_empty() && is_number(place) && is_number(time),
        });
        if numbered || text.starts_with("k-") || text.starts_with("c-") {
            return Err(IdError::Reserved { found: text.to_owned() });
        }
        Ok(id)
    }

    /// The id of a task that was published with neither id nor dedup key: `s<stream sequence>`, which the
    /// publisher reads off its `PubAck`.
    #[must_use]
    pub fn from_sequence(sequence: u64) -> Self {
        Self(format!("s{sequence}"))
    }

    /// The id of a task whose sequence another submission had before it, in an inbox that was set back since:
    /// `s<stream sequence>-<milliseconds since the Unix epoch>`, the time being that at which it was stored.
    #[must_use]
    pub fn from_sequence_at(sequence: u64, stored_at: Timestamp) -> Self {
        Self(format!("s{sequence}-{}", stored_at.millis().max(0)))
    }

    /// The stream sequence in an id made by [`TaskId::from_sequence`] or [`TaskId::from_sequence_at`].
    #[must_use]
    pub fn sequence(&self) -> Option<u64> {
        let numbers = self.0.strip_prefix('s')?;
        let (place, time) = numbers.split_once('-').unwrap_or((numbers, "0"));
        let numbered = is_number(place) && is_number(time) && !time.is_empty();
        numbered.then(|| place.parse().ok())?.filter(|place| *place > 0)
    }

    /// The id of every submission with this dedup key to this skill by this owner.
    #[must_use]
    pub fn from_dedup_key(owner: &Owner, skill: &Skill, key: &DedupKey) -> Self {
        Self(format!("k-{}", digest(&[owner.as_str(), skill.as_str(), key.as_str()])))
    }

    /// The id of the `index`th child that an owner's task `parent` starts in its journal entry `position`.
    #[must_use]
    pub fn of_child(owner: &Owner, parent: &Self, position: u32, index: u32) -> Self {
        let (position, index) = (position.to_string(), index.to_string());
        Self(format!("c-{}", digest(&[owner.as_str(), parent.as_str(), &position, &index])))
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// The first 128 bits of a SHA-256 over the pieces, each ended by a zero byte, as 32 hex digits.
fn digest(pieces: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for piece in pieces {
        hasher.update(piece.as_bytes());
        hasher.update([0]);
    }
    hex(hasher.finalize().iter().take(16))
}

pub(crate) fn hex<'a>(bytes: impl Iterator<Item = &'a u8>) -> String {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + (value - 10) };
    let mut text = Vec::with_capacity(64);
    for byte in bytes {
        text.extend([digit(byte >> 4), digit(byte & 0xf)]);
    }
    String::from_utf8(text).unwrap_or_default()
}

/// What a submitter calls the piece of work, so that asking twice does it once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct DedupKey(String);

impl DedupKey {
    /// Reads a dedup key: any visible characters and spaces inside.
    ///
    /// # Errors
    /// When it is empty, too long or holds a control character.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let what = "dedup key";
        if text.trim().is_empty() {
            return Err(IdError::Empty { what });
        }
        let chars = text.chars().count();
        if chars > DEDUP_KEY_CHARS_MAX {
            return Err(IdError::TooLong { what, chars, max: DEDUP_KEY_CHARS_MAX });
        }
        if let Some(found) = text.chars().find(|c| c.is_control()) {
            return Err(IdError::BadCharacter { what, found, allowed: "visible characters" });
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for DedupKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stay_inside_one_subject_token() {
        for (text, fine) in [
            ("echo", true),
            ("Echo_2-b", true),
            ("", false),
            ("a.b", false),
            ("a b", false),
            ("*", false),
            (">", false),
            ("$SYS", false),
            ("ümlaut", false),
        ] {
            assert_eq!(Skill::parse(text).is_ok(), fine, "{text:?}");
        }
        assert!(Skill::parse(&"x".repeat(65)).is_err());
    }

    #[test]
    fn derived_forms_cannot_be_chosen() {
        for text in ["s17", "s", "s17-1700000000000", "s17-", "k-0011", "c-x"] {
            assert!(matches!(TaskId::parse_chosen(text), Err(IdError::Reserved { .. })), "{text}");
        }
        for text in ["send-mail", "k", "s17b", "s17-b", "s-17", "0190a0"] {
            assert!(TaskId::parse_chosen(text).is_ok(), "{text}");
        }
        assert_eq!(TaskId::from_sequence(17).sequence(), Some(17));
        let again = TaskId::from_sequence_at(17, Timestamp::from_millis(1_700_000_000_000));
        assert_eq!((again.as_str(), again.sequence()), ("s17-1700000000000", Some(17)));
        for text in ["s17-", "s17-b", "s", "send-17"] {
            assert_eq!(TaskId(text.to_owned()).sequence(), None, "{text}");
        }
    }

    #[test]
    fn a_dedup_key_belongs_to_owner_and_skill() {
        let key = DedupKey::parse("order 66").unwrap();
        let id = |owner: &str, skill: &str| {
            TaskId::from_dedup_key(&owner.parse().unwrap(), &skill.parse().unwrap(), &key)
        };
        assert_eq!(id("a", "b"), id("a", "b"));
        assert_ne!(id("a", "b"), id("a", "c"));
        assert_ne!(id("a", "b"), id("c", "b"));
        assert_ne!(id("ab", "c"), id("a", "bc"));
    }
}
