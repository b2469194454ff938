//! What needs no server: help, schemas, completions, and output that nobody reads.

use std::process::Stdio;

use crate::support::{Said, weft};

fn run(arguments: &[&str]) -> Said {
    let home = tempfile::tempdir().unwrap();
    Said::from(weft(home.path()).args(arguments).output().unwrap())
}

#[test]
fn a_closed_pipe_ends_every_command_quietly() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [
        &["--help"][..],
        &["help"],
        &["help", "commands"],
        &["help", "environment"],
        &["help", "exit-codes"],
        &["completion", "bash"],
        &["schema", "list"],
        &["schema", "list", "-o", "jsonl"],
        &["schema", "show", "entry"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = weft(home.path());
        command.args(arguments).stdout(writer).stderr(Stdio::piped());
        let said = Said::from(command.output().unwrap());
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn help_knows_commands_and_topics() {
    for (arguments, told) in [
        (&["help", "task", "send"][..], "--dedup-key"),
        (&["help", "exit-codes"], "  7  another input was submitted before"),
        (&["help", "environment"], "NATS_URL"),
        (&["help", "environment"], "NO_COLOR"),
        (&["help", "commands"], "| `weft task send SKILL"),
        (&["completion", "zsh"], "#compdef weft"),
    ] {
        let said = run(arguments);
        assert!(said.code == 0 && said.out.contains(told), "{arguments:?}: {said:?}");
    }
    let said = run(&["help", "nothing"]);
    assert!(said.code == 4 && said.err.contains("to do: "), "{said:?}");
}

#[test]
fn schemas_are_listed_shown_and_applied() {
    let names = run(&["schema", "list", "-o", "json"]).json();
    for schema in names.as_array().unwrap() {
        let name = schema["name"].as_str().unwrap();
        let shown = run(&["schema", "show", name]).json();
        assert_eq!(shown["$id"], format!("urn:weft:schema:{name}:v1"));
    }
    let dir = tempfile::tempdir().unwrap();
    for (text, code, told) in [
        (
            r#"{"messageId": "m", "parts": [{"text": "a"}], "role": "ROLE_USER"}"#,
            0,
            "fits schema message",
        ),
        (r#"{"messageId": 1, "parts": [{}]}"#, 1, "$.messageId"),
        ("{", 1, "no JSON that can be judged"),
    ] {
        let file = dir.path().join("message.json");
        std::fs::write(&file, text).unwrap();
        let said = run(&["schema", "validate", "message", file.to_str().unwrap()]);
        assert_eq!(said.code, code, "{text}: {said:?}");
        assert!(format!("{}{}", said.out, said.err).contains(told), "{text}: {said:?}");
    }
    assert_eq!(run(&["schema", "show", "massage"]).code, 4);
}

#[test]
fn settings_that_cannot_be_used_are_told_all_together() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weft.toml");
    std::fs::write(&file, "[bus]\nreplicas = 2\n[node]\ngroup_commit = \"x\"\n").unwrap();
    for command in ["node", "coordinator", "dev"] {
        let said = run(&[command, "--config", file.to_str().unwrap()]);
        assert_eq!(said.code, 2, "{command}: {said:?}");
        assert!(said.err.contains("bus.replicas") && said.err.contains("node.group_commit"));
    }
    let said = run(&["node"]);
    assert!(said.code == 2 && said.err.contains("[[agents]]"), "{said:?}");
    let said = run(&["coordinator", "--server", "nats://127.0.0.1:1"]);
    assert_eq!(said.code, 3, "{said:?}");
}
