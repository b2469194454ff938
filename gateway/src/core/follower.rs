//! One task's entries in the order of its log, without a gap and without a repeat.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use client::{TaskError, read_event};
use protocol::entry::Entry;
use protocol::{Owner, TaskId};
use runtime::bus::ReadError;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::a2a::error::Error;
use crate::core::board::{Arrival, Mailbox};
use crate::core::hub::Hub;
use crate::limits::{LOOK_AGAIN_AFTER, LOOKS_FAILED_MAX, SILENCE_FIRST, SILENCE_MAX};

/// Follows one task. Nothing is lost when a call of [`Follower::next`] is given up.
pub struct Follower {
    hub: Hub,
    owner: Owner,
    task: TaskId,
    subject: String,
    mailbox: Arc<Mailbox>,
    ready: VecDeque<(u64, Entry)>,
    /// Of the last entry that was handed out.
    generation: u64,
    /// Its place in the stream.
    sequence: u64,
    behind: bool,
    silence: Duration,
    /// Looks in a row that failed.
    failed: u32,
    ended: bool,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.hub.board().leave(&self.subject, &self.mailbox);
    }
}

impl Follower {
    pub(super) fn new(hub: Hub, owner: Owner, task: TaskId) -> Self {
        let subject = hub.client().bus().subjects().event(&owner, &task);
        let mailbox = hub.board().follow(&subject);
        Self {
            hub,
            owner,
            task,
            subject,
            mailbox,
            ready: VecDeque::new(),
            generation: 0,
            sequence: 0,
            behind: false,
            silence: SILENCE_FIRST,
            failed: 0,
            ended: false,
        }
    }

    /// Goes on behind an entry that was read elsewhere.
    pub fn skip_to(&mut self, generation: u64, sequence: u64) {
        (self.generation, self.sequence) = (generation, sequence);
    }

    /// Reads the log before it waits for events: for a task that is older than the following.
    pub fn look_first(&mut self) {
        self.behind = true;
    }

    /// The next entry that is stored already, as far as is known here: nothing is waited for but the log.
    ///
    /// # Errors
    /// When the log cannot be read, or is none.
    pub async fn next_known(&mut self) -> Result<Option<(u64, Entry)>, Error> {
        while self.look_ahead().await?.is_some() {
            let Some((sequence, entry)) = self.ready.pop_front() else { break };
            if entry.generation <= self.generation {
                continue;
            }
            (self.generation, self.sequence) = (entry.generation, sequence);
            self.silence = SILENCE_FIRST;
            self.ended = entry.event.kind().is_terminal();
            return Ok(Some((sequence, entry)));
        }
        Ok(None)
    }

    /// The entry at the head of those that are stored already; it stays there.
    ///
    /// # Errors
    /// When the log cannot be read, or is none.
    pub async fn look_ahead(&mut self) -> Result<Option<&Entry>, Error> {
        while self.ready.is_empty() && self.behind && !self.ended {
            self.look().await?;
        }
        Ok(self.ready.front().map(|(_, entry)| entry))
    }

    /// The next entry while there is time: `None` also when `until` comes, and when there is a hurry.
    ///
    /// # Errors
    /// When the log cannot be read, or is none.
    pub async fn next_in_time(
        &mut self,
        until: Instant,
        hurry: &CancellationToken,
    ) -> Result<Option<(u64, Entry)>, Error> {
        tokio::select! {
            biased;
            next = timeout_at(until, self.next()) => next.unwrap_or(Ok(None)),
            () = hurry.cancelled() => Ok(None),
        }
    }

    /// The next entry with its place in the log stream; `None` after the one that ended the task.
    ///
    /// # Errors
    /// When the log cannot be read, or is none.
    pub async fn next(&mut self) -> Result<Option<(u64, Entry)>, Error> {
        loop {
            if let Some(known) = self.next_known().await? {
                return Ok(Some(known));
            }
            if self.ended {
                return Ok(None);
            }
            match timeout(self.silence, self.mailbox.next()).await {
                Ok(Arrival::Event((sequence, payload))) => {
                    // Without its place in the stream the log could not be read on behind it.
                    let read = read_event(&payload).filter(|_| sequence > 0);
                    match read {
                        Some(entry) if entry.generation == self.generation + 1 => {
                            self.ready.push_back((sequence, entry));
                        }
                        Some(entry) if entry.generation <= self.generation => {}
                        Some(_) | None => self.behind = true,
                    }
                }
                Ok(Arrival::Behind) => {
                    self.silence = SILENCE_FIRST;
                    self.behind = true;
                }
                Err(_) => {
                    self.silence = (self.silence * 2).min(SILENCE_MAX);
                    self.behind = true;
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        let client = self.hub.client().clone();
        let hub = self.hub.clone();
        // Never closed: the hub outlives its followers.
        let permit = hub.reads().acquire().await.ok();
        let read = client.entries_after(&self.owner, &self.task, self.sequence).await;
        drop(permit);
        let page = match read {
            Ok(page) => page,
            Err(TaskError::Read(ReadError::NoAnswer { .. })) if self.failed < LOOKS_FAILED_MAX => {
                self.failed += 1;
                sleep(LOOK_AGAIN_AFTER).await;
                return Ok(());
            }
            Err(error) => return Err(unreadable(&error)),
        };
        self.failed = 0;
        self.behind = page.more;
        self.ready.extend(page.entries);
        Ok(())
    }
}

/// What a client is told when a task cannot be read.
pub(crate) fn unreadable(error: &TaskError) -> Error {
    match error {
        TaskError::Read(error) => Error::Unavailable(error.to_string()),
        TaskError::Unreadable { .. } | TaskError::Broken { .. } => {
            Error::InvalidAgentResponse(error.to_string())
        }
    }
}
