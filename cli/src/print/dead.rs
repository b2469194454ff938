//! Dead letters.

use client::{DeadLetterEntry, DeadLetters, Receipt};
use runtime::clock::Clock;
use serde::Serialize;
use serde_json::json;

use super::table::{ago, beginning};
use super::tasks::preview;
use super::{Format, PrintError, Printer};

/// Characters shown of what is wrong with a letter.
const REASON_CHARS: usize = 120;

/// All of them.
pub(crate) fn list(
    printer: &mut Printer,
    found: &DeadLetters,
    limit: usize,
) -> Result<(), PrintError> {
    let DeadLetters { letters, unreadable } = found;
    if printer.format() == Format::Table {
        let now = Clock::system().now();
        let header = ["NUMBER", "TASK", "SKILL", "OWNER", "ATTEMPTS", "DIED", "ERROR"];
        let rows = letters.iter().map(|DeadLetterEntry { number, letter }| {
            vec![
                number.to_string(),
                letter.task.to_string(),
                letter.origin.skill.to_string(),
                letter.origin.owner.to_string(),
                letter.attempts.len().to_string(),
                format!("{} ago", ago(letter.died_at, now)),
                letter.fault.to_string(),
            ]
        });
        if !letters.is_empty() || unreadable.is_empty() {
            printer.table(&header, rows.collect(), "no dead letters")?;
        }
    } else {
        printer.json_list(letters)?;
    }
    for one in unreadable {
        let (number, reason) = (one.number, beginning(&one.reason, REASON_CHARS));
        printer.note(&format!(
            "{number} is unreadable ({reason}); weft dlq discard {number} removes it"
        ));
    }
    if letters.len() + unreadable.len() == limit {
        printer.note("there may be more; --limit shows them");
    }
    Ok(())
}

/// One, with its whole story.
pub(crate) fn one(printer: &mut Printer, entry: &DeadLetterEntry) -> Result<(), PrintError> {
    if printer.format() != Format::Table {
        return printer.json(entry);
    }
    let DeadLetterEntry { number, letter } = entry;
    printer.facts(&[
        ("number", Some(number.to_string())),
        ("task", Some(letter.task.to_string())),
        ("skill", Some(letter.origin.skill.to_string())),
        ("owner", Some(letter.origin.owner.to_string())),
        ("cause", word(letter.cause)),
        ("failure", word(letter.failure)),
        ("error", Some(letter.fault.to_string())),
        ("submitted", Some(letter.origin.submitted_at.to_string())),
        ("died", Some(letter.died_at.to_string())),
        ("dedup key", letter.origin.dedup_key.as_ref().map(|key| key.as_str().to_owned())),
        ("redrive of", letter.origin.redrive_of.as_ref().map(ToString::to_string)),
        ("input", Some(preview(&letter.input.parts, usize::MAX))),
    ])?;
    let header = ["ATTEMPT", "NODE", "STARTED", "LAST SEEN", "OUTCOME", "ERROR"];
    let rows = letter.attempts.iter().map(|attempt| {
        vec![
            attempt.number.to_string(),
            attempt.node.to_string(),
            attempt.started_at.to_string(),
            attempt.seen_at.to_string(),
            word(attempt.outcome).unwrap_or_default(),
            attempt.fault.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]
    });
    printer.line("")?;
    printer.table(&header, rows.collect(), "no attempts")
}

/// The name of a variant as the wire has it.
fn word(value: impl Serialize) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

/// A letter became a task.
pub(crate) fn redriven(
    printer: &mut Printer,
    number: u64,
    receipt: &Receipt,
) -> Result<(), PrintError> {
    match printer.format() {
        Format::Table => printer.line(&format!("{number}  is now task {}", receipt.task)),
        Format::Json | Format::Jsonl => printer.json_line(&json!({
            "number": number,
            "task": receipt.task,
            "owner": receipt.owner,
            "sequence": receipt.sequence,
        })),
    }
}

/// A letter is gone.
pub(crate) fn discarded(printer: &mut Printer, number: u64) -> Result<(), PrintError> {
    match printer.format() {
        Format::Table => printer.line(&format!("{number}  discarded")),
        Format::Json | Format::Jsonl => {
            printer.json_line(&json!({"number": number, "discarded": true}))
        }
    }
}
