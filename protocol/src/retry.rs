//! Decides what happens to a task after one of its attempts has failed.
//!
//! The answer is a value, [`Verdict`]: nothing here sleeps, publishes or reads a clock. The node asks
//! once per failed attempt and carries the answer out; the simulator asks a million times.

use std::time::Duration;

use crate::fault::Failure;
use crate::limits::RETRY_AFTER_MAX;

/// How often and how patiently a skill's tasks are tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all that may fail or be lost.
    pub attempts_max: u32,
    /// Wait after the first failure.
    pub backoff_first: Duration,
    /// By what the wait grows with each further failure.
    pub backoff_factor: f64,
    /// The longest wait, jitter aside.
    pub backoff_max: Duration,
    /// The part of the wait that is left to chance, 0 to 1: many tasks that failed together do not come back
    /// together.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            backoff_first: Duration::from_millis(200),
            backoff_factor: 2.0,
            backoff_max: Duration::from_secs(300),
            jitter: 0.2,
        }
    }
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Another attempt after this wait.
    Retry {
        /// The wait.
        after: Duration,
    },
    /// No further attempt.
    GiveUp,
}

impl RetryPolicy {
    /// Decides, given how many attempts have failed so far, this one included, and a random number from 0 to 1.
    #[must_use]
    pub fn verdict(&self, failure: Failure, failures: u32, chance: f64) -> Verdict {
        if failure == Failure::Permanent || failures >= self.attempts_max {
            return Verdict::GiveUp;
        }
        match failure {
            Failure::Permanent => Verdict::GiveUp,
            Failure::Lost => Verdict::Retry { after: Duration::ZERO },
            Failure::Transient { retry_after: Some(after) } => {
                Verdict::Retry { after: after.min(RETRY_AFTER_MAX) }
            }
            Failure::Transient { retry_after: None } => {
                Verdict::Retry { after: self.backoff(failures, chance) }
            }
        }
    }

    fn backoff(&self, failures: u32, chance: f64) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.backoff_first.as_secs_f64() * self.backoff_factor.powi(exponent);
        let capped = seconds.min(self.backoff_max.as_secs_f64());
        let spread = 1.0 + self.jitter * (2.0 * chance.clamp(0.0, 1.0) - 1.0);
        Duration::try_from_secs_f64(capped * spread).unwrap_or(self.backoff_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_failure_and_the_count_decide() {
        let policy = RetryPolicy { jitter: 0.0, ..RetryPolicy::default() };
        let transient = Failure::Transient { retry_after: None };
        let asked = Failure::Transient { retry_after: Some(ms(7_000)) };
        let for_ever = Failure::Transient { retry_after: Some(Duration::MAX) };
        for (failure, failures, expected) in [
            (for_ever, 1, Verdict::Retry { after: RETRY_AFTER_MAX }),
            (transient, 1, Verdict::Retry { after: ms(200) }),
            (transient, 2, Verdict::Retry { after: ms(400) }),
            (transient, 4, Verdict::Retry { after: ms(1_600) }),
            (transient, 5, Verdict::GiveUp),
            (asked, 1, Verdict::Retry { after: ms(7_000) }),
            (asked, 5, Verdict::GiveUp),
            (Failure::Lost, 1, Verdict::Retry { after: ms(0) }),
            (Failure::Lost, 5, Verdict::GiveUp),
            (Failure::Permanent, 1, Verdict::GiveUp),
        ] {
            assert_eq!(policy.verdict(failure, failures, 0.5), expected, "{failure:?} {failures}");
        }
    }

    #[test]
    fn waits_are_bounded_and_spread_by_the_jitter() {
        let policy = RetryPolicy { attempts_max: u32::MAX, ..RetryPolicy::default() };
        let wait = |failures, chance| match policy.verdict(
            Failure::Transient { retry_after: None },
            failures,
            chance,
        ) {
            Verdict::Retry { after } => after,
            Verdict::GiveUp => unreachable!("attempts are unbounded here"),
        };
        assert_eq!((wait(1, 0.0), wait(1, 1.0)), (ms(160), ms(240)));
        assert_eq!(wait(u32::MAX - 1, 0.5), policy.backoff_max);
        assert!(wait(40, 1.0) <= policy.backoff_max.mul_f64(1.2));
    }
}
