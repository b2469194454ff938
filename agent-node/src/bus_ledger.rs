//! The ledger on the bus.
//!
//! An append is sent until the stream says yes or no. After a lost acknowledgement the repetition meets its own
//! fence; the entry found there is then compared with the one sent, its writer's number included: two attempts in
//! one millisecond may write the same entry. Where the server syncs every write, single appends that are ready at
//! the same moment share one atomic batch.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use protocol::fault::{Fault, code};
use protocol::header;
use protocol::submission::{Queue, Source};
use runtime::bus::{Bus, ObjectError, Outgoing, ReadError, StoreError, StoredMessage};
use runtime::metric::Metrics;
use runtime::supervisor::{Kind, Supervisor};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::group::Group;
use crate::ledger::{AppendError, Ledger};

const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How long the object store may be without an answer before the attempt fails.
const OBJECT_PATIENCE: Duration = Duration::from_secs(60);

/// Appends and reads over a connection.
#[derive(Clone)]
pub struct BusLedger {
    direct: Direct,
    group: Option<Group>,
}

/// Appends that go out one by one.
#[derive(Clone)]
pub(crate) struct Direct {
    bus: Bus,
    metrics: Metrics,
    gone: CancellationToken,
}

impl BusLedger {
    /// A ledger; with `group_commit`, single appends share batches. `gone` ends the patience with a dead bus.
    #[must_use]
    pub fn new(
        bus: Bus,
        metrics: Metrics,
        supervisor: &Supervisor,
        gone: CancellationToken,
        group_commit: bool,
    ) -> Self {
        let direct = Direct { bus, metrics, gone };
        let group = group_commit.then(|| {
            let (group, worker) = Group::new(direct.clone());
            supervisor.spawn("group commit", Kind::Critical, worker);
            group
        });
        Self { direct, group }
    }
}

impl Direct {
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Stores messages, all or none; patient with what may pass.
    pub(crate) async fn append(&self, messages: Vec<Outgoing>) -> Result<u64, AppendError> {
        let started = Instant::now();
        let result = tokio::select! {
            biased;
            result = self.append_patiently(messages) => result,
            () = self.gone.cancelled() => Err(AppendError::Gone),
        };
        self.metrics.node.commit_duration.observe(started.elapsed().as_secs_f64());
        result
    }

    async fn append_patiently(&self, messages: Vec<Outgoing>) -> Result<u64, AppendError> {
        let mut wait = RETRY_FIRST;
        loop {
            let sent = match messages.as_slice() {
                [one] => self.bus.store_ref(one).await,
                many => self.bus.store_batch(many.to_vec()).await,
            };
            match sent {
                Ok(stored) => return Ok(stored.sequence),
                Err(StoreError::Fenced) => return self.recognise(&messages).await,
                Err(error) if error.may_pass() => {
                    tracing::warn!(reason = %error, wait_ms = wait.as_millis(), "append not stored yet");
                    self.pause(wait).await?;
                    wait = (wait * 2).min(RETRY_MAX);
                }
                Err(error) => return Err(AppendError::Refused(refusal(&error))),
            }
        }
    }

    async fn pause(&self, wait: Duration) -> Result<(), AppendError> {
        tokio::select! {
            () = self.gone.cancelled() => Err(AppendError::Gone),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// Whether the entry behind the fence is the one that was sent: then its acknowledgement was lost.
    async fn recognise(&self, messages: &[Outgoing]) -> Result<u64, AppendError> {
        let Some((first, expected)) =
            messages.first().and_then(|first| Some((first, first.expected_last?)))
        else {
            return Err(AppendError::Fenced);
        };
        let found = self
            .read_patiently(|| {
                self.bus.next_from_leader(&self.bus.names().log, &first.subject, expected + 1)
            })
            .await?;
        match found {
            Some(stored)
                if stored.payload == first.payload
                    && stored.headers.get(header::WRITER) == first.headers.get(header::WRITER) =>
            {
                Ok(stored.sequence)
            }
            Some(_) | None => Err(AppendError::Fenced),
        }
    }

    async fn read_patiently<T, F>(&self, read: impl Fn() -> F) -> Result<T, AppendError>
    where
        F: Future<Output = Result<T, ReadError>>,
    {
        let mut wait = RETRY_FIRST;
        loop {
            match read().await {
                Ok(found) => return Ok(found),
                Err(ReadError::Denied { reason }) => {
                    return Err(AppendError::Refused(Fault::new(code::BUS_UNAVAILABLE, reason)));
                }
                Err(error @ ReadError::NoAnswer { .. }) => {
                    tracing::warn!(reason = %error, wait_ms = wait.as_millis(), "read not answered yet");
                    self.pause(wait).await?;
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
    }
}

impl Direct {
    /// Uses the object store, for a minute at most while it does not answer: a bucket's leader may be moving.
    async fn with_objects_patiently<T, F>(&self, act: impl Fn() -> F) -> Result<T, AppendError>
    where
        F: Future<Output = Result<T, ObjectError>>,
    {
        let (until, mut wait) = (Instant::now() + OBJECT_PATIENCE, RETRY_FIRST);
        loop {
            match act().await {
                Ok(found) => return Ok(found),
                Err(error) if error.may_pass() && Instant::now() + wait < until => {
                    tracing::warn!(reason = %error, wait_ms = wait.as_millis(), "object store does not answer yet");
                    self.pause(wait).await?;
                    wait = (wait * 2).min(RETRY_MAX);
                }
                Err(error) => {
                    let code = match error {
                        ObjectError::TooLarge { .. } => code::TOO_LARGE,
                        ObjectError::Write { .. } | ObjectError::Read { .. } => {
                            code::BUS_UNAVAILABLE
                        }
                    };
                    return Err(AppendError::Refused(Fault::new(code, error.to_string())));
                }
            }
        }
    }
}

fn refusal(error: &StoreError) -> Fault {
    let code = match error {
        StoreError::TooLarge { .. } => code::TOO_LARGE,
        StoreError::Fenced
        | StoreError::Full
        | StoreError::Denied { .. }
        | StoreError::NoStream { .. }
        | StoreError::Refused { .. }
        | StoreError::NoAnswer { .. } => code::BUS_UNAVAILABLE,
    };
    Fault::new(code, error.to_string())
}

impl Ledger for BusLedger {
    fn append(&self, messages: Vec<Outgoing>) -> BoxFuture<'_, Result<u64, AppendError>> {
        Box::pin(async move {
            match &self.group {
                Some(group) if messages.len() == 1 => group.append(messages).await,
                Some(_) | None => self.direct.append(messages).await,
            }
        })
    }

    fn read<'a>(
        &'a self,
        subject: &'a str,
    ) -> BoxFuture<'a, Result<Vec<StoredMessage>, AppendError>> {
        Box::pin(async move {
            let bus = &self.direct.bus;
            let stream = &bus.names().log;
            // Most logs that are asked for are empty, and this way of asking is the cheapest.
            let last = self.direct.read_patiently(|| bus.last(stream, subject)).await?;
            match last {
                None => Ok(Vec::new()),
                Some(_) => self.direct.read_patiently(|| bus.all(stream, subject)).await,
            }
        })
    }

    fn input(&self, source: Source) -> BoxFuture<'_, Result<Option<StoredMessage>, AppendError>> {
        Box::pin(async move {
            let bus = &self.direct.bus;
            let stream = match source.queue {
                Queue::Inbox => &bus.names().inbox,
                Queue::Run => &bus.names().log,
            };
            self.direct.read_patiently(|| bus.at(stream, source.sequence)).await
        })
    }

    fn last_of<'a>(
        &'a self,
        subjects: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<StoredMessage>, AppendError>> {
        Box::pin(async move {
            let bus = &self.direct.bus;
            self.direct.read_patiently(|| bus.last_of_each(&bus.names().log, subjects)).await
        })
    }

    fn put_object(&self, bytes: Bytes) -> BoxFuture<'_, Result<String, AppendError>> {
        Box::pin(async move {
            let bus = &self.direct.bus;
            self.direct.with_objects_patiently(|| bus.put_object(bytes.clone())).await
        })
    }

    fn get_object<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Bytes>, AppendError>> {
        Box::pin(async move {
            let bus = &self.direct.bus;
            self.direct.with_objects_patiently(|| bus.get_object(name)).await
        })
    }
}
