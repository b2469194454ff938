//! Tasks as people read them: receipts, one task, many tasks, results.

use client::{Listing, Receipt, Summary};
use protocol::message::{Content, Part, value_of};
use protocol::task::{RESULT_ARTIFACT, Task, TaskState};
use protocol::wait::WaitingFor;
use protocol::{Skill, TaskId, Timestamp, view};
use runtime::clock::Clock;
use serde_json::{Value, json};

use super::table::{ago, beginning};
use super::{Format, PrintError, Printer, entry};

/// Characters of a text inside a larger output.
const PREVIEW_CHARS: usize = 400;

/// A task was stored. As a table it is the bare id, for shells to take.
pub(crate) fn receipt(
    printer: &mut Printer,
    receipt: &Receipt,
    skill: &Skill,
) -> Result<(), PrintError> {
    if printer.format() != Format::Table {
        return printer.json(&json!({
            "task": receipt.task,
            "owner": receipt.owner,
            "skill": skill,
            "sequence": receipt.sequence,
        }));
    }
    printer.line(receipt.task.as_str())?;
    if printer.is_terminal() {
        printer.note(&format!("stored; weft task watch {} follows it", receipt.task));
    }
    Ok(())
}

/// What became of a cancel.
pub(crate) fn cancel(printer: &mut Printer, task: &TaskId, state: &str) -> Result<(), PrintError> {
    match printer.format() {
        Format::Table => printer.line(&format!("{task}  {state}")),
        Format::Json | Format::Jsonl => printer.json(&json!({"task": task, "cancel": state})),
    }
}

/// Something was said to a task.
pub(crate) fn said(printer: &mut Printer, task: &TaskId, sequence: u64) -> Result<(), PrintError> {
    match printer.format() {
        Format::Table => printer.line(&format!("{task}  stored")),
        Format::Json | Format::Jsonl => printer.json(&json!({"task": task, "sequence": sequence})),
    }
}

/// The parts of a task's result.
pub(crate) fn result_parts(task: &Task) -> &[Part] {
    let result = task.artifacts.iter().find(|artifact| artifact.artifact_id == RESULT_ARTIFACT);
    result.map(|artifact| artifact.parts.as_slice()).unwrap_or_default()
}

/// One part as it is: text as text, bytes as bytes, data as JSON.
pub(crate) fn part(printer: &mut Printer, part: &Part) -> Result<(), PrintError> {
    match &part.content {
        Content::Text(text) | Content::Url(text) => printer.content(text),
        Content::Raw(bytes) => printer.bytes(bytes),
        Content::Data(value) => printer.json(value),
    }
}

/// The beginning of what parts hold, on one line.
pub(crate) fn preview(parts: &[Part], chars_max: usize) -> String {
    beginning(&text_of(&value_of(parts)), chars_max)
}

/// A string as it is, any other value as JSON.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// One task.
pub(crate) fn one(printer: &mut Printer, task: &Task) -> Result<(), PrintError> {
    if printer.format() != Format::Table {
        return printer.json(task);
    }
    let fact = |key: &str| task.metadata.as_ref()?.get(&format!("weft/{key}")).map(text_of);
    let now = Clock::system().now();
    let at = |text: Option<String>| {
        let at = Timestamp::parse(&text?).ok()?;
        let distance =
            if at > now { format!("in {}", ago(now, at)) } else { format!("{} ago", ago(at, now)) };
        Some(format!("{at} ({distance})"))
    };
    let said = task.status.message.as_ref().map(|message| preview(&message.parts, PREVIEW_CHARS));
    let error = task.metadata.as_ref().and_then(|facts| facts.get("weft/error")).map(fault);
    let input = task.history.first().map(|message| preview(&message.parts, PREVIEW_CHARS));
    let mut facts = vec![
        ("task", Some(task.id.clone())),
        ("state", Some(task.status.state.word().to_owned())),
        ("skill", fact("skill")),
        ("owner", fact("owner")),
        ("context", Some(task.context_id.clone()).filter(|context| *context != task.id)),
        ("parent", fact("parent")),
        ("redrive of", fact("redriveOf")),
        ("attempts", fact("attempts")),
        ("resumes", fact("resumes")),
        ("node", fact("node")),
        ("submitted", at(fact("submittedAt"))),
        ("changed", task.status.timestamp.and_then(|changed| at(Some(changed.to_string())))),
        ("not before", at(fact("notBefore"))),
        ("waits for", waits_for(task)),
        ("until", at(fact("until"))),
        ("status", said.filter(|_| error.is_none())),
        ("error", error),
        ("input", input),
    ];
    facts.extend(task.artifacts.iter().map(|artifact| {
        let name = artifact.name.as_ref().unwrap_or(&artifact.artifact_id);
        (name.as_str(), Some(preview(&artifact.parts, PREVIEW_CHARS)))
    }));
    printer.facts(&facts)
}

/// What a task waits for, and what to do about it where something can be done.
fn waits_for(task: &Task) -> Option<String> {
    let value = task.metadata.as_ref()?.get("weft/waitingFor")?;
    let waiting_for: WaitingFor = serde_json::from_value(value.clone()).ok()?;
    let what = entry::waits_for(&waiting_for);
    let id = &task.id;
    Some(match &waiting_for {
        WaitingFor::Input { .. } => format!("{what}\nweft task say {id} TEXT answers"),
        WaitingFor::Signal { name } => format!("{what}\nweft task signal {id} {name} sends it"),
        WaitingFor::Approval { request, .. } => {
            let who = deciders(task).map_or_else(String::new, |who| format!("\n{who} may decide"));
            let by = if request.chain.is_empty() { "" } else { " --by NAME" };
            format!("{what}{who}\nweft approval approve {id}{by} allows {}", request.action)
        }
        WaitingFor::Children { .. } => format!("{what}\nweft task tree {id} shows them"),
        WaitingFor::Timer { .. } | WaitingFor::Lane { .. } => what,
    })
}

/// Who may decide by now about what a task asks, where not everybody may.
fn deciders(task: &Task) -> Option<String> {
    let asked = task.status.message.as_ref()?.metadata.as_ref()?.get(view::APPROVAL)?;
    let names: Vec<String> = serde_json::from_value(asked.get("deciders")?.clone()).ok()?;
    (!names.is_empty()).then(|| names.join(", "))
}

/// A fault as the log writes it, for people.
fn fault(value: &Value) -> String {
    serde_json::from_value::<protocol::Fault>(value.clone())
        .map_or_else(|_| value.to_string(), |fault| fault.to_string())
}

/// Many tasks.
pub(crate) fn listing(
    printer: &mut Printer,
    listing: &Listing,
    limit: usize,
) -> Result<(), PrintError> {
    match printer.format() {
        Format::Json => printer.json(listing)?,
        Format::Jsonl => printer.json_list(&listing.tasks)?,
        Format::Table => {
            let now = Clock::system().now();
            let header =
                ["TASK", "SKILL", "OWNER", "STATE", "ATTEMPTS", "NODE", "CHANGED", "ERROR"];
            let rows = listing.tasks.iter().map(|task| row(task, now)).collect();
            printer.table(&header, rows, "no tasks")?;
        }
    }
    if listing.more && printer.format() != Format::Json {
        printer.note(&format!("these are the newest {limit}; there are more, --limit shows them"));
    }
    if listing.older_not_read && printer.format() != Format::Json {
        printer.note("there are older tasks that were not looked at");
    }
    Ok(())
}

fn row(task: &Summary, now: Timestamp) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        task.id.to_string(),
        or_dash(task.skill.as_ref().map(ToString::to_string)),
        task.owner.to_string(),
        task.state.map_or("unreadable", TaskState::word).to_owned(),
        task.attempts.to_string(),
        or_dash(task.node.clone()),
        or_dash(task.changed_at.map(|at| ago(at, now))),
        task.error.clone().filter(|_| task.state != Some(TaskState::Completed)).unwrap_or_default(),
    ]
}
