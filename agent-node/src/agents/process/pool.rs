//! Keeps the programs of one agent: as many as it may run at once, started when they are needed, kept while idle.
//!
//! Whoever has a task leases a program. A lease that is dropped before its program has answered stops the
//! program, so that none ever gets a task while it is in the middle of another. A program that keeps ending
//! before its first answer is started less and less often; the tasks that need it wait meanwhile,
//! and do not use up their attempts on it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use runtime::supervisor::{Kind, Supervisor};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::child::{Child, StartError};
use super::guard::Guard;
use super::line::{FromProgram, Hello};
use super::log;
use super::settings::{Launch, Mode};

/// The first pause after a program that ended before its first answer; each further one doubles it.
const START_PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause between two starts.
const START_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Log lines that a program may have written while idle.
const IDLE_LINES_MAX: usize = 1000;

/// Why there is no program to lease.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeaseError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the agent is closed")]
    Closed,
}

/// The programs of one agent.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) launch: Launch,
    slots: Arc<Semaphore>,
    state: Mutex<State>,
    recovered: Notify,
    supervisor: Supervisor,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Child>,
    guard: Option<Arc<Guard>>,
    hello: Option<Hello>,
    /// Programs in a row that ended before their first answer.
    failures: u32,
    start_at: Option<Instant>,
}

/// A program for one task.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Arc<Pool>,
    child: Option<Child>,
    last_line: Vec<u8>,
    _slot: OwnedSemaphorePermit,
}

impl Pool {
    /// A pool of at most `concurrency` programs, none of them started yet.
    pub(super) fn new(launch: Launch, concurrency: usize, supervisor: Supervisor) -> Arc<Self> {
        Arc::new(Self {
            launch,
            slots: Arc::new(Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS))),
            state: Mutex::default(),
            recovered: Notify::new(),
            supervisor,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the program has said about itself, if it has.
    pub(super) fn hello(&self) -> Option<Hello> {
        self.state().hello.clone()
    }

    pub(super) fn meet(&self, hello: Hello) {
        self.state().hello = Some(hello);
    }

    /// Waits for a free slot, then takes an idle program or starts one. `last_line` is what it is told in
    /// case the lease is dropped in the middle of a task.
    pub(super) async fn lease(self: &Arc<Self>, last_line: Vec<u8>) -> Result<Lease, LeaseError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.map_err(|_closed| LeaseError::Closed)?;
        let child = match self.take_idle() {
            Some(child) => child,
            None => self.start().await?,
        };
        Ok(Lease { pool: Arc::clone(self), child: Some(child), last_line, _slot: slot })
    }

    fn take_idle(&self) -> Option<Child> {
        loop {
            let mut child = self.state().idle.pop()?;
            match is_fit(&mut child, &self.launch.agent) {
                Ok(()) => return Some(child),
                Err(reason) => {
                    tracing::warn!(
                        agent = self.launch.agent,
                        reason,
                        "idle agent process replaced"
                    );
                }
            }
        }
    }

    async fn start(&self) -> Result<Child, StartError> {
        self.start_allowed().await;
        let child = self.guard().and_then(|guard| Child::start(&self.launch, &guard));
        child.inspect_err(|_| self.note_failure())
    }

    fn guard(&self) -> Result<Arc<Guard>, StartError> {
        let mut state = self.state();
        if let Some(guard) = &state.guard {
            return Ok(Arc::clone(guard));
        }
        let started = Guard::start();
        let guard =
            started.map_err(|source| StartError { program: "/bin/sh".to_owned(), source })?;
        Ok(Arc::clone(state.guard.insert(Arc::new(guard))))
    }

    /// Returns when the next program may be started, and takes that turn.
    async fn start_allowed(&self) {
        loop {
            let recovered = self.recovered.notified();
            let wait_until = {
                let mut state = self.state();
                let now = Instant::now();
                match state.start_at {
                    Some(at) if at > now => at,
                    Some(_) | None => {
                        state.start_at = (state.failures > 0).then(|| now + pause(state.failures));
                        return;
                    }
                }
            };
            // Either end of the wait leads to another look.
            drop(timeout_at(wait_until, recovered).await);
        }
    }

    /// A program could not be started, or ended before its first answer.
    fn note_failure(&self) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        let at = Instant::now() + pause(state.failures);
        state.start_at = state.start_at.max(Some(at));
    }

    fn note_answer(&self) {
        let mut state = self.state();
        if state.failures > 0 {
            (state.failures, state.start_at) = (0, None);
            self.recovered.notify_waiters();
        }
    }

    /// Hands out no more programs and stops the idle ones.
    pub(super) async fn close(&self) {
        self.slots.close();
        let idle = std::mem::take(&mut self.state().idle);
        join_all(idle.into_iter().map(|child| child.stop(Vec::new(), self.launch.stop_grace)))
            .await;
    }
}

fn pause(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    START_PAUSE_FIRST.saturating_mul(doubled).min(START_PAUSE_MAX)
}

/// Whether an idle program still runs and has kept quiet, but for its log.
fn is_fit(child: &mut Child, agent: &str) -> Result<(), String> {
    for _ in 0..IDLE_LINES_MAX {
        let Some(line) = child.next_now().map_err(|gone| gone.to_string())? else {
            return child.stderr.forget().map_err(|error| error.to_string());
        };
        let line = FromProgram::read(&line).map_err(|error| format!("wrote {error} while idle"))?;
        let FromProgram::Log { level, message } = line else {
            return Err(format!("wrote a {} line while idle", line.name()));
        };
        log::write(agent, level, &message, &mut child.log_rate);
    }
    Err("wrote too much while idle".to_owned())
}

impl Lease {
    /// The program. `None` never: it is taken out only by what ends the lease.
    pub(super) fn child(&mut self) -> Option<&mut Child> {
        self.child.as_mut()
    }

    /// The program has answered and may do the next task.
    pub(super) fn give_back(mut self) {
        let Some(mut child) = self.child.take() else { return };
        (child.has_task, child.has_answered) = (false, true);
        self.pool.note_answer();
        match is_fit(&mut child, &self.pool.launch.agent) {
            Ok(()) if !self.pool.slots.is_closed() => self.pool.state().idle.push(child),
            Ok(()) => self.pool.stop(child, Vec::new()),
            Err(reason) => {
                tracing::warn!(agent = self.pool.launch.agent, reason, "agent process discarded");
            }
        }
    }

    /// The program has ended as it should.
    pub(super) fn done(mut self) {
        self.pool.note_answer();
        self.child = None;
    }

    /// The program cannot be used any more. One that never answered may be one that cannot start.
    pub(super) async fn kill(self) {
        let has_answered = self.child.as_ref().is_none_or(|child| child.has_answered);
        if !has_answered && self.pool.launch.mode == Mode::Serve {
            self.pool.note_failure();
        }
        self.end().await;
    }

    /// The program has to go, and nothing is wrong with the next one.
    pub(super) async fn end(mut self) {
        if let Some(child) = self.child.take() {
            child.kill().await;
        }
    }
}

impl Pool {
    fn stop(&self, child: Child, last_line: Vec<u8>) {
        // Without a runtime there is nobody to wait: dropping the child kills it.
        if tokio::runtime::Handle::try_current().is_ok() {
            let last_line = if child.has_task { last_line } else { Vec::new() };
            let stopped = child.stop(last_line, self.launch.stop_grace);
            self.supervisor.spawn("process-stop", Kind::Work, stopped);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            let last_line = std::mem::take(&mut self.last_line);
            self.pool.stop(child, last_line);
        }
    }
}
