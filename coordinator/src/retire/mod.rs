//! Removes what nobody needs any more, after the time that the settings give it: webhooks of tasks that have ended.
//!
//! Every coordinator does it, each in its own time. Whatever is removed is named by the sequence it was seen at, so that
//! two of them do no more than one, and what was written anew meanwhile stays. A round has a bound; the next one goes on
//! behind it.

mod webhooks;

use std::time::Duration;

use client::Client;
use runtime::clock::Clock;
use tokio_util::sync::CancellationToken;

pub use webhooks::WebhookPlace;

/// From the end of a round to the next one.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Removes what is over its time.
#[derive(Clone)]
pub struct Retire {
    /// Reads and writes.
    pub client: Client,
    /// Says how old something is.
    pub clock: Clock,
    /// How long a webhook stays after the end of its task was told, or after it was given up.
    pub webhooks_kept: Duration,
}

impl Retire {
    /// Looks again and again until `stop`.
    pub async fn serve(self, stop: CancellationToken) {
        let mut place = WebhookPlace::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = self.webhooks(&mut place) => looked,
            };
            match looked {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "webhooks of ended tasks removed"),
                Err(error) => tracing::info!(reason = %error, "finished webhooks not looked at"),
            }
        }
    }
}
