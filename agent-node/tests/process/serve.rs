//! Programs that do many tasks: what they are told, what they may say, and when they are replaced.

use agent_node::agent::AnyAgent as _;
use protocol::entry::Event;
use protocol::message::value_of;
use serde_json::json;

use super::harness::{attempt, fixture, is_alive, settings, wait_until};

const ECHO: &str = "while True: task = read(); say('result', output=[os.getpid(), task['input']])";

#[tokio::test]
async fn one_program_does_many_tasks_and_is_told_all_about_them() {
    let fixture = fixture(&settings("while True: task = read(); say('result', output=task)"), 4);
    for sequence in 1..=100 {
        let task = fixture.run(sequence, json!({"n": sequence})).await.unwrap();
        let id = format!("s{sequence}");
        assert_eq!(
            task,
            json!({"type": "task", "task": id, "skill": "count", "owner": "acme", "attempt": 1,
                "contextId": id, "deadline": "1970-01-01T00:01:00.000Z", "idempotencyKey": id,
                "input": {"n": sequence}, "parts": [{"data": {"n": sequence}}]})
        );
    }
    assert_eq!(fixture.notes("pids").len(), 1);
}

#[tokio::test]
async fn as_many_programs_run_as_the_agent_may_do_tasks_at_once() {
    let code = "while True:\n task = read(); note('began', task['task'])\n while len(open('began').readlines()) < 3: time.sleep(0.001)\n say('result', output=1)";
    let fixture = fixture(&settings(code), 3);
    let run = |sequence| fixture.run(sequence, json!(1));
    let (a, b, c, d, e) = tokio::join!(run(1), run(2), run(3), run(4), run(5));
    for result in [a, b, c, d, e] {
        result.unwrap();
    }
    assert_eq!(fixture.notes("pids").len(), 3);
}

#[tokio::test]
async fn progress_and_artifacts_reach_the_log_in_order() {
    let code = r#"
read()
say("hello", protocol=1, name="Counter", version="3")
say("status", text="half way", task="s1")
say("log", level="debug", message="for the node only")
say("artifact", artifact={"artifactId": "a", "parts": [{"text": "one"}]}, lastChunk=False)
say("artifact", artifact={"artifactId": "a", "parts": [{"text": "two"}]}, append=True)
say("result", parts=[{"text": "x"}, {"data": [1]}])
read()"#;
    let fixture = fixture(&settings(code), 1);
    let attempt = attempt(1);
    let result = fixture.finish(&attempt, json!(1)).await.unwrap();
    assert_eq!(result, json!([{"text": "x"}, {"data": [1]}]));
    let said: Vec<_> = attempt
        .events()
        .into_iter()
        .map(|event| {
            if let Event::Status { message } = event {
                return value_of(&message.parts);
            }
            let Event::Artifact { artifact, append, last_chunk } = event else {
                panic!("{event:?}")
            };
            json!([artifact.artifact_id, value_of(&artifact.parts), append, last_chunk])
        })
        .collect();
    let expected =
        [json!("half way"), json!(["a", "one", false, false]), json!(["a", "two", true, true])];
    assert_eq!(said, expected);
    let about = agent_node::agent::AnyAgent::about(&fixture.agent);
    assert_eq!(
        (about.name.as_str(), about.version.as_str(), about.kind.as_str()),
        ("Counter", "3", "process")
    );
}

#[tokio::test]
async fn a_crashed_program_is_replaced() {
    let fixture = fixture(
        &settings("for n in range(2): read(); say('result', output=1) if n == 0 else os.abort()"),
        1,
    );
    for _ in 0..3 {
        fixture.run(1, json!(1)).await.unwrap();
        fixture.run(2, json!(1)).await.unwrap_err();
    }
    assert_eq!(fixture.notes("pids").len(), 3);
}

#[tokio::test]
async fn a_program_that_ends_while_idle_is_replaced_and_no_task_suffers() {
    let fixture = fixture(&settings("read(); say('result', output=1)"), 1);
    for sequence in 1..=3 {
        fixture.run(sequence, json!(1)).await.unwrap();
        fixture.wait_for_end().await;
    }
    assert_eq!(fixture.notes("pids").len(), 3);
}

#[tokio::test]
async fn what_is_written_after_the_answer_never_passes_for_the_next_one() {
    for late in [
        "write('{\"type\":\"result\",\"output\":1}\\n{\"type\":\"result\",\"output\":\"late\"}\\n')",
        "say('result', output=1); say('status', text='late')",
        "say('result', output=1); say('result', output='late')",
        "say('result', output=1); print('garbage', flush=True)",
    ] {
        let code = format!(
            "while True:\n task = read()\n if task['task'] == 's2': say('result', output=2)\n else: {late}; note('late')"
        );
        let fixture = fixture(&settings(&code), 1);
        assert_eq!(fixture.run(1, json!(1)).await.unwrap(), json!(1), "{late}");
        // Or it was noticed at once, and the program did not live to note anything.
        let out = || !fixture.notes("late").is_empty() || !is_alive(&fixture.notes("pids")[0]);
        wait_until("the late line is out", out).await;
        assert_eq!(fixture.run(2, json!(1)).await.unwrap(), json!(2), "{late}");
        assert_eq!(fixture.notes("pids").len(), 2, "{late}");
    }
}

#[tokio::test]
async fn log_lines_are_welcome_at_any_time() {
    let code = "while True: task = read(); say('result', output=1); say('log', message='done', level='warn'); note('late')";
    let fixture = fixture(&settings(code), 1);
    for sequence in 1..=3 {
        fixture.run(sequence, json!(1)).await.unwrap();
        wait_until("logged", || fixture.notes("late").len() as u64 == sequence).await;
    }
    assert_eq!(fixture.notes("pids").len(), 1);
}

#[tokio::test]
async fn floods_and_large_values_in_every_direction_do_not_block() {
    let code = r#"
while True:
    sys.stderr.write("before reading\n" * 50_000)
    task = read()
    sys.stderr.write("x" * 3_000_000)
    for n in range(300): say("log", message="y" * 10_000)
    say("result", output=len(task["input"]))"#;
    let fixture = fixture(&settings(code), 1);
    for sequence in 1..=2 {
        let length = fixture.run(sequence, json!("z".repeat(3_000_000))).await.unwrap();
        assert_eq!(length, json!(3_000_000));
    }
}

#[tokio::test]
async fn the_environment_is_only_what_was_configured() {
    let mut settings =
        settings("while True: read(); say('result', output=[dict(os.environ), os.getcwd()])");
    settings
        .env
        .insert("MODE".to_owned(), agent_node::agents::process::environment::Value::new("fast"));
    settings.cwd = Some("/".into());
    settings.command[2] = settings.command[2].replace("note(\"pids\", os.getpid())", "");
    let result = fixture(&settings, 1).run(1, json!(1)).await.unwrap();
    let (environment, directory) = (result[0].as_object().unwrap(), &result[1]);
    assert_eq!((environment.get("SECRET"), directory), (None, &json!("/")));
    let expected = [("MODE", "fast"), ("WEFT_AGENT", "test"), ("WEFT_AGENT_MODE", "serve")];
    for (name, value) in expected {
        assert_eq!(environment.get(name), Some(&json!(value)));
    }
    assert!(environment.contains_key("PATH"));
    // Cargo has set dozens of these for this very process.
    assert!(!environment.keys().any(|name| name.starts_with("CARGO")));
    settings.pass_env = vec!["SECRET".to_owned()];
    let result = fixture(&settings, 1).run(1, json!(1)).await.unwrap();
    assert_eq!(result[0]["SECRET"], json!("hidden"));
}

#[tokio::test]
async fn idle_programs_end_politely_when_the_agent_is_closed() {
    let fixture = fixture(&settings(&format!("try:\n {ECHO}\nfinally: note('bye')")), 2);
    fixture.run(1, json!(1)).await.unwrap();
    fixture.agent.close().await;
    assert_eq!(fixture.notes("bye").len(), 1);
    fixture.wait_for_silence().await;
    fixture.run(2, json!(1)).await.unwrap_err();
}
