//! What the supervisor knows about all jobs of one name.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;

use super::{Failure, JobCounts, Outcome, outcome};
use crate::metric::Metrics;
use crate::metric::label::JobFailureCause;

/// The counters of one name. Created once; counting takes no lock.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) name: &'static str,
    running: AtomicU64,
    errors: Counter,
    panics: Counter,
}

impl Job {
    pub(super) fn new(name: &'static str, metrics: &Metrics) -> Self {
        Self {
            name,
            running: AtomicU64::new(0),
            errors: metrics.job_failures(name, JobFailureCause::Error),
            panics: metrics.job_failures(name, JobFailureCause::Panic),
        }
    }

    pub(super) fn running(&self) -> u64 {
        self.running.load(Ordering::Acquire)
    }

    pub(super) fn counts(&self) -> JobCounts {
        JobCounts { running: self.running(), errors: self.errors.get(), panics: self.panics.get() }
    }

    /// Logs and counts a failed run.
    pub(super) fn count(&self, failure: &Failure) {
        let (counter, what) = match failure {
            Failure::Error(what) => (&self.errors, what),
            Failure::Panic(what) => (&self.panics, what),
        };
        counter.inc();
        let cause = failure.cause().as_str();
        tracing::error!(job = self.name, cause, error = what, "job failed");
    }
}

/// Counts one run as running for as long as it exists, also when it is dropped halfway.
#[derive(Debug)]
pub(super) struct Running(Arc<Job>);

impl Running {
    pub(super) fn start(job: &Arc<Job>) -> Self {
        job.running.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(job))
    }
}

impl Running {
    /// Takes note of how the run ended.
    pub(super) fn end<O: Outcome>(self, ended: Result<O, Box<dyn Any + Send>>) {
        if let Err(failure) = outcome::judge(ended) {
            self.0.count(&failure);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}
