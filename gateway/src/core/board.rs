//! Who follows which task, and what came lately for tasks that nobody follows yet.
//!
//! One board for all owners of a gateway, so that its memory has one bound. An event may come before its task's receipt:
//! it is kept for a while, and whoever begins to follow the task finds it. A follower that does not take its events
//! loses them and is told so: it reads the log instead, which costs time and no memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::limits::{MAILBOX_BYTES_MAX, MAILBOX_EVENTS_MAX, RECENT_BYTES_MAX, RECENT_EVENTS_MAX};

/// A stored entry as it came: its place in the log stream (0 when the event does not say) and its body.
pub(crate) type Event = (u64, Bytes);

/// What came for a follower.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// An entry.
    Event(Event),
    /// Events may have been lost.
    Behind,
}

/// Where a follower finds its events.
#[derive(Default)]
pub(crate) struct Mailbox {
    content: Mutex<Content>,
    filled: Notify,
}

#[derive(Default)]
struct Content {
    events: VecDeque<Event>,
    bytes: usize,
    behind: bool,
}

impl Mailbox {
    fn put(&self, event: Event) {
        let mut content = lock(&self.content);
        content.bytes += event.1.len();
        content.events.push_back(event);
        if content.events.len() > MAILBOX_EVENTS_MAX || content.bytes > MAILBOX_BYTES_MAX {
            content.events = VecDeque::new();
            content.bytes = 0;
            content.behind = true;
        }
        drop(content);
        self.filled.notify_one();
    }

    fn doubt(&self) {
        lock(&self.content).behind = true;
        self.filled.notify_one();
    }

    fn take(&self) -> Option<Arrival> {
        let mut content = lock(&self.content);
        if let Some(event) = content.events.pop_front() {
            content.bytes -= event.1.len();
            return Some(Arrival::Event(event));
        }
        std::mem::take(&mut content.behind).then_some(Arrival::Behind)
    }

    /// The next arrival, once there is one. What came before a doubt comes before it.
    pub(crate) async fn next(&self) -> Arrival {
        loop {
            if let Some(arrival) = self.take() {
                return arrival;
            }
            self.filled.notified().await;
        }
    }
}

/// The board.
#[derive(Default)]
pub(crate) struct Board(Mutex<State>);

#[derive(Default)]
struct State {
    followers: HashMap<String, Vec<Arc<Mailbox>>>,
    recent: HashMap<Arc<str>, Vec<Event>>,
    order: VecDeque<(Arc<str>, usize)>,
    bytes: usize,
}

impl State {
    fn keep(&mut self, subject: &str, event: Event) {
        // A copy: the bytes of an event are a piece of a larger buffer, which they would keep alive.
        let event = (event.0, Bytes::copy_from_slice(&event.1));
        let bytes = event.1.len();
        let key: Arc<str> = match self.recent.get_key_value(subject) {
            Some((key, _)) => Arc::clone(key),
            None => subject.into(),
        };
        self.recent.entry(Arc::clone(&key)).or_default().push(event);
        self.order.push_back((key, bytes));
        self.bytes += bytes;
        while self.order.len() > RECENT_EVENTS_MAX || self.bytes > RECENT_BYTES_MAX {
            let Some((oldest, bytes)) = self.order.pop_front() else { return };
            self.bytes -= bytes;
            if let Some(events) = self.recent.get_mut(&oldest) {
                events.remove(0);
                if events.is_empty() {
                    self.recent.remove(&oldest);
                }
            }
        }
    }
}

impl Board {
    /// An event has come.
    pub(crate) fn post(&self, subject: &str, event: Event) {
        let mut state = lock(&self.0);
        match state.followers.get(subject) {
            Some(followers) => {
                for follower in followers {
                    follower.put(event.clone());
                }
            }
            None => state.keep(subject, event),
        }
    }

    /// Events of subjects that begin so may have been lost.
    pub(crate) fn doubt(&self, prefix: &str) {
        let state = lock(&self.0);
        let doubtful = state.followers.iter().filter(|(subject, _)| subject.starts_with(prefix));
        for follower in doubtful.flat_map(|(_, followers)| followers) {
            follower.doubt();
        }
    }

    /// Begins to follow: what came lately is in the mailbox already, and from now on nothing is missed.
    pub(crate) fn follow(&self, subject: &str) -> Arc<Mailbox> {
        let mailbox: Arc<Mailbox> = Arc::default();
        let mut state = lock(&self.0);
        for event in state.recent.get(subject).into_iter().flatten() {
            mailbox.put(event.clone());
        }
        state.followers.entry(subject.to_owned()).or_default().push(Arc::clone(&mailbox));
        mailbox
    }

    /// Ends what [`Board::follow`] began.
    pub(crate) fn leave(&self, subject: &str, mailbox: &Arc<Mailbox>) {
        let mut state = lock(&self.0);
        if let Some(followers) = state.followers.get_mut(subject) {
            followers.retain(|other| !Arc::ptr_eq(other, mailbox));
            if followers.is_empty() {
                state.followers.remove(subject);
            }
        }
    }

    /// Whether anybody follows a subject that begins so.
    pub(crate) fn is_followed(&self, prefix: &str) -> bool {
        lock(&self.0).followers.keys().any(|subject| subject.starts_with(prefix))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sequence: u64, bytes: usize) -> Event {
        (sequence, vec![0; bytes].into())
    }

    /// What is in a mailbox now: sequences, 0 for a doubt.
    fn drain(mailbox: &Mailbox) -> Vec<u64> {
        std::iter::from_fn(|| mailbox.take())
            .map(|arrival| match arrival {
                Arrival::Event((sequence, _)) => sequence,
                Arrival::Behind => 0,
            })
            .collect()
    }

    #[test]
    fn what_came_before_somebody_follows_is_found_and_nothing_comes_twice() {
        let board = Board::default();
        board.post("a.1", event(1, 1));
        board.post("a.2", event(2, 1));
        let first = board.follow("a.1");
        board.post("a.1", event(3, 1));
        let second = board.follow("a.1");
        board.post("a.1", event(4, 1));
        assert_eq!((drain(&first), drain(&second)), (vec![1, 3, 4], vec![1, 4]));
        board.doubt("a.");
        board.doubt("b.");
        assert_eq!((drain(&first), drain(&second)), (vec![0], vec![0]));
        assert!(board.is_followed("a.") && !board.is_followed("b."));
        board.leave("a.1", &first);
        board.leave("a.1", &second);
        assert!(!board.is_followed("a."));
    }

    #[test]
    fn memory_has_a_bound_for_a_slow_follower_and_for_what_nobody_follows() {
        let board = Board::default();
        let slow = board.follow("a.1");
        for sequence in 0..=MAILBOX_EVENTS_MAX as u64 {
            board.post("a.1", event(sequence + 1, 1));
        }
        board.post("a.1", event(999, 1));
        assert_eq!(drain(&slow), [999, 0], "what was lost is owned up to");
        board.post("a.1", event(1, MAILBOX_BYTES_MAX + 1));
        assert_eq!(drain(&slow), [0]);

        for sequence in 0..2 * RECENT_EVENTS_MAX as u64 {
            board.post(&format!("b.{sequence}"), event(sequence, 1));
        }
        let state = lock(&board.0);
        assert_eq!((state.order.len(), state.recent.len()), (RECENT_EVENTS_MAX, RECENT_EVENTS_MAX));
        drop(state);
        board.post("b.large", event(7, RECENT_BYTES_MAX));
        let state = lock(&board.0);
        assert_eq!((state.order.len(), state.bytes), (1, RECENT_BYTES_MAX));
    }
}
