//! Reads the logs of many new children in one question.
//!
//! A child's first delivery nearly always finds no log, but a parent that was canceled, or handed the child out twice,
//! may have seen to one. Only what is expected to be empty is asked for together: to find the ends of old logs the
//! server would go through all that was stored since.

use std::collections::HashSet;

use runtime::bus::StoredMessage;

use crate::gather::{Gather, Turn};
use crate::ledger::{AppendError, Ledger};

/// The questions that are on their way.
#[derive(Clone, Default)]
pub(crate) struct Looks(Gather<String, Found>);

/// Whether a log has an entry; `None` when nobody could tell.
type Found = Option<bool>;

impl Looks {
    /// All messages of a log that is expected to be empty, oldest first.
    pub(crate) async fn read(
        &self,
        ledger: &dyn Ledger,
        subject: &str,
    ) -> Result<Vec<StoredMessage>, AppendError> {
        let found = match self.0.turn("", subject.to_owned()).await {
            None => None,
            Some(Turn::Done(found)) => found,
            Some(Turn::Lead(lead)) if lead.company().len() == 0 => {
                let read = ledger.read(subject).await;
                lead.finish(|_| None);
                return read;
            }
            Some(Turn::Lead(lead)) => {
                let all = lead.company().cloned().chain(std::iter::once(subject.to_owned()));
                let last = ledger.last_of(&all.collect::<Vec<_>>()).await;
                let known: Option<HashSet<&str>> = last
                    .as_ref()
                    .ok()
                    .map(|last| last.iter().map(|message| message.subject.as_str()).collect());
                let has = |subject: &str| known.as_ref().map(|known| known.contains(subject));
                let found = has(subject);
                lead.finish(|subject| has(&subject));
                found
            }
        };
        if found == Some(false) { Ok(Vec::new()) } else { ledger.read(subject).await }
    }
}
