//! One log entry on one line.

use protocol::entry::{Entry, Event, WaitingFor};

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
    let text = format!("{time}  {:>3}  {kind:<14}  {}", entry.generation, detail(entry));
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
        Event::Step { name, output } => {
            format!("{name}: {}", preview(std::slice::from_ref(output), CHARS))
        }
        Event::Delegated { name, children, .. } => match children.as_slice() {
            [only] => format!("{name}: {} to skill {}", only.task, only.skill),
            all => {
                let skill = all.first().map(|child| child.skill.to_string()).unwrap_or_default();
                format!("{name}: {} tasks, the first to skill {skill}", all.len())
            }
        },
        Event::Suspended { waiting_for: WaitingFor::Children { .. } } => {
            "waits for its children".to_owned()
        }
        Event::Resumed { reason } | Event::Released { reason } | Event::Canceled { reason } => {
            reason.clone()
        }
        Event::AttemptFailed { fault, retry_at, .. } => {
            format!("attempt {} on {}: {fault}; again at {retry_at}", entry.attempt, entry.by)
        }
        Event::Completed { output } => preview(output, CHARS),
        Event::Failed { fault, .. } | Event::Rejected { fault } => fault.to_string(),
    }
}
