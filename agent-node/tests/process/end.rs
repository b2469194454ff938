//! How programs end that are in the middle of a task: canceled, dropped, or orphaned.

use std::process::{Command, Stdio};
use std::time::Duration;

use agent_node::agent::{AnyAgent as _, Stop};
use agent_node::agents::process::{Mode, ProcessSettings};
use protocol::message::part_of;
use runtime::metric::Metrics;
use runtime::supervisor::Supervisor;
use serde_json::json;
use tokio::time::Instant;

use super::harness::{
    self, Attempt, Fixture, attempt, fixture, is_alive, notes, settings, wait_until,
};

/// Starts an attempt and drops it once the program has noted `busy`.
async fn drop_halfway(fixture: &Fixture, attempt: &Attempt) {
    tokio::select! {
        ended = fixture.finish(attempt, json!("long")) => panic!("ended: {ended:?}"),
        () = wait_until("it is busy", || !fixture.notes("busy").is_empty()) => {}
    }
}

#[tokio::test]
async fn a_dropped_attempt_ends_its_program_step_by_step() {
    let work = "while True:\n task = read()\n if task.get('input') == 'short': say('result', output=1); continue\n if task['type'] == 'cancel': note('end', 'asked'); sys.exit()\n note('busy')\n";
    let ends_at_sigterm =
        "def stop(*_): note('end', 'sigterm'); os._exit(0)\nsignal.signal(signal.SIGTERM, stop)\n";
    let ignores_all = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n";
    let child = "p = subprocess.Popen(['sleep', '600']); note('pids', p.pid)\n";
    let sleeps = "\n if task.get('input') == 'long': time.sleep(600)\n";
    for (name, code, graces, end) in [
        ("by the cancel line", work.to_owned(), 0, Some("asked")),
        ("by SIGTERM", format!("{ends_at_sigterm}{work}{sleeps}"), 1, Some("sigterm")),
        ("by SIGKILL", format!("{ignores_all}{work}{sleeps}"), 2, None),
        ("with what it started", format!("{child}{work}{sleeps}"), 1, None),
    ] {
        let fixture = fixture(&settings(&code), 1);
        drop_halfway(&fixture, &attempt(1)).await;
        let began = Instant::now();
        // The next task does not wait for that, and never gets the same program.
        let code = fixture.run(2, json!("short")).await;
        assert_eq!(code, Ok(json!(1)), "{name}");
        let grace = Duration::from_millis(500);
        fixture.agent.close().await;
        fixture.wait_for_silence().await;
        assert!(began.elapsed() >= grace * graces, "{name}: {:?}", began.elapsed());
        assert_eq!(fixture.notes("end").first().map(String::as_str), end, "{name}");
        fixture.supervisor.wait(harness::LONG).await.unwrap();
    }
}

#[tokio::test]
async fn canceled_before_it_began_needs_no_program() {
    let fixture = fixture(&settings("time.sleep(600)"), 1);
    let attempt = attempt(1);
    attempt.cancel.cancel();
    assert_eq!(fixture.finish(&attempt, json!(1)).await, Err(Stop::Canceled));
    assert!(fixture.notes("pids").is_empty());
}

#[tokio::test]
async fn canceled_before_hello_the_program_hears_of_no_task() {
    let mut settings = settings("note('busy'); note('end', sys.stdin.read())");
    settings.start_timeout = Some(harness::LONG);
    let fixture = fixture(&settings, 1);
    let attempt = attempt(1);
    let cancel = async {
        wait_until("it is busy", || !fixture.notes("busy").is_empty()).await;
        attempt.cancel.cancel();
    };
    let (result, ()) = tokio::join!(fixture.finish(&attempt, json!(1)), cancel);
    assert_eq!(result, Err(Stop::Canceled));
    fixture.wait_for_silence().await;
    assert_eq!(fixture.notes("end"), [""]);
}

#[tokio::test]
async fn after_the_cancel_line_any_failure_counts_as_canceled_and_a_result_as_a_result() {
    for (answer, expected) in [
        ("say('error', message='stopped')", Err(Stop::Canceled)),
        ("sys.exit(1)", Err(Stop::Canceled)),
        ("say('result', output='just done')", Ok(json!("just done"))),
    ] {
        let code = format!(
            "read(); note('busy'); line = read(); assert line == {{'type': 'cancel', 'task': 's1'}}; {answer}; read()"
        );
        let fixture = fixture(&settings(&code), 1);
        let attempt = attempt(1);
        let cancel = async {
            wait_until("it is busy", || !fixture.notes("busy").is_empty()).await;
            attempt.cancel.cancel();
        };
        let (result, ()) = tokio::join!(fixture.finish(&attempt, json!(1)), cancel);
        assert_eq!(result, expected, "{answer}");
    }
}

#[tokio::test]
async fn a_fenced_attempt_ends_its_program() {
    let code = "read(); note('busy')\nwhile not os.path.exists('go'): time.sleep(0.001)\nsay('status', text='too late'); read()";
    let fixture = fixture(&settings(code), 1);
    let attempt = attempt(1);
    let rival = async {
        wait_until("it is busy", || !fixture.notes("busy").is_empty()).await;
        attempt.append_as_rival().await;
        std::fs::write(fixture.directory.path().join("go"), "").unwrap();
    };
    let (result, ()) = tokio::join!(fixture.finish(&attempt, json!(1)), rival);
    assert_eq!(result, Err(Stop::Fenced));
    fixture.wait_for_silence().await;
}

#[tokio::test]
async fn dropping_the_agent_ends_its_idle_programs() {
    let code = "signal.signal(signal.SIGTERM, signal.SIG_IGN); p = subprocess.Popen(['sleep', '600']); note('pids', p.pid); read(); say('result', output=1); time.sleep(600)";
    let Fixture { directory, agent, .. } = {
        let fixture = fixture(&settings(code), 1);
        fixture.run(1, json!(1)).await.unwrap();
        fixture
    };
    let pids = notes(directory.path(), "pids");
    assert!(pids.len() == 2 && pids.iter().all(|pid| is_alive(pid)));
    drop(agent);
    wait_until("they are gone", || !pids.iter().any(|pid| is_alive(pid))).await;
}

const DIRECTORY: &str = "WEFT_TEST_ORPHAN_DIRECTORY";

/// Not a test: the process that [`no_program_outlives_a_killed_node`] kills.
#[tokio::test]
#[ignore = "started by another test"]
async fn node_that_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let supervisor = Supervisor::new(Metrics::new("test"));
    let agent = harness::agent(&stubborn(), directory.as_ref(), &supervisor, 1);
    drop(agent.run(&attempt(1).context, vec![part_of(json!(1))]).await);
}

/// It takes notice of neither the end of its input nor of signals, and has started another.
fn stubborn() -> ProcessSettings {
    let mut settings = settings(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); p = subprocess.Popen(['sleep', '600']); note('pids', p.pid); note('busy'); time.sleep(600)",
    );
    settings.mode = Mode::Once;
    settings
}

#[tokio::test]
async fn no_program_outlives_a_killed_node() {
    let directory = tempfile::TempDir::new().unwrap();
    let mut node = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "end::node_that_is_killed", "--ignored"])
        .env(DIRECTORY, directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("it is busy", || !notes(directory.path(), "busy").is_empty()).await;
    let pids = notes(directory.path(), "pids");
    assert!(pids.len() == 2 && pids.iter().all(|pid| is_alive(pid)));
    node.kill().unwrap();
    node.wait().unwrap();
    wait_until("they are gone", || !pids.iter().any(|pid| is_alive(pid))).await;
}
