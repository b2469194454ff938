//! Counts how webhooks are stored, for whoever looks after the mesh. Opens none of them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use runtime::bus::{Bus, ReadError, StoredMessage};

use super::record::{Kept, Record};

/// Webhooks that are counted: those that were written longest ago.
const COUNTED_MAX: u64 = 10_000;

/// How webhooks are stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    /// Those with their credentials in the clear.
    pub open: u64,
    /// Sealed ones, by the name of their key.
    pub sealed: BTreeMap<String, u64>,
}

impl Census {
    /// Looks at the bucket.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn take(bus: &Bus) -> Result<Self, ReadError> {
        let bucket = &bus.names().push;
        let (mut census, mut counted) = (Self::default(), 0);
        let count = |message: StoredMessage| {
            // The end of a key has no value.
            let record = serde_json::from_slice::<Record>(&message.payload);
            match record.map(|record| record.kept) {
                Ok(Kept::Open(_)) => census.open += 1,
                Ok(Kept::Sealed { sealed }) => *census.sealed.entry(sealed.key).or_default() += 1,
                Err(_) => {}
            }
            counted += 1;
            if counted < COUNTED_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        bus.scan(&format!("KV_{bucket}"), &format!("$KV.{bucket}.*.*.*"), 1, count).await?;
        Ok(census)
    }
}
