//! Dead letters: what they tell, and what can be done with them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]

use bytes::Bytes;
use client::{DeadError, DeadLetterEntry, Redrive};
use protocol::codec;
use protocol::dead::Cause;
use protocol::fault::{FailureClass, code};
use protocol::header::Headers;
use protocol::id::{Owner, Skill, TaskId};
use protocol::log::AttemptOutcome;
use protocol::message::value_of;
use runtime::bus::Outgoing;
use serde_json::json;
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, fault, kinds, marks, output, submission};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");

async fn letters(mesh: &Mesh) -> Vec<DeadLetterEntry> {
    mesh.client.dead_letters(None, 100).await.unwrap()
}

/// Redrives a letter and returns the log of the new task.
async fn redrive(mesh: &Mesh, number: u64, how: Redrive) -> Vec<protocol::entry::Entry> {
    let receipt = mesh.client.redrive(number, how).await.unwrap();
    mesh.end_of(&receipt.task).await;
    mesh.entries(&receipt.task).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_tells_the_whole_story_and_can_be_sent_again() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let file = mesh.folder().join("marks");
    let input = json!({"failUntilAttempt": 99, "echo": "precious", "mark": file});
    let (task, failed) = mesh.run("probe", input.to_string()).await;
    let [DeadLetterEntry { number, letter }] = &letters(&mesh).await[..] else {
        panic!("not exactly one letter")
    };
    assert_eq!((&letter.task, letter.cause), (&task, Cause::Failed));
    assert_eq!(letter.failure, FailureClass::Transient);
    assert_eq!(letter.fault.message, "the probe was told to fail, attempt 4");
    assert_eq!(value_of(&letter.input.parts), input);
    assert_eq!(letter.origin.skill.as_str(), "probe");
    assert_eq!(letter.origin.owner, Owner::default());
    assert_eq!(Some(letter.origin.source.sequence), task.sequence());
    assert_eq!(letter.attempts.len(), 4);
    for (number, attempt) in (1..).zip(&letter.attempts) {
        assert_eq!((attempt.number, attempt.node.as_str()), (number, "n1"));
        assert!(attempt.started_at <= attempt.seen_at && attempt.seen_at <= letter.died_at);
        assert!(letter.origin.submitted_at <= attempt.started_at);
        assert_eq!(attempt.outcome, AttemptOutcome::Failed);
        let said = &attempt.fault.as_ref().unwrap().message;
        assert_eq!(said, &format!("the probe was told to fail, attempt {number}"));
    }

    // Listed under its own skill only, and shown by its number only.
    for (skill, count) in [("probe", 1), ("echo", 0)] {
        let skill = Skill::parse(skill).unwrap();
        let found = mesh.client.dead_letters(Some(&skill), 100).await.unwrap();
        assert_eq!(found.len(), count, "{skill}");
    }
    assert_eq!(mesh.client.dead_letter(*number).await.unwrap().letter, *letter);
    for other in [number - 1, number + 100] {
        let refused = mesh.client.dead_letter(other).await.unwrap_err();
        assert!(matches!(refused, DeadError::Unknown { .. }), "{refused}");
    }

    // Sent again with another input: a new task that names the old one, whose own end stays.
    let better = json!({"echo": "precious", "mark": file}).to_string();
    let how = Redrive { input: Some((Bytes::from(better), Some(codec::JSON.to_owned()))) };
    let again = redrive(&mesh, *number, how).await;
    assert_eq!(output(again.last().unwrap())["echo"], "precious");
    assert_eq!(again.first().unwrap().origin.as_ref().unwrap().redrive_of, Some(task.clone()));
    assert!(letters(&mesh).await.is_empty());
    assert_eq!(mesh.entries(&task).await, failed);
    let refused = mesh.client.redrive(*number, Redrive::default()).await.unwrap_err();
    assert!(matches!(refused, DeadError::Unknown { .. }), "{refused}");
    assert_eq!(marks(&file).len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn sent_again_at_the_same_moment_it_runs_once() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let file = mesh.folder().join("marks");
    let input = json!({"failUntilAttempt": 99, "failAs": "permanent", "mark": file});
    let (task, _) = mesh.run("probe", input.to_string()).await;
    let number = letters(&mesh).await[0].number;
    let both = tokio::join!(
        mesh.client.redrive(number, Redrive::default()),
        mesh.client.redrive(number, Redrive::default())
    );
    let receipts: Vec<_> = [both.0, both.1].into_iter().flatten().collect();
    let first = &receipts.first().expect("one of them goes through").task;
    assert!(receipts.iter().all(|receipt| receipt.task == *first));
    mesh.end_of(first).await;
    mesh.until_settled("probe").await;
    let again: Vec<_> =
        marks(&file).into_iter().filter(|mark| mark.task != task.as_str()).collect();
    assert_eq!(again.len(), 1, "{again:?}");
    // It failed again, so there is a letter again: of the new task.
    let [DeadLetterEntry { number, letter }] = &letters(&mesh).await[..] else {
        panic!("not exactly one letter")
    };
    assert_eq!(letter.task, *first);
    assert_eq!(letter.origin.redrive_of, Some(task.clone()));

    mesh.client.discard(*number).await.unwrap();
    assert!(letters(&mesh).await.is_empty());
    let refused = mesh.client.discard(*number).await.unwrap_err();
    assert!(matches!(refused, DeadError::Unknown { .. }), "{refused}");
    assert_eq!(mesh.entries(first).await.last().unwrap().event.kind().name(), "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_be_submitted_can_be_sent_again() {
    let config = AGENTS.replace("attempts_max = 4", "attempts_max = 1");
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let _node = mesh.node("n1").await;
    // Half as large again in JSON as in MessagePack: over the limit in one and under it in the other.
    let large = |count| json!({"failUntilAttempt": 1, "echo": "\u{e4}\"".repeat(count)});
    let (in_json, in_msgpack) = (large(65_000), large(85_000));
    let packed = codec::to_msgpack(&protocol::message::Message::from_user(vec![
        protocol::message::Part::data(in_msgpack.clone()),
    ]))
    .unwrap();
    let owner = Owner::parse("acme").unwrap();
    for (body, content_type, large) in [
        (in_json.to_string().into_bytes(), None, in_json),
        (packed, Some(codec::MSGPACK.to_owned()), in_msgpack),
    ] {
        let asked =
            client::Submission { owner: owner.clone(), content_type, ..submission("probe", body) };
        let receipt = mesh.client.submit(asked).await.unwrap();
        weft_tests::wait::wait_until("the letter", weft_tests::work::SOON, || async {
            (letters(&mesh).await.len() == 1).then_some(())
        })
        .await;
        let DeadLetterEntry { number, letter } = letters(&mesh).await.remove(0);
        assert_eq!(letter.task, receipt.task);
        assert_eq!(value_of(&letter.input.parts), large);
        let again = mesh.client.redrive(number, Redrive::default()).await.unwrap();
        assert_eq!(again.owner, owner);
        let entries = weft_tests::wait::wait_until("its end", weft_tests::work::SOON, || async {
            let entries = mesh.client.entries(&owner, &again.task).await.unwrap();
            entries
                .last()
                .is_some_and(|(_, last)| last.event.kind().is_terminal())
                .then_some(entries)
        })
        .await;
        let origin = entries[0].1.origin.as_ref().unwrap();
        assert_eq!(origin.input_hash, letter.origin.input_hash, "not the same input");
        let number = letters(&mesh).await[0].number;
        mesh.client.discard(number).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_run_ends_in_one_letter_and_does_not_come_again() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let bus = mesh.client.bus();
    let one_letter = async || {
        wait_until("the letter", SOON, || async {
            let found = letters(&mesh).await;
            (found.len() == 1).then_some(found)
        })
        .await
        .remove(0)
    };

    // Its input has left the inbox before its second attempt.
    let input = json!({"failUntilAttempt": 1, "retryAfterMs": 5_100});
    let task = mesh.submit("probe", input).await;
    mesh.until_kind(&task, "attempt_failed").await;
    bus.remove(&bus.names().inbox, task.sequence().unwrap()).await.unwrap();
    let end = mesh.end_of(&task).await;
    assert_eq!(
        (end.event.kind().name(), fault(&end).code.as_str()),
        ("failed", code::OBJECT_MISSING)
    );
    let DeadLetterEntry { number, letter } = one_letter().await;
    assert_eq!((&letter.task, letter.cause), (&task, Cause::Failed));
    mesh.until_settled("probe").await;
    mesh.client.discard(number).await.unwrap();

    // Its log is no log.
    let subject = "weft.log.default.broken".to_owned();
    bus.store(Outgoing::new(subject, Headers::new(), "{}".into())).await.unwrap();
    let asked = client::Submission {
        task_id: TaskId::parse_chosen("broken").ok(),
        ..submission("echo", "hello")
    };
    mesh.client.submit(asked).await.unwrap();
    let DeadLetterEntry { number, letter } = one_letter().await;
    assert_eq!((letter.task.as_str(), letter.cause), ("broken", Cause::Malformed));
    mesh.until_settled("echo").await;
    mesh.client.discard(number).await.unwrap();

    // Its subject names nobody.
    let subject = "weft.task.echo.acme@example".to_owned();
    let stored = bus.store(Outgoing::new(subject, Headers::new(), "hello".into())).await.unwrap();
    let DeadLetterEntry { letter, .. } = one_letter().await;
    assert_eq!((letter.cause, letter.fault.code.as_str()), (Cause::Malformed, code::BAD_SUBJECT));
    assert_eq!(letter.task, TaskId::from_sequence(stored.sequence));
    mesh.until_settled("echo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_kills_its_worker_every_time_dies_once() {
    let config = AGENTS.replace("attempts_max = 4", "attempts_max = 2");
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let mut node = mesh.node("n0").await;
    let file = mesh.folder().join("marks");
    let input = json!({"abort": true, "sleepMs": 100, "mark": file});
    let task = mesh.submit("probe", input).await;
    let mut killed = 0;
    let end = loop {
        let entries = mesh.entries(&task).await;
        if entries.last().is_some_and(|last| last.event.kind().is_terminal()) {
            break entries;
        }
        if !node.is_running() {
            killed += 1;
            assert!(killed <= 2, "{:?}", kinds(&entries));
            node = mesh.node(&format!("n{killed}")).await;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(kinds(&end), ["claimed", "claimed", "failed"]);
    let found = letters(&mesh).await;
    assert_eq!(found.len(), 1);
    let letter = &found[0].letter;
    assert_eq!(
        (letter.failure, letter.fault.code.as_str()),
        (FailureClass::Lost, code::ATTEMPTS_EXHAUSTED)
    );
    let nodes: Vec<_> = letter.attempts.iter().map(|attempt| attempt.node.as_str()).collect();
    assert_eq!(nodes[..2], ["n0", "n1"], "{:?}", letter.attempts);
    assert_eq!(marks(&file).len(), 2);
    mesh.until_settled("probe").await;
    assert!(node.is_running());
}
