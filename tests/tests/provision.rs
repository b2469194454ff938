//! What the mesh creates on a server, what it leaves alone, and what it can do without.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]

#[path = "provision/upgrade.rs"]
mod upgrade;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protocol::header::Headers;
use protocol::id::{Owner, Skill};
use protocol::topology::Capacity;
use runtime::bus::{Bus, Credentials, Fate, Outgoing, Pulled};
use runtime::clock::Clock;
use runtime::nats_server::{ServerChild, ServerSettings, start};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use weft_tests::mesh::{AGENTS, Mesh, bus_settings, nats_server};
use weft_tests::process::{Orders, Process};
use weft_tests::wait::wait_until;
use weft_tests::work::{SOON, fault, kinds, marks};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");

async fn bare_server(folder: &std::path::Path) -> (ServerChild, Bus) {
    let server = start(&nats_server().await, ServerSettings::new(folder)).await.unwrap();
    let bus = Bus::connect(bus_settings(&server.client_url(), "test")).await.unwrap();
    (server, bus)
}

/// Asks JetStream's own API.
async fn api(bus: &Bus, subject: &str, body: &Value) -> Value {
    let subject = format!("$JS.API.{subject}");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let body = body.into();
    let answer = bus.ask(subject, &Headers::new(), body, Duration::from_secs(5)).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert!(answer["error"].is_null(), "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_compared_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, bus) = bare_server(folder.path()).await;
    let capacity = Capacity::default();
    let echo = Skill::parse("echo").unwrap();
    // Several coordinators that start together do not get into each other's way.
    let (one, other) = tokio::join!(bus.provision(&capacity, None), bus.provision(&capacity, None));
    let created = one.unwrap().created.len().max(other.unwrap().created.len());
    assert!((5..=10).contains(&created), "{created}");
    assert_eq!(bus.provision_skill(&echo, &capacity, None).await.unwrap().created.len(), 2);
    let again = bus.provision(&capacity, None).await.unwrap();
    assert_eq!(again, runtime::bus::Provisioned::default());
    let again = bus.provision_skill(&echo, &capacity, None).await.unwrap();
    assert_eq!(again, runtime::bus::Provisioned::default());

    // An operator's settings: reported with both values, and still there afterwards.
    for (stream, setting, value) in [
        ("WEFT_INBOX", "max_bytes", json!(1_000_000_000)),
        ("WEFT_INBOX", "duplicate_window", json!(60_000_000_000_u64)),
        ("WEFT_LOG", "max_age", json!(3_600_000_000_000_u64)),
    ] {
        let mut config =
            api(&bus, &format!("STREAM.INFO.{stream}"), &Value::Null).await["config"].take();
        config[setting] = value.clone();
        api(&bus, &format!("STREAM.UPDATE.{stream}"), &config).await;
        let found = bus.provision(&capacity, None).await.unwrap();
        assert!(found.created.is_empty(), "{:?}", found.created);
        let what = format!("stream {stream}");
        let difference =
            found.differences.iter().find(|one| one.what == what && one.setting == setting);
        let difference =
            difference.unwrap_or_else(|| unreachable!("{setting}: {:?}", found.differences));
        assert_ne!(difference.found, difference.wanted);
        let kept = api(&bus, &format!("STREAM.INFO.{stream}"), &Value::Null).await;
        assert_eq!(kept["config"][setting], value, "{setting} was overwritten");
    }
    let info = "CONSUMER.INFO.WEFT_INBOX.skill-echo";
    let mut config = api(&bus, info, &Value::Null).await["config"].take();
    config["ack_wait"] = json!(77_000_000_000_u64);
    let body = json!({"stream_name": "WEFT_INBOX", "config": config, "action": "update"});
    api(&bus, "CONSUMER.DURABLE.CREATE.WEFT_INBOX.skill-echo", &body).await;
    let found = bus.provision_skill(&echo, &capacity, None).await.unwrap();
    assert_eq!((found.differences.len(), found.differences[0].setting), (1, "ack_wait"));
    assert_eq!(found.differences[0].found, "77s");
    assert_eq!(api(&bus, info, &Value::Null).await["config"]["ack_wait"], 77_000_000_000_u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_lets_its_oldest_go_and_what_an_operator_set_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, bus) = bare_server(folder.path()).await;
    let age_max = Duration::from_secs(3 * 60 * 60);
    let small =
        Capacity { audit_age_max: age_max, audit_bytes_max: 1 << 20, ..Capacity::default() };
    bus.provision(&small, None).await.unwrap();
    let config = api(&bus, "STREAM.INFO.WEFT_AUDIT", &Value::Null).await["config"].take();
    assert_eq!(config["max_age"], json!(age_max.as_nanos()));
    assert_eq!((&config["max_bytes"], &config["discard"]), (&json!(1 << 20), &json!("old")));
    let mut last = 0;
    for _ in 0..100 {
        let subject = bus.subjects().audit("acme");
        let entry = Outgoing::new(subject, Headers::new(), vec![b'x'; 16_000].into());
        last = bus.store(entry).await.unwrap().sequence;
    }
    let state = bus.stream_state("WEFT_AUDIT").await.unwrap();
    assert_eq!((last, state.last_seq), (100, 100), "the newest are there");
    assert!(state.first_seq > 30 && state.bytes <= 1 << 20, "{state:?}");

    // Another file: told with both values, and left as it is. Without a file nobody knows what is wanted.
    let usual = Capacity::default();
    let found = bus.provision(&usual, None).await.unwrap();
    let settings: Vec<_> = found.differences.iter().map(|one| one.setting).collect();
    assert_eq!(settings, ["max_bytes", "max_age"]);
    let kept = api(&bus, "STREAM.INFO.WEFT_AUDIT", &Value::Null).await;
    assert_eq!(kept["config"]["max_age"], json!(age_max.as_nanos()), "it was overwritten");
    let clock = Clock::system();
    let told = bus.diagnose(Some(&usual), &clock).await.differences;
    assert_eq!(told, found.differences);
    assert_eq!(bus.diagnose(None, &clock).await.differences, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_of_an_earlier_version_is_upgraded_while_tasks_flow() {
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    coordinator.kill().await;
    let bus = mesh.client.bus();
    let pushes = "weft.push.*.*.*";
    api(bus, "CONSUMER.DELETE.WEFT_LOG.gateway-push", &Value::Null).await;
    let mut config = api(bus, "STREAM.INFO.WEFT_LOG", &Value::Null).await["config"].take();
    let subjects = config["subjects"].as_array_mut().unwrap();
    subjects.retain(|subject| *subject != json!(pushes));
    subjects.push(json!("operators.own"));
    config["duplicate_window"] = json!(300_000_000_000_u64);
    api(bus, "STREAM.UPDATE.WEFT_LOG", &config).await;

    let coordinator = mesh.coordinator("c2", true).await;
    assert!(coordinator.said().contains("a setting on the server differs"));
    let job = || {
        let task = protocol::TaskId::parse("t1").unwrap();
        let subject = bus.subjects().push(&Owner::default(), &task, "hook");
        bus.store(Outgoing::new(subject, Headers::new(), "j".into()))
    };
    assert!(job().await.is_err(), "the stream has a place for webhooks");
    let (is_over, now) = (AtomicBool::new(false), Clock::system().now());
    let flow = async {
        let mut tasks = Vec::new();
        while !is_over.load(Ordering::Relaxed) || tasks.len() < 20 {
            let task = mesh.submit("echo", json!("x")).await;
            mesh.end_of(&task).await;
            tasks.push(task);
        }
        tasks
    };
    let upgrade = async {
        let skills = [Skill::parse("echo").unwrap()];
        let mut plan = bus.plan_upgrade(None, &skills, now).await.unwrap();
        let told: Vec<_> =
            plan.changes.iter().map(|one| (one.setting, one.fate == Fate::Adds)).collect();
        assert_eq!(told, [("subjects", true), ("duplicate_window", false)]);
        assert!(!plan.changes[0].before.contains(pushes), "{plan:?}");
        assert!(plan.changes[0].after.contains(pushes), "{plan:?}");
        assert!(plan.missing.is_empty(), "{plan:?}");
        assert!(job().await.is_err(), "a plan changes nothing");
        bus.carry_out(&mut plan).await.unwrap();
        assert_eq!(plan.changes[0].fate, Fate::Done, "{plan:?}");
        job().await.unwrap();
        is_over.store(true, Ordering::Relaxed);
    };
    let (tasks, ()) = tokio::join!(flow, upgrade);
    for task in tasks {
        assert_eq!(kinds(&mesh.entries(&task).await), ["completed"]);
    }
    let config = api(bus, "STREAM.INFO.WEFT_LOG", &Value::Null).await["config"].take();
    assert!(config["subjects"].as_array().unwrap().contains(&json!("operators.own")));
    assert_eq!(config["duplicate_window"], 300_000_000_000_u64);
    let again = bus.plan_upgrade(None, &[], now).await.unwrap();
    assert!(!again.has_work() && again.missing.is_empty(), "{again:?}");
}

/// More consumers than the server lists on one page.
const MANY: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_is_known_beyond_the_first_page() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, bus) = bare_server(folder.path()).await;
    let capacity = Capacity::default();
    bus.provision(&capacity, None).await.unwrap();
    let skills = (0..MANY).map(|number| Skill::parse(&format!("s{number:03}")).unwrap());
    let skills: Vec<_> = skills.collect();
    for skill in &skills {
        bus.provision_skill(skill, &capacity, None).await.unwrap();
    }
    for skill in [&skills[0], &skills[MANY - 1]] {
        let subject = bus.subjects().task(skill, &Owner::default());
        bus.store(Outgoing::new(subject, Headers::new(), "{}".into())).await.unwrap();
        let mut puller = bus.puller("WEFT_INBOX", &format!("skill-{skill}")).await.unwrap();
        puller.ask(1).await;
        assert!(matches!(puller.next().await, Pulled::Delivery(_)));
    }
    let found = bus.in_flight("WEFT_INBOX").await.unwrap();
    let found: Vec<_> = found.into_iter().map(|one| (one.consumer, one.range)).collect();
    assert_eq!(found, [("skill-s000".to_owned(), 1..=1), ("skill-s299".to_owned(), 1..=2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_time_to_live_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, bus) = bare_server(folder.path()).await;
    let by_hand = json!({
        "name": "KV_weft_agents", "subjects": ["$KV.weft_agents.>"], "max_msgs_per_subject": 1,
        "allow_rollup_hdrs": true, "allow_direct": true, "discard": "new", "deny_delete": true,
    });
    api(&bus, "STREAM.CREATE.KV_weft_agents", &by_hand).await;
    let found = bus.provision(&Capacity::default(), None).await.unwrap();
    let settings: Vec<_> =
        found.differences.iter().map(|one| (one.what.as_str(), one.setting)).collect();
    let agents = "bucket weft_agents";
    assert_eq!(settings, [(agents, "allow_msg_ttl"), (agents, "subject_delete_marker_ttl")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_says_what_differs_and_works_with_it() {
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let _node = mesh.node("n1").await;
    coordinator.kill().await;
    let bus = mesh.client.bus();
    let mut config = api(bus, "STREAM.INFO.WEFT_INBOX", &Value::Null).await["config"].take();
    config["max_bytes"] = json!(1_000_000_000);
    api(bus, "STREAM.UPDATE.WEFT_INBOX", &config).await;
    let second = mesh.coordinator("c1", true).await;
    let said = second.said();
    assert!(
        said.contains("a setting on the server differs") && said.contains("max_bytes"),
        "{said}"
    );
    let kept = api(bus, "STREAM.INFO.WEFT_INBOX", &Value::Null).await;
    assert_eq!(kept["config"]["max_bytes"], 1_000_000_000);
    let (_, entries) = mesh.run("echo", "all the same").await;
    assert_eq!(kinds(&entries), ["completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_may_not_provision_waits_for_a_coordinator() {
    let config = AGENTS.replace("[node]", "[node]\nprovision = false");
    let (mesh, mut coordinator) = Mesh::start(PROGRAM, &config).await;
    coordinator.kill().await;
    let queued = mesh.submit("echo", json!("before anybody could do it")).await;
    let (node, coordinator) = tokio::join!(mesh.node("n1"), async {
        // The node says what it serves while it still waits.
        wait_until("its card", SOON, || async {
            let agents = mesh.client.agents().await.unwrap();
            agents.iter().any(|agent| agent.skill.as_str() == "echo").then_some(())
        })
        .await;
        let info = mesh.client.bus().consumer("WEFT_INBOX", "skill-echo").await;
        assert!(info.is_err(), "{info:?}");
        mesh.coordinator("c1", true).await
    });
    assert_eq!(mesh.end_of(&queued).await.event.kind().name(), "completed");
    drop((node, coordinator));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_consumer_comes_back_and_nothing_runs_again() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let mut node = mesh.node("n1").await;
    let file = mesh.folder().join("marks");
    let mut before = Vec::new();
    for _ in 0..10 {
        before.push(mesh.submit("probe", json!({"mark": file})).await);
    }
    for task in &before {
        mesh.end_of(task).await;
    }
    mesh.until_settled("probe").await;
    let bus = mesh.client.bus();
    for stream in ["WEFT_INBOX", "WEFT_LOG"] {
        api(bus, &format!("CONSUMER.DELETE.{stream}.skill-probe"), &Value::Null).await;
    }
    let after = mesh.submit("probe", json!({"mark": file})).await;
    mesh.end_of(&after).await;
    let (retried, _) =
        mesh.run("probe", json!({"mark": file, "failUntilAttempt": 1}).to_string()).await;
    mesh.until_settled("probe").await;
    let ran = marks(&file);
    assert_eq!(ran.len(), before.len() + 3, "{ran:?}");
    for task in before.iter().chain([&after]) {
        assert_eq!(ran.iter().filter(|mark| mark.task == task.as_str()).count(), 1, "{task}");
        assert_eq!(
            kinds(&mesh.entries(task).await).iter().filter(|k| **k == "completed").count(),
            1
        );
    }
    assert_eq!(mesh.entries(&retried).await.last().unwrap().attempt, 2);
    assert!(node.is_running());
}

/// What a node's user needs: the consumers of its skills, the logs and what follows from them, the registry, the
/// object store. It may neither submit, nor change a stream, nor read another's inbox.
fn node_user(password: &str) -> String {
    let publish = [
        "$JS.API.INFO",
        "$JS.API.CONSUMER.INFO.WEFT_INBOX.skill-echo",
        "$JS.API.CONSUMER.INFO.WEFT_INBOX.skill-probe",
        "$JS.API.CONSUMER.INFO.WEFT_LOG.skill-echo",
        "$JS.API.CONSUMER.INFO.WEFT_LOG.skill-probe",
        "$JS.API.CONSUMER.MSG.NEXT.WEFT_INBOX.skill-echo",
        "$JS.API.CONSUMER.MSG.NEXT.WEFT_INBOX.skill-probe",
        "$JS.API.CONSUMER.MSG.NEXT.WEFT_LOG.skill-echo",
        "$JS.API.CONSUMER.MSG.NEXT.WEFT_LOG.skill-probe",
        "$JS.ACK.WEFT_INBOX.>",
        "$JS.ACK.WEFT_LOG.>",
        "$JS.API.DIRECT.GET.WEFT_LOG",
        "$JS.API.DIRECT.GET.WEFT_LOG.>",
        "$JS.API.DIRECT.GET.WEFT_INBOX",
        "$JS.API.STREAM.MSG.GET.WEFT_LOG",
        "$JS.API.STREAM.INFO.OBJ_weft_artifacts",
        "$JS.API.STREAM.MSG.GET.OBJ_weft_artifacts",
        "$JS.API.DIRECT.GET.OBJ_weft_artifacts.>",
        "$JS.API.CONSUMER.CREATE.OBJ_weft_artifacts.>",
        "$JS.API.CONSUMER.DELETE.OBJ_weft_artifacts.>",
        "$O.weft_artifacts.>",
        "$KV.weft_agents.>",
        "weft.log.>",
        "weft.run.*",
        "weft.timer.>",
        "weft.wake.>",
        "weft.dead.*",
        "weft.holding.*",
        "replies.>",
    ];
    let publish: Vec<_> = publish.iter().map(|subject| format!("{subject:?}")).collect();
    format!(
        "{{ user: worker, password: \"{password}\", permissions: {{ publish: [ {} ], \
         subscribe: [ \"_INBOX.>\", \"weft.cancel.>\" ] }} }}",
        publish.join(", ")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_works_with_the_least_privilege() {
    let config = AGENTS.replace("[node]", "[node]\nprovision = false");
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let file = mesh.server.settings().data_dir.join("nats-server.conf");
    let text = std::fs::read_to_string(&file).unwrap();
    let marker = "WEFT { jetstream: enabled, users: [ ";
    assert!(text.contains(marker), "{text}");
    let with_user = text.replace(marker, &format!("{marker}{}, ", node_user("secret")));
    std::fs::write(&file, with_user).unwrap();
    let pid = Pid::from_raw(i32::try_from(mesh.server.pid().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let url = mesh.server.client_url().replace("nats://", "nats://worker:secret@");
    let limited = wait_until("the new user", SOON, || async {
        Bus::connect(bus_settings(&url, "limited")).await.ok()
    })
    .await;

    let orders = Orders {
        role: "node".to_owned(),
        name: "n1".to_owned(),
        server: url,
        system: None,
        config,
    };
    let mut node = Process::start(PROGRAM, orders, mesh.folder().join("n1.log")).await;
    let child = json!({"echo": "child"});
    for (skill, input, end) in [
        ("echo", json!("x"), "completed"),
        ("probe", json!({"sleepMs": 50, "status": "at work", "steps": 2}), "completed"),
        ("probe", json!({"failUntilAttempt": 1}), "completed"),
        ("probe", json!({"failUntilAttempt": 1, "retryAfterMs": 5500}), "completed"),
        ("probe", json!({"failUntilAttempt": 9, "failAs": "permanent"}), "failed"),
        ("probe", json!({"sleepMs": "x"}), "rejected"),
        ("probe", json!({"outputChars": 300_000}), "completed"),
        ("probe", json!({"delegate": {"skill": "probe", "inputs": [child, child]}}), "completed"),
    ] {
        let task = mesh.submit(skill, input.clone()).await;
        let last = mesh.end_of(&task).await;
        assert_eq!(last.event.kind().name(), end, "{input}: {last:?}\n{}", node.said());
        if end == "failed" {
            assert_eq!(fault(&last).code, protocol::fault::code::AGENT_ERROR);
        }
    }
    assert_eq!(mesh.client.dead_letters(None, 10).await.unwrap().len(), 1);
    let running = mesh.submit("probe", json!({"sleepMs": 25_000, "status": "at work"})).await;
    mesh.until_kind(&running, "status").await;
    mesh.client.cancel(&Owner::default(), &running).await.unwrap();
    assert_eq!(mesh.end_of(&running).await.event.kind().name(), "canceled");
    assert_eq!(mesh.client.agents().await.unwrap().len(), 2);
    node.terminate();
    assert!(node.ended().await.success(), "{}", node.said());
    let said = node.said().to_ascii_lowercase();
    assert!(!said.contains("permissions violation"), "{said}");

    // And the user can do no more than that.
    let brief = Duration::from_millis(500);
    for subject in
        ["$JS.API.STREAM.DELETE.WEFT_LOG", "$JS.API.STREAM.PURGE.WEFT_INBOX", "weft.task.echo"]
    {
        let answer = limited.ask(subject.to_owned(), &Headers::new(), "{}".into(), brief).await;
        assert!(answer.is_err(), "{subject}: {answer:?}");
    }
    let unknown = runtime::bus::BusSettings {
        credentials: Credentials::User { user: "worker".to_owned(), password: "guess".to_owned() },
        ..bus_settings(&mesh.server.client_url(), "guess")
    };
    assert!(Bus::connect(unknown).await.is_err());
    let (_, entries) = {
        let _node = mesh.node("n2").await;
        mesh.run("echo", "nothing is gone").await
    };
    assert_eq!(kinds(&entries), ["completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_deletes_while_the_mesh_runs_comes_back() {
    let config = weft_tests::play::PLAYERS;
    let (mesh, _coordinator) = Mesh::start(PROGRAM, config).await;
    let _node = mesh.node("n1").await;
    let bus = mesh.client.bus();
    let waits = json!({"acts": [{"act": "signal", "name": "bell"}]});
    let task = mesh.submit("play", waits).await;
    mesh.until_kind(&task, "suspended").await;
    api(bus, "CONSUMER.DELETE.WEFT_LOG.coordinator", &Value::Null).await;
    api(bus, "STREAM.DELETE.KV_weft_agents", &Value::Null).await;
    let bell = protocol::input::Input::Signal { name: "bell".to_owned(), payload: Vec::new() };
    mesh.client.say(&Owner::default(), &task, &bell, None).await.unwrap();
    assert_eq!(mesh.end_of(&task).await.event.kind().name(), "completed");
    wait_until("the node announces itself again", SOON, || async {
        mesh.client.agents().await.ok().filter(|agents| !agents.is_empty())
    })
    .await;
}
