//! The read model: what it lists is what the logs say, while it is made, after it was lost, and after a kill.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]

use std::collections::BTreeMap;
use std::time::Duration;

use client::Submission;
use protocol::Owner;
use protocol::id::Skill;
use protocol::query::{Page, Query, Row};
use protocol::task::TaskState;
use serde_json::json;
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::wait::wait_until;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
const LIMIT: Duration = Duration::from_secs(30);

fn with_read_model(path: &std::path::Path) -> String {
    AGENTS.replace("[coordinator]", &format!("[coordinator]\nread_model = {path:?}"))
}

/// All pages.
async fn all(mesh: &Mesh, query: &Query) -> Option<Vec<Row>> {
    let mut query = query.clone();
    let mut rows = Vec::new();
    loop {
        let Page { tasks, next, .. } = mesh.client.query(&query).await.ok()?;
        rows.extend(tasks);
        query.cursor = next;
        if query.cursor.is_none() {
            return Some(rows);
        }
    }
}

/// What the logs themselves say: state and last generation of every task.
async fn truth(mesh: &Mesh) -> BTreeMap<String, (TaskState, u64)> {
    let mut found = BTreeMap::new();
    for (task, _) in mesh.all_entries().await {
        let log = mesh.client.log(&Owner::default(), &task).await.unwrap();
        found.insert(task.to_string(), (log.state, log.generation));
    }
    found
}

async fn agrees(mesh: &Mesh, expected: &BTreeMap<String, (TaskState, u64)>) -> Option<Vec<Row>> {
    let rows = all(mesh, &Query { limit: Some(7), ..Query::default() }).await?;
    let listed: BTreeMap<_, _> =
        rows.iter().map(|row| (row.id.clone(), (row.state, row.generation))).collect();
    (listed == *expected && listed.len() == rows.len()).then_some(rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_the_logs_say_also_after_a_kill_and_a_loss() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tasks.sqlite");
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, &with_read_model(&file)).await;
    let _node = mesh.node("n1").await;
    for at in 0..20 {
        mesh.run("echo", format!("number {at}")).await;
    }
    mesh.run("probe", json!({"failUntilAttempt": 99}).to_string()).await;
    let waiting = Submission::new(Skill::parse("nobody").unwrap(), "x");
    let waiting = mesh.client.submit(waiting).await.unwrap().task;

    let mut expected = truth(&mesh).await;
    assert_eq!(expected.len(), 21);
    expected.insert(waiting.to_string(), (TaskState::Submitted, 0));
    let rows =
        wait_until("the list agrees with the logs", LIMIT, || agrees(&mesh, &expected)).await;
    assert!(rows.is_sorted_by(|a, b| a.changed_at >= b.changed_at));
    let failed = Query { state: Some(TaskState::Failed), ..Query::default() };
    let page = mesh.client.query(&failed).await.unwrap();
    assert_eq!((page.total, page.tasks[0].skill.as_str()), (1, "probe"));
    assert!(page.tasks[0].error.is_some() && page.tasks[0].attempts == 4);

    // Killed in the middle of nothing in particular: the next one reads on from where the file stands.
    coordinator.kill().await;
    mesh.client.query(&Query::default()).await.unwrap_err();
    let mut second = mesh.coordinator("c1", false).await;
    let (_, entries) = mesh.run("echo", "one more").await;
    assert_eq!(entries.len(), 1);
    let mut expected = truth(&mesh).await;
    expected.insert(waiting.to_string(), (TaskState::Submitted, 0));
    wait_until("it reads on", LIMIT, || agrees(&mesh, &expected)).await;

    // Lost: made again from the streams.
    second.kill().await;
    std::fs::write(&file, "no database").unwrap();
    for suffix in ["-wal", "-shm"] {
        drop(std::fs::remove_file(folder.path().join(format!("tasks.sqlite{suffix}"))));
    }
    let _third = mesh.coordinator("c2", false).await;
    wait_until("it is made again", LIMIT, || agrees(&mesh, &expected)).await;
    let wrong = Query { cursor: Some("nonsense".to_owned()), ..Query::default() };
    let error = mesh.client.query(&wrong).await.unwrap_err().to_string();
    assert!(error.contains("cursor"), "{error}");
}
