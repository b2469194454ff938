//! Takes wakes and cancels from their durable consumer, which all coordinators share.
//!
//! A delivery is settled once the log shows that nothing is left to do about it; until then it comes again, here
//! or at another coordinator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use futures_util::StreamExt as _;
use protocol::header;
use protocol::id::{Owner, TaskId};
use protocol::log::TaskLog;
use protocol::subject::Subject;
use protocol::topology::CARE_CONSUMER;
use runtime::bus::{Bus, Delivery, PullError, Pulled};
use runtime::metric::Metrics;
use tokio_util::sync::CancellationToken;

use super::log::{LogError, Logs};
use crate::engine::cancel::{self, Cancel};
use crate::engine::wake::{self, Wake};

/// Deliveries in hand at once.
const BATCH: usize = 256;
/// Tasks worked on at once.
const WORKERS: usize = 32;
/// Children looked at in one go while searching for a witness.
const LOOK_AHEAD: usize = 64;
/// How long a delivery rests when the bus or the log does not let us finish.
const REST: Duration = Duration::from_millis(500);
/// How long the cancel of an unknown task is kept for a submission that may still come.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

/// Cares for tasks until told to stop.
#[derive(Clone)]
pub(crate) struct Care {
    pub(crate) logs: Logs,
    pub(crate) client: Client,
    pub(crate) metrics: Metrics,
}

/// The bus is closed for good.
#[derive(Debug, thiserror::Error)]
#[error("the connection to the bus is closed")]
pub(crate) struct Closed;

impl Care {
    fn bus(&self) -> &Bus {
        &self.logs.bus
    }

    /// Pulls and works until `stop`.
    pub(crate) async fn serve(self, stop: CancellationToken) -> Result<(), CareError> {
        let mut puller = self.bus().puller(&self.bus().names().log, CARE_CONSUMER).await?;
        let care = Arc::new(self);
        while !stop.is_cancelled() {
            if puller.outstanding() < BATCH / 2 {
                puller.ask(BATCH - puller.outstanding()).await;
            }
            let first = tokio::select! {
                () = stop.cancelled() => break,
                pulled = puller.next() => pulled,
            };
            let mut batch = Vec::new();
            match first {
                Pulled::Closed => return Err(Closed.into()),
                Pulled::Fewer => continue,
                Pulled::Delivery(delivery) => batch.push(*delivery),
            }
            while batch.len() < BATCH {
                match futures_util::FutureExt::now_or_never(puller.next()) {
                    Some(Pulled::Delivery(delivery)) => batch.push(*delivery),
                    Some(Pulled::Fewer) => {}
                    Some(Pulled::Closed) | None => break,
                }
            }
            care.work_on(batch).await;
        }
        Ok(())
    }

    /// Works on a batch, the wakes of one task together.
    async fn work_on(&self, batch: Vec<Delivery>) {
        let mut wakes: BTreeMap<(Owner, TaskId), Vec<String>> = BTreeMap::new();
        let mut cancels = Vec::new();
        for delivery in batch {
            match self.bus().subjects().parse(&delivery.subject) {
                Some(Subject::Wake(owner, task)) => {
                    wakes.entry((owner, task)).or_default().push(delivery.ack_subject);
                }
                Some(Subject::Cancel(owner, task)) => cancels.push((owner, task, delivery)),
                Some(_) | None => self.bus().ack(&delivery.ack_subject).await,
            }
        }
        futures_util::stream::iter(wakes)
            .for_each_concurrent(WORKERS, |((owner, task), acks)| async move {
                let settled = self.wake(&owner, &task).await;
                self.settle(&task, settled, acks).await;
            })
            .await;
        futures_util::stream::iter(cancels)
            .for_each_concurrent(WORKERS, |(owner, task, delivery)| async move {
                let settled = self.cancel(&owner, &task, &delivery).await;
                self.settle(&task, settled, vec![delivery.ack_subject]).await;
            })
            .await;
    }

    async fn settle(
        &self,
        task: &TaskId,
        settled: Result<Option<Duration>, LogError>,
        acks: Vec<String>,
    ) {
        let wait = match settled {
            Ok(wait) => wait,
            Err(error) => {
                tracing::info!(task_id = %task, reason = %error, "looked at again later");
                Some(if matches!(error, LogError::Moved) { Duration::ZERO } else { REST })
            }
        };
        for ack in acks {
            match wait {
                None => self.bus().ack(&ack).await,
                Some(wait) => self.bus().nak(&ack, wait).await,
            }
        }
    }

    /// Looks at a waiting task; `Some` asks to look again after that time.
    ///
    /// A task that does not wait has its consequences published again, even on a wake's first delivery: whoever
    /// resumed it may have died before it published, on a wake that somebody else had settled meanwhile.
    async fn wake(&self, owner: &Owner, task: &TaskId) -> Result<Option<Duration>, LogError> {
        self.metrics.coordinator.wakes.inc();
        let mut log = self.logs.read(owner, task).await?;
        match wake::wake(&log) {
            Wake::Unknown => {
                tracing::warn!(task_id = %task, reason = "no log", "wake of an unknown task");
                Ok(None)
            }
            Wake::CarryOut => {
                self.logs.carry_out(task, &log).await?;
                Ok(None)
            }
            Wake::LookAtChildren { position } => {
                if self.witness(owner, &log, position).await?.is_none() {
                    let count = log.children_at(position).len();
                    let event = wake::children_ended(count);
                    self.logs.append(owner, task, &mut log, event, None).await?;
                    self.metrics.coordinator.resumed.inc();
                    tracing::info!(task_id = %task, children = count, reason = "all children ended", "resumed");
                }
                Ok(None)
            }
        }
    }

    /// A child that has not ended. Its own wake comes when it does.
    async fn witness(
        &self,
        owner: &Owner,
        log: &TaskLog,
        position: u32,
    ) -> Result<Option<TaskId>, LogError> {
        // The last child usually ends late, so it is the first to ask.
        let children: Vec<_> = log.children_at(position).iter().rev().collect();
        for some in children.chunks(LOOK_AHEAD) {
            let looks = some.iter().map(|child| async move {
                self.logs.has_ended(owner, &child.task).await.map(|ended| (*child, ended))
            });
            for look in futures_util::future::join_all(looks).await {
                let (child, ended) = look?;
                if !ended {
                    return Ok(Some(child.task.clone()));
                }
            }
        }
        Ok(None)
    }

    async fn cancel(
        &self,
        owner: &Owner,
        task: &TaskId,
        delivery: &Delivery,
    ) -> Result<Option<Duration>, LogError> {
        self.metrics.coordinator.canceled.inc();
        let mut log = self.logs.read(owner, task).await?;
        let (asked_at, now) = (delivery.position.stored_at, self.logs.clock.now());
        match cancel::cancel(&log, asked_at, now) {
            Cancel::Done => {
                // Whoever canceled it may have died before it published what follows.
                self.logs.carry_out(task, &log).await?;
                Ok(None)
            }
            Cancel::Later { wait } => Ok(Some(wait)),
            Cancel::End(event) => {
                self.logs.append(owner, task, &mut log, event, None).await?;
                self.logs.answer(task, &log).await;
                Ok(None)
            }
            Cancel::EndSubmission => self.cancel_submission(owner, task, delivery).await,
        }
    }

    /// Ends a task that no log mentions. A submission that is named by its sequence is taken out of the inbox, so
    /// that no worker begins it; one under a chosen id is claimed before it is run, and that claim will fail.
    async fn cancel_submission(
        &self,
        owner: &Owner,
        task: &TaskId,
        delivery: &Delivery,
    ) -> Result<Option<Duration>, LogError> {
        let inbox = &self.bus().names().inbox;
        let sequence = task
            .sequence()
            .or_else(|| delivery.headers.get(header::SOURCE).and_then(|text| text.parse().ok()));
        let stored = match sequence {
            None => None,
            Some(sequence) => self.bus().at_from_leader(inbox, sequence).await?,
        };
        let found = stored.as_ref().and_then(|message| self.client.envelope(message));
        let (Some(envelope), Some(message)) =
            (found.filter(|envelope| envelope.task == *task && envelope.owner == *owner), stored)
        else {
            let age = self.logs.clock.now().since(delivery.position.stored_at);
            if age < UNKNOWN_FOR {
                return Ok(Some(REST));
            }
            tracing::warn!(task_id = %task, reason = "no log and no submission", "cancel given up");
            return Ok(None);
        };
        let origin = Box::new(envelope.origin(&message.payload));
        let mut log = TaskLog::default();
        let event = cancel::canceled("canceled before it was begun");
        self.logs.append(owner, task, &mut log, event, Some(origin)).await?;
        self.logs.answer(task, &log).await;
        if task.sequence().is_some() {
            self.bus().remove(inbox, envelope.source.sequence).await?;
        }
        Ok(None)
    }
}

/// Why a coordinator cannot care any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CareError {
    /// The consumer cannot be pulled from.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// The bus is closed for good.
    #[error(transparent)]
    Closed(#[from] Closed),
}
