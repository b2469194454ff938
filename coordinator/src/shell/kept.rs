//! Long logs as they were read last, so that a thousand looks at one parent do not read a thousand children each time.
//!
//! Nothing is decided by what is kept: the stream's leader says first where the log ends, what has come since is read
//! behind the last entry that is known, and that entry has to be there still. Then everything before it is, too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::log::TaskLog;
use runtime::bus::StoredMessage;

/// Shorter logs, in bytes, come in one small page and are not kept.
const LOG_BYTES_MIN: usize = 16 * 1024;
/// All logs that are kept, in bytes of their entries.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// A log and where it ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Its fold.
    pub(super) log: Arc<TaskLog>,
    /// Its last entry.
    pub(super) last: Option<StoredMessage>,
    /// The bytes of all its entries.
    pub(super) bytes: usize,
}

/// The logs that are kept, by subject.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Shelf>>);

#[derive(Debug, Default)]
struct Shelf {
    logs: HashMap<String, (Known, u64)>,
    bytes: usize,
    uses: u64,
}

impl Known {
    /// Whether a stored entry is the last one that is known.
    pub(super) fn ends_with(&self, stored: &StoredMessage) -> bool {
        self.last.as_ref().is_some_and(|last| {
            (last.sequence, last.at, &last.payload) == (stored.sequence, stored.at, &stored.payload)
        })
    }
}

impl Kept {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a log.
    pub(super) fn get(&self, subject: &str) -> Option<Known> {
        let mut shelf = self.shelf();
        shelf.uses += 1;
        let uses = shelf.uses;
        let (known, used) = shelf.logs.get_mut(subject)?;
        *used = uses;
        Some(known.clone())
    }

    /// Keeps a log that is long and goes on, in place of those that were not asked for the longest.
    pub(super) fn put(&self, subject: String, known: Known) {
        let mut shelf = self.shelf();
        shelf.remove(&subject);
        if known.bytes < LOG_BYTES_MIN || known.bytes > BYTES_MAX || known.log.is_ended() {
            return;
        }
        shelf.bytes += known.bytes;
        shelf.uses += 1;
        let uses = shelf.uses;
        shelf.logs.insert(subject, (known, uses));
        while shelf.bytes > BYTES_MAX {
            let oldest = shelf.logs.iter().min_by_key(|(_, (_, used))| *used);
            let Some(oldest) = oldest.map(|(subject, _)| subject.clone()) else { return };
            shelf.remove(&oldest);
        }
    }
}

impl Shelf {
    fn remove(&mut self, subject: &str) {
        if let Some((known, _)) = self.logs.remove(subject) {
            self.bytes = self.bytes.saturating_sub(known.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::Timestamp;
    use protocol::header::Headers;

    use super::*;

    fn known(sequence: u64, bytes: usize) -> Known {
        let last = StoredMessage {
            sequence,
            subject: String::new(),
            headers: Headers::new(),
            payload: bytes::Bytes::from_static(b"{}"),
            at: Timestamp::default(),
        };
        Known { log: Arc::default(), last: Some(last), bytes }
    }

    #[test]
    fn the_longest_unused_make_room_and_short_ones_are_not_kept() {
        let kept = Kept::default();
        kept.put("short".to_owned(), known(1, LOG_BYTES_MIN - 1));
        assert!(kept.get("short").is_none());
        for name in ["a", "b", "c"] {
            kept.put(name.to_owned(), known(1, BYTES_MAX / 3));
        }
        kept.get("a").expect("kept");
        kept.put("d".to_owned(), known(1, BYTES_MAX / 3));
        let held = ["a", "b", "c", "d"].map(|name| kept.get(name).is_some());
        assert_eq!(held, [true, false, true, true]);
        assert_eq!(kept.shelf().bytes, BYTES_MAX / 3 * 3);
        kept.put("a".to_owned(), known(2, 0));
        assert!(kept.get("a").is_none(), "what is known now takes the place of what was");
    }

    #[test]
    fn another_entry_at_the_same_place_is_another_log() {
        let known = known(7, 0);
        let same = known.last.clone().expect("there");
        let other = StoredMessage { payload: bytes::Bytes::from_static(b"[]"), ..same.clone() };
        let later = StoredMessage { sequence: 8, ..same.clone() };
        assert!(known.ends_with(&same));
        assert!(!known.ends_with(&other) && !known.ends_with(&later));
    }
}
