//! What the child processes do: Weft's node, Weft's coordinator, the floor's worker.
//!
//! A child reads one line of JSON that says what it is, writes `ready` once it is, and ends in good order when
//! its input is closed, which the end of its parent does too.

use std::io::Write as _;

use agent_node::role::NodeRole;
use coordinator::role::CoordinatorRole;
use gateway::role::GatewayRole;
use protocol::subject::Subjects;
use runtime::bus::{BusSettings, Credentials, TlsFiles};
use runtime::config::Settings;
use runtime::nats_server::SYSTEM_USER;
use runtime::process::causes;
use runtime::telemetry::{self, TelemetryOptions};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio_util::sync::CancellationToken;

use crate::{BenchError, durable, floor_worker};

/// What a child process is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    Node { server: String, config: String },
    Coordinator { server: String, password: String, sync_always: bool, config: String },
    FloorWorker { server: String },
    Gateway { server: String },
}

impl Order {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Node { .. } => "node",
            Self::Coordinator { .. } => "coordinator",
            Self::FloorWorker { .. } => "floor worker",
            Self::Gateway { .. } => "gateway",
        }
    }
}

pub(crate) fn bus_settings(server: &str, role: &str) -> BusSettings {
    BusSettings {
        servers: server.to_owned(),
        credentials: Credentials::None,
        tls: TlsFiles::default(),
        role: role.to_owned(),
        subjects: Subjects::default(),
    }
}

/// Runs the role that the first line of the input names.
pub(crate) async fn run() -> Result<(), BenchError> {
    let mut input = BufReader::new(tokio::io::stdin());
    let mut line = String::new();
    input.read_line(&mut line).await?;
    let order: Order =
        serde_json::from_str(&line).map_err(|source| BenchError::Order { source })?;
    let stop = CancellationToken::new();
    let name = order.name();
    let fail = |reason: String| BenchError::Role { what: name, reason };
    let options = TelemetryOptions::from_environment(name);
    let guard = telemetry::init(&options).map_err(|error| fail(error.to_string()))?;
    let until_closed = async {
        // Whether the input ended or broke, nobody is there any more.
        drop(input.read_to_end(&mut Vec::new()).await);
        stop.cancel();
        std::future::pending::<()>().await;
    };
    let done = tokio::select! {
        done = play(order, stop.clone()) => done,
        () = until_closed => Ok(()),
    };
    drop(guard);
    done.map_err(fail)
}

async fn play(order: Order, stop: CancellationToken) -> Result<(), String> {
    match order {
        Order::Node { server, config } => {
            let role = NodeRole {
                bus: bus_settings(&server, "node"),
                settings: Settings::parse(&config).map_err(|faults| faults.join("; "))?,
                name: None,
                http: None,
                base: ".".into(),
                kinds: durable::agent::KINDS,
            };
            let done = agent_node::role::run(role, stop, |_| tell_ready());
            Box::pin(done).await.map_err(|error| causes(&error).join(": "))
        }
        Order::Coordinator { server, password, sync_always, config } => {
            let system = BusSettings {
                credentials: Credentials::User { user: SYSTEM_USER.to_owned(), password },
                ..bus_settings(&server, "coordinator-system")
            };
            let role = CoordinatorRole {
                bus: bus_settings(&server, "coordinator"),
                system: Some(system),
                settings: Settings::parse(&config).map_err(|faults| faults.join("; "))?,
                name: None,
                http: None,
                sync_always: Some(sync_always),
            };
            let done = coordinator::role::run(role, stop, |_| tell_ready());
            Box::pin(done).await.map_err(|error| causes(&error).join(": "))
        }
        Order::Gateway { server } => {
            let config = "[gateway]\nlisten = \"127.0.0.1:0\"\nopen = true\n";
            let role = GatewayRole {
                bus: bus_settings(&server, "gateway"),
                settings: Settings::parse(config).map_err(|faults| faults.join("; "))?,
                name: None,
                listen: Vec::new(),
                http: None,
            };
            let done = gateway::role::run(role, stop, |ready| tell_ready_at(ready.listen));
            Box::pin(done).await.map_err(|error| causes(&error).join(": "))
        }
        Order::FloorWorker { server } => floor_worker::work(&server, stop, tell_ready).await,
    }
}

fn tell_ready() {
    tell("ready");
}

fn tell_ready_at(address: std::net::SocketAddr) {
    tell(&format!("ready {address}"));
}

fn tell(line: &str) {
    let mut out = std::io::stdout();
    // A parent that is gone has closed the input too.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
