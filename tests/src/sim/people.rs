//! People and programs that talk to tasks: they answer what is asked, before it is asked, twice, too late, about
//! something else, and to tasks that have ended.

use std::time::Duration;

use protocol::approval::{Decision, RAISE_BUDGET, Verdict, action_hash};
use protocol::input::Input;
use protocol::lifecycle::Phase;
use protocol::message::{Message, Part};
use protocol::subject::Subject;
use protocol::wait::WaitingFor;
use runtime::bus::Outgoing;
use serde_json::{Value, json};

use super::hold::Hold;
use super::submitter::{any_task, persist};
use super::world::{Key, World};

/// How often they look at most: a task that never ends must not keep them for ever.
const LOOKS_MAX: usize = 400;

/// Talks to tasks until all have ended.
pub(super) async fn talk(hold: Hold) {
    for _ in 0..LOOKS_MAX {
        let wait = hold.with(|world| world.dice.ms(200, 3_000));
        hold.sleep(Duration::from_millis(u64::try_from(wait).unwrap_or(0))).await;
        if hold.with(is_over) {
            return;
        }
        for (task, input) in hold.with(answers) {
            say(&hold, &task, &input).await;
        }
        if hold.with(|world| !world.healed() && world.dice.permille(300))
            && let Some(task) = any_task(&hold)
        {
            let input = hold.with(anything);
            say(&hold, &task, &input).await;
        }
        if hold.with(|world| world.dice.permille(150))
            && let Some(task) = hold.with(running)
        {
            say(&hold, &task, &message()).await;
        }
    }
}

/// A task that somebody runs now.
fn running(world: &mut World) -> Option<Key> {
    let running = world.logs.iter().filter(|(_, log)| log.fold.phase == Phase::Running);
    let subjects: Vec<String> = running.map(|(subject, _)| subject.clone()).collect();
    match world.subjects.parse(&world.dice.pick(&subjects)?)? {
        Subject::Log(owner, task) => Some((owner, task)),
        _ => None,
    }
}

fn is_over(world: &mut World) -> bool {
    world.seen.submitting == 0
        && world.bus.unsettled() == 0
        && world.logs.values().all(|chronicle| chronicle.fold.is_ended())
}

/// Says something to a task that may not have begun.
pub(super) async fn say_early(hold: &Hold, task: &Key) {
    if hold.with(|world| world.dice.permille(200)) {
        let input = hold.with(anything);
        say(hold, task, &input).await;
    }
}

async fn say(hold: &Hold, task: &Key, input: &Input) {
    let (headers, body) = input.write();
    let subject = hold.with(|world| world.subjects.input(&task.0, &task.1));
    let message = Outgoing::new(subject, headers, body.into());
    persist(hold, message.clone()).await;
    if hold.with(|world| world.dice.permille(150)) {
        persist(hold, message).await;
    }
}

/// What is said to the tasks that wait for it now.
fn answers(world: &mut World) -> Vec<(Key, Input)> {
    let open: Vec<(String, WaitingFor, u64)> = world
        .logs
        .iter()
        .filter_map(|(subject, chronicle)| {
            let fold = &chronicle.fold;
            Some((subject.clone(), fold.waiting_for.clone()?, fold.escalated_ms))
        })
        .collect();
    let mut said = Vec::new();
    for (subject, waiting_for, escalated_ms) in open {
        let Some(Subject::Log(owner, task)) = world.subjects.parse(&subject) else { continue };
        if !world.healed() && world.dice.permille(500) {
            continue;
        }
        let task = (owner, task);
        match waiting_for {
            WaitingFor::Input { .. } => said.push((task, message())),
            WaitingFor::Signal { name } => said.push((task, signal(name))),
            WaitingFor::Approval { request, .. } => {
                if world.dice.permille(200) {
                    said.push((task.clone(), decision(world, "ann", &json!(7))));
                }
                let told = request.deciders(escalated_ms);
                for by in ["ann", "bob"] {
                    // Who is not told that it is their turn may only guess, and in the end nobody does.
                    let knows = told.is_empty() || told.iter().any(|name| name == by);
                    if !knows && (world.healed() || world.dice.permille(500)) {
                        continue;
                    }
                    let one = decision(world, by, &request.action);
                    said.push((task.clone(), one));
                }
            }
            WaitingFor::Children { .. } | WaitingFor::Timer { .. } | WaitingFor::Lane { .. } => {}
        }
    }
    said
}

/// Something that nobody has asked for, perhaps not yet.
fn anything(world: &mut World) -> Input {
    let place = world.dice.below(4);
    match world.dice.below(3) {
        0 => message(),
        1 => signal(format!("bell {place}")),
        _ => decision(world, "ann", &action(place)),
    }
}

/// The action that a plan asks to be approved at a place.
pub(super) fn action(place: usize) -> Value {
    json!({"do": place})
}

fn message() -> Input {
    Input::Message(Message::from_user(vec![Part::text("yes")]))
}

fn signal(name: String) -> Input {
    Input::Signal { name, payload: Vec::new() }
}

/// What somebody puts in the place of an action: mostly something of its sort.
fn instead(world: &mut World, action: &Value) -> Value {
    let other = json!({"do": "something else"});
    let fits = world.dice.permille(800);
    match (action.get("call"), action.get(RAISE_BUDGET)) {
        (Some(call), _) if fits => json!({"call": call, "arguments": other}),
        (_, Some(_)) if fits => json!({RAISE_BUDGET: {"tokens": world.dice.below(60)}}),
        _ => other,
    }
}

fn decision(world: &mut World, by: &str, action: &Value) -> Input {
    let verdict = match world.dice.below(6) {
        0 => Verdict::Deny,
        1 => Verdict::Edit,
        _ => Verdict::Approve,
    };
    Input::Decision(Box::new(Decision {
        hash: action_hash(action),
        verdict,
        by: by.to_owned(),
        comment: None,
        action: (verdict == Verdict::Edit).then(|| instead(world, action)),
    }))
}
