//! The coordinator, the node and the gateway of `weft dev`, side by side in one process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_node::role::NodeRole;
use coordinator::role::CoordinatorRole;
use gateway::role::GatewayRole;
use protocol::NodeName;
use protocol::id::Skill;
use protocol::topology::Capacity;
use runtime::bus::{BusSettings, Credentials, TlsFiles};
use runtime::config::{AgentSection, CONCURRENCY_DEFAULT, Settings, TIMEOUT_DEFAULT};
use runtime::metric::Metrics;
use runtime::nats_server::{SYSTEM_USER, ServerChild};
use runtime::process::causes;
use runtime::supervisor::{Kind, Supervisor};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::print::dev::Addresses;

/// The server refuses a stream that could outgrow the disk; a laptop's is not a server's.
const INBOX_BYTES: i64 = 1 << 30;
/// The same for decisions of doors.
const AUDIT_BYTES: i64 = 64 << 20;
/// How long roles may take to end when they cannot do so in good order.
const END_LIMIT: Duration = Duration::from_secs(2);

/// A role ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
#[error("the {role} ended: {reason}")]
pub(super) struct RoleEnded {
    role: &'static str,
    reason: String,
}

/// A running role.
struct Role {
    name: &'static str,
    stop: CancellationToken,
    ready: Option<oneshot::Receiver<Option<SocketAddr>>>,
    /// Gone once it has been heard.
    end: Option<oneshot::Receiver<Result<(), String>>>,
}

/// All roles.
pub(super) struct Mesh {
    jobs: Supervisor,
    base: Addresses,
    bus: BusSettings,
    system: BusSettings,
    sync_always: bool,
    coordinator: Option<Role>,
    node: Option<Role>,
    gateway: Option<Role>,
}

/// Where the roles serve health and metrics, and the gateway its doors.
pub(super) struct Started {
    coordinator: Option<SocketAddr>,
    node: Option<SocketAddr>,
    gateway: Option<SocketAddr>,
}

/// What a mesh for several machines asks of its servers, cut down to one server on one machine.
pub(crate) fn one_machine(asked: &Capacity) -> Capacity {
    let usual = Capacity::default();
    let mut capacity = Capacity { replicas: 1, ..asked.clone() };
    if capacity.inbox_bytes_max == usual.inbox_bytes_max {
        capacity.inbox_bytes_max = INBOX_BYTES;
    }
    if capacity.audit_bytes_max == usual.audit_bytes_max {
        capacity.audit_bytes_max = AUDIT_BYTES;
    }
    capacity
}

/// Settings of a mesh for several machines, cut down to one server on one machine. A gateway that knows who may come in
/// keeps to what its settings say; any other is open.
pub(super) fn for_one_machine(mut settings: Settings) -> Settings {
    settings.capacity = one_machine(&settings.capacity);
    settings.gateway.open |= !settings.gateway.access.knows_somebody();
    settings.gateway.push.allow_local = true;
    if let Ok(echo) = Skill::parse("echo")
        && settings.agents.iter().all(|agent| agent.skill != echo)
    {
        settings.agents.insert(
            0,
            AgentSection {
                skill: echo,
                kind: agent_node::agents::echo::KIND.name.to_owned(),
                concurrency: CONCURRENCY_DEFAULT,
                timeout: TIMEOUT_DEFAULT,
                cancel_grace: protocol::limits::CANCEL_GRACE_DEFAULT,
                on_message: protocol::card::OnMessage::default(),
                order: protocol::card::Order::default(),
                guard: runtime::config::GuardSection::default(),
                retry: protocol::retry::RetryPolicy::default(),
                options: serde_json::Value::Object(serde_json::Map::new()),
            },
        );
    }
    settings
}

impl Mesh {
    /// No roles yet, on this server.
    pub(super) fn new(server: &ServerChild, sync_always: bool) -> Self {
        let bus = BusSettings {
            servers: server.client_url(),
            credentials: Credentials::None,
            tls: TlsFiles::default(),
            role: String::new(),
            subjects: protocol::subject::Subjects::default(),
        };
        let system = Credentials::User {
            user: SYSTEM_USER.to_owned(),
            password: server.settings().passwords.system.expose().to_owned(),
        };
        Self {
            jobs: Supervisor::new(Metrics::new("dev")),
            base: Addresses {
                nats: server.client_url(),
                system: server.system_url(),
                monitor: server.monitor_url(),
                coordinator_http: None,
                node_http: None,
                gateway: None,
                pid: std::process::id(),
                nats_server_pid: server.pid(),
                data_dir: PathBuf::new(),
            },
            system: BusSettings {
                credentials: system,
                role: "dev-system".to_owned(),
                ..bus.clone()
            },
            bus,
            sync_always,
            coordinator: None,
            node: None,
            gateway: None,
        }
    }

    /// Starts the coordinator, and once it is ready the node, and then the gateway at the first of `listen` that is free.
    pub(super) async fn start(
        &mut self,
        settings: Settings,
        base: PathBuf,
        http: Option<u16>,
        name: Option<NodeName>,
        listen: Vec<String>,
    ) -> Result<Started, RoleEnded> {
        let address = |port: u16| Some(format!("127.0.0.1:{port}"));
        let port = http.unwrap_or(0);
        let next = if port == 0 { 0 } else { port.saturating_add(1) };
        let bus = |role: &str| BusSettings {
            role: role.to_owned(),
            subjects: settings.subjects.clone(),
            ..self.bus.clone()
        };
        let role = CoordinatorRole {
            bus: bus("coordinator"),
            system: Some(self.system.clone()),
            settings: settings.clone(),
            name: None,
            http: address(port),
            sync_always: Some(self.sync_always),
        };
        let gateway = GatewayRole {
            bus: bus("gateway"),
            settings: settings.clone(),
            name: None,
            listen,
            http: None,
        };
        let node =
            NodeRole { bus: bus("node"), settings, name, http: address(next), base, kinds: &[] };
        let coordinator = Role::start(&self.jobs, "coordinator", |stop, ready| async move {
            let tell = |up: coordinator::role::Ready| tell_ready(ready, up.http);
            coordinator::role::run(role, stop, tell).await.map_err(|error| because(&error))
        });
        let coordinator_http = self.coordinator.insert(coordinator).ready().await?;
        let node = Role::start(&self.jobs, "node", |stop, ready| async move {
            let tell = |up: agent_node::role::Ready| tell_ready(ready, up.http);
            agent_node::role::run(node, stop, tell).await.map_err(|error| because(&error))
        });
        let node_http = self.node.insert(node).ready().await?;
        let gateway = Role::start(&self.jobs, "gateway", |stop, ready| async move {
            let tell = |up: gateway::role::Ready| tell_ready(ready, Some(up.listen));
            gateway::role::run(gateway, stop, tell).await.map_err(|error| because(&error))
        });
        let gateway = self.gateway.insert(gateway).ready().await?;
        Ok(Started { coordinator: coordinator_http, node: node_http, gateway })
    }

    /// Everything that others need to know.
    pub(super) fn addresses(&self, started: Started, data_dir: &Path) -> Addresses {
        let url = |address: Option<SocketAddr>| address.map(|address| format!("http://{address}"));
        Addresses {
            coordinator_http: url(started.coordinator),
            node_http: url(started.node),
            gateway: url(started.gateway),
            data_dir: data_dir.to_owned(),
            ..self.base.clone()
        }
    }

    /// Waits until a role ends although nobody asked it to.
    pub(super) async fn ended(&mut self) -> RoleEnded {
        tokio::select! {
            ended = Role::ended(&mut self.coordinator) => ended,
            ended = Role::ended(&mut self.node) => ended,
            ended = Role::ended(&mut self.gateway) => ended,
        }
    }

    /// Ends the roles: in good order, or at once because something they need is gone.
    pub(super) async fn stop(&mut self, in_order: bool) {
        let roles = [self.gateway.take(), self.node.take(), self.coordinator.take()];
        if !in_order {
            for role in roles.iter().flatten() {
                role.stop.cancel();
            }
        }
        for role in roles.into_iter().flatten() {
            role.stop.cancel();
            let Some(end) = role.end else { continue };
            let ended =
                if in_order { Ok(end.await) } else { tokio::time::timeout(END_LIMIT, end).await };
            match ended {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(reason))) => tracing::warn!(role = role.name, reason, "ended badly"),
                Ok(Err(_)) => tracing::warn!(role = role.name, "ended by a panic"),
                Err(_) => tracing::warn!(role = role.name, "still runs"),
            }
        }
    }
}

/// The other side is gone only when the mesh is being stopped.
fn tell_ready(ready: oneshot::Sender<Option<SocketAddr>>, http: Option<SocketAddr>) {
    if ready.send(http).is_err() {
        tracing::debug!(reason = "stopping", "readiness not told");
    }
}

impl Role {
    fn start<F, R>(jobs: &Supervisor, name: &'static str, make: F) -> Self
    where
        F: FnOnce(CancellationToken, oneshot::Sender<Option<SocketAddr>>) -> R,
        R: Future<Output = Result<(), String>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let (tell_ready, ready) = oneshot::channel();
        let (tell_end, end) = oneshot::channel();
        let role = make(stop.clone(), tell_ready);
        jobs.spawn(name, Kind::Work, async move {
            // The other side is gone only when the process is.
            drop(tell_end.send(role.await));
        });
        Self { name, stop, ready: Some(ready), end: Some(end) }
    }

    /// Where it serves health and metrics, once it is ready.
    async fn ready(&mut self) -> Result<Option<SocketAddr>, RoleEnded> {
        let up = match self.ready.take() {
            Some(ready) => ready.await.ok(),
            None => None,
        };
        match up {
            Some(http) => Ok(http),
            None => Err(self.reason().await),
        }
    }

    async fn ended(role: &mut Option<Self>) -> RoleEnded {
        match role {
            Some(role) => role.reason().await,
            None => std::future::pending().await,
        }
    }

    async fn reason(&mut self) -> RoleEnded {
        let ended = match &mut self.end {
            Some(end) => end.await,
            None => std::future::pending().await,
        };
        self.end = None;
        let reason = match ended {
            Ok(Ok(())) => "without an error".to_owned(),
            Ok(Err(reason)) => reason,
            Err(_) => "it panicked; see the log".to_owned(),
        };
        RoleEnded { role: self.name, reason }
    }
}

fn because(error: &dyn std::error::Error) -> String {
    causes(error).join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_for_many_machines_works_on_one() {
        for (text, inbox, skills) in [
            ("", INBOX_BYTES, vec!["echo"]),
            (
                "[bus]\nreplicas = 3\ninbox_bytes_max = 7\n[[agents]]\nskill = \"a\"\nkind = \"probe\"",
                7,
                vec!["echo", "a"],
            ),
            ("[[agents]]\nskill = \"echo\"\nkind = \"probe\"", INBOX_BYTES, vec!["echo"]),
        ] {
            let settings = for_one_machine(Settings::parse(text).unwrap());
            let found: Vec<_> = settings.agents.iter().map(|agent| agent.skill.as_str()).collect();
            assert_eq!((settings.capacity.replicas, settings.capacity.inbox_bytes_max), (1, inbox));
            assert_eq!(found, skills);
        }
    }

    #[test]
    fn a_gateway_that_knows_who_may_come_in_is_as_open_as_its_file_says() {
        let key = format!(
            "[[gateway.keys]]\nname = \"a\"\nowner = \"o\"\nsha256 = \"{}\"",
            "0".repeat(64)
        );
        for (text, open) in [
            ("", true),
            ("[gateway]\nopen = false", true),
            (key.as_str(), false),
            (&format!("[gateway]\nopen = false\n{key}"), false),
            (&format!("[gateway]\nopen = true\n{key}"), true),
        ] {
            let settings = for_one_machine(Settings::parse(text).unwrap());
            assert_eq!(settings.gateway.open, open, "{text}");
        }
    }
}
