//! Writes one attempt's entries into its task's log, each behind the fence.
//!
//! A scribe knows the log as it was when the attempt began and everything it has appended since. The first
//! append that is refused ends it: from then on every call answers [`Stop::Fenced`], so a zombie can do
//! nothing more.

use std::sync::Arc;

use bytes::Bytes;
use protocol::dead::DeadLetter;
use protocol::entry::{Entry, Event, Kind, Origin};
use protocol::fault::{Failure, Fault, code};
use protocol::header::{self, Headers};
use protocol::id::{NodeName, Owner, TaskId};
use protocol::limits::{LOG_ENTRIES_MAX, STATUS_EVERY};
use protocol::log::TaskLog;
use protocol::message::Message;
use protocol::subject::Subjects;
use runtime::bus::Outgoing;
use runtime::clock::Clock;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep};

use crate::agent::{AnyAgent, Stop};
use crate::bytes::{ByteBudget, Fetched};
use crate::ledger::{AppendError, Ledger};
use crate::progress::Progress;

/// What stays the same over an attempt.
pub struct Scribe {
    ledger: Arc<dyn Ledger>,
    subjects: Arc<Subjects>,
    clock: Clock,
    subject: String,
    /// The task.
    pub task: TaskId,
    /// Who it belongs to.
    pub owner: Owner,
    /// The writer.
    pub node: NodeName,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Made up for this scribe: tells its entries from another's that are the same to the byte.
    writer: String,
    /// What runs; its version goes into the log.
    agent: Option<Arc<dyn AnyAgent>>,
    /// Where the re-queued message that this attempt runs on is stored.
    driver: Option<u64>,
    fetched: Fetched,
    state: Mutex<State>,
    /// Told when a word about progress is held.
    held: Notify,
}

struct State {
    log: TaskLog,
    progress: Progress,
    origin: Option<Box<Origin>>,
    begun: bool,
    fenced: bool,
    in_flight: Option<InFlight>,
}

/// An append whose answer nobody has seen: its future was dropped, or is being awaited.
struct InFlight {
    entry: Entry,
    payload: Bytes,
    letter: Option<Outgoing>,
}

/// What a scribe needs to begin.
pub struct Start {
    /// The task.
    pub task: TaskId,
    /// What the task is; written with the first entry of its log.
    pub origin: Box<Origin>,
    /// The log as it is.
    pub log: TaskLog,
    /// The writer.
    pub node: NodeName,
}

impl Scribe {
    /// A scribe for the next attempt at a task.
    #[must_use]
    pub fn new(
        ledger: Arc<dyn Ledger>,
        subjects: Arc<Subjects>,
        clock: Clock,
        start: Start,
    ) -> Self {
        let owner = start.origin.owner.clone();
        Self {
            subject: subjects.log(&owner, &start.task),
            ledger,
            subjects,
            clock,
            attempt: start.log.next_attempt(),
            task: start.task,
            owner,
            node: start.node,
            writer: format!("{:016x}", rand::random::<u64>()),
            agent: None,
            driver: None,
            fetched: Fetched::default(),
            held: Notify::new(),
            state: Mutex::new(State {
                progress: Progress::default(),
                origin: start.log.origin.is_none().then_some(start.origin),
                log: start.log,
                begun: false,
                fenced: false,
                in_flight: None,
            }),
        }
    }

    /// The same scribe for a task that ends without being run: its entry belongs to no attempt.
    #[must_use]
    pub fn without_attempt(mut self) -> Self {
        self.attempt = 0;
        self
    }

    /// The same scribe for an attempt of this agent.
    #[must_use]
    pub fn with_agent(mut self, agent: Arc<dyn AnyAgent>) -> Self {
        self.agent = Some(agent);
        self
    }

    fn version(&self) -> Option<String> {
        let version = self.agent.as_ref()?.about().version;
        (!version.is_empty()).then_some(version)
    }

    /// The same scribe for an attempt on a re-queued message, stored in the log stream at `sequence`.
    #[must_use]
    pub fn driven_by(mut self, sequence: u64) -> Self {
        self.driver = Some(sequence);
        self
    }

    /// The same scribe for a node that bounds what is in flight.
    #[must_use]
    pub(crate) fn with_budget(mut self, budget: ByteBudget) -> Self {
        self.fetched = Fetched::counted_by(budget);
        self
    }

    /// What this attempt has fetched from the object store.
    pub(crate) fn fetched(&self) -> &Fetched {
        &self.fetched
    }

    /// The ledger it writes to.
    #[must_use]
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// The subjects of the mesh.
    #[must_use]
    pub fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// The clock entries are stamped with.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Reads something off the log as this attempt knows it.
    pub async fn with_log<T>(&self, read: impl FnOnce(&TaskLog) -> T) -> T {
        read(&self.state.lock().await.log)
    }

    /// Whether an entry of this attempt is in the log.
    pub async fn has_begun(&self) -> bool {
        self.state.lock().await.begun
    }

    /// Learns what became of an append whose future was dropped; without one it does nothing.
    ///
    /// # Errors
    /// As [`Scribe::claim`].
    pub async fn settle(&self) -> Result<(), Stop> {
        let mut state = self.state.lock().await;
        self.settle_in_flight(&mut state).await
    }

    /// The log as it is after everything this attempt appended.
    pub async fn log(&self) -> TaskLog {
        self.state.lock().await.log.clone()
    }

    /// Writes the attempt down unless one of its entries already did.
    ///
    /// # Errors
    /// [`Stop::Fenced`], or a failure when the stream will never take the entry.
    pub async fn claim(&self, client: &str) -> Result<(), Stop> {
        let mut state = self.state.lock().await;
        if state.begun {
            return Ok(());
        }
        self.append_locked(&mut state, Event::Claimed { client: client.to_owned() }, None).await
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// As [`Scribe::claim`].
    pub async fn append(&self, event: Event) -> Result<(), Stop> {
        let mut state = self.state.lock().await;
        self.append_locked(&mut state, event, None).await
    }

    /// Says how far the work is: at once, or where that has been said too often, a little later and only the newest.
    ///
    /// # Errors
    /// As [`Scribe::claim`].
    pub async fn say(&self, word: Message) -> Result<(), Stop> {
        let mut state = self.state.lock().await;
        let entries = state.log.generation;
        match state.progress.take(word, Instant::now(), entries) {
            Some(message) => self.append_locked(&mut state, Event::Status { message }, None).await,
            None => {
                self.held.notify_one();
                if state.fenced { Err(Stop::Fenced) } else { Ok(()) }
            }
        }
    }

    /// Writes what is held as soon as it may be written, for as long as it is polled.
    ///
    /// Returns why it cannot, and else never.
    pub(crate) async fn keep_saying(&self) -> Stop {
        loop {
            sleep(STATUS_EVERY).await;
            let mut state = self.state.lock().await;
            if !state.progress.is_held() {
                drop(state);
                self.held.notified().await;
                continue;
            }
            let entries = state.log.generation;
            let Some(message) = state.progress.due(Instant::now(), entries) else { continue };
            let event = Event::Status { message };
            if let Err(stop) = self.append_locked(&mut state, event, None).await {
                return stop;
            }
        }
    }

    /// Writes what is still held: nothing is said after it.
    ///
    /// # Errors
    /// As [`Scribe::claim`].
    pub(crate) async fn say_last(&self) -> Result<(), Stop> {
        let mut state = self.state.lock().await;
        match state.progress.last() {
            Some(message) => self.append_locked(&mut state, Event::Status { message }, None).await,
            None => Ok(()),
        }
    }

    /// Appends the entry that fails the task, together with its dead letter.
    ///
    /// # Errors
    /// As [`Scribe::claim`].
    pub async fn append_with_letter(
        &self,
        event: Event,
        letter: impl FnOnce(&TaskLog) -> Option<DeadLetter>,
    ) -> Result<(), Stop> {
        let mut state = self.state.lock().await;
        self.settle_in_flight(&mut state).await?;
        let mut after = state.log.clone();
        let mut entry = self.next_entry(&state, event.clone())?;
        entry.origin.clone_from(&state.origin);
        after.apply(0, entry).map_err(broken)?;
        self.append_locked(&mut state, event, letter(&after)).await
    }

    /// The entry that is next, but for what the first one says about the task.
    fn next_entry(&self, state: &State, event: Event) -> Result<Entry, Stop> {
        let terminal = event.kind().is_terminal();
        let begins = !state.begun && self.attempt > 0 && !terminal;
        let mut entry = Entry {
            generation: state.log.generation + 1,
            at: self.clock.now(),
            by: self.node.clone(),
            attempt: self.attempt,
            origin: None,
            agent: if begins { self.version() } else { None },
            spent: None,
            raised: None,
            driver: if begins { self.driver } else { None },
            event,
        };
        let origin = state.origin.as_ref().or(state.log.origin.as_ref());
        if terminal && origin.is_some_and(|origin| origin.budget.is_some()) {
            let mut after = state.log.clone();
            let mut last = entry.clone();
            last.origin.clone_from(&state.origin);
            after.apply(0, last).map_err(broken)?;
            after.close_account(&mut entry);
        }
        Ok(entry)
    }

    async fn append_locked(
        &self,
        state: &mut State,
        event: Event,
        letter: Option<DeadLetter>,
    ) -> Result<(), Stop> {
        self.settle_in_flight(state).await?;
        let kind = event.kind();
        let ends = kind.is_terminal() || matches!(kind, Kind::AttemptFailed | Kind::Released);
        if !ends && usize::try_from(state.log.generation).is_ok_and(|at| at >= LOG_ENTRIES_MAX) {
            return Err(full());
        }
        let letter = letter.map(|letter| self.outgoing_letter(&letter)).transpose()?;
        let mut entry = self.next_entry(state, event)?;
        entry.origin = state.origin.take();
        let payload = match encode(&entry) {
            Ok(payload) => payload,
            Err(stop) => {
                state.origin = entry.origin;
                return Err(stop);
            }
        };
        state.in_flight = Some(InFlight { entry, payload, letter });
        self.settle_in_flight(state).await
    }

    fn outgoing_letter(&self, letter: &DeadLetter) -> Result<Outgoing, Stop> {
        Ok(Outgoing::new(
            self.subjects.dead(&letter.origin.skill),
            Headers::new().with(header::TASK_ID, letter.task.as_str()),
            encode(letter)?,
        ))
    }

    /// Stores what is in flight and takes it into the log. An agent's future may be dropped while it waits for
    /// its append; the next append then comes here first, and the ledger recognises what is stored already.
    async fn settle_in_flight(&self, state: &mut State) -> Result<(), Stop> {
        if state.fenced {
            return Err(Stop::Fenced);
        }
        let Some(InFlight { entry, payload, letter }) = &state.in_flight else { return Ok(()) };
        let mut messages = vec![Outgoing {
            subject: self.subject.clone(),
            expected_last: Some(state.log.last_sequence),
            headers: Headers::new()
                .with(header::ENTRY, entry.event.kind().name())
                .with(header::WRITER, self.writer.as_str()),
            payload: payload.clone(),
        }];
        messages.extend(letter.clone());
        let result = self.ledger.append(messages).await;
        let Some(InFlight { entry, .. }) = state.in_flight.take() else { return Ok(()) };
        match result {
            Ok(sequence) => {
                state.begun = true;
                state.log.apply(sequence, entry).map_err(broken)
            }
            Err(AppendError::Refused(fault)) => {
                state.origin = entry.origin;
                Err(Stop::Failed { failure: Failure::Permanent, fault })
            }
            Err(AppendError::Fenced | AppendError::Gone) => {
                state.fenced = true;
                Err(Stop::Fenced)
            }
        }
    }
}

fn full() -> Stop {
    let message = format!("a task's log has at most {LOG_ENTRIES_MAX} entries");
    Stop::Failed {
        failure: Failure::Permanent,
        fault: Fault::new(code::LOG_FULL, message)
            .hint("split the work into several tasks, or hand artifacts over in larger pieces"),
    }
}

/// Room for all of a small entry, so that its buffer need not grow.
const ENTRY_BYTES: usize = 1024;

fn encode<T: serde::Serialize>(value: &T) -> Result<Bytes, Stop> {
    let mut body = Vec::with_capacity(ENTRY_BYTES);
    match serde_json::to_writer(&mut body, value) {
        Ok(()) => Ok(Bytes::from(body)),
        Err(error) => Err(Stop::Failed {
            failure: Failure::Permanent,
            fault: Fault::new(code::INVALID_OUTPUT, error.to_string()),
        }),
    }
}

fn broken(error: protocol::log::FoldError) -> Stop {
    Stop::Failed {
        failure: Failure::Permanent,
        fault: Fault::new(code::NONDETERMINISTIC, error.to_string()),
    }
}
