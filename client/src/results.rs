//! Waits for the ends of tasks: one subscription for all of an owner's tasks.
//!
//! Events come from stored entries only. They can be missed while the connection is away, so a wait also looks
//! into the log from time to time; an event may also come before its task's receipt, so ends that nobody waits
//! for yet are kept for a while.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use protocol::budget::Usage;
use protocol::entry::{Entry, Event, Kind, Origin};
use protocol::message::Part;
use protocol::{NodeName, Owner, TaskId, Timestamp, header};
use runtime::supervisor::{Kind as JobKind, Supervisor};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::read::TaskError;
use crate::{Client, WatchError};

/// Ends kept for waits that have not begun.
const EARLY_MAX: usize = 65_536;
/// How often a wait looks into the log although no event came.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// For how long an end that came early is taken for that of the task which is waited for.
const FRESH_FOR: Duration = Duration::from_secs(3);

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

/// What is known of a task's end.
enum Known {
    /// It came just now.
    End(Bytes),
    /// One came a while ago. It may be that of another task that had this id: the log tells.
    Old,
    /// None came; the next one will come here.
    Nothing(oneshot::Receiver<Bytes>),
}

#[derive(Default)]
struct Board {
    waiting: HashMap<String, Vec<oneshot::Sender<Bytes>>>,
    /// With the time at which it came.
    early: HashMap<String, (Instant, Bytes)>,
    early_order: VecDeque<String>,
}

impl Board {
    fn end(&mut self, task: &str, payload: Bytes) {
        if let Some(waiting) = self.waiting.remove(task) {
            for waiter in waiting {
                // A waiter that gave up is gone.
                drop(waiter.send(payload.clone()));
            }
            return;
        }
        if self.early.insert(task.to_owned(), (Instant::now(), payload)).is_none() {
            self.early_order.push_back(task.to_owned());
        }
        while self.early_order.len() > EARLY_MAX {
            if let Some(oldest) = self.early_order.pop_front() {
                self.early.remove(&oldest);
            }
        }
    }

    /// An old end is told once, so that whoever finds none in the log waits for the next.
    fn wait(&mut self, task: &TaskId) -> Known {
        match self.early.get(task.as_str()) {
            Some((at, payload)) if at.elapsed() < FRESH_FOR => return Known::End(payload.clone()),
            Some(_) => {
                self.early.remove(task.as_str());
                return Known::Old;
            }
            None => {}
        }
        let (sender, receiver) = oneshot::channel();
        let waiting = self.waiting.entry(task.as_str().to_owned()).or_default();
        waiting.retain(|waiter| !waiter.is_closed());
        waiting.push(sender);
        Known::Nothing(receiver)
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
        let noted = Arc::clone(&board);
        let stop = supervisor.shutdown_token();
        supervisor.spawn("results", JobKind::Work, async move {
            let mut stopped = pin!(stop.cancelled());
            loop {
                let event = tokio::select! {
                    () = &mut stopped => return,
                    event = events.glimpse() => event,
                };
                let Some(event) = event else { return };
                let kind = event.header(header::ENTRY).and_then(Kind::from_name);
                if kind.is_some_and(Kind::is_terminal)
                    && let Some((_, task)) = event.subject().rsplit_once('.')
                {
                    lock(&noted).end(task, event.payload());
                }
            }
        });
        Ok(Self { client, owner, board })
    }

    /// Waits for the end of a task and returns the entry that ended it. A task named by its sequence is the one that
    /// stands there now, though an earlier one had its id.
    ///
    /// # Errors
    /// See [`WaitError`].
    pub async fn end_of(&self, task: &TaskId, limit: Duration) -> Result<Entry, WaitError> {
        let ends_at = Instant::now() + limit;
        let mut task = Cow::Borrowed(task);
        loop {
            let known = lock(&self.board).wait(&task);
            let payload = match known {
                Known::End(payload) => Some(payload),
                Known::Old => None,
                Known::Nothing(receiver) => {
                    let until = ends_at.min(Instant::now() + LOOK_EVERY);
                    tokio::time::timeout_at(until, receiver).await.ok().and_then(Result::ok)
                }
            };
            if let Some(entry) = payload.and_then(|payload| read_event(&payload)) {
                return Ok(entry);
            }
            let entries = self.client.entries(&self.owner, &task).await?;
            let first = entries.first().and_then(|(_, first)| first.origin.as_deref());
            if let Some(successor) = self.client.successor(&task, first).await? {
                task = Cow::Owned(successor);
                continue;
            }
            if let Some((_, last)) = entries.into_iter().next_back()
                && last.event.kind().is_terminal()
            {
                return Ok(last);
            }
            if Instant::now() >= ends_at {
                return Err(WaitError::TimedOut { task: task.into_owned(), limit });
            }
        }
    }
}

/// An entry that completes its task, the common one, in the form that is read fastest: the general form has to
/// hold an event until its type is known.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Completed {
    generation: u64,
    at: Timestamp,
    by: NodeName,
    attempt: u32,
    origin: Option<Box<Origin>>,
    spent: Option<Usage>,
    raised: Option<Usage>,
    event: CompletedEvent,
}

#[derive(Deserialize)]
struct CompletedEvent {
    #[serde(rename = "type")]
    _kind: CompletedKind,
    output: Vec<Part>,
}

#[derive(Deserialize)]
enum CompletedKind {
    #[serde(rename = "completed")]
    Completed,
}

/// Reads the body of an event; `None` when it is no entry of this version.
#[must_use]
pub fn read_event(payload: &[u8]) -> Option<Entry> {
    let Ok(completed) = serde_json::from_slice(payload) else {
        return serde_json::from_slice(payload).ok();
    };
    let Completed { generation, at, by, attempt, origin, spent, raised, event } = completed;
    let event = Event::Completed { output: event.output };
    Some(Entry {
        generation,
        at,
        by,
        attempt,
        origin,
        agent: None,
        spent,
        raised,
        driver: None,
        event,
    })
}

fn lock(board: &Mutex<Board>) -> std::sync::MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
