//! Stores several messages of one stream, all of them or none.
//!
//! One file sync serves a whole batch where the server syncs every write; elsewhere a batch costs more than
//! single messages, so it is used where atomicity is the point.

use protocol::header::{BATCH_COMMIT, BATCH_ID, BATCH_SEQUENCE};
use protocol::limits::BATCH_MESSAGES_MAX;

use super::store::read_answer;
use super::{Bus, Outgoing, REQUEST_TIMEOUT, StoreError, Stored};

impl Bus {
    /// Stores the messages with consecutive sequences; answers where the first one is.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is stored then, except that [`StoreError::NoAnswer`] leaves it open.
    pub async fn store_batch(&self, mut messages: Vec<Outgoing>) -> Result<Stored, StoreError> {
        let count = messages.len();
        if count > BATCH_MESSAGES_MAX {
            return Err(StoreError::TooLarge {
                reason: format!("{count} messages in a batch, at most {BATCH_MESSAGES_MAX}"),
            });
        }
        let Some(last) = messages.pop() else {
            return Err(StoreError::Refused { code: 0, reason: "an empty batch".to_owned() });
        };
        if messages.is_empty() {
            return self.store(last).await;
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        for (place, message) in (1_usize..).zip(messages) {
            let headers = batch_headers(&message, &id, place);
            self.client
                .publish_with_headers(message.subject, headers, message.payload)
                .await
                .map_err(|error| StoreError::NoAnswer { reason: error.to_string() })?;
        }
        let mut headers = batch_headers(&last, &id, count);
        headers.insert(BATCH_COMMIT, "1");
        let request = async_nats::Request::new().headers(headers).payload(last.payload);
        let request = request.timeout(Some(REQUEST_TIMEOUT));
        let stored = match self.client.send_request(last.subject.clone(), request).await {
            Ok(answer) => read_answer(&answer.payload)?,
            Err(error) => return Err(self.unanswered(last.subject, error.into())),
        };
        let before = u64::try_from(count - 1).unwrap_or(u64::MAX);
        Ok(Stored { sequence: stored.sequence.saturating_sub(before), ..stored })
    }
}

fn batch_headers(message: &Outgoing, id: &str, place: usize) -> async_nats::HeaderMap {
    let mut headers = message.header_map();
    headers.insert(BATCH_ID, id);
    headers.insert(BATCH_SEQUENCE, place.to_string().as_str());
    headers
}
