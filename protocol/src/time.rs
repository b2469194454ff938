//! Points in time as the wire writes them: RFC 3339, UTC, milliseconds.
//!
//! The format is A2A's (`YYYY-MM-DDTHH:mm:ss.sssZ`). Nothing here reads a clock: callers pass the
//! present in, and tests pass whatever they like.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time, in whole milliseconds since the Unix epoch, within the years that RFC 3339 can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A text that is no RFC 3339 time with an offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time with an offset, such as 2026-01-31T12:00:00.000Z")]
pub struct TimestampError;

impl Timestamp {
    /// The first point in time: the start of year 0.
    pub const MIN: Self = Self(-62_167_219_200_000);
    /// The last point in time: 9999-12-30T22:00:00.999Z, which every offset can still write.
    pub const MAX: Self = Self(253_402_207_200_999);

    /// From milliseconds since the Unix epoch; what is out of range becomes [`Self::MIN`] or [`Self::MAX`].
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        if millis < Self::MIN.0 {
            Self::MIN
        } else if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Reads an RFC 3339 time; finer digits than milliseconds are cut off.
    ///
    /// # Errors
    /// When the text is no such time.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        text.parse::<jiff::Timestamp>()
            .map(|at| Self(at.as_millisecond()))
            .ok()
            .filter(|at| *at >= Self::MIN)
            .ok_or(TimestampError)
    }

    /// How long from `earlier` to this; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This point moved into the future, at most to [`Self::MAX`].
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_add(millis))
    }
}

const DAY_MILLIS: i64 = 86_400_000;

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar: the year is taken to
/// begin in March, so that the leap day is its last.
fn civil(days: i64) -> (i64, i64, i64) {
    let from_year_0 = days + 719_468;
    let era = from_year_0.div_euclid(146_097);
    let of_era = from_year_0.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// Writes the last `width` decimal digits of a number that is not negative, so that they end before `end`.
fn put(text: &mut [u8], end: usize, width: usize, mut value: i64) {
    for place in text.iter_mut().take(end).rev().take(width) {
        *place = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, millis) = (self.0.div_euclid(DAY_MILLIS), self.0.rem_euclid(DAY_MILLIS));
        let (year, month, day) = civil(days);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let minutes = millis / 60_000;
        for (end, width, value) in [
            (4, 4, year),
            (7, 2, month),
            (10, 2, day),
            (13, 2, minutes / 60),
            (16, 2, minutes % 60),
            (19, 2, millis / 1000 % 60),
            (23, 3, millis % 1000),
        ] {
            put(&mut text, end, width, value);
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_milliseconds_and_reads_what_it_wrote() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_795_264_618_007, "2026-11-21T12:36:58.007Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).to_string(), text);
            assert_eq!(Timestamp::parse(text), Ok(Timestamp::from_millis(millis)));
        }
    }

    #[test]
    fn every_day_is_written_as_the_calendar_has_it() {
        // A step of no whole number of days, so that times of day vary too.
        for millis in (Timestamp::MIN.0..Timestamp::MAX.0).step_by(86_399_999 * 11) {
            let expected = jiff::Timestamp::from_millisecond(millis).unwrap();
            assert_eq!(Timestamp(millis).to_string(), format!("{expected:.3}"));
        }
    }

    #[test]
    fn the_extremes_are_written_and_read_back() {
        for (at, text) in [
            (Timestamp::from_millis(i64::MIN), "0000-01-01T00:00:00.000Z"),
            (Timestamp::from_millis(i64::MAX), "9999-12-30T22:00:00.999Z"),
            (Timestamp::default().after(Duration::MAX), "9999-12-30T22:00:00.999Z"),
        ] {
            assert_eq!(at.to_string(), text);
            assert_eq!(Timestamp::parse(text), Ok(at));
        }
        assert_eq!(Timestamp::MIN.since(Timestamp::MAX), Duration::ZERO);
        assert!(Timestamp::MAX.since(Timestamp::MIN) > Duration::from_secs(315_000_000_000));
    }

    #[test]
    fn refuses_what_has_no_offset_or_no_year() {
        for text in ["", "2026-11-21", "2026-11-21T12:00:00", "tomorrow", "-000001-12-31T00:00:00Z"]
        {
            assert_eq!(Timestamp::parse(text), Err(TimestampError), "{text}");
        }
    }
}
