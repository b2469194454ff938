//! Decides which words about progress become entries at once.
//!
//! A program may print its progress in a loop; an entry of each would fill the log. Some go at once, then one at a time;
//! what comes in between is held, and the newest word replaces the one before it. Nothing is an error.

use std::time::Duration;

use protocol::limits::{LOG_ENTRIES_MAX, STATUS_AT_ONCE, STATUS_EVERY};
use protocol::message::Message;
use tokio::time::Instant;

/// The words of one attempt about its progress.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// How far ahead of its rate it is: when the last word would have come at the rate. `None` before the first.
    paid_until: Option<Instant>,
    held: Option<Message>,
}

impl Progress {
    /// Takes a word; gives it back when it may go now. `entries` is the length of the log: in one that is half full the
    /// rest of the room is kept for what the task does.
    pub(crate) fn take(&mut self, word: Message, now: Instant, entries: u64) -> Option<Message> {
        self.held = Some(word);
        self.due(now, entries)
    }

    /// The word that is held, if it may go now.
    pub(crate) fn due(&mut self, now: Instant, entries: u64) -> Option<Message> {
        let paid_until = self.paid_until.map_or(now, |until| until.max(now));
        let ahead = paid_until.saturating_duration_since(now);
        let room = usize::try_from(entries).is_ok_and(|entries| entries < LOG_ENTRIES_MAX / 2);
        if self.held.is_none() || !room || ahead > BURST {
            return None;
        }
        self.paid_until = Some(paid_until + STATUS_EVERY);
        self.held.take()
    }

    /// Whether a word is held.
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// The word that is held, because nothing comes after it.
    pub(crate) fn last(&mut self) -> Option<Message> {
        self.held.take()
    }
}

/// How far ahead of its rate an attempt may be.
const BURST: Duration = STATUS_EVERY.saturating_mul(STATUS_AT_ONCE - 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn some_words_go_at_once_and_the_newest_of_the_rest_at_the_rate() {
        let mut progress = Progress::default();
        let start = Instant::now();
        let say = |progress: &mut Progress, at: u32, entries| {
            let word = Message::from_agent(at.to_string());
            progress.take(word, start, entries).is_some()
        };
        let gone = (0..1_000).filter(|at| say(&mut progress, *at, 1)).count();
        assert_eq!(gone, STATUS_AT_ONCE as usize);
        let late = start + STATUS_EVERY;
        assert_eq!(progress.due(late, 1), Some(Message::from_agent("999")));
        assert_eq!(progress.due(late, 1), None, "nothing is held");
        assert!(!say(&mut progress, 1_000, 1), "the rate is used up");
        assert!(progress.last().is_some());
        let mut full = Progress::default();
        assert!(!say(&mut full, 0, LOG_ENTRIES_MAX as u64 / 2), "the log is half full");
        assert!(full.last().is_some());
    }
}
