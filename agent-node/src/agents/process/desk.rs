//! Carries a program's requests out through its task's context, one at a time, and holds it to their order.
//!
//! What the log, the budget or a person refuses is a reply with an error, which the program may react to as an agent in
//! Rust may. What breaks the protocol ends the attempt.

use std::collections::HashMap;
use std::time::Duration;

use protocol::budget::Usage;
use protocol::fault::code;
use protocol::message::{Message, value_of};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::request::{
    ApprovalLine, Call as Asked, JoinLine, OnFailureLine, Reply, RequestLine, StepBegin, WorkLine,
    budget_value, child_value,
};
use crate::agent::Stop;
use crate::context::delegate::{Join, OnFailure, Target, Work};
use crate::context::{
    ApprovalOptions, Approved, Begun, Call, Context, Interrupted, OpenCall, OpenStep,
};

/// What has been asked about a task so far.
pub(super) struct Desk<'a> {
    context: &'a Context,
    open: Option<Open<'a>>,
    /// The step that ended last.
    ended: Option<String>,
    /// Approvals that no step has used up.
    approved: HashMap<String, Approved>,
    suspended: Option<Stop>,
    doomed: Option<Stop>,
}

/// A step whose effect runs in the program.
struct Open<'a> {
    name: String,
    step: Step<'a>,
    message: OnMessage,
}

/// What a message to the task does to the open step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnMessage {
    /// Nothing.
    Waits,
    /// It cuts the step short, once one comes.
    CutsShort,
    /// It has come; the program has been told to end the step by then.
    Told(Instant),
}

enum Step<'a> {
    Plain(OpenStep<'a>),
    Call(OpenCall<'a>),
}

/// Why there is no reply.
pub(super) enum NoReply {
    /// The program must not ask this now.
    Protocol(String),
    /// The attempt is over.
    Stop(Stop),
}

fn protocol(what: impl Into<String>) -> NoReply {
    NoReply::Protocol(what.into())
}

impl<'a> Desk<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self {
            context,
            open: None,
            ended: None,
            approved: HashMap::new(),
            suspended: None,
            doomed: None,
        }
    }

    /// The step that is open, for people.
    pub(super) fn place(&self) -> Option<String> {
        self.open.as_ref().map(|open| format!("step {:?}", open.name))
    }

    /// Whether a message may cut the open step short, of which the program has not been told.
    pub(super) fn listens(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.message == OnMessage::CutsShort)
    }

    /// When a program is ended that goes on with a step that a message has cut short.
    pub(super) fn grace_ends(&self) -> Option<Instant> {
        match self.open.as_ref()?.message {
            OnMessage::Told(by) => Some(by),
            OnMessage::Waits | OnMessage::CutsShort => None,
        }
    }

    /// Something has been said to the task. Whether it is a message, of which the program has to be told: it has until
    /// `by` to end the step.
    pub(super) async fn hear(&mut self, by: Instant) -> Result<bool, Stop> {
        let has_come = self.context.has_message().await?;
        if let Some(open) = self.open.as_mut().filter(|_| has_come) {
            open.message = OnMessage::Told(by);
        }
        Ok(has_come)
    }

    /// Gives the open step up. The message that has cut it short is written down in its place, if one has.
    pub(super) async fn give_up(&mut self) -> Result<Option<Message>, Stop> {
        match self.open.take() {
            Some(Open { step: Step::Plain(mut step), message: OnMessage::Told(_), .. }) => {
                step.cut_short().await
            }
            Some(_) | None => Ok(None),
        }
    }

    /// What the task waits for, once the program has been told to give it up.
    pub(super) fn suspended(&self) -> Option<&Stop> {
        self.suspended.as_ref()
    }

    /// An error after which no answer counts: the program does not do what the log says that it did.
    pub(super) fn doomed(&self) -> Option<&Stop> {
        self.doomed.as_ref()
    }

    /// Carries out a request.
    pub(super) async fn answer(&mut self, request: RequestLine) -> Result<Reply, NoReply> {
        let RequestLine { id, call, .. } = request;
        let place = call.place();
        self.check(&call, &place)?;
        let reply = match self.carry_out(call, &place).await {
            Ok(reply) => reply,
            Err(NoReply::Stop(stop)) => self.refusal(stop)?,
            Err(error @ NoReply::Protocol(_)) => return Err(error),
        };
        Ok(Reply { id, ..reply })
    }

    /// Whether the call may be made now.
    fn check(&self, call: &Asked, place: &str) -> Result<(), NoReply> {
        if self.suspended.is_some() {
            return Err(protocol(format!("{place} after it was told to give the task up")));
        }
        let open = self.open.as_ref().map(|open| open.name.as_str());
        match (call, open) {
            (Asked::StepEnd { name, .. } | Asked::StepAbandon { name }, Some(open)) => {
                if name == open {
                    return Ok(());
                }
                Err(protocol(format!("{place} while step {open:?} is open")))
            }
            (Asked::StepEnd { name, .. } | Asked::StepAbandon { name }, None) => {
                if self.ended.as_ref() == Some(name) {
                    return Err(protocol(format!("{place} a second time")));
                }
                Err(protocol(format!("{place} without a step.begin before it")))
            }
            (Asked::Budget {}, _) | (_, None) => Ok(()),
            (_, Some(open)) => Err(protocol(format!("{place} while step {open:?} is open"))),
        }
    }

    /// What the program hears of a call that did not return.
    fn refusal(&mut self, stop: Stop) -> Result<Reply, NoReply> {
        match stop {
            Stop::Suspended { .. } => {
                self.suspended = Some(stop);
                Ok(Reply { suspend: Some(true), ..Reply::default() })
            }
            Stop::Failed { failure, fault } => {
                if fault.code == code::NONDETERMINISTIC {
                    self.doomed = Some(Stop::Failed { failure, fault: fault.clone() });
                }
                Ok(Reply::error(failure, fault))
            }
            Stop::Canceled | Stop::Released | Stop::Fenced => Err(NoReply::Stop(stop)),
        }
    }

    async fn carry_out(&mut self, call: Asked, place: &str) -> Result<Reply, NoReply> {
        let context = self.context;
        match call {
            Asked::StepBegin(begin) => self.begin(begin, place).await,
            Asked::StepEnd { name, output, usage } => {
                self.end(name, output.unwrap_or_default(), usage, place).await
            }
            Asked::StepAbandon { .. } => {
                let message = self.give_up().await?.map(|message| value_of(&message.parts));
                Ok(Reply { message, ..Reply::default() })
            }
            Asked::Delegate { name, work, join } => {
                let work: Result<Vec<Work>, NoReply> =
                    (0_usize..).zip(work).map(|(at, line)| piece(line, place, at)).collect();
                let ends = context.delegate_with(&name, work?, join_of(join)).await?;
                let ends = ends.into_iter().map(|end| child_value(&end.task, end.result));
                Ok(Reply::value(ends.collect()))
            }
            Asked::Sleep { name, ms } => {
                context.sleep(&name, Duration::from_millis(ms)).await?;
                Ok(Reply::value(Value::Null))
            }
            Asked::Ask { name, question, limit_ms, auth } => {
                let question = Message::from_agent(question);
                let heard = context.ask_with(&name, question, auth, limit(limit_ms)).await?;
                Ok(Reply::waited(heard.map(|message| value_of(&message.parts))))
            }
            Asked::Message { name, limit_ms } => {
                let heard = context.next_message(&name, limit(limit_ms)).await?;
                Ok(Reply::waited(heard.map(|message| value_of(&message.parts))))
            }
            Asked::Signal { name, limit_ms } => {
                Ok(Reply::waited(context.signal(&name, limit(limit_ms)).await?))
            }
            Asked::Approve { name, action, approval } => {
                let approved = context.approve(&name, action, options(approval)).await?;
                let Approved { action, by, comment, .. } = &approved;
                let value = json!({"action": action, "by": by, "comment": comment});
                self.approved.insert(name, approved);
                Ok(Reply::value(value))
            }
            Asked::Budget {} => {
                let degraded = context.is_degraded().await;
                Ok(Reply::value(budget_value(&context.budget().await, degraded)))
            }
        }
    }

    async fn begin(&mut self, begin: StepBegin, place: &str) -> Result<Reply, NoReply> {
        let StepBegin { name, arguments, reserve, approval, allowed_by, or_message } = begin;
        let is_plain =
            arguments.is_none() && reserve.is_none() && approval.is_none() && allowed_by.is_none();
        if is_plain {
            return self.begin_plain(name, or_message).await;
        }
        if or_message {
            return Err(protocol(format!(
                "{place} with orMessage, which no watched call may have"
            )));
        }
        let mut call = Call::new(&name)
            .with(arguments.unwrap_or_default())
            .reserving(reserve.unwrap_or_default());
        if let Some(approval) = approval {
            call = call.needs_approval(options(approval));
        }
        if let Some(allowed_by) = allowed_by {
            let approved = self.approved.remove(&allowed_by).ok_or_else(|| {
                let what = "which nobody has given, or a step has used up";
                protocol(format!("{place}, allowed by approval {allowed_by:?}, {what}"))
            })?;
            call = call.allowed_by(approved);
        }
        let step = match self.context.begin_call(call).await? {
            Begun::Recorded(value) => return Ok(Reply::value(value)),
            Begun::Run(step) => step,
        };
        let allowed = step.allowed();
        let reply = Reply {
            run: Some(true),
            idempotency_key: Some(allowed.key.clone()),
            arguments: Some(allowed.arguments.clone()),
            degraded: Some(allowed.degraded),
            ..Reply::default()
        };
        self.open = Some(Open { name, step: Step::Call(step), message: OnMessage::Waits });
        Ok(reply)
    }

    async fn begin_plain(&mut self, name: String, or_message: bool) -> Result<Reply, NoReply> {
        let (begun, message) = if or_message {
            match self.context.begin_step_or_message(&name).await? {
                Interrupted::Done(begun) => (begun, OnMessage::CutsShort),
                Interrupted::Message(message) => {
                    let message = Some(value_of(&message.parts));
                    return Ok(Reply { message, ..Reply::default() });
                }
            }
        } else {
            (self.context.begin_step(&name).await?, OnMessage::Waits)
        };
        let step = match begun {
            Begun::Recorded(value) => return Ok(Reply::value(value)),
            Begun::Run(step) => step,
        };
        let idempotency_key = Some(step.key().to_owned());
        self.open = Some(Open { name, step: Step::Plain(step), message });
        Ok(Reply { run: Some(true), idempotency_key, ..Reply::default() })
    }

    async fn end(
        &mut self,
        name: String,
        output: Value,
        usage: Option<Usage>,
        place: &str,
    ) -> Result<Reply, NoReply> {
        let usage = usage.unwrap_or_default();
        match self.open.take().map(|open| open.step) {
            Some(Step::Plain(_)) if !usage.is_zero() => {
                let hint = "begin the step with reserve or arguments to have its usage counted";
                return Err(protocol(format!(
                    "{place} with a usage, which was begun as a plain step; {hint}"
                )));
            }
            Some(Step::Plain(step)) => step.commit(output).await?,
            Some(Step::Call(step)) => step.commit(output, usage).await?,
            None => {}
        }
        self.ended = Some(name);
        Ok(Reply::default())
    }
}

impl From<Stop> for NoReply {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

fn limit(ms: Option<u64>) -> Option<Duration> {
    ms.map(Duration::from_millis)
}

fn options(line: ApprovalLine) -> ApprovalOptions {
    let ApprovalLine { question, chain, quorum, expires_ms } = line;
    ApprovalOptions { question, chain, quorum, expires: limit(expires_ms) }
}

fn join_of(line: JoinLine) -> Join {
    match line {
        JoinLine::All => Join::All,
        JoinLine::First => Join::First,
        JoinLine::Quorum(n) => Join::Quorum(n),
    }
}

fn piece(line: WorkLine, place: &str, at: usize) -> Result<Work, NoReply> {
    let WorkLine { skill, need, input, budget, on_failure } = line;
    let target = match (skill, need) {
        (Some(skill), None) => Target::Skill(skill),
        (None, Some(need)) => Target::Need(need),
        (Some(_), Some(_)) | (None, None) => {
            let what = "needs a skill or a need, one of them";
            return Err(protocol(format!("{place}, whose work[{at}] {what}")));
        }
    };
    let on_failure = match on_failure {
        OnFailureLine::Report => OnFailure::Report,
        OnFailureLine::Fail => OnFailure::Fail,
        OnFailureLine::Ignore => OnFailure::Ignore,
        OnFailureLine::Retry { times, elsewhere } => OnFailure::Retry { times, elsewhere },
        OnFailureLine::Fallback { skill } => OnFailure::Fallback { skill },
        OnFailureLine::Cached { no_older_than_ms } => {
            OnFailure::Cached { no_older_than: Duration::from_millis(no_older_than_ms) }
        }
    };
    Ok(Work { target, input, budget, on_failure })
}
