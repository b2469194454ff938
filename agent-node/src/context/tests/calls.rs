//! Calls: budgets, loops, approvals.

use protocol::approval::{Level, action_hash};
use protocol::budget::Unit;
use runtime::config::{ApprovalSection, OnBudget};
use serde_json::json;

use super::*;
use crate::context::{Allowed, ApprovalOptions, Call};

fn tokens(tokens: u64) -> Usage {
    Usage { tokens, ..Usage::default() }
}

fn grant(tokens: u64) -> Grant {
    Grant { tokens: Some(tokens), ..Grant::default() }
}

async fn spend(context: &Context, name: &str, reserve: u64, used: u64) -> Result<u64, Stop> {
    let call = Call::new(name).with(json!({ "n": used })).reserving(tokens(reserve));
    context.call(call, |_| async move { Ok((used, tokens(used))) }).await
}

/// What every prefix of the log has to hold.
fn assert_balanced(stage: &Stage) {
    let mut log = TaskLog::default();
    for (sequence, entry) in stage.entries() {
        log.apply(sequence, entry).unwrap();
        let account = log.account;
        let sum =
            account.spent.tokens + account.reserved.tokens + account.left(Unit::Tokens).unwrap();
        assert_eq!(Some(sum), account.granted.tokens, "at {sequence}");
    }
}

#[tokio::test]
async fn what_is_reserved_is_settled_and_the_rest_is_left() {
    let stage = Stage::granted(grant(100));
    let context = stage.attempt();
    spend(&context, "a", 60, 50).await.unwrap();
    assert_eq!(context.budget().await.left(Unit::Tokens), Some(50));
    assert_eq!(code_of(spend(&context, "b", 51, 1).await), "budget_exceeded");
    spend(&context, "b", 50, 50).await.unwrap();
    assert_eq!(stage.kinds(), ["reserved", "step", "reserved", "step"]);
    let again = stage.attempt();
    assert_eq!(spend(&again, "a", 60, 50).await.unwrap(), 50);
    assert_eq!(spend(&again, "b", 50, 50).await.unwrap(), 50, "it is paid for already");
    assert_balanced(&stage);
}

#[tokio::test]
async fn without_a_grant_or_a_reservation_a_call_is_one_entry() {
    for (stage, reserve) in [(Stage::new(), 5), (Stage::granted(grant(9)), 0)] {
        let context = stage.attempt();
        spend(&context, "a", reserve, 3).await.unwrap();
        assert_eq!(stage.kinds(), ["step"]);
    }
}

#[tokio::test]
async fn a_call_that_was_cut_short_counts_as_spent() {
    let stage = Stage::granted(grant(100));
    let context = stage.attempt();
    let call = || Call::new("a").reserving(tokens(30));
    let cut = context.call::<u64, _, _>(call(), |_| async { Err(Stop::transient("no")) }).await;
    assert_eq!(code_of(cut), "agent_error");
    // The agent goes on with a plain step, which must not settle what the call had set aside.
    context.step("note", async { Ok(1) }).await.unwrap();
    assert_eq!(context.budget().await.spent, tokens(30));
    let context = stage.attempt();
    context.step("note", async { Ok(1) }).await.unwrap();
    drop(context.begin_call(call()).await.unwrap());
    let context = stage.attempt();
    context.step("note", async { Ok(1) }).await.unwrap();
    spend(&context, "a", 40, 40).await.unwrap();
    assert_eq!(stage.log().account.spent, tokens(100), "30, 30 and 40");
    assert_balanced(&stage);
}

#[tokio::test]
async fn equal_calls_in_a_row_are_a_loop() {
    let mut stage = Stage::new();
    stage.guard.equal_calls_max = 3;
    let context = stage.attempt();
    for _ in 0..3 {
        spend(&context, "look", 0, 1).await.unwrap();
    }
    assert_eq!(code_of(spend(&context, "look", 0, 1).await), "loop_detected");
    let context = stage.attempt();
    for _ in 0..3 {
        spend(&context, "look", 0, 1).await.unwrap();
    }
    spend(&context, "look", 0, 2).await.unwrap();
    spend(&context, "look", 0, 1).await.unwrap();
    assert_eq!(stage.log().journal.len(), 5, "other arguments break the row");
}

#[tokio::test]
async fn a_budget_that_does_not_suffice_is_asked_for() {
    for (verdict, outcome) in [
        (Some(Verdict::Approve), "80"),
        (Some(Verdict::Deny), "budget_exceeded"),
        (None, "budget_exceeded"),
    ] {
        let mut stage = Stage::granted(grant(50));
        stage.guard.on_budget = OnBudget::Ask;
        stage.guard.approvals = vec![ApprovalSection {
            call: "raiseBudget".to_owned(),
            chain: Vec::new(),
            quorum: 1,
            expires: Some(std::time::Duration::from_secs(9)),
        }];
        let context = stage.attempt();
        let stop = spend(&context, "a", 80, 80).await.unwrap_err();
        stage.suspend(&context, stop).await;
        let request = stage.request();
        assert_eq!(request.action, json!({"raiseBudget": {"tokens": 30}}));
        match verdict {
            Some(verdict) => stage.rule(&request.hash, verdict, None).await,
            None => stage.hand.set(Timestamp::from_millis(9_000)),
        }
        assert!(stage.look().await);
        for _ in 0..2 {
            let context = stage.attempt();
            let found = spend(&context, "a", 80, 80).await;
            let found = found.map_or_else(|stop| code_of::<u64>(Err(stop)), |n| n.to_string());
            assert_eq!(found, outcome, "{verdict:?}");
        }
        assert_balanced(&stage);
    }
}

#[tokio::test]
async fn little_left_degrades() {
    let mut stage = Stage::granted(grant(100));
    stage.guard.on_budget = OnBudget::Degrade;
    let context = stage.attempt();
    for (used, degraded) in [(80, false), (1, false), (19, true)] {
        let call = Call::new(format!("c{used}")).reserving(tokens(used));
        let told = |allowed: Allowed| async move { Ok((allowed.degraded, tokens(used))) };
        assert_eq!(context.call(call, told).await.unwrap(), degraded, "{used}");
    }
    assert_eq!(code_of(spend(&context, "more", 1, 1).await), "budget_exceeded");
}

fn pay(amount: u64) -> Call {
    Call::new("pay").with(json!({ "amount": amount }))
}

async fn paid(context: &Context, call: Call, counter: &Counter) -> Result<Value, Stop> {
    let effect = |allowed: Allowed| async move {
        counter.more();
        Ok((allowed.arguments, Usage::default()))
    };
    context.call(call, effect).await
}

#[tokio::test]
async fn a_call_waits_for_its_approval_and_uses_it_up() {
    let edit = json!({"call": "pay", "arguments": {"amount": 4}});
    let strange = json!({"call": "steal", "arguments": {}});
    for (verdict, action, outcome, ran) in [
        (Verdict::Approve, None, json!({"amount": 5}).to_string(), 1),
        (Verdict::Edit, Some(edit), json!({"amount": 4}).to_string(), 1),
        (Verdict::Edit, Some(strange), "approval_mismatch".to_owned(), 0),
        (Verdict::Deny, None, "approval_denied".to_owned(), 0),
    ] {
        let mut stage = Stage::new();
        let section =
            ApprovalSection { call: "pay".to_owned(), chain: Vec::new(), quorum: 1, expires: None };
        stage.guard.approvals = vec![section];
        let counter = Counter::default();
        let context = stage.attempt();
        let stop = paid(&context, pay(5), &counter).await.unwrap_err();
        stage.suspend(&context, stop).await;
        assert!(!stage.look().await, "nobody has decided");
        stage.rule(&stage.request().hash, verdict, action).await;
        assert!(stage.look().await);
        // Settings that have changed since do not change what was asked.
        stage.guard.approvals.clear();
        for _ in 0..3 {
            let context = stage.attempt();
            let found = paid(&context, pay(5), &counter).await;
            let found = found.map_or_else(|stop| code_of::<u64>(Err(stop)), |n| n.to_string());
            assert_eq!(found, outcome, "{verdict:?}");
        }
        assert_eq!(counter.count(), ran);
        if ran == 1 {
            let (_, last) = stage.entries().pop().unwrap();
            assert!(
                matches!(last.event, Event::Step { approval: Some(name), .. } if name == "approve pay")
            );
        }
    }
}

#[tokio::test]
async fn other_arguments_than_were_approved_are_refused() {
    let (stage, counter) = (Stage::new(), Counter::default());
    let asked = |amount| pay(amount).needs_approval(ApprovalOptions::default());
    let context = stage.attempt();
    let stop = paid(&context, asked(5), &counter).await.unwrap_err();
    stage.suspend(&context, stop).await;
    stage.rule(&stage.request().hash, Verdict::Approve, None).await;
    assert!(stage.look().await);
    let context = stage.attempt();
    assert_eq!(code_of(paid(&context, asked(6), &counter).await), "approval_mismatch");
    assert_eq!(counter.count(), 0);
    let context = stage.attempt();
    paid(&context, asked(5), &counter).await.unwrap();
    assert_eq!(counter.count(), 1);
}

#[tokio::test]
async fn what_the_settings_ask_for_holds_whatever_the_code_says() {
    let by = |name: &str| vec![Level { approvers: vec![name.to_owned()], after_ms: 0 }];
    let section =
        ApprovalSection { call: "pay".to_owned(), chain: by("boss"), quorum: 1, expires: None };
    let own = || ApprovalOptions {
        question: "mine?".to_owned(),
        chain: by("me"),
        ..ApprovalOptions::default()
    };
    let mut stage = Stage::new();
    stage.guard.approvals = vec![section];
    let counter = Counter::default();
    let context = stage.attempt();
    let stop = paid(&context, pay(5).needs_approval(own()), &counter).await.unwrap_err();
    stage.suspend(&context, stop).await;
    let request = stage.request();
    assert_eq!((request.question.as_str(), request.chain), ("mine?", by("boss")));

    let action = json!({"amount": 5});
    let stage = Stage { guard: stage.guard, ..Stage::new() };
    stage.rule(&action_hash(&action), Verdict::Approve, None).await;
    let context = stage.attempt();
    let approved = context.approve("money", action, ApprovalOptions::default()).await.unwrap();
    let paid = paid(&context, pay(5).allowed_by(approved), &counter).await;
    assert_eq!(code_of(paid), "approval_mismatch");
    assert_eq!(counter.count(), 0);
}

#[tokio::test]
async fn an_approval_of_the_agents_own_allows_one_call() {
    let (stage, counter) = (Stage::new(), Counter::default());
    let action = json!({"amount": 5});
    // The decision is there before the question: nothing is suspended.
    stage.rule(&action_hash(&action), Verdict::Approve, None).await;
    let context = stage.attempt();
    let options = ApprovalOptions::default;
    let approved = context.approve("money", action.clone(), options()).await.unwrap();
    assert_eq!(
        (approved.by.as_slice(), stage.kinds().as_slice()),
        (&["ann".to_owned()][..], &["received"][..])
    );
    assert_eq!(
        code_of(paid(&context, pay(6).allowed_by(approved), &counter).await),
        "approval_mismatch"
    );
    let context = stage.attempt();
    let approved = context.approve("money", action.clone(), options()).await.unwrap();
    paid(&context, pay(5).allowed_by(approved), &counter).await.unwrap();
    let second = context.approve("money", action, options()).await;
    assert!(matches!(second, Err(Stop::Suspended { .. })), "the decision is used up: {second:?}");
    assert_eq!(counter.count(), 1);
}
