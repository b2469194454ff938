//! What `weft demo` says: what is about to happen, and what came of it.

mod view;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::table::size;
use super::{Color, PrintError, Printer};
use crate::commands::demo::Outcome;
use crate::commands::demo::account::Account;
use crate::commands::demo::verify::Verdict;
use crate::demo_agents::{Row, escape};
pub(crate) use view::View;

/// Lists are cut to this many lines.
const LINES_MAX: usize = 10;

/// What is about to happen.
pub(crate) fn opening(
    printer: &mut Printer,
    root: &Path,
    files: usize,
    nodes: usize,
) -> Result<(), PrintError> {
    printer.line(&format!(
        "weft demo: {} in {}, one task each, on a fleet of {nodes} nodes; one of them will be killed",
        counted(files, "file"),
        escape(root)
    ))
}

/// The folder has fewer files than the fleet has hands.
pub(crate) fn too_small(printer: &Printer) {
    printer.note(
        "so few files are inspected at once: to see a takeover, give a folder with some hundred",
    );
}

/// `1 file`, `2 files`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Who is there.
pub(crate) fn fleet(
    printer: &mut Printer,
    pids: &[(String, u32)],
    python: Option<&str>,
) -> Result<(), PrintError> {
    let named = pids.iter().map(|(name, pid)| match python == Some(name.as_str()) {
        true => format!("{name} (pid {pid}, Python)"),
        false => format!("{name} (pid {pid})"),
    });
    let named: Vec<_> = named.collect();
    printer.line(&format!("running: {}", named.join(", ")))
}

/// The table.
pub(crate) fn report(printer: &mut Printer, outcome: &Outcome) -> Result<(), PrintError> {
    let report = &outcome.survey.report;
    let row = |row: &Row, name: &str| {
        let numbers = [row.files, row.lines, row.words, row.todos];
        let numbers = numbers.iter().map(ToString::to_string);
        let name = name.to_owned();
        std::iter::once(name).chain(numbers).chain([size(row.bytes)]).collect::<Vec<_>>()
    };
    let mut rows: Vec<_> = report.languages.iter().map(|one| row(one, &one.language)).collect();
    rows.push(row(&report.total, "total"));
    printer.line("")?;
    printer.table(&["LANGUAGE", "FILES", "LINES", "WORDS", "TODOS", "SIZE"], rows, "")?;
    let copies: usize = report.duplicates.iter().map(Vec::len).sum();
    if copies > 0 {
        let groups = counted(report.duplicates.len(), "group");
        printer.line(&format!("\n{copies} files are copies of each other, in {groups}"))?;
        for paths in report.duplicates.iter().take(LINES_MAX) {
            printer.line(&format!("  {}", paths.join(" = ")))?;
        }
    }
    let skipped = outcome.survey.skipped;
    let left_out = [
        (skipped.binary, "binary"),
        (skipped.too_large, "too large"),
        (skipped.links, "links"),
        (skipped.special, "no plain files"),
        (skipped.unreadable, "unreadable"),
    ];
    let left_out: Vec<String> = left_out
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{count} {why}"))
        .collect();
    if !left_out.is_empty() {
        printer.line(&format!("left out: {}", left_out.join(", ")))?;
    }
    Ok(())
}

/// What happened on the way.
pub(crate) fn account(
    printer: &mut Printer,
    outcome: &Outcome,
    verdict: &Verdict,
    out: &Path,
) -> Result<(), PrintError> {
    let account = &outcome.account;
    let ends: Vec<_> = account.ends.iter().map(|(node, count)| format!("{node} {count}")).collect();
    printer.line("")?;
    printer.facts(&[
        ("tasks submitted", Some(account.submitted.to_string())),
        ("tasks completed", Some(format!("{} ({})", account.completed, ends.join(", ")))),
        ("tasks failed", (!account.failed.is_empty()).then(|| account.failed.len().to_string())),
        ("attempts", Some(attempts(account))),
        ("tasks taken over", Some(taken_over(outcome))),
        ("tasks lost", Some(account.lost.len().to_string())),
        ("results committed twice", Some(account.doubled.len().to_string())),
        ("took", Some(format!("{:.1} s", outcome.took.as_secs_f64()))),
        ("report", Some(escape(out))),
    ])?;
    for path in verdict.changed.iter().take(LINES_MAX) {
        printer.note(&format!("not compared, somebody changed it meanwhile: {path}"));
    }
    if verdict.changed.len() > LINES_MAX {
        printer.note(&format!("... and {} more", verdict.changed.len() - LINES_MAX));
    }
    Ok(())
}

fn attempts(account: &Account) -> String {
    let extra = account.attempts.saturating_sub(account.submitted);
    if extra == 0 {
        return account.attempts.to_string();
    }
    let (over, resumed) = (account.taken_over.len(), account.resumed);
    let retries = match extra.saturating_sub(over + resumed) {
        0 => String::new(),
        retries => format!(", {retries} repeated"),
    };
    format!(
        "{}: one each, {over} for those taken over, {resumed} after a wait{retries}",
        account.attempts
    )
}

fn taken_over(outcome: &Outcome) -> String {
    let Some(killed) = &outcome.killed else {
        return "0 (nobody was killed: the folder is too small, nothing was in anybody's hands)"
            .to_owned();
    };
    let all = &outcome.account.taken_over;
    let range = |times: Vec<Duration>| match (times.iter().min(), times.iter().max()) {
        (Some(min), Some(max)) => format!("{} to {} ms", min.as_millis(), max.as_millis()),
        _ => "-".to_owned(),
    };
    if all.is_empty() {
        return format!("0 ({} had ended everything when the signal came)", killed.node);
    }
    format!(
        "{} of {}, {} after the kill, ended {} after it",
        all.len(),
        killed.node,
        range(all.iter().map(|one| one.begun).collect()),
        range(all.iter().map(|one| one.ended).collect())
    )
}

/// What to try after it went well.
pub(crate) fn next(printer: &mut Printer) -> Result<(), PrintError> {
    let weft = this_program();
    printer.line("")?;
    printer.headed(
        Color::Green,
        "all is well",
        ": the same results as a plain walk of the folder, nothing lost, nothing committed twice",
    )?;
    printer.line("\nTry next:\n")?;
    printer.line(&format!("  {weft} demo ~/some/other/folder"))?;
    printer.line(&format!("  {weft} dev                             a mesh to work with"))?;
    printer.line(&format!(
        "  {weft} task send echo hello --wait     a task for it, from another terminal"
    ))
}

/// How the reader can start this program from anywhere: by its name where `PATH` leads to it, else by its path.
fn this_program() -> String {
    let Ok(program) = std::env::current_exe() else { return "weft".to_owned() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    command_for(&program, &path)
}

fn command_for(program: &Path, path: &std::ffi::OsStr) -> String {
    let name = program.file_name().unwrap_or_default();
    // The first one is what a shell would start.
    let first = std::env::split_paths(path).map(|dir| dir.join(name)).find(|file| file.is_file());
    let same = |file: &Path| Some((file.canonicalize().ok()?, program.canonicalize().ok()?));
    match first.as_deref().and_then(same) {
        Some((found, ours)) if found == ours => escape(Path::new(name)),
        _ => escape(program),
    }
}

/// Files were left for the reader to look at.
pub(crate) fn kept(printer: &Printer, dir: &Path) {
    printer.note(&format!("the logs of all processes are in {}", dir.display()));
}

/// The report as a file.
pub(crate) fn document(root: &Path, outcome: &Outcome, verdict: &Verdict) -> Value {
    json!({
        "folder": escape(root),
        "report": outcome.survey.report,
        "skipped": outcome.survey.skipped,
        "run": {
            "tasks": outcome.account,
            "killed": outcome.killed,
            "tookMs": u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX),
        },
        "check": { "differences": verdict.differences, "changedMeanwhile": verdict.changed },
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn the_command_to_try_is_one_that_exists() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, other) = (dir.path().join("ours"), dir.path().join("other"));
        for place in [&ours, &other] {
            std::fs::create_dir(place).unwrap();
            std::fs::write(place.join("weft"), "").unwrap();
        }
        let program = ours.join("weft");
        let path = |dirs: &[&Path]| std::env::join_paths(dirs).unwrap();
        for (path, expected) in [
            (path(&[dir.path(), &ours]), "weft".to_owned()),
            (path(&[&other, &ours]), program.display().to_string()),
            (OsStr::new("").to_owned(), program.display().to_string()),
        ] {
            assert_eq!(command_for(&program, &path), expected, "{path:?}");
        }
    }
}
