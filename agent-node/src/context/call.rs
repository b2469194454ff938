//! Calls: steps with arguments, that cost something, may need an approval, and must not go round in circles.

use std::future::Future;
use std::sync::atomic::Ordering;

use protocol::approval::{Verdict, action_hash};
use protocol::budget::Usage;
use protocol::entry::Event;
use protocol::fault::{Fault, code};
use protocol::journal::Journaled;
use protocol::wait::Answer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::approve::{self, ApprovalOptions, Approved, Decided};
use super::step::{Begun, as_json};
use super::turn::Turn;
use super::{Context, permanent};
use crate::agent::Stop;

/// A step with arguments.
#[derive(Debug, PartialEq)]
pub struct Call {
    name: String,
    arguments: Value,
    reserve: Usage,
    approval: Option<ApprovalOptions>,
    allowed_by: Option<Approved>,
}

impl Call {
    /// A call of something by its name: a tool, a model, a service.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            arguments: Value::Null,
            reserve: Usage::default(),
            approval: None,
            allowed_by: None,
        }
    }

    /// With these arguments. Equal arguments of equally named calls in a row are a loop at some point.
    #[must_use]
    pub fn with(self, arguments: Value) -> Self {
        Self { arguments, ..self }
    }

    /// Sets this much aside before the effect runs: the most that it may use.
    #[must_use]
    pub fn reserving(self, reserve: Usage) -> Self {
        Self { reserve, ..self }
    }

    /// Waits for somebody's approval first, also where the skill's settings do not ask for one.
    #[must_use]
    pub fn needs_approval(self, options: ApprovalOptions) -> Self {
        Self { approval: Some(options), ..self }
    }

    /// Uses up an approval that the agent asked for itself. The arguments must be the approved action; left out, they are.
    #[must_use]
    pub fn allowed_by(self, approved: Approved) -> Self {
        Self { allowed_by: Some(approved), ..self }
    }

    /// What an approval of this call is about.
    #[must_use]
    pub fn action(&self) -> Value {
        json!({"call": self.name, "arguments": self.arguments})
    }
}

/// What an effect is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Allowed {
    /// The arguments: those of the call, or those that somebody put in their place when approving it.
    pub arguments: Value,
    /// The key that makes the effect idempotent at whoever carries it out.
    pub key: String,
    /// Whether little of the budget is left and the agent should make do with less.
    pub degraded: bool,
}

/// A call that is to be made now. Dropping it counts what was set aside for it as spent.
pub struct OpenCall<'a> {
    context: &'a Context,
    turn: Turn<'a>,
    name: String,
    fingerprint: String,
    approval: Option<String>,
    allowed: Allowed,
}

impl OpenCall<'_> {
    /// What the effect is told.
    #[must_use]
    pub fn allowed(&self) -> &Allowed {
        &self.allowed
    }

    /// The call is made: writes down its result and what it used.
    ///
    /// # Errors
    /// [`Stop::Fenced`] when the task belongs to another worker; a failure when the result is too large.
    pub async fn commit(mut self, result: Value, usage: Usage) -> Result<(), Stop> {
        let output = self.context.store(result).await?;
        let event = Event::Step {
            name: self.name.clone(),
            output,
            usage: (!usage.is_zero()).then_some(usage),
            fingerprint: Some(self.fingerprint.clone()),
            approval: self.approval.clone(),
        };
        self.context.append(&mut self.turn, event).await?;
        self.context.unsettled.store(false, Ordering::Relaxed);
        self.turn.pass_step(&self.name);
        Ok(())
    }
}

impl Context {
    /// Makes a call once: checks the budget, waits for an approval where one is needed, runs the effect, and writes down
    /// its result with what it used. When the log already holds the result, that is returned.
    ///
    /// # Errors
    /// Those of [`Context::step`]; the permanent failures `budget_exceeded`, `loop_detected`, `approval_denied`,
    /// `approval_mismatch`; [`Stop::Suspended`] while an approval is awaited.
    pub async fn call<T, E, F>(&self, call: Call, effect: E) -> Result<T, Stop>
    where
        T: Serialize + DeserializeOwned,
        E: FnOnce(Allowed) -> F,
        F: Future<Output = Result<(T, Usage), Stop>>,
    {
        let name = call.name.clone();
        match self.begin_call(call).await? {
            Begun::Recorded(value) => self.fitting(&name, value).await,
            Begun::Run(open) => {
                let (result, usage) = effect(open.allowed.clone()).await?;
                open.commit(as_json(&name, &result)?, usage).await?;
                Ok(result)
            }
        }
    }

    /// The first half of [`Context::call`], for those who run the effect elsewhere.
    ///
    /// # Errors
    /// As [`Context::call`].
    pub async fn begin_call(&self, mut call: Call) -> Result<Begun<OpenCall<'_>>, Stop> {
        let mut turn = self.turn(&call.name)?;
        self.afford(&mut turn, &call.name, call.reserve).await?;
        let approval = self.approval_of(&mut turn, &mut call).await?;
        self.afford(&mut turn, &call.name, call.reserve).await?;
        let Call { name, arguments, reserve, .. } = call;
        if let Some(value) = self.recorded_step(&mut turn, &name).await? {
            return Ok(Begun::Recorded(value));
        }
        let fingerprint = action_hash(&json!({"call": name, "arguments": arguments}));
        self.check_loop(&name, &fingerprint).await?;
        if let Some(approval) = &approval
            && !self.scribe.with_log(|log| is_unused(&log.journal, approval)).await
        {
            let message = format!("the approval {approval:?} has been used up");
            return Err(permanent(
                Fault::new(code::APPROVAL_MISMATCH, message).at(format!("call {name:?}")),
            ));
        }
        let allowed = Allowed {
            arguments,
            key: self.key_at(&turn, &name),
            degraded: self.is_degraded().await,
        };
        if self.has_grant() && !reserve.is_zero() || self.unsettled.swap(false, Ordering::Relaxed) {
            let event = Event::Reserved { name: name.clone(), usage: reserve };
            self.append(&mut turn, event).await?;
            self.unsettled.store(true, Ordering::Relaxed);
        }
        Ok(Begun::Run(OpenCall { context: self, turn, name, fingerprint, approval, allowed }))
    }

    async fn check_loop(&self, name: &str, fingerprint: &str) -> Result<(), Stop> {
        let most = self.around.guard.equal_calls_max;
        let equal = self
            .scribe
            .with_log(|log| match &log.equal_calls {
                (Some(last), count) if last == fingerprint => *count,
                (Some(_) | None, _) => 0,
            })
            .await;
        if equal < most {
            return Ok(());
        }
        let message = format!("{name:?} was called {equal} times in a row with equal arguments");
        Err(permanent(
            Fault::new(code::LOOP_DETECTED, message)
                .at(format!("call {name:?}"))
                .hint("equal_calls_max in [agents.guard] says how many are allowed"),
        ))
    }

    /// The name of the approval that the call uses up; the call's arguments become those that were allowed.
    async fn approval_of(
        &self,
        turn: &mut Turn<'_>,
        call: &mut Call,
    ) -> Result<Option<String>, Stop> {
        let section = self.around.guard.approval(&call.name);
        if let Some(approved) = call.allowed_by.take() {
            // What ran before the settings asked for it has run.
            if section.is_some() && self.found(turn).await.is_none() {
                return Err(approve::by_settings_only(&call.name, &approved.name));
            }
            let asked = action_hash(&call.arguments);
            if !call.arguments.is_null() && asked != action_hash(&approved.action) {
                return Err(approve::mismatch(
                    &approved.name,
                    &action_hash(&approved.action),
                    &asked,
                ));
            }
            call.arguments = approved.action;
            return Ok(Some(approved.name));
        }
        let name = format!("approve {}", call.name);
        let options = match self.found(turn).await {
            Some(found) if found.word() == "approval" && found.name() == name => {
                ApprovalOptions::default()
            }
            // The settings may have changed since: the log says whether it was asked for.
            Some(_) => return Ok(None),
            // What the settings ask for holds whatever the code says; the question may be its own.
            None => match (call.approval.take(), section) {
                (Some(options), None) => options,
                (options, Some(section)) => ApprovalOptions {
                    question: options.map(|options| options.question).unwrap_or_default(),
                    chain: section.chain.clone(),
                    quorum: section.quorum,
                    expires: section.expires,
                },
                (None, None) => return Ok(None),
            },
        };
        match self.decided(turn, &name, call.action(), options).await? {
            Decided::Approved(approved) => {
                call.arguments = edited(&call.name, approved.action)?;
                Ok(Some(name))
            }
            Decided::Denied { by, comment } => Err(approve::denied(&name, &by, comment.as_deref())),
            Decided::Expired => Err(approve::expired(&name)),
        }
    }
}

/// The arguments in an approved action, which must still be the same call.
fn edited(name: &str, mut action: Value) -> Result<Value, Stop> {
    if action.get("call").and_then(Value::as_str) != Some(name) {
        let message = "the action put in its place is no call of the same name";
        return Err(permanent(
            Fault::new(code::APPROVAL_MISMATCH, message)
                .at(format!("call {name:?}"))
                .hint("edit the arguments and leave the call's name"),
        ));
    }
    Ok(action.get_mut("arguments").map(Value::take).unwrap_or_default())
}

/// Whether an approval of this name was given and has not been used up.
fn is_unused(journal: &[Journaled], approval: &str) -> bool {
    journal.iter().rev().any(|journaled| match journaled {
        Journaled::Answered {
            waiting_for,
            answer: Answer::Approval { ruling, .. },
            used: false,
        } => {
            waiting_for.name() == Some(approval)
                && matches!(ruling.verdict, Some(Verdict::Approve | Verdict::Edit))
        }
        Journaled::Answered { .. } | Journaled::Step { .. } | Journaled::Delegated { .. } => false,
    })
}
