//! Tables of what a wake leads to.

use protocol::approval::{ApprovalRequest, Level};
use protocol::message::{Message, Part};
use protocol::{Owner, TaskId};
use serde_json::json;

use super::*;
use crate::engine::tests_support;
use protocol::header;
use protocol::input::Input;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn waiting(waiting_for: WaitingFor, until: Option<i64>) -> TaskLog {
    let mut log = tests_support::log();
    log.phase = Phase::Waiting;
    log.generation = 3;
    log.waiting_for = Some(waiting_for);
    log.waiting_since = Some(at(0));
    log.until = until.map(at);
    log
}

fn timer() -> WaitingFor {
    WaitingFor::Timer { name: "t".to_owned() }
}

fn question() -> WaitingFor {
    WaitingFor::Input { name: "q".to_owned(), question: Message::from_agent("?"), auth: false }
}

#[test]
fn the_wait_says_what_to_look_at() {
    assert_eq!(wake(&TaskLog::default(), at(0)), Wake::Unknown);
    assert_eq!(wake(&tests_support::log(), at(0)), Wake::CarryOut);
    let children = WaitingFor::Children { position: 2, enough: Some(1) };
    for (wait, expected) in [
        (children, Wake::LookAtChildren { position: 2, enough: Some(1) }),
        (WaitingFor::Lane { predecessor: 5 }, Wake::LookAtLane),
        (timer(), Wake::LookAtInputs),
        (question(), Wake::LookAtInputs),
    ] {
        let mut log = waiting(wait, None);
        assert_eq!(wake(&log, at(0)), expected);
        if let Some(origin) = &mut log.origin {
            origin.deadline = Some(at(10));
        }
        assert_eq!(wake(&log, at(9)), expected);
        assert_eq!(wake(&log, at(10)), Wake::TooLate);
        log.phase = Phase::Ended;
        assert_eq!(wake(&log, at(10)), Wake::CarryOut);
    }
}

#[test]
fn the_time_and_what_was_said_end_a_wait() {
    let said = |sequence, stored| Arrived {
        sequence,
        at: at(stored),
        input: Input::Message(Message::from_user(vec![Part::text("yes")])),
    };
    for (wait, until, deadline, arrived, now, expected) in [
        (timer(), Some(1_000), None, vec![], 499, "wait"),
        (timer(), Some(1_000), None, vec![], 500, "soon 500"),
        (timer(), Some(1_000), None, vec![], 1_000, "the time of t has come"),
        (timer(), Some(9_000), Some(1_000), vec![], 999, "soon 1"),
        (question(), None, None, vec![], 0, "wait"),
        (question(), None, None, vec![said(4, 0)], 0, "a message answers q"),
        (question(), Some(10), None, vec![said(4, 11)], 12, "nothing came for q in time"),
        (question(), Some(10), None, vec![said(4, 10)], 12, "a message answers q"),
    ] {
        let mut log = waiting(wait.clone(), until);
        if let Some(origin) = &mut log.origin {
            origin.deadline = deadline.map(at);
        }
        let word = match look(&log, &arrived, at(now)) {
            Look::Wait => "wait".to_owned(),
            Look::Soon { wait } => format!("soon {}", wait.as_millis()),
            Look::Resume(event) => {
                let Event::Resumed { reason, answer: Some(_) } = *event else {
                    panic!("{event:?}")
                };
                reason
            }
            Look::Escalate(event) => panic!("{event:?}"),
        };
        assert_eq!(word, expected, "{wait:?} {until:?} {now}");
    }
}

#[test]
fn an_approval_goes_to_further_people_when_their_time_has_come() {
    let mut request = ApprovalRequest::new(json!({"pay": 5}), "pay?");
    let level = |name: &str, after_ms| Level { approvers: vec![name.to_owned()], after_ms };
    request.chain = vec![level("ann", 0), level("bob", 1_000), level("eve", 5_000)];
    let approval = WaitingFor::Approval { name: "pay".to_owned(), request: Box::new(request) };
    let (subjects, task) = (Subjects::default(), TaskId::from_sequence(7));
    for (until, reached, now, expected, next) in [
        (None, 0, 0, "wait", Some(1_000)),
        (None, 0, 999, "soon 1", Some(1_000)),
        (None, 0, 1_000, "bob: ann did not decide within 1000 ms", Some(1_000)),
        (None, 1_000, 1_000, "wait", Some(5_000)),
        (None, 1_000, 5_001, "eve: ann, bob did not decide within 5000 ms", Some(5_000)),
        (None, 0, 5_000, "bob, eve: ann did not decide within 5000 ms", Some(1_000)),
        (None, 5_000, 9_000, "wait", None),
        (Some(5_000), 1_000, 1_000, "wait", Some(5_000)),
        (Some(5_000), 1_000, 5_000, "resume", Some(5_000)),
        (Some(3_000), 1_000, 1_000, "wait", Some(3_000)),
    ] {
        let mut log = waiting(approval.clone(), until);
        log.escalated_ms = reached;
        let word = match look(&log, &[], at(now)) {
            Look::Wait => "wait".to_owned(),
            Look::Soon { wait } => format!("soon {}", wait.as_millis()),
            Look::Resume(_) => "resume".to_owned(),
            Look::Escalate(event) => {
                let Event::Escalated { to, reason, .. } = *event else { panic!("{event:?}") };
                format!("{}: {reason}", to.join(", "))
            }
        };
        assert_eq!(word, expected, "{until:?} {reached} {now}");
        let time = next_time(&subjects, &task, &log);
        let due = time.as_ref().and_then(|wake| wake.headers.get(header::SCHEDULE));
        assert_eq!(due, next.map(|ms| format!("@at {}", at(ms))).as_deref(), "{until:?} {reached}");
        let target = time.as_ref().and_then(|wake| wake.headers.get(header::SCHEDULE_TARGET));
        let wake = subjects.wake(&Owner::default(), &task);
        assert!(target.is_none_or(|target| target == wake));
    }
    assert_eq!(next_time(&subjects, &task, &waiting(timer(), Some(9))), None);
}
