//! Delegations: joins, failures, limits, slices, refunds, losers.

use std::time::Duration;

use protocol::budget::Unit;
use protocol::limits::{DELEGATION_DEPTH_MAX, FAN_OUT_MAX};
use protocol::need::Need;
use serde_json::json;

use super::*;
use crate::delegate::{ChildEnd, Join, OnFailure, Work};

fn skill(name: &str) -> Skill {
    Skill::parse(name).unwrap()
}

fn work(count: usize, on_failure: &OnFailure) -> Vec<Work> {
    let piece = |n| Work::new(skill("inspect"), json!(n)).on_failure(on_failure.clone());
    (0..count).map(piece).collect()
}

/// Hands work out and suspends on it.
async fn begin(stage: &Stage, work: Vec<Work>, join: Join) {
    let context = stage.attempt();
    let stop = context.delegate_with("fan", work, join).await.unwrap_err();
    stage.suspend(&context, stop).await;
}

async fn go_on(stage: &Stage, work: Vec<Work>, join: Join) -> Result<Vec<ChildEnd>, Stop> {
    assert!(stage.look().await, "enough have ended");
    stage.attempt().delegate_with("fan", work, join).await
}

fn values(ends: &[ChildEnd]) -> Vec<Value> {
    let value =
        |end: &ChildEnd| end.result.clone().unwrap_or_else(|fault| Value::String(fault.code));
    ends.iter().map(value).collect()
}

#[tokio::test]
async fn the_first_to_complete_counts_and_the_others_are_canceled() {
    let stage = Stage::new();
    let pieces = || work(3, &OnFailure::Report);
    begin(&stage, pieces(), Join::First).await;
    let children = stage.children(0);
    assert_eq!(stage.dispatched("inspect").len(), 3);
    stage.fail(&children[0], "no").await;
    assert!(!stage.look().await, "a failure is no completion");
    stage.complete(&children[2], json!("two")).await;
    let ends = go_on(&stage, pieces(), Join::First).await.unwrap();
    assert_eq!(values(&ends), [json!("broken"), json!("not_awaited"), json!("two")]);
    let canceled: Vec<_> = children.iter().map(|child| stage.canceled(child)).collect();
    assert_eq!(canceled, [0, 1, 0]);
    // What ends later changes nothing: the log says who counted.
    stage.complete(&children[1], json!("one")).await;
    let again = stage.attempt().delegate_with("fan", pieces(), Join::First).await.unwrap();
    assert_eq!(again, ends);
}

#[tokio::test]
async fn a_quorum_that_cannot_be_reached_fails() {
    for (ok, code) in [(1, "child_failed"), (2, "fine")] {
        let stage = Stage::new();
        let pieces = || work(3, &OnFailure::Report);
        begin(&stage, pieces(), Join::Quorum(2)).await;
        for (at, child) in stage.children(0).iter().enumerate() {
            if at < ok {
                stage.complete(child, json!(at)).await
            } else {
                stage.fail(child, "no").await
            }
        }
        let found = go_on(&stage, pieces(), Join::Quorum(2)).await;
        let found = found.map_or_else(|stop| code_of::<u32>(Err(stop)), |_| "fine".to_owned());
        assert_eq!(found, code);
    }
}

#[tokio::test]
async fn what_a_failure_leads_to_is_the_pieces_own() {
    let cached = OnFailure::Cached { no_older_than: Duration::from_secs(1) };
    for (on_failure, outcome) in [
        (OnFailure::Report, json!("broken")),
        (OnFailure::Ignore, json!(null)),
        (OnFailure::Fail, json!("child_failed")),
        (cached, json!("broken")),
    ] {
        let stage = Stage::new();
        begin(&stage, work(1, &on_failure), Join::All).await;
        stage.fail(&stage.children(0)[0], "no").await;
        let found = go_on(&stage, work(1, &on_failure), Join::All).await;
        let found = found
            .map_or_else(|stop| json!(code_of::<u32>(Err(stop))), |ends| values(&ends)[0].clone());
        assert_eq!(found, outcome, "{on_failure:?}");
    }
}

#[tokio::test]
async fn a_retry_goes_elsewhere_and_a_fallback_to_another_skill() {
    let retry = OnFailure::Retry { times: 2, elsewhere: true };
    let fallback = OnFailure::Fallback { skill: skill("backup") };
    for (on_failure, waves) in [(retry, 3), (fallback, 2)] {
        let stage = Stage::new();
        let pieces = || {
            let mut pieces = work(2, &OnFailure::Report);
            pieces[1].on_failure = on_failure.clone();
            pieces
        };
        begin(&stage, pieces(), Join::All).await;
        let first = stage.children(0);
        stage.complete(&first[0], json!("ok")).await;
        stage.fail(&first[1], "no").await;
        for wave in 1..waves {
            assert!(stage.look().await);
            let context = stage.attempt();
            let stop = context.delegate_with("fan", pieces(), Join::All).await.unwrap_err();
            stage.suspend(&context, stop).await;
            let again = stage.children(wave);
            assert_eq!(again.len(), 1, "only the one that failed");
            if let OnFailure::Retry { .. } = on_failure {
                assert_eq!(again[0].avoid.as_ref().unwrap().as_str(), "n2");
                assert_eq!(again[0].skill, skill("inspect"));
            } else {
                assert_eq!(again[0].skill, skill("backup"));
            }
            if wave + 1 == waves {
                stage.complete(&again[0], json!("late")).await
            } else {
                stage.fail(&again[0], "no").await
            }
        }
        let ends = go_on(&stage, pieces(), Join::All).await.unwrap();
        assert_eq!(values(&ends), [json!("ok"), json!("late")]);
    }
}

#[tokio::test]
async fn a_cached_result_stands_in_while_it_is_young() {
    let cached = OnFailure::Cached { no_older_than: Duration::from_secs(10) };
    for (age_ms, outcome) in [(10_000, json!("kept")), (10_001, json!("broken"))] {
        let mut stage = Stage::new();
        begin(&stage, work(1, &cached), Join::All).await;
        stage.complete(&stage.children(0)[0], json!("kept")).await;
        go_on(&stage, work(1, &cached), Join::All).await.unwrap();
        stage.hand.set(Timestamp::from_millis(age_ms));
        stage.task = TaskId::from_sequence(8);
        begin(&stage, work(1, &cached), Join::All).await;
        stage.fail(&stage.children(0)[0], "no").await;
        let ends = go_on(&stage, work(1, &cached), Join::All).await.unwrap();
        assert_eq!(values(&ends), std::slice::from_ref(&outcome), "{age_ms}");
        // The read is in the log: what time it is later does not matter.
        stage.hand.set(Timestamp::from_millis(99_000));
        let again =
            stage.attempt().delegate_with("fan", work(1, &cached), Join::All).await.unwrap();
        assert_eq!(values(&again), [outcome]);
    }
}

#[tokio::test]
async fn limits_are_told_before_anything_is_written() {
    let few = |depth, fan_out| Grant { depth, fan_out, ..Grant::default() };
    for (grant, depth, count, place) in [
        (Grant::default(), DELEGATION_DEPTH_MAX, 1, "depth"),
        (few(Some(0), None), 0, 1, "budget.depth"),
        (few(None, Some(2)), 0, 3, "budget.fanOut"),
        (Grant::default(), 0, FAN_OUT_MAX + 1, "fan-out"),
        (Grant::default(), 0, 1, ""),
    ] {
        let mut stage = Stage::granted(grant);
        stage.origin.depth = depth;
        let context = stage.attempt();
        let found = context.delegate_with("fan", work(count, &OnFailure::Report), Join::All).await;
        if place.is_empty() {
            assert!(matches!(found, Err(Stop::Suspended { .. })), "{found:?}");
            continue;
        }
        let fault = fault_of(found);
        assert!(fault.starts_with("delegation_limit") && fault.contains(place), "{fault}");
        assert_eq!(stage.ledger.messages().len(), 0);
    }
}

#[tokio::test]
async fn a_skill_that_nobody_serves_is_told_at_once_or_fallen_back_from() {
    let stage = Stage::new();
    stage.mesh.without(skill("inspect"));
    let context = stage.attempt();
    let fault =
        fault_of(context.delegate_with("fan", work(1, &OnFailure::Report), Join::All).await);
    for said in ["nobody_serves", "inspect", "piece 0"] {
        assert!(fault.contains(said), "{fault}");
    }
    assert_eq!(stage.ledger.messages().len(), 0);
    begin(&stage, work(1, &OnFailure::Fallback { skill: skill("backup") }), Join::All).await;
    let child = &stage.children(0)[0];
    assert_eq!(child.skill, skill("backup"));
    assert!(child.reason.as_ref().unwrap().contains("nobody serves"));
}

#[tokio::test]
async fn a_need_is_resolved_once_and_its_reason_is_in_the_log() {
    let stage = Stage::new();
    let need = Need { tags: vec!["ocr".to_owned()], ..Need::default() };
    let pieces = || vec![Work::for_need(need.clone(), json!("scan"))];
    let context = stage.attempt();
    assert_eq!(code_of(context.delegate_with("fan", pieces(), Join::All).await), "nobody_serves");
    stage.mesh.resolves(need.clone(), skill("tesseract"), "the least loaded of 2");
    begin(&stage, pieces(), Join::All).await;
    let child = stage.children(0)[0].clone();
    assert_eq!(child.skill, skill("tesseract"));
    assert_eq!(child.reason.as_deref(), Some("the least loaded of 2"));
    stage.complete(&child, json!("text")).await;
    assert_eq!(values(&go_on(&stage, pieces(), Join::All).await.unwrap()), [json!("text")]);
}

#[tokio::test]
async fn slices_are_reserved_and_what_is_not_used_comes_back() {
    let grant = Grant { tokens: Some(100), depth: Some(2), ..Grant::default() };
    let stage = Stage::granted(grant);
    let pieces = || {
        let mut pieces = work(3, &OnFailure::Report);
        pieces[0].budget = Some(Grant { tokens: Some(40), ..Grant::default() });
        pieces
    };
    begin(&stage, pieces(), Join::All).await;
    let children = stage.children(0);
    let slices: Vec<_> = children.iter().map(|child| child.budget.unwrap()).collect();
    assert_eq!(
        slices.iter().map(|slice| slice.tokens).collect::<Vec<_>>(),
        [Some(40), Some(20), Some(20)]
    );
    assert!(slices.iter().all(|slice| slice.depth == Some(1)));
    assert_eq!(stage.log().account.left(Unit::Tokens), Some(20));
    let used = |tokens| Some(Usage { tokens, ..Usage::default() });
    let done = || Event::Completed { output: vec![Part::text("ok")] };
    stage.end(&children[0], done(), used(10)).await;
    stage.end(&children[1], done(), used(20)).await;
    stage.end(&children[2], done(), None).await;
    for _ in 0..2 {
        let waits = stage.log().waiting_for.is_some();
        assert!(!waits || stage.look().await);
        stage.attempt().delegate_with("fan", pieces(), Join::All).await.unwrap();
    }
    let account = stage.log().account;
    assert_eq!(
        (account.spent.tokens, account.reserved.tokens),
        (50, 0),
        "10, 20 and a whole slice"
    );
    assert_eq!(stage.kinds().iter().filter(|kind| **kind == "refunded").count(), 1);
    let too_much = Work::new(skill("inspect"), json!(1))
        .spending(Grant { tokens: Some(51), ..Grant::default() });
    let context = stage.attempt();
    context.delegate_with("fan", pieces(), Join::All).await.unwrap();
    assert_eq!(
        code_of(context.delegate_with("more", vec![too_much], Join::All).await),
        "budget_exceeded"
    );
}

#[tokio::test]
async fn losers_give_back_when_it_is_needed() {
    let stage = Stage::granted(Grant { tokens: Some(90), ..Grant::default() });
    let pieces = || work(2, &OnFailure::Report);
    begin(&stage, pieces(), Join::First).await;
    let children = stage.children(0);
    let done = Event::Completed { output: vec![Part::text("ok")] };
    stage.end(&children[0], done, Some(Usage { tokens: 5, ..Usage::default() })).await;
    go_on(&stage, pieces(), Join::First).await.unwrap();
    assert_eq!(stage.log().account.left(Unit::Tokens), Some(55), "the loser's 30 are still out");
    let reason = "not needed".to_owned();
    let nothing = Some(Usage::default());
    stage.end(&children[1], Event::Canceled { reason }, nothing).await;
    let context = stage.attempt();
    context.delegate_with("fan", pieces(), Join::First).await.unwrap();
    let call = crate::context::Call::new("c").reserving(Usage { tokens: 85, ..Usage::default() });
    context.call(call, |_| async { Ok((1, Usage::default())) }).await.unwrap();
    assert_eq!(context.budget().await.left(Unit::Tokens), Some(85));
}

#[tokio::test]
async fn another_number_of_pieces_is_another_delegation() {
    let stage = Stage::new();
    begin(&stage, work(2, &OnFailure::Report), Join::All).await;
    let context = stage.attempt();
    let found = context.delegate_with("fan", work(3, &OnFailure::Report), Join::All).await;
    assert_eq!(code_of(found), "nondeterministic");
}

#[tokio::test]
async fn children_that_were_not_dispatched_are_dispatched_by_the_next_attempt() {
    let stage = Stage::new();
    let pieces = || work(3, &OnFailure::Report);
    begin(&stage, pieces(), Join::All).await;
    let children = stage.children(0);
    stage.complete(&children[1], json!(1)).await;
    let context = stage.attempt();
    let stop = context.delegate_with("fan", pieces(), Join::All).await.unwrap_err();
    assert!(matches!(stop, Stop::Suspended { .. }));
    let ids = stage.dispatched("inspect");
    let of = |child: &Child| ids.iter().filter(|id| **id == child.task.as_str()).count();
    assert_eq!(
        children.iter().map(of).collect::<Vec<_>>(),
        [2, 1, 2],
        "the stream drops repetitions"
    );
}
