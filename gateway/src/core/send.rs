//! `SendMessage` and `SendStreamingMessage`, behind the one entrance that stores the message.
//!
//! A blocking send of a new task reads nothing: the task's events come to the hub, and the answer is their fold.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::a2a::error::Error;
use crate::a2a::request::SendMessageRequest;
use crate::a2a::response::SendMessageResponse;
use crate::core::call::Call;
use crate::core::standing::latest;
use crate::core::stream;
use crate::core::submit::Sent;
use crate::core::{Core, EventStream};
use crate::limits::SEND_WAIT_MAX;

impl Core {
    /// `SendMessage`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn send(
        &self,
        call: &Call,
        request: SendMessageRequest,
    ) -> Result<SendMessageResponse, Error> {
        let configuration = request.configuration.as_ref();
        let length = configuration.and_then(|one| one.history_length);
        let latest = latest(length, "configuration.historyLength")?;
        let immediately = configuration.is_some_and(|one| one.return_immediately);
        let viewer = call.viewer()?;
        let mut sent = self.submit(call, request).await?;
        if !immediately {
            sent.settle(SEND_WAIT_MAX).await?;
        }
        let task = self.files.task(&viewer, sent.standing.view(latest)).await?;
        Ok(SendMessageResponse::Task(task))
    }

    /// `SendStreamingMessage`. Ends with the task.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn stream(
        &self,
        call: &Call,
        request: SendMessageRequest,
    ) -> Result<EventStream, Error> {
        let length = request.configuration.as_ref().and_then(|one| one.history_length);
        let latest = latest(length, "configuration.historyLength")?;
        let Sent { standing, follower, narrator, .. } = self.submit(call, request).await?;
        let events = stream::behind_snapshot(standing.view(latest), narrator, follower);
        Ok(self.files.stream(call.viewer()?, events))
    }
}

impl Sent {
    /// Waits until the task has ended or asks somebody; after `limit` the task is left as it stands.
    async fn settle(&mut self, limit: Duration) -> Result<(), Error> {
        let until = Instant::now() + limit;
        while !self.is_settled() {
            let Ok(next) = timeout_at(until, self.follower.next()).await else { return Ok(()) };
            let Some((sequence, entry)) = next? else { return Ok(()) };
            if let (Some(hash), Some(origin)) = (&self.hash, &entry.origin)
                && *hash != origin.input_hash
            {
                let what = "another message was sent under this id before; its task is ";
                return Err(Error::field(
                    "message.messageId",
                    format!("{what}{}", self.standing.task),
                ));
            }
            self.standing.apply(sequence, entry)?;
        }
        Ok(())
    }

    /// Ended; or it asks, and what was said has been used up before.
    fn is_settled(&self) -> bool {
        let log = &self.standing.log;
        let heard = self.said.is_none_or(|sequence| log.used.contains(&sequence));
        log.is_ended() || (heard && self.standing.is_interrupted())
    }
}
