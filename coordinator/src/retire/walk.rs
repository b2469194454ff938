//! Walks through what a stream has stored before a time, and removes what somebody says may go.
//!
//! What goes from the front of a stream goes in one cut, which costs the server least; what has something before it that
//! stays goes by itself. A walk has a bound, and the next one goes on behind it.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use protocol::Timestamp;
use runtime::bus::{Bus, ReadError, StoredMessage};

/// Messages looked at together. The server counts what is left behind each page, so pages are large.
const PAGE: usize = 4_096;
/// Pages of one walk.
const PAGES: usize = 64;
/// Removals on their way at once.
const REMOVE_AHEAD: usize = 16;

/// What goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The message.
    Message,
    /// Everything on its subject up to this sequence, all of it or nothing.
    UpTo(u64),
}

/// A walk through what was stored under a filter.
pub(super) struct Walk<'a> {
    bus: &'a Bus,
    stream: &'a str,
    filter: &'a str,
    before: Timestamp,
    /// Behind which sequence it goes on; in the end, where the next walk begins.
    place: &'a mut u64,
    pages: usize,
}

impl<'a> Walk<'a> {
    /// A walk through what was stored before a time, from behind a place.
    pub(super) fn new(
        bus: &'a Bus,
        (stream, filter): (&'a str, &'a str),
        before: Timestamp,
        place: &'a mut u64,
    ) -> Self {
        Self { bus, stream, filter, before, place, pages: PAGES }
    }

    /// The next messages, oldest first; none at the end of the walk.
    ///
    /// # Errors
    /// When the stream cannot be read.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<StoredMessage>>, ReadError> {
        if self.pages == 0 {
            return Ok(None);
        }
        self.pages -= 1;
        let (bus, stream, filter, from) = (self.bus, self.stream, self.filter, *self.place + 1);
        let next = bus.next_from_leader(stream, filter, from).await?;
        let mut old = Vec::new();
        if next.is_some_and(|next| next.at < self.before) {
            let page = bus.page(stream, filter, from, PAGE).await?.messages;
            old.extend(page.into_iter().take_while(|message| message.at < self.before));
        }
        if old.is_empty() {
            *self.place = 0;
        }
        Ok(Some(old).filter(|old| !old.is_empty()))
    }

    /// Removes of these messages, which came last, what goes. Returns of how many subjects everything was removed, and how
    /// many single messages.
    ///
    /// # Errors
    /// When the stream cannot be changed; what was removed before stays removed.
    pub(super) async fn cut(
        &mut self,
        old: &[StoredMessage],
        cuts: &[Option<Cut>],
    ) -> Result<usize, ReadError> {
        let (bus, stream) = (self.bus, self.stream);
        let front = if *self.place == 0 { front(old, cuts) } else { 0 };
        if front > 0 {
            bus.purge_to(stream, self.filter, front).await?;
        }
        let (mut messages, mut subjects) = (Vec::new(), BTreeMap::new());
        let mut counted = 0;
        for (message, cut) in old.iter().zip(cuts) {
            match cut {
                Some(Cut::Message) if message.sequence <= front => counted += 1,
                Some(Cut::UpTo(last)) if *last <= front => {
                    counted += usize::from(*last == message.sequence);
                }
                Some(Cut::Message) => messages.push(bus.remove(stream, message.sequence)),
                Some(Cut::UpTo(last)) => {
                    let subject = message.subject.as_str();
                    subjects.entry(subject).or_insert_with(|| bus.purge_to(stream, subject, *last));
                }
                None => {}
            }
        }
        counted += messages.len() + subjects.len();
        let mut removing = stream::iter(messages).buffer_unordered(REMOVE_AHEAD);
        // That it is gone already is as good.
        while let Some(removed) = removing.next().await {
            removed?;
        }
        let mut purging = stream::iter(subjects.into_values()).buffer_unordered(REMOVE_AHEAD);
        while let Some(purged) = purging.next().await {
            purged?;
        }
        if *self.place > 0 || cuts.iter().any(Option::is_none) {
            *self.place = old.last().map_or(0, |last| last.sequence);
        }
        Ok(counted)
    }
}

/// Up to which sequence everything goes, and nothing is cut in two; 0 when the first message stays.
fn front(old: &[StoredMessage], cuts: &[Option<Cut>]) -> u64 {
    let (mut whole, mut reach) = (0, 0);
    for (message, cut) in old.iter().zip(cuts) {
        match cut {
            None => break,
            Some(Cut::Message) => {}
            Some(Cut::UpTo(last)) => reach = reach.max(*last),
        }
        if message.sequence >= reach {
            whole = message.sequence;
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use protocol::header::Headers;

    use super::*;

    fn message(sequence: u64) -> StoredMessage {
        StoredMessage {
            sequence,
            subject: "s".to_owned(),
            headers: Headers::new(),
            payload: bytes::Bytes::new(),
            at: Timestamp::default(),
        }
    }

    #[test]
    fn the_front_ends_before_what_stays_and_cuts_nothing_in_two() {
        let one = |sequence| (sequence, Some(Cut::Message));
        let of = |sequence, last| (sequence, Some(Cut::UpTo(last)));
        for (stored, expected) in [
            (vec![], 0),
            (vec![(3, None), one(4)], 0),
            (vec![one(3), one(5), (6, None), one(7)], 5),
            (vec![of(3, 3), of(4, 4)], 4),
            (vec![of(3, 6), of(4, 4), of(6, 6), of(8, 9)], 6),
            (vec![of(3, 7), of(4, 4), (6, None), of(7, 7)], 0),
            (vec![of(2, 2), of(3, 90)], 2),
        ] {
            let (old, cuts): (Vec<_>, Vec<_>) =
                stored.into_iter().map(|(sequence, cut)| (message(sequence), cut)).unzip();
            assert_eq!(front(&old, &cuts), expected, "{cuts:?}");
        }
    }
}
