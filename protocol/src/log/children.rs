//! The children in a task's log: which there are, which are still waited for, and what is set aside for them.

use super::TaskLog;
use crate::budget::Usage;
use crate::entry::{Child, ChildSpend, Entry};
use crate::id::TaskId;
use crate::journal::Journaled;

impl TaskLog {
    /// The children of the delegation at this position of the journal.
    #[must_use]
    pub fn children_at(&self, position: u32) -> &[Child] {
        match usize::try_from(position).ok().and_then(|at| self.journal.get(at)) {
            Some(Journaled::Delegated { children, .. }) => children,
            Some(Journaled::Step { .. } | Journaled::Answered { .. }) | None => &[],
        }
    }

    /// The children of a last delegation that the task has not gone on from.
    #[must_use]
    pub fn unjoined(&self) -> &[Child] {
        match self.journal.last() {
            Some(Journaled::Delegated { children, joined: false, .. }) => children,
            Some(
                Journaled::Delegated { .. } | Journaled::Step { .. } | Journaled::Answered { .. },
            )
            | None => &[],
        }
    }

    /// The children that the task has gone on without, as long as nothing is journaled behind them.
    pub fn losers(&self) -> impl Iterator<Item = &Child> {
        let (children, counted) = match self.journal.last() {
            Some(Journaled::Delegated { children, counted: Some(counted), .. }) => {
                (children.as_slice(), counted.as_slice())
            }
            Some(
                Journaled::Delegated { .. } | Journaled::Step { .. } | Journaled::Answered { .. },
            )
            | None => (&[][..], &[][..]),
        };
        (0_u32..).zip(children).filter(|(at, _)| !counted.contains(at)).map(|(_, child)| child)
    }

    /// What is set aside for a child that has not been settled.
    #[must_use]
    pub fn slice_of(&self, child: &TaskId) -> Option<Usage> {
        self.slices.get(child).copied()
    }

    /// Whether the last delegation still lacks entries that its writer announced.
    #[must_use]
    pub fn delegation_is_open(&self) -> bool {
        self.delegation_open
    }

    /// Writes into a terminal entry, which is the last of this log, what the task's parent settles.
    pub fn close_account(&self, entry: &mut Entry) {
        if self.origin.as_ref().is_some_and(|origin| origin.budget.is_some()) {
            entry.spent = Some(self.account.total());
            entry.raised = Some(self.account.raised).filter(|raised| !raised.is_zero());
        }
    }

    /// The task goes on after the delegation at this position.
    pub(super) fn join(&mut self, position: u32, ended: Option<Vec<u32>>) {
        let at = usize::try_from(position).unwrap_or(usize::MAX);
        if let Some(Journaled::Delegated { joined, counted, .. }) = self.journal.get_mut(at) {
            *joined = true;
            *counted = ended;
        }
    }

    pub(super) fn refund(&mut self, children: &[ChildSpend]) {
        for child in children {
            if let Some(slice) = self.slices.remove(&child.task) {
                self.account.settle_child(slice, child.spent, child.raised);
            }
        }
    }

    pub(super) fn add_children(&mut self, name: String, more: bool, children: Vec<Child>) {
        for child in &children {
            self.children = self.children.saturating_add(1);
            if let Some(budget) = &child.budget {
                let taken = self.account.reserve(budget.usage());
                self.slices.insert(child.task.clone(), taken);
            }
        }
        match self.journal.last_mut() {
            Some(Journaled::Delegated { children: known, .. }) if self.delegation_open => {
                known.extend(children);
            }
            _ => self.journal.push(Journaled::Delegated {
                name,
                children,
                joined: false,
                counted: None,
            }),
        }
        self.delegation_open = more;
    }
}
