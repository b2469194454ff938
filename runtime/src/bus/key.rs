//! One key of a bucket at a time, by compare-and-set: what several processes take turns in writing.
//!
//! Reads ask the stream's leader, since a decision follows from each of them.

use bytes::Bytes;
use protocol::header::Headers;

use super::kv::is_end;
use super::{Bus, Outgoing, ReadError, StoreError};

/// The present value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// What stands there.
    pub value: Bytes,
    /// Its revision, which the next write names.
    pub revision: u64,
}

impl Bus {
    /// The value of a key; `None` when it has none, or none any more.
    ///
    /// # Errors
    /// When the bucket cannot be read.
    pub async fn key(&self, bucket: &str, key: &str) -> Result<Option<KeyValue>, ReadError> {
        let subject = format!("$KV.{bucket}.{key}");
        let found = self.last_from_leader(&format!("KV_{bucket}"), &subject).await?;
        Ok(found
            .filter(|message| !is_end(message))
            .map(|message| KeyValue { value: message.payload, revision: message.sequence }))
    }

    /// Writes a key that is at `revision`, 0 when nothing was ever written there. Returns the new revision.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when it is at another revision.
    pub async fn set_key(
        &self,
        bucket: &str,
        key: &str,
        value: Bytes,
        revision: u64,
    ) -> Result<u64, StoreError> {
        let message = Outgoing {
            expected_last: Some(revision),
            ..Outgoing::new(format!("$KV.{bucket}.{key}"), Headers::new(), value)
        };
        self.store(message).await.map(|stored| stored.sequence)
    }

    /// Writes a key whatever stands there. Returns the new revision.
    ///
    /// # Errors
    /// When it is not stored.
    pub async fn put_key(&self, bucket: &str, key: &str, value: Bytes) -> Result<u64, StoreError> {
        let message = Outgoing::new(format!("$KV.{bucket}.{key}"), Headers::new(), value);
        self.store(message).await.map(|stored| stored.sequence)
    }

    /// The keys under a filter (`a.b.*`) with their values, by key; at most 1,024 of them.
    ///
    /// # Errors
    /// When the bucket cannot be read.
    pub async fn keys(
        &self,
        bucket: &str,
        filter: &str,
    ) -> Result<Vec<(String, KeyValue)>, ReadError> {
        let prefix = format!("$KV.{bucket}.");
        let body = serde_json::json!({"multi_last": [format!("{prefix}{filter}")]});
        let page = self.direct_many(&format!("KV_{bucket}"), body).await?;
        let mut found: Vec<(String, KeyValue)> = page
            .messages
            .into_iter()
            .filter(|message| !is_end(message))
            .filter_map(|message| {
                let key = message.subject.strip_prefix(&prefix)?.to_owned();
                Some((key, KeyValue { value: message.payload, revision: message.sequence }))
            })
            .collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }

    /// Hears of every write to the keys under a filter, also of those that are refused: a hint to look, no more.
    ///
    /// # Errors
    /// When the subscription cannot be made.
    pub async fn key_changes(
        &self,
        bucket: &str,
        filter: &str,
    ) -> Result<super::Subscription, super::SubscribeError> {
        self.subscribe(format!("$KV.{bucket}.{filter}"), None).await
    }
}
