//! What an upgrade compares, what it says of each setting, and where it stops.

use protocol::topology::Capacity;
use runtime::bus::Fate;
use runtime::clock::Clock;
use serde_json::{Value, json};

use super::{api, bare_server};

/// Changes the settings of a stream, as an operator does or an earlier version did.
async fn set(bus: &runtime::bus::Bus, stream: &str, setting: &str, value: &Value) {
    let info = format!("STREAM.INFO.{stream}");
    let mut config = api(bus, &info, &Value::Null).await["config"].take();
    config[setting] = value.clone();
    api(bus, &format!("STREAM.UPDATE.{stream}"), &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_buckets_are_compared_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, bus) = bare_server(folder.path()).await;
    let (capacity, clock) = (Capacity::default(), Clock::system());
    bus.provision(&capacity, None).await.unwrap();
    assert_eq!(bus.diagnose(Some(&capacity), &clock).await.differences, []);
    let hour = 3_600_000_000_000_u64;
    // What, stream, setting, an operator's value, how it is shown, whether an upgrade changes it.
    for (what, stream, setting, value, shown, adds) in [
        ("stream WEFT_LOG", "WEFT_LOG", "max_msgs", json!(1_000), "1000", true),
        ("stream WEFT_LOG", "WEFT_LOG", "max_msgs_per_subject", json!(50), "50", true),
        ("stream WEFT_INBOX", "WEFT_INBOX", "max_msgs", json!(9), "9", true),
        ("bucket weft_push", "KV_weft_push", "max_age", json!(hour), "3600s", true),
        ("bucket weft_push", "KV_weft_push", "max_msgs_per_subject", json!(64), "64", false),
        ("bucket weft_state", "KV_weft_state", "max_msg_size", json!(4_096), "4096", true),
        ("bucket weft_agents", "KV_weft_agents", "max_msgs", json!(7), "7", true),
        ("bucket weft_gateways", "KV_weft_gateways", "max_age", json!(hour), "3600s", true),
        (
            "object store weft_artifacts",
            "OBJ_weft_artifacts",
            "max_age",
            json!(hour),
            "3600s",
            true,
        ),
    ] {
        set(&bus, stream, setting, &value).await;
        let found = bus.diagnose(None, &clock).await.differences;
        let told: Vec<_> =
            found.iter().map(|one| (one.what.as_str(), one.setting, one.found.as_str())).collect();
        assert_eq!(told, [(what, setting, shown)]);
        assert_eq!(bus.provision(&capacity, None).await.unwrap().differences, found);
        let mut plan = bus.plan_upgrade(None, &[], clock.now()).await.unwrap();
        let planned: Vec<_> =
            plan.changes.iter().map(|one| (one.setting, one.fate == Fate::Adds)).collect();
        assert_eq!(planned, [(setting, adds)], "{what}");
        bus.carry_out(&mut plan).await.unwrap();
        if !adds {
            set(&bus, stream, setting, &json!(1)).await;
        }
        assert_eq!(bus.diagnose(Some(&capacity), &clock).await.differences, [], "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_refused_midway_says_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, bus) = bare_server(folder.path()).await;
    bus.provision(&Capacity::default(), None).await.unwrap();
    let short = json!(60_000_000_000_u64);
    set(&bus, "WEFT_INBOX", "duplicate_window", &short).await;
    set(&bus, "WEFT_AUDIT", "duplicate_window", &short).await;
    set(&bus, "WEFT_AUDIT", "discard", &json!("new")).await;
    set(&bus, "WEFT_LOG", "duplicate_window", &short).await;
    let mut config = api(&bus, "STREAM.INFO.WEFT_LOG", &Value::Null).await["config"].take();
    api(&bus, "CONSUMER.DELETE.WEFT_LOG.gateway-push", &Value::Null).await;
    config["subjects"].as_array_mut().unwrap().retain(|subject| *subject != "weft.push.*.*.*");
    api(&bus, "STREAM.UPDATE.WEFT_LOG", &config).await;
    let other = json!({"name": "OTHER", "subjects": ["weft.push.>"]});
    api(&bus, "STREAM.CREATE.OTHER", &other).await;

    let mut plan = bus.plan_upgrade(None, &[], Clock::system().now()).await.unwrap();
    let shown: Vec<Value> =
        plan.changes.iter().map(|one| serde_json::to_value(one).unwrap()).collect();
    assert_eq!(
        shown[0],
        json!({"what": "stream WEFT_INBOX", "setting": "duplicate_window", "before": "60s",
            "after": "120s", "verdict": "adds"})
    );
    let refused = bus.carry_out(&mut plan).await.unwrap_err();
    assert_eq!(refused.what, "stream WEFT_LOG");
    assert!(refused.reason.contains("overlap"), "{refused}");
    let fates: Vec<_> = plan.changes.iter().map(|one| (one.what.as_str(), one.setting)).collect();
    assert_eq!(
        fates,
        [
            ("stream WEFT_INBOX", "duplicate_window"),
            ("stream WEFT_LOG", "subjects"),
            ("stream WEFT_LOG", "duplicate_window"),
            ("stream WEFT_AUDIT", "discard"),
            ("stream WEFT_AUDIT", "duplicate_window"),
        ]
    );
    let fates: Vec<_> = plan.changes.iter().map(|one| &one.fate).collect();
    let failed = Fate::Failed(refused.reason.clone());
    assert_eq!(fates[..3], [&Fate::Done, &failed, &failed]);
    assert!(matches!(fates[3], Fate::Stays(_)), "{fates:?}");
    assert_eq!(*fates[4], Fate::NotTried);
    let shown = serde_json::to_value(&plan.changes[1]).unwrap();
    assert_eq!((&shown["verdict"], &shown["because"]), (&json!("failed"), &json!(refused.reason)));
    for (stream, window) in [("WEFT_INBOX", 120), ("WEFT_LOG", 60), ("WEFT_AUDIT", 60)] {
        let info = api(&bus, &format!("STREAM.INFO.{stream}"), &Value::Null).await;
        assert_eq!(
            info["config"]["duplicate_window"],
            json!(window * 1_000_000_000_u64),
            "{stream}"
        );
    }
}
