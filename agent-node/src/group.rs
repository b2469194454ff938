//! Group commit: appends of several tasks that are ready at the same moment share one atomic batch.
//!
//! Where the server syncs every write, one sync then serves them all. While one batch is being synced the next
//! one gathers, so batches grow with the load and a lone append never waits. A batch that is refused, for one
//! zombie among many, is repeated one by one.

use protocol::limits::BATCH_MESSAGES_MAX;
use runtime::bus::Outgoing;
use tokio::sync::{mpsc, oneshot};

use crate::bus_ledger::Direct;
use crate::ledger::AppendError;

/// Appends that may wait for their batch.
const WAITING_MAX: usize = 4096;

struct Item {
    messages: Vec<Outgoing>,
    answer: oneshot::Sender<Result<u64, AppendError>>,
}

/// The way into the group.
#[derive(Clone)]
pub(crate) struct Group(mpsc::Sender<Item>);

impl Group {
    /// A group, and the work that serves it.
    pub(crate) fn new(direct: Direct) -> (Self, impl Future<Output = Result<(), std::io::Error>>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(sender), serve(direct, receiver))
    }

    pub(crate) async fn append(&self, messages: Vec<Outgoing>) -> Result<u64, AppendError> {
        let (answer, wait) = oneshot::channel();
        self.0.send(Item { messages, answer }).await.map_err(|_| AppendError::Gone)?;
        wait.await.map_err(|_| AppendError::Gone)?
    }
}

async fn serve(direct: Direct, mut items: mpsc::Receiver<Item>) -> Result<(), std::io::Error> {
    let mut batch = Vec::with_capacity(BATCH_MESSAGES_MAX);
    while items.recv_many(&mut batch, BATCH_MESSAGES_MAX).await > 0 {
        commit(&direct, std::mem::take(&mut batch)).await;
    }
    Ok(())
}

async fn commit(direct: &Direct, items: Vec<Item>) {
    direct
        .metrics()
        .node
        .commit_batch
        .observe(f64::from(u32::try_from(items.len()).unwrap_or(u32::MAX)));
    if items.len() > 1 {
        let together = items.iter().flat_map(|item| item.messages.iter().cloned()).collect();
        match direct.bus().store_batch(together).await {
            Ok(stored) => {
                for (sequence, item) in (stored.sequence..).zip(items) {
                    answer(item, Ok(sequence));
                }
                return;
            }
            Err(error) => tracing::debug!(reason = %error, "batch refused, going on one by one"),
        }
    }
    futures_util::future::join_all(items.into_iter().map(|mut item| async move {
        let result = direct.append(std::mem::take(&mut item.messages)).await;
        answer(item, result);
    }))
    .await;
}

/// An attempt that was ended meanwhile does not listen any more; its scribe, if it writes again, asks again.
fn answer(item: Item, result: Result<u64, AppendError>) {
    drop(item.answer.send(result));
}
