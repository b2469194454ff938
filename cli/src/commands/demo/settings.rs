//! The settings files of the demo's fleet.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

/// Inspections at once on one node.
pub(super) const SLOTS: usize = 4;
/// The nodes, in order. Only the last one serves `inspect` by Python.
pub(super) const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];
/// The node that serves `inspect` by Python.
pub(super) const PYTHON_NODE: &str = "node-c";
/// The coordinator.
pub(super) const COORDINATOR: &str = "coordinator-a";

/// Python's side of `inspect`, as an application developer would write it.
const SCRIPT: &str = include_str!("../../../../examples/agents/inspect_file.py");
/// What it imports.
const SDK: &str = include_str!("../../../../sdk/python/weft_agent.py");
/// What the script needs.
const PYTHON_CHECK: &str = "import sys; sys.exit(sys.version_info < (3, 8))";

/// Without the coordinator's help a killed node's work comes back after this.
const BUS: &str = "[bus]\nlease = \"5s\"\n[node]\ndrain_grace = \"2s\"\n";

const WORKFLOW: &str = "
[[agents]]
skill = \"survey\"
kind = \"survey\"
concurrency = 1

[[agents]]
skill = \"report\"
kind = \"report\"
concurrency = 1
";

/// Whether there is a Python to run the script with.
pub(super) async fn python_is_there() -> bool {
    let mut command = Command::new("python3");
    command.args(["-c", PYTHON_CHECK]).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

/// Writes the settings of a process and what they refer to; returns the path.
pub(super) fn write(dir: &Path, name: &str, python: bool) -> io::Result<PathBuf> {
    let path = dir.join(format!("{name}.toml"));
    let python = python && name == PYTHON_NODE;
    if python {
        std::fs::write(dir.join("inspect_file.py"), SCRIPT)?;
        std::fs::write(dir.join("weft_agent.py"), SDK)?;
    }
    std::fs::write(&path, text(name, python))?;
    Ok(path)
}

fn text(name: &str, python: bool) -> String {
    if name == COORDINATOR {
        return BUS.to_owned();
    }
    let kind = if python { "process" } else { "inspect" };
    let mut text = format!(
        "{BUS}{WORKFLOW}\n[[agents]]\nskill = \"inspect\"\nkind = \"{kind}\"\nconcurrency = {SLOTS}\n"
    );
    if python {
        text.push_str("[agents.options]\ncommand = [\"python3\", \"inspect_file.py\"]\n");
        text.push_str("env = { PYTHONDONTWRITEBYTECODE = \"1\" }\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use runtime::config::Settings;

    use super::*;

    #[test]
    fn every_node_serves_every_skill_and_one_of_them_by_python() {
        for (python, kinds) in
            [(true, ["inspect", "inspect", "process"]), (false, ["inspect", "inspect", "inspect"])]
        {
            let dir = tempfile::tempdir().unwrap();
            for (name, expected) in NODES.iter().zip(kinds) {
                let path = write(dir.path(), name, python).unwrap();
                let settings = Settings::load(&path).unwrap();
                let found: Vec<_> = settings
                    .agents
                    .iter()
                    .map(|agent| (agent.skill.as_str(), agent.kind.as_str()))
                    .collect();
                let expected = [("survey", "survey"), ("report", "report"), ("inspect", expected)];
                assert_eq!(found, expected, "{name}");
            }
            assert_eq!(dir.path().join("inspect_file.py").exists(), python);
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(Settings::load(&write(dir.path(), COORDINATOR, true).unwrap()).is_ok());
    }
}
