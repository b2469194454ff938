//! The part of the oracle that looks at several tasks at once: what was accepted, letters, children, cancels.

use protocol::dead::Cause;
use protocol::entry::{Event, Kind};
use protocol::id::TaskId;
use protocol::submission::{self, Envelope};

use super::oracle::{Evidence, Story};

/// Judges what holds between tasks and messages.
pub(super) fn judge(evidence: &mut Evidence<'_>) {
    let stories = std::mem::take(&mut evidence.stories);
    let accepted = std::mem::take(&mut evidence.accepted);
    for (envelope, _) in &accepted {
        let task = &envelope.task;
        evidence.hold(stories.contains_key(task), || format!("{task}: accepted and lost"));
    }
    for story in stories.values() {
        letters(evidence, story);
        children(evidence, story, |task| stories.get(task));
        if story.ended(Kind::Canceled) {
            let asked = is_canceled(evidence, story, |task| stories.get(task));
            evidence.hold(asked, || format!("{}: canceled, and nobody asked", story.task));
        }
    }
    for (envelope, message) in &accepted {
        let winner = stories.get(&envelope.task);
        conflicts(evidence, envelope, &message.payload, winner);
    }
    evidence.stories = stories;
}

/// One letter for a task that failed, none for any other.
fn letters(evidence: &mut Evidence<'_>, story: &Story<'_>) {
    let task = &story.task;
    let written = evidence.letters.iter().filter(|letter| letter.cause == Cause::Failed);
    let found = written.filter(|letter| letter.task == *task).count();
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
    let origin = winner.and_then(|story| story.entries.first()?.1.origin.as_deref());
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

/// A parent that completed had seen how all its children ended, and they had ended before.
fn children<'a>(
    evidence: &mut Evidence<'_>,
    story: &Story<'a>,
    of: impl Fn(&TaskId) -> Option<&'a Story<'a>>,
) {
    let task = &story.task;
    let Some((ended_at, end)) = story.end() else { return };
    if !matches!(end.event, Event::Completed { .. }) {
        return;
    }
    let seen = evidence.world.seen.ends.get(task).cloned().unwrap_or_default();
    for child in story.children() {
        let Some((child_at, child_end)) = of(child).and_then(Story::end) else {
            evidence.wrong.push(format!("{task}: completed before its child {child}"));
            continue;
        };
        evidence.hold(child_at < ended_at, || format!("{task}: its child {child} ended later"));
        let completed = child_end.event.kind() == Kind::Completed;
        let looks = seen.iter().filter(|(looked_at, _)| looked_at == child);
        let (right, all) = looks.fold((0, 0), |(right, all), (_, saw)| {
            (right + usize::from(*saw == completed), all + 1)
        });
        evidence.hold(all > 0 && right == all, || {
            format!("{task}: saw another end of its child {child} than it had")
        });
    }
}

/// Whether somebody wanted the end of a task or of one that it descends from.
fn is_canceled<'a>(
    evidence: &Evidence<'_>,
    story: &Story<'a>,
    of: impl Fn(&TaskId) -> Option<&'a Story<'a>>,
) -> bool {
    let mut task = Some(story.task.clone());
    while let Some(known) = task {
        if evidence.world.seen.canceled.contains(&known) {
            return true;
        }
        let first = of(&known).and_then(|story| story.entries.first());
        let origin = first.and_then(|(_, entry)| entry.origin.as_deref());
        task = origin.and_then(|origin| origin.parent.as_ref()).map(|parent| parent.task.clone());
    }
    false
}
