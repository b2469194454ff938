//! Decides how long a webhook rests after a failure, and what its endpoint's `Retry-After` is worth. Pure.

use std::time::Duration;

use protocol::Timestamp;

/// The wait after the `failures`th failure in a row: the first one doubled each time, at most the longest, and what the
/// endpoint asks for if that is more (but never more than the longest). `luck` is from 0 to 1: the wait is between half
/// of itself and all of it, so that those who failed together do not come back together.
pub(super) fn wait_after(
    failures: u32,
    asked: Option<Duration>,
    (first, max): (Duration, Duration),
    luck: f64,
) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let wait = first.saturating_mul(1 << doublings).min(max);
    let wait = wait.mul_f64(0.5 + luck.clamp(0.0, 1.0) / 2.0);
    asked.map_or(wait, |asked| asked.min(max).max(wait))
}

/// Reads `Retry-After`: seconds, or a date.
pub(super) fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    let at = Timestamp::from_millis(i64::try_from(since.as_millis()).ok()?);
    Some(at.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let bounds = (Duration::from_secs(1), Duration::from_secs(300));
        for (failures, asked, luck, wait) in [
            (1, None, 1.0, 1.0),
            (1, None, 0.0, 0.5),
            (2, None, 1.0, 2.0),
            (5, None, 1.0, 16.0),
            (9, None, 1.0, 256.0),
            (10, None, 1.0, 300.0),
            (u32::MAX, None, 1.0, 300.0),
            (1, Some(7), 1.0, 7.0),
            (5, Some(7), 1.0, 16.0),
            (1, Some(86_400), 1.0, 300.0),
            (1, Some(u64::MAX), 1.0, 300.0),
        ] {
            let found = wait_after(failures, asked.map(Duration::from_secs), bounds, luck);
            assert_eq!(found, Duration::from_secs_f64(wait), "{failures} {asked:?} {luck}");
        }
    }

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now = Timestamp::parse("2025-10-21T07:28:00Z").unwrap();
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Tue, 21 Oct 2025 07:30:00 GMT", Some(120)),
            ("Tue, 21 Oct 2025 07:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
