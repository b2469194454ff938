//! Each way in which a program can fail, and the fault that the task gets for it.

use std::time::Duration;

use agent_node::agent::Stop;
use agent_node::agents::process::ProcessSettings;
use protocol::fault::{Failure, Fault};
use serde_json::json;

use super::harness::{Fixture, attempt, fixture, settings};

const PERMANENT: Failure = Failure::Permanent;
const TRANSIENT: Failure = Failure::Transient { retry_after: None };

struct Case {
    name: &'static str,
    code: &'static str,
    tweak: fn(&mut ProcessSettings),
    expected: (Failure, &'static str, &'static str),
}

fn case(
    name: &'static str,
    code: &'static str,
    expected: (Failure, &'static str, &'static str),
) -> Case {
    Case { name, code, tweak: |_| {}, expected }
}

fn tweaked(tweak: fn(&mut ProcessSettings), case: Case) -> Case {
    Case { tweak, ..case }
}

fn failed(result: Result<serde_json::Value, Stop>) -> (Failure, Fault) {
    match result {
        Err(Stop::Failed { failure, fault }) => (failure, fault),
        other => panic!("did not fail: {other:?}"),
    }
}

async fn check(cases: Vec<Case>) {
    for case in cases {
        let mut settings = settings(case.code);
        (case.tweak)(&mut settings);
        let fixture = fixture(&settings, 1);
        let (failure, fault) = failed(fixture.run(1, json!("input")).await);
        let (class, code, text) = case.expected;
        assert_eq!((failure, fault.code.as_str()), (class, code), "{}: {fault}", case.name);
        assert!(fault.message.contains(text), "{}: {fault}", case.name);
        fixture.wait_for_silence().await;
    }
}

#[tokio::test]
async fn a_program_that_ends_has_crashed() {
    check(vec![
        case(
            "exit status and last words",
            "read(); sys.stderr.write('it went boom\\n'); sys.exit(3)",
            (TRANSIENT, "agent_crashed", "ended (exit status: 3) before it gave a result; its standard error ends: it went boom"),
        ),
        case(
            "signal",
            "read(); os.kill(os.getpid(), signal.SIGKILL)",
            (TRANSIENT, "agent_crashed", "signal: 9 (SIGKILL)"),
        ),
        case(
            "exit 0 without a result",
            "read(); say('status', text='nearly')",
            (TRANSIENT, "agent_crashed", "exit status: 0"),
        ),
        case(
            "in the middle of its result",
            "read(); write('{\"type\":\"result\",'); os._exit(1)",
            (TRANSIENT, "agent_crashed", "exit status: 1"),
        ),
        case("at start", "import no_such_module", (TRANSIENT, "agent_crashed", "No module named 'no_such_module'")),
        case(
            "leaving somebody behind who holds its pipes",
            "p = subprocess.Popen(['sleep', '600']); note('pids', p.pid); read(); os._exit(4)",
            (TRANSIENT, "agent_crashed", "exit status: 4"),
        ),
        case(
            "closed output",
            "read(); os.close(1); time.sleep(600)",
            (TRANSIENT, "agent_crashed", "closed its standard output and runs on"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_is_no_line_of_the_protocol_is_permanent() {
    let with_hello: fn(&mut ProcessSettings) =
        |settings| settings.start_timeout = Some(Duration::from_secs(20));
    let code = "agent_protocol";
    check(vec![
        case("garbage", "read(); print('hello', flush=True); read()", (PERMANENT, code, "not a JSON object: \"hello\"")),
        case("an array", "read(); print('[1]', flush=True); read()", (PERMANENT, code, "not a JSON object: \"[1]\"")),
        case("broken JSON", "read(); print('{\"type\":', flush=True); read()", (PERMANENT, code, "EOF while parsing")),
        case("an unknown type", "read(); say('reslt', output=1); read()", (PERMANENT, code, "unknown variant `reslt`")),
        case("a long line", "read(); print('x' * 5000, flush=True); read()", (PERMANENT, code, "xx\"...")),
        case(
            "not UTF-8",
            "read(); sys.stdout.buffer.write(b'{\"type\":\"status\",\"text\":\"\\xff\"}\\n'); sys.stdout.flush(); read()",
            (PERMANENT, code, "not UTF-8 at byte 25"),
        ),
        case("another task", "read(); say('result', task='s99', output=1); read()", (PERMANENT, code, "a result line about task \"s99\" during task \"s1\"")),
        case("the result's name", "read(); say('artifact', artifact={'artifactId': 'result', 'parts': [{'text': 'x'}]}); read()", (PERMANENT, code, "an artifact called \"result\"")),
        case("a late hello", "say('hello', protocol=1); say('hello', protocol=1); read(); read()", (PERMANENT, code, "hello in the middle")),
        case("a later version", "say('hello', protocol=3); read(); read()", (PERMANENT, code, "hello in version 3, and this node speaks 1 to 2")),
        tweaked(with_hello, case("a result before hello", "say('result', output=1); read()", (PERMANENT, code, "a result line before hello"))),
    ])
    .await;
}

#[tokio::test]
async fn limits_of_size_and_time_hold() {
    check(vec![
        case(
            "an endless line",
            "read()\nwhile True: sys.stdout.write('x' * 65536)",
            (PERMANENT, "too_large", "a line of more than 1048576 bytes"),
        ),
        tweaked(
            |settings| settings.line_bytes_max = 2000,
            case(
                "a lower limit",
                "read(); say('result', output='x' * 2000); read()",
                (PERMANENT, "too_large", "more than 2000 bytes"),
            ),
        ),
        tweaked(
            |settings| settings.start_timeout = Some(Duration::from_millis(300)),
            case(
                "no hello",
                "time.sleep(600)",
                (TRANSIENT, "agent_crashed", "did not say hello in time"),
            ),
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_program_that_does_not_read_its_task_is_given_up() {
    let large = json!("x".repeat(1_000_000));
    for (code, text) in [
        ("time.sleep(600)", "did not read its task for 300ms"),
        ("os.close(0); note('closed'); time.sleep(600)", "closed its standard input and runs on"),
        ("os.close(0); sys.exit(5)", "exit status: 5"),
    ] {
        let mut settings = settings(code);
        settings.write_timeout = if code.contains("close") {
            Duration::from_secs(20)
        } else {
            Duration::from_millis(300)
        };
        let fixture = fixture(&settings, 1);
        let (failure, fault) = failed(fixture.run(1, large.clone()).await);
        assert_eq!((failure, fault.code.as_str()), (TRANSIENT, "agent_crashed"));
        assert!(fault.message.contains(text), "{fault}");
        fixture.wait_for_silence().await;
    }
}

#[tokio::test]
async fn errors_that_the_program_reports_are_passed_on_and_it_lives() {
    let fixture = fixture(&settings("while True: write(json.dumps(read()['input']) + '\\n')"), 1);
    let retry = |ms| Failure::Transient { retry_after: Some(Duration::from_millis(ms)) };
    for (line, failure, code) in [
        (
            json!({"type": "error", "class": "transient", "code": "rate_limited", "retryAfterMs": 500}),
            retry(500),
            "rate_limited",
        ),
        (json!({"type": "error", "class": "transient"}), TRANSIENT, "agent_error"),
        (json!({"type": "error", "message": "no"}), PERMANENT, "agent_error"),
        (
            json!({"type": "error", "class": "permanent", "code": "Bad-Input", "hint": "h"}),
            PERMANENT,
            "bad_input",
        ),
    ] {
        let (found, fault) = failed(fixture.run(1, line).await);
        assert_eq!((found, fault.code.as_str()), (failure, code));
    }
    assert_eq!(fixture.notes("pids").len(), 1);
}

#[tokio::test]
async fn a_fault_quotes_nothing_of_an_earlier_task() {
    let fixture = fixture(
        &settings(
            "for input in iter(lambda: read()['input'], 'crash'): print(input, file=sys.stderr); say('result', output=1)\nsys.exit(1)",
        ),
        1,
    );
    fixture.run(1, json!("belongs to somebody else")).await.unwrap();
    let (_, fault) = failed(fixture.run(2, json!("crash")).await);
    assert!(!fault.message.contains("somebody"), "{fault}");
}

#[tokio::test]
async fn a_program_that_dies_at_start_is_not_started_in_a_loop() {
    let fixture = fixture(&settings("sys.exit('no configuration')"), 1);
    let began = tokio::time::Instant::now();
    for sequence in 1..=5 {
        let (_, fault) = failed(fixture.run(sequence, json!(1)).await);
        assert!(fault.message.contains("no configuration"), "{fault}");
    }
    let pauses = Duration::from_millis(100 + 200 + 400 + 800);
    assert!(began.elapsed() >= pauses, "{:?}", began.elapsed());
    assert_eq!(fixture.notes("pids").len(), 5);
}

#[tokio::test]
async fn one_answer_ends_the_pause() {
    let code = "ok = os.path.exists('ok')\nwhile ok: read(); say('result', output=1)";
    let fixture = fixture(&settings(code), 1);
    for sequence in 1..4 {
        failed(fixture.run(sequence, json!(1)).await);
    }
    std::fs::write(fixture.directory.path().join("ok"), "").unwrap();
    let attempts = [attempt(4), attempt(5)];
    for attempt in &attempts {
        fixture.finish(attempt, json!(1)).await.unwrap();
    }
    assert_eq!(fixture.notes("pids").len(), 4);
}

#[tokio::test]
async fn a_program_that_vanished_since_the_start_of_the_node_is_named() {
    let directory = tempfile::TempDir::new().unwrap();
    let program = directory.path().join("agent");
    std::fs::copy("/bin/sh", &program).unwrap();
    let fixture: Fixture = fixture(&ProcessSettings::new([program.to_str().unwrap()]), 1);
    fixture.agent.check().unwrap();
    std::fs::remove_file(&program).unwrap();
    let (failure, fault) = failed(fixture.run(1, json!(1)).await);
    assert_eq!((failure, fault.code.as_str()), (TRANSIENT, "agent_crashed"));
    let missing = fixture.agent.check().unwrap_err().to_string();
    for text in [fault.message, missing] {
        assert!(text.contains(program.to_str().unwrap()), "{text}");
    }
}
