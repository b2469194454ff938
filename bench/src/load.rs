//! Keeps a fixed number of tasks in flight and takes the time of each.

use std::future::Future;
use std::time::Duration;

use futures_util::stream::{self, FuturesUnordered, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;

use crate::BenchError;

/// What a round showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Tasks a second.
    pub(crate) rate: f64,
    /// The median time from submitting to holding the result.
    pub(crate) p50: Duration,
    /// The time that one task in a hundred takes longer than.
    pub(crate) p99: Duration,
}

impl Sample {
    fn of(mut times: Vec<Duration>, took: Duration) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
        };
        Self {
            rate: count(times.len()) / took.as_secs_f64(),
            p50: at(50).copied().unwrap_or_default(),
            p99: at(99).copied().unwrap_or_default(),
        }
    }
}

/// A count as a number to divide by.
pub(crate) fn count(of: usize) -> f64 {
    u32::try_from(of).map_or(f64::INFINITY, f64::from)
}

/// A count of tasks.
pub(crate) fn wide(of: u32) -> usize {
    usize::try_from(of).unwrap_or(usize::MAX)
}

/// Each task is submitted by itself; the next one as soon as a result is there.
pub(crate) async fn single<F>(
    tasks: usize,
    in_flight: usize,
    one: impl Fn() -> F,
) -> Result<Sample, BenchError>
where
    F: Future<Output = Result<(), BenchError>>,
{
    let began = Instant::now();
    let times = stream::iter(0..tasks)
        .map(|_| {
            let work = one();
            async {
                let began = Instant::now();
                work.await.map(|()| began.elapsed())
            }
        })
        .buffer_unordered(in_flight)
        .try_collect()
        .await?;
    Ok(Sample::of(times, began.elapsed()))
}

/// What is due is submitted together while the batch before it is on its way. A task's time begins when it is
/// due, so waiting for the batch before counts.
pub(crate) async fn gathered<T, S, W>(
    tasks: usize,
    in_flight: usize,
    submit: impl Fn(usize) -> S,
    wait: impl Fn(T) -> W,
) -> Result<Sample, BenchError>
where
    S: Future<Output = Result<Vec<T>, BenchError>>,
    W: Future<Output = Result<(), BenchError>>,
{
    let began = Instant::now();
    let mut due = vec![began; in_flight.min(tasks)];
    let mut left = tasks - due.len();
    let mut submitting = FuturesUnordered::new();
    let mut waiting = FuturesUnordered::new();
    let mut times = Vec::with_capacity(tasks);
    while times.len() < tasks {
        if submitting.is_empty() && !due.is_empty() {
            let batch = std::mem::take(&mut due);
            let sent = submit(batch.len());
            submitting.push(async { sent.await.map(|receipts| (receipts, batch)) });
        }
        tokio::select! {
            Some(sent) = submitting.next() => {
                let (receipts, batch) = sent?;
                waiting.extend(receipts.into_iter().zip(batch).map(|(receipt, since)| {
                    let ended = wait(receipt);
                    async move { ended.await.map(|()| since.elapsed()) }
                }));
            }
            Some(ended) = waiting.next() => {
                times.push(ended?);
                if left > 0 {
                    left -= 1;
                    due.push(Instant::now());
                }
            }
        }
    }
    Ok(Sample::of(times, began.elapsed()))
}
