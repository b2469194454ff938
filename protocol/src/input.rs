//! What can be said to a task that exists: follow-up messages, signals, decisions.
//!
//! One subject a task, `weft.input.<owner>.<task>`, in the log stream. A header says which of the three it is; without
//! one it is a message, so that a bare publish answers a question. Nothing decides by the order of arrival alone: the
//! entry that uses an input up names its sequence, and is fenced.

use crate::approval::Decision;
use crate::codec;
use crate::fault::{Fault, code};
use crate::header::{self, Headers};
use crate::limits::NAME_CHARS_MAX;
use crate::message::{Message, Part};

/// What came for a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A follow-up message.
    Message(Message),
    /// A signal.
    Signal {
        /// Which.
        name: String,
        /// What it carries; nothing for an empty body.
        payload: Vec<Part>,
    },
    /// A decision about an action.
    Decision(Box<Decision>),
}

/// What came for a task, without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InputKind {
    /// See [`Input::Message`].
    Message,
    /// See [`Input::Signal`].
    Signal,
    /// See [`Input::Decision`].
    Decision,
}

impl InputKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Message, Self::Signal, Self::Decision];

    /// The kind that a message says it is; one that names none is taken for a message, which is what it is refused as.
    #[must_use]
    pub fn of(headers: &Headers) -> Self {
        match headers.get(header::INPUT) {
            Some(SIGNAL) => Self::Signal,
            Some(DECISION) => Self::Decision,
            Some(_) | None => Self::Message,
        }
    }

    /// The word for several of them.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Message => "messages",
            Self::Signal => "signals",
            Self::Decision => "decisions",
        }
    }
}

/// The values of the header `Weft-Input`.
const MESSAGE: &str = "message";
const SIGNAL: &str = "signal";
const DECISION: &str = "decision";

impl Input {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> InputKind {
        match self {
            Self::Message(_) => InputKind::Message,
            Self::Signal { .. } => InputKind::Signal,
            Self::Decision(_) => InputKind::Decision,
        }
    }

    /// Reads what was stored.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn read(headers: &Headers, body: &[u8]) -> Result<Self, Fault> {
        let content_type = headers.get(header::CONTENT_TYPE);
        match headers.get(header::INPUT).unwrap_or(MESSAGE) {
            MESSAGE => codec::decode_body(content_type, body).map(Self::Message),
            SIGNAL => {
                let name = headers.get(header::NAME).unwrap_or_default();
                if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
                    return Err(bad(
                        header::NAME,
                        format!("a signal's name has 1 to {NAME_CHARS_MAX} characters"),
                    ));
                }
                let payload = if body.is_empty() {
                    Vec::new()
                } else {
                    codec::decode_body(content_type, body)?.parts
                };
                Ok(Self::Signal { name: name.to_owned(), payload })
            }
            DECISION => codec::json::<Decision>(body).map(|one| Self::Decision(Box::new(one))),
            other => Err(bad(
                header::INPUT,
                format!("{other:?} is none of {MESSAGE}, {SIGNAL}, {DECISION}"),
            )),
        }
    }

    /// The headers and the body to publish.
    #[must_use]
    pub fn write(&self) -> (Headers, Vec<u8>) {
        // Values of this crate's own types always are JSON.
        match self {
            Self::Message(message) => (
                Headers::new()
                    .with(header::INPUT, MESSAGE)
                    .with(header::CONTENT_TYPE, codec::A2A_JSON),
                serde_json::to_vec(message).unwrap_or_default(),
            ),
            Self::Signal { name, payload } => {
                let headers = Headers::new()
                    .with(header::INPUT, SIGNAL)
                    .with(header::NAME, name.as_str())
                    .with(header::CONTENT_TYPE, codec::A2A_JSON);
                let message = Message::from_user(payload.clone());
                let body = if payload.is_empty() {
                    Vec::new()
                } else {
                    serde_json::to_vec(&message).unwrap_or_default()
                };
                (headers, body)
            }
            Self::Decision(decision) => (
                Headers::new().with(header::INPUT, DECISION),
                serde_json::to_vec(decision).unwrap_or_default(),
            ),
        }
    }
}

fn bad(name: &str, message: String) -> Fault {
    Fault::new(code::BAD_HEADER, message).at(format!("header {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::Verdict;

    #[test]
    fn what_is_written_is_read_back() {
        for input in [
            Input::Message(Message::from_user(vec![Part::text("yes")])),
            Input::Signal { name: "bell".to_owned(), payload: Vec::new() },
            Input::Signal { name: "bell".to_owned(), payload: vec![Part::text("loud")] },
            Input::Decision(Box::new(Decision {
                hash: "00".to_owned(),
                verdict: Verdict::Approve,
                by: "ann".to_owned(),
                comment: None,
                action: None,
            })),
        ] {
            let (headers, body) = input.write();
            assert_eq!(InputKind::of(&headers), input.kind());
            assert_eq!(Input::read(&headers, &body), Ok(input));
        }
    }

    #[test]
    fn a_bare_publish_is_a_message_and_nonsense_is_refused() {
        let read = |headers: &[(&str, &str)], body: &str| {
            let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            Input::read(&headers, body.as_bytes())
        };
        assert!(matches!(read(&[], "yes"), Ok(Input::Message(_))));
        for (headers, body) in [
            (vec![("Weft-Input", "shout")], "yes"),
            (vec![("Weft-Input", "signal")], ""),
            (vec![("Weft-Input", "decision")], "{}"),
            (vec![("Weft-Input", "decision")], "approve"),
        ] {
            assert!(read(&headers, body).is_err(), "{headers:?}");
        }
    }
}
