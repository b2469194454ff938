//! What a task can wait for without holding a worker, and when it goes on.
//!
//! Pure: the wait, the messages that came for the task, and the time come in; an [`Answer`] goes out, or nothing
//! yet. A coordinator asks while nobody runs the task, the node asks before it suspends one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::approval::{ApprovalRequest, Ruling};
use crate::input::Input;
use crate::message::{Message, Part};
use crate::time::Timestamp;

/// What a suspended task waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum WaitingFor {
    /// The end of children delegated by the journal entry at `position`.
    Children {
        /// Its position in the journal, from 0.
        position: u32,
        /// How many have to complete; all of them have to end when it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        enough: Option<u32>,
    },
    /// A point in time: the wait's own limit.
    Timer {
        /// The name, for the check on resume.
        name: String,
    },
    /// A message from whoever talks to the task.
    Input {
        /// The name, for the check on resume.
        name: String,
        /// What is asked.
        question: Message,
        /// Whether credentials are asked for.
        #[serde(default)]
        auth: bool,
    },
    /// A signal of this name.
    Signal {
        /// The name, also for the check on resume.
        name: String,
    },
    /// Somebody's decision about an action.
    Approval {
        /// The name, for the check on resume.
        name: String,
        /// What is to be decided.
        request: Box<ApprovalRequest>,
    },
    /// The end of the task before it in its lane.
    Lane {
        /// The inbox sequence of that task's submission.
        predecessor: u64,
    },
}

/// What ended a wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Answer {
    /// Enough children have completed, or no more can.
    Children {
        /// The children that had ended, by their index in the delegation, in ascending order.
        ended: Vec<u32>,
    },
    /// The time has come, or what was waited for has not come in time.
    Time,
    /// A message.
    Message {
        /// Its place in the log stream.
        sequence: u64,
        /// What it says.
        message: Message,
    },
    /// A signal.
    Signal {
        /// Its place in the log stream.
        sequence: u64,
        /// What it carries.
        payload: Vec<Part>,
    },
    /// A decision.
    Approval {
        /// The places of all messages that it is made of.
        sequences: Vec<u64>,
        /// What was decided.
        ruling: Ruling,
    },
}

/// A message that came for a task, as far as it could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrived {
    /// Its place in the log stream.
    pub sequence: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// What it is.
    pub input: Input,
}

impl WaitingFor {
    /// The name that the agent gave the wait, where it gave one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Children { .. } | Self::Lane { .. } => None,
            Self::Timer { name }
            | Self::Input { name, .. }
            | Self::Signal { name }
            | Self::Approval { name, .. } => Some(name),
        }
    }
}

impl Answer {
    /// The messages that it uses up.
    #[must_use]
    pub fn sequences(&self) -> &[u64] {
        match self {
            Self::Children { .. } | Self::Time => &[],
            Self::Message { sequence, .. } | Self::Signal { sequence, .. } => {
                std::slice::from_ref(sequence)
            }
            Self::Approval { sequences, .. } => sequences,
        }
    }
}

/// What ends the wait, given every message that came for the task, oldest first, and those used up before.
/// `None`: nothing yet. Children and lanes are not answered here.
///
/// What was stored after `until` came too late, whenever somebody looks.
#[must_use]
pub fn answer(
    waiting_for: &WaitingFor,
    until: Option<Timestamp>,
    since: Timestamp,
    arrived: &[Arrived],
    used: &BTreeSet<u64>,
    now: Timestamp,
) -> Option<Answer> {
    let mut in_time = arrived
        .iter()
        .filter(|one| !used.contains(&one.sequence) && until.is_none_or(|until| one.at <= until));
    let found = match waiting_for {
        WaitingFor::Children { .. } | WaitingFor::Lane { .. } => return None,
        WaitingFor::Timer { .. } => None,
        WaitingFor::Input { .. } => in_time.find_map(|one| match &one.input {
            Input::Message(message) => {
                Some(Answer::Message { sequence: one.sequence, message: message.clone() })
            }
            Input::Signal { .. } | Input::Decision(_) => None,
        }),
        WaitingFor::Signal { name } => in_time.find_map(|one| match &one.input {
            Input::Signal { name: given, payload } if given == name => {
                Some(Answer::Signal { sequence: one.sequence, payload: payload.clone() })
            }
            Input::Message(_) | Input::Signal { .. } | Input::Decision(_) => None,
        }),
        WaitingFor::Approval { request, .. } => {
            let decisions: Vec<_> = in_time
                .filter_map(|one| match &one.input {
                    Input::Decision(decision) => Some((one.sequence, one.at, decision.as_ref())),
                    Input::Message(_) | Input::Signal { .. } => None,
                })
                .collect();
            let due = until.is_some_and(|until| until <= now);
            request
                .rule(since, &decisions, due)
                .map(|(sequences, ruling)| Answer::Approval { sequences, ruling })
        }
    };
    found.or_else(|| until.is_some_and(|until| until <= now).then_some(Answer::Time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn message(sequence: u64, stored: i64) -> Arrived {
        Arrived {
            sequence,
            at: at(stored),
            input: Input::Message(Message::from_user(vec![Part::text("hi")])),
        }
    }

    fn signal(sequence: u64, name: &str) -> Arrived {
        let input = Input::Signal { name: name.to_owned(), payload: Vec::new() };
        Arrived { sequence, at: at(0), input }
    }

    #[test]
    fn the_oldest_unused_message_in_time_answers() {
        let input = WaitingFor::Input {
            name: "q".to_owned(),
            question: Message::from_agent("?"),
            auth: false,
        };
        let bell = WaitingFor::Signal { name: "bell".to_owned() };
        let timer = WaitingFor::Timer { name: "t".to_owned() };
        let all = [signal(1, "gong"), message(2, 10), message(3, 20), signal(4, "bell")];
        for (wait, until, used, now, expected) in [
            (&input, None, vec![], 0, Some(2)),
            (&input, None, vec![2], 0, Some(3)),
            (&input, None, vec![2, 3], 0, None),
            (&input, Some(15), vec![2], 14, None),
            (&input, Some(15), vec![2], 15, Some(0)),
            (&input, Some(15), vec![], 99, Some(2)),
            (&bell, None, vec![], 0, Some(4)),
            (&bell, None, vec![4], 0, None),
            (&timer, Some(50), vec![], 49, None),
            (&timer, Some(50), vec![], 50, Some(0)),
        ] {
            let used = used.into_iter().collect();
            let found = answer(wait, until.map(at), at(0), &all, &used, at(now));
            let found = found.map(|answer| answer.sequences().first().copied().unwrap_or(0));
            assert_eq!(found, expected, "{wait:?} {until:?} {used:?} {now}");
        }
    }
}
