//! The user that `docs/hosts.md` gives to submitters: what it says that such a user can do, it can.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use runtime::nats_server::{FindOptions, find};
use serde_json::Value;

use crate::support::{Running, Said, wait_until, weft};

struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A code block of the page, by how it begins.
fn block(page: &str, beginning: &str) -> String {
    let blocks = page.split("```").skip(1).step_by(2);
    let found = blocks
        .map(|block| block.trim_start_matches("sh").trim())
        .find(|block| block.starts_with(beginning));
    found.unwrap_or_else(|| panic!("no block begins with {beginning}")).to_owned()
}

/// A server with the users of the page: `app` as it stands there, and `reader` with what follows it.
async fn server(dir: &Path) -> Server {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/hosts.md")).unwrap();
    let app = block(&page, "{ user: app");
    let more = block(&page, "\"$JS.API.DIRECT.GET.WEFT_LOG\"").replace('\n', ", ");
    let reader = app.replace("user: app", "user: reader").replacen("]", &format!(", {more}]"), 1);
    let users =
        format!("{{ user: weft, password: w }}, {app}, {reader}").replace("$APP_PASSWORD", "a");
    let conf = format!(
        "listen: \"127.0.0.1:-1\"\nports_file_dir: {dir:?}\n\
         jetstream {{ store_dir: {store:?} }}\naccounts {{ WEFT {{ jetstream: enabled, users: [ {users} ] }} }}\n",
        store = dir.join("nats"),
    );
    let file = dir.join("nats.conf");
    std::fs::write(&file, conf).unwrap();
    let found = find(&FindOptions::from_environment()).await.unwrap();
    let mut command = Command::new(found.path);
    let log = std::fs::File::create(dir.join("nats.log")).unwrap();
    let child = command.arg("-c").arg(file).stderr(log).stdout(Stdio::null()).spawn().unwrap();
    let ports = dir.join(format!("nats-server_{}.ports", child.id()));
    let url = wait_until("the server's ports", || {
        let text = std::fs::read_to_string(&ports).ok()?;
        let ports: Value = serde_json::from_str(&text).ok()?;
        Some(ports["nats"][0].as_str()?.to_owned())
    });
    Server { child, url }
}

#[tokio::test]
async fn a_submitter_gets_its_result_and_a_reader_reads() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path()).await;
    let run = |user: &str, arguments: &[&str]| {
        let mut command = weft(dir.path());
        let password = if user == "weft" { "w" } else { "a" };
        command.args(arguments).env("NATS_URL", &server.url);
        command.env("NATS_USER", user).env("NATS_PASSWORD", password);
        command
    };
    let say = |user: &str, arguments: &[&str]| Said::from(run(user, arguments).output().unwrap());
    let config = dir.path().join("weft.toml");
    let agents = "[[agents]]\nskill = \"echo\"\nkind = \"echo\"\n[[agents]]\nskill = \"probe\"\nkind = \"probe\"\n";
    std::fs::write(&config, agents).unwrap();
    let config = config.to_str().unwrap();
    let role =
        |name: &str| Running::start(run("weft", &[name, "--config", config]), dir.path(), name);
    let _coordinator = role("coordinator");
    let _node = role("node");

    for arguments in [&["echo", "hello"][..], &["echo", "hello", "--dedup-key", "k"]] {
        let sent = say("app", &[&["task", "send"], arguments, &["--wait"]].concat());
        assert_eq!((sent.code, sent.out.as_str(), sent.err.as_str()), (0, "hello\n", ""));
    }
    let long = r#"{"steps": 3, "sleepMs": 400, "echo": "late"}"#;
    let sent = say("app", &["task", "send", "probe", long, "--wait", "-o", "json"]).json();
    assert_eq!(sent["status"]["state"], "TASK_STATE_COMPLETED", "{sent}");
    let fails = r#"{"failUntilAttempt": 9, "failAs": "permanent"}"#;
    let failed = say("app", &["task", "send", "probe", fails, "--wait"]);
    assert!(failed.code == 6 && failed.err.contains("told to fail"), "{failed:?}");
    let warned = say("app", &["task", "send", "nosuch", "x"]);
    assert_eq!(
        (warned.code, warned.err.as_str()),
        (0, ""),
        "nobody tells this user who serves what"
    );

    for arguments in [&["task", "get", "s1"][..], &["task", "watch", "s1"], &["task", "list"]] {
        let read = say("reader", arguments);
        assert!(read.code == 0 && read.out.contains("completed"), "{arguments:?}: {read:?}");
    }
    let read = say("reader", &["agent", "list"]);
    assert!(read.code == 0 && read.out.contains("echo"), "{read:?}");
    let refused = say("app", &["task", "get", "s1"]);
    assert_eq!(refused.code, 8, "{refused:?}");
}
