//! Where the run stands, as its stored entries tell while they come in; and who is to be killed when.
//!
//! Only for watching: what is said at the end comes from the logs, see `account`.

use std::collections::{BTreeMap, BTreeSet};

use protocol::entry::{Entry, Event, Kind};
use protocol::{NodeName, TaskId};

/// One node, as seen from the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct NodeProgress {
    /// Inspections that it has claimed and not ended.
    pub(crate) in_hand: BTreeSet<TaskId>,
    /// Inspections that it has ended.
    pub(crate) done: usize,
}

/// Where the run stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Inspections in all, once the survey has said how many.
    pub(crate) total: Option<usize>,
    /// Inspections that have ended.
    pub(crate) done: usize,
    /// Every node that has been heard of.
    pub(crate) nodes: BTreeMap<NodeName, NodeProgress>,
    /// The survey itself has ended.
    pub(crate) ended: bool,
    inspections: BTreeSet<TaskId>,
    ended_tasks: BTreeSet<TaskId>,
}

/// What an entry meant to somebody who watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The survey has split the folder.
    Split {
        /// Into so many files.
        files: usize,
    },
    /// A node has taken an inspection on.
    Claimed,
    /// An inspection has ended.
    Done,
    /// All inspections have ended, and the survey goes on.
    Reporting,
    /// Nothing to show.
    Nothing,
}

impl Progress {
    /// Takes an entry in.
    pub(crate) fn note(&mut self, survey: &TaskId, task: &TaskId, entry: &Entry) -> Seen {
        if task == survey {
            return self.note_survey(entry);
        }
        let kind = entry.event.kind();
        if !self.inspections.contains(task) || self.ended_tasks.contains(task) {
            return Seen::Nothing;
        }
        let moved = matches!(kind, Kind::Claimed | Kind::AttemptFailed | Kind::Released);
        if !moved && !kind.is_terminal() {
            return Seen::Nothing;
        }
        for node in self.nodes.values_mut() {
            node.in_hand.remove(task);
        }
        let node = self.nodes.entry(entry.by.clone()).or_default();
        if kind.is_terminal() {
            node.done += 1;
            self.done += 1;
            self.ended_tasks.insert(task.clone());
            return Seen::Done;
        }
        if kind == Kind::Claimed {
            node.in_hand.insert(task.clone());
            return Seen::Claimed;
        }
        Seen::Nothing
    }

    fn note_survey(&mut self, entry: &Entry) -> Seen {
        let Event::Delegated { name, more, children } = &entry.event else {
            self.ended |= entry.event.kind().is_terminal();
            return Seen::Nothing;
        };
        if name != "inspect" {
            return Seen::Reporting;
        }
        self.inspections.extend(children.iter().map(|child| child.task.clone()));
        if *more {
            return Seen::Nothing;
        }
        let files = self.inspections.len();
        self.total = Some(files);
        Seen::Split { files }
    }

    /// Two thirds are done: if a node is to be killed in the middle, it is now.
    pub(crate) fn is_nearly_done(&self) -> bool {
        self.total.is_some_and(|total| self.done * 3 >= total * 2)
    }

    /// The node to kill now, if the moment has come: a third is done, and it has its hands full. The first ones
    /// of `nodes` go first; the last one goes only when nobody else has anything in hand, and not before its kind of agent
    /// has done something, unless there is too little for that.
    pub(crate) fn victim(&self, nodes: &[&str], slots: usize) -> Option<NodeName> {
        let total = self.total.filter(|total| self.done >= total / 3)?;
        let in_hand: usize = self.nodes.values().map(|node| node.in_hand.len()).sum();
        let last = self.done + in_hand >= total;
        let (rest, reserve) = nodes.split_at(nodes.len().saturating_sub(1));
        let fullest = |names: &[&str]| {
            self.nodes
                .iter()
                .filter(|(name, _)| names.contains(&name.as_str()))
                .map(|(name, node)| (node.in_hand.len(), name))
                .filter(|(count, _)| *count >= if last { 1 } else { slots })
                .max_by_key(|(count, _)| *count)
                .map(|(_, name)| name.clone())
        };
        let shown = |name: &NodeName| {
            total <= slots || self.nodes.get(name).is_some_and(|node| node.done > 0)
        };
        fullest(rest).or_else(|| if last { fullest(reserve).filter(shown) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use protocol::Skill;
    use protocol::entry::Child;
    use protocol::message::Part;

    use super::*;

    const NODES: &[&str] = &["a", "b", "c"];

    fn id(text: &str) -> TaskId {
        TaskId::parse(text).unwrap()
    }

    fn entry(by: &str, event: Event) -> Entry {
        Entry {
            generation: 1,
            at: protocol::Timestamp::from_millis(0),
            by: NodeName::parse(by).unwrap(),
            attempt: 1,
            origin: None,
            agent: None,
            spent: None,
            raised: None,
            driver: None,
            event,
        }
    }

    fn split(count: usize) -> Progress {
        let children = (0..count)
            .map(|at| Child {
                task: id(&format!("t{at}")),
                skill: Skill::parse("inspect").unwrap(),
                input: Part::text(""),
                budget: None,
                reason: None,
                avoid: None,
                essential: false,
            })
            .collect();
        let mut progress = Progress::default();
        let event = Event::Delegated { name: "inspect".to_owned(), more: false, children };
        let seen = progress.note(&id("survey"), &id("survey"), &entry("a", event));
        assert_eq!(seen, Seen::Split { files: count });
        progress
    }

    fn claim(progress: &mut Progress, by: &str, tasks: std::ops::Range<usize>) {
        for at in tasks {
            let event = Event::Claimed { client: String::new() };
            progress.note(&id("survey"), &id(&format!("t{at}")), &entry(by, event));
        }
    }

    fn complete(progress: &mut Progress, by: &str, tasks: std::ops::Range<usize>) {
        for at in tasks {
            let event = Event::Completed { output: Vec::new() };
            progress.note(&id("survey"), &id(&format!("t{at}")), &entry(by, event));
        }
    }

    fn victim(progress: &Progress) -> Option<String> {
        progress.victim(NODES, 2).map(|name| name.to_string())
    }

    #[test]
    fn the_victim_has_its_hands_full_in_the_middle() {
        let mut progress = split(12);
        claim(&mut progress, "a", 0..2);
        assert_eq!(victim(&progress), None, "nothing is done yet");
        complete(&mut progress, "c", 4..8);
        assert_eq!(victim(&progress).as_deref(), Some("a"));
        complete(&mut progress, "a", 0..1);
        assert_eq!(victim(&progress), None, "one slot is empty");
        claim(&mut progress, "c", 8..10);
        assert_eq!(victim(&progress), None, "the last node is spared while there is work");
        claim(&mut progress, "b", 10..12);
        assert_eq!(victim(&progress).as_deref(), Some("b"));
    }

    #[test]
    fn with_few_files_whoever_has_one_will_do() {
        let mut progress = split(1);
        assert_eq!(victim(&progress), None);
        claim(&mut progress, "c", 0..1);
        assert_eq!(victim(&progress).as_deref(), Some("c"));
        complete(&mut progress, "c", 0..1);
        assert_eq!(victim(&progress), None);
        assert_eq!(victim(&split(0)), None);
    }

    #[test]
    fn a_task_is_in_one_hand_and_ends_once() {
        let mut progress = split(3);
        claim(&mut progress, "a", 0..2);
        claim(&mut progress, "b", 0..1);
        complete(&mut progress, "b", 0..1);
        complete(&mut progress, "a", 0..1);
        let held = |name: &str| progress.nodes[&NodeName::parse(name).unwrap()].in_hand.len();
        assert_eq!((progress.done, held("a"), held("b")), (1, 1, 0));
    }
}
