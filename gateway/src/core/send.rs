//! `SendMessage` and `SendStreamingMessage`, behind the one entrance that stores the message.
//!
//! A blocking send of a new task reads nothing: the task's events come to the hub, and the answer is their fold.

use std::time::Duration;

use protocol::entry::Entry;
use protocol::submission::input_hash;
use protocol::task::Task;
use protocol::{Timestamp, header};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::a2a::error::Error;
use crate::a2a::request::SendMessageRequest;
use crate::a2a::response::SendMessageResponse;
use crate::core::call::Call;
use crate::core::follower::unreadable;
use crate::core::reply;
use crate::core::standing::latest;
use crate::core::stream;
use crate::core::submit::Sent;
use crate::core::{Core, EventStream};
use crate::limits::SEND_WAIT_MAX;

/// A task as far as it was waited for.
pub struct Answered {
    /// As it stands.
    pub task: Task,
    /// Whether it would have been waited for longer, had the gateway not to stop.
    pub is_cut_short: bool,
}

impl Core {
    /// `SendMessage`. A gateway that stops answers who waits with an error that names the task: a task that goes on would
    /// be no answer to a blocking send (A2A 1.0, section 3.2.2).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn send(
        &self,
        call: &Call,
        request: SendMessageRequest,
    ) -> Result<SendMessageResponse, Error> {
        let configuration = request.configuration.as_ref();
        let immediately = configuration.is_some_and(|one| one.return_immediately);
        let limit = if immediately { Duration::ZERO } else { SEND_WAIT_MAX };
        let may_be_reply = !immediately && begins(&request);
        let Answered { task, is_cut_short } = self.send_within(call, request, limit).await?;
        if is_cut_short {
            return Err(Error::GoesOn { task: task.id, why: "this gateway stops".to_owned() });
        }
        let reply = if may_be_reply { reply::of(&task) } else { None };
        Ok(reply.map_or(SendMessageResponse::Task(task), SendMessageResponse::Message))
    }

    /// Sends a message, and waits for its task for `limit` at most, whatever the request says about that.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn send_within(
        &self,
        call: &Call,
        request: SendMessageRequest,
        limit: Duration,
    ) -> Result<Answered, Error> {
        let length = request.configuration.as_ref().and_then(|one| one.history_length);
        let latest = latest(length, "configuration.historyLength")?;
        let viewer = call.viewer()?;
        let mut sent = self.submit(call, request).await?;
        let is_cut_short = sent.settle(limit, &self.hurry).await?;
        self.date(&mut sent).await?;
        let task = self.files.task(&viewer, sent.standing.view(latest)).await;
        let task = task.map_err(|error| Error::goes_on(&sent.standing.task, &error))?;
        Ok(Answered { task, is_cut_short })
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
        let viewer = call.viewer()?;
        let mut sent = self.submit(call, request).await?;
        self.date(&mut sent).await?;
        let Sent { standing, follower, narrator, said, .. } = sent;
        let mut events = stream::behind_snapshot(standing.view(latest), narrator, follower);
        // The message is stored: who cannot be asked about the agent sees the task.
        let agents = if said.is_none() { self.agents.now().await.ok() } else { None };
        if agents.is_some_and(|agents| reply::may_come(&agents, &standing.skill)) {
            events = reply::or_task(events, self.jobs.shutdown_token());
        }
        Ok(self.files.stream(viewer, events))
    }

    /// Says of a task that nobody has begun yet when the server stored it: what everybody else will see.
    async fn date(&self, sent: &mut Sent) -> Result<(), Error> {
        let (Some(sequence), None) = (sent.stored, &sent.standing.log.origin) else {
            return Ok(());
        };
        // Of a message that was sent again, the first one counts.
        let begun = match sent.follower.look_ahead().await {
            Ok(entry) => entry.and_then(|entry| entry.origin.as_deref()),
            Err(error) => return Err(Error::goes_on(&sent.standing.task, &error)),
        };
        if let Some(origin) = begun {
            let (at, hash) = (origin.submitted_at, origin.input_hash.clone());
            return sent.begun(at, &hash);
        }
        // Seldom needed, and large.
        match Box::pin(self.client.stored_submission(sequence)).await {
            Ok(Some(message)) => {
                let kind = message.headers.get(header::CONTENT_TYPE);
                sent.begun(message.at, &input_hash(kind, &message.payload))
            }
            Ok(None) => Ok(()),
            Err(error) => Err(Error::goes_on(&sent.standing.task, &unreadable(&error))),
        }
    }
}

/// Whether a message begins a task, rather than saying something to one.
fn begins(request: &SendMessageRequest) -> bool {
    let named = request.message.as_ref().and_then(|message| message.task_id.as_deref());
    named.is_none_or(str::is_empty)
}

impl Sent {
    /// Waits until the task has ended or asks somebody; after `limit` the task is left as it stands. Whether it was left
    /// for a hurry.
    async fn settle(&mut self, limit: Duration, hurry: &CancellationToken) -> Result<bool, Error> {
        // What a task that the same message began before asked then may be settled.
        while let Some((sequence, entry)) =
            self.follower.next_known().await.map_err(|e| self.goes_on(e))?
        {
            self.take(sequence, entry)?;
        }
        let until = Instant::now() + limit;
        while !limit.is_zero() && !self.is_settled() {
            let next = self.follower.next_in_time(until, hurry).await;
            let Some((sequence, entry)) = next.map_err(|e| self.goes_on(e))? else {
                return Ok(hurry.is_cancelled() && Instant::now() < until);
            };
            self.take(sequence, entry)?;
        }
        Ok(false)
    }

    fn take(&mut self, sequence: u64, entry: Entry) -> Result<(), Error> {
        if let Some(origin) = &entry.origin {
            self.is_first_to_say(&origin.input_hash)?;
        }
        self.standing.apply(sequence, entry)
    }

    /// It began with this input, which the server stored then.
    fn begun(&mut self, at: Timestamp, with: &str) -> Result<(), Error> {
        self.is_first_to_say(with)?;
        self.standing.date(at);
        Ok(())
    }

    /// An error behind the storing names the task.
    fn goes_on(&self, error: Error) -> Error {
        if matches!(error, Error::Unavailable(_)) {
            return Error::goes_on(&self.standing.task, &error);
        }
        error
    }

    /// Whether what began the task is the message that was sent.
    fn is_first_to_say(&self, begun_with: &str) -> Result<(), Error> {
        if self.hash.as_ref().is_none_or(|hash| hash == begun_with) {
            return Ok(());
        }
        let what = "another message was sent under this id before; its task is ";
        Err(Error::field("message.messageId", format!("{what}{}", self.standing.task)))
    }

    /// Ended; or it asks, and what was said has been used up before.
    fn is_settled(&self) -> bool {
        let log = &self.standing.log;
        let heard = self.said.is_none_or(|sequence| log.used.contains(&sequence));
        log.is_ended() || (heard && self.standing.is_interrupted())
    }
}
