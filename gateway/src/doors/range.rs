//! Reads a `Range` header (RFC 9110, section 14). Pure.

/// What a client wants of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Whole,
    /// Some bytes of it: at least one.
    Part {
        /// The first.
        start: u64,
        /// How many.
        length: u64,
    },
    /// What it has not, or several parts at once.
    Nowhere,
}

/// What the header asks for of a file of so many bytes. A unit other than bytes, and what is no range at all, is as if
/// nothing was said; several ranges are refused, for many small ones make a file many times its size.
#[must_use]
pub fn wanted(header: &str, size: u64) -> Wanted {
    let Some((unit, ranges)) = header.split_once('=') else { return Wanted::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    if ranges.contains(',') {
        return Wanted::Nowhere;
    }
    let Some((first, last)) = ranges.split_once('-') else { return Wanted::Whole };
    let number = |text: &str| {
        let text = text.trim();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // What is too large for a number is beyond every file.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let (start, end) = match (number(first), number(last)) {
        (Some(start), Some(last)) if last < start => return Wanted::Whole,
        (Some(start), Some(last)) => (start, last.saturating_add(1).min(size)),
        (Some(start), None) if last.trim().is_empty() => (start, size),
        (None, Some(count)) if first.trim().is_empty() => (size.saturating_sub(count), size),
        _ => return Wanted::Whole,
    };
    if start >= end { Wanted::Nowhere } else { Wanted::Part { start, length: end - start } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let part = |start, length| Wanted::Part { start, length };
        for (header, size, expected) in [
            ("bytes=0-0", 10, part(0, 1)),
            ("bytes=0-9", 10, part(0, 10)),
            ("bytes=3-", 10, part(3, 7)),
            ("bytes=-4", 10, part(6, 4)),
            ("bytes=-40", 10, part(0, 10)),
            ("bytes=5-400", 10, part(5, 5)),
            ("bytes= 2 - 3 ", 10, part(2, 2)),
            ("BYTES=2-3", 10, part(2, 2)),
            ("bytes=9-18446744073709551615", 10, part(9, 1)),
            ("bytes=0-99999999999999999999999", 10, part(0, 10)),
            ("bytes=10-", 10, Wanted::Nowhere),
            ("bytes=99999999999999999999999-", 10, Wanted::Nowhere),
            ("bytes=-0", 10, Wanted::Nowhere),
            ("bytes=0-", 0, Wanted::Nowhere),
            ("bytes=0-1,3-4", 10, Wanted::Nowhere),
            ("bytes=4-3", 10, Wanted::Whole),
            ("bytes=", 10, Wanted::Whole),
            ("bytes=-", 10, Wanted::Whole),
            ("bytes=a-b", 10, Wanted::Whole),
            ("bytes=1-b", 10, Wanted::Whole),
            ("bytes=--1", 10, Wanted::Whole),
            ("bytes=+1-2", 10, Wanted::Whole),
            ("items=0-1", 10, Wanted::Whole),
            ("nonsense", 10, Wanted::Whole),
            ("", 10, Wanted::Whole),
        ] {
            assert_eq!(wanted(header, size), expected, "{header:?} of {size}");
        }
    }
}
