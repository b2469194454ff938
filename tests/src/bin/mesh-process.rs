//! A node, a coordinator or a gateway for the suites: the same roles that the shipped binaries run.
#![expect(clippy::print_stdout, reason = "the harness reads the ready line from standard output")]

use std::io::Write as _;
use std::net::SocketAddr;

use agent_node::role::NodeRole;
use coordinator::role::CoordinatorRole;
use gateway::role::GatewayRole;
use protocol::NodeName;
use runtime::config::Settings;
use runtime::telemetry::{self, TelemetryOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use weft_tests::mesh::bus_settings;
use weft_tests::process::{Orders, ReadyLine};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let argument = std::env::args().nth(1).ok_or("orders are missing")?;
    let orders: Orders = serde_json::from_str(&argument)?;
    let guard = telemetry::init(&TelemetryOptions::from_environment(&orders.role))?;
    let settings = Settings::parse(&orders.config).map_err(|faults| faults.join("\n"))?;
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let name = Some(NodeName::parse(&orders.name)?);
    let bus = bus_settings(&orders.server, &orders.role);
    let running = async {
        if orders.role == "node" {
            let role = NodeRole {
                bus,
                settings,
                name,
                http: None,
                base: ".".into(),
                kinds: weft_tests::play::KINDS,
            };
            let ready = |ready: agent_node::role::Ready| say(ready.http, None);
            agent_node::role::run(role, stop.clone(), ready).await.map_err(Box::from)
        } else if orders.role == "gateway" {
            let role = GatewayRole { bus, settings, name, listen: Vec::new(), http: None };
            let ready = |ready: gateway::role::Ready| say(ready.http, Some(ready.listen));
            gateway::role::run(role, stop.clone(), ready).await.map_err(Box::from)
        } else {
            let system = orders.system.map(|url| bus_settings(&url, "coordinator"));
            let role =
                CoordinatorRole { bus, system, settings, name, http: None, sync_always: None };
            let ready = |ready: coordinator::role::Ready| say(ready.http, None);
            coordinator::role::run(role, stop.clone(), ready).await.map_err(Box::from)
        }
    };
    let stopping = async {
        terminate.recv().await;
        stop.cancel();
        std::future::pending::<()>().await;
    };
    let ended: Result<(), Box<dyn std::error::Error>> = tokio::select! {
        ended = running => ended,
        () = stopping => Ok(()),
    };
    guard.shutdown(std::time::Duration::from_secs(1)).await.ok();
    ended
}

fn say(http: Option<SocketAddr>, listen: Option<SocketAddr>) {
    let text = |address: SocketAddr| address.to_string();
    let line = ReadyLine { http: http.map(text), listen: listen.map(text) };
    println!("{}", serde_json::to_string(&line).unwrap_or_default());
    std::io::stdout().flush().ok();
}
