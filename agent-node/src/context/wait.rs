//! Waits: for a time, a message, a signal. None of them holds a worker.
//!
//! What has come already is taken at once and written down as received; else the attempt ends as suspended, a
//! coordinator resumes the task once there is an answer, and the call returns it when the agent gets here again.

use std::time::Duration;

use protocol::card::OnMessage;
use protocol::entry::Event;
use protocol::input::Input;
use protocol::journal::Journaled;
use protocol::log::TaskLog;
use protocol::message::{Message, Part};
use protocol::wait::{self, Answer, Arrived, WaitingFor};
use serde_json::Value;

use super::turn::Turn;
use super::{Context, bus_stop};
use crate::agent::Stop;

/// A wait that is over.
pub(super) struct Waited {
    /// What was waited for.
    pub(super) waiting_for: WaitingFor,
    /// What came.
    pub(super) answer: Answer,
}

impl Context {
    /// Sleeps without holding a worker: for an hour, or for a month.
    ///
    /// # Errors
    /// [`Stop::Suspended`], to be passed on with `?`; those of [`Context::step`].
    pub async fn sleep(&self, name: &str, duration: Duration) -> Result<(), Stop> {
        let mut turn = self.turn(name)?;
        let timer = WaitingFor::Timer { name: name.to_owned() };
        self.wait(&mut turn, timer, Some(duration)).await.map(drop)
    }

    /// Asks whoever talks to the task, and waits for the next message. `None` when none has come within the limit.
    ///
    /// # Errors
    /// As [`Context::sleep`].
    pub async fn ask(
        &self,
        name: &str,
        question: impl Into<String>,
        limit: Option<Duration>,
    ) -> Result<Option<Message>, Stop> {
        self.ask_with(name, Message::from_agent(question), false, limit).await
    }

    /// As [`Context::ask`], for credentials: the task is `TASK_STATE_AUTH_REQUIRED` meanwhile.
    ///
    /// # Errors
    /// As [`Context::sleep`].
    pub async fn ask_for_credentials(
        &self,
        name: &str,
        question: impl Into<String>,
        limit: Option<Duration>,
    ) -> Result<Option<Message>, Stop> {
        self.ask_with(name, Message::from_agent(question), true, limit).await
    }

    /// As [`Context::ask`], with a question of any parts; `auth` says whether credentials are asked for.
    ///
    /// # Errors
    /// As [`Context::sleep`].
    pub async fn ask_with(
        &self,
        name: &str,
        mut question: Message,
        auth: bool,
        limit: Option<Duration>,
    ) -> Result<Option<Message>, Stop> {
        let mut turn = self.turn(name)?;
        question.parts = crate::parts::store_large(&self.scribe, question.parts).await?;
        let asked = WaitingFor::Input { name: name.to_owned(), question, auth };
        match self.wait(&mut turn, asked, limit).await?.answer {
            Answer::Message { message, .. } => self.heard(message).await.map(Some),
            Answer::Time
            | Answer::Children { .. }
            | Answer::Signal { .. }
            | Answer::Approval { .. } => Ok(None),
        }
    }

    /// The next message to the task, without a question. With a limit of zero: only what has come already.
    ///
    /// # Errors
    /// As [`Context::sleep`].
    pub async fn next_message(
        &self,
        name: &str,
        limit: Option<Duration>,
    ) -> Result<Option<Message>, Stop> {
        let silence = Message { parts: Vec::new(), ..Message::from_agent("") };
        self.ask_with(name, silence, false, limit).await
    }

    /// Waits for a signal and returns what it carries, null for nothing. `None` when none has come within the limit.
    /// The name is also the signal's.
    ///
    /// # Errors
    /// As [`Context::sleep`].
    pub async fn signal(&self, name: &str, limit: Option<Duration>) -> Result<Option<Value>, Stop> {
        let mut turn = self.turn(name)?;
        let signal = WaitingFor::Signal { name: name.to_owned() };
        match self.wait(&mut turn, signal, limit).await?.answer {
            Answer::Signal { payload, .. } if payload.is_empty() => Ok(Some(Value::Null)),
            Answer::Signal { payload, .. } => self.load(payload).await.map(Some),
            Answer::Time
            | Answer::Children { .. }
            | Answer::Message { .. }
            | Answer::Approval { .. } => Ok(None),
        }
    }

    /// A message with everything in it that is in the object store.
    pub(super) async fn heard(&self, message: Message) -> Result<Message, Stop> {
        let parts: Vec<Part> = crate::parts::load_large(&self.scribe, message.parts).await?;
        Ok(Message { parts, ..message })
    }

    /// Waits for something that a coordinator can answer.
    pub(super) async fn wait(
        &self,
        turn: &mut Turn<'_>,
        waiting_for: WaitingFor,
        limit: Option<Duration>,
    ) -> Result<Waited, Stop> {
        let name = waiting_for.name().unwrap_or_default();
        let word = word(&waiting_for);
        if let Some(Journaled::Answered { waiting_for, answer, .. }) =
            self.recorded(turn, word, name).await?
        {
            turn.pass();
            return Ok(Waited { waiting_for: *waiting_for, answer });
        }
        let now = self.scribe.clock().now();
        let until = limit.map(|limit| now.after(limit));
        let arrived = if matches!(waiting_for, WaitingFor::Timer { .. }) {
            Vec::new()
        } else {
            self.arrived().await?
        };
        let found = self
            .scribe
            .with_log(|log| wait::answer(&waiting_for, until, now, &arrived, &log.used, now))
            .await;
        let Some(answer) = found else {
            return Err(Stop::Suspended { waiting_for: Box::new(waiting_for), until });
        };
        self.receive(turn, waiting_for, answer).await
    }

    /// Writes down what has come, without having waited for it.
    pub(super) async fn receive(
        &self,
        turn: &mut Turn<'_>,
        waiting_for: WaitingFor,
        answer: Answer,
    ) -> Result<Waited, Stop> {
        let event = Event::Received { waiting_for: waiting_for.clone(), answer: answer.clone() };
        self.append(turn, event).await?;
        turn.pass();
        Ok(Waited { waiting_for, answer })
    }

    /// What was said to the task, can be read, and did not come while the skill takes nothing. The rest is refused by a
    /// coordinator.
    pub(super) async fn arrived(&self) -> Result<Vec<Arrived>, Stop> {
        let subject = self.scribe.subjects().input(self.owner(), self.task());
        let stored = self.scribe.ledger().read(&subject).await.map_err(bus_stop)?;
        let read = stored.into_iter().filter_map(|message| {
            let input = Input::read(&message.headers, &message.payload).ok()?;
            Some(Arrived { sequence: message.sequence, at: message.at, input })
        });
        let mut read: Vec<Arrived> = read.collect();
        let on_message = self.around.on_message;
        if on_message == OnMessage::Reject {
            // An entry whose append was cut short may stand before a message.
            self.scribe.settle().await?;
            let refused = |log: &TaskLog| {
                read.retain(|one| !log.refuses(one.sequence, &one.input, on_message));
            };
            self.scribe.with_log(refused).await;
        }
        Ok(read)
    }
}

fn word(waiting_for: &WaitingFor) -> &'static str {
    let answered = Journaled::Answered {
        waiting_for: Box::new(waiting_for.clone()),
        answer: Answer::Time,
        used: false,
    };
    answered.word()
}
