//! Actions that need somebody's decision: bound to what was asked, used once, whatever is killed in between.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail the test that calls them"
)]
#![expect(clippy::print_stdout, reason = "what a run of kills did is worth a line in its output")]

use std::path::Path;
use std::time::Duration;

use client::{Choice, DecideError, Outcome, Pending};
use protocol::approval::{Decision, Verdict};
use protocol::entry::{Entry, Event};
use protocol::fault::code;
use protocol::input::Input;
use protocol::{Owner, TaskId};
use runtime::clock::Clock;
use serde_json::{Value, json};
use weft_tests::mesh::Mesh;
use weft_tests::oracle::Oracle;
use weft_tests::play::PLAYERS;
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, kinds, marks, output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");

fn me() -> Owner {
    Owner::default()
}

fn names(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn choice(verdict: Verdict, by: &str) -> Choice {
    let action = (verdict == Verdict::Edit).then(|| json!({"pay": 4}));
    Choice { verdict, by: by.to_owned(), comment: None, action, hash: None }
}

/// Submits a task that asks before it pays; `more` are further members of the act.
async fn pay(mesh: &Mesh, mark: &Path, more: Value) -> TaskId {
    let mut act = json!({"act": "approve", "name": "pay", "action": {"pay": 5}});
    let (Some(act_members), Value::Object(more)) = (act.as_object_mut(), more) else { panic!() };
    act_members.extend(more);
    mesh.submit("play", json!({"mark": mark, "acts": [act]})).await
}

async fn asked(mesh: &Mesh, task: &TaskId) -> Pending {
    wait_until(&format!("{task} asks"), SOON, || async {
        mesh.client.pending(&me(), task, Clock::system().now()).await.unwrap()
    })
    .await
}

async fn decide(mesh: &Mesh, task: &TaskId, choice: Choice) -> Result<Outcome, DecideError> {
    let cast = mesh.client.decide(&me(), task, choice, Clock::system().now()).await?;
    Ok(mesh.client.outcome(&me(), task, &cast, SOON).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_allows_forbids_or_changes_one_action() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _node = mesh.node("n1").await;
    let file = mesh.folder().join("paid");
    for (verdict, expected, effects) in [
        (Verdict::Approve, json!([{"done": {"pay": 5}}]), 1),
        (Verdict::Deny, json!([{"denied": ["ann"]}]), 1),
        (Verdict::Edit, json!([{"done": {"pay": 4}}]), 2),
    ] {
        let task = pay(&mesh, &file, json!({})).await;
        let pending = asked(&mesh, &task).await;
        let listed = mesh.client.approvals(None, 10, Clock::system().now()).await.unwrap();
        assert_eq!(listed.pending, std::slice::from_ref(&pending));
        assert_eq!(pending.request.action, json!({"pay": 5}));
        let outcome = decide(&mesh, &task, choice(verdict, "ann")).await.unwrap();
        assert!(matches!(outcome, Outcome::Counted(_)), "{outcome:?}");
        assert_eq!(output(&mesh.end_of(&task).await), expected);
        assert_eq!(marks(&file).len(), effects, "{verdict:?}");
        let late = decide(&mesh, &task, choice(verdict, "ann")).await.unwrap_err();
        assert!(matches!(late, DecideError::Decided { .. }), "{late}");
    }
    let listed = mesh.client.approvals(None, 10, Clock::system().now()).await.unwrap();
    assert_eq!(listed.pending, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn chain_quorum_and_expiry_say_who_decides_and_until_when() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _node = mesh.node("n1").await;
    let file = mesh.folder().join("paid");
    let expired = pay(&mesh, &file, json!({"expiresMs": 400})).await;
    assert_eq!(output(&mesh.end_of(&expired).await), json!(["expired"]));

    let both = pay(&mesh, &file, json!({"quorum": 2})).await;
    asked(&mesh, &both).await;
    let now = || Clock::system().now();
    for _ in 0..2 {
        mesh.client.decide(&me(), &both, choice(Verdict::Approve, "ann"), now()).await.unwrap();
    }
    let outcome = decide(&mesh, &both, choice(Verdict::Approve, "bob")).await.unwrap();
    let Outcome::Counted(ruling) = outcome else { panic!("{outcome:?}") };
    assert_eq!(ruling.by, ["ann", "bob"]);
    mesh.end_of(&both).await;

    let chain = json!([{"approvers": ["ann"]}, {"approvers": ["eve"], "afterMs": 1500}]);
    let chained = pay(&mesh, &file, json!({"chain": chain})).await;
    let pending = asked(&mesh, &chained).await;
    assert_eq!((&pending.deciders, &pending.addressees), (&names("ann"), &names("ann")));
    assert!(pending.is_for("ann") && !pending.is_for("eve"));
    let early = decide(&mesh, &chained, choice(Verdict::Approve, "eve")).await.unwrap_err();
    assert!(matches!(early, DecideError::MayNot { .. }), "{early}");
    // Who goes past the client is refused by a coordinator.
    let hash = pending.request.hash;
    for (by, hash, code) in [
        ("eve", hash.as_str(), code::INPUT_REFUSED),
        ("mallory", hash.as_str(), code::INPUT_REFUSED),
        ("ann", "00", code::APPROVAL_MISMATCH),
    ] {
        let decision = Decision {
            hash: hash.to_owned(),
            verdict: Verdict::Approve,
            by: by.to_owned(),
            comment: None,
            action: None,
        };
        let said = Input::Decision(Box::new(decision));
        mesh.client.say(&me(), &chained, &said, None).await.unwrap();
        wait_until(&format!("{by} is refused"), SOON, || async {
            let letters = mesh.client.dead_letters(None, 10).await.unwrap();
            letters.last().filter(|entry| entry.letter.fault.code == code).map(drop)
        })
        .await;
    }
    let asked_at = pending.since;
    wait_until("the second level", SOON, || async {
        let pending = asked(&mesh, &chained).await;
        assert_eq!(pending.since, asked_at, "an escalation asks nothing anew");
        (pending.addressees == names("eve")).then(|| {
            assert_eq!((&pending.deciders, pending.is_for("eve")), (&names("ann eve"), true));
        })
    })
    .await;
    let outcome = decide(&mesh, &chained, choice(Verdict::Approve, "eve")).await.unwrap();
    assert!(matches!(outcome, Outcome::Counted(_)), "{outcome:?}");
    mesh.end_of(&chained).await;
    assert_eq!(marks(&file).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_approvers_who_race_one_wins() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _second = mesh.coordinator("c1", false).await;
    let _node = mesh.node("n1").await;
    let file = mesh.folder().join("paid");
    let mut allowed = 0;
    for _ in 0..25 {
        let task = pay(&mesh, &file, json!({})).await;
        asked(&mesh, &task).await;
        let (one, two) = tokio::join!(
            decide(&mesh, &task, choice(Verdict::Approve, "ann")),
            decide(&mesh, &task, choice(Verdict::Deny, "bob")),
        );
        let won =
            |outcome: &Result<Outcome, DecideError>| matches!(outcome, Ok(Outcome::Counted(_)));
        assert!(won(&one) != won(&two), "{one:?} {two:?}");
        let expected = match won(&one) {
            true => json!([{"done": {"pay": 5}}]),
            false => json!([{"denied": ["bob"]}]),
        };
        allowed += usize::from(won(&one));
        assert_eq!(output(&mesh.end_of(&task).await), expected);
        assert_eq!(marks(&file).len(), allowed);
    }
}

/// The steps that an approval allowed.
fn effects(entries: &[Entry]) -> usize {
    let allowed = |entry: &&Entry| matches!(&entry.event, Event::Step { approval: Some(_), .. });
    entries.iter().filter(allowed).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_between_decision_and_effect_lose_and_double_nothing() {
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let mut node = mesh.node("n1").await;
    let file = mesh.folder().join("paid");
    let (mut tasks, mut kills) = (Vec::new(), 0);
    for round in 0..16_u64 {
        let task = pay(&mesh, &file, json!({"ms": 60})).await;
        asked(&mesh, &task).await;
        let decided = choice(Verdict::Approve, "ann");
        mesh.client.decide(&me(), &task, decided, Clock::system().now()).await.unwrap();
        // Each round a little later: before the decision is seen, at the entry, at the queue, in the effect.
        let pause = Duration::from_millis(round / 2 * 12);
        let victim = if round % 2 == 0 { &mut coordinator } else { &mut node };
        tokio::time::sleep(pause).await;
        victim.kill().await;
        kills += 1;
        assert!(victim.restart().await);
        tasks.push(task);
    }
    for task in &tasks {
        assert_eq!(output(&mesh.end_of(task).await), json!([{"done": {"pay": 5}}]));
        let entries = mesh.entries(task).await;
        assert_eq!(effects(&entries), 1, "{:?}", kinds(&entries));
        let answered = entries
            .iter()
            .filter(|entry| matches!(&entry.event, Event::Resumed { answer: Some(_), .. }));
        assert_eq!(answered.count(), 1);
        // An effect that a kill cut short runs again under the same key; one that was committed does not.
        let ran = marks(&file).into_iter().filter(|mark| mark.task == task.as_str()).count();
        let attempts = entries.iter().map(|entry| entry.attempt).max().unwrap_or(0);
        assert!(ran >= 1 && ran < usize::try_from(attempts).unwrap() + 1, "{ran} {attempts}");
    }
    println!("{kills} kills, {} effects for {} tasks", marks(&file).len(), tasks.len());
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().faults(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_count_is_refused_before_it_is_stored() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, PLAYERS).await;
    let _node = mesh.node("n1").await;
    let file = mesh.folder().join("paid");
    let later = json!({"chain": [{"approvers": ["ann"], "afterMs": 3_600_000}]});
    let later = pay(&mesh, &file, later).await;
    let pending = asked(&mesh, &later).await;
    assert!(!pending.is_for("ann") && !pending.is_for("mallory"));
    let early = decide(&mesh, &later, choice(Verdict::Deny, "ann")).await.unwrap_err();
    assert!(early.to_string().ends_with("now; nobody may yet"), "{early}");
    let raise = pay(&mesh, &file, json!({"action": {"raiseBudget": {"tokens": 5}}})).await;
    for (action, reason) in [
        (None, "it is null"),
        (Some(Value::Null), "it is null"),
        (Some(json!({"raiseBudget": {"tokens": "many"}})), "raiseBudget: invalid type"),
        (Some(json!({"pay": 4})), "raiseBudget: invalid type"),
    ] {
        asked(&mesh, &raise).await;
        let edit = Choice { action, ..choice(Verdict::Edit, "ann") };
        let refused = decide(&mesh, &raise, edit).await.unwrap_err();
        assert!(matches!(refused, DecideError::BadAction { .. }), "{refused}");
        assert!(refused.to_string().contains(reason), "{refused}");
    }
    let bus = mesh.client.bus();
    for task in [&later, &raise] {
        let said = bus.subjects().input(&me(), task);
        assert_eq!(bus.count(&bus.names().log, &said).await.unwrap(), 0, "{task}");
    }
}

/// Whom a task's log has told that they may decide, and after which time.
async fn told(mesh: &Mesh, task: &TaskId) -> Vec<(u64, Vec<String>)> {
    let escalated = |entry: Entry| {
        let Event::Escalated { after_ms, to, .. } = entry.event else { return None };
        Some((after_ms, to))
    };
    mesh.entries(task).await.into_iter().filter_map(escalated).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_decide_next_is_told_once_whatever_is_killed() {
    let (mesh, mut first) = Mesh::start(PROGRAM, PLAYERS).await;
    let mut second = mesh.coordinator("c1", false).await;
    let _node = mesh.node("n1").await;
    let file = mesh.folder().join("paid");
    let level = |name: &str, after_ms: u64| json!({"approvers": [name], "afterMs": after_ms});
    let chain = json!([level("ann", 0), level("eve", 600), level("kim", 1_200)]);
    let mut tasks = Vec::new();
    for _ in 0..8 {
        tasks.push(pay(&mesh, &file, json!({"chain": chain})).await);
    }
    let mut asked_at = Vec::new();
    for task in &tasks {
        asked_at.push(asked(&mesh, task).await.since);
    }
    for _ in 0..3 {
        for victim in [&mut first, &mut second] {
            victim.kill().await;
            assert!(victim.restart().await);
        }
    }
    for (task, since) in tasks.iter().zip(asked_at) {
        let watched = async {
            let mut watch = mesh.client.watch(&me(), task).await.unwrap();
            while let Some(entry) = watch.next().await.unwrap() {
                if matches!(&entry.event, Event::Escalated { to, .. } if to.contains(&"kim".to_owned()))
                {
                    return;
                }
            }
        };
        tokio::time::timeout(SOON, watched).await.unwrap();
        // Who was down at the first time puts it to both at the second.
        let (each, both) =
            (vec![(600, names("eve")), (1_200, names("kim"))], (1_200, names("eve kim")));
        let told = told(&mesh, task).await;
        assert!(told == each || told == [both], "{told:?}");
        let pending = asked(&mesh, task).await;
        assert_eq!((pending.since, &pending.addressees), (since, &names("kim")));
        let listed = mesh.client.approvals(None, 100, Clock::system().now()).await.unwrap();
        assert!(listed.pending.contains(&pending), "{listed:?}");
        let outcome = decide(&mesh, task, choice(Verdict::Approve, "kim")).await.unwrap();
        assert!(matches!(outcome, Outcome::Counted(_)), "{outcome:?}");
        mesh.end_of(task).await;
    }
    assert_eq!(marks(&file).len(), tasks.len());
    assert_eq!(Oracle::read(&mesh.client).await.unwrap().faults(), [""; 0]);
}
