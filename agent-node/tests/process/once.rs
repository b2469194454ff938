//! Programs that run once for each task: the exit status has a say.

use std::path::Path;

use agent_node::agent::Stop;
use agent_node::agents::process::{Mode, ProcessSettings};
use protocol::fault::Failure;
use serde_json::json;

use super::harness::{fixture, settings};

const PERMANENT: Failure = Failure::Permanent;
const TRANSIENT: Failure = Failure::Transient { retry_after: None };

#[tokio::test]
async fn the_exit_status_and_the_line_judge_together() {
    for (code, expected) in [
        ("read(); say('result', output=1)", Ok(1)),
        (
            "read(); assert sys.stdin.read() == ''; say('hello', protocol=1); say('result', output=1)",
            Ok(1),
        ),
        ("write('{\"type\":\"result\",\"output\":1}')", Ok(1)),
        ("os.close(0); say('result', output=1)", Ok(1)),
        (
            "read(); say('result', output=1); sys.exit(3)",
            Err((PERMANENT, "agent_error", "exit status: 3")),
        ),
        (
            "read(); sys.exit('what went wrong')",
            Err((PERMANENT, "agent_error", "standard error ends: what went wrong")),
        ),
        ("sys.exit(75)", Err((TRANSIENT, "agent_error", "exit status: 75"))),
        (
            "say('error', **{'class': 'transient', 'code': 'busy', 'message': 'later'}); sys.exit(3)",
            Err((TRANSIENT, "busy", "later")),
        ),
        ("read()", Err((TRANSIENT, "agent_crashed", "exit status: 0"))),
        ("os.kill(os.getpid(), signal.SIGSEGV)", Err((TRANSIENT, "agent_crashed", "signal: 11"))),
        (
            "say('result', output=1); say('result', output=2)",
            Err((PERMANENT, "agent_protocol", "a result line after its answer")),
        ),
        ("print('done')", Err((PERMANENT, "agent_protocol", "not a JSON object: \"done\""))),
        ("write('done')", Err((PERMANENT, "agent_protocol", "not a JSON object: \"done\""))),
    ] {
        let mut settings = settings(code);
        settings.mode = Mode::Once;
        let fixture = fixture(&settings, 1);
        match (fixture.run(1, json!("input")).await, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, json!(expected), "{code}"),
            (Err(Stop::Failed { failure, fault }), Err((class, name, text))) => {
                assert_eq!((failure, fault.code.as_str()), (class, name), "{code}: {fault}");
                assert!(fault.message.contains(text), "{code}: {fault}");
            }
            (found, expected) => panic!("{code}: {found:?} instead of {expected:?}"),
        }
        fixture.wait_for_silence().await;
    }
}

#[tokio::test]
async fn every_task_gets_a_process_of_its_own() {
    let mut settings = settings("say('result', output=os.getpid())");
    settings.mode = Mode::Once;
    let fixture = fixture(&settings, 2);
    for sequence in 1..=4 {
        let pid = fixture.run(sequence, json!(1)).await.unwrap();
        assert_eq!(fixture.notes("pids").last(), Some(&pid.to_string()));
    }
}

#[tokio::test]
async fn the_shell_example_answers_in_capitals() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/agents/upper.sh");
    let mut settings = ProcessSettings::new([example.to_str().unwrap()]);
    settings.mode = Mode::Once;
    let fixture = fixture(&settings, 1);
    assert_eq!(fixture.run(1, json!("hello, world")).await.unwrap(), json!("HELLO, WORLD"));
    fixture.run(2, json!({"not": "text"})).await.unwrap_err();
}
