//! The key-value buckets: small values by key, with a time to live for heartbeats.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use protocol::header::{Headers, TTL};

use super::{Bus, Outgoing, StoreError};

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
        let headers = Headers::new().with("KV-Operation", "DEL");
        self.store(Outgoing::new(format!("$KV.{bucket}.{key}"), headers, Bytes::new()))
            .await
            .map(drop)
            .map_err(|source| KvError::Write {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                source,
            })
    }

    /// All keys and values of a bucket.
    ///
    /// # Errors
    /// When the bucket cannot be read.
    pub async fn entries(&self, bucket: &str) -> Result<Vec<(String, Bytes)>, KvError> {
        let fail = |reason: String| KvError::Read { bucket: bucket.to_owned(), reason };
        let store =
            self.jetstream.get_key_value(bucket).await.map_err(|error| fail(error.to_string()))?;
        let mut keys = store.keys().await.map_err(|error| fail(error.to_string()))?;
        let mut found = Vec::new();
        while let Some(key) = keys.next().await {
            let key = key.map_err(|error| fail(error.to_string()))?;
            let value = store.get(&key).await.map_err(|error| fail(error.to_string()))?;
            found.extend(value.map(|value| (key, value)));
        }
        Ok(found)
    }
}
