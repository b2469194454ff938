//! What a task has done so far, as far as its agent may ask again.
//!
//! Positions count up in the order of the agent's calls, so a resumed agent that asks for something else at a position
//! is found out by kind and name.

use crate::entry::Child;
use crate::message::Part;
use crate::wait::{Answer, WaitingFor};

/// One journaled piece of a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Journaled {
    /// A step and what it returned.
    Step {
        /// Its name.
        name: String,
        /// What it returned.
        output: Part,
    },
    /// Work handed to others.
    Delegated {
        /// Its name.
        name: String,
        /// The work.
        children: Vec<Child>,
        /// Whether the task has waited for it and went on.
        joined: bool,
        /// The children that counted when not all of them were waited for, by index.
        counted: Option<Vec<u32>>,
    },
    /// A wait and what ended it.
    Answered {
        /// What was waited for.
        waiting_for: Box<WaitingFor>,
        /// What came.
        answer: Answer,
        /// Whether a step has used it up; only approvals are used up.
        used: bool,
    },
}

impl Journaled {
    /// The name that the agent gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Step { name, .. } | Self::Delegated { name, .. } => name,
            Self::Answered { waiting_for, .. } => waiting_for.name().unwrap_or_default(),
        }
    }

    /// The kind of call, in a word for people.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Step { .. } => "step",
            Self::Delegated { .. } => "delegation",
            Self::Answered { waiting_for, .. } => match **waiting_for {
                WaitingFor::Children { .. } | WaitingFor::Lane { .. } => "wait",
                WaitingFor::Timer { .. } => "timer",
                WaitingFor::Input { .. } => "question",
                WaitingFor::Signal { .. } => "signal",
                WaitingFor::Approval { .. } => "approval",
            },
        }
    }
}
