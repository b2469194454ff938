//! Removes what nobody needs any more, after the time that the settings give it: tasks that have ended, webhooks of
//! such tasks, and files that nothing names.
//!
//! Every coordinator does it, each in its own time. Whatever is removed is named by the sequence it was seen at, so that
//! two of them do no more than one, and what was written anew meanwhile stays. A round about tasks or webhooks has a bound; the
//! next one goes on behind it. One about files reads the streams, and is rare.

mod bare;
mod files;
mod standing;
mod tasks;
mod walk;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use client::Client;
use projection::Projection;
use protocol::Timestamp;
use runtime::bus::ReadError;
use runtime::clock::Clock;
use runtime::metric::Metrics;
use tokio_util::sync::CancellationToken;

pub use files::{Reading, UnusedFiles};
pub use tasks::TaskPlaces;
pub use webhooks::WebhookPlace;

/// From the end of a round to the next one.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Removes tasks and webhooks that are over their time.
#[derive(Clone)]
pub struct Retire {
    /// Reads and writes.
    pub client: Client,
    /// Says how old a webhook is.
    pub clock: Clock,
    /// Counts what was removed.
    pub metrics: Metrics,
    /// How long a task stays after its end; `None`: for ever.
    pub tasks_kept: Option<Duration>,
    /// How long a webhook stays after the end of its task was told, or after it was given up.
    pub webhooks_kept: Duration,
    /// Lists tasks, and is told which are gone.
    pub read_model: Option<Arc<Projection>>,
}

impl Retire {
    /// Looks again and again until `stop`.
    pub async fn serve(self, stop: CancellationToken) {
        let mut places = (WebhookPlace::default(), TaskPlaces::default());
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.round(&mut places) => {}
            }
        }
    }

    async fn round(&self, (webhooks, tasks): &mut (WebhookPlace, TaskPlaces)) {
        say("webhooks of ended tasks", self.webhooks(webhooks).await);
        say("tasks that ended long ago", self.old_tasks(tasks).await);
    }
}

/// What was stored before this has been kept so long.
fn before(now: Timestamp, kept: Duration) -> Timestamp {
    let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.millis().saturating_sub(kept))
}

fn say(what: &str, looked: Result<usize, ReadError>) {
    match looked {
        Ok(0) => {}
        Ok(removed) => tracing::info!(what, removed, "removed"),
        Err(error) => tracing::info!(what, reason = %error, "not looked at"),
    }
}
