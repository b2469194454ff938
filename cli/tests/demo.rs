//! `weft demo` on real folders: the program itself, a real nats-server, real processes, a real SIGKILL.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what surprises a test's helper fails the test"
)]

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// A run of the demo with directories of its own.
struct Demo {
    command: Command,
    scratch: TempDir,
}

impl Demo {
    fn on(dir: &Path) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let temporary = scratch.path().join("tmp");
        std::fs::create_dir(&temporary).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.arg("demo").arg(dir).arg("--out").arg(scratch.path().join("report.json"));
        command.env("TMPDIR", temporary).env_remove("WEFT_CONFIG").env_remove("NATS_URL");
        Self { command, scratch }
    }

    fn report(&self) -> Value {
        let text = std::fs::read(self.scratch.path().join("report.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn run(&mut self) -> Output {
        self.command.output().unwrap()
    }

    /// Runs to a good end; returns what was said and the report.
    fn succeed(&mut self) -> (String, Value) {
        let output = self.run();
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("all is well"), "{said}");
        self.assert_nothing_is_left(&said);
        let report = self.report();
        assert_eq!(report["run"]["tasks"]["lost"], serde_json::json!([]));
        assert_eq!(report["run"]["tasks"]["doubled"], serde_json::json!([]));
        assert_eq!(report["run"]["tasks"]["submitted"], report["run"]["tasks"]["completed"]);
        (said, report)
    }

    /// No process and no file of the fleet.
    fn assert_nothing_is_left(&self, said: &str) {
        for pid in pids(said) {
            wait_until(&format!("process {pid} is gone"), || test_kill_process(pid).is_err());
        }
        let left = || std::fs::read_dir(self.scratch.path().join("tmp")).unwrap().count();
        wait_until("the temporary files are gone", || left() == 0);
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The processes that the demo says it runs.
fn pids(said: &str) -> Vec<Pid> {
    let line = said.lines().find(|line| line.starts_with("running: ")).unwrap_or_default();
    let numbers = line.split("(pid ").skip(1).filter_map(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Pid::from_raw(digits.parse().ok()?)
    });
    numbers.collect()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

type Lines = std::io::Lines<BufReader<ChildStdout>>;

/// Starts the demo and reads its lines until one contains `text`; returns what was read, and the rest to be
/// kept open.
fn until_it_says(demo: &mut Demo, text: &str) -> (Child, Lines, String) {
    let mut child = demo.command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut read = String::new();
    while !read.contains(text) {
        let line = lines.next().transpose().unwrap();
        read.push_str(&line.unwrap_or_else(|| panic!("it never said {text:?}:\n{read}")));
        read.push('\n');
    }
    (child, lines, read)
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

#[test]
fn on_a_folder_of_this_repository() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol");
    let (said, report) = Demo::on(&folder).succeed();
    let files = report["report"]["files"].as_array().unwrap();
    assert!(files.len() >= 20, "{said}");
    assert_eq!(report["run"]["tasks"]["submitted"], files.len() + 2);
    for by in ["rust", "python"] {
        assert!(files.iter().any(|file| file["by"] == by), "{by} inspected nothing: {said}");
    }
    assert_eq!(report["check"]["differences"], serde_json::json!([]));
    let taken_over = report["run"]["tasks"]["takenOver"].as_array().unwrap();
    assert!(!taken_over.is_empty(), "{said}");
    let victim = &report["run"]["killed"]["node"];
    assert!(taken_over.iter().all(|one| one["by"] != *victim), "{said}");
    assert!(said.contains("results committed twice  0"), "{said}");
}

#[test]
fn on_an_empty_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (said, report) = Demo::on(folder.path()).succeed();
    assert_eq!(report["report"]["total"]["files"], 0);
    assert_eq!(report["run"]["tasks"]["submitted"], 2);
    assert!(report["run"]["killed"].is_null());
    assert!(said.contains("nobody was killed"), "{said}");
    assert!(said.contains("to see a takeover, give a folder"), "{said}");
}

#[test]
fn on_a_folder_with_one_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("one.rs"), "fn main() {}\n").unwrap();
    let (said, report) = Demo::on(folder.path()).succeed();
    assert_eq!(report["report"]["total"]["lines"], 1);
    assert_eq!(report["run"]["tasks"]["takenOver"].as_array().unwrap().len(), 1, "{said}");
}

#[test]
fn on_a_folder_with_odd_names_and_contents() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join(OsStr::from_bytes(b"odd\\ \xff folder"));
    let at = |name: &[u8]| folder.join(OsStr::from_bytes(name));
    std::fs::create_dir_all(at(b"a dir")).unwrap();
    let files: &[(&[u8], &[u8])] = &[
        (b"a dir/with space.md", b"crlf\r\nno end"),
        (b"not\xffutf8.py", b"TODO\n"),
        (b"line\nend.rs", b""),
        (b"back\\slash.txt", b"\xff\xfe latin \xe9\n"),
        (b"-rf", b"x"),
        (b"copy.md", b"crlf\r\nno end"),
    ];
    for (name, content) in files {
        std::fs::write(at(name), content).unwrap();
    }
    std::fs::write(at(b"binary.bin"), b"a\0b").unwrap();
    std::fs::write(at(b"huge.txt"), vec![b'x'; (1 << 20) + 1]).unwrap();
    std::os::unix::fs::symlink(".", at(b"loop")).unwrap();
    assert!(Command::new("mkfifo").arg(at(b"pipe")).status().unwrap().success());
    std::fs::write(at(b"secret"), b"only mine").unwrap();
    std::fs::set_permissions(at(b"secret"), std::fs::Permissions::from_mode(0o000)).unwrap();
    // To the superuser nothing is unreadable.
    let readable = u64::from(std::fs::read(at(b"secret")).is_ok());
    let (said, report) = Demo::on(&folder).succeed();
    let mut paths: Vec<&str> = report["report"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|file| file["path"].as_str())
        .filter(|path| *path != "secret")
        .collect();
    paths.sort_unstable();
    let expected = [
        "-rf",
        "a dir/with space.md",
        "back\\\\slash.txt",
        "copy.md",
        "line\\x0aend.rs",
        "not\\xffutf8.py",
    ];
    assert_eq!(paths, expected, "{said}");
    assert_eq!(report["report"]["duplicates"][0][1], "copy.md");
    let skipped = &report["skipped"];
    for (key, count) in
        [("binary", 1), ("tooLarge", 1), ("links", 1), ("special", 1), ("unreadable", 1 - readable)]
    {
        assert_eq!(skipped[key], count, "{key}: {said}");
    }
}

#[test]
fn what_cannot_work_is_said_before_anything_is_started() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    let (missing, file) = (folder.path().join("missing"), folder.path().join("a"));
    let table: [(PathBuf, &[&str], &str); 5] = [
        (missing, &[], "cannot read folder"),
        (file, &[], "cannot read folder"),
        (folder.path().to_owned(), &["--files-max", "2"], "more than 2 files"),
        (folder.path().to_owned(), &["--out", "/no/where"], "cannot write /no/where"),
        (folder.path().to_owned(), &["--out", "/tmp"], "cannot write /tmp"),
    ];
    for (dir, flags, told) in table {
        let mut demo = Demo::on(&dir);
        if let ["--out", ..] = flags {
            demo.command = Command::new(env!("CARGO_BIN_EXE_weft"));
            demo.command.arg("demo").arg(&dir);
        }
        let output = demo.command.args(flags).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(told) && !said.contains("running:"), "{said}");
    }
}

#[test]
fn without_python_all_nodes_inspect_in_rust() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.rs", "b.rs", "c.rs"] {
        std::fs::write(folder.path().join(name), "x\n").unwrap();
    }
    let finding = runtime::nats_server::FindOptions::from_environment();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(runtime::nats_server::find(&finding)).unwrap().path;
    let mut demo = Demo::on(folder.path());
    demo.command.env("PATH", "/nowhere").env("WEFT_NATS_SERVER", server);
    let (said, report) = demo.succeed();
    assert!(said.contains("no python3"), "{said}");
    let files = report["report"]["files"].as_array().unwrap();
    assert!(files.len() == 3 && files.iter().all(|file| file["by"] == "rust"), "{said}");
}

/// A `python3` that runs the demo's script with one of its rules changed.
const LYING_PYTHON: &str = r#"#!/bin/sh
[ "$1" = -c ] && exit 0
exec REAL -c '
text = open("inspect_file.py").read()
lie = text.replace("len(content.split())", "1 + len(content.split())")
assert lie != text
exec(compile(lie, "inspect_file.py", "exec"), {"__name__": "__main__", "__file__": "inspect_file.py"})'
"#;

#[test]
fn an_agent_that_lies_fails_the_demo() {
    let (folder, bin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for at in 0..12 {
        std::fs::write(folder.path().join(format!("{at}.txt")), "two words").unwrap();
    }
    let ask = ["-c", "import sys; print(sys.executable)"];
    let real = Command::new("python3").args(ask).output().unwrap().stdout;
    let real = String::from_utf8(real).unwrap();
    let python = bin.path().join("python3");
    std::fs::write(&python, LYING_PYTHON.replace("REAL", real.trim())).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut demo = Demo::on(folder.path());
    let path = std::env::var_os("PATH").unwrap();
    let mut search = vec![bin.path().to_owned()];
    search.extend(std::env::split_paths(&path));
    demo.command.env("PATH", std::env::join_paths(search).unwrap());
    let output = demo.run();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(".txt: words: the mesh says 3, the walk 2"), "{said}");
    assert!(!said.contains("all is well"), "{said}");
}

#[test]
fn ctrl_c_takes_everything_along() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol");
    for (moment, processes) in [("weft demo:", 0), ("survey:", 5), ("kill -9", 5)] {
        let mut demo = Demo::on(&folder);
        let (mut child, lines, said) = until_it_says(&mut demo, moment);
        kill_process(pid_of(&child), Signal::INT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{moment}");
        drop(lines);
        assert_eq!(pids(&said).len(), processes, "{said}");
        demo.assert_nothing_is_left(&said);
    }
}

#[test]
fn nothing_outlives_a_demo_that_is_killed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol");
    let mut demo = Demo::on(&folder);
    let (mut child, _lines, said) = until_it_says(&mut demo, "survey:");
    child.kill().unwrap();
    child.wait().unwrap();
    let pids = pids(&said);
    assert_eq!(pids.len(), 5, "{said}");
    for pid in pids {
        wait_until(&format!("process {pid} is gone"), || test_kill_process(pid).is_err());
    }
}
