//! The key-value buckets: small values by key, with a time to live for heartbeats.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use protocol::Timestamp;
use protocol::header::{Headers, TTL};

use super::{Bus, Outgoing, StoreError, StoredMessage};

/// Says that a message is no value but the end of its key.
const OPERATION: &str = "KV-Operation";
/// Says so of a message that the server wrote when a value's time was over.
const MARKER: &str = "Nats-Marker-Reason";

/// Whether a message says that its key has no value any more.
pub(super) fn is_end(message: &StoredMessage) -> bool {
    [OPERATION, MARKER].iter().any(|name| message.headers.get(name).is_some())
}

/// Why a bucket did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// The write was not stored.
    #[error("cannot write key {key} to bucket {bucket}")]
    Write {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The bucket cannot be read.
    #[error("cannot read bucket {bucket}: {reason}")]
    Read {
        /// The bucket.
        bucket: String,
        /// What the client says.
        reason: String,
    },
}

impl Bus {
    /// Puts a value that vanishes by itself unless it is put again in time (whole seconds).
    ///
    /// # Errors
    /// When it is not stored.
    pub async fn put_for(
        &self,
        bucket: &str,
        key: &str,
        value: Bytes,
        ttl: Duration,
    ) -> Result<(), KvError> {
        let headers = Headers::new().with(TTL, format!("{}s", ttl.as_secs().max(1)));
        self.store(Outgoing::new(format!("$KV.{bucket}.{key}"), headers, value))
            .await
            .map(drop)
            .map_err(|source| KvError::Write {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                source,
            })
    }

    /// Removes a key.
    ///
    /// # Errors
    /// When the removal is not stored.
    pub async fn remove_key(&self, bucket: &str, key: &str) -> Result<(), KvError> {
        let headers = Headers::new().with(OPERATION, "DEL");
        self.store(Outgoing::new(format!("$KV.{bucket}.{key}"), headers, Bytes::new()))
            .await
            .map(drop)
            .map_err(|source| KvError::Write {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                source,
            })
    }

    /// Removes the keys that a filter matches and that were last written before a time, by the server's clock. Whoever
    /// writes one of them meanwhile wins. Returns how many were removed.
    ///
    /// # Errors
    /// When the bucket cannot be read.
    pub async fn remove_keys_before(
        &self,
        bucket: &str,
        filter: &str,
        before: Timestamp,
    ) -> Result<usize, KvError> {
        let mut old = Vec::new();
        let look = |message: StoredMessage| {
            if !is_end(&message) && message.at < before {
                old.push((message.subject, message.sequence));
            }
            ControlFlow::Continue(())
        };
        self.scan(&format!("KV_{bucket}"), &format!("$KV.{bucket}.{filter}"), 1, look)
            .await
            .map_err(|error| KvError::Read {
                bucket: bucket.to_owned(),
                reason: error.to_string(),
            })?;
        let mut removed = 0;
        for (subject, sequence) in old {
            let headers = Headers::new().with(OPERATION, "DEL");
            let removal = Outgoing {
                expected_last: Some(sequence),
                ..Outgoing::new(subject, headers, Bytes::new())
            };
            match self.store(removal).await {
                Ok(_) => removed += 1,
                Err(error) => tracing::debug!(reason = %error, "key not removed"),
            }
        }
        Ok(removed)
    }

    /// All keys and values of a bucket, read from its stream: listing keys as the client library does leaves a
    /// consumer behind each time.
    ///
    /// # Errors
    /// When the bucket cannot be read.
    pub async fn entries(&self, bucket: &str) -> Result<Vec<(String, Bytes)>, KvError> {
        let prefix = format!("$KV.{bucket}.");
        let mut found = BTreeMap::new();
        let keep = |message: StoredMessage| {
            if let Some(key) = message.subject.strip_prefix(&prefix) {
                if is_end(&message) {
                    found.remove(key);
                } else {
                    found.insert(key.to_owned(), message.payload);
                }
            }
            ControlFlow::Continue(())
        };
        self.scan(&format!("KV_{bucket}"), &format!("{prefix}>"), 1, keep).await.map_err(
            |error| KvError::Read { bucket: bucket.to_owned(), reason: error.to_string() },
        )?;
        Ok(found.into_iter().collect())
    }
}
