//! What all attempts of a node share, and what they do with it: read logs, publish consequences, answer.

use std::sync::Arc;

use protocol::card::OnMessage;
use protocol::consequence;
use protocol::dead::{Cause, DeadLetter};
use protocol::entry::Origin;
use protocol::fault::{Failure, FailureClass, Fault, code};
use protocol::header::{self, Headers};
use protocol::log::TaskLog;
use protocol::message::Message;
use protocol::submission::Envelope;
use protocol::{NodeName, Owner, TaskId, view};
use runtime::bus::{Bus, Outgoing, StoredMessage};
use runtime::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::agent::Stop;
use crate::bytes::ByteBudget;
use crate::cancel::Cancels;
use crate::context::{Around, bus_stop};
use crate::hand::Hand;
use crate::inputs::Inputs;
use crate::lane;
use crate::ledger::{AppendError, Ledger};
use crate::looks::Looks;
use crate::mesh::Mesh;
use crate::scribe::{Scribe, Start};
use crate::served::Terms;
use crate::wakes::Wakes;

/// What all attempts of a node share.
pub(crate) struct Core {
    pub(crate) bus: Bus,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) clock: Clock,
    pub(crate) node: NodeName,
    pub(crate) cancels: Cancels,
    pub(crate) inputs: Inputs,
    pub(crate) mesh: Arc<dyn Mesh>,
    pub(crate) hand: Hand,
    /// The wakes of parents whose children end here.
    pub(crate) wakes: Wakes,
    /// The questions for logs of new children.
    pub(crate) looks: Looks,
    /// The bytes that may be in flight.
    pub(crate) budget: ByteBudget,
    /// Cancelled once the node gives its tasks back.
    pub(crate) release: CancellationToken,
}

impl Core {
    /// What is around an attempt at a task.
    pub(crate) fn around(&self, terms: &Terms, owner: &Owner, task: &TaskId) -> Around {
        let interrupts = terms.on_message == OnMessage::Interrupt;
        Around {
            mesh: Arc::clone(&self.mesh),
            guard: Arc::clone(&terms.guard),
            on_message: terms.on_message,
            ear: interrupts.then(|| self.inputs.listen(owner, task)),
        }
    }

    pub(crate) async fn read_log(&self, owner: &Owner, task: &TaskId) -> Result<TaskLog, Stop> {
        fold(self.ledger.read(&self.bus.subjects().log(owner, task)).await)
    }

    /// The log of a delivered task; that of a child which is handed out for the first time is expected to be empty.
    pub(crate) async fn log_of(
        &self,
        envelope: &Envelope,
        delivered: u64,
    ) -> Result<TaskLog, Stop> {
        if envelope.parent.is_none() || delivered > 1 {
            return self.read_log(&envelope.owner, &envelope.task).await;
        }
        let subject = self.bus.subjects().log(&envelope.owner, &envelope.task);
        fold(self.looks.read(&*self.ledger, &subject).await)
    }

    pub(crate) fn scribe(&self, task: &TaskId, origin: &Arc<Origin>, log: TaskLog) -> Scribe {
        let start = Start {
            task: task.clone(),
            origin: Box::new((**origin).clone()),
            log,
            node: self.node.clone(),
        };
        Scribe::new(
            Arc::clone(&self.ledger),
            Arc::clone(self.bus.subjects()),
            self.clock.clone(),
            start,
        )
        .with_budget(self.budget.clone())
    }

    pub(crate) async fn carry_out(&self, task: &TaskId, log: &TaskLog) -> Result<(), Stop> {
        let subjects = self.bus.subjects();
        for publication in consequence::of(subjects, task, log) {
            let stored = self.wakes.store(&*self.ledger, subjects, log, publication);
            stored.await.map_err(bus_stop)?;
        }
        if log.is_ended() {
            lane::pass_on(self, task, log).await?;
        }
        Ok(())
    }

    pub(crate) async fn answer(&self, task: &TaskId, log: &TaskLog, origin: Option<&Origin>) {
        let Some(reply_to) = origin.and_then(|origin| origin.reply_to.clone()) else { return };
        match serde_json::to_vec(&view::task(task, log, None)) {
            Ok(body) => self.bus.answer(reply_to, task, body.into()).await,
            Err(error) => tracing::warn!(reason = %error, "answer not written"),
        }
    }

    pub(crate) async fn conflict_letter(
        &self,
        envelope: &Envelope,
        hash: &str,
        log: &TaskLog,
        input: Result<Message, Fault>,
    ) -> Result<(), Stop> {
        let Some(winner) = &log.origin else { return Ok(()) };
        let mut origin = (**winner).clone();
        hash.clone_into(&mut origin.input_hash);
        origin.skill = envelope.skill.clone();
        origin.source = envelope.source;
        origin.submitted_at = envelope.stored_at;
        let letter = DeadLetter {
            task: envelope.task.clone(),
            cause: Cause::Conflict,
            failure: FailureClass::Permanent,
            fault: Fault::new(
                code::DEDUP_CONFLICT,
                format!(
                    "task {} was submitted before with another input or to another skill",
                    envelope.task
                ),
            )
            .hint("use another dedup key or task id for another piece of work"),
            origin: Box::new(origin),
            input: input.unwrap_or_else(|_| Message::from_user(Vec::new())),
            attempts: Vec::new(),
            died_at: self.clock.now(),
        };
        self.store_letter(&letter, &format!("conflict-{}", envelope.source.sequence)).await
    }

    pub(crate) async fn store_letter(&self, letter: &DeadLetter, id: &str) -> Result<(), Stop> {
        let body = serde_json::to_vec(letter).map_err(unreadable)?;
        let headers =
            Headers::new().with(header::MSG_ID, id).with(header::TASK_ID, letter.task.as_str());
        let subject = self.bus.subjects().dead(&letter.origin.skill);
        let message = Outgoing::new(subject, headers, body.into());
        self.ledger.append(vec![message]).await.map(drop).map_err(bus_stop)
    }
}

fn fold(stored: Result<Vec<StoredMessage>, AppendError>) -> Result<TaskLog, Stop> {
    let stored = stored.map_err(bus_stop)?.into_iter();
    TaskLog::read(stored.map(|message| (message.sequence, message.payload))).map_err(unreadable)
}

fn unreadable(error: impl std::fmt::Display) -> Stop {
    Stop::Failed {
        failure: Failure::Permanent,
        fault: Fault::new(code::MALFORMED_BODY, format!("the task's log is unreadable: {error}")),
    }
}
