//! Follows tasks for all open requests of this gateway over one subscription an owner.
//!
//! Events come from stored entries only. They can be missed while the connection is away, so a follower also looks into
//! the log: at a gap, when the connection was lost, and after a silence that doubles each time. An owner whom nobody
//! asks about any more is not listened to any more.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client::Client;
use protocol::header;
use protocol::{Owner, TaskId};
use runtime::bus::Subscription;
use runtime::supervisor::{Kind, Supervisor};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, interval};

use crate::a2a::error::Error;
use crate::core::board::Board;
use crate::core::follower::Follower;
use crate::limits::{LOG_READS_MAX, OWNER_IDLE_CHECK_EVERY, OWNER_IDLE_MAX};

/// Follows tasks. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    client: Client,
    jobs: Supervisor,
    board: Board,
    feeds: Mutex<HashMap<Owner, Feed>>,
    reads: Semaphore,
}

/// The events of an owner.
struct Feed {
    opened: Arc<OnceCell<()>>,
    used_at: Instant,
}

impl Hub {
    /// A hub that listens to nobody yet; its listening belongs to `jobs`.
    #[must_use]
    pub fn new(client: Client, jobs: Supervisor) -> Self {
        Self(Arc::new(Inner {
            client,
            jobs,
            board: Board::default(),
            feeds: Mutex::default(),
            reads: Semaphore::new(LOG_READS_MAX),
        }))
    }

    pub(super) fn client(&self) -> &Client {
        &self.0.client
    }

    pub(super) fn board(&self) -> &Board {
        &self.0.board
    }

    /// Bounds how many logs are read at once: after a broken connection every follower wants to.
    pub(super) fn reads(&self) -> &Semaphore {
        &self.0.reads
    }

    /// Listens to an owner's events from now on. What is submitted after this is not missed.
    ///
    /// # Errors
    /// When the bus does not take the subscription.
    pub async fn listen(&self, owner: &Owner) -> Result<(), Error> {
        let opened = match self.feeds().entry(owner.clone()) {
            Place::Occupied(mut place) => {
                place.get_mut().used_at = Instant::now();
                Arc::clone(&place.get().opened)
            }
            Place::Vacant(place) => {
                let opened = Arc::default();
                place.insert(Feed { opened: Arc::clone(&opened), used_at: Instant::now() });
                opened
            }
        };
        opened.get_or_try_init(|| self.open(owner)).await.map(drop)
    }

    /// Follows a task of an owner who is listened to, from its first entry on.
    #[must_use]
    pub fn follow(&self, owner: &Owner, task: &TaskId) -> Follower {
        Follower::new(self.clone(), owner.clone(), task.clone())
    }

    async fn open(&self, owner: &Owner) -> Result<(), Error> {
        let bus = self.0.client.bus();
        let events = bus
            .subscribe(bus.subjects().events_of(owner), None)
            .await
            .map_err(|error| Error::Unavailable(error.to_string()))?;
        bus.flush().await;
        self.0.jobs.spawn("events", Kind::Work, Self::feed(self.clone(), owner.clone(), events));
        Ok(())
    }

    async fn feed(hub: Self, owner: Owner, mut events: Subscription) {
        let bus = hub.0.client.bus().clone();
        let prefix = bus.subjects().events_of(&owner);
        let prefix = prefix.trim_end_matches(['*', '>']).to_owned();
        let mut connections = bus.connections();
        connections.mark_unchanged();
        let stop = hub.0.jobs.shutdown_token();
        let mut stopped = pin!(stop.cancelled());
        let mut check = interval(OWNER_IDLE_CHECK_EVERY);
        loop {
            tokio::select! {
                event = events.glimpse() => {
                    let Some(event) = event else { break };
                    let sequence = event.header(header::SEQUENCE).and_then(|text| text.parse().ok());
                    hub.0.board.post(event.subject(), (sequence.unwrap_or(0), event.payload()));
                }
                Ok(()) = connections.changed() => hub.0.board.doubt(&prefix),
                _ = check.tick() => {
                    if hub.close_if_idle(&owner, &prefix) {
                        return;
                    }
                }
                () = &mut stopped => break,
            }
        }
        hub.feeds().remove(&owner);
        hub.0.board.doubt(&prefix);
    }

    fn close_if_idle(&self, owner: &Owner, prefix: &str) -> bool {
        let mut feeds = self.feeds();
        let idle = feeds.get(owner).is_none_or(|feed| feed.used_at.elapsed() > OWNER_IDLE_MAX)
            && !self.0.board.is_followed(prefix);
        if idle {
            feeds.remove(owner);
        }
        idle
    }

    fn feeds(&self) -> MutexGuard<'_, HashMap<Owner, Feed>> {
        self.0.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
