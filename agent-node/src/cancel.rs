//! Which tasks somebody wants to end, as this node has heard.
//!
//! A cancel is a stored message that a coordinator looks after; nodes listen on core NATS as well, so that a
//! running attempt hears of it at once and a queued task is not begun. What is remembered is bounded: beyond
//! that, the coordinator and the fence do the work.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use protocol::subject::Subject;
use protocol::{Owner, TaskId};
use runtime::bus::{Bus, Subscription};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Cancels of tasks that this node does not run, remembered at most.
const REMEMBERED_MAX: usize = 10_000;
/// For this long.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

type Key = (Owner, TaskId);

/// The cancels heard.
#[derive(Clone, Default)]
pub(crate) struct Cancels(Arc<Inner>);

#[derive(Default)]
struct Inner {
    running: DashMap<Arc<Key>, CancellationToken>,
    heard: DashMap<Key, Instant>,
}

/// A running attempt's ear. Dropping it takes the attempt off the board.
pub(crate) struct Ear {
    board: Cancels,
    key: Arc<Key>,
    token: CancellationToken,
}

impl Ear {
    /// Cancelled once somebody wants the task to end.
    #[must_use]
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.board.0.running.remove(&self.key);
    }
}

impl Cancels {
    /// Puts an attempt on the board.
    #[must_use]
    pub(crate) fn listen(&self, owner: &Owner, task: &TaskId) -> Ear {
        let key = Arc::new((owner.clone(), task.clone()));
        let token = CancellationToken::new();
        self.0.running.insert(Arc::clone(&key), token.clone());
        if !self.0.heard.is_empty() && self.0.heard.contains_key(&*key) {
            token.cancel();
        }
        Ear { board: self.clone(), key, token }
    }

    /// Somebody wants this task to end.
    pub(crate) fn hear(&self, owner: Owner, task: TaskId) {
        let key = (owner, task);
        self.forget_old();
        if self.0.heard.len() < REMEMBERED_MAX {
            self.0.heard.insert(key.clone(), Instant::now());
        }
        if let Some(token) = self.0.running.get(&key) {
            token.cancel();
        }
    }

    fn forget_old(&self) {
        if self.0.heard.len() >= REMEMBERED_MAX {
            self.0.heard.retain(|_, at| at.elapsed() < REMEMBERED_FOR);
        }
    }

    /// Hears what is published, until the connection is closed or `stop`.
    pub(crate) async fn hear_all(
        self,
        bus: Bus,
        mut cancels: Subscription,
        stop: CancellationToken,
    ) {
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => return,
                message = cancels.next() => message,
            };
            let Some(message) = message else { return };
            if let Some(Subject::Cancel(owner, task)) = bus.subjects().parse(&message.subject) {
                self.hear(owner, task);
            }
        }
    }
}
