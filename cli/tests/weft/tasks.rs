//! The client commands against a real mesh: what they print, where, and how they end.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::support::{Dev, Said, wait_until, weft};
use serde_json::{Value, json};

#[test]
fn a_task_is_sent_waited_for_shown_listed_and_followed() {
    let dev = Dev::start();
    for (input, printed) in [("hello", "hello\n"), ("{\"a\":1}", "{\n  \"a\": 1\n}\n"), ("", "\n")]
    {
        let said = dev.run(&["task", "send", "echo", input, "--wait"]);
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, printed, ""));
    }
    let receipt = dev.run(&["task", "send", "echo", "x", "--owner", "acme", "-o", "json"]).json();
    assert_eq!(receipt, json!({"task": "s4", "owner": "acme", "skill": "echo", "sequence": 4}));

    let probe = r#"{"steps": 2, "status": "on it", "echo": 7}"#;
    let task = dev.run(&["task", "send", "probe", probe, "--task-id", "mine"]).out;
    assert_eq!(task, "mine\n");
    let watched = dev.run(&["task", "watch", "mine"]);
    let kinds: Vec<_> =
        watched.out.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert!(kinds.contains(&"status"), "{watched:?}");
    assert_eq!(kinds.last(), Some(&"completed"), "{watched:?}");
    let entries: Vec<Value> = dev
        .run(&["task", "watch", "mine", "-o", "jsonl"])
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(entries.len(), kinds.len());
    assert!(entries.iter().zip(1..).all(|(entry, at)| entry["generation"] == at));

    let shown = dev.run(&["task", "get", "mine"]);
    for fact in ["state       completed", "skill       probe", "\"echo\":7"] {
        assert!(shown.out.contains(fact), "{fact} is missing in {}", shown.out);
    }
    let listed = dev.run(&["task", "list", "--state", "completed", "-o", "json"]).json();
    assert_eq!(listed["tasks"].as_array().map(Vec::len), Some(5), "{listed}");
    for (arguments, count) in [
        (&["--skill", "probe"][..], 1),
        (&["--owner", "acme"], 1),
        (&["--state", "failed"], 0),
        (&["--limit", "2"], 2),
    ] {
        let mut command = vec!["task", "list", "-o", "jsonl"];
        command.extend(arguments);
        assert_eq!(dev.run(&command).out.lines().count(), count, "{arguments:?}");
    }
}

#[test]
fn input_comes_from_anywhere_and_of_any_size() {
    let dev = Dev::start();
    let text = "x".repeat(300_000);
    let bytes: Vec<u8> =
        (0..300_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let array = serde_json::to_vec(&vec![17; 200_000]).unwrap();
    for input in [b"small".as_slice(), text.as_bytes(), &bytes, b"\xff\x00"] {
        let output = dev.run_with_input(&["task", "send", "echo", "-", "--wait"], input);
        let end = output.stdout.strip_suffix(b"\n").unwrap_or(&output.stdout);
        assert!(end == input, "{} bytes came back otherwise: {output:?}", input.len());
    }
    let file = dev.dir.join("input.json");
    std::fs::write(&file, &array).unwrap();
    let file = file.to_str().unwrap();
    let said = dev.run(&["task", "send", "echo", "--file", file, "--wait", "-o", "json"]).json();
    let part = &said["artifacts"][0]["parts"][0];
    assert!(part["url"].as_str().unwrap().starts_with("weft-object:"), "{part}");
    assert_eq!(part["metadata"]["weft/content"], "data");

    let huge = vec![b'x'; 64 * 1024 * 1024 + 1];
    let refused = Said::from(dev.run_with_input(&["task", "send", "echo", "-"], &huge));
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("larger than 67108864 bytes"), "{refused:?}");
    for (arguments, told) in [
        (&["a.b", "x"][..], "allowed are letters"),
        (&["echo", "x", "--deadline", "soon"], "RFC 3339"),
        (&["echo", "x", "--dedup-key", "k", "--task-id", "i"], "cannot be used with"),
        (&["echo", "x", "--task-id", "s7"], "reserved"),
        (&["echo", "--file", "nowhere"], "cannot read nowhere"),
    ] {
        let said = dev.run(&[&["task", "send"], arguments].concat());
        assert!(said.code == 2 && said.err.contains(told), "{told}: {said:?}");
    }
}

#[test]
fn each_kind_of_end_has_its_exit_code() {
    let dev = Dev::start();
    let fails = r#"{"failUntilAttempt": 9, "failAs": "permanent"}"#;
    let first = ["task", "send", "echo", "a", "--dedup-key", "k", "--wait"];
    assert_eq!(dev.run(&first).code, 0);
    for (arguments, code, told) in [
        (&["task", "send", "echo", "a", "--dedup-key", "k", "--wait"][..], 0, ""),
        (&["task", "send", "echo", "b", "--dedup-key", "k", "--wait"], 7, "that one counts"),
        // Nobody serves this skill, so there is no log to compare with.
        (&["task", "send", "nobody", "a", "--task-id", "i"], 0, "no node serves skill nobody"),
        (&["task", "send", "nobody", "a", "--task-id", "i"], 0, "served are echo, probe"),
        (&["task", "send", "nobody", "b", "--task-id", "i"], 7, "that one counts"),
        (
            &["task", "send", "nobody", "x", "--wait", "--timeout", "200ms"],
            5,
            "within 200ms; it goes on",
        ),
        (
            &["task", "send", "nobody", "x", "--wait", "--timeout", "0s"],
            5,
            "because: no node serves",
        ),
        (&["task", "send", "echo", "x", "--timeout", "1s"], 2, "add --wait"),
        (&["task", "send", "echo", "x", "--deadline", "9999-12-31T23:59:59Z", "--wait"], 0, ""),
        (&["task", "send", "probe", fails, "--wait"], 6, "told to fail"),
        (&["task", "send", "probe", fails, "--wait"], 6, "weft dlq redrive "),
        (&["task", "send", "probe", "{\"no\":1}", "--wait"], 6, "invalid_input"),
        (&["task", "get", "unknown"], 4, "there is no task unknown"),
        (&["task", "watch", "unknown"], 4, "there is no task unknown"),
        (&["task", "cancel", "unknown"], 4, "there is no task unknown"),
        (&["dlq", "get", "1"], 4, "no dead letter 1"),
        (&["dlq", "get", "abc"], 2, "weft dlq list"),
        (&["task", "list", "--state", "done"], 2, "auth-required"),
        (&["task", "list", "--server", "nats://127.0.0.1:1"], 3, "NATS_URL"),
        (&["task", "list", "--server", "http://127.0.0.1:1"], 2, "nats://, tls://"),
        (&["task", "list", "--nats-context", "none"], 2, "no NATS context"),
    ] {
        let said = dev.run(arguments);
        assert_eq!(said.code, code, "{arguments:?}: {said:?}");
        assert!(said.err.contains(told), "{arguments:?}: {said:?}");
        assert_eq!(said.err.is_empty(), told.is_empty(), "{arguments:?}: {said:?}");
    }
}

#[test]
fn a_failed_task_names_its_letter_and_a_usage_line_only_what_is_needed() {
    let dev = Dev::start();
    let fails = r#"{"failUntilAttempt": 9, "failAs": "permanent"}"#;
    for _ in 0..2 {
        let failed = dev.run(&["task", "send", "probe", fails, "--wait"]);
        let task = failed.err.split_whitespace().nth(2).unwrap();
        let number = failed.err.split("weft dlq get ").nth(1).unwrap().split(' ').next().unwrap();
        let letter = dev.run(&["dlq", "get", number, "-o", "json"]).json();
        assert_eq!(letter["letter"]["task"], task, "{failed:?}");
    }
    let wrong = dev.run(&["task", "send"]);
    assert!(wrong.err.contains("Usage: weft task send [OPTIONS] <SKILL> [INPUT|-]"), "{wrong:?}");
    let help = dev.run(&["doctor", "--help"]);
    assert!(help.out.contains("[env: WEFT_MONITOR_URL]"), "{help:?}");
}

#[test]
fn tasks_are_canceled_queued_or_running() {
    let dev = Dev::start();
    let queued = dev.run(&["task", "send", "nobody", "x"]).out;
    let running = dev.run(&["task", "send", "probe", r#"{"sleepMs": 60000}"#]).out;
    for task in [queued.trim(), running.trim()] {
        let said = dev.run(&["task", "cancel", task, "--wait", "-o", "json"]);
        assert_eq!(said.json()["cancel"], "canceled", "{task}: {said:?}");
        let watched = dev.run(&["task", "watch", task]);
        assert_eq!(watched.code, 6, "{watched:?}");
        assert_eq!(dev.run(&["task", "cancel", task]).code, 0, "canceling twice is harmless");
    }
    assert_eq!(dev.run(&["task", "send", "echo", "x", "--wait"]).code, 0);
    let late = dev.run(&["task", "cancel", "s3"]);
    assert_eq!(late.code, 1, "{late:?}");
    assert!(late.err.contains("already ended: completed"), "{late:?}");
}

#[test]
fn dead_letters_are_listed_shown_redriven_and_discarded() {
    let dev = Dev::start();
    let fails = r#"{"failUntilAttempt": 9, "failAs": "permanent", "echo": "why"}"#;
    for _ in 0..2 {
        assert_eq!(dev.run(&["task", "send", "probe", fails, "--wait"]).code, 6);
    }
    let letters = dev.run(&["dlq", "list", "--skill", "probe", "-o", "json"]).json();
    let numbers: Vec<String> =
        letters.as_array().unwrap().iter().map(|letter| letter["number"].to_string()).collect();
    assert_eq!(numbers.len(), 2, "{letters}");
    let shown = dev.run(&["dlq", "get", &numbers[0]]);
    for fact in ["told to fail", "permanent", "why", "ATTEMPT"] {
        assert!(shown.out.contains(fact), "{fact} is missing in {shown:?}");
    }
    let doctor = dev.run(&["doctor"]);
    assert!(doctor.code == 0 && doctor.out.contains("2 wait: probe 2"), "{doctor:?}");

    let redrive = ["dlq", "redrive", &numbers[0], "--input", r#"{"echo": "fine"}"#, "-o", "json"];
    let receipt = dev.run(&redrive).json();
    let task = receipt["task"].as_str().unwrap();
    let watched = dev.run(&["task", "watch", task]);
    assert!(watched.code == 0 && watched.out.contains("fine"), "{watched:?}");
    let of = dev.run(&["task", "get", task, "-o", "json"]).json();
    assert_eq!(of["metadata"]["weft/redriveOf"], "s1", "{of}");
    assert_eq!(dev.run(&["dlq", "discard", &numbers[1]]).code, 0);
    assert_eq!(dev.run(&["dlq", "discard", &numbers[1]]).code, 4);
    let empty = dev.run(&["dlq", "list"]);
    assert_eq!((empty.out.as_str(), empty.err.as_str()), ("", "no dead letters\n"));
}

#[test]
fn doctor_finds_what_is_missing_and_creates_nothing() {
    let dev = Dev::start();
    let healthy = dev.run(&["doctor", "--monitor", &dev.fact("monitor"), "-o", "json"]).json();
    let grade = |all: &Value, check: &str| {
        let found = all.as_array().unwrap().iter().find(|finding| finding["check"] == check);
        found.unwrap_or_else(|| panic!("no {check} in {all}"))["grade"].clone()
    };
    for check in ["server", "streams", "permissions", "fill", "clock", "coordinators", "agents"] {
        assert_eq!(grade(&healthy, check), "ok", "{check}: {healthy}");
    }
    assert_eq!(grade(&healthy, "sync"), "warning");
    for _ in 0..2 {
        let absent = dev.run(&["doctor", "--prefix", "absent", "-o", "json"]);
        assert_eq!(absent.code, 1, "{absent:?}");
        let findings: Value = serde_json::from_str(&absent.out).unwrap();
        assert_eq!(grade(&findings, "streams"), "failed");
        assert!(absent.out.contains("stream ABSENT_INBOX does not exist"), "{absent:?}");
    }
    dev.run(&["task", "send", "nobody", "x"]);
    let told = dev.run(&["doctor"]);
    assert!(told.out.contains("skill nobody, which no node has ever served"), "{told:?}");
}

#[test]
fn a_nats_context_says_where_to_connect() {
    let dev = Dev::start();
    let contexts = dev.dir.join("nats/context");
    std::fs::create_dir_all(&contexts).unwrap();
    std::fs::write(contexts.join("here.json"), json!({"url": dev.fact("nats")}).to_string())
        .unwrap();
    std::fs::write(contexts.join("gone.json"), r#"{"url": "nats://127.0.0.1:1"}"#).unwrap();
    let list = |arguments: &[&str]| {
        Said::from(weft(&dev.dir).args(["agent", "list"]).args(arguments).output().unwrap())
    };
    assert_eq!(list(&["--nats-context", "here"]).code, 0);
    assert_eq!(list(&["--nats-context", "gone"]).code, 3);
    std::fs::write(dev.dir.join("nats/context.txt"), "here").unwrap();
    let said = list(&[]);
    assert!(said.code == 0 && said.out.contains("echo"), "{said:?}");
    std::fs::write(dev.dir.join("nats/context.txt"), "gone").unwrap();
    assert_eq!(list(&[]).code, 3);
    assert_eq!(list(&["--server", &dev.fact("nats")]).code, 0, "a flag goes before a context");
}

#[test]
fn a_reader_that_goes_away_in_the_middle_is_no_error() {
    let dev = Dev::start();
    let task = dev.run(&["task", "send", "probe", r#"{"steps": 200, "sleepMs": 20}"#]).out;
    let mut command = dev.command(&["task", "watch", task.trim()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("step-0") || line.contains("claimed"), "{line}");
    let status = wait_until("the end of watch", || child.try_wait().unwrap());
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!((status.code(), said.err.as_str()), (Some(0), ""));
    let state = dev.run(&["task", "get", task.trim(), "-o", "json"]).json();
    assert_eq!(
        state["status"]["state"], "TASK_STATE_WORKING",
        "watch ended with the task, not with its reader"
    );
}
