//! Takes one delivery from admission to its end.
//!
//! The order is always the same: read what is asked, read the log where somebody else may have written, decide,
//! run, append the end, publish its consequences, answer, settle. A crash between any two of these is made good by
//! whoever gets the delivery next.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use protocol::dead::{Cause, DeadLetter};
use protocol::entry::{Event, Origin};
use protocol::fault::{Failure, FailureClass, Fault, code};
use protocol::header;
use protocol::limits::DELIVERIES_MAX;
use protocol::log::TaskLog;
use protocol::message::{Message, Part};
use protocol::submission::{Envelope, Queue, Stored};
use protocol::{Timestamp, codec, submission};
use runtime::bus::Delivery;
use runtime::telemetry::span_context;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::agent::Stop;
use crate::attempt::{self, Bounds};
use crate::context::{Context, bus_stop};
use crate::core::Core;
use crate::engine::{self, Admission, Arrival, Circumstance, Settle};
use crate::hand::InHand;
use crate::parts;
use crate::scribe::Scribe;
use crate::served::Served;

/// How long a delivery rests when the log cannot be read or written right now.
const REST: Duration = Duration::from_secs(2);
/// How long a duplicate that wants an answer waits before it looks again.
const DUPLICATE_REST: Duration = Duration::from_millis(500);

/// A task as a delivery brought it.
struct Work {
    envelope: Envelope,
    origin: Arc<Origin>,
    /// What is to be decoded: the submitted body with its content type.
    body: Body,
    log: TaskLog,
    /// Whether the log is known to be empty.
    new: bool,
    /// Whether nobody else can have begun it, so that its end may be its first entry.
    fresh: bool,
    delivered: u64,
}

struct Body {
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
            tracing::warn!(
                subject = delivery.subject,
                reason = "not a task of this mesh",
                "settled"
            );
            return hand.ack().await;
        }
        Some(Ok(envelope)) => (envelope, None),
        Some(Err(refused)) => (*refused.envelope, Some(refused.fault)),
    };
    if envelope.source.queue == Queue::Run
        && let Some(fault) = refusal
    {
        return Box::pin(malformed(&core, &envelope, &delivery, fault, hand)).await;
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
        match prepare(&core, envelope, delivery, known).await {
            Ok(work) => act(&core, &served, work, refusal, hand).await,
            Err(stop) => {
                tracing::warn!(reason = ?stop, "task cannot be read now");
                hand.nak(REST).await;
            }
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
    envelope: Envelope,
    delivery: Delivery,
    known: Known,
) -> Result<Box<Work>, Stop> {
    let delivered = delivery.position.delivered;
    let new = is_new(&envelope, delivered, known);
    let log = if new {
        TaskLog::default()
    } else {
        core.read_log(&envelope.owner, &envelope.task).await?
    };
    let fresh = is_first(&envelope, delivered) && log.generation == 0;
    let mut body = Body { content_type: envelope.content_type.clone(), bytes: delivery.payload };
    let origin = match &log.origin {
        None => Arc::new(envelope.origin(&body.bytes)),
        Some(origin) => Arc::new((**origin).clone()),
    };
    if envelope.requeued_by.is_some() && !log.is_ended() {
        let input = core.ledger.input(origin.source).await.map_err(bus_stop)?;
        let input = input.ok_or_else(|| Stop::Failed {
            failure: Failure::Permanent,
            fault: Fault::new(
                code::OBJECT_MISSING,
                "the task's input is not in its stream any more",
            ),
        })?;
        body = Body {
            content_type: input.headers.get(header::CONTENT_TYPE).map(str::to_owned),
            bytes: input.payload,
        };
    }
    Ok(Box::new(Work { envelope, origin, body, log, new, fresh, delivered }))
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
        source: work.envelope.source,
        requeued_by: work.envelope.requeued_by,
        input_hash: if work.envelope.requeued_by.is_some() { "" } else { &hash },
        deadline: work.origin.deadline,
    };
    match engine::admit(&work.log, arrival, &served.terms.retry, core.clock.now()) {
        Admission::Run => run(core, served, work, refusal, hand).await,
        Admission::Fail { failure, fault } => {
            let scribe =
                core.scribe(&work.envelope.task, &work.origin, work.log.clone()).without_attempt();
            conclude(core, served, &work, &scribe, Err(Stop::Failed { failure, fault }), hand)
                .await;
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
                    hand.nak(REST).await;
                }
            }
        }
        Admission::Duplicate { ended, conflict } => {
            served.metrics.tasks_duplicate.inc();
            Box::pin(duplicate(core, &work, &hash, ended, conflict, hand)).await;
        }
    }
}

/// A second submission under a known id. The work is not done again; whoever asked can find out what became
/// of it.
async fn duplicate(
    core: &Core,
    work: &Work,
    hash: &str,
    ended: bool,
    conflict: bool,
    hand: InHand,
) {
    if conflict {
        tracing::warn!(task_id = %work.envelope.task, reason = "another input under the same id", "not run");
        if core.conflict_letter(&work.envelope, hash, &work.log, decode(&work.body)).await.is_err()
        {
            return hand.nak(REST).await;
        }
    }
    let wants_answer = work.envelope.reply_to.is_some();
    let patient = i64::try_from(work.delivered).unwrap_or(i64::MAX) < DELIVERIES_MAX / 2;
    if wants_answer && !ended && patient {
        return hand.nak(DUPLICATE_REST).await;
    }
    if wants_answer {
        let mut asked = (*work.origin).clone();
        asked.reply_to.clone_from(&work.envelope.reply_to);
        core.answer(&work.envelope.task, &work.log, Some(&asked)).await;
    }
    hand.ack().await;
}

fn decode(body: &Body) -> Result<Message, Fault> {
    codec::decode_body(body.content_type.as_deref(), &body.bytes)
}

async fn run(
    core: &Arc<Core>,
    served: &Served,
    work: Box<Work>,
    refusal: Option<Fault>,
    hand: InHand,
) {
    let scribe = Arc::new(core.scribe(&work.envelope.task, &work.origin, work.log.clone()));
    if !work.new {
        tracing::Span::current().record("attempt", scribe.attempt);
    }
    if work.log.generation == 0 {
        served.metrics.tasks_received.inc();
    } else if work.log.phase == protocol::lifecycle::Phase::Running {
        served.metrics.takeovers.inc();
    }
    let judged = match refusal {
        Some(fault) => Err(fault),
        None => decode(&work.body).and_then(|message| {
            let inline = message.parts.iter().all(|part| part.object().is_none());
            if inline { served.check_input(&message.parts).map(|()| message) } else { Ok(message) }
        }),
    };
    let message = match judged {
        Ok(message) => message,
        Err(fault) => {
            return Box::pin(reject(core, served, &work, &scribe, fault, hand)).await;
        }
    };
    served.metrics.attempts_started.inc();
    served.metrics.attempts_in_flight.inc();
    let started = Instant::now();
    let outcome = run_agent(core, served, &work, &scribe, message.parts).await;
    served.metrics.attempts_in_flight.dec();
    served.metrics.attempt_duration.observe(started.elapsed().as_secs_f64());
    match outcome {
        Err(Stop::Failed { failure: Failure::Permanent, fault })
            if fault.code == code::INVALID_INPUT =>
        {
            Box::pin(reject(core, served, &work, &scribe, fault, hand)).await;
        }
        outcome => conclude(core, served, &work, &scribe, outcome, hand).await,
    }
}

async fn run_agent(
    core: &Arc<Core>,
    served: &Served,
    work: &Work,
    scribe: &Arc<Scribe>,
    parts: Vec<Part>,
) -> Result<Vec<Part>, Stop> {
    let ear = core.cancels.listen(&work.origin.owner, &work.envelope.task);
    if ear.token().is_cancelled() {
        return Err(Stop::Canceled);
    }
    let inline = parts.iter().all(|part| part.object().is_none());
    let parts = if inline { parts } else { Box::pin(parts::load_large(scribe, parts)).await? };
    if !inline {
        served
            .check_input(&parts)
            .map_err(|fault| Stop::Failed { failure: Failure::Permanent, fault })?;
    }
    let (now, today) = (Instant::now(), core.clock.now());
    let (limit, ends_by_deadline) = limit_of(served, work.origin.deadline, today);
    let context = Context::new(
        Arc::clone(scribe),
        Arc::clone(&work.origin),
        Some(today.after(limit)),
        ear.token().clone(),
    );
    let first_child_run = work.envelope.parent.is_some() && work.log.generation == 0;
    let bounds = Bounds {
        claim_first: !(work.fresh || first_child_run && work.delivered == 1),
        client: core.bus.client_name(),
        ends_at: now + limit,
        ends_by_deadline,
        cancel: ear.token(),
        release: &core.release,
    };
    let output = attempt::run(served, &context, parts, bounds).await?;
    served
        .check_output(&output)
        .map_err(|fault| Stop::Failed { failure: Failure::Permanent, fault })?;
    parts::store_large(scribe, output).await
}

/// After which time the attempt is ended by force, and whether that is the task's deadline.
fn limit_of(served: &Served, deadline: Option<Timestamp>, now: Timestamp) -> (Duration, bool) {
    let by_timeout = served.terms.timeout;
    match deadline.map(|deadline| deadline.since(now)) {
        Some(by_deadline) if by_deadline < by_timeout => (by_deadline, true),
        Some(_) | None => (by_timeout, false),
    }
}

async fn reject(
    core: &Core,
    served: &Served,
    work: &Work,
    scribe: &Scribe,
    fault: Fault,
    hand: InHand,
) {
    tracing::info!(reason = %fault, "task rejected");
    served.metrics.tasks_rejected.inc();
    match scribe.append(Event::Rejected { fault }).await {
        Ok(()) => finish(core, work, scribe, Settle::Ack, hand).await,
        Err(stop) => unwritten(served, &stop, hand).await,
    }
}

/// The end of an attempt could not be written.
async fn unwritten(served: &Served, stop: &Stop, hand: InHand) {
    if *stop == Stop::Fenced {
        served.metrics.commits_fenced.inc();
        tracing::info!(reason = "another writer owns the log", "attempt given up");
        return hand.leave();
    }
    tracing::warn!(reason = ?stop, "end not written");
    hand.nak(REST).await;
}

/// Appends what the end of an attempt becomes, and what follows from it.
async fn conclude(
    core: &Core,
    served: &Served,
    work: &Work,
    scribe: &Scribe,
    outcome: Result<Vec<Part>, Stop>,
    hand: InHand,
) {
    let begun = scribe.has_begun().await;
    let at = Circumstance {
        policy: &served.terms.retry,
        failures: scribe.with_log(TaskLog::failures).await + u32::from(!begun),
        begun,
        delivered: work.delivered,
        now: core.clock.now(),
        chance: rand::random(),
    };
    let ending = engine::conclude(outcome, at);
    let Some(event) = ending.event else {
        return match ending.settle {
            Settle::Nak { after } => hand.nak(after).await,
            Settle::Ack | Settle::Leave => unwritten(served, &Stop::Fenced, hand).await,
        };
    };
    served.count(&event);
    let failed = if let (true, Event::Failed { failure, fault }) = (ending.letter, &event) {
        Some((*failure, fault.clone()))
    } else {
        None
    };
    let appended = if let Some((failure, fault)) = failed {
        let input = decode(&work.body).unwrap_or_else(|_| Message::from_user(Vec::new()));
        let appending = scribe.append_with_letter(event, |log| {
            let died_at = core.clock.now();
            DeadLetter::of(&work.envelope.task, log, failure, &fault, input, died_at)
        });
        Box::pin(appending).await
    } else {
        scribe.append(event).await
    };
    match appended {
        Ok(()) => finish(core, work, scribe, ending.settle, hand).await,
        Err(Stop::Failed { failure: Failure::Permanent, fault })
            if fault.code == code::TOO_LARGE =>
        {
            let event = Event::Failed { failure: FailureClass::Permanent, fault };
            match scribe.append(event).await {
                Ok(()) => finish(core, work, scribe, Settle::Ack, hand).await,
                Err(stop) => unwritten(served, &stop, hand).await,
            }
        }
        Err(stop) => unwritten(served, &stop, hand).await,
    }
}

/// Publishes the consequences of the entry just appended, answers, and settles the delivery.
async fn finish(core: &Core, work: &Work, scribe: &Scribe, settle: Settle, hand: InHand) {
    let follows = scribe
        .with_log(|log| {
            let origin = log.origin.as_ref();
            let answer = log.is_ended() && origin.is_some_and(|o| o.reply_to.is_some());
            let publish = !log.is_ended() || origin.is_some_and(|o| o.parent.is_some());
            (publish || answer).then(|| log.clone())
        })
        .await;
    if let Some(log) = follows {
        if let Err(stop) = Box::pin(core.carry_out(&work.envelope.task, &log)).await {
            tracing::warn!(reason = ?stop, "consequences not published yet");
            return hand.nak(REST).await;
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

/// A message in the run queue that names no task: nobody submitted it, so a letter is all that can be said.
async fn malformed(
    core: &Core,
    envelope: &Envelope,
    delivery: &Delivery,
    fault: Fault,
    hand: InHand,
) {
    tracing::warn!(reason = %fault, "malformed message in the run queue");
    let letter = DeadLetter {
        task: envelope.task.clone(),
        cause: Cause::Malformed,
        failure: FailureClass::Permanent,
        fault,
        origin: Box::new(envelope.origin(&delivery.payload)),
        input: Message::from_user(vec![Part::raw(delivery.payload.to_vec(), None)]),
        attempts: Vec::new(),
        died_at: core.clock.now(),
    };
    match core.store_letter(&letter, &format!("malformed-{}", delivery.position.sequence)).await {
        Ok(()) => hand.ack().await,
        Err(_) => hand.nak(REST).await,
    }
}
