//! Decisions of doors.

use client::AuditPage;
use protocol::audit::AuditEntry;

use super::{Format, PrintError, Printer};

const HEADER: [&str; 10] = [
    "AT",
    "DECISION",
    "CALLER",
    "OPERATION",
    "OWNER",
    "SKILL",
    "TASK",
    "DOOR",
    "REQUEST",
    "REASON",
];

/// All that were found, newest first.
pub(crate) fn list(printer: &mut Printer, page: &AuditPage) -> Result<(), PrintError> {
    if printer.format() == Format::Table {
        let rows = page.entries.iter().map(|entry| cells(entry).to_vec());
        printer.table(&HEADER, rows.collect(), "no decisions")?;
    } else {
        printer.json_list(&page.entries)?;
    }
    if page.unreadable > 0 {
        printer.note(&format!("messages that are no decisions: {}", page.unreadable));
    }
    if page.more {
        printer.note("there are more; --limit and --since show them");
    }
    Ok(())
}

/// One, as it comes.
pub(crate) fn line(printer: &mut Printer, entry: &AuditEntry) -> Result<(), PrintError> {
    if printer.format() != Format::Table {
        return printer.json_line(entry);
    }
    let [at, decision, caller, operation, owner, skill, task, door, request, reason] = cells(entry);
    let text = format!(
        "{at}  {decision:<7}  {caller}  {operation}  {owner}  {skill}  {task}  {door}  {request}  {reason}"
    );
    printer.line(&text.replace(['\n', '\r', '\t'], " "))
}

fn cells(entry: &AuditEntry) -> [String; 10] {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    [
        entry.at.to_string(),
        if entry.allowed { "allowed" } else { "denied" }.to_owned(),
        or_dash(entry.caller.as_deref()),
        or_dash(entry.operation.as_deref()),
        or_dash(entry.owner.as_ref().map(protocol::Owner::as_str)),
        or_dash(entry.skill.as_ref().map(protocol::Skill::as_str)),
        or_dash(entry.task.as_deref()),
        entry.door.clone(),
        entry.request.clone(),
        or_dash(entry.reason.as_deref()),
    ]
}
