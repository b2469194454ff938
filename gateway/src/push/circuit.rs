//! One circuit an endpoint: how many calls may be under way there, and from when on after it was out of reach.
//!
//! A thousand webhooks at one dead endpoint are one endpoint that is tried now and then, and not a thousand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::pace::wait_after;
use crate::limits::{PUSH_CALLS_MAX, PUSH_CALLS_PER_ENDPOINT_MAX, PUSH_ENDPOINTS_MAX};

/// All endpoints that are called or were lately.
pub(super) struct Circuits {
    all: Arc<Semaphore>,
    endpoints: DashMap<String, Arc<Endpoint>>,
    first: Duration,
    max: Duration,
}

struct Endpoint {
    calls: Arc<Semaphore>,
    health: Mutex<Health>,
}

#[derive(Default)]
struct Health {
    failures: u32,
    closed_until: Option<Instant>,
}

/// The right to make one call. Says what came of it.
pub(super) struct Permit {
    endpoint: Arc<Endpoint>,
    first: Duration,
    max: Duration,
    _one: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Circuits {
    pub(super) fn new(first: Duration, max: Duration) -> Self {
        let all = Arc::new(Semaphore::new(PUSH_CALLS_MAX));
        Self { all, endpoints: DashMap::new(), first, max }
    }

    /// Waits until the endpoint may be called.
    pub(super) async fn enter(&self, endpoint: &str) -> Permit {
        let endpoint = self.endpoint(endpoint);
        loop {
            if let Some(until) = endpoint.closed_until() {
                sleep_until(until).await;
            }
            // First a place at the endpoint: whoever waits for a slow one holds no place that others could use.
            let one = Arc::clone(&endpoint.calls).acquire_owned().await.ok();
            if endpoint.closed_until().is_none_or(|until| until <= Instant::now()) {
                let all = Arc::clone(&self.all).acquire_owned().await.ok();
                let (first, max) = (self.first, self.max);
                return Permit { endpoint, first, max, _one: one, _all: all };
            }
        }
    }

    fn endpoint(&self, name: &str) -> Arc<Endpoint> {
        if let Some(known) = self.endpoints.get(name) {
            return Arc::clone(&known);
        }
        if self.endpoints.len() >= PUSH_ENDPOINTS_MAX {
            self.endpoints.retain(|_, endpoint| Arc::strong_count(endpoint) > 1);
        }
        let new = || {
            let calls = Arc::new(Semaphore::new(PUSH_CALLS_PER_ENDPOINT_MAX));
            Arc::new(Endpoint { calls, health: Mutex::default() })
        };
        Arc::clone(&self.endpoints.entry(name.to_owned()).or_insert_with(new))
    }
}

impl Endpoint {
    fn closed_until(&self) -> Option<Instant> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).closed_until
    }
}

impl Permit {
    /// The endpoint answered.
    pub(super) fn answered(self) {
        let mut health = self.endpoint.health.lock().unwrap_or_else(PoisonError::into_inner);
        *health = Health::default();
    }

    /// It is out of reach, or asks to be left alone for a while.
    pub(super) fn unreachable(self, asked: Option<Duration>) {
        let mut health = self.endpoint.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.failures = health.failures.saturating_add(1);
        let wait = wait_after(health.failures, asked, (self.first, self.max), 1.0);
        health.closed_until = Some(Instant::now() + wait);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn circuits() -> Circuits {
        Circuits::new(Duration::from_secs(1), Duration::from_secs(60))
    }

    #[tokio::test]
    async fn a_slow_endpoint_takes_no_place_from_others() {
        let circuits = circuits();
        let mut held = Vec::new();
        for _ in 0..PUSH_CALLS_PER_ENDPOINT_MAX {
            held.push(circuits.enter("slow:443").await);
        }
        assert!(circuits.enter("slow:443").now_or_never().is_none());
        assert!(circuits.enter("fast:443").now_or_never().is_some());
        held.pop();
        assert!(circuits.enter("slow:443").now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_out_of_reach_is_left_alone_longer_each_time() {
        let circuits = circuits();
        for seconds in [1, 2, 4, 8] {
            circuits.enter("dead:443").await.unreachable(None);
            let before = Instant::now();
            drop(circuits.enter("dead:443").await);
            assert_eq!(before.elapsed().as_secs(), seconds);
        }
        circuits.enter("dead:443").await.unreachable(Some(Duration::from_secs(30)));
        let before = Instant::now();
        circuits.enter("dead:443").await.answered();
        assert_eq!(before.elapsed().as_secs(), 30);
        assert!(circuits.enter("dead:443").now_or_never().is_some());
    }
}
