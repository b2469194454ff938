//! The node's decisions, read as a specification.

use protocol::entry::{Entry, Origin};
use protocol::fault::FailureClass;
use protocol::id::{NodeName, Skill};
use protocol::submission::Queue;
use protocol::wait::WaitingFor;

use super::*;

const SOURCE: Source = Source { queue: Queue::Inbox, sequence: 9 };

fn log(events: Vec<Event>) -> TaskLog {
    let skill = Skill::parse("echo").unwrap();
    let origin = Origin {
        input_hash: "aa".to_owned(),
        ..Origin::bare(skill, SOURCE, Timestamp::from_millis(0))
    };
    let entries = (1_u64..).zip(events).map(|(generation, event)| {
        let entry = Entry {
            generation,
            at: Timestamp::from_millis(0),
            by: NodeName::parse("n1").unwrap(),
            attempt: u32::try_from(generation).unwrap(),
            origin: (generation == 1).then(|| Box::new(origin.clone())),
            agent: None,
            spent: None,
            raised: None,
            driver: None,
            event,
        };
        (generation, entry)
    });
    TaskLog::fold(entries).unwrap()
}

fn claimed() -> Event {
    Event::Claimed { client: "c".to_owned() }
}

fn attempt_failed(retry_at: i64, requeued: bool) -> Event {
    Event::AttemptFailed {
        failure: FailureClass::Transient,
        fault: Fault::new("x", "y"),
        retry_at: Timestamp::from_millis(retry_at),
        requeued,
    }
}

fn suspended() -> Event {
    Event::Suspended {
        waiting_for: WaitingFor::Children { position: 0, enough: None },
        until: None,
    }
}

fn resumed() -> Event {
    Event::Resumed { reason: "children".to_owned(), answer: None }
}

fn done() -> Event {
    Event::Completed { output: vec![] }
}

fn word(admission: &Admission) -> &'static str {
    match admission {
        Admission::Run => "run",
        Admission::CarryOut => "carry out",
        Admission::Duplicate { ended: true, conflict: false } => "duplicate of an ended task",
        Admission::Duplicate { ended: false, conflict: false } => "duplicate of an open task",
        Admission::Duplicate { conflict: true, .. } => "conflict",
        Admission::TooEarly { .. } => "too early",
        Admission::Fail { failure: Failure::Lost, .. } => "exhausted",
        Admission::Fail { .. } => "too late",
    }
}

#[test]
fn the_log_says_what_a_delivery_means() {
    let other = Source { queue: Queue::Inbox, sequence: 11 };
    let five_lost = vec![claimed(), claimed(), claimed(), claimed(), claimed()];
    for (events, source, requeued_by, hash, expected) in [
        (vec![], SOURCE, None, "aa", "run"),
        (vec![], SOURCE, Some(3), "aa", "too early"),
        (vec![claimed(), suspended()], other, Some(3), "", "too early"),
        (vec![claimed()], SOURCE, None, "aa", "run"),
        (vec![claimed()], other, None, "aa", "duplicate of an open task"),
        (vec![claimed()], other, None, "bb", "conflict"),
        (vec![done()], SOURCE, None, "aa", "carry out"),
        (vec![done()], other, None, "aa", "duplicate of an ended task"),
        (vec![done()], other, None, "bb", "conflict"),
        (vec![attempt_failed(0, false)], SOURCE, None, "aa", "run"),
        (vec![attempt_failed(2_000, false)], SOURCE, None, "aa", "too early"),
        (vec![attempt_failed(2_000, true)], SOURCE, None, "aa", "carry out"),
        (vec![attempt_failed(0, true)], other, Some(1), "", "run"),
        (vec![attempt_failed(0, true), claimed()], other, Some(2), "", "carry out"),
        (vec![claimed(), suspended()], SOURCE, None, "aa", "carry out"),
        (vec![claimed(), suspended(), resumed()], SOURCE, None, "aa", "carry out"),
        (vec![claimed(), suspended(), resumed()], other, Some(3), "", "run"),
        (vec![claimed(), suspended(), resumed(), done()], other, Some(3), "", "carry out"),
        (five_lost, SOURCE, None, "aa", "exhausted"),
    ] {
        let skill = Skill::parse("echo").unwrap();
        let arrival =
            Arrival { skill: &skill, source, requeued_by, input_hash: hash, deadline: None };
        let policy = RetryPolicy::default();
        let admission =
            admit(&log(events.clone()), arrival, &policy, Timestamp::from_millis(1_000));
        assert_eq!(word(&admission), expected, "{events:?} {source:?} {requeued_by:?}");
    }
}

#[test]
fn a_copy_of_a_requeued_message_drives_nothing() {
    let skill = Skill::parse("echo").unwrap();
    let mut requeued = log(vec![attempt_failed(0, true), claimed()]);
    for (known, sequence, expected) in
        [(None, 11, "run"), (Some(11), 11, "run"), (Some(11), 12, "carry out")]
    {
        requeued.driver = Driver::Requeue { generation: 1, sequence: known };
        let arrival = Arrival {
            skill: &skill,
            source: Source { queue: Queue::Run, sequence },
            requeued_by: Some(1),
            input_hash: "",
            deadline: None,
        };
        let admission =
            admit(&requeued, arrival, &RetryPolicy::default(), Timestamp::from_millis(1_000));
        assert_eq!(word(&admission), expected, "{known:?} {sequence}");
    }
}

#[test]
fn one_id_at_two_skills_is_a_conflict() {
    for (name, expected) in [("echo", "duplicate of an ended task"), ("shout", "conflict")] {
        let skill = Skill::parse(name).unwrap();
        let arrival = Arrival {
            skill: &skill,
            source: Source { queue: Queue::Inbox, sequence: 11 },
            requeued_by: None,
            input_hash: "aa",
            deadline: None,
        };
        let now = Timestamp::from_millis(1_000);
        let admission = admit(&log(vec![done()]), arrival, &RetryPolicy::default(), now);
        assert_eq!(word(&admission), expected, "{name}");
    }
}

#[test]
fn rests_grow_before_the_server_drops_a_message() {
    for (delivered, seconds) in [(1, 2), (31, 2), (32, 2), (33, 4), (36, 32), (50, 3600)] {
        assert_eq!(rest(delivered), Duration::from_secs(seconds), "{delivered}");
    }
}

#[test]
fn a_deadline_ends_what_has_not_begun() {
    let skill = Skill::parse("echo").unwrap();
    let arrival = |deadline| Arrival {
        skill: &skill,
        source: SOURCE,
        requeued_by: None,
        input_hash: "aa",
        deadline: Some(Timestamp::from_millis(deadline)),
    };
    let admit_at = |deadline| {
        admit(
            &log(vec![]),
            arrival(deadline),
            &RetryPolicy::default(),
            Timestamp::from_millis(1_000),
        )
    };
    assert_eq!(word(&admit_at(1_000)), "too late");
    assert_eq!(word(&admit_at(1_001)), "run");
}

#[test]
fn the_end_of_an_attempt_becomes_an_entry() {
    let policy = RetryPolicy { jitter: 0.0, ..RetryPolicy::default() };
    let at = |failures, delivered| Circumstance {
        policy: &policy,
        failures,
        begun: true,
        delivered,
        now: Timestamp::from_millis(1_000),
        chance: 0.5,
    };
    let nak = |millis| Settle::Nak { after: Duration::from_millis(millis) };
    for (outcome, circumstance, kind, letter, settle) in [
        (Ok(vec![]), at(0, 1), Some("completed"), false, Settle::Ack),
        (Err(Stop::transient("x")), at(1, 1), Some("attempt_failed"), false, nak(200)),
        (Err(Stop::transient("x")), at(2, 2), Some("attempt_failed"), false, nak(400)),
        (Err(Stop::transient("x")), at(5, 5), Some("failed"), true, Settle::Ack),
        (Err(Stop::transient("x")), at(1, 32), Some("attempt_failed"), false, Settle::Ack),
        (
            Err(Stop::retry_after("x", Duration::from_secs(60))),
            at(1, 1),
            Some("attempt_failed"),
            false,
            Settle::Ack,
        ),
        (Err(Stop::permanent("x")), at(1, 1), Some("failed"), true, Settle::Ack),
        (Err(Stop::Canceled), at(0, 1), Some("canceled"), false, Settle::Ack),
        (Err(Stop::Released), at(0, 1), Some("released"), false, nak(0)),
        (Err(Stop::Released), at(0, 32), Some("released"), false, Settle::Ack),
        (Err(Stop::Fenced), at(0, 1), None, false, Settle::Leave),
    ] {
        let ending = conclude(outcome.clone(), circumstance);
        let found = ending.event.map(|event| event.kind().name());
        assert_eq!((found, ending.letter, ending.settle), (kind, letter, settle), "{outcome:?}");
    }
}
