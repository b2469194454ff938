//! Submitting through the Rust client: ids, keys, owners, codecs, large parts, deadlines.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use client::{Submission, SubmitError};
use futures_util::future::join_all;
use protocol::budget::Usage;
use protocol::codec::{self, A2A_JSON, MSGPACK};
use protocol::dead::Cause;
use protocol::entry::{Entry, Event};
use protocol::fault::code;
use protocol::header::{self, Headers};
use protocol::id::{ContextId, DedupKey, Owner, TaskId};
use protocol::limits::{INLINE_PART_BYTES_MAX, TASK_BYTES_MAX};
use protocol::message::{Content, Message, OBJECT_CONTENT, OBJECT_SCHEME, Part};
use runtime::bus::Outgoing;
use runtime::metric::Metrics;
use runtime::supervisor::Supervisor;
use serde_json::json;
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, fault, kinds, marks, output, submission};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");

async fn end_of(mesh: &Mesh, owner: &Owner, task: &TaskId) -> Vec<Entry> {
    wait_until(&format!("the end of {task}"), SOON, || async {
        let entries = mesh.client.entries(owner, task).await.unwrap();
        let ended = entries.last().is_some_and(|(_, last)| last.event.kind().is_terminal());
        ended.then(|| entries.into_iter().map(|(_, entry)| entry).collect())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_when_a_process_shuts_down_gets_its_receipt() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let jobs = Supervisor::new(Metrics::new("test"));
    mesh.client.bus().gather(&jobs).await.unwrap();
    let tasks = (0..64).map(|_| mesh.client.submit(submission("echo", "x".to_owned())));
    let (receipts, ()) = tokio::join!(join_all(tasks), async {
        tokio::task::yield_now().await;
        jobs.shutdown();
    });
    let stored: BTreeSet<u64> = receipts.into_iter().map(|one| one.unwrap().sequence).collect();
    assert_eq!(stored.len(), 64);
    jobs.wait(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_submitted_comes_back() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let message = Message::from_user(vec![
        Part::text("a"),
        Part::data(json!({"n": [1, null]})),
        Part::raw(vec![0, 255], Some("image/png".to_owned())),
    ]);
    let as_json = serde_json::to_vec(&message).unwrap();
    let as_msgpack = codec::to_msgpack(&message).unwrap();
    for (content_type, body) in [(A2A_JSON, as_json), (MSGPACK, as_msgpack)] {
        let asked =
            Submission { content_type: Some(content_type.to_owned()), ..submission("echo", body) };
        let receipt = mesh.client.submit(asked).await.unwrap();
        let end = mesh.end_of(&receipt.task).await;
        let Event::Completed { output } = end.event else { panic!("{content_type}: {end:?}") };
        assert_eq!(output, message.parts, "{content_type}");
    }

    // Many at once, in order, all or none of each batch.
    let many = (0..450).map(|n| submission("echo", format!("{n}"))).collect();
    let receipts = mesh.client.submit_all(many).await.unwrap();
    assert_eq!(receipts.len(), 450);
    assert!(receipts.windows(2).all(|pair| pair[0].sequence + 1 == pair[1].sequence));
    for (n, receipt) in receipts.iter().enumerate() {
        assert_eq!(output(&mesh.end_of(&receipt.task).await), json!(n.to_string()));
    }

    // An owner's and a conversation's task, visible to that owner only.
    let acme = Owner::parse("acme").unwrap();
    let context = ContextId::parse("talk").unwrap();
    let asked = Submission {
        owner: acme.clone(),
        context: Some(context.clone()),
        ..submission("probe", "{\"echo\": 1}")
    };
    let receipt = mesh.client.submit(asked).await.unwrap();
    end_of(&mesh, &acme, &receipt.task).await;
    let task = mesh.client.task(&acme, &receipt.task).await.unwrap().unwrap();
    assert_eq!(task.context_id, context.as_str());
    assert_eq!(task.metadata.unwrap()["weft/owner"], "acme");
    assert!(mesh.client.task(&Owner::default(), &receipt.task).await.unwrap().is_none());

    let large = mesh.client.submit(submission("echo", vec![b'x'; TASK_BYTES_MAX + 1])).await;
    assert!(matches!(large, Err(SubmitError::TooLarge { .. })), "{large:?}");
    let limit = mesh.client.submit(submission("echo", vec![b'x'; TASK_BYTES_MAX])).await.unwrap();
    let end = mesh.end_of(&limit.task).await;
    assert_eq!(end.event.kind().name(), "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_execution_and_the_first_body_wins() {
    let (mut mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let file = mesh.folder().join("marks");
    let body = |echo: &str| json!({"mark": file, "echo": echo}).to_string();
    let keyed = |text: &str| Submission {
        dedup_key: Some(DedupKey::parse("order 17").unwrap()),
        ..submission("probe", text.to_owned())
    };
    let first = mesh.client.submit(keyed(&body("first"))).await.unwrap();
    mesh.end_of(&first.task).await;
    let second = mesh.client.submit(keyed(&body("first"))).await.unwrap();
    assert_eq!(second.task, first.task);
    assert_ne!(second.sequence, first.sequence, "the stream itself does not know the key");
    // Whatever the server may forget when it dies, the log does not.
    mesh.server.kill().await;
    mesh.server.restart().await.unwrap();
    wait_until("the connection", SOON, || async {
        mesh.client.submit(keyed(&body("first"))).await.ok()
    })
    .await;
    mesh.until_settled("probe").await;
    assert_eq!(marks(&file).len(), 1);
    assert!(mesh.client.dead_letters(None, 10).await.unwrap().is_empty());

    let other = mesh.client.submit(keyed(&body("other"))).await.unwrap();
    assert_eq!(other.task, first.task);
    let letters = wait_until("the letter", SOON, || async {
        let letters = mesh.client.dead_letters(None, 10).await.unwrap();
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    let letter = &letters[0].letter;
    assert_eq!((letters.len(), letter.cause), (1, Cause::Conflict));
    assert_eq!(letter.fault.code, code::DEDUP_CONFLICT);
    assert_eq!((&letter.task, letter.origin.source.sequence), (&first.task, other.sequence));
    mesh.until_settled("probe").await;
    assert_eq!(marks(&file).len(), 1);
    let entries = mesh.entries(&first.task).await;
    assert_eq!(output(entries.last().unwrap())["echo"], "first");
    assert_ne!(entries[0].origin.as_ref().unwrap().input_hash, letter.origin.input_hash);

    // The same key of another owner or skill is another task.
    let acme = Owner::parse("acme").unwrap();
    let theirs = Submission { owner: acme.clone(), ..keyed(&body("theirs")) };
    let receipt = mesh.client.submit(theirs).await.unwrap();
    assert_ne!(receipt.task, first.task);
    end_of(&mesh, &acme, &receipt.task).await;
    assert_eq!(marks(&file).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_parts_travel_by_reference() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let bus = mesh.client.bus();
    let text = "large ".repeat(200_000);
    let object = async |bytes: Vec<u8>, kind: &str| {
        let name = bus.put_object(Bytes::from(bytes)).await.unwrap();
        let mut part = Part::url(format!("{OBJECT_SCHEME}{name}"));
        part.metadata.get_or_insert_default().insert(OBJECT_CONTENT.to_owned(), kind.into());
        part
    };
    let submit = async |skill: &str, part: Part| {
        let body = serde_json::to_vec(&Message::from_user(vec![part])).unwrap();
        let content_type = Some(A2A_JSON.to_owned());
        let asked = Submission { content_type, ..submission(skill, body) };
        mesh.client.submit(asked).await.unwrap().task
    };

    // In by reference, out by reference: the log itself stays small.
    let task = submit("echo", object(text.clone().into_bytes(), "text").await).await;
    let end = mesh.end_of(&task).await;
    let Event::Completed { output: parts } = &end.event else { panic!("{end:?}") };
    let name = parts[0].object().expect("a reference").to_owned();
    assert_eq!(bus.get_object(&name).await.unwrap().unwrap(), text.as_bytes());
    assert!(serde_json::to_vec(&end).unwrap().len() < 2_000);

    // The input schema sees what the reference names.
    let fits = json!({"echo": "x".repeat(INLINE_PART_BYTES_MAX)});
    let task = submit("probe", object(fits.to_string().into_bytes(), "data").await).await;
    assert_eq!(mesh.end_of(&task).await.event.kind().name(), "completed");
    let task = submit("probe", object(br#"{"sleepMs": "x"}"#.to_vec(), "data").await).await;
    let end = mesh.end_of(&task).await;
    assert_eq!(end.event.kind().name(), "rejected", "{end:?}");
    assert_eq!(
        (fault(&end).code.as_str(), fault(&end).place.as_deref()),
        (code::INVALID_INPUT, Some("$.sleepMs"))
    );

    let task = submit("echo", Part::url(format!("{OBJECT_SCHEME}nothing"))).await;
    let end = mesh.end_of(&task).await;
    assert_eq!(fault(&end).code, code::OBJECT_MISSING, "{end:?}");

    // An output over the inline limit is moved out, one at the limit is not.
    for (chars, moved) in [(1_000, false), (INLINE_PART_BYTES_MAX, true), (1_500_000, true)] {
        let task = mesh.submit("probe", json!({"outputChars": chars})).await;
        let end = mesh.end_of(&task).await;
        let Event::Completed { output: parts } = &end.event else { panic!("{end:?}") };
        let value = match (&parts[0].content, parts[0].object()) {
            (Content::Data(value), None) if !moved => value.clone(),
            (_, Some(name)) if moved => {
                let bytes = bus.get_object(name).await.unwrap().unwrap();
                serde_json::from_slice(&bytes).unwrap()
            }
            other => panic!("{chars}: {other:?}"),
        };
        assert_eq!(value["text"].as_str().unwrap().len(), chars);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_parts_are_bounded_together() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let bus = mesh.client.bus();
    let submit = async |bytes: usize, count: usize| {
        let name = bus.put_object(Bytes::from(vec![b'x'; bytes])).await.unwrap();
        let mut part = Part::url(format!("{OBJECT_SCHEME}{name}"));
        part.metadata.get_or_insert_default().insert(OBJECT_CONTENT.to_owned(), "text".into());
        let body = serde_json::to_vec(&Message::from_user(vec![part; count])).unwrap();
        let content_type = Some(A2A_JSON.to_owned());
        let asked = Submission { content_type, ..submission("echo", body) };
        let task = mesh.client.submit(asked).await.unwrap().task;
        mesh.end_of(&task).await
    };

    // Each would fit into the entry, all of them would not.
    let end = submit(INLINE_PART_BYTES_MAX - 1_000, 12).await;
    let Event::Completed { output: parts } = &end.event else { panic!("{end:?}") };
    assert_eq!(parts.len(), 12);
    let moved = parts.iter().filter(|part| part.object().is_some()).count();
    assert!((1..12).contains(&moved), "{moved} of 12 were moved out");

    // A body of some hundred bytes that asks for more memory than one task may have.
    let end = submit(50 * 1024 * 1024, 3).await;
    assert_eq!((end.event.kind().name(), fault(&end).code.as_str()), ("failed", code::TOO_LARGE));
    assert_eq!(mesh.client.dead_letters(None, 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_that_is_away_for_a_while_costs_no_attempt() {
    let (mut mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let task = mesh.submit("probe", json!({"sleepMs": 1_000, "outputChars": 1_500_000})).await;
    mesh.until_kind(&task, "claimed").await;
    mesh.server.kill().await;
    // Longer than one request may take.
    tokio::time::sleep(runtime::bus::REQUEST_TIMEOUT + Duration::from_secs(2)).await;
    mesh.server.restart().await.unwrap();
    wait_until("the end", SOON, || async {
        let log = mesh.client.log(&Owner::default(), &task).await.ok()?;
        log.is_ended().then_some(())
    })
    .await;
    assert_eq!(kinds(&mesh.entries(&task).await), ["claimed", "completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_which_agent_ran_and_what_a_grant_was_spent_on() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let headers = Headers::new().with(header::BUDGET, r#"{"tokens": 100}"#);
    let body = json!({"sleepMs": 100}).to_string();
    let message = Outgoing::new("weft.task.probe".to_owned(), headers, body.into());
    let task = mesh.client.submit_raw(message).await.unwrap().task;
    mesh.end_of(&task).await;
    let entries = mesh.entries(&task).await;
    assert_eq!(kinds(&entries), ["claimed", "completed"]);
    let versions: Vec<_> = entries.iter().map(|entry| entry.agent.is_some()).collect();
    assert_eq!(versions, [true, false]);
    let spent: Vec<_> = entries.iter().map(|entry| entry.spent).collect();
    assert_eq!(spent, [None, Some(Usage::default())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_task_before_and_while_it_runs() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    let file = mesh.folder().join("marks");
    let asked = |deadline: &str, sleep_ms: u64| Submission {
        deadline: Some(deadline.to_owned()),
        ..submission("probe", json!({"mark": file, "sleepMs": sleep_ms}).to_string())
    };
    let mut late = Vec::new();
    for (deadline, sleep_ms, ran) in
        [("2020-01-01T00:00:00Z", 0, 0), ("0s", 0, 0), ("500ms", 25_000, 1)]
    {
        let before = marks(&file).len();
        let receipt = mesh.client.submit(asked(deadline, sleep_ms)).await.unwrap();
        let end = mesh.end_of(&receipt.task).await;
        assert_eq!(end.event.kind().name(), "failed", "{deadline}");
        assert_eq!(fault(&end).code, code::DEADLINE_EXCEEDED, "{deadline}");
        assert_eq!(marks(&file).len() - before, ran, "{deadline}");
        late.push(receipt.task);
    }
    let origin = mesh.entries(&late[2]).await[0].origin.clone().unwrap();
    let end = mesh.entries(&late[2]).await.pop().unwrap();
    let over = end.at.since(origin.deadline.unwrap());
    assert!(end.at >= origin.deadline.unwrap() && over < Duration::from_secs(2), "{over:?}");
    let letters = mesh.client.dead_letters(None, 10).await.unwrap();
    let dead: Vec<_> = letters.iter().map(|entry| &entry.letter.task).collect();
    assert_eq!(dead, late.iter().collect::<Vec<_>>());

    let receipt = mesh.client.submit(asked("60s", 0)).await.unwrap();
    mesh.end_of(&receipt.task).await;
    assert_eq!(kinds(&mesh.entries(&receipt.task).await).last(), Some(&"completed"));
}
