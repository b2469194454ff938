//! `weft dev` from start to every kind of end.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use crate::support::{Dev, Running, Said, exists, http_status, wait_until, weft};
use rustix::process::Signal;
use tokio::time::Instant;

/// Submits a task to the probe and waits until it runs.
fn running_probe(dev: &Dev, input: &str) -> String {
    let task = dev.run(&["task", "send", "probe", input]).out.trim().to_owned();
    wait_until("the task to run", || {
        let shown = dev.run(&["task", "get", &task, "-o", "json"]).json();
        (shown["status"]["state"] == "TASK_STATE_WORKING").then_some(())
    });
    task
}

#[test]
fn it_says_where_everything_is_and_all_of_it_answers() {
    let dev = Dev::start();
    let out = dev.wrote("out");
    for key in ["nats", "monitor", "coordinatorHttp", "nodeHttp", "dataDir"] {
        assert!(out.contains(&dev.fact(key)), "{key} is missing in {out}");
    }
    assert_eq!(dev.process.ready["pid"].as_u64(), Some(dev.process.pid()));
    assert!(!out.contains(&dev.fact("system")), "a password is on the screen");
    for key in ["coordinatorHttp", "nodeHttp"] {
        for path in ["livez", "readyz", "metrics"] {
            let status = http_status(&format!("{}/{path}", dev.fact(key)));
            assert!(status.ends_with("200 OK"), "{key} {path}: {status}");
        }
    }
    assert!(dev.wrote("err").contains("the gateway lets everybody in"), "{}", dev.wrote("err"));
    let mut lines = out.lines().filter_map(|line| line.trim().strip_prefix("weft "));
    let first = lines.find(|line| line.starts_with("task send")).unwrap();
    let words: Vec<_> = first.split("    ").next().unwrap().split(' ').collect();
    assert_eq!(dev.run(&words).out, "hello\n", "what it tells to try does not work");
}

/// Longer than a mesh that cannot stop in good order would wait.
const IN_HAND_MS: u32 = 2_600;

fn drains(which: Signal) {
    let kept = tempfile::tempdir().unwrap();
    let data = kept.path().join("data");
    let arguments = ["--data-dir", data.to_str().unwrap()];
    let mut dev = Dev::start_with(&arguments);
    let nats = dev.nats_pid();
    let task = running_probe(&dev, &format!("{{\"sleepMs\": {IN_HAND_MS}}}"));
    dev.process.signal(which);
    assert_eq!(dev.process.ended().code(), Some(0), "{}", dev.wrote("err"));
    assert!(dev.wrote("err").contains("stopping"));
    assert!(!exists(nats), "the server outlived weft dev");
    assert!(!dev.dir.join("dev.ready.json").exists(), "it is not ready any more");

    let again = Dev::start_with(&arguments);
    let shown = again.run(&["task", "get", &task, "-o", "json"]).json();
    assert_eq!(shown["status"]["state"], "TASK_STATE_COMPLETED");
    assert_eq!(shown["metadata"]["weft/attempts"], 1, "the drain cost an attempt: {shown}");
}

#[test]
fn ctrl_c_drains_and_kept_data_is_there_again() {
    drains(Signal::INT);
}

#[test]
fn sigterm_drains_and_kept_data_is_there_again() {
    drains(Signal::TERM);
}

#[test]
fn a_second_ctrl_c_ends_it_at_once_and_leaves_nothing_behind() {
    let mut dev = Dev::start();
    let nats = dev.nats_pid();
    running_probe(&dev, r#"{"sleepMs": 60000, "stubborn": true}"#);
    dev.process.signal(Signal::INT);
    wait_until("the drain", || dev.wrote("err").contains("stopping").then_some(()));
    let asked = Instant::now();
    dev.process.signal(Signal::INT);
    assert_eq!(dev.process.ended().code(), Some(130), "{}", dev.wrote("err"));
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    wait_until("the end of the server", || (!exists(nats)).then_some(()));
    assert!(!Path::new(&dev.fact("dataDir")).exists(), "temporary data is left behind");
    assert!(!dev.dir.join("dev.ready.json").exists(), "it is not ready any more");
}

#[test]
fn kill_9_leaves_no_server_behind() {
    let dev = Dev::start();
    let nats = dev.nats_pid();
    assert!(exists(nats));
    dev.process.signal(Signal::KILL);
    wait_until("the end of the server", || (!exists(nats)).then_some(()));
    let data = dev.fact("dataDir");
    std::fs::remove_dir_all(data).unwrap();
}

#[test]
fn a_server_that_dies_by_itself_is_a_clear_error() {
    let mut dev = Dev::start();
    crate::support::signal(dev.nats_pid(), Signal::KILL);
    assert_eq!(dev.process.ended().code(), Some(1));
    let err = dev.wrote("err");
    assert!(err.contains("error: nats-server ended by itself (signal: 9"), "{err}");
    assert!(err.contains("to do:"), "{err}");
}

#[test]
fn what_is_taken_is_named() {
    let kept = tempfile::tempdir().unwrap();
    let data = kept.path().to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let _first = Dev::start_with(&["--data-dir", data]);
    for (arguments, told) in [
        (["--nats-port", "0", "--data-dir", data], "in use by another nats-server"),
        (["--nats-port", &port, "--sync", "always"], "address already in use"),
        (["--nats-port", "0", "--http", &port], "cannot listen on"),
        (["--nats-port", "0", "--config", "nowhere.toml"], "nowhere.toml"),
    ] {
        let said = Said::from(weft(kept.path()).arg("dev").args(arguments).output().unwrap());
        assert!(matches!(said.code, 1 | 2), "{said:?}");
        assert!(said.err.starts_with("error: ") && said.err.contains(told), "{told}: {said:?}");
    }
}

#[test]
fn the_roles_alone_are_a_mesh_too() {
    let dev = Dev::start_with(&["--sync", "always"]);
    let file = dev.dir.join("roles.toml");
    std::fs::write(
        &file,
        "[bus]\nprefix = \"other\"\n[[agents]]\nskill = \"echo\"\nkind = \"echo\"\nconcurrency = 3\n",
    )
    .unwrap();
    let role = |arguments: &[&str], name: &str| {
        let mut command = dev.command(arguments);
        command.arg("--config").arg(&file).args(["--http", "127.0.0.1:0", "--name", name]);
        Running::start(command, &dev.dir, name)
    };
    let system = dev.fact("system");
    let mut coordinator = role(&["coordinator", "--system-server", &system], "c1");
    let mut node = role(&["node"], "n1");
    for running in [&coordinator, &node] {
        let url = running.ready["http"].as_str().unwrap();
        assert!(http_status(&format!("{url}/readyz")).ends_with("200 OK"), "{url}");
    }
    let sent = dev.run(&["task", "send", "echo", "hi", "--wait", "--prefix", "other"]);
    assert_eq!((sent.code, sent.out.as_str()), (0, "hi\n"), "{sent:?}");
    let agents = dev.run(&["agent", "list", "--prefix", "other", "-o", "json"]).json();
    assert_eq!(agents.as_array().map(Vec::len), Some(1), "{agents}");
    assert_eq!((&agents[0]["node"], &agents[0]["slots"]), (&"n1".into(), &3.into()));
    let doctor = dev.run(&["doctor", "--prefix", "other", "-o", "json"]).json();
    let sync = doctor.as_array().unwrap().iter().find(|finding| finding["check"] == "sync");
    assert_eq!(sync.unwrap()["grade"], "ok", "{doctor}");
    for running in [&mut node, &mut coordinator] {
        running.signal(Signal::TERM);
        assert_eq!(running.ended().code(), Some(0));
    }
    let agents = dev.run(&["agent", "list", "--prefix", "other", "-o", "json"]).json();
    assert_eq!(agents.as_array().map(Vec::len), Some(0), "a node that left is still listed");
}
