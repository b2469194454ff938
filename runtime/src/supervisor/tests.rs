//! What each kind of job does when it fails, who is named after the limit, and how restarts rest.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::*;

const LONG: Duration = Duration::from_secs(3600);

fn supervisor() -> Supervisor {
    Supervisor::new(Metrics::new("test"))
}

#[derive(Debug, thiserror::Error)]
#[error("the pull loop ended")]
struct PullError(#[source] io::Error);

fn broken() -> Result<(), PullError> {
    Err(PullError(io::Error::other("connection refused")))
}

#[derive(Clone, Copy)]
enum End {
    Fine,
    Error,
    Panic,
    PanicWithNumber,
}

async fn run(end: End) -> Result<(), PullError> {
    tokio::task::yield_now().await;
    match end {
        End::Fine => Ok(()),
        End::Error => broken(),
        End::Panic => panic!("index {} is out of range", 7),
        End::PanicWithNumber => std::panic::panic_any(7_u32),
    }
}

#[tokio::test(start_paused = true)]
async fn the_kind_says_what_a_failure_does() {
    let error = "pull failed: the pull loop ended: connection refused";
    for (kind, end, shuts_down_with, counts) in [
        (Kind::Critical, End::Fine, None, (0, 0)),
        (Kind::Critical, End::Error, Some(error), (1, 0)),
        (Kind::Critical, End::Panic, Some("pull panicked: index 7 is out of range"), (0, 1)),
        (
            Kind::Critical,
            End::PanicWithNumber,
            Some("pull panicked: a value that is no text"),
            (0, 1),
        ),
        (Kind::Work, End::Fine, None, (0, 0)),
        (Kind::Work, End::Error, None, (1, 0)),
        (Kind::Work, End::Panic, None, (0, 1)),
    ] {
        let supervisor = supervisor();
        supervisor.spawn("pull", kind, run(end));
        supervisor.wait(LONG).await.unwrap();
        let failure = supervisor.failure().map(|failed| failed.to_string());
        assert_eq!(failure.as_deref(), shuts_down_with);
        assert_eq!(supervisor.shutdown_token().is_cancelled(), shuts_down_with.is_some());
        let (errors, panics) = counts;
        assert_eq!(supervisor.counts("pull"), JobCounts { running: 0, errors, panics });
    }
}

#[tokio::test(start_paused = true)]
async fn a_critical_failure_lets_the_others_end() {
    let supervisor = supervisor();
    let token = supervisor.shutdown_token();
    supervisor.spawn("loop", Kind::Critical, async move { token.cancelled().await });
    supervisor.spawn("first", Kind::Critical, run(End::Error));
    supervisor.wait(LONG).await.unwrap();
    assert_eq!(supervisor.failure().unwrap().job, "first");
}

#[tokio::test(start_paused = true)]
async fn during_shutdown_errors_are_expected_and_panics_are_not() {
    for (end, blamed) in [(End::Error, false), (End::Panic, true)] {
        let supervisor = supervisor();
        supervisor.shutdown();
        supervisor.spawn("late", Kind::Critical, run(end));
        supervisor.wait(LONG).await.unwrap();
        assert_eq!(supervisor.failure().is_some(), blamed);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_shown_as_metrics() {
    let metrics = Metrics::new("test");
    let supervisor = Supervisor::new(metrics.clone());
    supervisor.spawn("attempt", Kind::Work, run(End::Panic));
    supervisor.wait(LONG).await.unwrap();
    let shown = metrics.encode();
    for line in [
        "weft_job_failures_total{job=\"attempt\",cause=\"panic\"} 1\n",
        "weft_job_failures_total{job=\"attempt\",cause=\"error\"} 0\n",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_still_runs_is_named() {
    let supervisor = supervisor();
    let (hold, _) = tokio::sync::broadcast::channel::<()>(1);
    for name in ["pull", "attempt", "attempt"] {
        let mut held = hold.subscribe();
        supervisor.spawn(name, Kind::Work, async move { drop(held.recv().await) });
    }
    supervisor.spawn("done", Kind::Work, async {});
    supervisor.shutdown();
    let still = supervisor.wait(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(still.names, [("attempt", 2), ("pull", 1)]);
    assert_eq!(still.to_string(), "still running after 5s: attempt (2), pull");
    assert_eq!(supervisor.counts("attempt").running, 2);
    drop(hold);
    supervisor.wait(LONG).await.unwrap();
    assert_eq!(supervisor.counts("attempt").running, 0);
}

#[tokio::test(start_paused = true)]
async fn a_restarting_job_rests_longer_each_time_up_to_the_limit() {
    let supervisor = supervisor();
    let (starts, mut started) = mpsc::channel(16);
    let begin = Instant::now();
    let runs = AtomicU64::new(0);
    let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(4) };
    supervisor.spawn_restarting("watch", backoff, move || {
        let (run, starts) = (runs.fetch_add(1, Ordering::Relaxed), starts.clone());
        assert_ne!(run, 1, "made in vain");
        async move {
            starts.send(begin.elapsed().as_secs()).await.unwrap();
            match run {
                0 => panic!("in the run"),
                // Long enough to count as healthy.
                4 => tokio::time::sleep(Duration::from_secs(100)).await,
                6 => return Ok(()),
                _ => {}
            }
            broken()
        }
    });
    supervisor.wait(LONG).await.unwrap();
    let mut seconds = Vec::new();
    while let Some(at) = started.recv().await {
        seconds.push(at);
    }
    // Rests of 1, 2, 4 and 4 s; then a run of 100 s, and rests from 1 s again.
    assert_eq!(seconds, [0, 3, 7, 11, 112, 114]);
    assert_eq!(supervisor.counts("watch"), JobCounts { running: 0, errors: 4, panics: 2 });
    assert_eq!(supervisor.failure(), None);
}

#[tokio::test(start_paused = true)]
async fn a_resting_job_is_not_started_again_after_shutdown() {
    let supervisor = supervisor();
    let backoff = Backoff { first: LONG, max: LONG };
    supervisor.spawn_restarting("watch", backoff, || async { broken() });
    while supervisor.counts("watch").errors == 0 {
        tokio::task::yield_now().await;
    }
    let begin = Instant::now();
    supervisor.shutdown();
    supervisor.wait(LONG).await.unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(supervisor.counts("watch").errors, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_jobs_start_within_a_second() {
    let supervisor = supervisor();
    let done = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    for _ in 0..20_000 {
        let done = Arc::clone(&done);
        supervisor.spawn("attempt", Kind::Work, async move {
            done.fetch_add(1, Ordering::Relaxed);
        });
    }
    let elapsed = begin.elapsed();
    supervisor.wait(Duration::from_secs(60)).await.unwrap();
    assert_eq!(done.load(Ordering::Relaxed), 20_000);
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
}

#[tokio::test]
async fn work_on_a_thread_of_its_own_is_waited_for_and_its_panic_is_counted() {
    let supervisor = supervisor();
    let here = std::thread::current().id();
    let there = supervisor.blocking("parse", || std::thread::current().id()).await;
    assert!(there.is_some_and(|there| there != here), "{there:?}");
    let nothing: Option<u64> = supervisor.blocking("parse", || panic!("nested too deep")).await;
    assert_eq!(nothing, None);
    assert_eq!(supervisor.counts("parse"), JobCounts { running: 0, errors: 0, panics: 1 });
    supervisor.wait(LONG).await.unwrap();
    assert_eq!(supervisor.failure(), None);
}
