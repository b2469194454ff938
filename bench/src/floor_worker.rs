//! The floor's worker: pulls, stores the result behind a fence, acknowledges.

use std::time::Duration;

use async_nats::jetstream::{self, consumer::PullConsumer};
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

use crate::floor::{CONSUMER, INPUTS, TASK, connect};

/// Tasks at once, as Weft's node has slots.
pub(crate) const SLOTS: usize = 256;

/// Works until `stop`.
pub(crate) async fn work(
    server: &str,
    stop: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), String> {
    let client = connect(server).await.map_err(text)?;
    let context = jetstream::new(client);
    let consumer: PullConsumer =
        context.get_consumer_from_stream(CONSUMER, INPUTS).await.map_err(text)?;
    let tasks = consumer
        .stream()
        .max_messages_per_batch(SLOTS)
        .expires(Duration::from_secs(5))
        .heartbeat(Duration::from_secs(1))
        .messages()
        .await
        .map_err(text)?;
    ready();
    let context = &context;
    tasks
        .take_until(stop.cancelled())
        .for_each_concurrent(SLOTS, |task| async move {
            let Ok(task) = task else { return };
            // What fails comes again with its lease.
            drop(once(context, task).await);
        })
        .await;
    Ok(())
}

async fn once(context: &jetstream::Context, task: jetstream::Message) -> Result<(), String> {
    let id = task.headers.as_ref().and_then(|headers| headers.get(TASK));
    let id = id.ok_or_else(|| "a task without an id".to_owned())?;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
    let subject = format!("floor.out.{}", id.as_str());
    let stored =
        context.publish_with_headers(subject, headers, task.payload.clone()).await.map_err(text)?;
    stored.await.map_err(text)?;
    task.ack().await.map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
