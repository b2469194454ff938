//! Which lines are read, which are refused, and what is written, byte for byte.

use serde_json::json;

use super::*;

fn read(line: &str) -> FromProgram {
    FromProgram::read(line.as_bytes()).unwrap()
}

#[test]
fn what_is_written_is_append_only() {
    let (task, skill, owner) =
        (TaskId::from_sequence(17), Skill::parse("echo").unwrap(), Owner::parse("acme").unwrap());
    let mut line = ToProgram::Task {
        task: &task,
        skill: &skill,
        owner: &owner,
        attempt: 2,
        context_id: "c",
        message_id: "",
        deadline: Some(Timestamp::from_millis(0)),
        idempotency_key: "s17",
        input: &json!("hi"),
        parts: &[Part::text("hi")],
    };
    let text =
        r#"{"type":"task","task":"s17","skill":"echo","owner":"acme","attempt":2,"contextId":"c","#
            .to_owned()
            + r#""deadline":"1970-01-01T00:00:00.000Z","idempotencyKey":"s17","input":"hi","#
            + r#""parts":[{"text":"hi"}]}"#
            + "\n";
    assert_eq!(String::from_utf8(line.write().unwrap()).unwrap(), text);
    let ToProgram::Task { message_id, .. } = &mut line else { unreachable!() };
    *message_id = "m";
    let text = text.replace(r#""contextId":"c","#, r#""contextId":"c","messageId":"m","#);
    assert_eq!(String::from_utf8(line.write().unwrap()).unwrap(), text);
    assert_eq!(
        ToProgram::Cancel { task: &task }.write().unwrap(),
        b"{\"type\":\"cancel\",\"task\":\"s17\"}\n"
    );
}

#[test]
fn every_line_is_read_and_unknown_fields_are_ignored() {
    let result = |parts| FromProgram::Result(ResultLine { parts, reply: false, task: None });
    for (line, expected) in [
        (
            r#"{"type":"hello","protocol":1,"version":"2","later":{},"tags":["text"],"inputModes":["text/plain"]}"#,
            FromProgram::Hello(Hello {
                protocol: 1,
                name: None,
                description: None,
                version: Some("2".to_owned()),
                tags: vec!["text".to_owned()],
                input_modes: vec!["text/plain".to_owned()],
                ..Hello::default()
            }),
        ),
        (
            r#"{"text":"half way","task":"s1","type":"status"}"#,
            FromProgram::Status { text: "half way".to_owned(), task: Some("s1".to_owned()) },
        ),
        (r#"{"type":"result","output":"a"}"#, result(vec![Part::text("a")])),
        (r#"{"type":"result","output":null}"#, result(vec![Part::data(json!(null))])),
        (
            r#"{"type":"result","output":"a","reply":true}"#,
            FromProgram::Result(ResultLine {
                parts: vec![Part::text("a")],
                reply: true,
                task: None,
            }),
        ),
        (r#" {"type":"result","parts":[{"text":"a"}]} "#, result(vec![Part::text("a")])),
        (
            r#"{"type":"log","message":"m"}"#,
            FromProgram::Log { level: LogLevel::Info, message: "m".to_owned() },
        ),
    ] {
        assert_eq!(read(line), expected, "{line}");
    }
    let line = r#"{"type":"artifact","artifact":{"artifact_id":"a","parts":[{"text":"x"}]},"append":true}"#;
    let FromProgram::Artifact { artifact, append, last_chunk, task } = read(line) else {
        panic!("no artifact")
    };
    assert_eq!((artifact.artifact_id.as_str(), append, last_chunk, task), ("a", true, true, None));
}

#[test]
fn every_request_of_the_documentation_is_read() {
    for (line, place) in [
        (
            r#"{"call":"step.begin","name":"a","arguments":null,"reserve":{"tokens":1},"approval":{"question":"?"},"allowedBy":"b"}"#,
            "step.begin \"a\"",
        ),
        (
            r#"{"call":"step.end","name":"a","output":null,"usage":{"moneyMicros":1,"toolCalls":2}}"#,
            "step.end \"a\"",
        ),
        (r#"{"call":"step.abandon","name":"a"}"#, "step.abandon \"a\""),
        (
            r#"{"call":"delegate","name":"d","join":{"quorum":2},"work":[
                {"skill":"x","input":1,"budget":{"tokens":5},"onFailure":"fail"},
                {"skill":"x","onFailure":{"retry":{"times":2}}},
                {"skill":"x","onFailure":{"fallback":{"skill":"y"}}},
                {"need":{"tags":["t"],"inputModes":[],"outputModes":[],"costMicrosMax":1,"notSkills":["z"]},
                 "onFailure":{"cached":{"noOlderThanMs":5}}}]}"#,
            "delegate \"d\"",
        ),
        (r#"{"call":"delegate","name":"d","join":"first","work":[]}"#, "delegate \"d\""),
        (r#"{"call":"sleep","name":"s","ms":5}"#, "sleep \"s\""),
        (r#"{"call":"ask","name":"q","question":"?","limitMs":5,"auth":true}"#, "ask \"q\""),
        (r#"{"call":"message","name":"m"}"#, "message \"m\""),
        (r#"{"call":"signal","name":"s","later":1}"#, "signal \"s\""),
        (
            r#"{"call":"approve","name":"p","action":{"pay":1},"approval":{"chain":[{"approvers":["ann"],"afterMs":5}],"quorum":2,"expiresMs":9}}"#,
            "approve \"p\"",
        ),
        (r#"{"call":"budget"}"#, "budget"),
    ] {
        let line = line.replacen('{', r#"{"type":"request","id":7,"#, 1).replace('\n', " ");
        let FromProgram::Request(request) = read(&line) else { panic!("{line}") };
        assert_eq!((request.id, request.call.place().as_str()), (7, place));
    }
}

#[test]
fn what_is_no_line_says_why() {
    let deep = format!(r#"{{"type":"result","output":{}{}}}"#, "[".repeat(70), "]".repeat(70));
    for (line, expected) in [
        (&b"hello"[..], "a line that is not a JSON object"),
        (b"[1]", "a line that is not a JSON object"),
        (b"{\"type\":\"status\",\"text\":\"\xff\"}", "a line that is not UTF-8 at byte 25"),
        (deep.as_bytes(), "a line that nests too deep"),
        (b"{", "EOF while parsing"),
        (b"{}", "missing field `type`"),
        (b"{\"type\":\"reslt\"}", "unknown variant `reslt`, expected one of `hello`, `status`"),
        (b"{\"type\":\"status\"}", "missing field `text`"),
        (b"{\"type\":\"status\",\"text\":1}", "invalid type: integer `1`, expected a string"),
        (b"{\"type\":\"result\"}", "a result needs output or parts and has neither"),
        (
            b"{\"type\":\"result\",\"output\":1,\"parts\":[]}",
            "a result needs output or parts and has both",
        ),
        (b"{\"type\":\"result\",\"parts\":[]}", "a result has 1 to 256 parts, not 0"),
        (b"{\"type\":\"error\",\"class\":\"fatal\"}", "unknown variant `fatal`"),
    ] {
        let error = FromProgram::read(line).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_error_line_becomes_a_failure() {
    let transient =
        |ms: Option<u64>| Failure::Transient { retry_after: ms.map(Duration::from_millis) };
    for (line, failure, code, message) in [
        (r#"{"type":"error"}"#, Failure::Permanent, "agent_error", ""),
        (
            r#"{"type":"error","class":"transient","code":"rate_limited","message":"m","retryAfterMs":500}"#,
            transient(Some(500)),
            "rate_limited",
            "m",
        ),
        (r#"{"type":"error","class":"transient","code":"E-42 x"}"#, transient(None), "e_42_x", ""),
        (
            r#"{"type":"error","class":"permanent","code":" "}"#,
            Failure::Permanent,
            "agent_error",
            "",
        ),
    ] {
        let FromProgram::Error(error) = read(line) else { panic!("{line}") };
        let (found, fault) = error.failure();
        assert_eq!((found, fault.code.as_str(), fault.message.as_str()), (failure, code, message));
    }
}

#[test]
fn quotes_are_short_and_whole_characters() {
    assert_eq!(quote(b"a\"b"), r#""a\"b""#);
    let crabs = "\u{1F980}".repeat(300);
    assert_eq!(quote(crabs.as_bytes()), format!("\"{}\"...", "\u{1F980}".repeat(200)));
    assert_eq!(quote(b"\xff"), "\"\u{fffd}\"");
}

#[test]
fn the_lines_in_the_documentation_are_true() {
    let page = include_str!("../../../../docs/process-agents.md");
    let (mut from_node, mut from_program) = (0, 0);
    for line in page.lines().filter(|line| line.starts_with("{\"type\"")) {
        let value: Value = serde_json::from_str(line).unwrap();
        if ["task", "cancel", "interrupt", "reply"].contains(&value["type"].as_str().unwrap()) {
            from_node += 1;
        } else {
            assert_ne!(read(line).name(), "", "{line}");
            from_program += 1;
        }
    }
    assert_eq!((from_node, from_program), (8, 13));
    let replies = [
        Reply {
            id: 1,
            run: Some(true),
            idempotency_key: Some("s17/fetch".to_owned()),
            ..Reply::default()
        },
        Reply { id: 2, ..Reply::default() },
        Reply { id: 3, suspend: Some(true), ..Reply::default() },
        Reply { id: 4, message: Some("no, in verse".into()), ..Reply::default() },
    ];
    for reply in &replies {
        let line = ToProgram::Reply(reply).write().unwrap();
        assert!(page.contains(&String::from_utf8(line).unwrap()), "{reply:?}");
    }
    let id = TaskId::from_sequence(17);
    let interrupt = ToProgram::Interrupt { task: &id, grace_ms: 5_000 }.write().unwrap();
    assert!(page.contains(&String::from_utf8(interrupt).unwrap()));
    let (skill, owner) = (Skill::parse("shout").unwrap(), Owner::parse("acme").unwrap());
    let task = ToProgram::Task {
        task: &id,
        skill: &skill,
        owner: &owner,
        attempt: 1,
        context_id: "s17",
        message_id: "m1",
        deadline: Some(Timestamp::parse("2026-01-31T12:00:00Z").unwrap()),
        idempotency_key: "s17",
        input: &json!("hello"),
        parts: &[Part::text("hello")],
    };
    assert!(page.contains(&String::from_utf8(task.write().unwrap()).unwrap()));
}
