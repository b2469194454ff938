//! Reads the time of day.
//!
//! The one place that asks the operating system for it: deadlines, timestamps in the log and ids all
//! come from a [`Clock`] that was passed in, so a test can say what time it is. Waiting is
//! tokio's business, not this file's; tests pause that with `tokio::time::pause`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use protocol::Timestamp;

/// Says what time it is. Clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
}

/// Moves the clock that came with it.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl Clock {
    /// The computer's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that always shows `at`.
    #[must_use]
    pub fn fixed(at: Timestamp) -> Self {
        Self::manual(at).0
    }

    /// A clock that starts at `at` and stands still until it is moved.
    #[must_use]
    pub fn manual(at: Timestamp) -> (Self, ManualClock) {
        let millis = Arc::new(AtomicI64::new(at.millis()));
        (Self(Source::Manual(Arc::clone(&millis))), ManualClock(millis))
    }

    /// The present. The system clock may jump in both directions.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(match &self.0 {
            Source::System => system_millis(),
            Source::Manual(millis) => millis.load(Ordering::Relaxed),
        })
    }
}

impl ManualClock {
    /// Shows another time, earlier or later.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.millis(), Ordering::Relaxed);
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(saturating_millis(by), Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "the home of the system clock")]
fn system_millis() -> i64 {
    match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => saturating_millis(since),
        Err(before) => -saturating_millis(before.duration()),
    }
}

fn saturating_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let (clock, hand) = Clock::manual(Timestamp::from_millis(1_000));
        let copy = clock.clone();
        hand.advance(Duration::from_millis(500));
        assert_eq!(copy.now(), Timestamp::from_millis(1_500));
        hand.set(Timestamp::from_millis(7));
        assert_eq!(clock.now(), Timestamp::from_millis(7));
        assert_eq!(Clock::fixed(Timestamp::from_millis(3)).now(), Timestamp::from_millis(3));
    }

    #[test]
    fn the_system_clock_shows_this_century() {
        let year_2025 = Timestamp::parse("2025-01-01T00:00:00Z").unwrap();
        let year_2100 = Timestamp::parse("2100-01-01T00:00:00Z").unwrap();
        assert!((year_2025..year_2100).contains(&Clock::system().now()));
    }
}
