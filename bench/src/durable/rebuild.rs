//! The rebuild of the read model from a long history, while the mesh goes on serving.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use projection::{Projection, follow};
use protocol::entry::{Entry, Event, Origin};
use protocol::header::Headers;
use protocol::id::{NodeName, Owner, Skill, TaskId};
use protocol::message::Part;
use protocol::query::Query;
use protocol::submission::{Queue, Source};
use protocol::time::Timestamp;
use runtime::bus::Outgoing;
use runtime::nats_server::Found;
use runtime::supervisor::Kind;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::DurableReport;
use super::stage::{Stage, millis, p50};
use crate::child::Again;
use crate::{BenchArgs, BenchError};

/// Entries of each task: begun, a step, and the end.
const ENTRIES: usize = 3;
/// Entries on their way at once.
const IN_FLIGHT: usize = 512;
const LIMIT: Duration = Duration::from_secs(30);
/// How often a list is asked for meanwhile. Each counts all tasks: asking for nothing else would measure that.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const PAGES: usize = 21;
const PAGE_LIMIT: Duration = Duration::from_millis(20);

fn weft(doing: &'static str) -> impl Fn(&dyn std::error::Error) -> BenchError {
    BenchError::weft(doing)
}

pub(super) async fn measure(
    args: &BenchArgs,
    found: &Found,
    again: &Again,
    place: &TempDir,
    report: &mut DurableReport,
) -> Result<(), BenchError> {
    let stage = Stage::set(found, again, place, "rebuild").await?;
    let tasks = args.entries / ENTRIES;
    write_history(&stage, tasks).await?;
    let file = place.path().join("tasks.sqlite");
    let projection = Projection::open(&file).map_err(|error| weft("open the file")(&error))?;
    let (projection, stop) = (Arc::new(projection), CancellationToken::new());
    let began = Instant::now();
    let following = follow(stage.client.bus().clone(), Arc::clone(&projection), stop.clone());
    stage.mesh.jobs.spawn("read model", Kind::Critical, following);
    let mut echoes = Vec::new();
    let mut looked_at = began;
    loop {
        let one = Instant::now();
        stage.echo().await?;
        echoes.push(one.elapsed());
        if looked_at.elapsed() < LOOK_EVERY {
            continue;
        }
        if stage.mesh.jobs.shutdown_token().is_cancelled() {
            let reason = "the read model is not kept up to date".to_owned();
            return Err(BenchError::Weft { doing: "follow", reason });
        }
        looked_at = Instant::now();
        let list = projection.list(&Query::default()).map_err(|error| weft("list")(&error))?;
        if usize::try_from(list.total).is_ok_and(|total| total >= tasks) {
            break;
        }
    }
    let took = began.elapsed();
    stop.cancel();
    report.add(
        format!("rebuild of the read model from {} entries", tasks * ENTRIES),
        format!(
            "{:.1} s ({} tasks served meanwhile, p50 {:.2} ms)",
            took.as_secs_f64(),
            echoes.len(),
            millis(p50(echoes))
        ),
        "under 30 s",
        took < LIMIT,
    );
    let mut pages = Vec::with_capacity(PAGES);
    for _ in 0..PAGES {
        let page = Instant::now();
        projection.list(&Query::default()).map_err(|error| weft("list")(&error))?;
        pages.push(page.elapsed());
    }
    let page = p50(pages);
    report.add(
        format!("first page of {tasks} tasks, p50"),
        format!("{:.2} ms", millis(page)),
        "under 20 ms",
        page < PAGE_LIMIT,
    );
    stage.mesh.stop().await;
    Ok(())
}

/// Writes the logs of so many tasks.
async fn write_history(stage: &Stage, tasks: usize) -> Result<(), BenchError> {
    let bus = stage.client.bus();
    let owner = Owner::default();
    let skill = Skill::parse("past").map_err(|error| weft("name a skill")(&error))?;
    let node = NodeName::parse("n1").map_err(|error| weft("name a node")(&error))?;
    let messages = (0..tasks * ENTRIES).map(|at| {
        let task = TaskId::from_sequence(u64::try_from(at / ENTRIES).unwrap_or(0) + 10_000_000);
        let sequence = task.sequence().unwrap_or(0);
        let source = Source { queue: Queue::Inbox, sequence };
        let when = Timestamp::from_millis(1_700_000_000_000 + i64::try_from(at).unwrap_or(0));
        let event = match at % ENTRIES {
            0 => Event::Claimed { client: "node".to_owned() },
            1 => Event::step("look", Part::text("seen")),
            _ => Event::Completed { output: vec![Part::text("done")] },
        };
        let entry = Entry {
            generation: u64::try_from(at % ENTRIES).unwrap_or(0) + 1,
            at: when,
            by: node.clone(),
            attempt: 1,
            origin: (at % ENTRIES == 0)
                .then(|| Box::new(Origin::bare(skill.clone(), source, when))),
            agent: None,
            spent: None,
            raised: None,
            driver: None,
            event,
        };
        let payload: Bytes = serde_json::to_vec(&entry).unwrap_or_default().into();
        Outgoing::new(bus.subjects().log(&owner, &task), Headers::new(), payload)
    });
    stream::iter(messages)
        .map(|message| async move { bus.store(message).await.map(drop) })
        .buffered(IN_FLIGHT)
        .try_collect::<()>()
        .await
        .map_err(|error| weft("write the history")(&error))?;
    Ok(())
}
