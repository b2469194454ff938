//! The floor's submitter: the client library and nothing else.
//!
//! A task is one publish with its acknowledgement awaited; the result is another, fenced, on a subject of its
//! own, to which the submitter listens on core NATS. That is the shortest way there is: it hears a result before
//! the stream has stored it, and would also hear a result that the fence refused. Weft does not allow itself
//! either, so the comparison favours the floor.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::{self, consumer::pull, stream};
use bytes::Bytes;
use futures_util::StreamExt as _;
use runtime::supervisor::{Kind, Supervisor};
use tokio::sync::oneshot;

use crate::BenchError;

pub(crate) const INPUTS: &str = "FLOOR_IN";
pub(crate) const RESULTS: &str = "FLOOR_OUT";
pub(crate) const CONSUMER: &str = "workers";
/// The header that names the task.
pub(crate) const TASK: &str = "Task";
const PATIENCE: Duration = Duration::from_secs(30);

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Bytes>>>>;

/// The floor's submitter.
#[derive(Clone)]
pub(crate) struct Floor {
    context: jetstream::Context,
    waiting: Waiting,
    next: Arc<AtomicU64>,
    payload: Bytes,
}

pub(crate) async fn connect(server: &str) -> Result<async_nats::Client, BenchError> {
    let options = async_nats::ConnectOptions::new().client_capacity(8192);
    options.connect(server).await.map_err(|error| BenchError::floor("connect")(&error))
}

/// Makes the two streams and the consumer.
pub(crate) async fn provision(server: &str) -> Result<(), BenchError> {
    let context = jetstream::new(connect(server).await?);
    let fail = BenchError::floor("make the streams");
    for (name, subject) in [(INPUTS, "floor.in"), (RESULTS, "floor.out.*")] {
        let config = stream::Config {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            ..stream::Config::default()
        };
        let stream = context.create_stream(config).await.map_err(|error| fail(&error))?;
        if name == INPUTS {
            let config = pull::Config {
                durable_name: Some(CONSUMER.to_owned()),
                max_ack_pending: 20_000,
                ..pull::Config::default()
            };
            stream.create_consumer(config).await.map_err(|error| fail(&error))?;
        }
    }
    Ok(())
}

impl Floor {
    pub(crate) async fn open(
        server: &str,
        bytes: usize,
        jobs: &Supervisor,
    ) -> Result<Self, BenchError> {
        let client = connect(server).await?;
        let fail = BenchError::floor("subscribe");
        let mut results = client.subscribe("floor.out.*").await.map_err(|error| fail(&error))?;
        client.flush().await.map_err(|error| fail(&error))?;
        let waiting = Waiting::default();
        let noted = Arc::clone(&waiting);
        jobs.spawn("floor results", Kind::Work, async move {
            while let Some(result) = results.next().await {
                let task = result.subject.rsplit('.').next().and_then(|id| id.parse().ok());
                let waiter = task.and_then(|task: u64| lock(&noted).remove(&task));
                if let Some(waiter) = waiter {
                    // Whoever waited has given up.
                    drop(waiter.send(result.payload));
                }
            }
        });
        Ok(Self {
            context: jetstream::new(client),
            waiting,
            next: Arc::default(),
            payload: Bytes::from(vec![b'x'; bytes]),
        })
    }

    /// Submits a task and waits for its result.
    pub(crate) async fn once(&self) -> Result<(), BenchError> {
        let task = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, result) = oneshot::channel();
        lock(&self.waiting).insert(task, sender);
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(TASK, task.to_string().as_str());
        let stored = self
            .context
            .publish_with_headers("floor.in", headers, self.payload.clone())
            .await
            .map_err(|error| BenchError::floor("publish")(&error))?;
        stored.await.map_err(|error| BenchError::floor("await the ack")(&error))?;
        let result = tokio::time::timeout(PATIENCE, result).await;
        match result {
            Ok(Ok(result)) if result == self.payload => Ok(()),
            Ok(Ok(_)) => Err(BenchError::floor("check")(&"another result than the input")),
            Ok(Err(_)) | Err(_) => Err(BenchError::floor("await the result")(&"none came")),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
