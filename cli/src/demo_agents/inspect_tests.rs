//! Both implementations of `inspect` give the answers of one table.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::language::{BY_EXTENSION, BY_NAME, OTHER};
use super::*;

const CONTENTS: &[(&[u8], u64, u64, u64)] = &[
    (b"", 0, 0, 0),
    (b"\n", 1, 0, 0),
    (b"one two\nthree", 2, 3, 0),
    (b"crlf here\r\nand\r\n", 2, 3, 0),
    (b"lone\rcr", 1, 2, 0),
    (b"a\x0bb\x0cc\td", 1, 4, 0),
    // Blanks of Unicode are bytes like any other: one word.
    ("x\u{a0}y\u{2003}z\u{85}".as_bytes(), 1, 1, 0),
    (b"\xff\xfe bad \xc3( utf8\n", 1, 4, 0),
    (b"nul\0in word", 1, 2, 0),
    (b"\x1c \x1f", 1, 2, 0),
    (b"TODO TODO:todo (TODO) TODOS _TODO 1TODO TODO_ TODO", 1, 8, 4),
    ("\u{fc}TODO TODO\u{fc}\nTODO".as_bytes(), 2, 3, 3),
    (b"TODOTODO\n\n\nTODO.TODO\n", 4, 2, 2),
];

#[test]
fn the_rules_hold() {
    for (content, lines, words, todos) in CONTENTS {
        let found = facts(Path::new("a.rs"), content);
        assert_eq!(
            (found.lines, found.words, found.todos),
            (*lines, *words, *todos),
            "{}",
            String::from_utf8_lossy(content)
        );
        assert_eq!(found.bytes, content.len() as u64);
    }
    let hash = facts(Path::new("a"), b"abc").sha256;
    assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn a_language_is_told_by_the_name() {
    for (name, expected) in [
        ("a.rs", "Rust"),
        ("A.RS", "Rust"),
        ("x.tar.py", "Python"),
        ("Makefile", "Makefile"),
        ("makefile", OTHER),
        (".rs", OTHER),
        ("rs", OTHER),
        ("a.", OTHER),
        ("a.unknown", OTHER),
    ] {
        assert_eq!(facts(Path::new(name), b"").language, expected, "{name}");
    }
}

#[test]
fn python_agrees() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    let dir = tempfile::tempdir().unwrap();
    let mut files: Vec<(PathBuf, &[u8])> = Vec::new();
    for (at, (content, ..)) in CONTENTS.iter().enumerate() {
        files.push((dir.path().join(format!("{at}.txt")), content));
    }
    let names = BY_EXTENSION.iter().map(|(extension, _)| format!("f.{extension}"));
    for name in names.chain(BY_NAME.iter().map(|(name, _)| (*name).to_owned())) {
        files.push((dir.path().join(name), b"x"));
    }
    for name in [&b"A.Rs"[..], b".rs", b"rs", b"a.", b"a b.py", b"bad\xff.md", b"f.\xff"] {
        files.push((dir.path().join(OsString::from_vec(name.to_vec())), b"x"));
    }
    for (path, content) in &files {
        std::fs::write(path, content).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/agents/inspect_file.py");
    let paths = files.iter().map(|(path, _)| path);
    let done = Command::new("python3").arg(script).args(paths).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(text.lines().count(), files.len());
    for ((path, content), line) in files.iter().zip(text.lines()) {
        let python: Value = serde_json::from_str(line).unwrap();
        let rust = serde_json::to_value(facts(path, content)).unwrap();
        for key in ["language", "bytes", "lines", "words", "todos", "sha256"] {
            assert_eq!(python[key], rust[key], "{key} of {}", path.display());
        }
    }
}
