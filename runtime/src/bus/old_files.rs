//! Objects that have lain for a time: which there are, and how one goes.
//!
//! Removing is a compare-and-delete: an object that was stored or renewed since it was looked at stays. The description
//! goes first, so nobody finds an object without its pieces; pieces that a crash leaves behind, of an object that was
//! being removed or written, belong to no description and are found by that.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use protocol::Timestamp;
use protocol::header::Headers;
use protocol::object::{self, ObjectHash};
use serde::Deserialize;

use super::file::{Meta, digest, meta_subject};
use super::{Bus, FileError, REQUEST_TIMEOUT, ReadError, StoredMessage};

/// An object as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldFile {
    /// Its place in the store: a later one if it was stored again.
    pub sequence: u64,
    name: String,
    pieces: String,
}

impl Bus {
    /// The time at which the object store says it is.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn files_clock(&self) -> Result<Timestamp, ReadError> {
        self.stream_clock(&self.files_stream()).await
    }

    /// Objects from a place on that are named by the hash of what they hold and were last stored before a time: at most
    /// `count`, those that were stored longest ago. What has another name was put there by somebody who knows why.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn old_files(
        &self,
        before: Timestamp,
        from: u64,
        count: usize,
    ) -> Result<HashMap<ObjectHash, OldFile>, ReadError> {
        let mut found = HashMap::new();
        let look = |message: StoredMessage| {
            if message.at >= before || found.len() >= count {
                return ControlFlow::Break(());
            }
            found.extend(self.old_file(&message));
            ControlFlow::Continue(())
        };
        let filter = meta_subject_of_all(&self.names().artifacts);
        self.scan(&self.files_stream(), &filter, from, look).await?;
        Ok(found)
    }

    fn old_file(&self, message: &StoredMessage) -> Option<(ObjectHash, OldFile)> {
        let meta: Meta = serde_json::from_slice(&message.payload).ok()?;
        let hash = object::hash(meta.name.as_bytes())?;
        let is_ours = !meta.deleted && meta.digest? == digest(&hash);
        let pieces = self.pieces_of(&meta.nuid);
        is_ours.then_some((hash, OldFile { sequence: message.sequence, name: meta.name, pieces }))
    }

    /// Removes an object, unless it was stored or renewed since it was looked at; whether it was removed.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn remove_file(&self, file: &OldFile) -> Result<bool, ReadError> {
        let stream = self.files_stream();
        let subject = meta_subject(&self.names().artifacts, &file.name);
        if self.purge_to(&stream, &subject, file.sequence).await? == 0 {
            return Ok(false);
        }
        self.purge_to(&stream, &file.pieces, u64::MAX - 1).await?;
        Ok(true)
    }

    /// Removes pieces that belong to no object, the last of which was stored before a time. Returns how many such
    /// unfinished objects there were.
    ///
    /// # Errors
    /// When the store does not answer, or holds a description that cannot be read.
    pub async fn remove_loose_pieces(&self, before: Timestamp) -> Result<usize, FileError> {
        let (stream, mut offset, mut removed) = (self.files_stream(), 0, 0);
        loop {
            let mut loose = self.piece_subjects(&stream, offset).await?;
            if loose.is_empty() {
                return Ok(removed);
            }
            offset += loose.len();
            // Whoever writes an object stores pieces to the end, and its description last.
            self.take_out_described(&stream, &mut loose).await?;
            for pieces in loose {
                let last = self.last_from_leader(&stream, &pieces).await?;
                if let Some(last) = last.filter(|last| last.at < before) {
                    self.purge_to(&stream, &pieces, last.sequence).await?;
                    removed += 1;
                }
            }
        }
    }

    async fn take_out_described(
        &self,
        stream: &str,
        loose: &mut HashSet<String>,
    ) -> Result<(), FileError> {
        let filter = meta_subject_of_all(&self.names().artifacts);
        let mut broken = None;
        let look = |message: StoredMessage| match serde_json::from_slice::<Meta>(&message.payload) {
            Ok(meta) => drop(loose.remove(&self.pieces_of(&meta.nuid))),
            Err(error) => broken = Some((message.subject, error.to_string())),
        };
        self.walk(stream, &filter, 1, look).await?;
        broken.map_or(Ok(()), |(name, reason)| Err(FileError::Broken { name, reason }))
    }

    /// The subjects that pieces stand under, from one of them on; at most 100,000, as the server gives them out.
    async fn piece_subjects(
        &self,
        stream: &str,
        offset: usize,
    ) -> Result<HashSet<String>, ReadError> {
        #[derive(Deserialize)]
        struct Info {
            state: State,
        }
        #[derive(Deserialize)]
        struct State {
            #[serde(default)]
            subjects: HashMap<String, u64>,
        }
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        let body = serde_json::json!({"subjects_filter": self.pieces_of("*"), "offset": offset});
        let answer = self
            .ask(subject.clone(), &Headers::new(), body.to_string().into(), REQUEST_TIMEOUT)
            .await
            .map_err(|error| self.read_error(stream, &subject, &error.reason))?;
        serde_json::from_slice::<Info>(&answer.payload)
            .map(|info| info.state.subjects.into_keys().collect())
            .map_err(|error| self.read_error(stream, &subject, &error.to_string()))
    }

    fn files_stream(&self) -> String {
        format!("OBJ_{}", self.names().artifacts)
    }

    fn pieces_of(&self, nuid: &str) -> String {
        format!("$O.{}.C.{nuid}", self.names().artifacts)
    }
}

fn meta_subject_of_all(bucket: &str) -> String {
    format!("$O.{bucket}.M.*")
}
