//! Lets a question wait until the index has seen everything that was stored before it was asked.
//!
//! The index is brought up to date in rounds. A round that begins after the question reads what came before it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// The rounds of one index.
#[derive(Debug)]
pub(crate) struct Rounds {
    asked: Notify,
    begun: AtomicU64,
    done: watch::Sender<u64>,
}

impl Rounds {
    pub(crate) fn new() -> Self {
        Self { asked: Notify::new(), begun: AtomicU64::new(0), done: watch::Sender::new(0) }
    }

    /// Waits until somebody wants a round.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// A round begins; returns its number.
    pub(crate) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// A round has read all there was.
    pub(crate) fn end(&self, round: u64) {
        self.done.send_replace(round);
    }

    /// Whether a whole round has passed since now, within a limit.
    pub(crate) async fn pass(&self, limit: Duration) -> bool {
        let wanted = self.begun.load(Ordering::Acquire) + 1;
        let mut done = self.done.subscribe();
        self.asked.notify_one();
        let passed = tokio::time::timeout(limit, done.wait_for(|done| *done >= wanted)).await;
        passed.is_ok_and(|passed| passed.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIEF: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn only_a_round_that_begins_after_the_question_counts() {
        let rounds = Rounds::new();
        let early = rounds.begin();
        let follower = async {
            rounds.asked().await;
            rounds.end(early);
            let late = rounds.begin();
            tokio::time::sleep(Duration::from_secs(1)).await;
            rounds.end(late);
        };
        let began = tokio::time::Instant::now();
        let (passed, ()) = tokio::join!(rounds.pass(BRIEF), follower);
        assert!(passed);
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        assert!(!rounds.pass(BRIEF).await, "nobody makes a further round");
    }
}
