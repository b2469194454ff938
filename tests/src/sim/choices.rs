//! The part of the oracle that looks at choices: who does a piece of work and why, what its failure leads to, which
//! earlier result stands for it, and what a message to a running task does.

use std::collections::BTreeMap;

use protocol::dead::Cause;
use protocol::entry::{Child, Event, Kind};
use protocol::fault::code;
use protocol::header;
use protocol::input::Input;
use protocol::message::value_of;
use protocol::wait::WaitingFor;
use serde_json::Value;

use agent_node::context::delegate::OnFailure;
use protocol::card::OnMessage;

use super::bus::Stream;
use super::mesh::has_tag;
use super::oracle::{Evidence, Story, plan_of};
use super::plan::{Act, Piece};
use super::world::{Key, Said, World};

/// How long a parent may take to hear of a child's failure where nothing goes wrong, in ms.
const PROMPT_MS: i64 = 5_000;

type Stories<'a> = BTreeMap<Key, Story<'a>>;

/// A child with the name of its delegation and its place in it.
pub(super) type Placed<'a> = (&'a str, u32, &'a Child);

/// All children of a task, each with where it stands.
pub(super) fn placed<'a>(story: &Story<'a>) -> Vec<Placed<'a>> {
    let mut found: Vec<Placed<'a>> = Vec::new();
    for (_, entry) in &story.entries {
        let Event::Delegated { name, children, .. } = &entry.event else { continue };
        let before = found.iter().filter(|(known, ..)| known == name).count();
        let places = u32::try_from(before).unwrap_or(0)..;
        found.extend(places.zip(children).map(|(at, child)| (name.as_str(), at, child)));
    }
    found
}

/// The piece that a child is for, if it is the first one for it.
pub(super) fn piece_of<'a>(
    world: &'a World,
    story: &Story<'_>,
    child: Placed<'_>,
) -> Option<&'a Piece> {
    let place = child.0.strip_prefix("delegation ")?.parse::<usize>().ok()?;
    match plan_of(world, story)?.acts.get(place)? {
        Act::Delegate { pieces, .. } => pieces.get(usize::try_from(child.1).ok()?),
        _ => None,
    }
}

/// What a piece's failure was to lead to, by the name of the delegation.
fn policies<'a>(world: &'a World, story: &Story<'_>, base: &str) -> Vec<&'a OnFailure> {
    let place = base.strip_prefix("delegation ").and_then(|place| place.parse::<usize>().ok());
    let act = place.and_then(|at| plan_of(world, story)?.acts.get(at));
    match act {
        Some(Act::Delegate { pieces, .. }) => {
            pieces.iter().map(|piece| &piece.on_failure).collect()
        }
        _ => Vec::new(),
    }
}

/// The name of a delegation without the mark of a further one for the same pieces, and which one it is.
pub(super) fn base(name: &str) -> (&str, u32) {
    match name.split_once(" again ") {
        Some((base, wave)) => (base, wave.parse().unwrap_or(0)),
        None => (name, 0),
    }
}

/// The earlier result that stands for a child, as the log has it: null when there was none.
pub(super) fn earlier(story: &Story<'_>, (name, at, _): Placed<'_>) -> Option<Value> {
    let step = format!("{} cached {at}", base(name).0);
    story.entries.iter().find_map(|(_, entry)| match &entry.event {
        Event::Step { name, output, .. } if *name == step => {
            Some(value_of(std::slice::from_ref(output)))
        }
        _ => None,
    })
}

/// Judges the choices of a task.
pub(super) fn judge(evidence: &mut Evidence<'_>, story: &Story<'_>, stories: &Stories<'_>) {
    let (world, task) = (evidence.world, &story.task);
    for child in placed(story) {
        let wrong = chosen(world, story, child).or_else(|| again(world, story, child, stories));
        evidence.hold(wrong.is_none(), || {
            format!("{task}: child {} of {:?}: {}", child.1, child.0, wrong.unwrap_or_default())
        });
        let wrong = kept(story, child, stories);
        evidence.hold(wrong.is_none(), || {
            format!("{task}: child {} of {:?}: {}", child.1, child.0, wrong.unwrap_or_default())
        });
    }
    prompt(evidence, story, stories);
    loops(evidence, story);
    messages(evidence, story);
}

/// What is wrong with who does a piece of work.
fn chosen(world: &World, story: &Story<'_>, child: Placed<'_>) -> Option<String> {
    let piece = piece_of(world, story, child)?;
    let (skill, reason) = (&child.2.skill, &child.2.reason);
    let spare = *skill == world.workload.spare;
    let falls = reason.as_ref().is_some_and(|reason| reason.starts_with("fallback: "));
    if falls && !(spare && matches!(piece.on_failure, OnFailure::Fallback { .. })) {
        return Some(format!("{skill} is no fallback"));
    }
    let right = match (piece.need, reason) {
        (None, None) => *skill == world.workload.skill,
        (Some(_), Some(_)) if falls => true,
        (Some(tag), Some(reason)) => {
            let answer = (tag.to_owned(), skill.clone(), reason.clone());
            let said = world.seen.resolved.contains(&answer);
            said && !reason.is_empty() && has_tag(world, skill, tag)
        }
        (None, Some(_)) | (Some(_), None) => false,
    };
    if !right {
        return Some(format!("{skill} was chosen for {:?}: {reason:?}", piece.need));
    }
    let is_race = match plan_of(world, story)?
        .acts
        .get(child.0.strip_prefix("delegation ")?.parse::<usize>().ok()?)
    {
        Some(Act::Delegate { enough, .. }) => enough.is_some(),
        _ => false,
    };
    let essential = piece.on_failure == OnFailure::Fail && !is_race;
    (essential != child.2.essential).then(|| format!("essential: {}", child.2.essential))
}

/// What is wrong with a further try of a piece.
fn again(
    world: &World,
    story: &Story<'_>,
    child: Placed<'_>,
    stories: &Stories<'_>,
) -> Option<String> {
    let (name, wave) = base(child.0);
    if wave == 0 {
        return None;
    }
    if wave > 1 {
        return Some("no piece is tried a third time".to_owned());
    }
    let may = policies(world, story, name).iter().any(|policy| {
        matches!(policy, OnFailure::Retry { .. }) && child.2.skill != world.workload.spare
            || matches!(policy, OnFailure::Retry { .. } | OnFailure::Fallback { .. })
    });
    let sequence = story.children().into_iter().find(|(_, one)| one.task == child.2.task);
    let sequence = sequence.map_or(0, |(sequence, _)| sequence);
    let failed = placed(story).into_iter().filter(|one| one.0 == name).any(|one| {
        let end = stories.get(&story.kin(&one.2.task)).and_then(Story::end);
        end.is_some_and(|(at, end)| at < sequence && end.event.kind() != Kind::Completed)
    });
    (!may || !failed).then(|| "nothing asks for a further try".to_owned())
}

/// What is wrong with an earlier result that stands for a child.
fn kept(story: &Story<'_>, child: Placed<'_>, stories: &Stories<'_>) -> Option<String> {
    let found = earlier(story, child).filter(|found| base(child.0).1 == 0 && !found.is_null())?;
    let origin = story.origin()?;
    let same = stories.values().filter(|other| {
        other.origin().is_some_and(|one| {
            one.owner == origin.owner && one.skill == child.2.skill && one.parent.is_some()
        })
    });
    let mut ends = same.filter_map(Story::end);
    let is_from = ends.any(|(_, end)| {
        let Event::Completed { output } = &end.event else { return false };
        let output = serde_json::to_value(output).unwrap_or_default();
        let at = serde_json::to_value(end.at).unwrap_or_default();
        found.get("at") == Some(&at) && found.get("output") == Some(&output)
    });
    (!is_from).then(|| format!("nobody returned {found}"))
}

/// Where nothing goes wrong, a task hears at once of the failure of a child that it cannot do without.
fn prompt(evidence: &mut Evidence<'_>, story: &Story<'_>, stories: &Stories<'_>) {
    let faults = evidence.world.workload.faults;
    if faults != super::world::Faults::default() {
        return;
    }
    let mut children: Vec<&Child> = Vec::new();
    for (at, (_, entry)) in story.entries.iter().enumerate() {
        match &entry.event {
            Event::Delegated { children: more, .. } => children = more.iter().collect(),
            Event::Suspended { waiting_for: WaitingFor::Children { .. }, .. } => {
                let missed = children.iter().filter(|child| child.essential).filter_map(|child| {
                    let (_, end) = stories.get(&story.kin(&child.task))?.end()?;
                    (end.event.kind() != Kind::Completed).then(|| end.at.millis())
                });
                let Some(first) = missed.min() else { continue };
                let due = first.max(entry.at.millis()) + PROMPT_MS;
                let next = story.entries.get(at + 1).map(|(_, next)| next.at.millis());
                evidence.hold(next.is_some_and(|next| next <= due), || {
                    format!("{}: heard late of a failure at {first}", story.task)
                });
            }
            _ => {}
        }
    }
}

/// Equal calls in a row are stopped at the limit.
fn loops(evidence: &mut Evidence<'_>, story: &Story<'_>) {
    let mut equal = 0;
    for (sequence, entry) in &story.entries {
        let Event::Step { name, .. } = &entry.event else { continue };
        equal = if name == "again" { equal + 1 } else { 0 };
        evidence.hold(equal <= super::agent::EQUAL_CALLS_MAX, || {
            format!("{}: {equal} equal calls in a row at {sequence}", story.task)
        });
    }
    let broken = story.end().is_some_and(|(_, end)| {
        matches!(&end.event, Event::Failed { fault, .. } if fault.code == code::LOOP_DETECTED)
    });
    evidence.hold(!broken || equal == super::agent::EQUAL_CALLS_MAX, || {
        format!("{}: {equal} equal calls are no loop", story.task)
    });
}

/// Whether a task is being run behind the last entry up to a place, by the entries alone.
fn runs_at(story: &Story<'_>, sequence: u64) -> bool {
    let last = story.entries.iter().rev().find(|(at, _)| *at <= sequence);
    last.is_some_and(|(_, entry)| {
        let kind = entry.event.kind();
        let rests = matches!(
            kind,
            Kind::Suspended
                | Kind::Escalated
                | Kind::Resumed
                | Kind::AttemptFailed
                | Kind::Released
        );
        // An attempt that failed and comes again by itself counts as queued.
        !rests && !kind.is_terminal()
    })
}

/// A message interrupts only where the skill says so, and is refused only where, and while, it says so.
fn messages(evidence: &mut Evidence<'_>, story: &Story<'_>) {
    let (world, task, key) = (evidence.world, &story.task, story.key());
    let policy = world.workload.on_message;
    for (sequence, entry) in &story.entries {
        let Event::Received { waiting_for: WaitingFor::Input { name, .. }, .. } = &entry.event
        else {
            continue;
        };
        let right = !name.starts_with("listen") || policy == OnMessage::Interrupt;
        evidence.hold(right, || format!("{task}: interrupted at {sequence}, and it is {policy:?}"));
    }
    let said = |one: &&Said| one.task == key && matches!(one.input, Input::Message(_));
    for one in world.seen.said.iter().filter(said) {
        let refused = refusal(evidence, one.sequence);
        let ran = policy == OnMessage::Reject && runs_at(story, one.sequence);
        if let Some((letter, message)) = &refused {
            let right = if message.contains("while it runs") {
                ran
            } else {
                let end = story.end().map(|(at, _)| at);
                end.is_some_and(|end| end < *letter) || message.contains("no such task")
            };
            evidence
                .hold(right, || format!("{task}: message {} is refused: {message}", one.sequence));
        }
        let kept = world.seen.kept.contains(&one.sequence);
        let used = story.entries.iter().any(|(_, entry)| match &entry.event {
            Event::Resumed { answer: Some(answer), .. } | Event::Received { answer, .. } => {
                answer.sequences().contains(&one.sequence)
            }
            _ => false,
        });
        evidence.hold(!ran || !used && !kept, || {
            format!("{task}: message {} came while it ran and is not refused", one.sequence)
        });
    }
}

/// Where the letter is that refuses what was said at this sequence, and what it says.
fn refusal(evidence: &Evidence<'_>, sequence: u64) -> Option<(u64, String)> {
    let id = format!("refused-{sequence}");
    let found = evidence.world.bus.all(Stream::Log).find(|message| {
        message.subject.starts_with("weft.dead.")
            && message.headers.get(header::MSG_ID) == Some(&id)
    })?;
    let letter: protocol::dead::DeadLetter = serde_json::from_slice(&found.payload).ok()?;
    (letter.cause == Cause::Refused).then_some((found.sequence, letter.fault.message))
}
