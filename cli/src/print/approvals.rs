//! Actions that wait for a decision, and what became of a decision.

use client::{Approvals, Pending};
use protocol::approval::Ruling;
use protocol::{TaskId, Timestamp};
use serde_json::json;

use super::table::{ago, beginning};
use super::{Format, PrintError, Printer};

/// Characters of an action in a row.
const ACTION_CHARS: usize = 120;
/// Characters of a hash in a row; the JSON output has all of it.
const HASH_CHARS: usize = 12;

/// Everything that waits for a decision.
pub(crate) fn list(
    printer: &mut Printer,
    found: &Approvals,
    now: Timestamp,
) -> Result<(), PrintError> {
    match printer.format() {
        Format::Json => printer.json(found)?,
        Format::Jsonl => printer.json_list(&found.pending)?,
        Format::Table => {
            let header = [
                "TASK",
                "OWNER",
                "SKILL",
                "QUESTION",
                "ACTION",
                "HASH",
                "MAY DECIDE",
                "SINCE",
                "UNTIL",
            ];
            let rows = found.pending.iter().map(|one| row(one, now)).collect();
            printer.table(&header, rows, "nothing waits for a decision")?;
        }
    }
    if found.not_all && printer.format() != Format::Json {
        printer
            .note("there may be more: older messages, or tasks beyond --limit, were not looked at");
    }
    Ok(())
}

fn row(one: &Pending, now: Timestamp) -> Vec<String> {
    let earlier = one.deciders.iter().filter(|name| !one.addressees.contains(name));
    let earlier: Vec<_> = earlier.map(String::as_str).collect();
    let mut deciders = match one.addressees.as_slice() {
        [] if one.request.chain.is_empty() => "anybody".to_owned(),
        [] => "nobody yet".to_owned(),
        names => names.join(", "),
    };
    if !earlier.is_empty() {
        deciders = format!("{deciders}; still {}", earlier.join(", "));
    }
    if let Some(at) = one.escalates {
        deciders = format!("{deciders}; more at {at}");
    }
    vec![
        one.task.to_string(),
        one.owner.to_string(),
        one.skill.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        one.request.question.clone(),
        beginning(&one.request.action.to_string(), ACTION_CHARS),
        one.request.hash.chars().take(HASH_CHARS).collect(),
        deciders,
        ago(one.since, now),
        one.until.map_or_else(|| "-".to_owned(), |until| until.to_string()),
    ]
}

/// A decision that counted, or that waits for others to agree.
pub(crate) fn counted(
    printer: &mut Printer,
    task: &TaskId,
    hash: &str,
    ruling: Option<&Ruling>,
) -> Result<(), PrintError> {
    if printer.format() != Format::Table {
        return printer.json(&json!({"task": task, "hash": hash, "ruling": ruling}));
    }
    let what = ruling.map_or_else(
        || {
            "stored; the task still waits: more have to agree, or no coordinator has looked"
                .to_owned()
        },
        client::word,
    );
    printer.line(&format!("{task}  {what}"))
}
