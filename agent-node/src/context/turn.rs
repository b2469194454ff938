//! Whose turn it is: one journaled call at a time, each at its own position, each checked against what the log holds.

use std::collections::HashMap;

use protocol::entry::Event;
use protocol::fault::{Fault, code};
use protocol::journal::Journaled;
use protocol::limits::{JOURNAL_MAX, STEP_NAME_CHARS_MAX};
use protocol::log::TaskLog;
use tokio::sync::MutexGuard;

use super::{Context, permanent};
use crate::agent::Stop;

/// How far the calls of an attempt have come.
#[derive(Default)]
pub(super) struct Place {
    /// The next position of the journal.
    position: u32,
    /// How often each step's name has come up to here.
    names: HashMap<String, u32>,
    /// Whether an entry is on its way into the log.
    is_writing: bool,
}

/// A journaled call under way. Dropping it without [`Turn::pass`] leaves its position to the next call.
pub(super) struct Turn<'a>(MutexGuard<'a, Place>);

impl Turn<'_> {
    /// The call's position in the journal, from 0.
    pub(super) fn position(&self) -> u32 {
        self.0.position
    }

    /// How often this step's name has come before.
    pub(super) fn earlier(&self, name: &str) -> u32 {
        self.0.names.get(name).copied().unwrap_or(0)
    }

    /// What the call did is in the log: the next one takes the next position.
    pub(super) fn pass(&mut self) {
        self.0.position = self.0.position.saturating_add(1);
    }

    /// As [`Turn::pass`], for a step.
    pub(super) fn pass_step(&mut self, name: &str) {
        self.pass();
        let count = self.0.names.entry(name.to_owned()).or_default();
        *count = count.saturating_add(1);
    }
}

impl Context {
    /// Begins a call.
    pub(super) fn turn(&self, name: &str) -> Result<Turn<'_>, Stop> {
        let chars = name.chars().count();
        if chars == 0 || chars > STEP_NAME_CHARS_MAX {
            let message =
                format!("a name has 1 to {STEP_NAME_CHARS_MAX} characters, this one has {chars}");
            let place: String = name.chars().take(64).collect();
            return Err(permanent(
                Fault::new(code::BAD_NAME, message).at(format!("call {place:?}")),
            ));
        }
        let Ok(place) = self.place.try_lock() else {
            let message = format!("{name:?} was asked for while another call was under way");
            return Err(permanent(Fault::new(code::OVERLAPPING_CALLS, message).hint(
                "make journaled calls one after the other, and none within a step's effect",
            )));
        };
        if place.is_writing {
            let message = format!("the call before {name:?} was dropped while it was written down");
            return Err(permanent(
                Fault::new(code::OVERLAPPING_CALLS, message)
                    .hint("let each call come to its end: race effects against time, not calls"),
            ));
        }
        if usize::try_from(place.position).is_ok_and(|at| at >= JOURNAL_MAX) {
            let message = format!("a task's journal has at most {JOURNAL_MAX} entries");
            return Err(permanent(
                Fault::new(code::JOURNAL_FULL, message)
                    .at(format!("call {name:?}"))
                    .hint("hand parts of the work to other tasks"),
            ));
        }
        Ok(Turn(place))
    }

    /// The agent runs again from the start, within the same attempt. No call may be under way.
    pub(crate) fn begin_again(&self) {
        if let Ok(mut place) = self.place.try_lock() {
            *place = Place::default();
        }
    }

    /// Appends an entry of the call under way. Whoever drops the call meanwhile does not know whether it was written.
    pub(super) async fn append(&self, turn: &mut Turn<'_>, event: Event) -> Result<(), Stop> {
        turn.0.is_writing = true;
        let written = self.scribe.append(event).await;
        turn.0.is_writing = false;
        written
    }

    /// What the journal holds at the call's position.
    pub(super) async fn found(&self, turn: &Turn<'_>) -> Option<Journaled> {
        let at = usize::try_from(turn.position()).ok()?;
        self.scribe.with_log(|log| log.journal.get(at).cloned()).await
    }

    /// What the journal holds at the call's position, which must be what is asked for now.
    pub(super) async fn recorded(
        &self,
        turn: &Turn<'_>,
        word: &str,
        name: &str,
    ) -> Result<Option<Journaled>, Stop> {
        match self.found(turn).await {
            Some(found) if found.word() == word && found.name() == name => Ok(Some(found)),
            Some(found) => Err(self.other_call(turn, &found, word, name).await),
            None => Ok(None),
        }
    }

    /// The log holds another call than the agent makes now.
    pub(super) async fn other_call(
        &self,
        turn: &Turn<'_>,
        found: &Journaled,
        word: &str,
        name: &str,
    ) -> Stop {
        self.nondeterministic(format!(
            "at position {} the log holds {} {:?}, and the agent now asks for {word} {name:?}",
            turn.position(),
            found.word(),
            found.name(),
        ))
        .await
    }

    /// The agent does not do what it did before.
    pub(super) async fn nondeterministic(&self, message: String) -> Stop {
        let versions = self.scribe.with_log(versions).await;
        let hint = "steps, waits and delegations have to come in the same order each time; \
                    if the code has changed, finish the task with the old version or redrive it";
        let hint = if versions.is_empty() {
            hint.to_owned()
        } else {
            format!("{hint}; the log was written by version {}", versions.join(", "))
        };
        permanent(Fault::new(code::NONDETERMINISTIC, message).hint(hint))
    }
}

/// The versions of the agent that have written into the log.
fn versions(log: &TaskLog) -> Vec<String> {
    let mut known: Vec<String> =
        log.attempts.iter().filter_map(|attempt| attempt.agent.clone()).collect();
    known.dedup();
    known
}
