//! Holds the jobs of telling webhooks, which all gateways share over one durable consumer.
//!
//! A job stays in hand for as long as its task lives. Nothing is asked for it meanwhile: it hears of its task over the
//! hub and of its webhook over the bucket, and one loop renews the leases of all jobs. When a gateway dies, its leases
//! run out and the others go on behind what is written in each webhook's value.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use protocol::subject::Subject;
use protocol::topology::PUSH_CONSUMER;
use runtime::bus::{Bus, Delivery, PullError, Pulled, Puller, SubscribeError};
use runtime::supervisor::{Backoff, Kind, Many};
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::record::Progress;
use super::tell::{Job, Tell, Told};
use crate::core::Core;
use crate::limits::{PUSH_HELD_MAX, PUSH_PULL, PUSH_REST};

/// Tells webhooks until the process shuts down.
pub fn serve(core: &Arc<Core>) {
    let tell = match Tell::new(core) {
        Ok(tell) => Arc::new(tell),
        Err(error) => {
            tracing::error!(reason = %error, "webhooks are not told: TLS cannot be set up");
            return;
        }
    };
    let worker = Arc::new(Worker {
        bus: core.client.bus().clone(),
        tell,
        held: DashMap::new(),
        looks: DashMap::new(),
        not_here: Mutex::default(),
        step_back: Notify::new(),
        many: core.jobs.many("push job"),
        stop: core.jobs.shutdown_token(),
    });
    let make = {
        let worker = Arc::clone(&worker);
        move || pull(Arc::clone(&worker))
    };
    core.jobs.spawn_restarting("push", Backoff::default(), make);
    let make = {
        let worker = Arc::clone(&worker);
        move || hear(Arc::clone(&worker))
    };
    core.jobs.spawn_restarting("push changes", Backoff::default(), make);
    core.jobs.spawn("push leases", Kind::Work, async move { renew(&worker).await });
}

/// Why jobs are not taken at the moment.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    #[error("the connection to the bus is closed")]
    Closed,
}

struct Worker {
    bus: Bus,
    tell: Arc<Tell>,
    /// The jobs in hand, by the sequence of their message: where to renew and settle each.
    held: DashMap<u64, String>,
    /// Makes the jobs of a webhook look at it again, by its key. There are several when it was made anew.
    looks: DashMap<String, Vec<Arc<Notify>>>,
    /// Where to give back the jobs that another gateway may be able to do.
    not_here: Mutex<Vec<String>>,
    /// There are such jobs. Said once a round, since many of them cost no more than one.
    step_back: Notify,
    many: Many,
    stop: CancellationToken,
}

async fn pull(worker: Arc<Worker>) -> Result<(), WorkerError> {
    let mut puller = worker.bus.puller(&worker.bus.names().log, PUSH_CONSUMER).await?;
    while !worker.stop.is_cancelled() {
        let taken = worker.held.len() + puller.outstanding();
        if puller.outstanding() < PUSH_PULL / 2 {
            let free = PUSH_HELD_MAX.saturating_sub(taken);
            puller.ask(free.min(PUSH_PULL - puller.outstanding())).await;
        }
        let pulled = tokio::select! {
            () = worker.stop.cancelled() => break,
            // With all places taken nothing is outstanding, and nothing comes that would wake this loop.
            () = sleep(PUSH_REST), if puller.outstanding() == 0 => continue,
            () = worker.step_back.notified() => {
                // A server hands out a job to whoever has asked first: as long as this gateway asks, it may well be that.
                worker.give_back(puller).await;
                puller = worker.bus.puller(&worker.bus.names().log, PUSH_CONSUMER).await?;
                continue;
            }
            pulled = puller.next() => pulled,
        };
        match pulled {
            Pulled::Closed => return Err(WorkerError::Closed),
            Pulled::Fewer => {}
            Pulled::Delivery(delivery) => worker.take(*delivery).await,
        }
    }
    worker.give_back(puller).await;
    Ok(())
}

impl Worker {
    async fn take(self: &Arc<Self>, delivery: Delivery) {
        let Some(Subject::Push(owner, task, token)) = self.bus.subjects().parse(&delivery.subject)
        else {
            self.bus.ack(delivery.ack_subject).await;
            return;
        };
        let sequence = delivery.position.sequence;
        let again = self.held.insert(sequence, delivery.ack_subject).is_some();
        self.count();
        if again {
            // A lease that ran out here came back here; the job goes on under the new one.
            return;
        }
        let key = format!("{owner}.{task}.{token}");
        let look = Arc::new(Notify::new());
        self.looks.entry(key.clone()).or_default().push(Arc::clone(&look));
        let name = String::from_utf8_lossy(&delivery.payload).into_owned();
        let job = Job { owner, task, key, name, look };
        let worker = Arc::clone(self);
        self.many.spawn(async move { worker.run(sequence, job).await });
    }

    async fn run(&self, sequence: u64, job: Job) {
        let told = tokio::select! {
            told = self.tell.run(&job) => told,
            () = self.stop.cancelled() => Told::Later(Duration::ZERO),
        };
        self.looks.remove_if_mut(&job.key, |_, looks| {
            looks.retain(|look| !Arc::ptr_eq(look, &job.look));
            looks.is_empty()
        });
        let Some((_, ack_subject)) = self.held.remove(&sequence) else { return };
        self.count();
        match told {
            Told::All => self.bus.ack(ack_subject).await,
            Told::Later(wait) => self.bus.nak(ack_subject, wait).await,
            // Somebody else holds it, and settles it.
            Told::Elsewhere => {}
            Told::NotHere => {
                self.not_here.lock().unwrap_or_else(PoisonError::into_inner).push(ack_subject);
            }
        }
    }

    fn count(&self) {
        self.tell.show_held(self.held.len());
    }

    /// Stops pulling, and gives back what came behind that and what others may be able to do. Jobs in hand stay.
    async fn give_back(&self, puller: Puller) {
        let late = puller.close().await.into_iter().map(|delivery| delivery.ack_subject);
        let not_here =
            std::mem::take(&mut *self.not_here.lock().unwrap_or_else(PoisonError::into_inner));
        for ack_subject in late.chain(not_here) {
            self.bus.nak(ack_subject, Duration::ZERO).await;
        }
    }
}

/// Renews all leases until the process shuts down, and has jobs given back before theirs end.
async fn renew(worker: &Worker) {
    let lease = loop {
        match worker.bus.consumer(&worker.bus.names().log, PUSH_CONSUMER).await {
            Ok(facts) => break facts.ack_wait,
            // Whoever provisions the mesh may still be on its way.
            Err(error) => tracing::debug!(reason = %error, "push consumer not known yet"),
        }
        tokio::select! {
            () = worker.stop.cancelled() => return,
            () = sleep(PUSH_REST) => {}
        }
    };
    let mut ticks = interval(lease / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = worker.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if !worker.not_here.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            worker.step_back.notify_one();
        }
        let held: Vec<String> = worker.held.iter().map(|held| held.value().clone()).collect();
        for ack_subject in held {
            worker.bus.in_progress(ack_subject).await;
        }
    }
}

/// Hears what happens to webhooks, above all that they are deleted.
async fn hear(worker: Arc<Worker>) -> Result<(), WorkerError> {
    let bucket = worker.bus.names().push.clone();
    let mut changes = worker.bus.key_changes(&bucket, "*.*.*").await?;
    let prefix = format!("$KV.{bucket}.");
    loop {
        let change = tokio::select! {
            () = worker.stop.cancelled() => return Ok(()),
            change = changes.glimpse() => change.ok_or(WorkerError::Closed)?,
        };
        // What gateways write of their own calls is known to them.
        if change.header("KV-Operation").is_none() && !is_new(&change.payload()) {
            continue;
        }
        let key = change.subject().strip_prefix(&prefix);
        if let Some(looks) = key.and_then(|key| worker.looks.get(key)) {
            looks.iter().for_each(|look| look.notify_one());
        }
    }
}

/// Whether a webhook was not called yet: what was written is the client's and not a gateway's.
fn is_new(value: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Written {
        progress: Progress,
    }
    let written = serde_json::from_slice::<Written>(value);
    written.map_or(true, |written| written.progress.called_at.is_none())
}
