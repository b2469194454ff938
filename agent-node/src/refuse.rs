//! What becomes of a message that stands for no task: a dead letter says so, since there is no log to say it in.
//!
//! Such a message is a stranger's publish under a subject that is none, a message in the run queue that names no task,
//! or one whose task has a log that nobody can read.

use protocol::dead::{Cause, DeadLetter};
use protocol::entry::{Event, Origin};
use protocol::fault::{Failure, FailureClass, Fault, code};
use protocol::id::TaskId;
use protocol::limits::DELIVERIES_MAX;
use protocol::message::{Message, Part};
use protocol::submission::{Envelope, Queue, Source, input_hash};
use protocol::{Skill, header};
use runtime::bus::Delivery;

use crate::agent::Stop;
use crate::core::Core;
use crate::engine::{self, Settle};
use crate::execute::{self, Work};
use crate::hand::InHand;
use crate::scribe::Scribe;
use crate::served::Served;

/// A delivery whose task cannot be told, and why.
pub(crate) struct Unready {
    pub(crate) envelope: Envelope,
    pub(crate) payload: bytes::Bytes,
    pub(crate) stop: Stop,
}

/// Gives a delivery back that nothing can be done with now.
pub(crate) async fn nak(hand: InHand) {
    let wait = engine::rest(hand.delivered());
    hand.nak(wait).await;
}

/// A submission whose subject holds tokens that are no names: it has no owner, so no log can be its own.
pub(crate) async fn nameless(core: &Core, skill: &Skill, delivery: &Delivery, hand: InHand) {
    let source = Source { queue: Queue::Inbox, sequence: delivery.position.sequence };
    let content_type = delivery.headers.get(header::CONTENT_TYPE);
    let origin = Origin {
        input_hash: input_hash(content_type, &delivery.payload),
        ..Origin::bare(skill.clone(), source, delivery.position.stored_at)
    };
    let fault =
        Fault::new(code::BAD_SUBJECT, format!("{:?} is no skill's queue", delivery.subject))
            .at("subject")
            .hint(
                "publish to weft.task.<skill>[.<owner>[.<lane>]] with letters, digits, '-' and '_'",
            );
    let task = TaskId::from_sequence(source.sequence);
    malformed(core, task, origin, &delivery.payload, fault, hand).await;
}

/// Writes the letter and settles the message.
pub(crate) async fn malformed(
    core: &Core,
    task: TaskId,
    origin: Origin,
    payload: &[u8],
    fault: Fault,
    hand: InHand,
) {
    tracing::warn!(task_id = %task, reason = %fault, "message refused");
    let queue = match origin.source.queue {
        Queue::Inbox => "inbox",
        Queue::Run => "run",
    };
    let id = format!("malformed-{queue}-{}", origin.source.sequence);
    let letter = DeadLetter {
        task,
        cause: Cause::Malformed,
        failure: FailureClass::Permanent,
        fault,
        origin: Box::new(origin),
        input: Message::from_user(vec![Part::raw(payload.to_vec(), None)]),
        attempts: Vec::new(),
        died_at: core.clock.now(),
    };
    match core.store_letter(&letter, &id).await {
        Ok(()) => hand.ack().await,
        Err(_) => nak(hand).await,
    }
}

/// What cannot be worked on now comes again; what never can be, or has come so often that the server is about to
/// drop it without a word, gets a letter.
pub(crate) async fn later(core: &Core, unready: Unready, hand: InHand) {
    let Unready { envelope, payload, stop } = unready;
    let delivered = hand.delivered();
    let last = i64::try_from(delivered).unwrap_or(i64::MAX) >= DELIVERIES_MAX;
    match stop {
        Stop::Failed { failure, fault } if last || failure == Failure::Permanent => {
            let origin = envelope.origin(&payload);
            malformed(core, envelope.task, origin, &payload, fault, hand).await;
        }
        stop @ (Stop::Failed { .. }
        | Stop::Suspended { .. }
        | Stop::Canceled
        | Stop::Released
        | Stop::Fenced) => {
            tracing::warn!(reason = ?stop, "task cannot be worked on now");
            hand.nak(engine::rest(delivered)).await;
        }
    }
}

/// Gives up a task, or its last attempt, without running it.
pub(crate) async fn give_up(
    core: &Core,
    served: &Served,
    work: &Work,
    failure: Failure,
    fault: Fault,
    hand: InHand,
) {
    let scribe = core.scribe(&work.envelope.task, &work.origin, work.log.clone()).without_attempt();
    execute::conclude(core, served, work, &scribe, Err(Stop::Failed { failure, fault }), hand)
        .await;
}

/// The fault of a task whose input is gone.
pub(crate) fn no_input() -> Fault {
    Fault::new(code::OBJECT_MISSING, "the task's input is not in its stream any more")
}

/// The fault of a message that names a generation which its task has not reached.
pub(crate) fn asked_by_nobody() -> Fault {
    Fault::new(code::BAD_HEADER, "the task's log has no entry that asked for this message")
        .at(format!("header {}", header::GENERATION))
}

/// Writes that a task is not taken on.
pub(crate) async fn reject(
    core: &Core,
    served: &Served,
    work: &Work,
    scribe: &Scribe,
    fault: Fault,
    hand: InHand,
) {
    tracing::info!(reason = %fault, "task rejected");
    match scribe.append(Event::Rejected { fault }).await {
        Ok(()) => {
            served.metrics.tasks_rejected.inc();
            execute::finish(core, work, scribe, Settle::Ack, hand).await;
        }
        Err(stop) => execute::unwritten(core, served, work, &stop, hand).await,
    }
}
