//! The part of the oracle that counts tokens: with arithmetic of its own, entry by entry, and against what the effects
//! outside have cost.

use std::collections::BTreeMap;

use protocol::approval::{ApprovalRequest, Ruling, Verdict};
use protocol::budget::Unit;
use protocol::entry::{Entry, Event, Kind};
use protocol::id::TaskId;
use protocol::log::TaskLog;
use protocol::wait::{Answer, WaitingFor};

use super::kinship::losers;
use super::oracle::{Evidence, Story};
use super::world::Key;

type Stories<'a> = BTreeMap<Key, Story<'a>>;

/// A task's tokens as the oracle counts them.
#[derive(Default)]
struct Purse<'a> {
    granted: u64,
    spent: u64,
    /// What is set aside for the step that is under way.
    open: u64,
    slices: BTreeMap<&'a TaskId, u64>,
    /// What somebody is asked to approve.
    asked: Option<&'a ApprovalRequest>,
    /// What somebody has allowed it, and its settled children, on top of the grant.
    raised: u64,
    attempt: u32,
}

impl<'a> Purse<'a> {
    fn left(&self) -> Option<u64> {
        let out: u64 = self.slices.values().sum();
        self.granted.checked_sub(self.spent + self.open + out)
    }

    fn total(&self) -> u64 {
        self.spent + self.open + self.slices.values().sum::<u64>()
    }

    fn raise(&mut self, more: u64) {
        self.granted += more;
        self.raised += more;
    }

    /// What a reservation that nothing settled comes to.
    fn forfeit(&mut self) {
        self.spent += std::mem::take(&mut self.open);
    }

    /// Counts an entry; what is wrong with it.
    fn take(&mut self, entry: &'a Entry) -> Option<String> {
        if entry.attempt > 0 && entry.attempt != self.attempt {
            self.attempt = entry.attempt;
            self.forfeit();
        }
        let left = self.left().unwrap_or(0);
        match &entry.event {
            Event::Reserved { name, usage } => {
                self.forfeit();
                self.open = usage.tokens;
                if usage.tokens > left {
                    return Some(format!("{name} sets {} aside of {left}", usage.tokens));
                }
            }
            Event::Step { usage, .. } => {
                self.open = 0;
                self.spent += usage.map_or(0, |usage| usage.tokens);
            }
            Event::Delegated { name, children, .. } => {
                for child in children {
                    let slice = child.budget.and_then(|budget| budget.tokens).unwrap_or(0);
                    self.slices.insert(&child.task, slice);
                }
                if self.left().is_none() {
                    return Some(format!("{name} hands out more than {left}"));
                }
            }
            Event::Refunded { children } => {
                for child in children {
                    let Some(slice) = self.slices.remove(&child.task) else {
                        return Some(format!("{} is settled twice", child.task));
                    };
                    let had = slice + child.raised.tokens;
                    if child.spent.tokens > had {
                        return Some(format!("{} spent more than the {had} it had", child.task));
                    }
                    self.raise(child.raised.tokens);
                    self.spent += child.spent.tokens;
                }
            }
            Event::Resumed { answer: Some(Answer::Approval { ruling, .. }), .. } => {
                self.raise(self.asked.map_or(0, |asked| raised(asked, ruling)));
            }
            Event::Received {
                waiting_for: WaitingFor::Approval { request, .. },
                answer: Answer::Approval { ruling, .. },
            } => self.raise(raised(request, ruling)),
            Event::Suspended { waiting_for: WaitingFor::Approval { request, .. }, .. } => {
                self.asked = Some(request);
                self.forfeit();
            }
            Event::Suspended { .. } | Event::AttemptFailed { .. } | Event::Released { .. } => {
                self.forfeit();
            }
            kind if kind.kind().is_terminal() => self.forfeit(),
            _ => {}
        }
        self.left().is_none().then(|| format!("{} of {} are gone", self.total(), self.granted))
    }
}

/// How many tokens a ruling adds to the budget.
fn raised(asked: &ApprovalRequest, ruling: &Ruling) -> u64 {
    let action = match ruling.verdict {
        Some(Verdict::Approve) => Some(&asked.action),
        Some(Verdict::Edit) => ruling.action.as_ref(),
        Some(Verdict::Deny) | None => None,
    };
    let tokens = action.and_then(|action| action.get("raiseBudget")?.get("tokens")?.as_u64());
    tokens.unwrap_or(0)
}

/// What somebody has allowed a task and all below it on top of what they were granted.
fn raises(task: &Key, stories: &Stories<'_>) -> u64 {
    let Some(story) = stories.get(task) else { return 0 };
    let mut asked = None;
    let mut sum = 0;
    for (_, entry) in &story.entries {
        match &entry.event {
            Event::Suspended { waiting_for: WaitingFor::Approval { request, .. }, .. } => {
                asked = Some(request);
            }
            Event::Resumed { answer: Some(Answer::Approval { ruling, .. }), .. } => {
                sum += asked.map_or(0, |asked| raised(asked, ruling));
            }
            Event::Received {
                waiting_for: WaitingFor::Approval { request, .. },
                answer: Answer::Approval { ruling, .. },
            } => sum += raised(request, ruling),
            _ => {}
        }
    }
    let below = story.children().into_iter().map(|(_, child)| story.kin(&child.task));
    sum + below.map(|child| raises(&child, stories)).sum::<u64>()
}

/// Nothing is spent twice, nothing is forgotten, and never more than was granted.
pub(super) fn judge(evidence: &mut Evidence<'_>, story: &Story<'_>, stories: &Stories<'_>) {
    let Some(granted) = story.origin().and_then(|origin| origin.budget?.tokens) else { return };
    let task = &story.task;
    let mut purse = Purse { granted, ..Purse::default() };
    let mut fold = TaskLog::default();
    for (sequence, entry) in &story.entries {
        let wrong = purse.take(entry);
        evidence.hold(wrong.is_none(), || {
            format!("{task}: {} at {sequence}", wrong.unwrap_or_default())
        });
        let folded = fold.apply(*sequence, (*entry).clone()).is_ok();
        let left = fold.account.left(Unit::Tokens);
        evidence.hold(!folded || left == purse.left(), || {
            format!("{task}: {left:?} are left by the fold at {sequence}, not {:?}", purse.left())
        });
        if entry.event.kind().is_terminal() {
            let said =
                (entry.spent.map(|one| one.tokens), entry.raised.map_or(0, |one| one.tokens));
            let own = (Some(purse.total()), purse.raised);
            evidence.hold(said == own, || {
                format!("{task}: its end says {said:?} spent and raised, and it is {own:?}")
            });
        }
    }
    let forgotten: Vec<_> = losers(story)
        .into_iter()
        .filter(|child| purse.slices.contains_key(child))
        .filter(|child| {
            let end = stories.get(&story.kin(child)).and_then(Story::end);
            end.is_some_and(|(at, _)| at < knew_at_the_end(story))
        })
        .collect();
    evidence.hold(forgotten.is_empty(), || {
        format!("{task}: ends without what {forgotten:?} gave back")
    });
}

/// The last entry that an attempt had written before it looked a last time after the children that its task had gone on
/// without; 0 when it did not look.
fn knew_at_the_end(story: &Story<'_>) -> u64 {
    let Some((ended_at, end)) = story.end() else { return 0 };
    let looks = matches!(end.event.kind(), Kind::Completed | Kind::Failed | Kind::Rejected);
    let own = story.entries.iter().rev().filter(|(at, entry)| {
        *at < ended_at && entry.attempt == end.attempt && entry.event.kind() != Kind::Refunded
    });
    own.map(|(at, _)| *at).next().filter(|_| looks && end.attempt > 0).unwrap_or(0)
}

/// A parent counts for a child what the child counts for itself, and a tree counts at least what its effects have cost.
pub(super) fn trees(evidence: &mut Evidence<'_>, stories: &Stories<'_>) {
    let mut cost: BTreeMap<Key, u64> = BTreeMap::new();
    for effect in &evidence.world.seen.effects {
        let mut task = Some(effect.task.clone());
        while let Some(known) = task {
            *cost.entry(known.clone()).or_default() += effect.tokens;
            let origin = stories.get(&known).and_then(Story::origin);
            let parent = origin.and_then(|origin| origin.parent.as_ref());
            task = parent.map(|parent| (known.0.clone(), parent.task.clone()));
        }
    }
    for (key, story) in stories {
        for (sequence, entry) in &story.entries {
            let Event::Refunded { children } = &entry.event else { continue };
            for child in children {
                let end = stories.get(&story.kin(&child.task)).and_then(Story::end);
                let own = end.map(|(_, end)| (end.spent, end.raised.unwrap_or_default()));
                evidence.hold(own == Some((Some(child.spent), child.raised)), || {
                    format!("{}: counts {child:?} at {sequence}, the child {own:?}", key.1)
                });
            }
        }
        let end = story.end().and_then(|(_, end)| end.spent);
        let cost = cost.get(key).copied().unwrap_or(0);
        if let Some(spent) = end {
            // What was raised below it after its end is in nobody's account but the child's.
            let below = story.children().into_iter().map(|(_, child)| story.kin(&child.task));
            let raised: u64 = below.map(|child| raises(&child, stories)).sum();
            evidence.hold(spent.tokens + raised >= cost, || {
                format!("{}: its effects have cost {cost}, and it counts {}", key.1, spent.tokens)
            });
        }
    }
}
