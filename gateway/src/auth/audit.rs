//! Keeps the decisions of the doors in the mesh.
//!
//! Entries go through a queue of fixed length to one writer, which stores together what has come by then: in an atomic
//! batch where the server syncs every write, so that one sync does for all; elsewhere at the same time, for there a batch
//! costs the server more than its messages. A request gets its place in the queue before it is let in: when the mesh takes
//! no entries, requests wait and are refused in the end; none is done without a trace. What is in the queue when the process
//! is killed is lost; a process that is told to stop stores it first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use protocol::NodeName;
use protocol::audit::AuditEntry;
use protocol::header::Headers;
use protocol::limits::BATCH_MESSAGES_MAX;
use protocol::topology::PUSH_CONSUMER;
use runtime::bus::{Bus, Outgoing, StoreError};
use runtime::config::AuditScope;
use runtime::metric::Metrics;
use runtime::supervisor::{Kind, Supervisor};
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio_util::sync::CancellationToken;

use crate::a2a::error::Error;
use crate::limits::{AUDIT_QUEUE_MAX, AUDIT_WAIT_MAX};

/// The first rest after the mesh took no entries.
const REST_FIRST: Duration = Duration::from_millis(100);
/// The longest.
const REST_MAX: Duration = Duration::from_secs(2);

/// Takes entries. Clones share the queue.
#[derive(Clone)]
pub struct Audit {
    scope: AuditScope,
    queue: mpsc::Sender<AuditEntry>,
    names: Arc<Names>,
}

struct Names {
    by: NodeName,
    run: u32,
    next: AtomicU64,
}

/// A place in the queue, or none when nothing is kept.
pub(super) struct Place {
    scope: AuditScope,
    permit: Option<OwnedPermit<AuditEntry>>,
}

impl Audit {
    /// Starts the writer. It ends once `quiet`, when no request is under way any more, and the queue is empty.
    #[must_use]
    pub fn open(
        scope: AuditScope,
        by: NodeName,
        bus: Bus,
        metrics: Metrics,
        quiet: CancellationToken,
        jobs: &Supervisor,
    ) -> Self {
        let (queue, entries) = mpsc::channel(AUDIT_QUEUE_MAX);
        if scope != AuditScope::Off {
            let syncs = Arc::default();
            let asking = ask_how_it_syncs(bus.clone(), Arc::clone(&syncs), jobs.shutdown_token());
            jobs.spawn("audit sync", Kind::Work, asking);
            jobs.spawn(
                "audit",
                Kind::Critical,
                write(entries, Shelf { bus, syncs }, metrics, quiet),
            );
        }
        let names = Names { by, run: rand::random(), next: AtomicU64::new(0) };
        Self { scope, queue, names: Arc::new(names) }
    }

    /// A place for the entry of a request.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the queue stays full.
    pub(super) async fn place(&self) -> Result<Place, Error> {
        let scope = self.scope;
        if scope == AuditScope::Off {
            return Ok(Place { scope, permit: None });
        }
        let permit = tokio::time::timeout(AUDIT_WAIT_MAX, self.queue.clone().reserve_owned()).await;
        match permit {
            Ok(Ok(permit)) => Ok(Place { scope, permit: Some(permit) }),
            Ok(Err(_)) | Err(_) => Err(Error::Unavailable("it takes no audit entries".to_owned())),
        }
    }

    /// The gateway's name, and one for the next entry.
    pub(super) fn next(&self) -> (NodeName, String) {
        let Names { by, run, next } = &*self.names;
        (by.clone(), format!("{by}-{run:08x}-{}", next.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Place {
    /// Puts the entry there.
    pub(super) fn put(self, entry: AuditEntry) {
        let kept = self.scope == AuditScope::All || !entry.allowed;
        if let Some(permit) = self.permit.filter(|_| kept) {
            permit.send(entry);
        }
    }
}

/// Asks until it is known whether the server syncs every write. Whoever provisions the mesh notes it, and may be late.
async fn ask_how_it_syncs(bus: Bus, syncs: Arc<OnceLock<bool>>, stop: CancellationToken) {
    let asking = async {
        loop {
            match bus.consumer(&bus.names().log, PUSH_CONSUMER).await {
                Ok(facts) => return facts.sync_always,
                Err(error) => tracing::debug!(reason = %error, "not known how the server syncs"),
            }
            tokio::time::sleep(REST_MAX).await;
        }
    };
    if let Some(always) = stop.run_until_cancelled(asking).await {
        syncs.get_or_init(|| always);
    }
}

/// Where entries are stored.
struct Shelf {
    bus: Bus,
    /// Whether the server syncs every write, once it is known.
    syncs: Arc<OnceLock<bool>>,
}

async fn write(
    mut entries: mpsc::Receiver<AuditEntry>,
    shelf: Shelf,
    metrics: Metrics,
    quiet: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH_MESSAGES_MAX);
    loop {
        let got = tokio::select! {
            biased;
            got = entries.recv_many(&mut batch, BATCH_MESSAGES_MAX) => got,
            () = quiet.cancelled() => 0,
        };
        if got == 0 {
            return;
        }
        shelf.store(batch.drain(..)).await;
        metrics.gateway.audit_entries.inc_by(u64::try_from(got).unwrap_or(0));
    }
}

impl Shelf {
    /// Stores entries, however long it takes. One whose answer was lost is stored again: entries have ids.
    async fn store(&self, entries: impl Iterator<Item = AuditEntry>) {
        let mut left: Vec<Outgoing> = entries.map(|entry| self.message(&entry)).collect();
        let mut rest = REST_FIRST;
        while let Err(error) = self.try_store(&mut left).await {
            let entries = left.len();
            tracing::warn!(entries, reason = %error, "audit entries are not stored yet");
            tokio::time::sleep(rest).await;
            rest = rest.saturating_mul(2).min(REST_MAX);
        }
    }

    fn message(&self, entry: &AuditEntry) -> Outgoing {
        let body = serde_json::to_vec(entry).unwrap_or_default();
        let subject = self.bus.subjects().audit(entry.kept_under());
        Outgoing::new(subject, Headers::new(), body.into())
    }

    /// Stores messages; those that are not stored stay, with the reason of one of them.
    async fn try_store(&self, messages: &mut Vec<Outgoing>) -> Result<(), StoreError> {
        if self.syncs.get().copied().unwrap_or(true) {
            return self.bus.store_batch(messages.clone()).await.map(drop);
        }
        let stored = join_all(messages.iter().map(|one| self.bus.store_ref(one))).await;
        let mut failed = Ok(());
        let mut stored = stored.into_iter();
        messages.retain(|_| match stored.next() {
            Some(Err(error)) => {
                failed = Err(error);
                true
            }
            Some(Ok(_)) | None => false,
        });
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_a_place_and_is_refused_when_there_is_none() {
        let (queue, mut entries) = mpsc::channel(1);
        let by = NodeName::parse("g1").unwrap();
        let names = Arc::new(Names { by, run: 7, next: AtomicU64::new(0) });
        let audit = Audit { scope: AuditScope::Denied, queue, names };
        let held = audit.place().await.unwrap();
        assert!(matches!(audit.place().await, Err(Error::Unavailable(_))), "the queue is full");
        let (waited, ()) = tokio::join!(audit.place(), async {
            tokio::time::sleep(AUDIT_WAIT_MAX / 2).await;
            drop(held);
        });
        let (by, id) = audit.next();
        let entry = |allowed| AuditEntry {
            id: id.clone(),
            at: protocol::Timestamp::from_millis(0),
            by: by.clone(),
            request: String::new(),
            address: String::new(),
            caller: None,
            shown: None,
            door: "rest".to_owned(),
            operation: None,
            owner: None,
            asked_for: None,
            skill: None,
            task: None,
            allowed,
            reason: None,
        };
        waited.unwrap().put(entry(true));
        audit.place().await.unwrap().put(entry(false));
        assert_eq!(entries.recv().await.map(|entry| entry.allowed), Some(false));
        assert!(entries.try_recv().is_err(), "only denials are kept");
    }
}
