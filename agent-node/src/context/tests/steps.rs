//! Steps: once, in order, under checked names.

use protocol::limits::STEP_NAME_CHARS_MAX;
use serde_json::json;

use super::*;
use crate::context::Begun;

#[tokio::test]
async fn a_step_runs_once_over_any_number_of_attempts() {
    let (stage, counter) = (Stage::new(), Counter::default());
    for attempt in 1..4_u32 {
        let context = stage.attempt();
        for step in 0..attempt {
            let effect = async { Ok(counter.more()) };
            let result = context.step(&format!("s{step}"), effect).await.unwrap();
            assert_eq!(result, step + 1, "attempt {attempt}");
        }
        assert_eq!(counter.count(), attempt);
    }
    assert_eq!(stage.kinds(), ["step"; 3]);
}

#[tokio::test]
async fn another_call_at_a_position_is_named_with_the_one_before() {
    let stage = Stage::new();
    let context = stage.attempt();
    context.step("read", async { Ok(1) }).await.unwrap();
    let context = stage.attempt();
    let fault = fault_of(context.step("write", async { Ok(1) }).await);
    for said in ["nondeterministic", "position 0", "step \"read\"", "step \"write\""] {
        assert!(fault.contains(said), "{said} is not in {fault}");
    }
    let context = stage.attempt();
    let fault = fault_of(context.sleep("read", std::time::Duration::ZERO).await);
    assert!(fault.contains("step \"read\"") && fault.contains("timer \"read\""), "{fault}");
    let context = stage.attempt();
    let delegated = context.delegate(
        "read",
        vec![crate::delegate::Delegation { skill: Skill::parse("x").unwrap(), input: json!(1) }],
    );
    assert_eq!(code_of(delegated.await), "nondeterministic");
    let context = stage.attempt();
    assert_eq!(
        code_of(context.step::<String, _>("read", async { Ok(String::new()) }).await),
        "nondeterministic"
    );
    assert_eq!(stage.kinds(), ["step"], "nothing more is written");
}

#[tokio::test]
async fn names_are_checked() {
    let stage = Stage::new();
    let context = stage.attempt();
    for (chars, code) in [
        (0, "bad_name"),
        (1, "1"),
        (STEP_NAME_CHARS_MAX, "1"),
        (STEP_NAME_CHARS_MAX + 1, "bad_name"),
    ] {
        let name = "\u{e9}".repeat(chars);
        let found = match context.step(&name, async { Ok(1) }).await {
            Ok(one) => one.to_string(),
            stopped => code_of(stopped),
        };
        assert_eq!(found, code, "{chars}");
    }
}

#[tokio::test]
async fn calls_that_overlap_are_refused() {
    let stage = Stage::new();
    let context = stage.attempt();
    let inner =
        context.step("outer", async { Ok(code_of(context.step("inner", async { Ok(1) }).await)) });
    assert_eq!(inner.await.unwrap(), "overlapping_calls");
    context.step("next", async { Ok(1) }).await.unwrap();
}

#[tokio::test]
async fn a_dropped_or_failed_step_leaves_its_place() {
    let stage = Stage::new();
    let context = stage.attempt();
    let failed = context.step::<u32, _>("a", async { Err(Stop::transient("no")) }).await;
    assert_eq!(code_of(failed), "agent_error");
    drop(context.begin_step("a").await.unwrap());
    context.step("a", async { Ok(1) }).await.unwrap();
    assert_eq!(stage.attempt().step("a", async { Ok(2) }).await.unwrap(), 1);
}

#[tokio::test]
async fn large_results_go_by_reference() {
    let stage = Stage::new();
    let text = "x".repeat(10_000_000);
    let first = stage.attempt();
    first.step("big", async { Ok(text.clone()) }).await.unwrap();
    let bytes = stage.ledger.messages().last().unwrap().payload.len();
    assert!(bytes < 2_000, "{bytes} bytes in the log");
    let again = stage.attempt().step("big", async { Ok(String::new()) }).await.unwrap();
    assert!(again == text);
}

#[tokio::test]
async fn halves_of_a_step_are_a_step_and_keys_tell_equal_names_apart() {
    let stage = Stage::new();
    let context = stage.attempt();
    for key in ["s7/a", "s7/a#2", "s7/a#3"] {
        let Begun::Run(open) = context.begin_step("a").await.unwrap() else { panic!("it is new") };
        assert_eq!(open.key(), key);
        open.commit(json!(key)).await.unwrap();
    }
    let context = stage.attempt();
    for key in ["s7/a", "s7/a#2", "s7/a#3"] {
        let Begun::Recorded(value) = context.begin_step("a").await.unwrap() else { panic!("old") };
        assert_eq!(value, json!(key));
    }
}
