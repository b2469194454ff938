//! The part of the oracle that looks at what was said to a task: every answer came in time, was fit for its wait, and was
//! used once; what could not be used was refused.

use std::collections::BTreeSet;

use protocol::approval::{Verdict, action_hash};
use protocol::dead::Cause;
use protocol::entry::{Entry, Event};
use protocol::input::Input;
use protocol::time::Timestamp;
use protocol::wait::{Answer, WaitingFor};

use super::oracle::{Evidence, Story};
use super::world::Said;

/// A wait that was answered.
struct Answered<'a> {
    sequence: u64,
    at: i64,
    waiting_for: &'a WaitingFor,
    until: Option<Timestamp>,
    answer: &'a Answer,
}

/// Judges the waits of a task.
pub(super) fn judge(evidence: &mut Evidence<'_>, story: &Story<'_>) {
    let key = story.key();
    let world = evidence.world;
    let said: Vec<&Said> = world.seen.said.iter().filter(|said| said.task == key).collect();
    let mut used = BTreeSet::new();
    for answered in answers(story) {
        let wrong = fault(&answered, &said, &used);
        evidence.hold(wrong.is_none(), || {
            format!("{}: {} at {}", story.task, wrong.unwrap_or_default(), answered.sequence)
        });
        for sequence in answered.answer.sequences() {
            let first = used.insert(*sequence);
            evidence.hold(first, || format!("{}: {sequence} is used twice", story.task));
        }
    }
    approvals(evidence, story);
    let end = story.end().map(|(sequence, _)| sequence);
    for said in said {
        let refused = evidence.letters.iter().any(|letter| {
            letter.cause == Cause::Refused
                && letter.task == key.1
                && letter.origin.owner == key.0
                && world.refusals(said.sequence)
        });
        let is_used = used.contains(&said.sequence);
        evidence.hold(!(refused && is_used), || {
            format!("{}: {} is used and refused", story.task, said.sequence)
        });
        let late = end.is_some_and(|end| end < said.sequence);
        evidence.hold(!late || refused, || {
            format!("{}: {} came after the end and is not refused", story.task, said.sequence)
        });
    }
}

fn answers<'a>(story: &Story<'a>) -> Vec<Answered<'a>> {
    let mut found = Vec::new();
    let mut waits: Option<(&WaitingFor, Option<Timestamp>)> = None;
    for (sequence, entry) in &story.entries {
        let (sequence, at) = (*sequence, entry.at.millis());
        match &entry.event {
            Event::Suspended { waiting_for, until } => waits = Some((waiting_for, *until)),
            Event::Resumed { answer: Some(answer), .. } => {
                if let Some((waiting_for, until)) = waits {
                    found.push(Answered { sequence, at, waiting_for, until, answer });
                }
            }
            Event::Received { waiting_for, answer } => {
                // A limit that was over when the wait would have begun is not in the log.
                found.push(Answered { sequence, at, waiting_for, until: None, answer });
            }
            _ => {}
        }
    }
    found
}

/// What is wrong with an answer.
fn fault(answered: &Answered<'_>, said: &[&Said], used: &BTreeSet<u64>) -> Option<String> {
    let Answered { sequence, at, waiting_for, until, answer } = answered;
    let until = until.map(Timestamp::millis);
    let fits = |said: &&&Said| {
        let kind = match (waiting_for, &said.input) {
            (WaitingFor::Input { .. }, Input::Message(_)) => true,
            (WaitingFor::Signal { name }, Input::Signal { name: given, .. }) => name == given,
            (WaitingFor::Approval { request, .. }, Input::Decision(decision)) => {
                request.hash == decision.hash
            }
            _ => false,
        };
        kind && said.sequence < *sequence
            && !used.contains(&said.sequence)
            && until.is_none_or(|until| said.at <= until)
    };
    for one in answer.sequences() {
        if !said.iter().filter(fits).any(|said| said.sequence == *one) {
            return Some(format!("{one} does not answer {waiting_for:?}"));
        }
    }
    match answer {
        Answer::Time => {
            if until.is_some_and(|until| *at < until) {
                return Some("its time had not come".to_owned());
            }
            // Whoever resumes a task asks the leader, so everything that came in time is known then.
            let missed = said.iter().filter(fits).find(|_| until.is_some());
            missed.map(|said| format!("{} came in time", said.sequence))
        }
        Answer::Message { .. } | Answer::Signal { .. } => {
            let first = said.iter().filter(fits).map(|said| said.sequence).min();
            let oldest = until.is_none() || first == answer.sequences().first().copied();
            (!oldest).then(|| format!("{first:?} came before"))
        }
        Answer::Children { .. } | Answer::Approval { .. } => None,
    }
}

/// What needs an approval happens only when it was given, once, and is what was approved.
fn approvals(evidence: &mut Evidence<'_>, story: &Story<'_>) {
    let (world, task, key) = (evidence.world, &story.task, story.key());
    let mut allowed = Vec::new();
    for answered in answers(story) {
        let (WaitingFor::Approval { request, name }, Answer::Approval { ruling, .. }) =
            (answered.waiting_for, answered.answer)
        else {
            continue;
        };
        let hash = match (ruling.verdict, &ruling.action) {
            (Some(Verdict::Approve), _) => request.hash.clone(),
            (Some(Verdict::Edit), Some(action)) => action_hash(action),
            _ => continue,
        };
        let voices = u32::try_from(ruling.by.len()).unwrap_or(0);
        let enough = ruling.verdict == Some(Verdict::Edit) || voices >= request.quorum;
        evidence.hold(enough, || format!("{task}: {name} was approved by {voices}"));
        allowed.push((answered.sequence, name.replace("approve", "act"), hash));
    }
    for effect in world.seen.effects.iter().filter(|effect| effect.task == key) {
        let Some(action) = &effect.action else { continue };
        let right = allowed.iter().any(|(sequence, name, hash)| {
            *sequence <= effect.at && *name == effect.name && hash == action
        });
        evidence.hold(right, || format!("{task}: {} was done without approval", effect.name));
    }
    let uses = |entry: &Entry| match &entry.event {
        Event::Step { approval, .. } => approval.clone(),
        _ => None,
    };
    let mut once = BTreeSet::new();
    for name in story.entries.iter().filter_map(|(_, entry)| uses(entry)) {
        let first = once.insert(name.clone());
        evidence.hold(first, || format!("{task}: the approval {name} is used twice"));
    }
}
