//! Reads stored messages: one by sequence, the last of a subject, all of a subject.
//!
//! Two ways exist. A direct get is answered by any replica and may lag; it serves where the fence checks what
//! follows, and is what stands here. [`Bus::last_from_leader`] and its neighbours ask the stream's leader and serve
//! where a stale answer would lose something.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use protocol::Timestamp;
use protocol::entry::Kind;
use protocol::header::{self, Headers};
use serde::Deserialize;

use super::message::read_headers;
use super::{Bus, REQUEST_TIMEOUT};

/// Messages asked for at once when a whole subject is read.
const PAGE: usize = 256;
/// Messages asked for at once when a stream is read, at most. For each page the server counts what is left behind it,
/// over all subjects under the filter: small pages of a stream with many subjects would cost it most of its time.
const PAGE_MAX: usize = 16_384;
/// Bytes of a page, beyond which the server ends it early.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// On the end of a page: how many messages it leaves.
const NUM_PENDING: &str = "Nats-Num-Pending";
/// On each message of a page and on its end: the sequence of the one that was sent before it, 0 on the first.
const LAST_SEQUENCE: &str = "Nats-Last-Sequence";

/// Some messages, and whether there are more behind them.
#[derive(Debug)]
pub struct Page {
    /// Oldest first.
    pub messages: Vec<StoredMessage>,
    /// Whether the stream has more.
    pub more: bool,
}
/// Subjects asked for at once; the server refuses more than 1,024.
const SUBJECTS_MAX: usize = 512;

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its stream sequence.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub payload: Bytes,
    /// When it was stored.
    pub at: Timestamp,
}

impl StoredMessage {
    /// The type of the entry that it is, by its header; `None` when it is none.
    #[must_use]
    pub fn entry_kind(&self) -> Option<Kind> {
        self.headers.get(header::ENTRY).and_then(Kind::from_name)
    }

    /// Whether it is the entry that ends a task.
    #[must_use]
    pub fn ends_task(&self) -> bool {
        self.entry_kind().is_some_and(Kind::is_terminal)
    }
}

/// Why a read has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// This user may not read there.
    #[error("not permitted: {reason}")]
    Denied {
        /// What the server says.
        reason: String,
    },
    /// The server did not answer, or not what was asked.
    #[error("cannot read from stream {stream}: {reason}")]
    NoAnswer {
        /// The stream.
        stream: String,
        /// What is known.
        reason: String,
    },
}

impl Bus {
    /// The last message of a subject, from any replica.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn last(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<StoredMessage>, ReadError> {
        self.direct_one(stream, &format!("$JS.API.DIRECT.GET.{stream}.{subject}"), Bytes::new())
            .await
    }

    /// The message at a sequence, from any replica.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn at(
        &self,
        stream: &str,
        sequence: u64,
    ) -> Result<Option<StoredMessage>, ReadError> {
        // No message has it, and the server takes it for no question.
        if sequence == 0 {
            return Ok(None);
        }
        let body = format!("{{\"seq\":{sequence}}}");
        self.direct_one(stream, &format!("$JS.API.DIRECT.GET.{stream}"), body.into()).await
    }

    async fn direct_one(
        &self,
        stream: &str,
        subject: &str,
        body: Bytes,
    ) -> Result<Option<StoredMessage>, ReadError> {
        let answer = self
            .question(subject.to_owned(), async_nats::HeaderMap::new(), body)
            .await
            .map_err(|why| self.read_error(stream, subject, &why.to_string()))?;
        match answer.status.map(|status| status.as_u16()) {
            None => Ok(read_direct(answer)),
            Some(404) => Ok(None),
            Some(other) => Err(ReadError::NoAnswer {
                stream: stream.to_owned(),
                reason: format!("status {other}: {}", answer.description.unwrap_or_default()),
            }),
        }
    }

    /// All messages of a subject, oldest first, from any replica.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn all(&self, stream: &str, subject: &str) -> Result<Vec<StoredMessage>, ReadError> {
        let mut found = Vec::new();
        self.scan(stream, subject, 1, |message| {
            found.push(message);
            std::ops::ControlFlow::Continue(())
        })
        .await?;
        Ok(found)
    }

    /// The last message of each subject, those without any left out, from any replica.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn last_of_each(
        &self,
        stream: &str,
        subjects: &[String],
    ) -> Result<Vec<StoredMessage>, ReadError> {
        let mut found = Vec::with_capacity(subjects.len());
        for some in subjects.chunks(SUBJECTS_MAX) {
            let mut left = some.to_vec();
            loop {
                let body = serde_json::json!({"multi_last": left});
                let page = self.direct_many(stream, body).await?;
                left.retain(|subject| page.messages.iter().all(|one| one.subject != *subject));
                found.extend(page.messages);
                if !page.more {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// The last message of a subject before a sequence, from any replica.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn last_before(
        &self,
        stream: &str,
        subject: &str,
        sequence: u64,
    ) -> Result<Option<StoredMessage>, ReadError> {
        if sequence <= 1 {
            return Ok(None);
        }
        let body = serde_json::json!({"multi_last": [subject], "up_to_seq": sequence - 1});
        Ok(self.direct_many(stream, body).await?.messages.pop())
    }

    pub(super) async fn direct_many(
        &self,
        stream: &str,
        body: serde_json::Value,
    ) -> Result<Page, ReadError> {
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        let fail = |reason: &str| self.read_error(stream, &subject, reason);
        let is_page = body.get("next_by_subj").is_some();
        let inbox = self.client.new_inbox();
        let mut answers =
            self.client.subscribe(inbox.clone()).await.map_err(|error| fail(&error.to_string()))?;
        self.client
            .publish_with_reply(subject.clone(), inbox, body.to_string().into())
            .await
            .map_err(|error| fail(&error.to_string()))?;
        let mut found: Vec<StoredMessage> = Vec::new();
        loop {
            // A page of large messages ends early: only what the server says is left tells whether it is the last.
            let answer = tokio::time::timeout(REQUEST_TIMEOUT, answers.next())
                .await
                .map_err(|_| fail("timed out"))?
                .ok_or_else(|| fail("connection closed"))?;
            // Each says what was sent before it: a connection that breaks in between loses some, and the rest arrives.
            let before = answer
                .headers
                .as_ref()
                .and_then(|all| all.get(LAST_SEQUENCE)?.as_str().parse().ok());
            let last = found.last().map_or(0, |last| last.sequence);
            if is_page && before.is_some_and(|before: u64| before != last) {
                return Err(fail("a part of the page is missing"));
            }
            match answer.status.map(|status| status.as_u16()) {
                None => found.extend(read_direct(answer)),
                Some(204 | 404) => {
                    let left = answer
                        .headers
                        .as_ref()
                        .and_then(|all| all.get(NUM_PENDING)?.as_str().parse().ok());
                    let more = left.is_some_and(|left: u64| left > 0) && !found.is_empty();
                    return Ok(Page { messages: found, more });
                }
                Some(other) => {
                    return Err(fail(&format!(
                        "status {other}: {}",
                        answer.description.unwrap_or_default()
                    )));
                }
            }
        }
    }

    /// Removes the message at a sequence; whether it was there.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn remove(&self, stream: &str, sequence: u64) -> Result<bool, ReadError> {
        let subject = format!("$JS.API.STREAM.MSG.DELETE.{stream}");
        let body = serde_json::json!({"seq": sequence, "no_erase": true}).to_string();
        let answer = self
            .ask(subject.clone(), &Headers::new(), body.into(), REQUEST_TIMEOUT)
            .await
            .map_err(|error| self.read_error(stream, &subject, &error.reason))?;
        #[derive(Deserialize)]
        struct Removed {
            error: Option<RemovedError>,
        }
        #[derive(Deserialize)]
        struct RemovedError {
            #[serde(default)]
            err_code: u64,
            #[serde(default)]
            description: String,
        }
        let removed = serde_json::from_slice::<Removed>(&answer.payload)
            .map_err(|error| self.read_error(stream, &subject, &error.to_string()))?;
        match removed.error {
            None => Ok(true),
            // 10043 and 10057: no such message, or none at this sequence any more.
            Some(error) if matches!(error.err_code, 10_043 | 10_057) => Ok(false),
            Some(error) => Err(self.read_error(stream, &subject, &error.description)),
        }
    }

    /// Removes the messages of a subject up to a sequence, that one included; what was stored behind it stays. Returns how
    /// many there were.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn purge_to(
        &self,
        stream: &str,
        subject: &str,
        sequence: u64,
    ) -> Result<u64, ReadError> {
        let purge = format!("$JS.API.STREAM.PURGE.{stream}");
        let body = serde_json::json!({"filter": subject, "seq": sequence.saturating_add(1)});
        let answer = self
            .ask(purge.clone(), &Headers::new(), body.to_string().into(), REQUEST_TIMEOUT)
            .await
            .map_err(|error| self.read_error(stream, &purge, &error.reason))?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        let said = answer.pointer("/error/description").and_then(serde_json::Value::as_str);
        match (answer.get("success"), said) {
            (Some(serde_json::Value::Bool(true)), None) => {
                Ok(answer.get("purged").and_then(serde_json::Value::as_u64).unwrap_or_default())
            }
            (_, said) => Err(self.read_error(stream, &purge, said.unwrap_or("no answer"))),
        }
    }

    /// Every message of a stream under a filter from a sequence on, oldest first, until none is left or `visit`
    /// says stop. Reads in pages of direct gets, so it needs no consumer.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn scan(
        &self,
        stream: &str,
        filter: &str,
        from: u64,
        mut visit: impl FnMut(StoredMessage) -> std::ops::ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let (mut next, mut count) = (from, PAGE);
        loop {
            let page = self.page(stream, filter, next, count).await?;
            for message in page.messages {
                next = message.sequence + 1;
                if visit(message).is_break() {
                    return Ok(());
                }
            }
            if !page.more {
                return Ok(());
            }
            count = (count * 4).min(PAGE_MAX);
        }
    }

    /// The next messages of a stream under a filter from a sequence on, oldest first: at most `count`, and fewer when
    /// they are large.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn page(
        &self,
        stream: &str,
        filter: &str,
        from: u64,
        count: usize,
    ) -> Result<Page, ReadError> {
        let body = serde_json::json!({
            "seq": from.max(1),
            "batch": count.min(PAGE_MAX),
            "max_bytes": PAGE_BYTES_MAX,
            "next_by_subj": filter,
        });
        self.direct_many(stream, body).await
    }

    pub(super) fn read_error(&self, stream: &str, subject: &str, reason: &str) -> ReadError {
        match self.shared.watch.violation(subject) {
            Some(reason) => ReadError::Denied { reason },
            None => ReadError::NoAnswer { stream: stream.to_owned(), reason: reason.to_owned() },
        }
    }

    /// What a stream holds.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn stream_state(&self, stream: &str) -> Result<StreamState, ReadError> {
        self.stream_info(stream).await.map(|info| info.state)
    }

    /// When a stream was created, in the server's words: a stream of the same name and another time is another one.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn stream_created(&self, stream: &str) -> Result<String, ReadError> {
        self.stream_info(stream).await.map(|info| info.created)
    }

    /// Whether a stream has room for a message of this size. Without a limit of its own it has.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn has_room(&self, stream: &str, bytes: usize) -> Result<bool, ReadError> {
        let Info { state, config, .. } = self.stream_info(stream).await?;
        let limit = u64::try_from(config.max_bytes).ok().filter(|limit| *limit > 0);
        Ok(limit.is_none_or(|limit| state.bytes.saturating_add(bytes as u64) < limit))
    }

    /// What a stream's leader says what time it is: the clock that the times of its messages are from.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn stream_clock(&self, stream: &str) -> Result<Timestamp, ReadError> {
        let info = self.stream_info(stream).await?;
        Timestamp::parse(&info.ts)
            .map_err(|error| self.read_error(stream, "$JS.API.STREAM.INFO", &error.to_string()))
    }

    async fn stream_info(&self, stream: &str) -> Result<Info, ReadError> {
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        let answer = self
            .ask(subject.clone(), &Headers::new(), Bytes::new(), Duration::from_secs(5))
            .await
            .map_err(|error| self.read_error(stream, &subject, &error.reason))?;
        serde_json::from_slice::<Info>(&answer.payload)
            .map_err(|_| self.read_error(stream, &subject, "the stream does not exist"))
    }
}

/// What the server says about a stream.
#[derive(Deserialize)]
struct Info {
    created: String,
    state: StreamState,
    config: InfoConfig,
    ts: String,
}

#[derive(Deserialize)]
struct InfoConfig {
    #[serde(default)]
    max_bytes: i64,
}

/// What a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct StreamState {
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
    /// The first sequence still there.
    pub first_seq: u64,
    /// The last sequence given out.
    pub last_seq: u64,
}

/// Reads a direct get's answer, whose headers carry the message's own and its place.
fn read_direct(answer: async_nats::Message) -> Option<StoredMessage> {
    let all = answer.headers.as_ref().map(read_headers)?;
    let sequence = all.get("Nats-Sequence")?.parse().ok()?;
    let subject = all.get("Nats-Subject")?.to_owned();
    let at = Timestamp::parse(all.get("Nats-Time-Stamp")?).ok()?;
    let added = [
        "Nats-Sequence",
        "Nats-Subject",
        "Nats-Time-Stamp",
        "Nats-Stream",
        "Nats-Num-Pending",
        "Nats-Last-Sequence",
    ];
    let headers = all
        .iter()
        .filter(|(name, _)| !added.iter().any(|added| added.eq_ignore_ascii_case(name)))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Some(StoredMessage { sequence, subject, headers, payload: answer.payload, at })
}
