//! Compares what the mesh found with a plain walk of the same folder, one file after the other.
//!
//! The folder is walked before and after the run. A file that is not the same both times was changed by
//! somebody meanwhile; nothing can be said about it, and that is said. Every other file must agree, and so must
//! every sum.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::demo_agents::walk::{Bounds, WalkError, walk};
use crate::demo_agents::{FileFacts, Report, SurveyOutput, Trouble, escape, fold, inspect};

/// What the comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Verdict {
    /// Where the mesh is wrong.
    pub(crate) differences: Vec<String>,
    /// Files that somebody changed meanwhile.
    pub(crate) changed: Vec<String>,
}

/// What a plain walk finds.
pub(super) fn sequential(root: PathBuf, bounds: &Bounds) -> Result<SurveyOutput, WalkError> {
    let listing = walk(&root, bounds)?;
    let (mut files, mut trouble) = (Vec::new(), Vec::new());
    for path in listing.files {
        match std::fs::read(root.join(&path)) {
            Ok(content) => files.push(inspect::facts(&path, &content)),
            Err(error) => trouble.push(unread(&path, &error)),
        }
    }
    Ok(SurveyOutput { report: fold::fold(files, trouble), skipped: listing.skipped })
}

fn unread(path: &Path, error: &std::io::Error) -> Trouble {
    Trouble { path: escape(path), error: error.to_string() }
}

/// Compares.
pub(crate) fn compare(mesh: &SurveyOutput, before: &SurveyOutput, after: &SurveyOutput) -> Verdict {
    let mut verdict = Verdict::default();
    let (found, first, second) =
        (by_path(&mesh.report), by_path(&before.report), by_path(&after.report));
    if found.len() != mesh.report.files.len() {
        verdict.differences.push("a file was reported twice".to_owned());
    }
    let trouble: BTreeMap<&str, &str> =
        mesh.report.trouble.iter().map(|one| (one.path.as_str(), one.error.as_str())).collect();
    let paths: BTreeSet<&str> = found
        .keys()
        .chain(first.keys())
        .chain(second.keys())
        .chain(trouble.keys())
        .copied()
        .collect();
    for path in paths {
        let (truth, later) = (first.get(path), second.get(path));
        if truth != later {
            verdict.changed.push(path.to_owned());
        } else if let Some(difference) = differ(found.get(path), truth) {
            let why = trouble.get(path).map(|why| format!(" ({why})")).unwrap_or_default();
            verdict.differences.push(format!("{path}: {difference}{why}"));
        }
    }
    let sums = fold::fold(mesh.report.files.clone(), mesh.report.trouble.clone());
    if (&sums.total, &sums.languages, &sums.duplicates)
        != (&mesh.report.total, &mesh.report.languages, &mesh.report.duplicates)
    {
        verdict.differences.push("the report's sums are not those of its files".to_owned());
    }
    if before.skipped == after.skipped && mesh.skipped != before.skipped {
        verdict.differences.push(format!(
            "left out: the mesh says {:?}, the walk {:?}",
            mesh.skipped, before.skipped
        ));
    }
    verdict
}

/// Facts by path, without who found them.
fn by_path(report: &Report) -> BTreeMap<&str, FileFacts> {
    report
        .files
        .iter()
        .map(|facts| (facts.path.as_str(), FileFacts { by: String::new(), ..facts.clone() }))
        .collect()
}

fn differ(mesh: Option<&FileFacts>, truth: Option<&FileFacts>) -> Option<String> {
    let (mesh, truth) = match (mesh, truth) {
        (None, None) => return None,
        (None, Some(_)) => return Some("the mesh has nothing about it".to_owned()),
        (Some(_), None) => return Some("the walk does not know it".to_owned()),
        (Some(mesh), Some(truth)) => (mesh, truth),
    };
    let numbers = [
        ("bytes", mesh.bytes, truth.bytes),
        ("lines", mesh.lines, truth.lines),
        ("words", mesh.words, truth.words),
        ("TODOs", mesh.todos, truth.todos),
    ];
    let numbers = numbers.into_iter().map(|(what, a, b)| (what, a.to_string(), b.to_string()));
    let texts = [
        ("language", mesh.language.clone(), truth.language.clone()),
        ("SHA-256", mesh.sha256.clone(), truth.sha256.clone()),
    ];
    let wrong: Vec<String> = numbers
        .chain(texts)
        .filter(|(_, a, b)| a != b)
        .map(|(what, a, b)| format!("{what}: the mesh says {a}, the walk {b}"))
        .collect();
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
