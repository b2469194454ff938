//! Tells running attempts that something was said to their tasks, as this node has heard.
//!
//! What was said is in the log stream; an ear only says that it is worth reading. Nothing is remembered: an attempt looks
//! once when it begins to listen, and again whenever it hears something.

use std::sync::Arc;

use dashmap::DashMap;
use protocol::{Owner, TaskId};
use tokio::sync::Notify;

type Key = (Owner, TaskId);

/// The attempts that want to hear.
#[derive(Clone, Default)]
pub struct Inputs(Arc<DashMap<Key, Arc<Notify>>>);

/// A running attempt's ear. Dropping it takes the attempt off the board.
pub struct Ear {
    board: Inputs,
    key: Key,
    heard: Arc<Notify>,
}

impl Ear {
    /// Returns once something has been said since this was called last.
    pub async fn heard(&self) {
        self.heard.notified().await;
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
        Ear { board: self.clone(), key, heard }
    }

    /// Something was said to this task.
    pub fn hear(&self, owner: Owner, task: TaskId) {
        if let Some(heard) = self.0.get(&(owner, task)) {
            heard.notify_one();
        }
    }
}
