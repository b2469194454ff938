//! Requests and replies, line by line: what is answered, and what breaks the protocol.

use agent_node::agent::Stop;
use agent_node::agents::process::{Mode, ProcessSettings};
use protocol::entry::Event;
use protocol::fault::{Failure, Fault};
use protocol::input::Input;
use protocol::message::{Message, Part};
use serde_json::{Value, json};

use super::harness::{attempt, fixture, settings};

/// Asks for what the input lists, and answers with the replies.
const ASKER: &str = r#"
say("hello", protocol=2)
def ask(call, **line):
    say("request", id=len(replies) + 1, call=call, **line)
    replies.append(read())
    return replies[-1]
def begin(name, **line): return ask("step.begin", name=name, **line)
def end(name, output=None, **line): return ask("step.end", name=name, output=output, **line)
while True:
    task, replies = read(), []
    exec(task["input"])
    if replies and replies[-1].get("suspend"): say("suspended")
    else: say("result", output=replies)
"#;

fn asker() -> ProcessSettings {
    settings(ASKER)
}

fn fault(result: Result<Value, Stop>) -> Fault {
    match result {
        Err(Stop::Failed { failure: Failure::Permanent, fault }) => fault,
        other => panic!("did not fail for good: {other:?}"),
    }
}

#[tokio::test]
async fn a_step_runs_once_and_is_recorded() {
    let fixture = fixture(&asker(), 1);
    let first = attempt(1);
    let code = "begin('a'); end('a', {'n': 1}); begin('a'); end('a'); begin('b')";
    let stop = fixture.finish(&first, json!(format!("{code}; os._exit(1)"))).await.unwrap_err();
    let Stop::Failed { failure: Failure::Transient { .. }, fault } = stop else {
        panic!("{stop:?}")
    };
    assert_eq!(
        (fault.code.as_str(), fault.place.as_deref()),
        ("agent_crashed", Some("step \"b\""))
    );
    let again = first.again();
    let code = "begin('a'); begin('a'); begin('b'); end('b', 'x' * 300000); begin('b'); ask('step.abandon', name='b'); begin('c')";
    let replies = fixture.finish(&again, json!(format!("{code}; end('c', 7)"))).await.unwrap();
    assert_eq!(
        replies,
        json!([
            {"type": "reply", "id": 1, "value": {"n": 1}},
            {"type": "reply", "id": 2, "value": null},
            {"type": "reply", "id": 3, "run": true, "idempotencyKey": "s1/b"},
            {"type": "reply", "id": 4},
            {"type": "reply", "id": 5, "run": true, "idempotencyKey": "s1/b#2"},
            {"type": "reply", "id": 6},
            {"type": "reply", "id": 7, "run": true, "idempotencyKey": "s1/c"},
            {"type": "reply", "id": 8},
        ])
    );
    let last = again.again();
    let replies = fixture
        .finish(&last, json!("begin('a'); begin('a'); begin('b'); begin('c')"))
        .await
        .unwrap();
    assert_eq!(replies[2]["value"].as_str().unwrap().len(), 300_000);
    assert_eq!(replies[3]["value"], 7);
}

#[tokio::test]
async fn a_call_is_told_its_arguments_and_settles_what_it_used() {
    let fixture = fixture(&asker(), 1);
    let attempt = attempt(1);
    let code = "begin('pay', arguments={'to': 'x'}, reserve={'tokens': 9}); end('pay', 1, usage={'tokens': 4}); ask('budget')";
    let replies = fixture.finish(&attempt, json!(code)).await.unwrap();
    assert_eq!(
        replies[0],
        json!({"type": "reply", "id": 1, "run": true, "idempotencyKey": "s1/pay",
               "arguments": {"to": "x"}, "degraded": false})
    );
    assert_eq!(replies[2]["value"]["spent"], json!({"tokens": 4}));
    let used = attempt.events().into_iter().find_map(|event| {
        let Event::Step { usage, .. } = event else { return None };
        usage
    });
    assert_eq!(used.unwrap().tokens, 4);
}

#[tokio::test]
async fn a_wait_gives_the_task_up_and_the_program_lives() {
    let fixture = fixture(&asker(), 1);
    let first = attempt(1);
    let code = json!(
        "begin('a') and end('a', 1) if not replies else 0; ask('ask', name='q', question='who?') ; replies[-1].get('suspend') or ask('signal', name='bell')"
    );
    let stop = fixture.finish(&first, code.clone()).await.unwrap_err();
    assert!(
        matches!(&stop, Stop::Suspended { waiting_for, .. } if waiting_for.name() == Some("q")),
        "{stop:?}"
    );
    first.say(&Input::Message(Message::from_user(vec![Part::text("me")]))).await;
    let second = first.again();
    let code =
        json!("begin('a'); ask('ask', name='q', question='who?'); ask('signal', name='bell')");
    let stop = fixture.finish(&second, code.clone()).await.unwrap_err();
    assert!(
        matches!(&stop, Stop::Suspended { waiting_for, .. } if waiting_for.name() == Some("bell")),
        "{stop:?}"
    );
    second.say(&Input::Signal { name: "bell".to_owned(), payload: Vec::new() }).await;
    let code = json!(format!("{}; ask('message', name='more', limitMs=0)", code.as_str().unwrap()));
    let replies = fixture.finish(&second.again(), code).await.unwrap();
    assert_eq!(
        replies,
        json!([
            {"type": "reply", "id": 1, "value": 1},
            {"type": "reply", "id": 2, "value": "me"},
            {"type": "reply", "id": 3, "value": null},
            {"type": "reply", "id": 4, "value": null, "timedOut": true},
        ])
    );
    assert_eq!(fixture.notes("pids").len(), 1);
}

#[tokio::test]
async fn another_call_at_a_position_is_told_and_no_result_counts_after_it() {
    let fixture = fixture(&asker(), 1);
    let first = attempt(1);
    fixture.finish(&first, json!("begin('a'); end('a', 1)")).await.unwrap();
    for code in [
        "begin('b')",
        "ask('sleep', name='a', ms=5)",
        "ask('delegate', name='a', work=[{'skill': 'x', 'input': 1}])",
    ] {
        let fault = fault(fixture.finish(&first.again(), json!(code)).await);
        assert_eq!(fault.code, "nondeterministic", "{code}");
        assert!(
            fault.message.contains("the log holds step \"a\", and the agent now asks for"),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn what_the_context_refuses_is_an_error_that_the_program_may_survive() {
    let fixture = fixture(&asker(), 1);
    let code =
        "begin(''); begin('n' * 300); ask('delegate', name='d', work=[]); begin('a'); end('a', 1)";
    let replies = fixture.run(1, json!(code)).await.unwrap();
    assert_eq!(replies[0]["error"]["code"], "bad_name");
    assert_eq!(replies[0]["error"]["class"], "permanent");
    assert_eq!(replies[1]["error"]["code"], "bad_name");
    assert_eq!((&replies[2]["value"], &replies[3]["run"]), (&json!([]), &json!(true)));
}

#[tokio::test]
async fn what_breaks_the_protocol_names_the_place() {
    for (code, message) in [
        (
            "ask('step.bgin', name='a')",
            "request 1: unknown variant `step.bgin`, expected one of `step.begin`",
        ),
        ("begin(7)", "request 1: invalid type: integer `7`, expected a string"),
        ("ask('step.begin')", "request 1: missing field `name`"),
        ("begin('a'); ask('step.end', name='a')", "request 2: missing field `output`"),
        ("say('request', call='budget')", "a request: missing field `id`"),
        ("end('a')", "step.end \"a\" without a step.begin before it"),
        ("begin('a'); end('b')", "step.end \"b\" while step \"a\" is open"),
        ("begin('a'); end('a'); end('a')", "step.end \"a\" a second time"),
        ("begin('a'); begin('b')", "step.begin \"b\" while step \"a\" is open"),
        ("begin('a'); ask('sleep', name='s', ms=1)", "sleep \"s\" while step \"a\" is open"),
        (
            "begin('a'); end('a', usage={'tokens': 1})",
            "step.end \"a\" with a usage, which was begun as a plain step",
        ),
        ("begin('a'); end('a', usage={'tokns': 1})", "request 2: unknown field `tokns`"),
        ("begin('a', allowedBy='x')", "allowed by approval \"x\", which nobody has given"),
        ("begin('a'); say('result', output=1); read()", "a result line while step \"a\" is open"),
        ("say('suspended'); read()", "a suspended line without being told to give the task up"),
        (
            "ask('signal', name='s'); say('result', output=1); read()",
            "a result line after it was told to give the task up",
        ),
        (
            "ask('signal', name='s'); begin('a')",
            "step.begin \"a\" after it was told to give the task up",
        ),
        (
            "ask('delegate', name='d', work=[{'skill': 'x'}, {'input': 1}])",
            "delegate \"d\", whose work[1] needs a skill or a need",
        ),
        ("ask('delegate', name='d', work=[{'skill': 'no such.name'}])", "request 1: "),
        (
            "write('{\"type\":\"request\",\"id\":1,\"call\":\"step.begin\",\"name\":\"a\"}\\n{\"type\":\"request\",\"id\":2,\"call\":\"step.begin\",\"name\":\"b\"}\\n'); read(); read()",
            "a line that had to wait for the reply to step.begin \"a\"",
        ),
    ] {
        let fixture = fixture(&asker(), 1);
        let fault = fault(fixture.run(1, json!(code)).await);
        assert_eq!(fault.code, "agent_protocol", "{code}: {fault}");
        assert!(fault.message.contains(message), "{code}: {fault}");
        fixture.wait_for_silence().await;
    }
}

#[tokio::test]
async fn a_result_beyond_the_line_names_the_step_and_the_setting() {
    let code = json!("begin('big'); end('big', 'x' * 10_000_000)");
    let small = fixture(&asker(), 1);
    let fault = fault(small.run(1, code.clone()).await);
    assert_eq!((fault.code.as_str(), fault.place.as_deref()), ("too_large", Some("step \"big\"")));
    assert!(fault.hint.unwrap().contains("line_bytes_max"));

    let settings = ProcessSettings { line_bytes_max: 16 << 20, ..asker() };
    let large = fixture(&settings, 1);
    let first = attempt(2);
    large.finish(&first, code).await.unwrap();
    let stored = first.ledger.messages();
    assert!(stored.iter().all(|message| message.payload.len() < 4096), "the log holds a reference");
    let code = json!("begin('big').update(value=len(replies[0]['value']))");
    let replies = large.finish(&first.again(), code).await.unwrap();
    assert_eq!(replies[0]["value"], 10_000_000);
}

#[tokio::test]
async fn requests_need_version_2_and_mode_serve() {
    let ask = "read(); say('request', id=1, call='budget'); read(); read()";
    for (code, mode, message) in [
        (ask.to_owned(), Mode::Serve, "the request budget without a hello in version 2"),
        (
            format!("say('hello', protocol=1); {ask}"),
            Mode::Serve,
            "the request budget without a hello in version 2",
        ),
        (
            format!("say('hello', protocol=2); {ask}"),
            Mode::Once,
            "the request budget in mode \"once\"",
        ),
    ] {
        let settings = ProcessSettings { mode, ..settings(&code) };
        let fault = fault(fixture(&settings, 1).run(1, json!(1)).await);
        assert_eq!(fault.code, "agent_protocol");
        assert!(fault.message.contains(message), "{fault}");
    }
}
