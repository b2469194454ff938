//! The fold, read as a specification.

use super::*;
use crate::approval::{ApprovalRequest, Level, Ruling, Verdict};
use crate::budget::{Grant, Unit};
use crate::card::OnMessage;
use crate::entry::{Child, ChildSpend};
use crate::id::{NodeName, Owner, Skill, TaskId};
use crate::input::Input;
use crate::lifecycle::ARROWS;
use crate::message::Part;
use crate::submission::Queue;
use crate::wait::Answer;

fn origin() -> Box<Origin> {
    let source = Source { queue: Queue::Inbox, sequence: 9 };
    Box::new(Origin::bare(Skill::parse("echo").unwrap(), source, Timestamp::from_millis(0)))
}

fn entry(generation: u64, attempt: u32, event: Event) -> Entry {
    Entry {
        generation,
        at: Timestamp::from_millis(i64::try_from(generation).unwrap()),
        by: NodeName::parse("n1").unwrap(),
        attempt,
        origin: (generation == 1).then(origin),
        agent: None,
        spent: None,
        raised: None,
        driver: None,
        event,
    }
}

fn fault() -> Fault {
    Fault::new("agent_error", "no luck")
}

fn approval() -> WaitingFor {
    let level = |name: &str, after_ms| Level { approvers: vec![name.to_owned()], after_ms };
    let mut request = ApprovalRequest::new(serde_json::json!({"pay": 5}), "pay?");
    request.chain = vec![level("ann", 0), level("eve", 1_000), level("kim", 9_000)];
    WaitingFor::Approval { name: "pay".to_owned(), request: Box::new(request) }
}

fn escalated(after_ms: u64) -> Event {
    let (name, to) = ("pay".to_owned(), vec!["eve".to_owned()]);
    Event::Escalated { name, after_ms, to, reason: "ann did not decide".to_owned() }
}

fn event(kind: Kind) -> Event {
    match kind {
        Kind::Claimed => Event::Claimed { client: "c".to_owned() },
        Kind::Status => Event::Status { message: Message::from_agent("half") },
        Kind::Artifact => Event::Artifact {
            artifact: Artifact {
                artifact_id: "a".to_owned(),
                name: None,
                description: None,
                parts: vec![Part::text("x")],
                metadata: None,
            },
            append: false,
            last_chunk: true,
        },
        Kind::Step => Event::step("s", Part::text("1")),
        Kind::Reserved => Event::Reserved { name: "s".to_owned(), usage: Usage::default() },
        Kind::Received => Event::Received {
            waiting_for: WaitingFor::Signal { name: "bell".to_owned() },
            answer: Answer::Signal { sequence: 3, payload: Vec::new() },
        },
        Kind::Refunded => Event::Refunded { children: Vec::new() },
        Kind::Delegated => Event::Delegated {
            name: "d".to_owned(),
            more: false,
            children: vec![Child {
                task: TaskId::of_child(&Owner::default(), &TaskId::from_sequence(9), 0, 0),
                skill: Skill::parse("echo").unwrap(),
                input: Part::text("x"),
                budget: None,
                reason: None,
                avoid: None,
                essential: false,
            }],
        },
        Kind::Suspended => Event::Suspended { waiting_for: approval(), until: None },
        Kind::Escalated => escalated(1_000),
        Kind::Resumed => Event::Resumed { reason: "children ended".to_owned(), answer: None },
        Kind::AttemptFailed => Event::AttemptFailed {
            failure: FailureClass::Transient,
            fault: fault(),
            retry_at: Timestamp::from_millis(99),
            requeued: true,
        },
        Kind::Released => Event::Released { reason: "drain".to_owned(), requeued: false },
        Kind::Completed => Event::Completed { output: vec![Part::text("ok")] },
        Kind::Failed => Event::Failed { failure: FailureClass::Permanent, fault: fault() },
        Kind::Canceled => Event::Canceled { reason: "enough".to_owned() },
        Kind::Rejected => Event::Rejected { fault: fault() },
    }
}

/// A log that stands in this phase.
fn standing_in(phase: Phase) -> TaskLog {
    let kinds: &[Kind] = match phase {
        Phase::Queued => &[],
        Phase::Running => &[Kind::Claimed],
        Phase::Waiting => &[Kind::Delegated, Kind::Suspended],
        Phase::Ended => &[Kind::Completed],
    };
    run(kinds)
}

fn run(kinds: &[Kind]) -> TaskLog {
    let entries = (1..).zip(kinds).map(|(at, kind)| (at * 10, entry(at, 1, event(*kind))));
    TaskLog::fold(entries).unwrap()
}

#[test]
fn every_arrow_leads_where_the_table_says_and_no_other_exists() {
    for phase in [Phase::Queued, Phase::Running, Phase::Waiting, Phase::Ended] {
        for kind in Kind::ALL {
            let mut log = standing_in(phase);
            let before = log.clone();
            let result = log.apply(99, entry(log.generation + 1, 1, event(kind)));
            match ARROWS.iter().find(|(from, by, _)| (*from, *by) == (phase, kind)) {
                Some((_, _, to)) => {
                    assert_eq!((result, log.phase), (Ok(()), *to), "{phase:?} {kind:?}");
                    assert_eq!(log.state.is_terminal(), *to == Phase::Ended);
                }
                None => {
                    assert!(matches!(result, Err(FoldError::Arrow { .. })), "{phase:?} {kind:?}");
                    assert_eq!(log, before);
                }
            }
        }
    }
}

#[test]
fn a_later_attempt_makes_the_one_before_it_lost() {
    let log = TaskLog::fold([
        (1, entry(1, 1, event(Kind::Claimed))),
        (2, entry(2, 2, event(Kind::Claimed))),
        (3, entry(3, 2, event(Kind::Released))),
        (4, entry(4, 3, event(Kind::AttemptFailed))),
        (5, entry(5, 4, event(Kind::Completed))),
    ])
    .unwrap();
    let outcomes = log.attempts.iter().map(|attempt| attempt.outcome).collect::<Vec<_>>();
    assert_eq!(
        outcomes,
        [
            AttemptOutcome::Lost,
            AttemptOutcome::Released,
            AttemptOutcome::Failed,
            AttemptOutcome::Ended
        ]
    );
    assert_eq!(log.failures(), 2);
    assert_eq!(log.last_sequence, 5);
}

#[test]
fn a_run_that_goes_on_after_a_pause_is_a_resume_and_no_further_try() {
    let waits = [Kind::Suspended, Kind::Resumed];
    let of = |kinds: &[(u32, Kind)]| {
        let entries = (1_u64..).zip(kinds).map(|(at, (run, kind))| {
            (at, entry(at, if *kind == Kind::Resumed { 0 } else { *run }, event(*kind)))
        });
        let log = TaskLog::fold(entries).unwrap();
        (log.tries(), log.resumes(), log.failures())
    };
    let [suspended, resumed] = waits;
    let (claimed, failed, released) = (Kind::Claimed, Kind::AttemptFailed, Kind::Released);
    for (kinds, expected) in [
        (&[(1, claimed)][..], (1, 0, 1)),
        (&[(1, suspended)], (1, 0, 0)),
        (&[(1, suspended), (1, resumed)], (1, 0, 0)),
        (&[(1, suspended), (1, resumed), (2, suspended), (2, resumed), (3, claimed)], (1, 2, 1)),
        (&[(1, suspended), (1, resumed), (2, failed), (3, claimed)], (2, 1, 2)),
        (&[(1, suspended), (1, resumed), (2, claimed), (3, suspended)], (2, 1, 1)),
        (&[(1, claimed), (1, released), (2, Kind::Completed)], (1, 1, 0)),
        (&[(1, failed), (2, failed), (3, Kind::Completed)], (3, 0, 2)),
    ] {
        assert_eq!(of(kinds), expected, "{kinds:?}");
    }
}

#[test]
fn giving_up_adds_no_attempt_and_loses_the_last_one() {
    let log = TaskLog::fold([
        (1, entry(1, 1, event(Kind::Claimed))),
        (2, entry(2, 0, event(Kind::Failed))),
    ])
    .unwrap();
    let outcomes = log.attempts.iter().map(|attempt| attempt.outcome).collect::<Vec<_>>();
    assert_eq!(outcomes, [AttemptOutcome::Lost]);
}

#[test]
fn an_approval_escalates_once_to_each_level_and_is_as_old_as_its_question() {
    let mut log = run(&[Kind::Claimed, Kind::Suspended]);
    let since = log.waiting_since;
    let due = |log: &TaskLog| log.due().zip(since).map(|(at, since)| at.since(since).as_millis());
    assert_eq!((log.asked_at, log.escalated_ms, due(&log)), (2, 0, Some(1_000)));
    for (after_ms, taken, next) in [
        (0, false, Some(1_000)),
        (1_001, false, Some(1_000)),
        (1_000, true, Some(9_000)),
        (1_000, false, Some(9_000)),
        (9_000, true, None),
        (1_000, false, None),
    ] {
        let before = log.clone();
        let result = log.apply(99, entry(log.generation + 1, 0, escalated(after_ms)));
        if !taken {
            assert!(matches!(result, Err(FoldError::Level { .. })), "{after_ms}");
            assert_eq!(log, before);
        }
        assert_eq!((result.is_ok(), due(&log)), (taken, next), "{after_ms}");
    }
    assert_eq!((log.asked_at, log.waiting_since), (2, since));
    assert_eq!((log.state, log.attempts.len()), (TaskState::InputRequired, 1));
}

/// Folds a task with this grant, and says what its end tells its parent.
fn settled(tokens: u64, events: Vec<Event>) -> (Account, ChildSpend) {
    let mut log = TaskLog::default();
    for (at, event) in (1..).zip(events) {
        let mut entry = entry(at, 1, event);
        if let Some(origin) = &mut entry.origin {
            origin.budget = Some(Grant { tokens: Some(tokens), ..Grant::default() });
        }
        log.apply(at, entry).unwrap();
        let account = log.account;
        let sum =
            account.spent.tokens + account.reserved.tokens + account.left(Unit::Tokens).unwrap();
        assert_eq!(Some(sum), account.granted.tokens, "{account:?}");
    }
    let mut end = entry(log.generation + 1, 1, event(Kind::Completed));
    log.close_account(&mut end);
    let (task, raised) = (TaskId::from_sequence(tokens), end.raised.unwrap_or_default());
    (log.account, ChildSpend { task, spent: end.spent.unwrap(), raised })
}

#[test]
fn a_raise_for_a_child_is_nobody_elses_to_pay() {
    let tokens = |tokens| Usage { tokens, ..Usage::default() };
    let raise = |tokens: u64| {
        let action = serde_json::json!({"raiseBudget": {"tokens": tokens}});
        let request = Box::new(ApprovalRequest::new(action, "more?"));
        let verdict = Some(Verdict::Approve);
        let ruling = Ruling { verdict, by: vec!["ann".to_owned()], comment: None, action: None };
        Event::Received {
            waiting_for: WaitingFor::Approval { name: "more".to_owned(), request },
            answer: Answer::Approval { sequences: vec![tokens], ruling },
        }
    };
    let spend = |used| Event::Step {
        name: "s".to_owned(),
        output: Part::text("x"),
        usage: Some(tokens(used)),
        fingerprint: None,
        approval: None,
    };
    let delegate = |child: &ChildSpend, slice| {
        let Event::Delegated { name, more, mut children } = event(Kind::Delegated) else {
            panic!()
        };
        for one in &mut children {
            one.task = child.task.clone();
            one.budget = Some(Grant { tokens: Some(slice), ..Grant::default() });
        }
        Event::Delegated { name, more, children }
    };
    let refund = |child: &ChildSpend| Event::Refunded { children: vec![child.clone()] };
    for (raised, used, left) in [(20, 25, 95), (20, 30, 90), (20, 5, 115), (0, 7, 93)] {
        let (_, child) = settled(10, vec![raise(raised), spend(used)]);
        assert_eq!((child.spent, child.raised), (tokens(used), tokens(raised)));
        let (account, parent) = settled(100, vec![delegate(&child, 10), refund(&child)]);
        assert_eq!((account.left(Unit::Tokens), account.overdrawn), (Some(left), tokens(0)));
        let (account, _) = settled(200, vec![delegate(&parent, 100), refund(&parent)]);
        assert_eq!(account.left(Unit::Tokens), Some(left + 100), "{raised} {used}");
    }
}

#[test]
fn a_message_is_refused_by_its_place_among_the_entries() {
    let message = Input::Message(Message::from_user(vec![Part::text("hi")]));
    let signal = Input::Signal { name: "bell".to_owned(), payload: Vec::new() };
    let log = run(&[Kind::Claimed, Kind::Step, Kind::Suspended, Kind::Resumed, Kind::Claimed]);
    let (reject, enqueue) = (OnMessage::Reject, OnMessage::Enqueue);
    for (sequence, input, on_message, refused) in [
        (9, &message, reject, false),
        (11, &message, reject, true),
        (29, &message, reject, true),
        (31, &message, reject, false),
        (49, &message, reject, false),
        (51, &message, reject, true),
        (51, &message, enqueue, false),
        (51, &signal, reject, false),
    ] {
        assert_eq!(log.refuses(sequence, input, on_message), refused, "{sequence} {input:?}");
    }
}

#[test]
fn the_driver_moves_with_each_requeue() {
    let source = Driver::Source(Source { queue: Queue::Inbox, sequence: 9 });
    assert_eq!(TaskLog::default().driver, Driver::Any);
    assert_eq!(run(&[Kind::Claimed]).driver, source);
    assert_eq!(
        run(&[Kind::Claimed, Kind::AttemptFailed]).driver,
        Driver::Requeue { generation: 2, sequence: None }
    );
    assert_eq!(
        run(&[Kind::Delegated, Kind::Suspended, Kind::Resumed]).driver,
        Driver::Requeue { generation: 3, sequence: None }
    );
}

#[test]
fn a_delegation_may_take_several_entries() {
    let part = |more, from: u32| {
        let children = (from..from + 2)
            .map(|index| Child {
                task: TaskId::of_child(&Owner::default(), &TaskId::from_sequence(9), 0, index),
                skill: Skill::parse("echo").unwrap(),
                input: Part::text("x"),
                budget: None,
                reason: None,
                avoid: None,
                essential: false,
            })
            .collect();
        Event::Delegated { name: "d".to_owned(), more, children }
    };
    let mut log =
        TaskLog::fold([(1, entry(1, 1, part(true, 0))), (2, entry(2, 1, part(true, 2)))]).unwrap();
    assert!(log.delegation_is_open());
    log.apply(3, entry(3, 1, part(false, 4))).unwrap();
    assert!(!log.delegation_is_open());
    assert_eq!((log.journal.len(), log.children_at(0).len()), (1, 6));
}

#[test]
fn what_breaks_the_rules_is_refused() {
    let mut log = run(&[Kind::Claimed]);
    let gap = log.apply(2, entry(5, 1, event(Kind::Completed)));
    assert!(matches!(gap, Err(FoldError::Generation { found: 5, expected: 2, .. })));
    let mut second_origin = entry(2, 1, event(Kind::Completed));
    second_origin.origin = Some(origin());
    assert!(matches!(log.apply(2, second_origin), Err(FoldError::Origin { .. })));
    let mut no_origin = entry(1, 1, event(Kind::Completed));
    no_origin.origin = None;
    assert!(matches!(TaskLog::default().apply(1, no_origin), Err(FoldError::Origin { .. })));
}

#[test]
fn entries_survive_the_wire() {
    for kind in Kind::ALL {
        let written = entry(1, 1, event(kind));
        let text = serde_json::to_string(&written).unwrap();
        assert!(text.contains(&format!("\"type\":\"{}\"", kind.name())), "{text}");
        assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), written);
    }
}
