//! Stores one message and says exactly what became of it.
//!
//! An acknowledgement decides; a refusal names its reason; silence is [`StoreError::NoAnswer`], after which
//! the caller must look before it assumes anything.

use bytes::Bytes;
use protocol::header::{EXPECTED_LAST, Headers};
use serde::Deserialize;

use super::Bus;
use super::message::write_headers;
use super::outbox::Unanswered;

/// A message to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The subject.
    pub subject: String,
    /// The last stream sequence that the subject must have, 0 for none. `None`: no fence.
    pub expected_last: Option<u64>,
    /// Further headers.
    pub headers: Headers,
    /// The body.
    pub payload: Bytes,
}

/// Where a message was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its stream sequence.
    pub sequence: u64,
    /// Whether the stream already had a message with this `Nats-Msg-Id` and stored nothing.
    pub duplicate: bool,
}

/// Why a message is not stored, or not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The subject's last sequence is another one.
    #[error("the subject has another last sequence")]
    Fenced,
    /// The stream, the account or the server's store is at its limit.
    #[error("there is no room: the stream, the account or the server's store is full")]
    Full,
    /// The message is larger than the stream or the server takes.
    #[error("the message is too large: {reason}")]
    TooLarge {
        /// What the server says.
        reason: String,
    },
    /// This user may not write there.
    #[error("not permitted: {reason}")]
    Denied {
        /// What the server says.
        reason: String,
    },
    /// No stream takes this subject.
    #[error("no stream takes subject {subject}")]
    NoStream {
        /// The subject.
        subject: String,
    },
    /// The server refuses for another reason.
    #[error("refused with code {code}: {reason}")]
    Refused {
        /// JetStream's error code.
        code: u64,
        /// What the server says.
        reason: String,
    },
    /// No answer: stored or not, nobody knows.
    #[error("no answer from the server: {reason}")]
    NoAnswer {
        /// What the client says.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same message may be stored when it is sent again later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Full | Self::NoAnswer { .. } | Self::NoStream { .. } => true,
            // 10008: a cluster without a leader at this moment.
            Self::Refused { code, .. } => *code == 10_008,
            Self::Fenced | Self::TooLarge { .. } | Self::Denied { .. } => false,
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<AnswerError>,
}

#[derive(Deserialize)]
struct AnswerError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Reads a `PubAck`.
pub(super) fn read_answer(payload: &[u8]) -> Result<Stored, StoreError> {
    let answer: Answer = serde_json::from_slice(payload)
        .map_err(|error| StoreError::NoAnswer { reason: format!("unreadable answer: {error}") })?;
    let Some(AnswerError { err_code, description: reason }) = answer.error else {
        return Ok(Stored { sequence: answer.seq, duplicate: answer.duplicate });
    };
    Err(match err_code {
        10_071 | 10_164 => StoreError::Fenced,
        // Of the stream, of the server's store as asked for and as taken, of the account.
        10_077 | 10_047 | 10_023 | 10_002 => StoreError::Full,
        10_054 => StoreError::TooLarge { reason },
        code => StoreError::Refused { code, reason },
    })
}

impl Outgoing {
    /// A message without a fence.
    #[must_use]
    pub fn new(subject: String, headers: Headers, payload: Bytes) -> Self {
        Self { subject, expected_last: None, headers, payload }
    }

    pub(super) fn header_map(&self) -> async_nats::HeaderMap {
        let mut map = write_headers(&self.headers);
        if let Some(expected) = self.expected_last {
            map.insert(EXPECTED_LAST, expected.to_string());
        }
        map
    }
}

/// An expected sequence that no subject has.
const NEVER: u64 = 1 << 60;

impl Bus {
    /// Whether a message on this subject would be stored now. A write is tried that the fence refuses, which only a stream
    /// that takes writes can do, and nothing is stored.
    ///
    /// # Errors
    /// What stands against it.
    pub async fn would_take(&self, subject: String) -> Result<(), StoreError> {
        let probe = Outgoing {
            expected_last: Some(NEVER),
            ..Outgoing::new(subject, Headers::new(), Bytes::new())
        };
        match self.store(probe).await {
            Err(StoreError::Fenced) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Stores a message and waits for the stream's word.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn store(&self, message: Outgoing) -> Result<Stored, StoreError> {
        let headers = message.header_map();
        self.send(message.subject, headers, message.payload).await
    }

    /// The same for a message that may have to be sent again.
    ///
    /// # Errors
    /// As [`Bus::store`].
    pub async fn store_ref(&self, message: &Outgoing) -> Result<Stored, StoreError> {
        self.send(message.subject.clone(), message.header_map(), message.payload.clone()).await
    }

    async fn send(
        &self,
        subject: String,
        headers: async_nats::HeaderMap,
        payload: Bytes,
    ) -> Result<Stored, StoreError> {
        match self.question(subject.clone(), headers, payload).await {
            Ok(answer) => read_answer(&answer.payload),
            Err(why) => Err(self.unanswered(subject, why)),
        }
    }

    pub(super) fn unanswered(&self, subject: String, why: Unanswered) -> StoreError {
        match why {
            Unanswered::NoResponders => StoreError::NoStream { subject },
            Unanswered::TooLarge(reason) => StoreError::TooLarge { reason },
            Unanswered::Unsendable(reason) => StoreError::Refused { code: 0, reason },
            Unanswered::Silence(reason) => match self.shared.watch.violation(&subject) {
                Some(reason) => StoreError::Denied { reason },
                None => StoreError::NoAnswer { reason },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        for (answer, expected) in [
            (r#"{"stream":"S","seq":7}"#, Ok(Stored { sequence: 7, duplicate: false })),
            (
                r#"{"stream":"S","seq":7,"duplicate":true}"#,
                Ok(Stored { sequence: 7, duplicate: true }),
            ),
            (
                r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"}}"#,
                Err(StoreError::Fenced),
            ),
            (
                r#"{"error":{"code":400,"err_code":10164,"description":"x"}}"#,
                Err(StoreError::Fenced),
            ),
            (
                r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}"#,
                Err(StoreError::Full),
            ),
            (
                r#"{"error":{"code":503,"err_code":10023,"description":"insufficient resources"}}"#,
                Err(StoreError::Full),
            ),
            (
                r#"{"error":{"code":400,"err_code":10002,"description":"resource limits exceeded for account"}}"#,
                Err(StoreError::Full),
            ),
        ] {
            assert_eq!(read_answer(answer.as_bytes()), expected, "{answer}");
        }
        assert!(matches!(read_answer(b"nonsense"), Err(StoreError::NoAnswer { .. })));
    }
}
