//! Tells running attempts that something was said to their tasks, as this node has heard.
//!
//! What was said is in the log stream; an ear only says that it is worth reading. Nothing is remembered: an attempt looks
//! once when it begins to listen, and again whenever it hears something. What is heard is the publication, which may be
//! ahead of the store by as long as the stream takes to agree on it, or to find a leader: an attempt that has found nothing
//! looks again, at growing intervals.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use protocol::{Owner, TaskId, Timestamp};
use runtime::clock::Clock;
use tokio::sync::Notify;

/// When an attempt that has found nothing looks again first.
const AGAIN_FIRST: Duration = Duration::from_millis(20);
/// The longest of the intervals, each twice the one before; then it waits for the next bell.
const AGAIN_LAST: Duration = Duration::from_secs(5);

type Key = (Owner, TaskId);

/// The attempts that want to hear.
#[derive(Clone, Default)]
pub struct Inputs(Arc<DashMap<Key, Arc<Notify>>>);

/// A running attempt's ear. Dropping it takes the attempt off the board.
pub struct Ear {
    board: Inputs,
    key: Key,
    heard: Arc<Notify>,
    again: Mutex<Option<Again>>,
}

/// A further look at what has been heard of.
#[derive(Clone, Copy)]
struct Again {
    at: Timestamp,
    rest: Duration,
}

impl Ear {
    /// Returns once something has been said since this was called last.
    pub(crate) async fn heard(&self, clock: &Clock) {
        self.heard.notified().await;
        *self.again() = Some(Again::after(AGAIN_FIRST, clock.now()));
    }

    /// How long to rest before a further look, if there is to be one.
    pub(crate) fn rest(&self, now: Timestamp) -> Option<Duration> {
        let again = *self.again();
        again.map(|again| again.at.since(now).min(again.rest))
    }

    /// The attempt looks again.
    pub(crate) fn looks_again(&self, now: Timestamp) {
        let mut again = self.again();
        let next = again.map(|again| again.rest * 2).filter(|rest| *rest <= AGAIN_LAST);
        *again = next.map(|rest| Again::after(rest, now));
    }

    /// What was heard of has been found.
    pub(crate) fn found(&self) {
        *self.again() = None;
    }

    fn again(&self) -> MutexGuard<'_, Option<Again>> {
        self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Again {
    fn after(rest: Duration, now: Timestamp) -> Self {
        Self { at: now.after(rest), rest }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.board.0.remove_if(&self.key, |_, heard| Arc::ptr_eq(heard, &self.heard));
    }
}

impl Inputs {
    /// Puts an attempt on the board.
    #[must_use]
    pub fn listen(&self, owner: &Owner, task: &TaskId) -> Ear {
        let key = (owner.clone(), task.clone());
        let heard = Arc::new(Notify::new());
        self.0.insert(key.clone(), Arc::clone(&heard));
        Ear { board: self.clone(), key, heard, again: Mutex::default() }
    }

    /// Something was said to this task.
    pub fn hear(&self, owner: Owner, task: TaskId) {
        if let Some(heard) = self.0.get(&(owner, task)) {
            heard.notify_one();
        }
    }
}
