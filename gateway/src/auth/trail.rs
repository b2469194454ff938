//! What becomes known about a request on its way: the operation, whose tasks, which skill and task, and what was denied.
//!
//! Admission starts a trail, the core notes on it what it decides, and the audit entry and the log line are written from it.

use std::sync::{Arc, Mutex, PoisonError};

use protocol::{Owner, Skill};

use crate::core::call::Operation;

/// Characters of a task's id that are kept; clients may write anything there.
const TASK_CHARS_MAX: usize = 128;

/// Characters of a reason that are kept; it may quote what a client wrote.
const REASON_CHARS_MAX: usize = 512;

/// The facts of one request. Clones are the same trail.
#[derive(Debug, Clone, Default)]
pub struct Trail(Arc<Mutex<Facts>>);

/// What is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// What was asked for.
    pub operation: Option<Operation>,
    /// On whose behalf.
    pub owner: Option<Owner>,
    /// On whose behalf they may not ask, although the request says so.
    pub asked_for: Option<Owner>,
    /// With which skill.
    pub skill: Option<Skill>,
    /// About which task.
    pub task: Option<String>,
    /// Why it was denied.
    pub denial: Option<String>,
}

impl Trail {
    /// Somebody asks for this.
    pub fn asks(&self, operation: Operation, skill: Option<&Skill>) {
        self.note(|facts| {
            facts.operation = Some(operation);
            if skill.is_some() {
                facts.skill = skill.cloned();
            }
        });
    }

    /// It is on behalf of this owner.
    pub fn is_for(&self, owner: &Owner) {
        self.note(|facts| facts.owner = Some(owner.clone()));
    }

    /// It names this owner, whom the caller may not act for.
    pub fn is_not_for(&self, owner: &Owner) {
        self.note(|facts| facts.asked_for = Some(owner.clone()));
    }

    /// It is about this task.
    pub fn is_about(&self, task: &str) {
        let task = cut(task, TASK_CHARS_MAX);
        self.note(|facts| facts.task = Some(task));
    }

    /// It is denied.
    pub fn is_denied(&self, why: &str) {
        let why = cut(why, REASON_CHARS_MAX);
        self.note(|facts| facts.denial = Some(why));
    }

    /// What is known by now.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// So many characters of a text at most, without those that no line shows: an entry of the audit must never be larger
/// than its stream takes.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    text.chars().filter(|char| !char.is_control()).take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_wrote_is_cut() {
        let trail = Trail::default();
        trail.is_denied(&format!("a{}", "\u{7f}\n\"".repeat(9000)));
        trail.is_about(&"\0é".repeat(9000));
        let facts = trail.facts();
        assert_eq!(facts.denial.unwrap(), format!("a{}", "\"".repeat(511)));
        assert_eq!(facts.task.unwrap(), "é".repeat(128));
    }
}
