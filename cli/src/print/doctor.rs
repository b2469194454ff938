//! The findings of `weft doctor`.

use serde::Serialize;

use super::{Color, Format, PrintError, Printer};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Grade {
    /// All is well.
    Ok,
    /// Nobody can tell from here.
    Unknown,
    /// It works, and somebody should look.
    Warning,
    /// It does not work, or loses something.
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: &'static str,
    /// How it stands.
    pub(crate) grade: Grade,
    /// What was found.
    pub(crate) found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) todo: Option<String>,
}

impl Finding {
    pub(crate) fn new(check: &'static str, grade: Grade, found: impl Into<String>) -> Self {
        Self { check, grade, found: found.into(), todo: None }
    }

    pub(crate) fn todo(mut self, what: impl Into<String>) -> Self {
        self.todo = Some(what.into());
        self
    }
}

/// Writes all of them.
pub(crate) fn findings(printer: &mut Printer, findings: &[Finding]) -> Result<(), PrintError> {
    if printer.format() != Format::Table {
        return printer.json_list(findings);
    }
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    for finding in findings {
        let (color, word) = match finding.grade {
            Grade::Ok => (Color::Green, "ok     "),
            Grade::Unknown => (Color::Bold, "unknown"),
            Grade::Warning => (Color::Yellow, "warning"),
            Grade::Failed => (Color::Red, "FAILED "),
        };
        let rest = format!("  {:width$}  {}", finding.check, finding.found);
        printer.headed(color, word, &rest)?;
        if let Some(todo) = &finding.todo {
            printer.line(&format!("{:9}{:width$}  to do: {todo}", "", ""))?;
        }
    }
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    let (failed, warnings) = (count(Grade::Failed), count(Grade::Warning));
    printer.line(&match (failed, warnings) {
        (0, 0) => "\nnothing to do".to_owned(),
        (failed, warnings) => format!("\nfailed: {failed}, warnings: {warnings}"),
    })
}
