//! The benchmark runs from end to end with tiny counts, and a short task costs exactly two durable writes.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::process::Command;

fn bench(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_weft-bench")).args(arguments).output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

/// The cells of the rows of the first table that has this column.
fn column<'a>(out: &'a str, name: &str) -> Vec<&'a str> {
    let cells = |line: &'a str| line.split('|').map(str::trim).collect::<Vec<_>>();
    let mut lines = out.lines().skip_while(|line| !line.contains(name));
    let header = cells(lines.next().unwrap());
    let at = header.iter().position(|cell| *cell == name).unwrap();
    lines.skip(1).take_while(|line| line.starts_with('|')).map(|line| cells(line)[at]).collect()
}

#[test]
fn a_short_task_costs_two_durable_writes_in_every_mode() {
    for part in ["speed", "sync"] {
        let out = bench(&[
            "--only",
            part,
            "--in-flight",
            "1,8",
            "--rounds",
            "1",
            "--tasks",
            "200",
            "--bytes",
            "32",
        ]);
        assert_eq!(column(&out, "in flight"), ["1", "8"], "{out}");
        assert_eq!(column(&out, "writes a task (b)"), ["2.000", "2.000"], "{out}");
    }
}

#[test]
fn memory_and_depth_are_measured() {
    let out = bench(&["--only", "memory,depth", "--queued", "300", "--depth", "500"]);
    assert!(out.contains("Memory of a node with 44 tasks queued and 256 running"), "{out}");
    assert_eq!(column(&out, "operation"), ["submit", "pull"], "{out}");
}
