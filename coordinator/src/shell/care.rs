//! Takes wakes, cancels and inputs from their durable consumer, which all coordinators share.
//!
//! A delivery is settled once the log shows that nothing is left to do about it; until then it comes again, here
//! or at another coordinator. What came for one task is worked on together.

use std::collections::BTreeMap;
use std::time::Duration;

use client::Client;
use futures_util::StreamExt as _;
use protocol::header;
use protocol::id::{Owner, TaskId};
use protocol::log::TaskLog;
use protocol::subject::Subject;
use protocol::topology::CARE_CONSUMER;
use runtime::bus::{Bus, Delivery, PullError, Pulled, Puller};
use runtime::metric::Metrics;
use tokio_util::sync::CancellationToken;

use super::agents::Agents;
use super::log::{Cancels, LogError, Logs};

/// Deliveries in hand at once.
const BATCH: usize = 256;
/// Tasks worked on at once.
const WORKERS: usize = 32;
/// How long a delivery rests when the bus or the log does not let us finish.
pub(super) const REST: Duration = Duration::from_millis(500);

/// Cares for tasks until told to stop.
#[derive(Clone)]
pub(crate) struct Care {
    pub(crate) logs: Logs,
    pub(crate) client: Client,
    pub(crate) agents: Agents,
    pub(crate) metrics: Metrics,
}

/// The bus is closed for good.
#[derive(Debug, thiserror::Error)]
#[error("the connection to the bus is closed")]
pub(crate) struct Closed;

/// What has come for one task.
#[derive(Default)]
struct Pile {
    wakes: Vec<Delivery>,
    inputs: Vec<Delivery>,
    cancels: Vec<Delivery>,
}

/// What becomes of a delivery: nothing more, or again after a time.
pub(super) type Settled = Result<Option<Duration>, LogError>;

impl Care {
    pub(super) fn bus(&self) -> &Bus {
        &self.logs.bus
    }

    /// Pulls and works until `stop`.
    pub(crate) async fn serve(self, stop: CancellationToken) -> Result<(), CareError> {
        let mut puller = self.bus().puller(&self.bus().names().log, CARE_CONSUMER).await?;
        while !stop.is_cancelled() {
            if puller.outstanding() < BATCH / 2 {
                puller.ask(BATCH - puller.outstanding()).await;
            }
            let first = tokio::select! {
                () = stop.cancelled() => break,
                pulled = puller.next() => pulled,
            };
            match first {
                Pulled::Closed => return Err(Closed.into()),
                Pulled::Fewer => {}
                Pulled::Delivery(delivery) => {
                    let batch = gather(&mut puller, *delivery);
                    self.work_on(batch).await;
                }
            }
        }
        Ok(())
    }

    async fn work_on(&self, batch: Vec<Delivery>) {
        let mut piles: BTreeMap<(Owner, TaskId), Pile> = BTreeMap::new();
        for delivery in batch {
            match self.bus().subjects().parse(&delivery.subject) {
                Some(Subject::Wake(owner, task)) => {
                    piles.entry((owner, task)).or_default().wakes.push(delivery);
                }
                Some(Subject::Input(owner, task)) => {
                    piles.entry((owner, task)).or_default().inputs.push(delivery);
                }
                Some(Subject::Cancel(owner, task)) => {
                    piles.entry((owner, task)).or_default().cancels.push(delivery);
                }
                Some(_) | None => self.bus().ack(&delivery.ack_subject).await,
            }
        }
        futures_util::stream::iter(piles)
            .for_each_concurrent(WORKERS, |((owner, task), pile)| async move {
                self.care_for(&owner, &task, pile).await;
            })
            .await;
    }

    async fn care_for(&self, owner: &Owner, task: &TaskId, pile: Pile) {
        let Pile { wakes, inputs, cancels } = pile;
        for cancel in cancels {
            let settled = self.cancel(owner, task, &cancel).await;
            self.settle(task, settled, &cancel).await;
        }
        let stored = wakes.iter().chain(&inputs).map(|one| one.position.stored_at).max();
        let Some(stored) = stored else { return };
        // The time has come when the server says so, however late the clock here is.
        let now = self.logs.clock.now().max(stored);
        match self.look(owner, task, &wakes, now).await {
            Ok((log, wait)) => {
                for wake in wakes {
                    self.give(&wake, wait).await;
                }
                self.judge_all(owner, task, &log, inputs).await;
            }
            Err(error) => {
                let wait = again(task, &error);
                for delivery in wakes.into_iter().chain(inputs) {
                    self.give(&delivery, Some(wait)).await;
                }
            }
        }
    }

    /// Settles what was said to a task. What is kept is found out once for all of it: a flood comes in large piles.
    async fn judge_all(&self, owner: &Owner, task: &TaskId, log: &TaskLog, inputs: Vec<Delivery>) {
        if inputs.is_empty() {
            return;
        }
        let kept = match self.kept(owner, task).await {
            Ok(kept) => kept,
            Err(error) => {
                let wait = again(task, &error);
                for input in inputs {
                    self.give(&input, Some(wait)).await;
                }
                return;
            }
        };
        for input in inputs {
            let settled = self.judge(owner, task, log, &input, &kept).await;
            self.settle(task, settled, &input).await;
        }
    }

    async fn settle(&self, task: &TaskId, settled: Settled, delivery: &Delivery) {
        let wait = settled.unwrap_or_else(|error| Some(again(task, &error)));
        self.give(delivery, wait).await;
    }

    async fn give(&self, delivery: &Delivery, wait: Option<Duration>) {
        match wait {
            None => self.bus().ack(&delivery.ack_subject).await,
            Some(wait) => self.bus().nak(&delivery.ack_subject, wait).await,
        }
    }
}

/// How long a delivery rests that could not be worked on.
fn again(task: &TaskId, error: &LogError) -> Duration {
    tracing::info!(task_id = %task, reason = %error, "looked at again later");
    if matches!(error, LogError::Moved) { Duration::ZERO } else { REST }
}

/// What has arrived already, up to a batch.
fn gather(puller: &mut Puller, first: Delivery) -> Vec<Delivery> {
    let mut batch = vec![first];
    while batch.len() < BATCH {
        match puller.next_ready() {
            Some(Pulled::Delivery(delivery)) => batch.push(*delivery),
            Some(Pulled::Fewer) => {}
            Some(Pulled::Closed) | None => break,
        }
    }
    batch
}

/// What is published again for these wakes; for what was only said, nothing. Nobody repeats cancels for the ends of children that come for the first time: see `wake::is_cancel`.
pub(super) fn repeated(wakes: &[Delivery]) -> Option<Cancels> {
    if wakes.is_empty() {
        return None;
    }
    let first_end = |wake: &Delivery| {
        let id = wake.headers.get(header::MSG_ID);
        wake.position.delivered == 1 && id.is_some_and(|id| id.starts_with("end-"))
    };
    Some(if wakes.iter().all(first_end) { Cancels::LeaveOut } else { Cancels::Publish })
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
