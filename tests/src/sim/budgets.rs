//! The part of the oracle that counts tokens: with arithmetic of its own, entry by entry, and against what the effects
//! outside have cost.

use std::collections::BTreeMap;

use protocol::entry::{Entry, Event};
use protocol::id::TaskId;

use super::oracle::{Evidence, Story};
use super::world::Key;

/// A task's tokens as the oracle counts them.
#[derive(Default)]
struct Purse<'a> {
    granted: u64,
    spent: u64,
    /// What is set aside for the step that is under way.
    open: u64,
    slices: BTreeMap<&'a TaskId, u64>,
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
                    if self.slices.remove(&child.task).is_none() {
                        return Some(format!("{} is settled twice", child.task));
                    }
                    self.spent += child.spent.tokens;
                }
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

/// Nothing is spent twice, nothing is forgotten, and never more than was granted.
pub(super) fn judge(evidence: &mut Evidence<'_>, story: &Story<'_>) {
    let Some(granted) = story.origin().and_then(|origin| origin.budget?.tokens) else { return };
    let task = &story.task;
    let mut purse = Purse { granted, ..Purse::default() };
    for (sequence, entry) in &story.entries {
        let wrong = purse.take(entry);
        evidence.hold(wrong.is_none(), || {
            format!("{task}: {} at {sequence}", wrong.unwrap_or_default())
        });
        if entry.event.kind().is_terminal() {
            let said = entry.spent.map(|spent| spent.tokens);
            let total = purse.total();
            evidence.hold(said == Some(total), || {
                format!("{task}: its end says {said:?} spent, and it is {total}")
            });
        }
    }
}

/// A parent counts for a child what the child counts for itself, and a tree counts at least what its effects have cost.
pub(super) fn trees(evidence: &mut Evidence<'_>, stories: &BTreeMap<Key, Story<'_>>) {
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
                let own = end.and_then(|(_, end)| end.spent);
                evidence.hold(own == Some(child.spent), || {
                    format!("{}: counts {child:?} at {sequence}, the child {own:?}", key.1)
                });
            }
        }
        let end = story.end().and_then(|(_, end)| end.spent);
        let cost = cost.get(key).copied().unwrap_or(0);
        if let Some(spent) = end {
            evidence.hold(spent.tokens >= cost, || {
                format!("{}: its effects have cost {cost}, and it counts {}", key.1, spent.tokens)
            });
        }
    }
}
