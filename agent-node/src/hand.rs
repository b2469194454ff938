//! The deliveries a node has in its hands.
//!
//! Each is kept from the pull until it is settled. While it is here its lease is renewed; what stays longer than
//! a moment is announced, so that a coordinator can give it back when this process is killed. A delivery given
//! out here is settled at most once; one that is dropped unsettled, by a panic, is renewed no more and comes back
//! with its lease.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::NodeName;
use protocol::header::Headers;
use protocol::holding::Holding;
use protocol::limits::HEARTBEAT_EVERY;
use runtime::bus::Bus;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// A delivery younger than this is not announced: most are settled before.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(2);

/// What is in hand.
#[derive(Clone)]
pub(crate) struct Hand(Arc<Inner>);

struct Inner {
    bus: Bus,
    node: NodeName,
    held: Mutex<Deliveries>,
}

/// Deliveries by their numbers. Whoever announces goes through what is new and what is gone only.
#[derive(Default)]
struct Deliveries {
    last: u64,
    by_number: HashMap<u64, Held>,
    /// Not announced yet, oldest first; some are settled by now.
    fresh: VecDeque<(u64, Instant)>,
    /// Announced and settled since.
    settled: Vec<u64>,
}

struct Held {
    ack_subject: String,
    announced: bool,
}

impl Deliveries {
    fn take(&mut self, ack_subject: String, at: Instant) -> u64 {
        self.last += 1;
        self.by_number.insert(self.last, Held { ack_subject, announced: false });
        self.fresh.push_back((self.last, at));
        self.last
    }

    fn settle(&mut self, number: u64) -> Option<String> {
        let held = self.by_number.remove(&number)?;
        if held.announced {
            self.settled.push(number);
        }
        Some(held.ack_subject)
    }

    /// What has been here since before `limit` and is not announced yet.
    fn announce(&mut self, limit: Option<Instant>) -> Vec<(u64, String)> {
        let mut taken = Vec::new();
        while let Some((number, at)) = self.fresh.front().copied() {
            if limit.is_none_or(|limit| at > limit) {
                break;
            }
            self.fresh.pop_front();
            if let Some(held) = self.by_number.get_mut(&number) {
                held.announced = true;
                taken.push((number, held.ack_subject.clone()));
            }
        }
        taken
    }

    fn announce_all(&mut self) -> Vec<(u64, String)> {
        self.fresh.clear();
        self.settled.clear();
        let all = self.by_number.iter_mut();
        all.map(|(number, held)| {
            held.announced = true;
            (*number, held.ack_subject.clone())
        })
        .collect()
    }
}

/// One delivery in hand.
pub(crate) struct InHand {
    hand: Hand,
    /// `None` once it is settled.
    number: Option<u64>,
}

impl InHand {
    /// Settles it: it does not come again.
    pub(crate) async fn ack(mut self) {
        if let Some(ack_subject) = self.settle() {
            self.hand.0.bus.ack(ack_subject).await;
        }
    }

    /// Gives it back.
    pub(crate) async fn nak(mut self, after: Duration) {
        if let Some(ack_subject) = self.settle() {
            self.hand.0.bus.nak(ack_subject, after).await;
        }
    }

    /// Says nothing about it: it is another worker's by now.
    pub(crate) fn leave(self) {
        drop(self);
    }

    fn settle(&mut self) -> Option<String> {
        let number = self.number.take()?;
        self.hand.held().settle(number)
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        drop(self.settle());
    }
}

impl Hand {
    /// An empty hand.
    #[must_use]
    pub(crate) fn new(bus: Bus, node: NodeName) -> Self {
        Self(Arc::new(Inner { bus, node, held: Mutex::default() }))
    }

    fn held(&self) -> MutexGuard<'_, Deliveries> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a delivery that came at `at`, by the subject of its acknowledgements.
    #[must_use]
    pub(crate) fn take(&self, ack_subject: String, at: Instant) -> InHand {
        let number = self.held().take(ack_subject, at);
        InHand { hand: self.clone(), number: Some(number) }
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.held().by_number.len()
    }

    /// Whether there is none.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Renews leases every third of `lease` and announces what is held, until `stop`.
    pub(crate) async fn keep(self, lease: Duration, stop: CancellationToken) {
        let mut renew = interval((lease / 3).max(Duration::from_millis(100)));
        let mut announce = interval(ANNOUNCE_AFTER);
        let mut complete = interval(HEARTBEAT_EVERY);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        announce.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = renew.tick() => self.renew().await,
                _ = announce.tick() => self.announce().await,
                _ = complete.tick() => self.announce_all().await,
            }
        }
    }

    async fn renew(&self) {
        let subjects: Vec<String> =
            self.held().by_number.values().map(|held| held.ack_subject.clone()).collect();
        for subject in subjects {
            self.0.bus.in_progress(subject).await;
        }
    }

    async fn announce(&self) {
        let (taken, settled) = {
            let mut held = self.held();
            let taken = held.announce(Instant::now().checked_sub(ANNOUNCE_AFTER));
            (taken, std::mem::take(&mut held.settled))
        };
        if !taken.is_empty() || !settled.is_empty() {
            self.tell(Holding { taken, settled, ..self.holding() }).await;
        }
    }

    async fn announce_all(&self) {
        let taken = self.held().announce_all();
        self.tell(Holding { complete: true, taken, ..self.holding() }).await;
    }

    fn holding(&self) -> Holding {
        Holding { client: self.0.bus.client_name().to_owned(), ..Holding::default() }
    }

    async fn tell(&self, holding: Holding) {
        match serde_json::to_vec(&holding) {
            Ok(body) => {
                let subject = self.0.bus.subjects().holding(&self.0.node);
                self.0.bus.tell(subject, &Headers::new(), body.into()).await;
            }
            Err(error) => tracing::warn!(reason = %error, "holding not announced"),
        }
    }
}
