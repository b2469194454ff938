//! Ends tasks that somebody wants to end and nobody runs.

use std::sync::Arc;
use std::time::Duration;

use protocol::cancel::{because, reason};
use protocol::consequence;
use protocol::header;
use protocol::id::{Owner, TaskId};
use protocol::log::TaskLog;
use runtime::bus::Delivery;

use super::care::{Care, REST, Settled};
use super::log::{Cancels, LogError};
use crate::engine::cancel::{self, Cancel};

/// How long the cancel of an unknown task is kept for a submission that may still come.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);
const UNBEGUN: &str = "canceled before it was begun";

impl Care {
    pub(super) async fn cancel(
        &self,
        owner: &Owner,
        task: &TaskId,
        delivery: &Delivery,
    ) -> Settled {
        self.metrics.coordinator.canceled.inc();
        let mut log = self.logs.read(owner, task).await?;
        let agents = self.agents.now().await;
        let force_after = |skill: &protocol::Skill| {
            let of_skill = agents.iter().filter(|agent| agent.skill == *skill);
            cancel::force_after(of_skill.map(|agent| agent.cancel_grace_ms))
        };
        let (asked_at, now) = (delivery.position.stored_at, self.logs.clock.now());
        match cancel::cancel(&log, asked_at, now, force_after) {
            Cancel::Done => {
                // Whoever canceled it may have died before it published what follows.
                let cancels = match delivery.position.delivered {
                    1 => Cancels::LeaveOut,
                    _ => Cancels::Publish,
                };
                self.logs.carry_out(owner, task, &log, cancels).await?;
                Ok(None)
            }
            Cancel::Later { wait } => Ok(Some(wait)),
            Cancel::End(event) => {
                let event = because(*event, reason(&delivery.payload).as_deref());
                self.logs.append(owner, task, Arc::make_mut(&mut log), event, None).await?;
                Ok(None)
            }
            Cancel::EndUnbegun => match delivery.headers.get(header::PARENT).map(TaskId::parse) {
                Some(Ok(parent)) => self.cancel_child(owner, task, &parent, delivery).await,
                Some(Err(_)) | None => self.cancel_submission(owner, task, delivery).await,
            },
        }
    }

    /// Ends a child that no log mentions: its parent's log says what it is. The message that stands for it may be in
    /// its queue or not; whoever gets it finds the end.
    async fn cancel_child(
        &self,
        owner: &Owner,
        task: &TaskId,
        parent: &TaskId,
        delivery: &Delivery,
    ) -> Settled {
        let above = self.logs.read(owner, parent).await?;
        let (Some(origin), Some(child)) = (&above.origin, cancel::child_of(&above, task)) else {
            return self.unknown(task, delivery);
        };
        let (subjects, at) = (self.bus().subjects(), delivery.position.stored_at);
        let origin = consequence::origin_of_child(subjects, origin, parent, child, at);
        let event = because(cancel::canceled(UNBEGUN), reason(&delivery.payload).as_deref());
        let mut log = TaskLog::default();
        self.logs.append(owner, task, &mut log, event, Some(Box::new(origin))).await?;
        Ok(None)
    }

    /// Ends a submission that no log mentions. One that is named by its sequence is taken out of the inbox, so
    /// that no worker begins it; one under a chosen id is claimed before it is run, and that claim will fail.
    async fn cancel_submission(
        &self,
        owner: &Owner,
        task: &TaskId,
        delivery: &Delivery,
    ) -> Settled {
        let inbox = &self.bus().names().inbox;
        let sequence = task
            .sequence()
            .or_else(|| delivery.headers.get(header::SOURCE).and_then(|text| text.parse().ok()));
        let stored = match sequence {
            None => None,
            Some(sequence) => self.bus().at_from_leader(inbox, sequence).await?,
        };
        let found = stored.as_ref().and_then(|message| self.client.envelope(message));
        let (Some(envelope), Some(message)) = (
            found.and_then(|found| found.under(task)).filter(|found| found.owner == *owner),
            stored,
        ) else {
            return self.unknown(task, delivery);
        };
        let origin = Box::new(envelope.origin(&message.payload));
        let mut log = TaskLog::default();
        let event = because(cancel::canceled(UNBEGUN), reason(&delivery.payload).as_deref());
        self.logs.append(owner, task, &mut log, event, Some(origin)).await?;
        if task.sequence().is_some() {
            self.bus().remove(inbox, envelope.source.sequence).await?;
        }
        Ok(None)
    }

    fn unknown(&self, task: &TaskId, delivery: &Delivery) -> Result<Option<Duration>, LogError> {
        let age = self.logs.clock.now().since(delivery.position.stored_at);
        if age < UNKNOWN_FOR {
            return Ok(Some(REST));
        }
        tracing::warn!(task_id = %task, reason = "no log and no submission", "cancel given up");
        Ok(None)
    }
}
