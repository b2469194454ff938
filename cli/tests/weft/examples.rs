//! The examples that run with one command: each starts a mesh, does what it says, and leaves nothing behind.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::Said;

#[test]
fn every_example_does_what_it_says() {
    for (name, said) in [
        ("approval", &["\"paid\":90", "/transfer 90 ACME"][..]),
        ("crew", &["dragons: an old map", "spent ", "/4000 tokens", "archive"]),
        ("conversation", &["You have packed a tent, a stove, two spoons.", "\"turns\":10"]),
    ] {
        let home = TempDir::new().unwrap();
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name).join("run.sh");
        let mut command = Command::new(script);
        for (variable, _) in std::env::vars_os() {
            let foreign = variable.to_str().is_some_and(|variable| {
                variable.starts_with("NATS_")
                    || variable.starts_with("WEFT_") && variable != "WEFT_NATS_SERVER"
            });
            if foreign {
                command.env_remove(variable);
            }
        }
        command.env("WEFT", env!("CARGO_BIN_EXE_weft")).env("TMPDIR", home.path());
        let done = Said::from(command.stdin(Stdio::null()).output().unwrap());
        assert_eq!(done.code, 0, "{name}: {done:?}");
        let plain: String = done.out.split_whitespace().collect();
        for text in said {
            let text: String = text.split_whitespace().collect();
            assert!(plain.contains(&text), "{name}: no {text:?} in {}\n{}", done.out, done.err);
        }
        let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().collect();
        assert!(left.is_empty(), "{name} leaves {left:?} behind");
    }
}
