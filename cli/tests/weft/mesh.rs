//! `weft mesh upgrade` on a real mesh: told before it is done, done when asked, refused where something would be lost.

use std::time::Duration;

use protocol::header::Headers;
use runtime::bus::{Bus, BusSettings, Credentials, TlsFiles};
use serde_json::{Value, json};

use crate::support::{Dev, wait_until};

/// Asks JetStream's own API.
async fn api(bus: &Bus, subject: &str, body: String) -> Value {
    let subject = format!("$JS.API.{subject}");
    let limit = Duration::from_secs(5);
    let answer = bus.ask(subject, &Headers::new(), body.into(), limit).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert!(answer["error"].is_null(), "{answer}");
    answer
}

async fn connect(dev: &Dev) -> Bus {
    let whereto = BusSettings {
        servers: dev.fact("nats"),
        credentials: Credentials::None,
        tls: TlsFiles::default(),
        role: "test".to_owned(),
        subjects: protocol::subject::Subjects::default(),
    };
    Bus::connect(whereto).await.unwrap()
}

/// The settings of a stream, after a change to them.
async fn settings(dev: &Dev, stream: &str, change: impl FnOnce(&mut Value)) -> Value {
    let bus = connect(dev).await;
    let info = format!("STREAM.INFO.{stream}");
    let mut config = api(&bus, &info, String::new()).await["config"].take();
    let before = config.clone();
    change(&mut config);
    if config != before {
        api(&bus, &format!("STREAM.UPDATE.{stream}"), config.to_string()).await;
    }
    config
}

#[test]
fn gateways_are_listed_and_the_doctor_counts_them() {
    let dev = Dev::start();
    let listed = wait_until("the gateway", || {
        dev.run(&["gateway", "list", "-o", "json"]).json().get(0).cloned()
    });
    let listen = listed["listen"].as_str().unwrap();
    assert!(dev.fact("gateway").ends_with(listen), "{listed}");
    assert_eq!((&listed["secure"], &listed["url"]), (&json!(false), &Value::Null));
    let table = dev.run(&["gateway", "list"]).out;
    assert!(table.contains(listen) && table.contains("0/16384"), "{table}");
    let said = dev.run(&["doctor"]).out;
    assert!(said.contains("at work: 1 (weft gateway list)"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_adds_is_shown_and_then_done_and_what_would_lose_something_is_left() {
    let dev = Dev::start();
    let file = dev.dir.join("several-machines.toml");
    std::fs::write(&file, "[bus]\nreplicas = 3\n").unwrap();
    let (own, file) = (dev.dir.join("weft.toml"), file.to_str().unwrap());
    // The last one is for several machines; weft dev would make of it what is there.
    let own = &["mesh", "upgrade", "--config", own.to_str().unwrap()][..];
    for args in [&["mesh", "upgrade"], own, &["mesh", "upgrade", "--config", file]] {
        let said = dev.run(args);
        assert!(said.err.contains("nothing differs"), "{said:?}");
    }
    let said = dev.run(&["doctor", "--config", file]);
    assert!(said.out.contains("as wanted"), "{said:?}");
    settings(&dev, "WEFT_LOG", |config| config["duplicate_window"] = json!(60_000_000_000_u64))
        .await;
    let plan = dev.run(&["mesh", "upgrade", "-o", "json"]).json();
    let change = json!({"what": "stream WEFT_LOG", "setting": "duplicate_window",
        "before": "60s", "after": "120s", "verdict": "adds"});
    assert_eq!(plan, json!([change]));
    let config = settings(&dev, "WEFT_LOG", |_| ()).await;
    assert_eq!(config["duplicate_window"], 60_000_000_000_u64, "it was done without being asked");
    let said = dev.run(&["mesh", "upgrade", "--apply"]);
    assert!(said.code == 0 && said.out.contains("done"), "{said:?}");
    let config = settings(&dev, "WEFT_LOG", |_| ()).await;
    assert_eq!(config["duplicate_window"], 120_000_000_000_u64);

    settings(&dev, "WEFT_LOG", |config| config["duplicate_window"] = json!(300_000_000_000_u64))
        .await;
    let said = dev.run(&["mesh", "upgrade", "--apply"]);
    assert!(said.code == 1 && said.out.contains("left as it is"), "{said:?}");
    let config = settings(&dev, "WEFT_LOG", |_| ()).await;
    assert_eq!(config["duplicate_window"], 300_000_000_000_u64);

    // What was done before something failed is shown, and so is what was not tried.
    let short = |config: &mut Value| config["duplicate_window"] = json!(60_000_000_000_u64);
    settings(&dev, "WEFT_INBOX", short).await;
    settings(&dev, "WEFT_AUDIT", short).await;
    let without_letters = |config: &mut Value| {
        config["subjects"].as_array_mut().unwrap().retain(|one| *one != "weft.dead.*");
    };
    settings(&dev, "WEFT_LOG", without_letters).await;
    let other = json!({"name": "OTHER", "subjects": ["weft.dead.>"]}).to_string();
    api(&connect(&dev).await, "STREAM.CREATE.OTHER", other).await;
    let said = dev.run(&["mesh", "upgrade", "--apply"]);
    let words = ["done", "failed: ", "not tried"].map(|word| said.out.matches(word).count());
    assert!(said.code == 1 && words == [1; 3] && said.err.contains("overlap"), "{said:?}");
}
