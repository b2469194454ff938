//! Holds what the compiler and clippy cannot: where things may stand, how long files are, that documents tell the
//! truth about paths and commands.
//!
//! A rule names every violation at once. A rule that gets in the way is changed here, with a reason, and not evaded.

#![expect(clippy::unwrap_used, reason = "a tree that cannot be read fails the test that reads it")]

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

const LINES_MAX: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A text file of the project: what git tracks, or would track.
struct File {
    path: String,
    text: String,
}

impl File {
    fn is_under(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// Its lines with their numbers, comments left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_code = |(_, line): &(usize, &str)| !line.trim_start().starts_with("//");
        (1..).zip(self.text.lines()).filter(is_code)
    }

    fn lines_with<'a>(&'a self, words: &'a [&str]) -> impl Iterator<Item = String> + 'a {
        self.code().filter_map(|(number, line)| {
            let word = words.iter().find(|word| line.contains(**word))?;
            Some(format!("{}:{number} has {word}", self.path))
        })
    }
}

fn files(ending: &str) -> Vec<File> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success(), "this is not a git checkout");
    let paths: BTreeSet<&str> = std::str::from_utf8(&listed.stdout).unwrap().split('\0').collect();
    let read = |path: &str| {
        let text = std::fs::read_to_string(root().join(path)).ok()?;
        Some(File { path: path.to_owned(), text })
    };
    let found: Vec<File> =
        paths.into_iter().filter(|path| path.ends_with(ending)).filter_map(read).collect();
    assert!(!found.is_empty(), "no file ends with {ending:?}");
    found
}

fn none(rule: &str, violations: impl IntoIterator<Item = String>) {
    let violations: Vec<String> = violations.into_iter().collect();
    assert!(violations.is_empty(), "{rule}:\n  {}", violations.join("\n  "));
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let long = files(".rs").into_iter().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > LINES_MAX).then(|| format!("{} has {lines} lines", file.path))
    });
    none("a file has at most 500 lines, tests included", long);
    let headless = files(".rs").into_iter().filter(|file| !file.text.starts_with("//! "));
    none("a file begins with //! and says why it is there", headless.map(|file| file.path));
}

#[test]
fn no_file_is_named_after_nothing() {
    const EMPTY: &[&str] =
        &["common", "helper", "helpers", "misc", "shared", "types", "util", "utils"];
    let empty = files(".rs").into_iter().filter(|file| {
        let path = Path::new(&file.path).with_extension("");
        path.iter().any(|part| EMPTY.iter().any(|name| part == *name))
    });
    none("a file is named after what lives in it", empty.map(|file| file.path));
}

#[test]
fn the_core_decides_and_does_nothing() {
    const PURE: &[&str] = &[
        "protocol/src/",
        "agent-node/src/engine",
        "coordinator/src/engine",
        "coordinator/src/policy",
    ];
    const WORLD: &[&str] = &[
        "tokio",
        "async_nats",
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "SystemTime",
        "Instant",
        "rand::random",
        "async fn",
        ".await",
    ];
    let files: Vec<_> = files(".rs").into_iter().filter(|file| file.is_under(PURE)).collect();
    none(
        "protocol and the engines have no I/O, no clock and no chance of their own",
        files.iter().flat_map(|file| file.lines_with(WORLD)),
    );
}

#[test]
fn only_the_bus_knows_the_client_library() {
    const HOME: &[&str] = &["runtime/src/bus/", "runtime/tests/", "bench/src/floor", "tests/"];
    let outside: Vec<_> = files(".rs").into_iter().filter(|file| !file.is_under(HOME)).collect();
    none(
        "async_nats is named under runtime/src/bus/ only",
        outside.iter().flat_map(|file| file.lines_with(&["async_nats"])),
    );
}

#[test]
fn only_the_supervisor_spawns() {
    const SPAWNS: &[&str] = &[
        "tokio::spawn",
        "task::spawn(",
        "thread::spawn",
        "thread::Builder",
        "JoinSet",
        ".spawn_local",
    ];
    let outside = |file: &File| {
        !file.path.starts_with("runtime/src/supervisor/") && !file.path.contains("tests/")
    };
    let files: Vec<_> = files(".rs").into_iter().filter(outside).collect();
    none(
        "what runs beside something else runs under runtime::supervisor",
        files.iter().flat_map(|file| file.lines_with(SPAWNS)),
    );
}

#[test]
fn every_crate_has_the_lints_of_the_workspace() {
    let crates = files("Cargo.toml").into_iter().filter(|file| file.path.contains('/'));
    let without = crates.filter(|file| {
        file.path != "fuzz/Cargo.toml" && !file.text.contains("[lints]\nworkspace = true")
    });
    none("[lints] workspace = true", without.map(|file| file.path));
}

/// The targets of a document's links, code left out.
fn links(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose
        .flat_map(|prose| prose.split("](").skip(1))
        .filter_map(|rest| rest.split(')').next())
        .collect()
}

fn is_outside(target: &str) -> bool {
    ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme))
}

/// A heading as a link names it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().chars();
    let kept = kept.filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut dead = Vec::new();
    for file in files(".md") {
        for target in links(&file.text).into_iter().filter(|target| !is_outside(target)) {
            let (path, section) = target.split_once('#').unwrap_or((target, ""));
            let here = Path::new(&file.path).parent().unwrap();
            let there = if path.is_empty() { PathBuf::from(&file.path) } else { here.join(path) };
            let exists = root().join(&there).exists();
            let text = std::fs::read_to_string(root().join(&there)).unwrap_or_default();
            let named = section.is_empty()
                || text.lines().any(|line| line.starts_with('#') && anchor(line) == section);
            if !exists || !named {
                dead.push(format!("{} -> {target}", file.path));
            }
        }
    }
    none("a link leads to a file or section that is there", dead);
}

#[test]
fn paths_in_the_code_map_exist() {
    let map = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let quoted = map.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|word| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        word.contains('/') && word.chars().all(plain) && word.starts_with(char::is_alphabetic)
    });
    let missing = paths.filter(|path| !root().join(path).exists());
    none("ARCHITECTURE.md names what is there", missing.map(str::to_owned));
}

#[test]
fn the_readme_lists_the_commands_there_are() {
    let list = std::fs::read_to_string(root().join("cli/src/commands/mod.rs")).unwrap();
    let list = list.split("\nlist! {").nth(1).and_then(|rest| rest.split('}').next()).unwrap();
    let exist: BTreeSet<&str> = list
        .lines()
        .filter_map(|line| line.trim().split_once("::").map(|(name, _)| name))
        .collect();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `weft "));
    let listed: BTreeSet<&str> = rows.filter_map(|row| row.split(['`', ' ']).next()).collect();
    assert_eq!(
        listed, exist,
        "the table in README.md and the list in cli/src/commands/mod.rs differ"
    );
}

#[test]
fn nothing_names_a_machine_or_a_registry() {
    // Spelled in pieces, since this file is a text file too.
    let hosts = [
        ["py", "pi.org"],
        ["python", "hosted.org"],
        ["registry.npm", "js.org"],
        ["static.cra", "tes.io"],
        ["index.cra", "tes.io"],
        ["deb.deb", "ian.org"],
        ["proxy.gol", "ang.org"],
    ];
    let places = [["/ro", "ot/"], ["/wo", "rk/"], ["/ho", "me/"], ["/Us", "ers/"], [".py", "env/"]];
    let words: Vec<String> = hosts.iter().chain(&places).map(|pieces| pieces.concat()).collect();
    let mut found = Vec::new();
    for file in files("") {
        for (number, line) in (1..).zip(file.text.lines()) {
            // `/home/u` is nobody's.
            let line = line.replace(&["/ho", "me/u"].concat(), "");
            let word = words.iter().find(|word| line.contains(word.as_str()));
            found.extend(word.map(|word| format!("{}:{number} has {word}", file.path)));
        }
    }
    none("files say nothing about the machine they were written on", found);
}

/// Whether an SPDX expression can be met with the allowed licences.
fn is_met(expression: &str, allowed: &[&str]) -> bool {
    let expression = expression.trim();
    for (operator, any) in [(" OR ", true), (" AND ", false)] {
        let parts = outside_of_brackets(expression, operator);
        if parts.len() > 1 {
            let mut met = parts.into_iter().map(|part| is_met(part, allowed));
            return if any { met.any(|met| met) } else { met.all(|met| met) };
        }
    }
    match expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => is_met(inner, allowed),
        None => allowed.contains(&expression),
    }
}

fn outside_of_brackets<'a>(text: &'a str, operator: &str) -> Vec<&'a str> {
    let (mut parts, mut from) = (Vec::new(), 0);
    for (at, _) in text.match_indices(operator) {
        let before = text.split_at(at).0;
        if before.matches('(').count() == before.matches(')').count() {
            parts.push(text.get(from..at).unwrap());
            from = at + operator.len();
        }
    }
    parts.push(text.get(from..).unwrap());
    parts
}

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let allowed = ["MIT", "ISC"];
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(GPL-3.0 OR MIT) AND ISC", true),
        ("(GPL-3.0 AND MIT) OR (BSD-3-Clause AND ISC)", false),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
    let deny = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let list = deny.split("\nallow = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
    let allowed: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    let read = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&read.stdout).unwrap();
    let packages = metadata.get("packages").and_then(serde_json::Value::as_array).unwrap();
    assert!(packages.len() > 100);
    let refused = packages.iter().filter_map(|package| {
        let text = |key| package.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        let licence = text("license").replace('/', " OR ");
        (!is_met(&licence, &allowed)).then(|| format!("{}: {licence:?}", text("name")))
    });
    none("deny.toml allows every licence in use", refused);
}

#[test]
fn the_tree_is_where_the_rules_look() {
    let outside = files(".rs").into_iter().filter(|file| {
        let first = Path::new(&file.path).components().next();
        !matches!(first, Some(Component::Normal(first)) if root().join(first).join("Cargo.toml").is_file())
    });
    none("code lives in a crate", outside.map(|file| file.path));
    for place in [
        "protocol/src/lib.rs",
        "agent-node/src/engine.rs",
        "coordinator/src/engine/mod.rs",
        "runtime/src/bus/mod.rs",
    ] {
        assert!(root().join(place).is_file(), "{place} has moved: the rules above miss it");
    }
    let script = std::fs::metadata(root().join(".ci/run")).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::mode(&script.permissions()) & 0o111 != 0;
    assert!(executable, ".ci/run cannot be run");
}
