//! Counts what happened in a run, by kind, so that the tests can say that nothing is left out.

use std::collections::BTreeMap;

use protocol::approval::Verdict;
use protocol::entry::{Entry, Event, Kind};
use protocol::fault::code;
use protocol::wait::{Answer, WaitingFor};

use super::oracle::{Evidence, Story};

/// Everything that has to happen in some seed.
pub const KINDS: &[&str] = &[
    "approved by one",
    "approved by two",
    "approved on a later level",
    "cached result missing",
    "cached result used",
    "canceled child never queued",
    "canceled unbegun child",
    "canceled child",
    "child that is essential",
    "child that is retried",
    "child that is retried elsewhere",
    "child that falls back",
    "child for a need",
    "coordinator came second",
    "denied",
    "edited",
    "expired",
    "failed for a budget",
    "failed for a child",
    "failed for a denied call",
    "failed for a loop",
    "failed for a need",
    "failed for another action",
    "interrupted by a message",
    "join at the first failure",
    "join of enough",
    "killed behind: attempt_failed",
    "killed behind: canceled",
    "killed behind: completed",
    "killed behind: delegated",
    "killed behind: escalated",
    "killed behind: failed",
    "killed behind: received",
    "killed behind: refunded",
    "killed behind: rejected",
    "killed behind: reserved",
    "killed behind: resumed",
    "killed behind: step",
    "killed behind: suspended",
    "message refused while it runs",
    "need met",
    "need that nobody meets",
    "need without an answer",
    "raised",
    "raised by another amount",
    "refused for its hash",
    "refused after the end",
    "waited for children",
    "waited for a lane",
    "wait for a message answered",
    "wait for a signal answered",
    "wait ended by its time",
    "entry artifact",
    "entry attempt_failed",
    "entry canceled",
    "entry claimed",
    "entry completed",
    "entry delegated",
    "entry escalated",
    "entry failed",
    "entry received",
    "entry refunded",
    "entry rejected",
    "entry released",
    "entry reserved",
    "entry resumed",
    "entry status",
    "entry step",
    "entry suspended",
];

type Counts = BTreeMap<&'static str, usize>;

/// Counts a run.
pub(super) fn count(evidence: &Evidence<'_>) -> Counts {
    let mut counts = evidence.world.seen.counts.clone();
    for story in evidence.stories.values() {
        let mut waits = None;
        for &(_, entry) in &story.entries {
            let mut add = |what| *counts.entry(what).or_default() += 1;
            add(word(entry.event.kind()));
            if let Event::Suspended { waiting_for, .. } = &entry.event {
                waits = Some((waiting_for, entry));
            }
            of_entry(entry, story, waits, &mut add);
        }
    }
    let letters = evidence.letters.iter().filter(|letter| letter.fault.code == code::INPUT_REFUSED);
    let running = |text: &str| text.contains("while it runs");
    let (refused, late): (Vec<_>, Vec<_>) = letters.partition(|one| running(&one.fault.message));
    let late = late.iter().filter(|one| one.fault.message.contains("has ended")).count();
    let hash = |code: &str| code == code::APPROVAL_MISMATCH;
    let hash = evidence.letters.iter().filter(|letter| hash(&letter.fault.code)).count();
    counts.insert("message refused while it runs", refused.len());
    counts.insert("refused after the end", late);
    counts.insert("refused for its hash", hash);
    counts
}

fn of_entry(
    entry: &Entry,
    story: &Story<'_>,
    waits: Option<(&WaitingFor, &Entry)>,
    add: &mut impl FnMut(&'static str),
) {
    match &entry.event {
        Event::Suspended { waiting_for: WaitingFor::Children { .. }, .. } => {
            add("waited for children");
        }
        Event::Suspended { waiting_for: WaitingFor::Lane { .. }, .. } => add("waited for a lane"),
        Event::Received { waiting_for, answer } => answered(waiting_for, answer, 0, add),
        Event::Resumed { answer: Some(answer), .. } => {
            if let Some((waiting_for, since)) = waits {
                answered(waiting_for, answer, entry.at.millis() - since.at.millis(), add);
            }
        }
        Event::Delegated { name, children, .. } => {
            for child in children {
                let again = name.contains(" again ");
                let falls = child.reason.as_ref().is_some_and(|why| why.starts_with("fallback"));
                add(match (again, &child.avoid, child.essential) {
                    (true, Some(_), _) => "child that is retried elsewhere",
                    (true, None, _) => "child that is retried",
                    (false, _, true) => "child that is essential",
                    (false, _, false) => "child",
                });
                let other = again && child.skill.as_str() == "spare" && child.reason.is_none();
                if falls || other {
                    add("child that falls back");
                } else if child.reason.is_some() {
                    add("child for a need");
                }
            }
        }
        Event::Step { name, output, .. } if name.contains(" cached ") => {
            let found = protocol::message::value_of(std::slice::from_ref(output));
            add(if found.is_null() { "cached result missing" } else { "cached result used" });
        }
        Event::Failed { fault, .. } => add(match fault.code.as_str() {
            code::BUDGET_EXCEEDED => "failed for a budget",
            code::CHILD_FAILED => "failed for a child",
            code::APPROVAL_DENIED => "failed for a denied call",
            code::APPROVAL_MISMATCH => "failed for another action",
            code::LOOP_DETECTED => "failed for a loop",
            code::NOBODY_SERVES => "failed for a need",
            _ => "failed otherwise",
        }),
        Event::Canceled { .. } if story.origin().is_some_and(|o| o.parent.is_some()) => {
            add("canceled child");
        }
        _ => {}
    }
}

fn answered(
    waiting_for: &WaitingFor,
    answer: &Answer,
    after_ms: i64,
    add: &mut impl FnMut(&'static str),
) {
    match (waiting_for, answer) {
        (WaitingFor::Children { enough: Some(_), .. }, _) => add("join of enough"),
        (WaitingFor::Children { enough: None, .. }, _) => add("join at the first failure"),
        (WaitingFor::Input { name, .. }, Answer::Message { .. }) if name.starts_with("listen") => {
            add("interrupted by a message");
        }
        (_, Answer::Message { .. }) => add("wait for a message answered"),
        (_, Answer::Signal { .. }) => add("wait for a signal answered"),
        (_, Answer::Time) => add("wait ended by its time"),
        (WaitingFor::Approval { request, .. }, Answer::Approval { ruling, .. }) => {
            let bob = ruling.by.iter().any(|by| by == "bob");
            let late = request.chain.iter().any(|level| {
                bob && level.after_ms > 0 && after_ms >= i64::try_from(level.after_ms).unwrap_or(0)
            });
            if late {
                add("approved on a later level");
            }
            match (request.raise(ruling), ruling.verdict) {
                (Some(_), Some(Verdict::Edit)) => add("raised by another amount"),
                (Some(_), _) => add("raised"),
                (None, _) => {}
            }
            add(match (ruling.verdict, ruling.by.len()) {
                (Some(Verdict::Approve), 1) => "approved by one",
                (Some(Verdict::Approve), _) => "approved by two",
                (Some(Verdict::Edit), _) => "edited",
                (Some(Verdict::Deny), _) => "denied",
                (None, _) => "expired",
            });
        }
        _ => {}
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Claimed => "entry claimed",
        Kind::Status => "entry status",
        Kind::Artifact => "entry artifact",
        Kind::Reserved => "entry reserved",
        Kind::Step => "entry step",
        Kind::Received => "entry received",
        Kind::Refunded => "entry refunded",
        Kind::Delegated => "entry delegated",
        Kind::Suspended => "entry suspended",
        Kind::Escalated => "entry escalated",
        Kind::Resumed => "entry resumed",
        Kind::AttemptFailed => "entry attempt_failed",
        Kind::Released => "entry released",
        Kind::Completed => "entry completed",
        Kind::Failed => "entry failed",
        Kind::Canceled => "entry canceled",
        Kind::Rejected => "entry rejected",
    }
}
