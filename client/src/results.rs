//! Waits for the ends of tasks: one subscription for all of an owner's tasks.
//!
//! Events come from stored entries only. They can be missed while the connection is away, so a wait also looks
//! into the log from time to time; an event may also come before its task's receipt, so ends that nobody waits
//! for yet are kept for a while.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use protocol::entry::{Entry, Kind};
use protocol::subject::Subject;
use protocol::{Owner, TaskId, header};
use runtime::supervisor::{Kind as JobKind, Supervisor};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::read::TaskError;
use crate::{Client, WatchError};

/// Ends kept for waits that have not begun.
const EARLY_MAX: usize = 65_536;
/// How often a wait looks into the log although no event came.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Why a wait ended without the task's end.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The time is up; the task goes on.
    #[error("task {task} has not ended within {limit:?}; it goes on")]
    TimedOut {
        /// The task.
        task: TaskId,
        /// The limit.
        limit: Duration,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// The ends of an owner's tasks as they happen.
#[derive(Clone)]
pub struct Results {
    client: Client,
    owner: Owner,
    board: Arc<Mutex<Board>>,
}

#[derive(Default)]
struct Board {
    waiting: HashMap<TaskId, Vec<oneshot::Sender<Bytes>>>,
    early: HashMap<TaskId, Bytes>,
    early_order: VecDeque<TaskId>,
}

impl Board {
    fn end(&mut self, task: TaskId, payload: Bytes) {
        if let Some(waiting) = self.waiting.remove(&task) {
            for waiter in waiting {
                // A waiter that gave up is gone.
                drop(waiter.send(payload.clone()));
            }
            return;
        }
        if self.early.insert(task.clone(), payload).is_none() {
            self.early_order.push_back(task);
        }
        while self.early_order.len() > EARLY_MAX {
            if let Some(oldest) = self.early_order.pop_front() {
                self.early.remove(&oldest);
            }
        }
    }

    fn wait(&mut self, task: &TaskId) -> Result<Bytes, oneshot::Receiver<Bytes>> {
        if let Some(payload) = self.early.get(task) {
            return Ok(payload.clone());
        }
        let (sender, receiver) = oneshot::channel();
        let waiting = self.waiting.entry(task.clone()).or_default();
        waiting.retain(|waiter| !waiter.is_closed());
        waiting.push(sender);
        Err(receiver)
    }
}

impl Results {
    /// Starts listening; the listening job belongs to `supervisor`.
    ///
    /// # Errors
    /// When the subscription cannot be made.
    pub async fn open(
        client: Client,
        owner: Owner,
        supervisor: &Supervisor,
    ) -> Result<Self, WatchError> {
        let subject = client.bus().subjects().events_of(&owner);
        let mut events = client.bus().subscribe(subject, None).await?;
        client.bus().flush().await;
        let board: Arc<Mutex<Board>> = Arc::default();
        let (noted, bus) = (Arc::clone(&board), client.bus().clone());
        let stop = supervisor.shutdown_token();
        supervisor.spawn("results", JobKind::Work, async move {
            loop {
                let event = tokio::select! {
                    () = stop.cancelled() => return,
                    event = events.glimpse() => event,
                };
                let Some(event) = event else { return };
                let kind = event.header(header::ENTRY).and_then(Kind::from_name);
                if kind.is_some_and(Kind::is_terminal)
                    && let Some(Subject::Event(_, task)) = bus.subjects().parse(event.subject())
                {
                    lock(&noted).end(task, event.into_payload());
                }
            }
        });
        Ok(Self { client, owner, board })
    }

    /// Waits for the end of a task and returns the entry that ended it.
    ///
    /// # Errors
    /// See [`WaitError`].
    pub async fn end_of(&self, task: &TaskId, limit: Duration) -> Result<Entry, WaitError> {
        let ends_at = Instant::now() + limit;
        loop {
            let wait = lock(&self.board).wait(task);
            let payload = match wait {
                Ok(payload) => Some(payload),
                Err(receiver) => {
                    let until = ends_at.min(Instant::now() + LOOK_EVERY);
                    tokio::time::timeout_at(until, receiver).await.ok().and_then(Result::ok)
                }
            };
            if let Some(entry) = payload.and_then(|payload| serde_json::from_slice(&payload).ok()) {
                return Ok(entry);
            }
            let entries = self.client.entries(&self.owner, task).await?;
            if let Some((_, last)) = entries.into_iter().next_back()
                && last.event.kind().is_terminal()
            {
                return Ok(last);
            }
            if Instant::now() >= ends_at {
                return Err(WaitError::TimedOut { task: task.clone(), limit });
            }
        }
    }
}

fn lock(board: &Mutex<Board>) -> std::sync::MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
