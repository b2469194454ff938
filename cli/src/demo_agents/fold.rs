//! Folds what was found in files into a report.
//!
//! Order does not matter: the report of the same facts is the same report.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What there is to say about one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileFacts {
    /// The file in its folder, escaped.
    pub(crate) path: String,
    /// Its language, by its name.
    pub(crate) language: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// Its lines.
    pub(crate) lines: u64,
    /// Its words.
    pub(crate) words: u64,
    /// How often it says TODO.
    pub(crate) todos: u64,
    /// The hash of its content, in hex.
    pub(crate) sha256: String,
    /// Which implementation found this out.
    pub(crate) by: String,
}

/// A file that could not be inspected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Trouble {
    /// The file in its folder, escaped.
    pub(crate) path: String,
    /// Why.
    pub(crate) error: String,
}

/// A line of the table: a language, or all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    /// The language; empty in the row of all.
    pub(crate) language: String,
    /// Files.
    pub(crate) files: u64,
    /// Their size.
    pub(crate) bytes: u64,
    /// Their lines.
    pub(crate) lines: u64,
    /// Their words.
    pub(crate) words: u64,
    /// How often they say TODO.
    pub(crate) todos: u64,
}

/// What is in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// All files together.
    pub(crate) total: Row,
    /// By language, most lines first.
    pub(crate) languages: Vec<Row>,
    /// Files of the same content, a list for each content that is there twice or more.
    pub(crate) duplicates: Vec<Vec<String>>,
    /// Files that could not be inspected.
    pub(crate) trouble: Vec<Trouble>,
    /// Every file, by path.
    pub(crate) files: Vec<FileFacts>,
}

impl Row {
    fn add(&mut self, file: &FileFacts) {
        self.files += 1;
        self.bytes += file.bytes;
        self.lines += file.lines;
        self.words += file.words;
        self.todos += file.todos;
    }
}

/// The report of these files.
pub(crate) fn fold(mut files: Vec<FileFacts>, mut trouble: Vec<Trouble>) -> Report {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    trouble.sort_by(|a, b| a.path.cmp(&b.path));
    let mut total = Row::default();
    let mut languages: BTreeMap<&str, Row> = BTreeMap::new();
    let mut contents: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for file in &files {
        total.add(file);
        languages.entry(&file.language).or_default().add(file);
        contents.entry(&file.sha256).or_default().push(file.path.clone());
    }
    let mut languages: Vec<Row> = languages
        .into_iter()
        .map(|(language, row)| Row { language: language.to_owned(), ..row })
        .collect();
    languages.sort_by_key(|row| std::cmp::Reverse(row.lines));
    let mut duplicates: Vec<_> = contents.into_values().filter(|paths| paths.len() > 1).collect();
    duplicates.sort();
    Report { total, languages, duplicates, trouble, files }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::inspect::facts;
    use super::*;

    #[test]
    fn files_are_added_up_in_any_order() {
        let files = vec![
            facts(Path::new("b.rs"), b"one TODO\n"),
            facts(Path::new("a.rs"), b"x\ny\n"),
            facts(Path::new("c.md"), b"one TODO\n"),
            facts(Path::new("d.md"), b"x\ny\n"),
            facts(Path::new("e.md"), b"alone"),
        ];
        let report = fold(files.clone(), Vec::new());
        assert_eq!((report.total.files, report.total.lines, report.total.todos), (5, 7, 2));
        let languages: Vec<_> =
            report.languages.iter().map(|row| (row.language.as_str(), row.lines)).collect();
        assert_eq!(languages, [("Markdown", 4), ("Rust", 3)]);
        assert_eq!(report.duplicates, [vec!["a.rs", "d.md"], vec!["b.rs", "c.md"]]);
        assert_eq!(report, fold(files.into_iter().rev().collect(), Vec::new()));
    }
}
