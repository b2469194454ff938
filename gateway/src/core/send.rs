//! `SendMessage` and `SendStreamingMessage`, behind the one entrance that stores the message.
//!
//! A blocking send of a new task reads nothing: the task's events come to the hub, and the answer is their fold.

use std::time::Duration;

use protocol::header;
use protocol::submission::input_hash;
use protocol::task::Task;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::a2a::error::Error;
use crate::a2a::request::SendMessageRequest;
use crate::a2a::response::SendMessageResponse;
use crate::core::call::Call;
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
        self.catch_up(&mut sent).await?;
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

    /// Takes in what is known of a task that the same message may have begun before: what it asked then may be settled.
    async fn catch_up(&self, sent: &mut Sent) -> Result<(), Error> {
        if sent.hash.is_none() {
            return Ok(());
        }
        let entries = self.client.entries(&sent.standing.owner, &sent.standing.task).await;
        let entries = entries.map_err(|error| {
            Error::goes_on(&sent.standing.task, &crate::core::follower::unreadable(&error))
        })?;
        for (sequence, entry) in entries {
            if let Some(origin) = &entry.origin {
                sent.is_first_to_say(&origin.input_hash)?;
            }
            sent.follower.skip_to(entry.generation, sequence);
            sent.standing.apply(sequence, entry)?;
        }
        Ok(())
    }

    /// Says of a task that nobody has begun yet when the server stored it: what everybody else will see.
    async fn date(&self, sent: &mut Sent) -> Result<(), Error> {
        let (Some(sequence), None) = (sent.stored, &sent.standing.log.origin) else {
            return Ok(());
        };
        let (owner, task) = (&sent.standing.owner, &sent.standing.task);
        let found = async {
            // Of a message that was sent again, the first one counts.
            if sent.hash.is_some()
                && let Some(origin) = self.client.log(owner, task).await?.origin
            {
                return Ok(Some((origin.submitted_at, origin.input_hash)));
            }
            let message = self.client.stored_submission(sequence).await?;
            Ok(message.map(|message| {
                let kind = message.headers.get(header::CONTENT_TYPE);
                (message.at, input_hash(kind, &message.payload))
            }))
        };
        // Seldom needed, and large.
        match Box::pin(found).await {
            Ok(Some((at, hash))) => {
                sent.is_first_to_say(&hash)?;
                sent.standing.date(at);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => Err(Error::goes_on(task, &crate::core::follower::unreadable(&error))),
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
        if limit.is_zero() {
            return Ok(false);
        }
        let until = Instant::now() + limit;
        while !self.is_settled() {
            let next = tokio::select! {
                biased;
                next = timeout_at(until, self.follower.next()) => next,
                () = hurry.cancelled() => return Ok(true),
            };
            let Ok(next) = next else { return Ok(false) };
            let next = next.map_err(|error| {
                if matches!(error, Error::Unavailable(_)) {
                    Error::goes_on(&self.standing.task, &error)
                } else {
                    error
                }
            });
            let Some((sequence, entry)) = next? else { return Ok(false) };
            if let Some(origin) = &entry.origin {
                self.is_first_to_say(&origin.input_hash)?;
            }
            self.standing.apply(sequence, entry)?;
        }
        Ok(false)
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
