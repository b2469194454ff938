//! Steps that a message may cut short, where the skill's `on_message` is `interrupt`.

use std::future::Future;
use std::pin::pin;

use protocol::journal::Journaled;
use protocol::message::Message;
use protocol::wait::{self, Answer, WaitingFor};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::step::as_json;
use super::turn::Turn;
use super::{Context, wait::Waited};
use crate::agent::Stop;

/// How a step ended that a message may cut short.
#[derive(Debug, Clone, PartialEq)]
pub enum Interrupted<T> {
    /// It was done.
    Done(T),
    /// A message came first. The effect was dropped where it was, and may have happened.
    Message(Message),
}

impl Context {
    /// Runs a step that a message to the task cuts short. Where the skill's `on_message` is not `interrupt`, no message
    /// does, and this is [`Context::step`].
    ///
    /// # Errors
    /// As [`Context::step`].
    pub async fn step_or_message<T, F>(&self, name: &str, effect: F) -> Result<Interrupted<T>, Stop>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, Stop>>,
    {
        let mut turn = self.turn(name)?;
        if let Some(Journaled::Answered { answer: Answer::Message { message, .. }, .. }) =
            self.found_message(&turn, name).await
        {
            turn.pass();
            return self.heard(message).await.map(Interrupted::Message);
        }
        if let Some(value) = self.recorded_step(&mut turn, name).await? {
            return self.fitting(name, value).await.map(Interrupted::Done);
        }
        let mut effect = pin!(effect);
        loop {
            if let Some(message) = self.message_now(&mut turn, name).await? {
                return self.heard(message).await.map(Interrupted::Message);
            }
            tokio::select! {
                result = &mut effect => {
                    let result = result?;
                    self.write_step(&mut turn, name, as_json(name, &result)?).await?;
                    return Ok(Interrupted::Done(result));
                }
                () = self.hears() => {}
            }
        }
    }

    /// Returns once something has been said to the task, where that may interrupt it.
    ///
    /// For agents that run their own loop: [`Context::next_message`] with a limit of zero then says what it was.
    pub async fn hears(&self) {
        match &self.around.ear {
            Some(ear) => ear.heard().await,
            None => std::future::pending().await,
        }
    }

    async fn found_message(&self, turn: &Turn<'_>, name: &str) -> Option<Journaled> {
        let found = self.found(turn).await?;
        (found.word() == "question" && found.name() == name).then_some(found)
    }

    /// A message that has come and may interrupt.
    async fn message_now(&self, turn: &mut Turn<'_>, name: &str) -> Result<Option<Message>, Stop> {
        if self.around.ear.is_none() {
            return Ok(None);
        }
        let question = Message { parts: Vec::new(), ..Message::from_agent("") };
        let waiting_for = WaitingFor::Input { name: name.to_owned(), question, auth: false };
        let (arrived, now) = (self.arrived().await?, self.scribe.clock().now());
        let found = self
            .scribe
            .with_log(|log| wait::answer(&waiting_for, None, now, &arrived, &log.used, now))
            .await;
        let Some(answer) = found else { return Ok(None) };
        match self.receive(turn, waiting_for, answer).await? {
            Waited { answer: Answer::Message { message, .. }, .. } => Ok(Some(message)),
            Waited { .. } => Ok(None),
        }
    }
}
