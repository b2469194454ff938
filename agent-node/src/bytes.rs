//! The bytes of input that a node may have in flight, over all of its skills.
//!
//! A pull may bring messages of any size up to the inbox's limit, so what is asked for is reckoned at that size
//! until it has come; then at its own. So the bound holds whatever comes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use protocol::fault::{Fault, code};
use protocol::limits::{INBOX_MESSAGE_BYTES_MAX, OBJECTS_BYTES_MAX};
use runtime::metric::Metrics;

/// The budget.
#[derive(Clone)]
pub(crate) struct ByteBudget(Arc<Inner>);

struct Inner {
    max: usize,
    in_hand: AtomicUsize,
    asked: AtomicUsize,
    metrics: Metrics,
}

/// The bytes of one delivery; dropping it gives them back.
pub(crate) struct Load {
    budget: ByteBudget,
    bytes: usize,
}

/// What one puller has asked for and not got; dropping it takes that back.
pub(crate) struct Asked {
    budget: ByteBudget,
    count: usize,
}

impl ByteBudget {
    /// A budget of at least one message.
    pub(crate) fn new(max: usize, metrics: Metrics) -> Self {
        let max = max.max(INBOX_MESSAGE_BYTES_MAX);
        metrics.node.slot_bytes.set(i64::try_from(max).unwrap_or(i64::MAX));
        Self(Arc::new(Inner {
            max,
            in_hand: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            metrics,
        }))
    }

    /// How many more messages may be asked for.
    pub(crate) fn messages(&self) -> usize {
        let asked = self.0.asked.load(Ordering::Acquire) * INBOX_MESSAGE_BYTES_MAX;
        let taken = self.0.in_hand.load(Ordering::Acquire) + asked;
        self.0.max.saturating_sub(taken) / INBOX_MESSAGE_BYTES_MAX
    }

    /// Takes a delivery of this size in.
    pub(crate) fn take(&self, bytes: usize) -> Load {
        let taken = self.0.in_hand.fetch_add(bytes, Ordering::AcqRel) + bytes;
        self.0.metrics.node.slot_bytes_taken.set(i64::try_from(taken).unwrap_or(i64::MAX));
        Load { budget: self.clone(), bytes }
    }

    /// The account of a puller.
    pub(crate) fn account(&self) -> Asked {
        Asked { budget: self.clone(), count: 0 }
    }
}

impl Asked {
    /// Notes how much the puller has outstanding now.
    pub(crate) fn set(&mut self, outstanding: usize) {
        let asked = &self.budget.0.asked;
        if outstanding >= self.count {
            asked.fetch_add(outstanding - self.count, Ordering::AcqRel);
        } else {
            asked.fetch_sub(self.count - outstanding, Ordering::AcqRel);
        }
        self.count = outstanding;
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let inner = &self.budget.0;
        let left = inner.in_hand.fetch_sub(self.bytes, Ordering::AcqRel) - self.bytes;
        inner.metrics.node.slot_bytes_taken.set(i64::try_from(left).unwrap_or(i64::MAX));
    }
}

/// What one attempt has fetched from the object store: counted until the attempt ends, and bounded.
#[derive(Default)]
pub(crate) struct Fetched {
    budget: Option<ByteBudget>,
    loads: Mutex<Vec<Load>>,
    bytes: AtomicUsize,
}

impl Fetched {
    /// Nothing yet; what comes is counted by `budget`.
    pub(crate) fn counted_by(budget: ByteBudget) -> Self {
        Self { budget: Some(budget), ..Self::default() }
    }

    /// Takes a fetched object in.
    ///
    /// # Errors
    /// `too_large` when this attempt has fetched more than it may.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), Fault> {
        let all = self.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if all > OBJECTS_BYTES_MAX {
            return Err(Fault::new(
                code::TOO_LARGE,
                format!("the objects named have over {OBJECTS_BYTES_MAX} bytes together"),
            )
            .hint("name fewer objects in one task, or pass their names on"));
        }
        if let Some(budget) = &self.budget {
            let mut loads = self.loads.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            loads.push(budget.take(bytes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_counts_at_its_largest_and_what_came_at_its_size() {
        let budget = ByteBudget::new(4 * INBOX_MESSAGE_BYTES_MAX, Metrics::new("test"));
        let mut asked = budget.account();
        assert_eq!(budget.messages(), 4);
        asked.set(3);
        assert_eq!(budget.messages(), 1);
        let load = budget.take(10);
        asked.set(2);
        assert_eq!(budget.messages(), 1);
        asked.set(0);
        assert_eq!(budget.messages(), 3);
        drop(load);
        assert_eq!(budget.messages(), 4);
        asked.set(4);
        drop(asked);
        assert_eq!(budget.messages(), 4);
    }

    #[test]
    fn one_message_always_fits() {
        assert_eq!(ByteBudget::new(0, Metrics::new("test")).messages(), 1);
    }
}
