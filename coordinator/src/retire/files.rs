//! Files that nothing names: brought and never sent, left behind by a refused message, or named only by what is gone.
//!
//! A file is looked at once it has lain for its time since it was stored last; whoever is about to name one again has it
//! stored again first. A round then reads all that may name files, from beginning to end, and rests, and reads what has
//! come since: somebody who copies a reference may hold it in memory while it stands nowhere. What nobody has named goes,
//! unless it was stored again meanwhile, which the store decides. A round that breaks off has removed nothing that it
//! should not; the next one begins anew.

use std::collections::HashMap;
use std::time::Duration;

use client::Client;
use protocol::object::{self, ObjectHash};
use runtime::bus::{Bus, FileError, OldFile, ReadError, StoredMessage};
use runtime::metric::Metrics;
use tokio_util::sync::CancellationToken;

use super::before;

/// Files looked at together, some 250 bytes each. Every further so many cost another reading of the streams.
const FILES: usize = 100_000;
/// How long a round rests before it looks at what has come meanwhile, unless files are kept for less.
const REST: Duration = Duration::from_secs(60);

/// Removes files that nothing names.
#[derive(Clone)]
pub struct UnusedFiles {
    /// Reads and removes.
    pub client: Client,
    /// How long a file stays at least after it was stored last.
    pub kept: Duration,
    /// Counts what goes.
    pub metrics: Metrics,
}

impl UnusedFiles {
    /// Looks soon and then twice within the time that files are kept, until `stop`.
    pub async fn serve(self, stop: CancellationToken) {
        let mut wait = self.rest();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = self.look() => looked,
            };
            wait = if looked.is_ok() { self.kept / 2 } else { self.rest() };
            match looked {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "files that nothing names removed"),
                Err(error) => tracing::info!(reason = %error, "files not looked at to the end"),
            }
        }
    }

    fn rest(&self) -> Duration {
        REST.min(self.kept / 2)
    }

    /// One round. Returns how many files were removed.
    ///
    /// # Errors
    /// When a stream or the store cannot be read.
    pub async fn look(&self) -> Result<u64, FileError> {
        let bus = self.client.bus();
        // Both times are the server's: a clock that is wrong here removes nothing early.
        let before = before(bus.files_clock().await?, self.kept);
        let (mut from, mut removed) = (1, 0);
        loop {
            let mut files = bus.old_files(before, from, FILES).await?;
            let is_full = files.len() >= FILES;
            from = files.values().map(|file| file.sequence + 1).max().unwrap_or(from);
            let mut reading = Reading::new(bus);
            reading.keep_unnamed(bus, &mut files).await?;
            if !files.is_empty() {
                tokio::time::sleep(self.rest()).await;
                reading.keep_unnamed(bus, &mut files).await?;
            }
            for file in files.values() {
                let is_gone = bus.remove_file(file).await?;
                removed += u64::from(is_gone);
                self.metrics.coordinator.files_removed.inc_by(u64::from(is_gone));
            }
            if !is_full {
                break;
            }
        }
        let unfinished = bus.remove_loose_pieces(before).await?;
        if unfinished > 0 {
            tracing::info!(unfinished, "pieces of unfinished files removed");
        }
        Ok(removed)
    }
}

/// How far everything that may name files has been read.
pub struct Reading([(String, u64); 3]);

impl Reading {
    /// From the beginning. Where a reference is copied from one stream to the other and then removed, as with a dead
    /// letter that is sent again, the one that it leaves is read first.
    #[must_use]
    pub fn new(bus: &Bus) -> Self {
        let names = bus.names();
        let state = format!("KV_{}", names.state);
        Self([names.log.clone(), names.inbox.clone(), state].map(|stream| (stream, 1)))
    }

    /// Reads to the end, and takes out the files that something names.
    ///
    /// # Errors
    /// When a stream cannot be read.
    pub async fn keep_unnamed(
        &mut self,
        bus: &Bus,
        files: &mut HashMap<ObjectHash, OldFile>,
    ) -> Result<(), ReadError> {
        for (stream, next) in &mut self.0 {
            if files.is_empty() {
                return Ok(());
            }
            let look = |message: StoredMessage| {
                object::named(&message.payload, |hash| drop(files.remove(&hash)));
            };
            *next = bus.walk(stream, ">", *next, look).await?;
        }
        Ok(())
    }
}
