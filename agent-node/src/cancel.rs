//! Which tasks somebody wants to end, as this node has heard.
//!
//! A cancel is a stored message that a coordinator looks after; nodes listen on core NATS as well, so that a
//! running attempt hears of it at once and a queued task is not begun. What is remembered is bounded: beyond
//! that, the coordinator and the fence do the work.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use protocol::{Owner, TaskId};
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
    heard: DashMap<Key, Heard>,
}

/// A cancel that was heard.
#[derive(Clone)]
struct Heard {
    at: Instant,
    why: Option<String>,
}

impl Heard {
    /// Whether it is about the task that has this id now: so long after its end another may get it.
    fn counts(&self) -> bool {
        self.at.elapsed() < REMEMBERED_FOR
    }
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
        if !self.0.heard.is_empty() && self.0.heard.get(&*key).is_some_and(|heard| heard.counts()) {
            token.cancel();
        }
        Ear { board: self.clone(), key, token }
    }

    /// Why somebody wants this task to end, as far as it was said and is remembered.
    #[must_use]
    pub(crate) fn why(&self, owner: &Owner, task: &TaskId) -> Option<String> {
        if self.0.heard.is_empty() {
            return None;
        }
        let heard = self.0.heard.get(&(owner.clone(), task.clone()))?;
        heard.why.clone().filter(|_| heard.counts())
    }

    /// Somebody wants this task to end. Of several reasons the first is kept.
    pub(crate) fn hear(&self, owner: Owner, task: TaskId, why: Option<String>) {
        let key = (owner, task);
        self.forget_old();
        if self.0.heard.len() < REMEMBERED_MAX {
            let heard = Heard { at: Instant::now(), why };
            let mut known = self.0.heard.entry(key.clone()).or_insert_with(|| heard.clone());
            if !known.counts() {
                *known = heard;
            }
        }
        if let Some(token) = self.0.running.get(&key) {
            token.cancel();
        }
    }

    fn forget_old(&self) {
        if self.0.heard.len() >= REMEMBERED_MAX {
            self.0.heard.retain(|_, heard| heard.counts());
        }
    }
}
