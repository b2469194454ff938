//! The Python module: an author writes a function and nothing else.

use std::path::Path;

use agent_node::agent::Stop;
use agent_node::agents::process::environment::Value;
use agent_node::agents::process::{Mode, ProcessSettings};
use protocol::fault::Failure;
use serde_json::json;
use std::time::Duration;

use super::harness::{LONG, attempt, fixture, settings};

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

pub(crate) fn with_module(code: &str) -> ProcessSettings {
    let mut settings = settings(&format!("from weft_agent import *\n{code}"));
    let path = root().join("sdk/python").to_str().unwrap().to_owned();
    settings.env.insert("PYTHONPATH".to_owned(), Value::new(path));
    settings.start_timeout = Some(LONG);
    settings
}

const ZOO: &str = r#"
def work(input, ctx):
    if input == "print": print("to nobody"); os.system("echo also to nobody; cat")
    if input == "transient": raise Transient("later", code="busy", retry_after=0.5)
    if input == "permanent": raise Permanent("never", hint="do not")
    if input == "bug": return {}["missing"]
    if input == "timeout": raise TimeoutError("slow")
    if input == "not json": return {1, 2}
    if input == "nan": return float("nan")
    if input == "parts": return Parts([{"text": "a"}, {"text": "b"}])
    if input == "say": ctx.status("s"); ctx.log("l"); ctx.artifact("a", {"n": 1}, name="A")
    return [input, ctx.skill, ctx.attempt, ctx.canceled]
serve(work, name="zoo")
"#;

#[tokio::test]
async fn exceptions_and_results_become_lines() {
    let fixture = fixture(&with_module(ZOO), 1);
    let retry = Failure::Transient { retry_after: Some(Duration::from_millis(500)) };
    for (input, expected) in [
        ("print", Ok(json!(["print", "count", 1, false]))),
        ("say", Ok(json!(["say", "count", 1, false]))),
        ("parts", Ok(json!([{"text": "a"}, {"text": "b"}]))),
        ("\u{1F980} \" \\ \n", Ok(json!(["\u{1F980} \" \\ \n", "count", 1, false]))),
        ("transient", Err((retry, "busy", "later"))),
        ("permanent", Err((Failure::Permanent, "agent_error", "never"))),
        ("bug", Err((Failure::Permanent, "agent_error", "KeyError: 'missing'"))),
        (
            "timeout",
            Err((Failure::Transient { retry_after: None }, "agent_error", "TimeoutError: slow")),
        ),
        ("not json", Err((Failure::Permanent, "invalid_output", "set is not JSON serializable"))),
        ("nan", Err((Failure::Permanent, "invalid_output", "not JSON compliant"))),
    ] {
        match (fixture.run(1, json!(input)).await, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(Stop::Failed { failure, fault }), Err((class, code, text))) => {
                assert_eq!((failure, fault.code.as_str()), (class, code), "{input}: {fault}");
                assert!(fault.message.contains(text), "{fault}");
            }
            (found, expected) => panic!("{input}: {found:?} instead of {expected:?}"),
        }
    }
    assert_eq!(fixture.notes("pids").len(), 1);
}

#[tokio::test]
async fn functions_by_skill_serve_in_both_modes() {
    for code in [
        "serve({'count': lambda text: len(text)})",
        "@skill('count')\ndef count(text, ctx):\n  ctx.check()\n  return len(text)\nserve()",
    ] {
        for mode in [Mode::Serve, Mode::Once] {
            let settings = ProcessSettings { mode, ..with_module(code) };
            assert_eq!(fixture(&settings, 1).run(1, json!("four")).await.unwrap(), json!(4));
        }
    }
    let fixture = fixture(&with_module("serve({'other': len})"), 1);
    let stop = fixture.run(1, json!("x")).await.unwrap_err();
    assert!(format!("{stop:?}").contains("does not serve skill 'count'"), "{stop:?}");
}

#[tokio::test]
async fn a_cancelled_function_ends_and_its_program_lives() {
    let code = r#"
def work(input, ctx):
    if input == "short": return os.getpid()
    ctx.status("waiting")
    while True:
        ctx.check()
        time.sleep(0.001)
serve(work)"#;
    let fixture = fixture(&with_module(code), 1);
    let waiting = attempt(1);
    let cancel = async {
        super::harness::wait_until("it waits", || !waiting.events().is_empty()).await;
        waiting.cancel.cancel();
    };
    let (result, ()) = tokio::join!(fixture.finish(&waiting, json!("long")), cancel);
    assert_eq!(result, Err(Stop::Canceled));
    let pid = fixture.run(2, json!("short")).await.unwrap();
    assert_eq!(fixture.notes("pids"), [pid.to_string()]);
}

#[tokio::test]
async fn the_example_counts_words() {
    let example = root().join("examples/agents/wordcount.py");
    let fixture = fixture(&ProcessSettings::new(["python3", example.to_str().unwrap()]), 1);
    let counted = fixture.run(1, json!("one two\ntwo")).await.unwrap();
    assert_eq!(
        counted,
        json!({"lines": 2, "words": 3, "characters": 11, "common": [["two", 2], ["one", 1]]})
    );
    fixture.run(2, json!(7)).await.unwrap_err();
}

#[tokio::test]
#[ignore = "a measurement: cargo test --release -p agent-node --test process_agent -- --ignored --nocapture rate"]
async fn rate_of_one_program() {
    const TASKS: u64 = 20_000;
    let mut rates = Vec::new();
    for (name, settings) in [
        (
            "bare loop",
            settings("for line in sys.stdin: write('{\"type\":\"result\",\"output\":1}\\n')"),
        ),
        ("weft_agent", with_module("serve(lambda input: input)")),
    ] {
        let fixture = fixture(&settings, 1);
        fixture.run(1, json!("warm")).await.unwrap();
        let began = tokio::time::Instant::now();
        for sequence in 0..TASKS {
            fixture.run(sequence, json!({"path": "src/lib.rs"})).await.unwrap();
        }
        let rate = TASKS as f64 / began.elapsed().as_secs_f64();
        rates.push(format!("{name}: {rate:.0} tasks/s through one program\n"));
    }
    std::io::Write::write_all(&mut std::io::stderr(), rates.concat().as_bytes()).unwrap();
}
