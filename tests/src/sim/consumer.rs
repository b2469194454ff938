//! The model of a durable consumer: what is new, what is handed out, and when that comes again.

use std::collections::{BTreeMap, VecDeque};

use super::dice::Dice;

/// The consumers: two of the one skill, one of the coordinators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    Run,
    Task,
    Care,
}

impl Queue {
    pub(super) const ALL: [Self; 3] = [Self::Run, Self::Task, Self::Care];

    pub(super) fn takes(self, subject: &str) -> bool {
        match self {
            Self::Run => subject.starts_with("weft.run."),
            Self::Task => subject.starts_with("weft.task."),
            Self::Care => ["weft.wake.", "weft.cancel.", "weft.input."]
                .iter()
                .any(|kind| subject.starts_with(kind)),
        }
    }
}

/// A delivery that nobody has settled.
#[derive(Debug, Clone, Copy)]
struct Pending {
    deliveries: u64,
    due: i64,
    holder: Option<usize>,
}

/// A durable consumer.
#[derive(Debug, Default)]
pub(super) struct Consumer {
    new: VecDeque<u64>,
    pending: BTreeMap<u64, Pending>,
}

impl Consumer {
    /// A message that fits the filter was stored.
    pub(super) fn add(&mut self, sequence: u64) {
        self.new.push_back(sequence);
    }

    /// Whether it has something to hand out.
    pub(super) fn is_ready(&self, now: i64) -> bool {
        !self.new.is_empty() || self.pending.values().any(|pending| pending.due <= now)
    }

    /// Hands out something new or something that is due, and says how often it has been handed out.
    pub(super) fn deliver(
        &mut self,
        now: i64,
        lease: i64,
        dice: &mut Dice,
        holder: usize,
    ) -> Option<(u64, u64)> {
        let due = self.pending.iter().filter(|(_, pending)| pending.due <= now);
        let mut candidates: Vec<u64> = due.map(|(sequence, _)| *sequence).collect();
        candidates.extend(self.new.front());
        let sequence = dice.pick(&candidates)?;
        if self.new.front() == Some(&sequence) {
            self.new.pop_front();
        }
        let fresh = Pending { deliveries: 0, due: 0, holder: None };
        let pending = self.pending.entry(sequence).or_insert(fresh);
        pending.deliveries += 1;
        pending.due = now + lease;
        pending.holder = Some(holder);
        Some((sequence, pending.deliveries))
    }

    /// Settles a delivery, whoever says so.
    pub(super) fn ack(&mut self, sequence: u64) {
        self.pending.remove(&sequence);
    }

    /// Gives a delivery back, whoever says so.
    pub(super) fn nak(&mut self, sequence: u64, due: i64) {
        if let Some(pending) = self.pending.get_mut(&sequence) {
            pending.due = due;
            pending.holder = None;
        }
    }

    /// Who has a delivery in hand, as far as the server knows.
    pub(super) fn holder(&self, sequence: u64) -> Option<usize> {
        self.pending.get(&sequence).and_then(|pending| pending.holder)
    }

    /// Gives back everything that some holders have.
    pub(super) fn nak_all(&mut self, now: i64, of: impl Fn(usize) -> bool) {
        for pending in self.pending.values_mut() {
            if pending.holder.is_some_and(&of) {
                pending.due = now;
                pending.holder = None;
            }
        }
    }

    /// Deliveries whose lease has run out, with their holders.
    pub(super) fn overdue(&self, now: i64) -> Vec<(u64, usize)> {
        let due = self.pending.iter().filter(|(_, pending)| pending.due <= now);
        due.filter_map(|(sequence, pending)| Some((*sequence, pending.holder?))).collect()
    }

    /// Renews a lease.
    pub(super) fn renew(&mut self, sequence: u64, due: i64) {
        if let Some(pending) = self.pending.get_mut(&sequence) {
            pending.due = due;
        }
    }

    /// When each delivery comes again.
    pub(super) fn due(&self) -> impl Iterator<Item = i64> {
        self.pending.values().map(|pending| pending.due)
    }

    /// What is not settled.
    pub(super) fn unsettled(&self) -> usize {
        self.new.len() + self.pending.len()
    }
}
