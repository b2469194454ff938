//! The object store: parts over the inline limit, named by the hash of what they hold.

use bytes::Bytes;
use protocol::limits::OBJECT_BYTES_MAX;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;

use super::{Bus, FileError};

/// Why the object store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The object was not stored.
    #[error("cannot store an object of {bytes} bytes: {reason}")]
    Write {
        /// Its size.
        bytes: usize,
        /// What the client says.
        reason: String,
    },
    /// The object cannot be read.
    #[error("cannot read object {name}: {reason}")]
    Read {
        /// Its name.
        name: String,
        /// What the client says.
        reason: String,
    },
    /// The object is over the limit.
    #[error("object {name} has {bytes} bytes, at most {OBJECT_BYTES_MAX} are read")]
    TooLarge {
        /// Its name.
        name: String,
        /// Its size.
        bytes: usize,
    },
}

impl ObjectError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Write { .. } | Self::Read { .. } => true,
            Self::TooLarge { .. } => false,
        }
    }
}

impl Bus {
    /// Stores bytes under the hash of their content; the same bytes are stored once, and are as new as if they had been
    /// stored now.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn put_object(&self, bytes: Bytes) -> Result<String, ObjectError> {
        let fail = |reason: String| ObjectError::Write { bytes: bytes.len(), reason };
        let name = Sha256::digest(&bytes).iter().fold(String::new(), |mut text, byte| {
            text.push_str(&format!("{byte:02x}"));
            text
        });
        match self.renew_file(&name).await {
            Ok(Some(known)) if known.size == bytes.len() as u64 => return Ok(name),
            // A description that cannot be read is written anew.
            Ok(_) | Err(FileError::Broken { .. }) => {}
            Err(error) => return Err(fail(error.to_string())),
        }
        let bucket = &self.shared.names.artifacts;
        let store = self
            .jetstream
            .get_object_store(bucket)
            .await
            .map_err(|error| fail(error.to_string()))?;
        let mut reader: &[u8] = &bytes;
        store.put(name.as_str(), &mut reader).await.map_err(|error| fail(error.to_string()))?;
        Ok(name)
    }

    /// Fetches an object, `None` when there is none of this name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn get_object(&self, name: &str) -> Result<Option<Bytes>, ObjectError> {
        let fail = |reason: String| ObjectError::Read { name: name.to_owned(), reason };
        let bucket = &self.shared.names.artifacts;
        let store = self
            .jetstream
            .get_object_store(bucket)
            .await
            .map_err(|error| fail(error.to_string()))?;
        let mut object = match store.get(name).await {
            Ok(object) => object,
            Err(error)
                if error.kind() == async_nats::jetstream::object_store::GetErrorKind::NotFound =>
            {
                return Ok(None);
            }
            Err(error) => return Err(fail(error.to_string())),
        };
        if object.info().size > OBJECT_BYTES_MAX {
            return Err(ObjectError::TooLarge { name: name.to_owned(), bytes: object.info().size });
        }
        let mut bytes = Vec::with_capacity(object.info().size);
        object.read_to_end(&mut bytes).await.map_err(|error| fail(error.to_string()))?;
        Ok(Some(bytes.into()))
    }
}
