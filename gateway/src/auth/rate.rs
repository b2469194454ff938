//! How often somebody may come: a token bucket for each, in bounded memory.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Buckets that are kept. Whoever comes beyond shares one of a few with others, until quiet ones are forgotten.
const BUCKETS_MAX: usize = 65_536;
/// Buckets that are shared then.
const SHARED: u64 = 256;
/// How many questions come between two times at which quiet buckets are forgotten.
const FORGET_EVERY: u32 = 4096;

/// A limit that holds for each of many.
pub(super) struct Rate {
    limiter: DefaultKeyedRateLimiter<u64>,
    clock: DefaultClock,
    hasher: RandomState,
    asked: AtomicU32,
}

impl Rate {
    /// So many a second, and `burst` at once after a while without any.
    pub(super) fn new(per_second: f64, burst: u32) -> Option<Self> {
        let period = Duration::try_from_secs_f64(per_second.recip()).ok()?;
        let quota = Quota::with_period(period)?.allow_burst(NonZeroU32::new(burst)?);
        Some(Self {
            limiter: RateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            hasher: RandomState::new(),
            asked: AtomicU32::new(0),
        })
    }

    /// Takes one for `who`.
    ///
    /// # Errors
    /// With the time until there is one again.
    pub(super) fn take(&self, who: &impl Hash) -> Result<(), Duration> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        let mut key = self.hasher.hash_one(who);
        if self.limiter.len() >= BUCKETS_MAX {
            key %= SHARED;
        }
        self.limiter.check_key(&key).map_err(|until| until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_bucket_of_their_own() {
        let rate = Rate::new(0.1, 2).unwrap();
        for (who, is_let) in [("a", true), ("a", true), ("a", false), ("b", true), ("a", false)] {
            let taken = rate.take(&who);
            assert_eq!(taken.is_ok(), is_let, "{who}");
            if let Err(wait) = taken {
                assert!(
                    wait <= Duration::from_secs(10) && wait > Duration::from_secs(5),
                    "{wait:?}"
                );
            }
        }
    }

    #[test]
    fn memory_stays_bounded_whoever_comes() {
        let rate = Rate::new(0.001, 1).unwrap();
        for who in 0..BUCKETS_MAX + 10_000 {
            rate.take(&who).ok();
        }
        let most = BUCKETS_MAX + usize::try_from(SHARED).unwrap();
        assert!(rate.limiter.len() <= most, "{}", rate.limiter.len());
        assert!(Rate::new(0.0, 1).is_none() && Rate::new(1.0, 0).is_none());
    }
}
