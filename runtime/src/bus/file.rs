//! Objects piece by piece: what is too large to be held in memory at once, or is asked for in part.
//!
//! Pieces are read by direct gets, a few at a time, so that a slow reader holds a few in memory and no more; a
//! consumer would push them all. A written object is named by the hash of what it holds, like every other, and so gets
//! its name last.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::{Buf as _, Bytes, BytesMut};
use protocol::Timestamp;
use protocol::header::Headers;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Bus, Outgoing, REQUEST_TIMEOUT, ReadError, StoreError, StoredMessage};

/// Bytes of one piece, as the client library cuts them.
const PIECE_BYTES: usize = 128 * 1024;
/// Pieces asked for at once.
const PIECES: usize = 4;

/// Why an object is not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A piece was not stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A piece is gone, or is not what it was.
    #[error("object {name} is broken: {reason}")]
    Broken {
        /// The object.
        name: String,
        /// How.
        reason: String,
    },
}

/// What is known of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    pieces: String,
}

/// An object's description, as the object store of NATS has it.
#[derive(Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) name: String,
    bucket: String,
    #[serde(default)]
    pub(super) nuid: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    chunks: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mtime: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) deleted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    options: Option<MetaOptions>,
}

#[derive(Serialize, Deserialize)]
struct MetaOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_chunk_size: Option<usize>,
}

pub(super) fn meta_subject(bucket: &str, name: &str) -> String {
    format!("$O.{bucket}.M.{}", URL_SAFE.encode(name))
}

/// What a description says of the hash of an object's bytes.
pub(super) fn digest(hash: &[u8]) -> String {
    format!("SHA-256={}", URL_SAFE.encode(hash))
}

/// A description stands in the place of the one before it.
fn only_the_last() -> Headers {
    Headers::new().with("Nats-Rollup", "sub")
}

impl Bus {
    /// What is known of an object; `None` when there is none of this name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn file(&self, name: &str) -> Result<Option<FileFacts>, FileError> {
        Ok(self.described(name).await?.map(|(facts, _)| facts))
    }

    /// Makes an object as new as one that is stored now, and says what is known of it; `None` when there is none of this
    /// name. Whoever stores a message that names an object calls this before, unless the object was stored for it: one
    /// that has lain for long may be removed ([`Bus::remove_file`]).
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn renew_file(&self, name: &str) -> Result<Option<FileFacts>, FileError> {
        let Some((facts, stored)) = self.described(name).await? else { return Ok(None) };
        let message = Outgoing {
            expected_last: Some(stored.sequence),
            ..Outgoing::new(stored.subject, only_the_last(), stored.payload)
        };
        match self.store(message).await {
            Ok(_) => Ok(Some(facts)),
            // Since the look above somebody else has stored it or removed it.
            Err(StoreError::Fenced) => self.file(name).await,
            Err(error) => Err(error.into()),
        }
    }

    /// An object's description, read and as it is stored.
    async fn described(&self, name: &str) -> Result<Option<(FileFacts, StoredMessage)>, FileError> {
        let bucket = &self.names().artifacts;
        let stream = format!("OBJ_{bucket}");
        let Some(stored) = self.last_from_leader(&stream, &meta_subject(bucket, name)).await?
        else {
            return Ok(None);
        };
        let meta: Meta = serde_json::from_slice(&stored.payload).map_err(|error| {
            FileError::Broken { name: name.to_owned(), reason: error.to_string() }
        })?;
        let facts = FileFacts {
            name: name.to_owned(),
            size: meta.size,
            pieces: format!("$O.{bucket}.C.{}", meta.nuid),
        };
        Ok((!meta.deleted).then_some((facts, stored)))
    }

    /// Reads `length` bytes of an object from `start` on.
    #[must_use]
    pub fn read_file(&self, facts: FileFacts, start: u64, length: u64) -> FileReader {
        FileReader {
            bus: self.clone(),
            facts,
            skip: start,
            left: length,
            next: 1,
            ready: VecDeque::new(),
        }
    }

    /// Begins an object. One that is not finished has no name, and is to be given up.
    #[must_use]
    pub fn write_file(&self, id: &str) -> FileWriter {
        FileWriter {
            bus: self.clone(),
            nuid: id.to_owned(),
            hash: Sha256::new(),
            gathered: BytesMut::new(),
            size: 0,
            pieces: 0,
        }
    }
}

/// Reads part of an object.
pub struct FileReader {
    bus: Bus,
    facts: FileFacts,
    skip: u64,
    left: u64,
    next: u64,
    ready: VecDeque<Bytes>,
}

impl FileReader {
    /// The next bytes; `None` when all have come.
    ///
    /// # Errors
    /// See [`FileError`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, FileError> {
        while self.left > 0 {
            let Some(mut piece) = self.ready.pop_front() else {
                self.fetch().await?;
                continue;
            };
            let skipped = self.skip.min(piece.len() as u64);
            self.skip -= skipped;
            piece.advance(usize::try_from(skipped).unwrap_or(usize::MAX));
            piece.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= piece.len() as u64;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    async fn fetch(&mut self) -> Result<(), FileError> {
        let stream = format!("OBJ_{}", self.bus.names().artifacts);
        let subject = &self.facts.pieces;
        let body = serde_json::json!({"seq": self.next, "batch": PIECES, "next_by_subj": subject});
        let mut found = self.bus.direct_many(&stream, body).await?.messages;
        if found.is_empty() {
            // The replica that answered may lag behind.
            found.extend(self.bus.next_from_leader(&stream, subject, self.next).await?);
        }
        let Some(last) = found.last() else {
            let reason = format!("{} bytes are missing", self.left);
            return Err(FileError::Broken { name: self.facts.name.clone(), reason });
        };
        self.next = last.sequence + 1;
        self.ready.extend(found.into_iter().map(|piece| piece.payload));
        Ok(())
    }
}

/// Writes an object.
pub struct FileWriter {
    bus: Bus,
    nuid: String,
    hash: Sha256,
    gathered: BytesMut,
    size: u64,
    pieces: u64,
}

impl FileWriter {
    /// Bytes so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// See [`FileError`].
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), FileError> {
        self.size += bytes.len() as u64;
        self.hash.update(&bytes);
        while !bytes.is_empty() {
            let room = PIECE_BYTES.saturating_sub(self.gathered.len());
            self.gathered.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if self.gathered.len() >= PIECE_BYTES {
                self.store().await?;
            }
        }
        Ok(())
    }

    async fn store(&mut self) -> Result<(), FileError> {
        let piece = self.gathered.split().freeze();
        self.bus.store(Outgoing::new(self.subject(), Headers::new(), piece)).await?;
        self.pieces += 1;
        Ok(())
    }

    fn subject(&self) -> String {
        format!("$O.{}.C.{}", self.bus.names().artifacts, self.nuid)
    }

    /// Names the object by what it holds. What is there already is not stored twice.
    ///
    /// # Errors
    /// See [`FileError`].
    pub async fn finish(mut self, at: Timestamp) -> Result<FileFacts, FileError> {
        if !self.gathered.is_empty() {
            self.store().await?;
        }
        let hash = std::mem::take(&mut self.hash).finalize();
        let name = hash.iter().fold(String::new(), |mut text, byte| {
            text.push_str(&format!("{byte:02x}"));
            text
        });
        if let Some(known) =
            self.bus.renew_file(&name).await?.filter(|known| known.size == self.size)
        {
            self.give_up().await;
            return Ok(known);
        }
        let bucket = self.bus.names().artifacts.clone();
        let meta = Meta {
            name: name.clone(),
            bucket: bucket.clone(),
            nuid: self.nuid.clone(),
            size: self.size,
            chunks: self.pieces,
            mtime: Some(at.to_string()),
            digest: Some(digest(&hash)),
            deleted: false,
            options: Some(MetaOptions { max_chunk_size: Some(PIECE_BYTES) }),
        };
        let body = serde_json::to_vec(&meta)
            .map_err(|error| FileError::Broken { name: name.clone(), reason: error.to_string() })?;
        let subject = meta_subject(&bucket, &name);
        self.bus.store(Outgoing::new(subject, only_the_last(), body.into())).await?;
        Ok(FileFacts { name, size: self.size, pieces: self.subject() })
    }

    /// Removes what was written.
    pub async fn give_up(self) {
        let subject = format!("$JS.API.STREAM.PURGE.OBJ_{}", self.bus.names().artifacts);
        let body = serde_json::json!({"filter": self.subject()}).to_string().into();
        let purged = self.bus.ask(subject, &Headers::new(), body, REQUEST_TIMEOUT).await;
        if let Err(error) = purged {
            tracing::warn!(reason = %error, "an unfinished object stays in the store");
        }
    }
}
