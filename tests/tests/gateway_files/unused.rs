//! Files that nothing names go after their time; what is named, wherever and however, or was stored again, stays.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use coordinator::retire::{Reading, UnusedFiles};
use protocol::header::Headers;
use protocol::limits::UNUSED_FILES_KEPT_DEFAULT;
use protocol::object::{self, ObjectHash};
use runtime::bus::{Bus, OldFile, Outgoing};
use runtime::metric::Metrics;
use serde_json::json;
use weft_tests::raw::RawClient;
use weft_tests::wait::wait_until;
use weft_tests::work::SOON;

use super::{CONFIG, Lab, bytes, encoded, to_echo};

/// Whoever removes files that have lain for so long.
fn sweeper(lab: &Lab, kept: Duration) -> UnusedFiles {
    UnusedFiles { client: lab.mesh.client.clone(), kept, metrics: Metrics::new("test") }
}

async fn removed(lab: &Lab, kept: Duration) -> u64 {
    sweeper(lab, kept).look().await.unwrap()
}

/// Stores some bytes that nothing else holds.
async fn put(bus: &Bus, content: &str) -> String {
    bus.put_object(Bytes::from(content.repeat(100))).await.unwrap()
}

async fn is_there(bus: &Bus, name: &str) -> bool {
    bus.get_object(name).await.unwrap().is_some()
}

/// All files, as whoever removes them sees them.
async fn seen(bus: &Bus) -> HashMap<ObjectHash, OldFile> {
    let later = bus.files_clock().await.unwrap().after(Duration::from_secs(60));
    bus.old_files(later, 1, 1_000).await.unwrap()
}

fn of<'a>(files: &'a HashMap<ObjectHash, OldFile>, name: &str) -> &'a OldFile {
    &files[&object::hash(name.as_bytes()).unwrap()]
}

async fn say(bus: &Bus, subject: &str, body: impl Into<Bytes>) {
    bus.store(Outgoing::new(subject.to_owned(), Headers::new(), body.into())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_names_goes_and_what_is_named_stays() {
    let lab = Lab::open(CONFIG).await;
    let bus = lab.mesh.client.bus();
    let empty = lab.stored().await;
    let brought = lab.ask("POST", "/files", &[], &bytes(400_000)).await.json();
    let large = lab.echo(json!([{"raw": encoded(&bytes(300_000))}]), &[]).await;
    // Nobody serves it, so it waits for long.
    let (plain, escaped, packed) =
        (put(bus, "plain").await, put(bus, "escaped").await, put(bus, "packed").await);
    say(bus, "weft.task.nobody", format!("{{\"url\": \"weft-object:{plain}\"}}")).await;
    let written: String = escaped.bytes().map(|byte| format!("\\u00{byte:02X}")).collect();
    say(bus, "weft.task.nobody", format!("{{\"url\": \"weft-object:{written}\"}}")).await;
    let url = format!("weft-object:{packed}");
    // MessagePack: a map of one, a text of three, a text of 76.
    let body = [b"\x81\xa3url\xd9\x4c", url.as_bytes()].concat();
    say(bus, "weft.task.nobody", body).await;
    // No client can parse its headers, and nobody has met it yet.
    let poisoned = put(bus, "poisoned").await;
    RawClient::connect(&lab.mesh.server.client_url())
        .await
        .publish(
            "weft.task.nobody",
            b"X-Bad: a\rb\r\n",
            format!("weft-object:{poisoned}").as_bytes(),
        )
        .await;
    let (state, unused) = (put(bus, "state").await, put(bus, "unused").await);
    say(bus, "$KV.weft_state.a.b", json!({"url": format!("weft-object:{state}")}).to_string())
        .await;
    let own = json!({"name": "report", "bucket": "weft_artifacts", "nuid": "own", "size": 0});
    say(bus, "$O.weft_artifacts.M.cmVwb3J0", own.to_string()).await;
    say(bus, "$O.weft_artifacts.C.broken-off", "half of it").await;

    assert_eq!(removed(&lab, UNUSED_FILES_KEPT_DEFAULT).await, 0, "before their time");
    assert!(is_there(bus, &unused).await);
    // Two coordinators at once: each file is removed by one of them.
    let soon = Duration::from_millis(1);
    let (one, other) = tokio::join!(removed(&lab, soon), removed(&lab, soon));
    assert_eq!(one + other, 2, "{one} and {other}");
    for name in [&plain, &escaped, &packed, &poisoned, &state] {
        assert!(is_there(bus, name).await, "{name}");
    }
    assert!(!is_there(bus, &unused).await);
    assert!(bus.file("report").await.unwrap().is_some(), "somebody put it there by its name");
    // Three pieces of 300,000 bytes, one of each of the five small ones, their descriptions, and the report's.
    assert_eq!(lab.stored().await, empty + 3 + 5 + 6 + 1, "no pieces are left");
    let path = lab.path(&large["artifacts"][0]["parts"][0]["url"]);
    assert_eq!(lab.get(&path, &[]).await.body, bytes(300_000));
    assert_eq!(lab.get(&lab.path(&brought["url"]), &[]).await.status, 404);
    let late = to_echo(json!([{"url": brought["url"]}]));
    let refused = lab.post("/message:send", &[], &late).await;
    assert_eq!(refused.status, 400);
    assert!(String::from_utf8_lossy(&refused.body).contains("names a file that is gone"));

    let names = bus.names();
    for stream in [&names.log, &names.inbox] {
        bus.purge_to(stream, ">", u64::MAX - 1).await.unwrap();
    }
    assert_eq!(removed(&lab, soon).await, 5, "what named them is gone");
    assert!(is_there(bus, &state).await);
    assert_eq!(lab.get(&path, &[]).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_stored_or_named_again_meanwhile_stays() {
    let lab = Lab::open(CONFIG).await;
    let bus = lab.mesh.client.bus();
    let content = bytes(200_000);
    let brought = lab.ask("POST", "/files", &[], &content).await.json();
    let name = brought["url"].as_str().unwrap().split(['/', '?']).nth(4).unwrap().to_owned();
    for how in ["stored", "brought", "named in a message", "not at all"] {
        let before = seen(bus).await;
        let expected = match how {
            "stored" => bus.put_object(content.clone().into()).await.unwrap() == name,
            "brought" => lab.ask("POST", "/files", &[], &content).await.status == 201,
            // Nobody serves it: the message is refused, and the file may stay for another while.
            "named in a message" => {
                let mut message = to_echo(json!([{"url": brought["url"]}]));
                message["metadata"]["weft/skill"] = json!("nobody");
                lab.post("/message:send", &[], &message).await.status == 400
            }
            _ => false,
        };
        let removed = bus.remove_file(of(&before, &name)).await.unwrap();
        assert_eq!((removed, is_there(bus, &name).await), (!expected, expected), "{how}");
    }
    assert!(bus.renew_file(&name).await.unwrap().is_none(), "what is gone cannot be renewed");
    // What comes back is whole.
    bus.put_object(content.clone().into()).await.unwrap();
    assert_eq!(bus.get_object(&name).await.unwrap().unwrap(), content);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_while_a_round_rests_stays() {
    let lab = Lab::open(CONFIG).await;
    let bus = lab.mesh.client.bus();
    let names = [put(bus, "log").await, put(bus, "inbox").await, put(bus, "state").await];
    let unused = put(bus, "unused").await;
    let (mut files, mut reading) = (seen(bus).await, Reading::new(bus));
    reading.keep_unnamed(bus, &mut files).await.unwrap();
    assert_eq!(files.len(), 4);
    for (name, subject) in
        names.iter().zip(["weft.dead.nobody", "weft.task.nobody", "$KV.weft_state.k"])
    {
        // Many that are not asked for one by one, and places where there are none any more.
        for at in 0..20 {
            say(bus, subject, format!("{at}")).await;
        }
        say(bus, subject, format!("weft-object:{name}")).await;
    }
    reading.keep_unnamed(bus, &mut files).await.unwrap();
    assert!(files.len() == 1 && of(&files, &unused).sequence > 0, "{files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_among_removals_leaves_nothing_behind_and_takes_nothing_else() {
    let mut lab = Lab::open(CONFIG).await;
    let content = bytes(300_000);
    let task = lab.echo(json!([{"raw": encoded(&content)}]), &[]).await;
    let bus = lab.mesh.client.bus().clone();
    let used = lab.stored().await;
    for round in 0..3 {
        for at in 0..60 {
            put(&bus, &format!("{round} {at}")).await;
        }
    }
    // From now on the coordinators of this mesh keep files for a second.
    lab.mesh.config = CONFIG.replace("[coordinator]", "[coordinator]\nunused_files_kept = \"1s\"");
    for round in 0..3 {
        let before = lab.stored().await;
        let mut coordinator = lab.mesh.coordinator(&format!("killed-{round}"), false).await;
        wait_until("some are removed", SOON, async || (lab.stored().await < before).then_some(()))
            .await;
        coordinator.kill().await;
        // One that was written while it was killed.
        say(&bus, "$O.weft_artifacts.C.broken-off", "half of it").await;
    }
    let _last = lab.mesh.coordinator("last", false).await;
    wait_until("nothing is left", SOON, async || (lab.stored().await == used).then_some(())).await;
    let path = lab.path(&task["artifacts"][0]["parts"][0]["url"]);
    assert_eq!(lab.get(&path, &[]).await.body, content);
}
