//! Steps: run once, written down, given back without running when the task is run again.

use std::future::Future;
use std::sync::atomic::Ordering;

use protocol::budget::Usage;
use protocol::entry::Event;
use protocol::journal::Journaled;
use protocol::message::{Part, part_of, value_of};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::turn::Turn;
use super::{Context, permanent};
use crate::agent::Stop;

/// What the log says about a step that is asked for.
pub enum Begun<T> {
    /// It has been done: its result.
    Recorded(Value),
    /// It has to be done.
    Run(T),
}

/// A step that is to be done now. Dropping it leaves nothing behind: the next run does it again.
pub struct OpenStep<'a> {
    pub(super) context: &'a Context,
    pub(super) turn: Turn<'a>,
    pub(super) name: String,
    key: String,
}

impl OpenStep<'_> {
    /// The key that makes the effect idempotent at whoever carries it out.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The step is done: writes its result down.
    ///
    /// # Errors
    /// [`Stop::Fenced`] when the task belongs to another worker; a failure when the result is too large.
    pub async fn commit(mut self, result: Value) -> Result<(), Stop> {
        self.context.write_step(&mut self.turn, &self.name, result).await
    }
}

impl Context {
    /// The key that makes a step's effect idempotent at whoever carries it out: `<task>/<step>`.
    #[must_use]
    pub fn idempotency_key(&self, step: &str) -> String {
        format!("{}/{step}", self.scribe.task)
    }

    /// Runs a step once: when the log already holds its result, that is returned and `effect` is not run.
    ///
    /// What `effect` returns as an error is not journaled: pass it on with `?`. What the agent is to react to
    /// belongs into the result.
    ///
    /// # Errors
    /// What `effect` returns; [`Stop::Fenced`]; the permanent failures `nondeterministic` when the log holds another
    /// call at this position, `bad_name`, `overlapping_calls`, `journal_full`.
    pub async fn step<T, F>(&self, name: &str, effect: F) -> Result<T, Stop>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, Stop>>,
    {
        match self.begin_step(name).await? {
            Begun::Recorded(value) => self.fitting(name, value).await,
            Begun::Run(open) => {
                let result = effect.await?;
                open.commit(as_json(name, &result)?).await?;
                Ok(result)
            }
        }
    }

    /// The first half of [`Context::step`], for those who run the effect elsewhere.
    ///
    /// # Errors
    /// As [`Context::step`].
    pub async fn begin_step(&self, name: &str) -> Result<Begun<OpenStep<'_>>, Stop> {
        let mut turn = self.turn(name)?;
        if let Some(value) = self.recorded_step(&mut turn, name).await? {
            return Ok(Begun::Recorded(value));
        }
        Ok(Begun::Run(self.open_step(turn, name)))
    }

    pub(super) fn open_step<'a>(&'a self, turn: Turn<'a>, name: &str) -> OpenStep<'a> {
        let key = self.key_at(&turn, name);
        OpenStep { context: self, turn, name: name.to_owned(), key }
    }

    /// The result that the log holds for a step.
    pub(super) async fn recorded_step(
        &self,
        turn: &mut Turn<'_>,
        name: &str,
    ) -> Result<Option<Value>, Stop> {
        let Some(Journaled::Step { output, .. }) = self.recorded(turn, "step", name).await? else {
            return Ok(None);
        };
        let value = self.load(vec![output]).await?;
        turn.pass_step(name);
        Ok(Some(value))
    }

    /// The value that parts stand for, whatever is in the object store included.
    pub(super) async fn load(&self, parts: Vec<Part>) -> Result<Value, Stop> {
        Ok(value_of(&crate::parts::load_large(&self.scribe, parts).await?))
    }

    /// A recorded value as the type that the agent expects.
    pub(super) async fn fitting<T: DeserializeOwned>(
        &self,
        name: &str,
        value: Value,
    ) -> Result<T, Stop> {
        match serde_json::from_value(value) {
            Ok(value) => Ok(value),
            Err(error) => {
                let message = format!("the recorded result of step {name:?} does not fit: {error}");
                Err(self.nondeterministic(message).await)
            }
        }
    }

    /// `<task>/<name>`, with a number behind it where the journal has the name before.
    pub(super) fn key_at(&self, turn: &Turn<'_>, name: &str) -> String {
        match turn.earlier(name) {
            0 => self.idempotency_key(name),
            earlier => format!("{}#{}", self.idempotency_key(name), earlier.saturating_add(1)),
        }
    }

    /// Appends a step that used nothing and needed nobody's approval.
    pub(super) async fn write_step(
        &self,
        turn: &mut Turn<'_>,
        name: &str,
        result: Value,
    ) -> Result<(), Stop> {
        let output = self.store(result).await?;
        if self.unsettled.swap(false, Ordering::Relaxed) {
            // A call was given up: this step's entry must not settle what that one had set aside.
            let usage = Usage::default();
            self.append(turn, Event::Reserved { name: name.to_owned(), usage }).await?;
        }
        self.append(turn, Event::step(name, output)).await?;
        turn.pass_step(name);
        Ok(())
    }

    /// The part that stands for a value, in the object store when it is large.
    pub(super) async fn store(&self, value: Value) -> Result<Part, Stop> {
        let stored = crate::parts::store_large(&self.scribe, vec![part_of(value)]).await?;
        Ok(stored.into_iter().next().unwrap_or_else(|| Part::data(Value::Null)))
    }
}

/// A result as JSON.
pub(super) fn as_json<T: Serialize>(name: &str, result: &T) -> Result<Value, Stop> {
    serde_json::to_value(result).map_err(|error| {
        permanent(protocol::fault::Fault::new(
            protocol::fault::code::AGENT_ERROR,
            format!("the result of step {name:?} is not JSON: {error}"),
        ))
    })
}
