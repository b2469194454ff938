//! What a cancel says besides that a task is to end: nothing, or why.
//!
//! The body is text, so that a bare publish may give a reason. It comes from outside and goes into the entry that ends the
//! task, so that it is cut and cleaned where it is read.

use crate::entry::Event;
use crate::limits::CANCEL_REASON_CHARS_MAX;

/// Why the task is to end, as far as the cancel says it.
#[must_use]
pub fn reason(body: &[u8]) -> Option<String> {
    // A character has at most four bytes.
    let start = body.get(..CANCEL_REASON_CHARS_MAX * 4).unwrap_or(body);
    let text = String::from_utf8_lossy(start);
    let seen = |c: &char| !c.is_control() || *c == '\n';
    let text: String = text.trim().chars().filter(seen).take(CANCEL_REASON_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}

/// The entry of a cancel, with why it was asked for before how it came about.
#[must_use]
pub fn because(event: Event, why: Option<&str>) -> Event {
    match (event, why) {
        (Event::Canceled { reason: how }, Some(why)) => {
            Event::Canceled { reason: format!("{why} ({how})") }
        }
        (event, _) => event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cancels_have_a_reason() {
        let canceled = |reason: &str| Event::Canceled { reason: reason.to_owned() };
        let completed = Event::Completed { output: Vec::new() };
        assert_eq!(
            because(canceled("on request"), Some("too dear")),
            canceled("too dear (on request)")
        );
        assert_eq!(because(canceled("on request"), None), canceled("on request"));
        assert_eq!(because(completed.clone(), Some("too dear")), completed);
    }

    #[test]
    fn a_reason_is_text_and_short() {
        let long = "é".repeat(CANCEL_REASON_CHARS_MAX + 1);
        for (body, expected) in [
            ("".as_bytes(), None),
            (b" \n ", None),
            (b"too dear\n", Some("too dear".to_owned())),
            (b"a\x1b[31m\nb", Some("a[31m\nb".to_owned())),
            (b"a\xff", Some("a\u{fffd}".to_owned())),
            (long.as_bytes(), Some("é".repeat(CANCEL_REASON_CHARS_MAX))),
        ] {
            assert_eq!(reason(body), expected, "{body:?}");
        }
    }
}
