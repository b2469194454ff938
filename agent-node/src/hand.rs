//! The deliveries a node has in its hands.
//!
//! Each is kept from the pull until it is settled. While it is here its lease is renewed; what stays longer than
//! a moment is announced, so that a coordinator can give it back when this process is killed. A delivery given
//! out here is settled at most once; one that is dropped unsettled, by a panic, is renewed no more and comes back
//! with its lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
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
    next: AtomicU64,
    held: DashMap<u64, Held>,
}

struct Held {
    ack_subject: String,
    taken_at: Instant,
    announced: bool,
}

/// One delivery in hand.
pub(crate) struct InHand {
    hand: Hand,
    number: u64,
}

impl InHand {
    /// Settles it: it does not come again.
    pub(crate) async fn ack(self) {
        if let Some((_, held)) = self.hand.0.held.remove(&self.number) {
            self.hand.0.bus.ack(&held.ack_subject).await;
        }
    }

    /// Gives it back.
    pub(crate) async fn nak(self, after: Duration) {
        if let Some((_, held)) = self.hand.0.held.remove(&self.number) {
            self.hand.0.bus.nak(&held.ack_subject, after).await;
        }
    }
}

impl InHand {
    /// Says nothing about it: it is another worker's by now.
    pub(crate) fn leave(self) {
        drop(self);
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.hand.0.held.remove(&self.number);
    }
}

impl Hand {
    /// An empty hand.
    #[must_use]
    pub(crate) fn new(bus: Bus, node: NodeName) -> Self {
        Self(Arc::new(Inner { bus, node, next: AtomicU64::new(1), held: DashMap::new() }))
    }

    /// Takes a delivery, by the subject of its acknowledgements.
    #[must_use]
    pub(crate) fn take(&self, ack_subject: &str) -> InHand {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let held = Held {
            ack_subject: ack_subject.to_owned(),
            taken_at: Instant::now(),
            announced: false,
        };
        self.0.held.insert(number, held);
        InHand { hand: self.clone(), number }
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.0.held.len()
    }

    /// Whether there is none.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.held.is_empty()
    }

    /// Renews leases every third of `lease` and announces what is held, until `stop`.
    pub(crate) async fn keep(self, lease: Duration, stop: CancellationToken) {
        let mut renew = interval((lease / 3).max(Duration::from_millis(100)));
        let mut announce = interval(ANNOUNCE_AFTER);
        let mut complete = interval(HEARTBEAT_EVERY);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        announce.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = renew.tick() => self.renew().await,
                _ = announce.tick() => self.announce(&mut known).await,
                _ = complete.tick() => self.announce_all(&mut known).await,
            }
        }
    }

    async fn renew(&self) {
        let subjects =
            self.0.held.iter().map(|held| held.ack_subject.clone()).collect::<Vec<String>>();
        for subject in subjects {
            self.0.bus.in_progress(&subject).await;
        }
    }

    async fn announce(&self, known: &mut Vec<u64>) {
        if known.is_empty() && self.0.held.is_empty() {
            return;
        }
        let mut settled = Vec::new();
        known.retain(|number| {
            let held = self.0.held.contains_key(number);
            if !held {
                settled.push(*number);
            }
            held
        });
        let taken = self.newly_announced(false);
        known.extend(taken.iter().map(|(number, _)| *number));
        if !taken.is_empty() || !settled.is_empty() {
            self.tell(Holding { taken, settled, ..self.holding() }).await;
        }
    }

    async fn announce_all(&self, known: &mut Vec<u64>) {
        let taken = self.newly_announced(true);
        *known = taken.iter().map(|(number, _)| *number).collect();
        self.tell(Holding { complete: true, taken, ..self.holding() }).await;
    }

    fn newly_announced(&self, all: bool) -> Vec<(u64, String)> {
        self.0
            .held
            .iter_mut()
            .filter(|held| all || (!held.announced && held.taken_at.elapsed() >= ANNOUNCE_AFTER))
            .map(|mut held| {
                held.announced = true;
                (*held.key(), held.ack_subject.clone())
            })
            .collect()
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
