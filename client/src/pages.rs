//! Reads what the log stream has of one task in pages, for whoever follows it and must not hold all of it at once.

use std::ops::ControlFlow;

use protocol::approval::Decision;
use protocol::entry::Entry;
use protocol::input::Input;
use protocol::message::Message;
use protocol::{Owner, TaskId};

use crate::Client;
use crate::read::{TaskError, read_entry};

/// Entries of a page, at most.
const PAGE_ENTRIES_MAX: usize = 64;
/// A page ends behind the entry with which it has this many bytes.
const PAGE_BYTES: usize = 256 * 1024;

/// Some entries of a log.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EntryPage {
    /// The entries with their stream sequences, oldest first.
    pub entries: Vec<(u64, Entry)>,
    /// Whether the log may go on behind them already.
    pub more: bool,
}

impl Client {
    /// The entries of a task's log behind a stream sequence. An empty page says that there was none when the leader of
    /// the stream was asked.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn entries_after(
        &self,
        owner: &Owner,
        task: &TaskId,
        after: u64,
    ) -> Result<EntryPage, TaskError> {
        let (stream, subject) = (&self.bus().names().log, self.bus().subjects().log(owner, task));
        let (mut page, mut bytes, mut unreadable, mut ended) =
            (EntryPage::default(), 0, None, false);
        self.bus()
            .scan(stream, &subject, after + 1, |message| {
                bytes += message.payload.len();
                ended = message.ends_task();
                match read_entry(task, &message) {
                    Ok(read) => page.entries.push(read),
                    Err(error) => unreadable = Some(error),
                }
                page.more = page.entries.len() >= PAGE_ENTRIES_MAX || bytes >= PAGE_BYTES;
                if page.more || unreadable.is_some() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .await?;
        if let Some(error) = unreadable {
            return Err(error);
        }
        if page.entries.is_empty()
            && let Some(message) = self.bus().next_from_leader(stream, &subject, after + 1).await?
        {
            ended = message.ends_task();
            page.entries.push(read_entry(task, &message)?);
            page.more = true;
        }
        page.more &= !ended;
        Ok(page)
    }

    /// The messages that were said to a task, used up or not, with their places in the log stream, oldest first. What
    /// cannot be read is left out.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn said(
        &self,
        owner: &Owner,
        task: &TaskId,
    ) -> Result<Vec<(u64, Message)>, TaskError> {
        let subject = self.bus().subjects().input(owner, task);
        let stored = self.bus().all(&self.bus().names().log, &subject).await?;
        let read =
            stored.into_iter().filter_map(|one| match Input::read(&one.headers, &one.payload) {
                Ok(Input::Message(message)) => Some((one.sequence, message)),
                Ok(Input::Decision(_)) => {
                    Decision::message_in(&one.payload).map(|message| (one.sequence, message))
                }
                Ok(Input::Signal { .. }) | Err(_) => None,
            });
        Ok(read.collect())
    }
}
