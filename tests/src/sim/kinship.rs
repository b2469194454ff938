//! The part of the oracle that looks at several tasks at once: what was accepted, letters, children, cancels, lanes.

use std::collections::BTreeMap;

use agent_node::context::delegate::OnFailure;
use protocol::dead::Cause;
use protocol::entry::{Child, Event, Kind};
use protocol::id::TaskId;
use protocol::submission::{self, Envelope, Queue};
use protocol::wait::{Answer, WaitingFor};

use super::bus::Stream;
use super::choices::{Placed, base, earlier, piece_of, placed};
use super::oracle::{Evidence, Story};
use super::world::Key;

type Stories<'a> = BTreeMap<Key, Story<'a>>;

/// Judges what holds between tasks and messages.
pub(super) fn judge(evidence: &mut Evidence<'_>) {
    let stories = std::mem::take(&mut evidence.stories);
    let accepted = std::mem::take(&mut evidence.accepted);
    for (envelope, _) in &accepted {
        let key = (envelope.owner.clone(), envelope.task.clone());
        evidence.hold(stories.contains_key(&key), || format!("{key:?}: accepted and lost"));
    }
    for story in stories.values() {
        letters(evidence, story);
        children(evidence, story, &stories);
        joins(evidence, story, &stories);
        left_behind(evidence, story);
        descent(evidence, story, &stories);
        super::choices::judge(evidence, story, &stories);
        if story.ended(Kind::Canceled) {
            let asked = is_canceled(evidence, story, &stories);
            evidence.hold(asked, || format!("{}: canceled, and nobody asked", story.task));
        }
    }
    for (envelope, message) in &accepted {
        let winner = stories.get(&(envelope.owner.clone(), envelope.task.clone()));
        conflicts(evidence, envelope, &message.payload, winner);
    }
    lanes(evidence, &stories);
    super::budgets::trees(evidence, &stories);
    evidence.stories = stories;
}

/// One letter for a task that failed, none for any other.
fn letters(evidence: &mut Evidence<'_>, story: &Story<'_>) {
    let task = &story.task;
    let written = evidence.letters.iter().filter(|letter| letter.cause == Cause::Failed);
    let own = written.filter(|letter| letter.task == *task && letter.origin.owner == story.owner);
    let found = own.count();
    let expected = usize::from(story.ended(Kind::Failed));
    evidence.hold(found == expected, || format!("{task}: {found} letters, expected {expected}"));
}

/// One letter for a submission that lost its key to another input, none for any other. Where the server forgets ids
/// within a delivery's life there may be more.
fn conflicts(
    evidence: &mut Evidence<'_>,
    envelope: &Envelope,
    payload: &[u8],
    winner: Option<&Story<'_>>,
) {
    let source = envelope.source;
    let origin = winner.and_then(Story::origin);
    let hash = submission::input_hash(envelope.content_type.as_deref(), payload);
    let lost = envelope.requeued_by.is_none()
        && origin.is_some_and(|o| o.source != source && o.input_hash != hash);
    let written = evidence.letters.iter().filter(|letter| letter.cause == Cause::Conflict);
    let found = written.filter(|letter| letter.origin.source == source).count();
    let forgetful = evidence.world.bus.window < 60_000;
    let right = found == usize::from(lost) || forgetful && lost && found > 1;
    evidence.hold(right, || {
        format!("{}: {found} conflict letters for {source:?}, lost: {lost}", envelope.task)
    });
}

/// A parent that completed had seen how the children that it waited for ended, and they had ended before.
fn children(evidence: &mut Evidence<'_>, story: &Story<'_>, stories: &Stories<'_>) {
    let task = &story.task;
    let Some((ended_at, end)) = story.end() else { return };
    if !matches!(end.event, Event::Completed { .. }) {
        return;
    }
    let seen = evidence.world.seen.ends.get(&story.key()).cloned().unwrap_or_default();
    let losers = losers(story);
    let all = placed(story);
    for one in &all {
        let child = &one.2.task;
        let Some((child_at, child_end)) = stories.get(&story.kin(child)).and_then(Story::end)
        else {
            evidence.wrong.push(format!("{task}: completed, and its child {child} never ends"));
            continue;
        };
        if losers.contains(&child) {
            continue;
        }
        evidence.hold(child_at < ended_at, || format!("{task}: its child {child} ended later"));
        let completed = child_end.event.kind() == Kind::Completed;
        let looks = seen.iter().filter(|(looked_at, _)| looked_at == child);
        let excused = !completed && may_do_without(evidence, story, *one);
        let (right, looked) = looks.fold((0, 0), |(right, looked), (_, saw)| {
            (right + usize::from(*saw == completed || excused), looked + 1)
        });
        let (name, wave) = base(one.0);
        let is_last = completed || !all.iter().any(|(other, ..)| base(other) == (name, wave + 1));
        evidence.hold((looked > 0 || !is_last) && right == looked, || {
            format!("{task}: saw another end of its child {child} than it had")
        });
    }
}

/// Whether a task is given something although a child came to nothing.
fn may_do_without(evidence: &Evidence<'_>, story: &Story<'_>, child: Placed<'_>) -> bool {
    match piece_of(evidence.world, story, child).map(|piece| &piece.on_failure) {
        Some(OnFailure::Ignore) => true,
        Some(OnFailure::Cached { .. }) => {
            earlier(story, child).is_some_and(|found| !found.is_null())
        }
        _ => false,
    }
}

/// The end of a wait for some of the children: the sequence of the entry, the children, how many had to complete, those
/// that had ended.
type SomeJoin<'a> = (u64, Vec<&'a Child>, Option<u32>, &'a [u32]);

/// The ends of a task's waits for some of its children.
fn some_joins<'a>(story: &Story<'a>) -> Vec<SomeJoin<'a>> {
    let mut joins = Vec::new();
    let (mut last, mut open, mut waits): (Vec<&Child>, bool, Option<u32>) = Default::default();
    for (sequence, entry) in &story.entries {
        let ended = match &entry.event {
            Event::Delegated { children, more, .. } => {
                if !open {
                    last.clear();
                }
                last.extend(children);
                open = *more;
                continue;
            }
            Event::Suspended { waiting_for: WaitingFor::Children { enough, .. }, .. } => {
                waits = *enough;
                continue;
            }
            Event::Resumed { answer: Some(Answer::Children { ended }), .. } => ended,
            Event::Received {
                waiting_for: WaitingFor::Children { enough, .. },
                answer: Answer::Children { ended },
            } => {
                waits = *enough;
                ended
            }
            _ => continue,
        };
        joins.push((*sequence, last.clone(), waits, ended.as_slice()));
    }
    joins
}

/// The children that a task went on without.
pub(super) fn losers<'a>(story: &Story<'a>) -> Vec<&'a TaskId> {
    let joins = some_joins(story).into_iter();
    let lost = joins.flat_map(|(_, children, _, ended)| {
        let places = (0_u32..).zip(children);
        let left = places.filter(|(at, _)| !ended.contains(at));
        left.map(|(_, child)| &child.task).collect::<Vec<_>>()
    });
    lost.collect()
}

/// A task goes on when enough of its children have completed, or no longer can.
fn joins(evidence: &mut Evidence<'_>, story: &Story<'_>, stories: &Stories<'_>) {
    let task = &story.task;
    for (sequence, children, enough, ended) in some_joins(story) {
        let (mut completed, mut fruitless, mut missed) = (0, 0, false);
        for at in ended {
            let child = usize::try_from(*at).ok().and_then(|at| children.get(at));
            let end = child.and_then(|child| stories.get(&story.kin(&child.task)));
            let end = end.and_then(Story::end);
            let before = end.filter(|(at, _)| *at < sequence);
            match before.map(|(_, end)| end.event.kind()) {
                Some(Kind::Completed) => completed += 1,
                Some(_) => {
                    fruitless += 1;
                    missed |= child.is_some_and(|child| child.essential);
                }
                None => evidence.wrong.push(format!("{task}: counts child {at} at {sequence}")),
            }
        }
        let right = match enough.map(|enough| usize::try_from(enough).unwrap_or(usize::MAX)) {
            Some(enough) => completed >= enough || children.len() - fruitless < enough,
            None => missed,
        };
        evidence.hold(right, || {
            format!("{task}: goes on at {sequence} with {completed} of {enough:?} children")
        });
    }
}

/// Somebody asks for the end of every child that nobody waits for any more.
fn left_behind(evidence: &mut Evidence<'_>, story: &Story<'_>) {
    let mut left = losers(story);
    let completed = story.ended(Kind::Completed);
    let last = story.entries.iter().rev().find_map(|(_, entry)| match &entry.event {
        Event::Delegated { children, .. } => Some(Some(children)),
        Event::Step { .. } | Event::Resumed { .. } | Event::Received { .. } => Some(None),
        _ => None,
    });
    if let (false, Some(Some(children))) = (completed, last) {
        left.extend(children.iter().map(|child| &child.task));
    }
    for child in left {
        let subject = evidence.world.subjects.cancel(&story.owner, child);
        let asked = evidence.world.bus.all(Stream::Log).any(|message| message.subject == subject);
        evidence.hold(asked, || format!("{}: its child {child} is left alone", story.task));
    }
}

/// A child is one level below its parent and has the slice that its parent gave it.
fn descent(evidence: &mut Evidence<'_>, story: &Story<'_>, stories: &Stories<'_>) {
    let Some(origin) = story.origin() else { return };
    for (_, child) in story.children() {
        let Some(found) = stories.get(&story.kin(&child.task)).and_then(Story::origin) else {
            continue;
        };
        let right = found.depth == origin.depth + 1
            && found.skill == child.skill
            && found.budget == child.budget
            && found.parent.as_ref().is_some_and(|parent| parent.task == story.task);
        evidence.hold(right, || format!("{}: is no child of {}", child.task, story.task));
    }
}

/// Whether somebody wanted the end of a task or of one that it descends from, or nobody waited for it any more.
fn is_canceled(evidence: &Evidence<'_>, story: &Story<'_>, stories: &Stories<'_>) -> bool {
    let mut task = Some(story.key());
    while let Some(known) = task {
        if evidence.world.seen.canceled.contains(&known) {
            return true;
        }
        let origin = stories.get(&known).and_then(Story::origin);
        let parent = origin.and_then(|origin| origin.parent.as_ref());
        let above = parent.and_then(|parent| stories.get(&(known.0.clone(), parent.task.clone())));
        let abandoned = above.is_some_and(|above| {
            above.end().is_some() && !above.ended(Kind::Completed)
                || losers(above).contains(&&known.1)
        });
        if abandoned {
            return true;
        }
        task = above.map(Story::key);
    }
    false
}

/// In a lane, nothing is begun before everything before it has ended.
fn lanes(evidence: &mut Evidence<'_>, stories: &Stories<'_>) {
    let mut lanes: BTreeMap<(&str, &str), Vec<(u64, &Story<'_>)>> = BTreeMap::new();
    for story in stories.values() {
        let Some(origin) = story.origin().filter(|o| o.source.queue == Queue::Inbox) else {
            continue;
        };
        if let Some(lane) = &origin.lane {
            let members = lanes.entry((origin.owner.as_str(), lane.as_str())).or_default();
            members.push((origin.source.sequence, story));
        }
    }
    for ((_, lane), mut members) in lanes {
        members.sort_by_key(|(sequence, _)| *sequence);
        let mut ended = 0;
        for (_, story) in members {
            let key = story.key();
            let began = story.entries.iter().find(|(_, entry)| entry.attempt > 0);
            let acted = evidence.world.seen.effects.iter().find(|effect| effect.task == key);
            let right = began.is_none_or(|(at, _)| *at > ended)
                && acted.is_none_or(|effect| effect.at >= ended);
            evidence.hold(right, || {
                format!("{}: begun in lane {lane} before one before it had ended", story.task)
            });
            ended = ended.max(story.end().map_or(u64::MAX, |(at, _)| at));
        }
    }
    for story in stories.values() {
        for (sequence, entry) in &story.entries {
            let Event::Suspended { waiting_for: WaitingFor::Lane { predecessor }, .. } =
                &entry.event
            else {
                continue;
            };
            let own = story.origin().map(|origin| origin.source.sequence).unwrap_or(0);
            let at = |sequence| evidence.world.bus.at(Stream::Inbox, sequence);
            let (before, own) = (at(*predecessor).map(|m| &m.subject), at(own).map(|m| &m.subject));
            let same = before.is_none() || own.is_none() || before == own;
            evidence.hold(same, || format!("{}: waits for another lane at {sequence}", story.task));
            // The fold takes the end of a wait in a lane for nobody's attempt.
            let first = entry.generation == 1;
            evidence.hold(first, || format!("{}: had begun before its turn", story.task));
        }
    }
}
