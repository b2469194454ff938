//! Messages that cut a step short: heard by the program, or not.

use std::time::Duration;

use agent_node::agent::Stop;
use agent_node::agents::process::ProcessSettings;
use agent_node::context::Around;
use agent_node::inputs::Inputs;
use protocol::entry::Event;
use protocol::fault::Failure;
use protocol::input::Input;
use protocol::message::{Message, Part};
use serde_json::{Value, json};

use super::harness::{Attempt, Fixture, attempt, fixture, is_alive, wait_until};
use super::python::with_module;

const THINKER: &str = r#"
from weft_agent import Interrupted
def work(input, ctx):
    one = ctx.step("one", lambda: note("one") or 1)
    def think():
        note("thinking")
        if input == "deaf":
            time.sleep(600)
        while not ctx.interrupted: time.sleep(0.01)
        if input == "quick": return "a thought"
        ctx.check()
    try:
        thought = ctx.step_or_message("think", think)
    except Interrupted as stop:
        if input == "crash" and ctx.attempt == 1: os._exit(1)
        return [one, stop.message, ctx.step("two", lambda: 2)]
    return [one, thought, ctx.message("left", timeout=0)]
serve(work)
"#;

fn thinker() -> ProcessSettings {
    let mut settings = with_module(THINKER);
    settings.interrupt_grace = Duration::from_millis(300);
    settings
}

/// Runs an attempt; a signal and then a message come while its program thinks.
async fn interrupted(
    fixture: &Fixture,
    mut attempt: Attempt,
    input: &str,
) -> (Attempt, Result<Value, Stop>) {
    let inputs = Inputs::default();
    let (owner, task) = (attempt.context.owner().clone(), attempt.context.task().clone());
    let ear = Some(inputs.listen(&owner, &task));
    attempt.context = attempt.context.within(Around { ear, ..Around::default() });
    let before = fixture.notes("thinking").len();
    let said = async {
        wait_until("the program thinks", || fixture.notes("thinking").len() > before).await;
        let bell = Input::Signal { name: "bell".to_owned(), payload: Vec::new() };
        let stop = Input::Message(Message::from_user(vec![Part::text("stop that")]));
        for input in [bell, stop] {
            attempt.say(&input).await;
            inputs.hear(owner.clone(), task.clone());
            tokio::task::yield_now().await;
        }
    };
    let (ended, ()) = tokio::join!(fixture.finish(&attempt, json!(input)), said);
    (attempt, ended)
}

fn received(attempt: &Attempt) -> usize {
    attempt.events().iter().filter(|event| matches!(event, Event::Received { .. })).count()
}

#[tokio::test]
async fn a_program_that_hears_of_a_message_ends_its_step_and_gets_it() {
    let fixture = fixture(&thinker(), 1);
    let (cut, ended) = interrupted(&fixture, attempt(1), "polite").await;
    assert_eq!(ended.unwrap(), json!([1, "stop that", 2]));
    assert_eq!(received(&cut), 1);
    let (done, ended) = interrupted(&fixture, attempt(2), "quick").await;
    assert_eq!(ended.unwrap(), json!([1, "a thought", "stop that"]), "it waits for the next call");
    assert_eq!(received(&done), 1);
    assert_eq!(fixture.notes("pids").len(), 1);
}

#[tokio::test]
async fn a_program_that_does_not_hear_is_ended_and_another_begins_with_the_message() {
    let fixture = fixture(&thinker(), 1);
    let (cut, ended) = interrupted(&fixture, attempt(1), "deaf").await;
    assert_eq!(ended.unwrap(), json!([1, "stop that", 2]));
    let pids = fixture.notes("pids");
    assert_eq!(pids.len(), 2);
    wait_until("the deaf program is gone", || !is_alive(&pids[0])).await;
    assert_eq!(fixture.notes("one").len(), 1, "what was done is not done again");
    assert_eq!(fixture.notes("thinking").len(), 1);
    assert_eq!(received(&cut), 1);
}

#[tokio::test]
async fn what_was_cut_short_stays_so_after_a_crash() {
    let fixture = fixture(&thinker(), 1);
    let (first, ended) = interrupted(&fixture, attempt(1), "crash").await;
    assert!(
        matches!(ended, Err(Stop::Failed { failure: Failure::Transient { .. }, .. })),
        "{ended:?}"
    );
    let ended = fixture.finish(&first.again(), json!("crash")).await;
    assert_eq!(ended.unwrap(), json!([1, "stop that", 2]));
    assert_eq!(fixture.notes("thinking").len(), 1);
}
