//! Takes one delivery from admission to its end.
//!
//! The order is always the same: read what is asked, read the log where somebody else may have written, decide,
//! run, append the end, publish its consequences, answer, settle. A crash between any two of these is made good by
//! whoever gets the delivery next.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use protocol::cancel::because;
use protocol::dead::DeadLetter;
use protocol::entry::{Event, Origin};
use protocol::fault::{Failure, FailureClass, Fault, code};
use protocol::header;
use protocol::lifecycle::Phase;
use protocol::log::TaskLog;
use protocol::message::{Message, Part};
use protocol::submission::{Envelope, Queue, Stored};
use protocol::task::TaskState;
use protocol::{Timestamp, codec, submission};
use runtime::bus::Delivery;
use runtime::telemetry::span_context;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::agent::Stop;
use crate::attempt::{self, Bounds};
use crate::context::{Context, bus_stop};
use crate::core::Core;
use crate::duplicate;
use crate::engine::{self, Admission, Arrival, Circumstance, Settle};
use crate::hand::InHand;
use crate::lane;
use crate::parts;
use crate::refuse;
use crate::report::Failed;
use crate::rewind;
use crate::scribe::Scribe;
use crate::served::Served;

/// A task as a delivery brought it.
pub(crate) struct Work {
    pub(crate) envelope: Envelope,
    pub(crate) origin: Arc<Origin>,
    /// What is to be decoded: the submitted body with its content type.
    pub(crate) body: Body,
    pub(crate) log: TaskLog,
    /// Whether the log is known to be empty.
    new: bool,
    /// Whether nobody else can have begun it, so that its end may be its first entry.
    fresh: bool,
    /// Why it cannot be run: its input is gone.
    missing: Option<Fault>,
    pub(crate) delivered: u64,
}

pub(crate) struct Body {
    content_type: Option<String>,
    bytes: bytes::Bytes,
}

/// What the node knows about a submission that is delivered as if for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nobody has had it before.
    New,
    /// A server that has forgotten may have handed it out before.
    PerhapsOld,
}

/// Takes a delivery to its end.
pub(crate) async fn deliver(
    core: Arc<Core>,
    served: Arc<Served>,
    delivery: Delivery,
    known: Known,
    hand: InHand,
) {
    let stored = Stored {
        subject: &delivery.subject,
        headers: &delivery.headers,
        sequence: delivery.position.sequence,
        at: delivery.position.stored_at,
    };
    let (envelope, refusal) = match Envelope::read(core.bus.subjects(), stored) {
        None => {
            let skill = &served.terms.skill;
            return Box::pin(refuse::nameless(&core, skill, &delivery, hand)).await;
        }
        Some(Ok(envelope)) => (envelope, None),
        Some(Err(refused)) => (*refused.envelope, Some(refused.fault)),
    };
    if envelope.source.queue == Queue::Run
        && let Some(fault) = refusal
    {
        let (payload, origin) = (&delivery.payload, envelope.origin(&delivery.payload));
        let refusing = refuse::malformed(&core, envelope.task, origin, payload, fault, hand);
        return Box::pin(refusing).await;
    }
    let span = tracing::info_span!(
        "attempt",
        task_id = %envelope.task,
        skill = %envelope.skill,
        attempt = is_new(&envelope, delivery.position.delivered, known).then_some(1_u32),
        context_id = envelope.context.as_ref().map(|id| id.as_str()),
    );
    span_context::set_remote_parent(&span, &envelope.trace);
    let doing = async {
        match prepare(&core, &served, envelope, delivery, known).await {
            Ok(work) => act(&core, &served, work, refusal, hand).await,
            Err(unready) => Box::pin(refuse::later(&core, *unready, hand)).await,
        }
    };
    doing.instrument(span).await;
}

/// Whether nobody can have written into the task's log.
fn is_new(envelope: &Envelope, delivered: u64, known: Known) -> bool {
    known == Known::New && is_first(envelope, delivered)
}

/// Whether the server hands the task out for the first time.
fn is_first(envelope: &Envelope, delivered: u64) -> bool {
    envelope.source.queue == Queue::Inbox && delivered == 1 && !envelope.keyed
}

/// Reads the log and the input, as far as that is needed.
async fn prepare(
    core: &Core,
    served: &Served,
    mut envelope: Envelope,
    delivery: Delivery,
    known: Known,
) -> Result<Box<Work>, Box<refuse::Unready>> {
    let delivered = delivery.position.delivered;
    let new = is_new(&envelope, delivered, known);
    let log = if new {
        TaskLog::default()
    } else {
        match rewind::own_log(core, served, &mut envelope, delivered).await {
            Ok(log) => log,
            Err(stop) => {
                return Err(Box::new(refuse::Unready {
                    envelope,
                    payload: delivery.payload,
                    stop,
                }));
            }
        }
    };
    if envelope.requeued_by.is_some_and(|generation| generation > log.generation)
        && engine::worn_out(delivered)
    {
        let stop = Stop::Failed { failure: Failure::Permanent, fault: refuse::asked_by_nobody() };
        return Err(Box::new(refuse::Unready { envelope, payload: delivery.payload, stop }));
    }
    let fresh = is_first(&envelope, delivered) && log.generation == 0;
    let mut body = Body { content_type: envelope.content_type.clone(), bytes: delivery.payload };
    let origin = match &log.origin {
        None => Arc::new(envelope.origin(&body.bytes)),
        Some(origin) => Arc::new((**origin).clone()),
    };
    let mut missing = None;
    if envelope.requeued_by.is_some() && !log.is_ended() {
        match rewind::input(core, &origin).await {
            Ok(Some(input)) => {
                let content_type = input.headers.get(header::CONTENT_TYPE).map(str::to_owned);
                body = Body { content_type, bytes: input.payload };
            }
            Ok(None) => missing = Some(refuse::no_input()),
            Err(error) => {
                let stop = bus_stop(error);
                return Err(Box::new(refuse::Unready { envelope, payload: body.bytes, stop }));
            }
        }
    }
    Ok(Box::new(Work { envelope, origin, body, log, new, fresh, missing, delivered }))
}

async fn act(
    core: &Arc<Core>,
    served: &Served,
    work: Box<Work>,
    refusal: Option<Fault>,
    hand: InHand,
) {
    let origin = Arc::clone(&work.origin);
    let hash = match &work.log.origin {
        None if work.envelope.requeued_by.is_none() => Cow::Borrowed(&*origin.input_hash),
        None | Some(_) => {
            Cow::Owned(submission::input_hash(work.body.content_type.as_deref(), &work.body.bytes))
        }
    };
    let arrival = Arrival {
        skill: &work.envelope.skill,
        source: work.envelope.source,
        requeued_by: work.envelope.requeued_by,
        input_hash: if work.envelope.requeued_by.is_some() { "" } else { &hash },
        deadline: work.origin.deadline,
    };
    match engine::admit(&work.log, arrival, &served.terms.retry, core.clock.now()) {
        Admission::Run => match work.missing.clone() {
            // The next attempt gets a message of its own, before the server drops this one.
            None if work.log.phase == Phase::Running && engine::worn_out(work.delivered) => {
                let fault = Fault::new(code::WORKER_LOST, "the worker of the last attempt is gone");
                refuse::give_up(core, served, &work, Failure::Lost, fault, hand).await;
            }
            None => lane::in_turn(core, served, work, refusal, hand).await,
            Some(fault) => {
                refuse::give_up(core, served, &work, Failure::Permanent, fault, hand).await
            }
        },
        Admission::Fail { failure, fault } => {
            refuse::give_up(core, served, &work, failure, fault, hand).await;
        }
        Admission::TooEarly { wait } => hand.nak(wait).await,
        Admission::CarryOut => {
            served.metrics.tasks_duplicate.inc();
            match Box::pin(core.carry_out(&work.envelope.task, &work.log)).await {
                Ok(()) => {
                    if work.log.is_ended() {
                        core.answer(&work.envelope.task, &work.log, work.log.origin.as_deref())
                            .await;
                    }
                    hand.ack().await;
                }
                Err(stop) => {
                    tracing::warn!(reason = ?stop, "consequences not published yet");
                    refuse::nak(hand).await;
                }
            }
        }
        Admission::Duplicate { ended, conflict } => {
            served.metrics.tasks_duplicate.inc();
            Box::pin(duplicate::drop_it(core, &work, &hash, ended, conflict, hand)).await;
        }
    }
}

pub(crate) fn decode(body: &Body) -> Result<Message, Fault> {
    codec::decode_body(body.content_type.as_deref(), &body.bytes)
}

pub(crate) async fn run(
    core: &Arc<Core>,
    served: &Served,
    work: Box<Work>,
    refusal: Option<Fault>,
    hand: InHand,
) {
    let mut scribe = core
        .scribe(&work.envelope.task, &work.origin, work.log.clone())
        .with_agent(Arc::clone(&served.agent));
    if work.envelope.requeued_by.is_some() {
        scribe = scribe.driven_by(work.envelope.source.sequence);
    }
    let scribe = Arc::new(scribe);
    if !work.new {
        tracing::Span::current().record("attempt", scribe.attempt);
    }
    if work.log.generation == 0 {
        served.metrics.tasks_received.inc();
    } else if work.log.phase == Phase::Running {
        served.metrics.takeovers.inc();
    }
    let refusal = refusal.map_or_else(|| served.check_order(&work.envelope), Err);
    let judged = match refusal {
        Err(fault) => Err(fault),
        Ok(()) => decode(&work.body).and_then(|message| {
            let inline = message.parts.iter().all(|part| part.object().is_none());
            if inline { served.check_input(&message.parts).map(|()| message) } else { Ok(message) }
        }),
    };
    let message = match judged {
        Ok(message) => message,
        Err(fault) => {
            return Box::pin(refuse::reject(core, served, &work, &scribe, fault, hand)).await;
        }
    };
    served.metrics.attempts_started.inc();
    served.metrics.attempts_in_flight.inc();
    let started = Instant::now();
    let outcome = run_agent(core, served, &work, &scribe, message).await;
    served.metrics.attempts_in_flight.dec();
    served.metrics.attempt_duration.observe(started.elapsed().as_secs_f64());
    match outcome {
        Err(Stop::Failed { failure: Failure::Permanent, fault })
            if fault.code == code::INVALID_INPUT =>
        {
            Box::pin(refuse::reject(core, served, &work, &scribe, fault, hand)).await;
        }
        outcome => conclude(core, served, &work, &scribe, outcome, hand).await,
    }
}

async fn run_agent(
    core: &Arc<Core>,
    served: &Served,
    work: &Work,
    scribe: &Arc<Scribe>,
    Message { parts, message_id, .. }: Message,
) -> Result<Vec<Part>, Stop> {
    let refused = |fault| Stop::Failed { failure: Failure::Permanent, fault };
    let ear = core.cancels.listen(&work.origin.owner, &work.envelope.task);
    if ear.token().is_cancelled() {
        return Err(Stop::Canceled);
    }
    let inline = parts.iter().all(|part| part.object().is_none());
    let parts = if inline {
        parts
    } else {
        tokio::select! {
            loaded = Box::pin(parts::load_large(scribe, parts)) => loaded?,
            () = ear.token().cancelled() => return Err(Stop::Canceled),
            () = core.release.cancelled() => return Err(Stop::Released),
        }
    };
    if !inline {
        served.check_input(&parts).map_err(refused)?;
    }
    let (now, today) = (Instant::now(), core.clock.now());
    let (limit, ends_by_deadline) = limit_of(served, work.origin.deadline, today);
    let context = Context::new(
        Arc::clone(scribe),
        Arc::clone(&work.origin),
        Some(today.after(limit)),
        ear.token().clone(),
    )
    .within(core.around(&served.terms, &work.origin.owner, &work.envelope.task))
    .answering(message_id);
    let first_child_run = work.envelope.parent.is_some() && work.log.generation == 0;
    let bounds = Bounds {
        claim_first: !(work.fresh || first_child_run && work.delivered == 1),
        client: core.bus.client_name(),
        ends_at: now + limit,
        ends_by_deadline,
        cancel: ear.token(),
        release: &core.release,
    };
    let ran = attempt::run(served, &context, parts, bounds).await;
    if matches!(ran, Ok(_) | Err(Stop::Failed { .. }))
        && let Err(Stop::Fenced) = Box::pin(context.take_back()).await
    {
        return Err(Stop::Fenced);
    }
    let output = ran?;
    served.check_output(&output).map_err(refused)?;
    parts::store_large(scribe, context.finished(output)).await
}

/// After which time the attempt is ended by force, and whether that is the task's deadline.
fn limit_of(served: &Served, deadline: Option<Timestamp>, now: Timestamp) -> (Duration, bool) {
    let by_timeout = served.terms.timeout;
    match deadline.map(|deadline| deadline.since(now)) {
        Some(by_deadline) if by_deadline < by_timeout => (by_deadline, true),
        Some(_) | None => (by_timeout, false),
    }
}

/// The end of an attempt could not be written.
pub(crate) async fn unwritten(
    core: &Core,
    served: &Served,
    work: &Work,
    stop: &Stop,
    hand: InHand,
) {
    if *stop == Stop::Fenced {
        served.metrics.commits_fenced.inc();
        if work.new && rewind::is_displaced(core, &work.envelope).await {
            return hand.nak(Duration::ZERO).await;
        }
        tracing::info!(reason = "another writer owns the log", "attempt given up");
        return hand.leave();
    }
    tracing::warn!(reason = ?stop, "end not written");
    refuse::nak(hand).await;
}

/// Appends what the end of an attempt becomes, and what follows from it.
pub(crate) async fn conclude(
    core: &Core,
    served: &Served,
    work: &Work,
    scribe: &Scribe,
    outcome: Result<Vec<Part>, Stop>,
    hand: InHand,
) {
    // A claim whose future was dropped may be stored: without it the attempt would be taken for lost.
    if scribe.settle().await == Err(Stop::Fenced) || scribe.say_last().await == Err(Stop::Fenced) {
        return unwritten(core, served, work, &Stop::Fenced, hand).await;
    }
    let begun = scribe.has_begun().await;
    let at = Circumstance {
        policy: &served.terms.retry,
        failures: scribe.with_log(TaskLog::failures).await + u32::from(!begun),
        begun,
        delivered: work.delivered.max(hand.delivered()),
        now: core.clock.now(),
        chance: rand::random(),
    };
    let ending = engine::conclude(outcome, at);
    let why = core.cancels.why(&work.origin.owner, &work.envelope.task);
    let Some(event) = ending.event.map(|event| because(event, why.as_deref())) else {
        return match ending.settle {
            Settle::Nak { after } => hand.nak(after).await,
            Settle::Ack | Settle::Leave => unwritten(core, served, work, &Stop::Fenced, hand).await,
        };
    };
    let (kind, failed) = (event.kind(), Failed::told_by(&event));
    let (kind, failed, appended) = match append(core, work, scribe, event, ending.letter).await {
        Err(Stop::Failed { failure: Failure::Permanent, fault })
            if matches!(&*fault.code, code::TOO_LARGE | code::LOG_FULL) =>
        {
            let event = Event::Failed { failure: FailureClass::Permanent, fault };
            let failed = Failed::told_by(&event);
            (event.kind(), failed, append(core, work, scribe, event, true).await)
        }
        appended => (kind, failed, appended),
    };
    match appended {
        Ok(()) => {
            served.count(kind);
            if let Some(failed) = failed {
                let attempts = scribe.with_log(|log| log.attempts.len()).await;
                failed.tell(&work.envelope.task, u32::try_from(attempts).unwrap_or(u32::MAX));
            }
            let settle = if kind.is_terminal() { Settle::Ack } else { ending.settle };
            finish(core, work, scribe, settle, hand).await;
        }
        Err(stop) => unwritten(core, served, work, &stop, hand).await,
    }
}

/// Appends the end of an attempt, with a dead letter where one is due.
async fn append(
    core: &Core,
    work: &Work,
    scribe: &Scribe,
    event: Event,
    letter: bool,
) -> Result<(), Stop> {
    let (true, Event::Failed { failure, fault }) = (letter, &event) else {
        return scribe.append(event).await;
    };
    let (failure, fault) = (*failure, fault.clone());
    let input = decode(&work.body).unwrap_or_else(|_| Message::from_user(Vec::new()));
    let appending = scribe.append_with_letter(event, |log| {
        let died_at = core.clock.now();
        DeadLetter::of(&work.envelope.task, log, failure, &fault, input, died_at)
    });
    Box::pin(appending).await
}

/// Publishes the consequences of the entry just appended, answers, and settles the delivery.
pub(crate) async fn finish(
    core: &Core,
    work: &Work,
    scribe: &Scribe,
    settle: Settle,
    hand: InHand,
) {
    let follows = scribe
        .with_log(|log| {
            let origin = log.origin.as_ref();
            let answer = log.is_ended() && origin.is_some_and(|o| o.reply_to.is_some());
            let related = origin.is_some_and(|o| o.parent.is_some() || o.lane.is_some());
            let publish = related || log.state != TaskState::Completed;
            (publish || answer).then(|| log.clone())
        })
        .await;
    if let Some(log) = follows {
        if let Err(stop) = Box::pin(core.carry_out(&work.envelope.task, &log)).await {
            tracing::warn!(reason = ?stop, "consequences not published yet");
            return refuse::nak(hand).await;
        }
        if log.is_ended() {
            core.answer(&work.envelope.task, &log, log.origin.as_deref()).await;
        }
    }
    match settle {
        Settle::Ack => hand.ack().await,
        Settle::Nak { after } => hand.nak(after).await,
        Settle::Leave => hand.leave(),
    }
}
