//! Keeps the index up to date: reads both streams from where it stands, and then goes on as they grow.
//!
//! It looks again and again rather than being told: what is taken in is always read from the streams, in order, and nothing
//! can be missed.

use std::sync::Arc;
use std::time::Duration;

use runtime::bus::{Bus, ReadError};
use tokio_util::sync::CancellationToken;

use crate::row::change;
use crate::store::{Feed, Projection, StoreError};

/// Messages taken in together.
const BATCH: usize = 8_192;
/// How often the streams are looked at although nobody asks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why the index is not kept up to date any more.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The file does not take a batch.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Follows both streams until `stop`. Reads that fail are repeated: the bus may be away for a while.
///
/// # Errors
/// See [`FollowError`].
pub async fn follow(
    bus: Bus,
    projection: Arc<Projection>,
    stop: CancellationToken,
) -> Result<(), FollowError> {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = tick.tick() => {}
            () = projection.rounds.asked() => {}
        }
        let round = projection.rounds.begin();
        let mut complete = true;
        for feed in [Feed::Inbox, Feed::Log] {
            match catch_up(&bus, &projection, feed, &stop).await {
                Ok(()) => {}
                Err(Behind::Store(error)) => return Err(error.into()),
                Err(Behind::Read(error)) => {
                    complete = false;
                    tracing::debug!(reason = %error, "streams not read");
                }
            }
        }
        if complete {
            projection.rounds.end(round);
        }
    }
}

/// Why the index is behind for now.
enum Behind {
    Read(ReadError),
    Store(StoreError),
}

impl From<StoreError> for Behind {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Takes in everything that a stream holds beyond where the index stands.
async fn catch_up(
    bus: &Bus,
    projection: &Arc<Projection>,
    feed: Feed,
    stop: &CancellationToken,
) -> Result<(), Behind> {
    let (stream, filter) = match feed {
        Feed::Inbox => (&bus.names().inbox, bus.subjects().all_tasks()),
        Feed::Log => (&bus.names().log, bus.subjects().all_logs()),
    };
    let created = bus.stream_created(stream).await.map_err(Behind::Read)?;
    let position = projection.position(feed, &created)?;
    let filter = filter.as_str();
    let read =
        |from| async move { bus.page(stream, filter, from, BATCH).await.map_err(Behind::Read) };
    let mut page = read(position + 1).await?;
    // Only what was seen counts: a replica that lags ends early, and the next look goes on there.
    while let Some(position) = page.messages.last().map(|last| last.sequence) {
        let more = page.more && !stop.is_cancelled();
        let (projection, subjects) = (Arc::clone(projection), Arc::clone(bus.subjects()));
        // Taken in while the next batch is on its way.
        let applying = tokio::task::spawn_blocking(move || {
            let changes = page.messages.iter().filter_map(|message| change(&subjects, message));
            projection.apply(feed, &changes.collect::<Vec<_>>(), position)
        });
        let next = if more { Some(read(position + 1).await) } else { None };
        match applying.await {
            Ok(applied) => applied?,
            // Only a panic or the end of the runtime ends such a job early; the batch is read again.
            Err(error) => {
                tracing::warn!(reason = %error, "batch not taken in");
                return Ok(());
            }
        }
        let Some(next) = next else { return Ok(()) };
        page = next?;
    }
    Ok(())
}
