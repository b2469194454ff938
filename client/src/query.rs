//! Asks for lists of tasks where somebody keeps a read model.

use std::time::Duration;

use protocol::fault::Fault;
use protocol::header::Headers;
use protocol::query::{Page, Query};
use serde::Deserialize;

use crate::Client;

/// How long the answer may take. Nobody there is told at once.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No coordinator keeps a read model, or none is up.
    #[error("no coordinator answers lists from a read model: {reason}")]
    Nobody {
        /// What the bus says.
        reason: String,
    },
    /// The question is refused.
    #[error("the list is refused: {0}")]
    Refused(Fault),
    /// The answer is none of this version.
    #[error("the answer cannot be read")]
    Unreadable(#[source] serde_json::Error),
}

#[derive(Deserialize)]
struct Refusal {
    error: Fault,
}

impl Client {
    /// A page of tasks from the read model of some coordinator, some milliseconds old.
    ///
    /// # Errors
    /// See [`QueryError`]; with [`QueryError::Nobody`], [`Client::list`] still works.
    pub async fn query(&self, query: &Query) -> Result<Page, QueryError> {
        let body = serde_json::to_vec(query).map_err(QueryError::Unreadable)?;
        let subject = self.bus().subjects().query();
        let answer = self
            .bus()
            .ask(subject, &Headers::new(), body.into(), ANSWER_LIMIT)
            .await
            .map_err(|error| QueryError::Nobody { reason: error.reason })?;
        match serde_json::from_slice::<Refusal>(&answer.payload) {
            Ok(refusal) => Err(QueryError::Refused(refusal.error)),
            Err(_) => serde_json::from_slice(&answer.payload).map_err(QueryError::Unreadable),
        }
    }
}
