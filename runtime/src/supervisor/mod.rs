//! Starts every background job of the process and decides what its failure means.
//!
//! A *job* is a future that runs beside the others: a pull loop, an attempt, a server. Each has a name and a
//! kind; the kind says what an error or a panic does, so that no failure goes unseen and none takes
//! more down than it should. Shutdown is cooperative: jobs watch [`Supervisor::shutdown_token`] and end at a
//! commit; whoever does not is named by [`Supervisor::wait`].
//!
//! The only home of `tokio::spawn`. Starting a job costs a map lookup by name and the spawn itself; nodes, which
//! start one job an attempt, do the lookup once ([`Supervisor::many`]).

mod job;
mod outcome;

use std::fmt;
use std::future::Future;
use std::num::NonZero;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use dashmap::DashMap;
use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metric::Metrics;
use job::{Job, Running};
pub use outcome::{Failure, Outcome};

/// What an error or a panic of a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The process cannot do without it: it shuts down, and [`Supervisor::failure`] names the job.
    Critical,
    /// One piece of work among many: the failure is logged and counted.
    Work,
}

/// How long a failed job rests before it is started again: `first`, then twice as long each time, at
/// most `max`. A run that lasted longer than `max` makes the next rest `first` again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first rest.
    pub first: Duration,
    /// The longest rest.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), max: Duration::from_secs(10) }
    }
}

/// A critical job failed, so the process shuts down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{job} {failure}")]
pub struct JobFailed {
    /// Its name.
    pub job: &'static str,
    /// How.
    pub failure: Failure,
}

/// Some jobs had not ended when the limit was reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct StillRunning {
    /// Each name with how many of that name still run, sorted by name.
    pub names: Vec<(&'static str, u64)>,
    /// How long was waited.
    pub limit: Duration,
}

impl fmt::Display for StillRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "still running after {:?}: ", self.limit)?;
        for (index, (name, count)) in self.names.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name}")?;
            if *count > 1 {
                write!(f, " ({count})")?;
            }
        }
        Ok(())
    }
}

/// What has become of all jobs of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobCounts {
    /// Under way now.
    pub running: u64,
    /// Runs that returned an error.
    pub errors: u64,
    /// Runs that panicked.
    pub panics: u64,
}

/// Starts jobs and ends them. Clones are the same supervisor.
#[derive(Debug, Clone)]
pub struct Supervisor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    jobs: DashMap<&'static str, Arc<Job>>,
    failure: Mutex<Option<JobFailed>>,
    metrics: Metrics,
    /// Leave to keep a core busy: one for each.
    cores: Arc<Semaphore>,
}

impl Supervisor {
    /// A supervisor without jobs, which counts failures in `metrics`.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            tracker: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            jobs: DashMap::new(),
            failure: Mutex::new(None),
            metrics,
            cores: Arc::new(Semaphore::new(available_parallelism().map_or(1, NonZero::get))),
        }))
    }

    /// Starts a job that runs once. Returning without an error is never a failure.
    pub fn spawn<F>(&self, name: &'static str, kind: Kind, future: F)
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        match kind {
            Kind::Work => self.many(name).spawn(future),
            Kind::Critical => {
                let supervisor = self.clone();
                let job = self.job(name);
                let running = Running::start(&job);
                // Combinators and no async block, which would hold the future twice.
                self.start(AssertUnwindSafe(future).catch_unwind().map(move |ended| {
                    if let Err(failure) = outcome::judge(ended) {
                        job.count(&failure);
                        supervisor.fail(job.name, failure);
                    }
                    drop(running);
                }));
            }
        }
    }

    /// A way to start many jobs of kind [`Kind::Work`] under one name, without a lookup for each.
    #[must_use]
    pub fn many(&self, name: &'static str) -> Many {
        Many { supervisor: self.clone(), job: self.job(name) }
    }

    /// Starts a job that is made anew after each error and each panic, following `backoff`, until it
    /// returns without an error or the process shuts down.
    pub fn spawn_restarting<F, M>(&self, name: &'static str, backoff: Backoff, mut make: M)
    where
        M: FnMut() -> F + Send + 'static,
        F: Future<Output: Outcome> + Send + 'static,
    {
        let job = self.job(name);
        let running = Running::start(&job);
        let shutdown = self.shutdown_token();
        self.start(async move {
            let _running = running;
            let mut rest = backoff.first;
            loop {
                let started = Instant::now();
                // `make` may panic as well as what it makes.
                let run = AssertUnwindSafe(async { make().await }).catch_unwind().await;
                let Err(failure) = outcome::judge(run) else { return };
                job.count(&failure);
                if started.elapsed() > backoff.max {
                    rest = backoff.first;
                }
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(rest) => {}
                }
                rest = rest.saturating_mul(2).min(backoff.max);
                tracing::info!(job = job.name, "job restarted");
            }
        });
    }

    /// Runs `work`, which would keep a thread of the others busy, on a thread for such work, and waits for what comes of
    /// it. `None` when it panicked, which is logged and counted as a failure of the job. There is never more such work
    /// at once than there are cores; the rest waits for its turn.
    pub async fn blocking<T, F>(&self, name: &'static str, work: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let turn = Arc::clone(&self.0.cores).acquire_owned().await.ok()?;
        let running = Running::start(&self.job(name));
        let token = self.0.tracker.token();
        let done = tokio::task::spawn_blocking(move || {
            let _kept = (token, turn);
            match std::panic::catch_unwind(AssertUnwindSafe(work)) {
                Ok(made) => {
                    running.end(Ok(()));
                    Some(made)
                }
                Err(panic) => {
                    running.end::<()>(Err(panic));
                    None
                }
            }
        });
        // It is never aborted: only a runtime that is dropped loses it.
        done.await.ok().flatten()
    }

    /// Cancelled once the process shuts down.
    #[must_use]
    pub fn shutdown_token(&self) -> CancellationToken {
        self.0.shutdown.clone()
    }

    /// Asks all jobs to end. Returns at once; see [`Supervisor::wait`].
    pub fn shutdown(&self) {
        self.0.shutdown.cancel();
    }

    /// Waits until no job runs any more.
    ///
    /// # Errors
    /// When some still run after `limit`; they go on running.
    pub async fn wait(&self, limit: Duration) -> Result<(), StillRunning> {
        self.0.tracker.close();
        if tokio::time::timeout(limit, self.0.tracker.wait()).await.is_ok() {
            return Ok(());
        }
        let mut names: Vec<_> = self.0.jobs.iter().map(|job| (job.name, job.running())).collect();
        names.retain(|(_, running)| *running > 0);
        names.sort_unstable();
        if names.is_empty() {
            return Ok(());
        }
        Err(StillRunning { names, limit })
    }

    /// The critical job whose failure shut the process down, if one did: the first.
    #[must_use]
    pub fn failure(&self) -> Option<JobFailed> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What has become of the jobs of this name.
    #[must_use]
    pub fn counts(&self, name: &str) -> JobCounts {
        self.0.jobs.get(name).map(|job| job.counts()).unwrap_or_default()
    }

    fn job(&self, name: &'static str) -> Arc<Job> {
        if let Some(job) = self.0.jobs.get(name) {
            return Arc::clone(&job);
        }
        let job = || Arc::new(Job::new(name, &self.0.metrics));
        Arc::clone(&self.0.jobs.entry(name).or_insert_with(job))
    }

    #[expect(clippy::disallowed_methods, reason = "the home of tokio::spawn")]
    fn start(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(self.0.tracker.track_future(future)));
    }

    fn fail(&self, job: &'static str, failure: Failure) {
        // While everything ends, errors of what is being closed are expected; panics never are.
        if self.0.shutdown.is_cancelled() && matches!(failure, Failure::Error(_)) {
            return;
        }
        let mut first = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(JobFailed { job, failure });
        drop(first);
        self.shutdown();
    }
}

/// Starts jobs of one name. See [`Supervisor::many`].
#[derive(Debug, Clone)]
pub struct Many {
    supervisor: Supervisor,
    job: Arc<Job>,
}

impl Many {
    /// Starts one more.
    pub fn spawn<F>(&self, future: F)
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let running = Running::start(&self.job);
        let caught = AssertUnwindSafe(future).catch_unwind();
        self.supervisor.start(caught.map(move |ended| running.end(ended)));
    }
}

#[cfg(test)]
mod tests;
