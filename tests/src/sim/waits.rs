//! The part of the oracle that looks at what was said to a task: every answer came in time, was fit for its wait, and was
//! used once; what could not be used was refused.

use std::collections::BTreeSet;

use protocol::approval::{ApprovalRequest, Decision, Verdict, action_hash};
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
    since: Timestamp,
    until: Option<Timestamp>,
    answer: &'a Answer,
}

/// Judges the waits of a task.
pub(super) fn judge(evidence: &mut Evidence<'_>, story: &Story<'_>) {
    let key = story.key();
    let world = evidence.world;
    let said: Vec<&Said> = world.seen.said.iter().filter(|said| said.task == key).collect();
    let refused: BTreeSet<u64> =
        said.iter().map(|one| one.sequence).filter(|one| world.refusals(*one)).collect();
    let mut used = BTreeSet::new();
    for answered in answers(story) {
        let open: Vec<&Said> = said
            .iter()
            .copied()
            .filter(|one| {
                !refused.contains(&one.sequence)
                    || answered.answer.sequences().contains(&one.sequence)
            })
            .collect();
        let wrong = fault(&answered, &open, &used);
        evidence.hold(wrong.is_none(), || {
            format!("{}: {} at {}", story.task, wrong.unwrap_or_default(), answered.sequence)
        });
        for sequence in answered.answer.sequences() {
            let first = used.insert(*sequence);
            evidence.hold(first, || format!("{}: {sequence} is used twice", story.task));
        }
    }
    approvals(evidence, story);
    escalations(evidence, story);
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
    let mut waits: Option<(&WaitingFor, Timestamp, Option<Timestamp>)> = None;
    for (sequence, entry) in &story.entries {
        let (sequence, at) = (*sequence, entry.at.millis());
        match &entry.event {
            Event::Suspended { waiting_for, until } => {
                waits = Some((waiting_for, entry.at, *until));
            }
            Event::Resumed { answer: Some(answer), .. } => {
                if let Some((waiting_for, since, until)) = waits {
                    found.push(Answered { sequence, at, waiting_for, since, until, answer });
                }
            }
            Event::Received { waiting_for, answer } => {
                // A limit that was over when the wait would have begun is not in the log.
                let since = entry.at;
                found.push(Answered { sequence, at, waiting_for, since, until: None, answer });
            }
            _ => {}
        }
    }
    found
}

/// An approval escalates when the time of a level has come, once to each, and tells those whom the level names.
fn escalations(evidence: &mut Evidence<'_>, story: &Story<'_>) {
    let mut asked: Option<(&ApprovalRequest, Timestamp)> = None;
    let mut begun = BTreeSet::new();
    for (sequence, entry) in &story.entries {
        if let Event::Suspended { waiting_for, .. } = &entry.event {
            begun.clear();
            asked = match waiting_for {
                WaitingFor::Approval { request, .. } => Some((request, entry.at)),
                _ => None,
            };
        }
        let Event::Escalated { after_ms, to, .. } = &entry.event else { continue };
        let age = asked.map_or(0, |(_, since)| entry.at.millis() - since.millis());
        let in_time =
            i64::try_from(*after_ms).is_ok_and(|after_ms| after_ms > 0 && after_ms <= age);
        let named = asked.is_some_and(|(request, _)| {
            let level = request.chain.iter().find(|level| level.after_ms == *after_ms);
            level.is_some_and(|level| level.approvers.iter().all(|name| to.contains(name)))
        });
        evidence.hold(in_time && named && begun.insert(*after_ms), || {
            format!("{}: escalates to {to:?} after {after_ms} ms at {sequence}", story.task)
        });
    }
}

/// What is wrong with an answer.
fn fault(answered: &Answered<'_>, said: &[&Said], used: &BTreeSet<u64>) -> Option<String> {
    let Answered { sequence, at, waiting_for, until, answer, .. } = answered;
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
        Answer::Approval { .. } => ruled(answered, said),
        Answer::Children { .. } => None,
    }
}

/// What is wrong with a ruling, given the decisions that it is made of.
fn ruled(answered: &Answered<'_>, said: &[&Said]) -> Option<String> {
    let (WaitingFor::Approval { request, .. }, Answer::Approval { sequences, ruling }) =
        (answered.waiting_for, answered.answer)
    else {
        return Some("it is no ruling".to_owned());
    };
    let find = |sequence: &u64| said.iter().find(|said| said.sequence == *sequence);
    let decisions: Vec<_> = sequences
        .iter()
        .filter_map(|sequence| match &find(sequence)?.input {
            Input::Decision(decision) => Some((find(sequence)?.at, decision)),
            _ => None,
        })
        .collect();
    let by: Vec<&String> = decisions.iter().map(|(_, decision)| &decision.by).collect();
    if by.iter().collect::<BTreeSet<_>>().len() != by.len() || !by.iter().copied().eq(&ruling.by) {
        return Some(format!("{by:?} decided, and it says {:?}", ruling.by));
    }
    for (at, decision) in &decisions {
        let age = u64::try_from(at - answered.since.millis()).unwrap_or(0);
        let level = request.chain.iter().find(|level| level.approvers.contains(&decision.by));
        let from = if request.chain.is_empty() { Some(0) } else { level.map(|one| one.after_ms) };
        if from.is_none_or(|from| from > age) {
            return Some(format!("{} decided out of turn", decision.by));
        }
    }
    let all_but_last = decisions.len().saturating_sub(usize::from(ruling.verdict.is_some()));
    let approve = |(_, one): &(i64, &Box<_>)| is_plain(one);
    if !decisions.iter().take(all_but_last).all(approve) {
        return Some("somebody had denied or edited before".to_owned());
    }
    let last = decisions.last().map(|(_, one)| (Some(one.verdict), one.action.as_ref()));
    let is_last = last.is_some_and(|last| last == (ruling.verdict, ruling.action.as_ref()));
    let right = ruling.verdict.is_none() || is_last;
    (!right).then(|| format!("it rules {:?}, and the last one decided otherwise", ruling.verdict))
}

/// Whether somebody simply approved.
fn is_plain(decision: &Decision) -> bool {
    decision.verdict == Verdict::Approve && decision.action.is_none()
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
        let action = name.replace("approve guarded", "approve").replace("approve", "act");
        allowed.push((answered.sequence, action, hash));
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
