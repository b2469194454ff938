//! A row says what the fold of the task's log says, after every entry of every walk through the lifecycle.

#![expect(clippy::indexing_slicing, reason = "helpers of tests fail the test that calls them")]

use protocol::budget::Usage;
use protocol::entry::{Entry, Event, Kind, Origin};
use protocol::fault::{FailureClass, Fault};
use protocol::header::Headers;
use protocol::id::{NodeName, Owner, Skill, TaskId};
use protocol::lifecycle::{self, ARROWS, Phase};
use protocol::log::TaskLog;
use protocol::message::{Message, Part};
use protocol::query::Query;
use protocol::subject::Subjects;
use protocol::submission::{Queue, Source};
use protocol::task::{Artifact, TaskState};
use protocol::wait::{Answer, WaitingFor};
use protocol::{Timestamp, approval};
use runtime::bus::StoredMessage;
use weft_projection::{Feed, Projection, change};

fn waits() -> Vec<WaitingFor> {
    let name = "w".to_owned();
    let mut request = approval::ApprovalRequest::new(serde_json::json!({}), "?");
    request.chain = vec![approval::Level { approvers: Vec::new(), after_ms: 1 }];
    vec![
        WaitingFor::Children { position: 0, enough: None },
        WaitingFor::Timer { name: name.clone() },
        WaitingFor::Input { name: name.clone(), question: Message::from_agent("?"), auth: false },
        WaitingFor::Input { name: name.clone(), question: Message::from_agent("?"), auth: true },
        WaitingFor::Signal { name: name.clone() },
        WaitingFor::Approval { name, request: Box::new(request) },
        WaitingFor::Lane { predecessor: 1 },
    ]
}

fn event(kind: Kind, turn: usize) -> Event {
    let fault = || Fault::new("agent_error", "no luck");
    let wait = || {
        let all = waits();
        all[turn % all.len()].clone()
    };
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
        Kind::Reserved => Event::Reserved { name: "s".to_owned(), usage: Usage::default() },
        Kind::Step => Event::step("s", Part::text("1")),
        Kind::Received => Event::Received { waiting_for: wait(), answer: Answer::Time },
        Kind::Refunded => Event::Refunded { children: Vec::new() },
        Kind::Delegated => {
            Event::Delegated { name: "d".to_owned(), more: false, children: Vec::new() }
        }
        Kind::Suspended => Event::Suspended { waiting_for: wait(), until: None },
        Kind::Escalated => Event::Escalated {
            name: "w".to_owned(),
            after_ms: 1,
            to: vec!["eve".to_owned()],
            reason: "nobody decided".to_owned(),
        },
        Kind::Resumed => Event::Resumed { reason: "came".to_owned(), answer: None },
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

/// A walk through the lifecycle: at each phase another one of its arrows.
fn walk(seed: usize) -> Vec<(Event, u32)> {
    let (mut phase, mut attempt, mut turn, mut events) = (Phase::Queued, 0_u32, seed, Vec::new());
    while phase != Phase::Ended && events.len() < 30 {
        let arrows: Vec<_> = ARROWS.iter().filter(|(from, ..)| *from == phase).collect();
        turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (_, kind, to) = *arrows[(turn >> 33) % arrows.len()];
        let event = event(kind, turn >> 40);
        let lane = matches!(event, Event::Suspended { waiting_for: WaitingFor::Lane { .. }, .. });
        if lane && attempt > 0 {
            // Whoever has had its turn in a lane waits for no other.
            continue;
        }
        let asked = events.last().is_some_and(|(event, _)| {
            matches!(event, Event::Suspended { waiting_for: WaitingFor::Approval { .. }, .. })
        });
        if kind == Kind::Escalated && !asked {
            // Only an approval has levels, and this one has a single further one.
            continue;
        }
        let by_nobody = lane || phase == Phase::Waiting;
        if phase == Phase::Queued && !by_nobody {
            attempt += 1;
        }
        events.push((event, if by_nobody { 0 } else { attempt }));
        phase = to;
    }
    events
}

#[test]
fn a_row_says_what_the_fold_says() {
    let folder = tempfile::tempdir().unwrap();
    let projection = Projection::open(&folder.path().join("tasks.sqlite")).unwrap();
    assert_eq!(projection.position(Feed::Log, "then").unwrap(), 0);
    let (subjects, owner) = (Subjects::default(), Owner::parse("acme").unwrap());
    let mut sequence = 0;
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..400 {
        let task = TaskId::parse(&format!("t{seed}")).unwrap();
        let mut log = TaskLog::default();
        for (generation, (event, attempt)) in (1_u64..).zip(walk(seed)) {
            sequence += 1;
            let source = Source { queue: Queue::Inbox, sequence };
            let origin = Origin {
                owner: owner.clone(),
                ..Origin::bare(Skill::parse("echo").unwrap(), source, Timestamp::from_millis(5))
            };
            let entry = Entry {
                generation,
                at: Timestamp::from_millis(i64::try_from(sequence).unwrap()),
                by: NodeName::parse("n1").unwrap(),
                attempt,
                origin: (generation == 1).then(|| Box::new(origin)),
                agent: None,
                spent: None,
                raised: None,
                driver: None,
                event,
            };
            let message = StoredMessage {
                sequence,
                subject: subjects.log(&owner, &task),
                headers: Headers::new(),
                payload: serde_json::to_vec(&entry).unwrap().into(),
                at: entry.at,
            };
            let from = log.phase;
            seen.insert((from, entry.event.kind()));
            log.apply(sequence, entry).unwrap();
            let changes = [change(&subjects, &message).unwrap()];
            for _ in 0..2 {
                projection.apply(Feed::Log, &changes, sequence).unwrap();
            }
            let page = projection.list(&Query { limit: Some(1), ..Query::default() }).unwrap();
            let row = &page.tasks[0];
            assert_eq!(row.id, task.as_str());
            assert_eq!(row.state, log.state, "{from:?} {:?} {message:?}", log.phase);
            assert_eq!(row.waiting_for.is_some(), log.waiting_for.is_some(), "{message:?}");
            assert_eq!(row.attempts as usize, log.tries(), "{message:?}");
            assert_eq!(row.error.is_some(), log.failure.is_some());
            assert_eq!(row.generation, log.generation);
        }
    }
    for state in TaskState::ALL {
        let query = Query { state: Some(state), limit: Some(1000), ..Query::default() };
        let page = projection.list(&query).unwrap();
        let count = page.tasks.len();
        assert!(count < 1000 && page.total == count as u64, "{state:?}: {} of {count}", page.total);
    }
    let all: std::collections::BTreeSet<_> =
        ARROWS.iter().map(|(from, by, _)| (*from, *by)).collect();
    assert_eq!(seen, all, "a walk takes every arrow");
    assert_eq!(projection.position(Feed::Log, "then").unwrap(), sequence);
    assert!(lifecycle::next(Phase::Ended, Kind::Status).is_none());
}

#[test]
fn pages_leave_nothing_out_and_a_new_stream_is_a_new_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.sqlite");
    let projection = Projection::open(&path).unwrap();
    projection.position(Feed::Inbox, "then").unwrap();
    let subjects = Subjects::default();
    let changes: Vec<_> = (1..=1_000_u64)
        .map(|sequence| StoredMessage {
            sequence,
            subject: format!("weft.task.echo.o{}", sequence % 3),
            headers: Headers::new(),
            payload: "x".into(),
            // Several in one moment: the place in the list is still one.
            at: Timestamp::from_millis(i64::try_from(sequence / 7).unwrap()),
        })
        .map(|message| change(&subjects, &message).unwrap())
        .collect();
    projection.apply(Feed::Inbox, &changes, 1_000).unwrap();
    drop(projection);
    let projection = Projection::open(&path).unwrap();
    assert_eq!(projection.position(Feed::Inbox, "then").unwrap(), 1_000);
    let mut query = Query {
        owner: Some("o1".to_owned()),
        state: Some(TaskState::Submitted),
        limit: Some(17),
        ..Query::default()
    };
    let mut found = std::collections::BTreeSet::new();
    loop {
        let page = projection.list(&query).unwrap();
        assert_eq!(page.total, 334);
        for row in page.tasks {
            assert!(found.insert(row.id.clone()), "{} comes twice", row.id);
        }
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    assert_eq!(found.len(), 334);
    query.cursor = Some("yesterday".to_owned());
    assert!(projection.list(&query).is_err());
    assert_eq!(projection.position(Feed::Inbox, "later").unwrap(), 0);
    assert_eq!(projection.list(&Query::default()).unwrap().total, 0);
}
