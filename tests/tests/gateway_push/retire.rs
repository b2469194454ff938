//! Webhooks go after their time, whoever removes them and however often, and not before their task has ended.

use std::time::Duration;

use coordinator::retire::{Retire, WebhookPlace};
use protocol::{Owner, TaskId};
use runtime::clock::Clock;
use runtime::metric::Metrics;
use serde_json::json;
use weft_tests::wait::wait_until;
use weft_tests::webhook::Receiver;
use weft_tests::work::SOON;

use super::{Lab, go, hook, waits};

const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Whoever removes webhooks, so long after now.
fn retire(lab: &Lab, after: Duration) -> Retire {
    let clock = Clock::fixed(Clock::system().now().after(after));
    Retire {
        client: lab.mesh.client.clone(),
        clock,
        metrics: Metrics::new("coordinator"),
        tasks_kept: None,
        webhooks_kept: KEPT,
        read_model: None,
    }
}

/// How many webhooks go in one round, so long after now.
async fn removed(lab: &Lab, after: Duration) -> usize {
    retire(lab, after).webhooks(&mut WebhookPlace::default()).await.unwrap()
}

/// Whether a task's webhook is still listed, and whether its job is still stored.
async fn is_there(lab: &Lab, task: &str) -> (bool, bool) {
    let listed = lab.ask("GET", &format!("/tasks/{task}/pushNotificationConfigs"), None).await;
    let listed = !listed.body["configs"].as_array().unwrap().is_empty();
    let bus = lab.mesh.client.bus();
    let job = bus.subjects().push(&Owner::default(), &TaskId::parse(task).unwrap(), "hook");
    let job = bus.last_from_leader(&bus.names().log, &job).await.unwrap();
    (listed, job.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_webhooks_go_after_their_time_and_others_stay() {
    let lab = Lab::open().await;
    let taking = Receiver::taking().await;
    let gone = Receiver::answering(|_, _| (410, vec![])).await;
    let told = lab.begin(json!([]), Some(hook(&taking.url("/told")))).await;
    lab.is(&told, "done").await;
    let goes_on = lab.begin(waits(), Some(hook(&taking.url("/on")))).await;
    let given_up = lab.begin(waits(), Some(hook(&gone.url("/gone")))).await;
    lab.is(&given_up, "disabled").await;
    let day = Duration::from_secs(24 * 60 * 60);

    assert_eq!(removed(&lab, KEPT - day).await, 0, "before its time");
    assert_eq!(is_there(&lab, &told).await, (true, true));
    // Two coordinators at once; one of them may find that the other was faster.
    let (one, other) = tokio::join!(removed(&lab, KEPT + day), removed(&lab, KEPT + day));
    assert!((1..=2).contains(&(one + other)), "{one} and {other}");
    assert_eq!(is_there(&lab, &told).await, (false, false));
    assert_eq!(is_there(&lab, &goes_on).await, (true, true), "its task goes on");
    assert_eq!(is_there(&lab, &given_up).await, (true, true), "its task goes on, and it says why");

    // The task is kept, and may have a webhook again; the others are told to their end.
    assert_eq!(lab.attach(&told, &hook(&taking.url("/again"))).await.status, 200);
    lab.is(&told, "done").await;
    assert!(!taking.calls_at("/again").is_empty());
    for task in [&goes_on, &given_up] {
        go(&lab, task).await;
        lab.mesh.end_of(&TaskId::parse(task).unwrap()).await;
    }
    lab.is(&goes_on, "done").await;
    assert_eq!(removed(&lab, KEPT + day).await, 3);
    for task in [&told, &goes_on, &given_up] {
        assert_eq!(is_there(&lab, task).await, (false, false), "{task}");
    }
    let bus = lab.mesh.client.bus();
    let left = bus.stream_state(&format!("KV_{}", bus.names().push)).await.unwrap();
    assert!(left.messages <= 1, "no markers stay behind: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_was_deleted_leaves_nothing_and_one_made_anew_stays() {
    let lab = Lab::open().await;
    let taking = Receiver::taking().await;
    let task = lab.begin(waits(), Some(hook(&taking.url("/1")))).await;
    let config = format!("/tasks/{task}/pushNotificationConfigs/hook");
    assert!(lab.ask("DELETE", &config, None).await.status < 300);
    assert_eq!(removed(&lab, KEPT * 2).await, 1);
    assert_eq!(is_there(&lab, &task).await, (false, false));
    lab.attach(&task, &hook(&taking.url("/2"))).await;
    assert_eq!(removed(&lab, KEPT * 2).await, 0);
    go(&lab, &task).await;
    lab.is(&task, "done").await;
    wait_until("the second", SOON, async || (!taking.calls_at("/2").is_empty()).then_some(()))
        .await;
}
