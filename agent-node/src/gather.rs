//! Lets what several attempts ask for at the same moment go out as one.
//!
//! The first one goes at once, by itself. While it is on its way, further ones gather behind it, and the first of those
//! goes for all of them when it is back: nobody waits for company. Whoever goes for others may be dropped at any
//! moment; those behind it then go by themselves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Who is on their way, by a key, and who has gathered behind them: what each asks for, and how it is told.
pub(crate) struct Gather<I, R>(Arc<Mutex<Crowds<I, R>>>);

type Crowds<I, R> = HashMap<String, Vec<Waiting<I, R>>>;
type Waiting<I, R> = (I, oneshot::Sender<Turn<I, R>>);

/// What asking together leads to.
pub(crate) enum Turn<I, R> {
    /// Go, for all in company.
    Lead(Lead<I, R>),
    /// Somebody else went, and this came of it.
    Done(R),
}

/// Leave to go, for oneself and for others. Dropping it sends them off on their own.
pub(crate) struct Lead<I, R> {
    gather: Gather<I, R>,
    key: String,
    company: Vec<Waiting<I, R>>,
    is_over: bool,
}

impl<I, R> Clone for Gather<I, R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I, R> Default for Gather<I, R> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<I, R> Gather<I, R> {
    fn crowds(&self) -> MutexGuard<'_, Crowds<I, R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one's turn. What somebody else does in one's place is begun after this was called. `None`: whoever
    /// went for others has been dropped, and nobody knows how far it came.
    pub(crate) async fn turn(&self, key: &str, item: I) -> Option<Turn<I, R>> {
        let waiting = {
            let mut crowds = self.crowds();
            match crowds.get_mut(key) {
                Some(crowd) => {
                    let (sender, turn) = oneshot::channel();
                    crowd.push((item, sender));
                    Some(turn)
                }
                None => {
                    crowds.insert(key.to_owned(), Vec::new());
                    None
                }
            }
        };
        let Some(turn) = waiting else {
            let (gather, key) = (self.clone(), key.to_owned());
            return Some(Turn::Lead(Lead { gather, key, company: Vec::new(), is_over: false }));
        };
        turn.await.ok()
    }
}

impl<I, R> Lead<I, R> {
    /// What the others ask for.
    pub(crate) fn company(&self) -> impl ExactSizeIterator<Item = &I> {
        self.company.iter().map(|(item, _)| item)
    }

    /// Tells the company what came of it, and hands the lead on to those who have gathered meanwhile.
    pub(crate) fn finish(mut self, result: impl Fn(I) -> R) {
        for (item, one) in std::mem::take(&mut self.company) {
            // Whoever does not listen any more was ended meanwhile.
            drop(one.send(Turn::Done(result(item))));
        }
        loop {
            let mut crowds = self.gather.crowds();
            let mut crowd = crowds.get_mut(&self.key).map(std::mem::take).unwrap_or_default();
            crowd.retain(|(_, one)| !one.is_closed());
            if crowd.is_empty() {
                crowds.remove(&self.key);
                self.is_over = true;
                return;
            }
            drop(crowds);
            let (_, next) = crowd.swap_remove(0);
            self.company = crowd;
            match next.send(Turn::Lead(self)) {
                Ok(()) | Err(Turn::Done(_)) => return,
                // It was ended at this moment: its company waits again, before those who have come since.
                Err(Turn::Lead(lead)) => self = lead.step_back(),
            }
        }
    }

    fn step_back(mut self) -> Self {
        let company = std::mem::take(&mut self.company);
        self.gather.crowds().entry(self.key.clone()).or_default().extend(company);
        self
    }
}

impl<I, R> Drop for Lead<I, R> {
    fn drop(&mut self) {
        if !self.is_over {
            self.gather.crowds().remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = Gather<u32, u32>;

    async fn lead(numbers: &Numbers) -> Lead<u32, u32> {
        match numbers.turn("k", 0).await {
            Some(Turn::Lead(lead)) => lead,
            Some(Turn::Done(_)) | None => panic!("it does not lead"),
        }
    }

    #[tokio::test]
    async fn who_comes_meanwhile_goes_together_and_later() {
        let numbers = Numbers::default();
        let first = lead(&numbers).await;
        assert_eq!(first.company().len(), 0);
        let (second, third, fourth) = tokio::join!(
            biased;
            async {
                let Some(Turn::Lead(lead)) = numbers.turn("k", 2).await else { panic!() };
                let company: Vec<u32> = lead.company().copied().collect();
                lead.finish(|item| item * 10);
                company
            },
            numbers.turn("k", 3),
            async {
                // All of them wait by now.
                first.finish(|item| item);
            }
        );
        assert_eq!(second, [3]);
        assert!(matches!(third, Some(Turn::Done(30))));
        let () = fourth;
        assert_eq!(lead(&numbers).await.company().len(), 0, "the way is free again");
    }

    #[tokio::test]
    async fn a_leader_that_is_dropped_leaves_nobody_waiting() {
        let numbers = Numbers::default();
        let first = lead(&numbers).await;
        let (second, third, ()) =
            tokio::join!(biased; numbers.turn("k", 2), numbers.turn("k", 3), async { drop(first) });
        assert!(second.is_none() && third.is_none());
        // The same for one that was handed the lead and is dropped before it knows.
        let first = lead(&numbers).await;
        let mut second = Box::pin(numbers.turn("k", 2));
        let mut third = Box::pin(numbers.turn("k", 3));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(futures_util::poll!(&mut third).is_pending());
        first.finish(|item| item);
        drop(second);
        assert!(third.await.is_none());
        lead(&numbers).await.finish(|item| item);
        // And for one that is gone before the lead is handed on.
        let first = lead(&numbers).await;
        let mut second = Box::pin(numbers.turn("k", 2));
        let mut third = Box::pin(numbers.turn("k", 3));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(second);
        first.finish(|item| item);
        assert!(matches!(third.await, Some(Turn::Lead(_))));
    }
}
