//! The program `agent-node`: its flags and how it ends.

use std::process::{Command, Stdio};

#[test]
fn it_says_what_is_wrong_and_exits_accordingly() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weft.toml");
    std::fs::write(&file, "[[agents]]\nskill = \"echo\"\nkind = \"echo\"\n").unwrap();
    let file = file.to_str().unwrap();
    let nowhere = ["--server", "nats://127.0.0.1:1"];
    for (arguments, code, told) in [
        (&["--help"][..], 0, ""),
        (&["--no-such-flag"], 2, "--no-such-flag"),
        (&["--config", "nowhere.toml"], 2, "nowhere.toml"),
        (&[], 2, "[[agents]]"),
        (&["--config", file, nowhere[0], nowhere[1]], 3, "nats://127.0.0.1:1"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-node"));
        command.args(arguments).env("XDG_CONFIG_HOME", dir.path()).stdin(Stdio::null());
        for name in ["NATS_URL", "NATS_CONTEXT", "WEFT_CONFIG"] {
            command.env_remove(name);
        }
        let output = command.output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
        assert!(err.contains(told), "{arguments:?}: {err}");
    }
}
