//! What clients are told about each entry, as a table, and that it agrees with the fold.

use protocol::approval::{ApprovalRequest, Level};
use protocol::entry::Origin;
use protocol::fault::{FailureClass, Fault};
use protocol::id::{ContextId, NodeName, Skill};
use protocol::log::TaskLog;
use protocol::message::Part;
use protocol::submission::{Queue, Source};
use protocol::wait::Answer;
use protocol::{Timestamp, task::TaskState as State};

use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn log(events: Vec<(u32, Event)>) -> Vec<Entry> {
    let source = Source { queue: Queue::Inbox, sequence: 7 };
    let mut origin = Origin::bare(Skill::parse("echo").unwrap(), source, at(0));
    origin.context_id = Some(ContextId::parse("talk").unwrap());
    let mut origin = Some(Box::new(origin));
    let entry = |(generation, (attempt, event)): (u64, (u32, Event))| Entry {
        generation,
        at: at(i64::try_from(generation).unwrap()),
        by: NodeName::parse("n1").unwrap(),
        attempt,
        origin: origin.take(),
        agent: None,
        spent: None,
        raised: None,
        driver: None,
        event,
    };
    (1..).zip(events).map(entry).collect()
}

/// Cursor, kind, state or artifact, text: enough to see what is told.
fn brief(event: &StreamEvent) -> String {
    let text = |parts: &[Part]| protocol::message::value_of(parts).to_string();
    match &event.response {
        StreamResponse::StatusUpdate(update) => {
            assert_eq!((update.task_id.as_str(), update.context_id.as_str()), ("s7", "talk"));
            let said = update.status.message.as_ref().map(|one| {
                assert!(!one.message_id.is_empty() && one.task_id.is_some());
                let id = &one.message_id;
                let deciders =
                    one.metadata.as_ref().map(|facts| &facts[view::APPROVAL]["deciders"]);
                let escalated =
                    update.metadata.as_ref().and_then(|facts| facts.get("weft/escalated"));
                let now =
                    escalated.zip(deciders).map(|(now, who)| format!(" {id} of {who} now {now}"));
                format!("{}{}", text(&one.parts), now.unwrap_or_default())
            });
            let said = said.map_or_else(String::new, |said| format!(" {said}"));
            format!("{} {}{said}", event.cursor, update.status.state.word())
        }
        StreamResponse::ArtifactUpdate(update) => {
            let append = if update.append { " append" } else { "" };
            let last = if update.last_chunk { " last" } else { "" };
            let artifact = &update.artifact;
            format!(
                "{} {} {}{append}{last}",
                event.cursor,
                artifact.artifact_id,
                text(&artifact.parts)
            )
        }
        StreamResponse::Task(_) | StreamResponse::Message(_) => panic!("{event:?}"),
    }
}

fn told(entries: &[Entry]) -> Vec<String> {
    let mut narrator = Narrator::new(&TaskId::from_sequence(7), "s7".to_owned());
    let events: Vec<_> = entries.iter().flat_map(|entry| narrator.tell(entry)).collect();
    let folded = TaskLog::fold((1..).zip(entries.iter().cloned())).unwrap();
    assert_eq!(narrator.state(), folded.state, "the fold sees it the same way");
    events.iter().map(brief).collect()
}

fn claimed() -> Event {
    Event::Claimed { client: "c".to_owned() }
}

fn status(text: &str) -> Event {
    Event::Status { message: Message::from_agent(text) }
}

fn chunk(text: &str, append: bool, last_chunk: bool) -> Event {
    let artifact = Artifact {
        artifact_id: "a".to_owned(),
        name: None,
        description: None,
        parts: vec![Part::text(text)],
        metadata: None,
    };
    Event::Artifact { artifact, append, last_chunk }
}

fn completed(text: &str) -> Event {
    Event::Completed { output: vec![Part::text(text)] }
}

fn suspended(waiting_for: WaitingFor) -> Event {
    Event::Suspended { waiting_for, until: None }
}

fn asks(auth: bool) -> Event {
    let question = Message::from_agent("which?");
    suspended(WaitingFor::Input { name: "q".to_owned(), question, auth })
}

fn answered() -> Event {
    let message = Message::from_user(vec![Part::text("this")]);
    let answer = Some(Answer::Message { sequence: 3, message });
    Event::Resumed { reason: "input".to_owned(), answer }
}

fn approval(chain: &[(&str, u64)]) -> WaitingFor {
    let mut request = ApprovalRequest::new(json!({"tool": "rm"}), "really?");
    let level = |(name, after_ms): &(&str, u64)| Level {
        approvers: vec![(*name).to_owned()],
        after_ms: *after_ms,
    };
    request.chain = chain.iter().map(level).collect();
    WaitingFor::Approval { name: "ok".to_owned(), request: Box::new(request) }
}

fn escalated() -> Event {
    let (name, to) = ("ok".to_owned(), vec!["eve".to_owned()]);
    Event::Escalated { name, after_ms: 5, to, reason: "ann did not decide".to_owned() }
}

fn fault() -> Fault {
    Fault::new("broken", "it broke")
}

fn retry(requeued: bool) -> Event {
    let failure = FailureClass::Transient;
    Event::AttemptFailed { failure, fault: fault(), retry_at: at(9), requeued }
}

/// Attempts and what they wrote; what is told of it.
type Case = (Vec<(u32, Event)>, Vec<&'static str>);

#[test]
fn each_entry_is_told_in_its_place() {
    let failed = || Event::Failed { failure: FailureClass::Permanent, fault: fault() };
    let canceled = || Event::Canceled { reason: "enough".to_owned() };
    let timer = || suspended(WaitingFor::Timer { name: "t".to_owned() });
    let lane = || suspended(WaitingFor::Lane { predecessor: 1 });
    let woken = || Event::Resumed { reason: "time".to_owned(), answer: Some(Answer::Time) };
    let free = || Event::Resumed { reason: "lane".to_owned(), answer: None };
    let step = || Event::step("s", Part::text("x"));
    let cases: Vec<Case> = vec![
        (vec![(1, completed("hi"))], vec![r#"1.0 result "hi" last"#, "1.1 completed"]),
        (
            vec![(1, claimed()), (1, step()), (1, status("half")), (1, completed("x"))],
            vec!["1.0 working", r#"3.0 working "half""#, r#"4.0 result "x" last"#, "4.1 completed"],
        ),
        (
            vec![(1, chunk("one", false, false)), (1, chunk("two", true, true)), (1, failed())],
            vec![
                "1.0 working",
                r#"1.1 a "one""#,
                r#"2.0 a "two" append last"#,
                r#"3.0 failed "broken: it broke""#,
            ],
        ),
        (
            vec![(1, asks(false)), (0, answered()), (2, claimed()), (2, completed("y"))],
            vec![
                r#"1.0 input-required "which?""#,
                "2.0 working",
                r#"4.0 result "y" last"#,
                "4.1 completed",
            ],
        ),
        (
            vec![(1, claimed()), (1, asks(true))],
            vec!["1.0 working", r#"2.0 auth-required "which?""#],
        ),
        (vec![(1, claimed()), (1, timer()), (0, woken()), (2, claimed())], vec!["1.0 working"]),
        (
            vec![(0, lane()), (0, free()), (1, completed("z"))],
            vec![r#"3.0 result "z" last"#, "3.1 completed"],
        ),
        (
            vec![(1, retry(false)), (2, claimed()), (2, canceled())],
            vec![r#"1.0 working "broken: it broke""#, r#"3.0 canceled "enough""#],
        ),
        (vec![(0, Event::Rejected { fault: fault() })], vec![r#"1.0 rejected "broken: it broke""#]),
        (
            vec![(1, suspended(approval(&[])))],
            vec![r#"1.0 input-required [{"text":"really?"},{"data":{"tool":"rm"}}]"#],
        ),
        (
            vec![
                (1, suspended(approval(&[("ann", 0), ("eve", 5)]))),
                (0, escalated()),
                (0, answered()),
            ],
            vec![
                r#"1.0 input-required [{"text":"really?"},{"data":{"tool":"rm"}}]"#,
                r#"2.0 input-required [{"text":"really?"},{"data":{"tool":"rm"}}] s7-1 of ["ann","eve"] now {"reason":"ann did not decide","to":["eve"]}"#,
                "3.0 working",
            ],
        ),
    ];
    for (events, expected) in cases {
        assert_eq!(told(&log(events.clone())), expected, "{events:?}");
    }
    assert_eq!(State::ALL.len(), 8);
}

#[test]
fn the_cursor_of_a_task_as_it_stands_is_that_of_its_last_event() {
    let mut narrator = Narrator::new(&TaskId::from_sequence(7), "s7".to_owned());
    assert_eq!(narrator.cursor().to_string(), "0.0");
    for (entry, expected) in
        log(vec![(1, claimed()), (1, Event::step("s", Part::text("x"))), (1, completed("hi"))])
            .iter()
            .zip(["1.0", "2.0", "3.1"])
    {
        narrator.tell(entry);
        assert_eq!(narrator.cursor().to_string(), expected);
    }
}

#[test]
fn cursors_are_read_as_they_are_written_and_nothing_else_is() {
    for (text, expected) in [
        ("0.0", Some((0, 0))),
        ("12.3", Some((12, 3))),
        ("", None),
        (".", None),
        ("1", None),
        ("1.", None),
        ("-1.0", None),
        ("+1.0", None),
        ("1.0.0", None),
        ("99999999999999999999.0", None),
    ] {
        let read = Cursor::parse(text).map(|cursor| (cursor.generation, cursor.index));
        assert_eq!(read, expected, "{text:?}");
    }
    assert!(Cursor { generation: 1, index: 9 } < Cursor { generation: 2, index: 0 });
}
