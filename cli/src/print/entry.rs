//! One log entry on one line.

use protocol::entry::{Entry, Event};
use protocol::wait::{Answer, WaitingFor};

use super::tasks::preview;
use super::{Format, PrintError, Printer};

const CHARS: usize = 200;

/// Writes an entry as it came.
pub(crate) fn line(printer: &mut Printer, entry: &Entry) -> Result<(), PrintError> {
    if printer.format() != Format::Table {
        return printer.json_line(entry);
    }
    let at = entry.at.to_string();
    let time = at.get(11..).unwrap_or(&at);
    let kind = entry.event.kind().name();
    // A text of its own lines could pass for entries.
    let detail = detail(entry).lines().collect::<Vec<_>>().join(" ");
    let text = format!("{time}  {:>3}  {kind:<14}  {detail}", entry.generation);
    printer.line(text.trim_end())
}

fn detail(entry: &Entry) -> String {
    match &entry.event {
        Event::Claimed { .. } => format!("attempt {} on {}", entry.attempt, entry.by),
        Event::Status { message } => preview(&message.parts, CHARS),
        Event::Artifact { artifact, append, .. } => {
            let how = if *append { " (more)" } else { "" };
            format!("{}{how}: {}", artifact.artifact_id, preview(&artifact.parts, CHARS))
        }
        Event::Reserved { name, .. } => format!("{name}: budget set aside"),
        Event::Refunded { children } => format!("{} children settled", children.len()),
        Event::Received { answer, .. } => came(answer).to_owned(),
        Event::Step { name, output, .. } => {
            format!("{name}: {}", preview(std::slice::from_ref(output), CHARS))
        }
        Event::Delegated { name, children, .. } => match children.as_slice() {
            [only] => format!("{name}: {} to skill {}", only.task, only.skill),
            all => {
                let skill = all.first().map(|child| child.skill.to_string()).unwrap_or_default();
                format!("{name}: {} tasks, the first to skill {skill}", all.len())
            }
        },
        Event::Suspended { waiting_for, until } => match until {
            Some(until) => format!("waits for {}, until {until}", waits_for(waiting_for)),
            None => format!("waits for {}", waits_for(waiting_for)),
        },
        Event::Escalated { name, to, reason, .. } => {
            format!("{name} goes to {}: {reason}", to.join(", "))
        }
        Event::Resumed { reason, .. }
        | Event::Released { reason, .. }
        | Event::Canceled { reason } => reason.clone(),
        Event::AttemptFailed { fault, retry_at, .. } => {
            format!("attempt {} on {}: {fault}; again at {retry_at}", entry.attempt, entry.by)
        }
        Event::Completed { output } => preview(output, CHARS),
        Event::Failed { fault, .. } | Event::Rejected { fault } => fault.to_string(),
    }
}

/// What a task waits for.
pub(super) fn waits_for(waiting_for: &WaitingFor) -> String {
    match waiting_for {
        WaitingFor::Children { enough: None, .. } => "its children".to_owned(),
        WaitingFor::Children { enough: Some(enough), .. } => format!("{enough} of its children"),
        WaitingFor::Timer { name } => format!("timer {name}"),
        WaitingFor::Input { name, question, .. } => {
            format!("an answer to {name}: {}", preview(&question.parts, CHARS))
        }
        WaitingFor::Signal { name } => format!("signal {name}"),
        WaitingFor::Approval { name, request } => format!("approval {name}: {}", request.question),
        WaitingFor::Lane { predecessor } => {
            format!("the task before it in its lane, s{predecessor}")
        }
    }
}

fn came(answer: &Answer) -> &'static str {
    match answer {
        Answer::Children { .. } => "enough children had ended",
        Answer::Time => "the time had come",
        Answer::Message { .. } => "a message had come",
        Answer::Signal { .. } => "a signal had come",
        Answer::Approval { .. } => "a decision had come",
    }
}
