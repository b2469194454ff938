//! Waits: what has come is taken at once, what has not suspends, and each input is used once.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::context::{ApprovalOptions, Decided, Interrupted};

fn text(message: Option<Message>) -> String {
    message.map_or_else(
        || "nothing".to_owned(),
        |one| protocol::message::value_of(&one.parts).as_str().unwrap_or_default().to_owned(),
    )
}

#[tokio::test]
async fn a_timer_suspends_until_its_time_and_costs_nothing_after() {
    let stage = Stage::new();
    let context = stage.attempt();
    let stop = context.sleep("nap", Duration::from_secs(60)).await.unwrap_err();
    stage.suspend(&context, stop).await;
    assert_eq!(stage.log().until, Some(Timestamp::from_millis(60_000)));
    stage.hand.set(Timestamp::from_millis(59_999));
    assert!(!stage.look().await);
    stage.hand.set(Timestamp::from_millis(60_000));
    assert!(stage.look().await);
    for _ in 0..2 {
        stage.attempt().sleep("nap", Duration::from_secs(60)).await.unwrap();
    }
    assert_eq!(stage.kinds(), ["suspended", "resumed"]);
}

#[tokio::test]
async fn questions_are_answered_in_the_order_of_the_stream() {
    let stage = Stage::new();
    stage.tell("one").await;
    stage.tell("two").await;
    let context = stage.attempt();
    assert_eq!(text(context.ask("q1", "first?", None).await.unwrap()), "one");
    assert_eq!(text(context.ask("q2", "second?", None).await.unwrap()), "two");
    let stop = context.ask("q3", "third?", None).await.unwrap_err();
    stage.suspend(&context, stop).await;
    assert_eq!(stage.log().state, protocol::task::TaskState::InputRequired);
    assert!(!stage.look().await);
    stage.tell("three").await;
    assert!(stage.look().await);
    let context = stage.attempt();
    for (name, said) in [("q1", "one"), ("q2", "two"), ("q3", "three")] {
        assert_eq!(text(context.ask(name, "?", None).await.unwrap()), said);
    }
    let late = context.next_message("more", Some(Duration::ZERO)).await.unwrap();
    assert_eq!(text(late), "nothing");
    assert_eq!(stage.kinds(), ["received", "received", "suspended", "resumed", "received"]);
    stage.tell("four").await;
    let again = stage.attempt();
    for name in ["q1", "q2", "q3"] {
        again.ask(name, "?", None).await.unwrap();
    }
    assert_eq!(text(again.next_message("more", Some(Duration::ZERO)).await.unwrap()), "nothing");
}

#[tokio::test]
async fn credentials_and_signals_have_their_own_ways() {
    let stage = Stage::new();
    let context = stage.attempt();
    let stop = context.ask_for_credentials("login", "who?", None).await.unwrap_err();
    stage.suspend(&context, stop).await;
    assert_eq!(stage.log().state, protocol::task::TaskState::AuthRequired);
    stage.say(Input::Signal { name: "bell".to_owned(), payload: vec![Part::data(json!(3))] }).await;
    assert!(!stage.look().await, "a signal is no answer to a question");
    stage.tell("secret").await;
    assert!(stage.look().await);
    let context = stage.attempt();
    context.ask_for_credentials("login", "who?", None).await.unwrap();
    assert_eq!(context.signal("bell", None).await.unwrap(), Some(json!(3)));
    let none = context.signal("bell", Some(Duration::ZERO)).await.unwrap();
    assert_eq!(none, None, "used once");
}

#[tokio::test]
async fn a_limit_ends_a_wait() {
    let stage = Stage::new();
    let context = stage.attempt();
    let stop = context.ask("q", "?", Some(Duration::from_secs(5))).await.unwrap_err();
    stage.suspend(&context, stop).await;
    stage.hand.set(Timestamp::from_millis(5_000));
    assert!(stage.look().await);
    let context = stage.attempt();
    assert_eq!(text(context.ask("q", "?", Some(Duration::from_secs(5))).await.unwrap()), "nothing");
    let options = ApprovalOptions { expires: Some(Duration::ZERO), ..ApprovalOptions::default() };
    assert_eq!(code_of(context.approve("now", json!(1), options).await), "approval_denied");
}

#[tokio::test]
async fn a_denial_can_be_lived_with_and_a_changed_action_cannot() {
    let stage = Stage::new();
    let context = stage.attempt();
    let stop = context.decide("d", json!(1), ApprovalOptions::default()).await.unwrap_err();
    stage.suspend(&context, stop).await;
    stage.rule(&stage.request().hash, Verdict::Deny, None).await;
    assert!(stage.look().await);
    let context = stage.attempt();
    let decided = context.decide("d", json!(1), ApprovalOptions::default()).await.unwrap();
    assert_eq!(decided, Decided::Denied { by: vec!["ann".to_owned()], comment: None });
    let context = stage.attempt();
    let changed = context.decide("d", json!(2), ApprovalOptions::default()).await;
    assert_eq!(code_of(changed), "approval_mismatch");
}

#[tokio::test]
async fn a_message_cuts_a_step_short_where_that_is_allowed() {
    for interrupts in [true, false] {
        let mut stage = Stage::new();
        stage.inputs = interrupts.then(Inputs::default);
        let context = stage.attempt();
        let (begun, beginning) = tokio::sync::oneshot::channel();
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let effect = async {
            begun.send(()).unwrap();
            drop(released.await);
            Ok(7)
        };
        let telling = async {
            beginning.await.unwrap();
            stage.tell("stop").await;
            if !interrupts {
                release.send(()).unwrap();
                return None;
            }
            Some(release)
        };
        let (ended, _held) = tokio::join!(context.step_or_message("work", effect), telling);
        let again = stage.attempt().step_or_message("work", async { Ok(8) }).await.unwrap();
        assert_eq!(ended.unwrap(), again, "the log says the same");
        match again {
            Interrupted::Message(message) => {
                assert!(interrupts);
                assert_eq!(text(Some(message)), "stop");
            }
            Interrupted::Done(done) => assert_eq!((interrupts, done), (false, 7)),
        }
        assert_eq!(stage.kinds().len(), 1);
    }
}

#[tokio::test]
async fn a_message_that_came_while_it_ran_is_no_answer_where_none_is_taken_then() {
    for (on_message, second) in [(OnMessage::Enqueue, "two"), (OnMessage::Reject, "nothing")] {
        let stage = Stage { on_message, ..Stage::new() };
        stage.tell("one").await;
        let context = stage.attempt();
        context.step("work", async { Ok(1) }).await.unwrap();
        stage.tell("two").await;
        for (name, said) in [("early", "one"), ("late", second)] {
            let message = context.next_message(name, Some(Duration::ZERO)).await.unwrap();
            assert_eq!(text(message), said, "{on_message:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_can_be_read_only_after_its_bell_cuts_a_step_short() {
    let board = Inputs::default();
    let stage = Stage { inputs: Some(board.clone()), ..Stage::new() };
    let context = stage.attempt();
    let quiet = Stage { inputs: None, ..stage };
    let telling = async {
        board.hear(Owner::default(), quiet.task.clone());
        tokio::time::sleep(Duration::from_millis(700)).await;
        quiet.tell("stop").await;
    };
    let work = context.step_or_message("work", std::future::pending::<Result<u8, Stop>>());
    let work = tokio::time::timeout(Duration::from_secs(60), work);
    let (ended, ()) = tokio::join!(work, telling);
    let Interrupted::Message(message) = ended.unwrap().unwrap() else { panic!("it was done") };
    assert_eq!(text(Some(message)), "stop");
}
