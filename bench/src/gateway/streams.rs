//! Memory of a gateway with many open streams.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use protocol::input::Input;
use protocol::{Owner, TaskId};
use runtime::nats_server::Found;
use tempfile::TempDir;

use super::GatewayReport;
use super::door::Door;
use crate::child::Again;
use crate::durable::agent::{Order, SIGNAL};
use crate::durable::stage::Stage;
use crate::{BenchArgs, BenchError, proc};

const BYTES_MAX: u64 = 300_000_000;

pub(super) async fn measure(
    args: &BenchArgs,
    found: &Found,
    again: &Again,
    place: &TempDir,
    report: &mut GatewayReport,
) -> Result<(), BenchError> {
    let stage = Stage::set(found, again, place, "streams").await?;
    let gateway = stage.mesh.gateway(again).await?;
    let before = proc::resident_bytes(gateway.pid)?;
    let mut open = Vec::with_capacity(args.streams);
    for _ in 0..args.streams {
        let task = stage.submit(Order { wait: true, ..Order::default() }).await?;
        let mut door = Door::open(&gateway.address, &stage.mesh.jobs).await?;
        let path = format!("/tasks/{task}:subscribe");
        let mut events = door.post(&path, "{}".into()).await?.into_body();
        first_event(&mut events).await?;
        open.push((task, door, events));
    }
    let with = proc::resident_bytes(gateway.pid)?;
    let mut ended = 0;
    for (task, _door, events) in open {
        go(&stage, &task).await?;
        ended += usize::from(until_end(events).await?);
    }
    report.add(
        format!("{} open SSE streams", args.streams),
        format!(
            "{:.0} MB ({:.0} MB before; {ended} streams told of the end)",
            megabytes(with),
            megabytes(before)
        ),
        "under 300 MB, all told",
        with < BYTES_MAX && ended == args.streams,
    );
    gateway.stop().await;
    stage.mesh.stop().await;
    Ok(())
}

fn megabytes(bytes: u64) -> f64 {
    u32::try_from(bytes / 1_000_000).map_or(f64::INFINITY, f64::from)
}

fn broken(reason: String) -> BenchError {
    BenchError::Weft { doing: "follow a task over SSE", reason }
}

async fn first_event(events: &mut Incoming) -> Result<(), BenchError> {
    while let Some(frame) = events.frame().await {
        let frame = frame.map_err(|error| broken(error.to_string()))?;
        if frame.data_ref().is_some_and(|data| data.windows(5).any(|window| window == b"data:")) {
            return Ok(());
        }
    }
    Err(broken("it ended before its first event".to_owned()))
}

/// Whether the stream says that the task has completed, and ends.
async fn until_end(events: Incoming) -> Result<bool, BenchError> {
    let rest = events.collect().await.map_err(|error| broken(error.to_string()))?.to_bytes();
    Ok(String::from_utf8_lossy(&rest).contains("TASK_STATE_COMPLETED"))
}

async fn go(stage: &Stage, task: &TaskId) -> Result<(), BenchError> {
    let signal = Input::Signal { name: SIGNAL.to_owned(), payload: Vec::new() };
    let said = stage.client.say(&Owner::default(), task, &signal, None).await;
    said.map(drop).map_err(|error| BenchError::weft("signal")(&error))
}
