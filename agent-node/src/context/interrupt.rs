//! Steps that a message may cut short, where the skill's `on_message` is `interrupt`.

use std::future::Future;
use std::pin::pin;

use protocol::journal::Journaled;
use protocol::message::Message;
use protocol::wait::{self, Answer, WaitingFor};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::step::{Begun, OpenStep, as_json};
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
        let mut step = match self.begin_step_or_message(name).await? {
            Interrupted::Message(message) => return Ok(Interrupted::Message(message)),
            Interrupted::Done(Begun::Recorded(value)) => {
                return self.fitting(name, value).await.map(Interrupted::Done);
            }
            Interrupted::Done(Begun::Run(step)) => step,
        };
        let mut effect = pin!(effect);
        loop {
            tokio::select! {
                result = &mut effect => {
                    let result = result?;
                    step.commit(as_json(name, &result)?).await?;
                    return Ok(Interrupted::Done(result));
                }
                () = self.hears() => {}
            }
            if let Some(message) = step.cut_short().await? {
                return Ok(Interrupted::Message(message));
            }
        }
    }

    /// The first half of [`Context::step_or_message`], for those who run the effect elsewhere: they listen with
    /// [`Context::hears`] meanwhile.
    ///
    /// # Errors
    /// As [`Context::step`].
    pub async fn begin_step_or_message(
        &self,
        name: &str,
    ) -> Result<Interrupted<Begun<OpenStep<'_>>>, Stop> {
        let mut turn = self.turn(name)?;
        if let Some(Journaled::Answered { answer: Answer::Message { message, .. }, .. }) =
            self.found_message(&turn, name).await
        {
            turn.pass();
            return self.heard(message).await.map(Interrupted::Message);
        }
        if let Some(value) = self.recorded_step(&mut turn, name).await? {
            return Ok(Interrupted::Done(Begun::Recorded(value)));
        }
        if let Some(message) = self.message_now(&mut turn, name).await? {
            return self.heard(message).await.map(Interrupted::Message);
        }
        Ok(Interrupted::Done(Begun::Run(self.open_step(turn, name))))
    }

    /// Whether a message has come that may interrupt and that nothing has used up.
    pub(crate) async fn has_message(&self) -> Result<bool, Stop> {
        Ok(self.unused_message("").await?.is_some())
    }

    /// Returns once something has been said to the task, where that may interrupt it, and some times after that as long as
    /// nothing is found: the message may not be readable yet.
    ///
    /// For agents that run their own loop: [`Context::next_message`] with a limit of zero then says what it was.
    pub async fn hears(&self) {
        let Some(ear) = &self.around.ear else { return std::future::pending().await };
        let clock = self.scribe.clock();
        let rest = ear.rest(clock.now());
        let again = async {
            match rest {
                Some(rest) => self.scribe.ledger().rest(rest).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = ear.heard(clock) => {}
            () = again => ear.looks_again(clock.now()),
        }
    }

    async fn found_message(&self, turn: &Turn<'_>, name: &str) -> Option<Journaled> {
        let found = self.found(turn).await?;
        (found.word() == "question" && found.name() == name).then_some(found)
    }

    /// A message that has come and may interrupt.
    async fn message_now(&self, turn: &mut Turn<'_>, name: &str) -> Result<Option<Message>, Stop> {
        let Some((waiting_for, answer)) = self.unused_message(name).await? else { return Ok(None) };
        match self.receive(turn, waiting_for, answer).await? {
            Waited { answer: Answer::Message { message, .. }, .. } => Ok(Some(message)),
            Waited { .. } => Ok(None),
        }
    }

    /// The oldest message that may interrupt, as what a wait of this name would come to.
    async fn unused_message(&self, name: &str) -> Result<Option<(WaitingFor, Answer)>, Stop> {
        let Some(ear) = &self.around.ear else { return Ok(None) };
        let question = Message { parts: Vec::new(), ..Message::from_agent("") };
        let waiting_for = WaitingFor::Input { name: name.to_owned(), question, auth: false };
        let (arrived, now) = (self.arrived().await?, self.scribe.clock().now());
        let found = self
            .scribe
            .with_log(|log| wait::answer(&waiting_for, None, now, &arrived, &log.used, now))
            .await;
        if found.is_some() {
            ear.found();
        }
        Ok(found.map(|answer| (waiting_for, answer)))
    }
}

impl OpenStep<'_> {
    /// The message that has come and cuts the step short, written down in its place: the step is over then, and is to be
    /// dropped. `None` when there is no such message.
    ///
    /// # Errors
    /// [`Stop::Fenced`] when the task belongs to another worker.
    pub async fn cut_short(&mut self) -> Result<Option<Message>, Stop> {
        let context = self.context;
        match context.message_now(&mut self.turn, &self.name).await? {
            Some(message) => context.heard(message).await.map(Some),
            None => Ok(None),
        }
    }
}
