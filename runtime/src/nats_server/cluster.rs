//! Runs a cluster of nats-servers on this machine, as child processes.
//!
//! What a cluster does when a member dies cannot be shown with one server, and a container engine
//! is not always at hand.

use std::{path::PathBuf, time::Duration};

use tokio::time::{sleep, timeout};

use super::{
    child::{ServerChild, StartError},
    config::{Membership, Password, Passwords, ServerSettings, SyncInterval},
    find::Found,
    monitor, port,
};

const NAME: &str = "weft";

/// A leader's failover takes 4 to 9 s: the election timeout is fixed in the server.
const READY_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(25);

/// How to run a cluster.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Holds one directory per member.
    pub data_dir: PathBuf,
    /// How many servers. Streams with three replicas need three.
    pub members: usize,
    /// When writes reach the disk.
    pub sync_interval: SyncInterval,
}

impl ClusterSettings {
    /// Three members, not syncing every write.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), members: 3, sync_interval: SyncInterval::default() }
    }
}

/// Why a cluster is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// A member did not start.
    #[error("member {name} of the cluster: {error}")]
    Member {
        /// The server's name.
        name: String,
        /// Why.
        error: StartError,
    },
    /// No ports for the routes between the members.
    #[error("not enough free ports for a cluster")]
    NoFreePort,
    /// There is no member of this index.
    #[error("the cluster has no member {0}")]
    NoMember(usize),
    /// The members run but do not agree on a leader.
    #[error("the cluster was not ready after {} s: {state}", READY_LIMIT.as_secs())]
    NotReady {
        /// What each running member said last.
        state: String,
    },
}

/// A running cluster. Dropping it kills all members.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<ServerChild>,
}

impl Cluster {
    /// Starts all members and waits until they are healthy and agree on a JetStream leader.
    ///
    /// # Errors
    /// A member does not start, or the cluster is not ready in time; nothing is left running then.
    pub async fn start(found: &Found, settings: &ClusterSettings) -> Result<Self, ClusterError> {
        let routes: Vec<u16> = (0..settings.members).map_while(|_| port::free()).collect();
        if routes.len() < settings.members {
            return Err(ClusterError::NoFreePort);
        }
        let passwords = Passwords { system: Password::random(), weft: Password::random() };
        let mut cluster = Self { members: Vec::with_capacity(settings.members) };
        for (index, port) in routes.iter().enumerate() {
            let name = format!("n{}", index + 1);
            let membership =
                Membership { cluster: NAME.to_owned(), port: *port, routes: routes.clone() };
            let member = ServerSettings {
                name: name.clone(),
                sync_interval: settings.sync_interval,
                passwords: passwords.clone(),
                membership: Some(membership),
                ..ServerSettings::new(settings.data_dir.join(&name))
            };
            let started = ServerChild::launch(found, member).await;
            cluster.members.push(started.map_err(|error| ClusterError::Member { name, error })?);
        }
        cluster.wait_ready().await?;
        Ok(cluster)
    }

    /// The members, running or not.
    #[must_use]
    pub fn members(&self) -> &[ServerChild] {
        &self.members
    }

    /// All members' client URLs, separated by commas, as clients take them.
    #[must_use]
    pub fn client_url(&self) -> String {
        self.joined(ServerChild::client_url)
    }

    /// The same for account `SYS`. Holds the password.
    #[must_use]
    pub fn system_url(&self) -> String {
        self.joined(ServerChild::system_url)
    }

    fn joined(&self, url: impl Fn(&ServerChild) -> String) -> String {
        self.members.iter().map(url).collect::<Vec<_>>().join(",")
    }

    /// The index of the JetStream leader, if all running members agree on one that runs.
    pub async fn leader(&self) -> Option<usize> {
        let mut names = Vec::new();
        for member in self.members.iter().filter(|member| member.pid().is_some()) {
            let meta = monitor::meta_cluster(member.bound().monitor).await?;
            if meta.cluster_size != self.members.len() {
                return None;
            }
            names.push(meta.leader);
        }
        let (first, others) = names.split_first()?;
        let leads =
            |member: &ServerChild| member.settings().name == *first && member.pid().is_some();
        let agreed = others.iter().all(|name| name == first);
        self.members.iter().position(leads).filter(|_| agreed)
    }

    /// Waits until all running members are healthy and agree on a leader. Returns its index.
    ///
    /// # Errors
    /// A member ended by itself, or it takes too long: less than half of the members can never be
    /// ready.
    pub async fn wait_ready(&mut self) -> Result<usize, ClusterError> {
        let ready = async {
            loop {
                if let Some(leader) = self.leader().await
                    && self.unhealthy().await.is_empty()
                {
                    return Ok(leader);
                }
                self.still_running()?;
                sleep(POLL).await;
            }
        };
        match timeout(READY_LIMIT, ready).await {
            Ok(result) => result,
            Err(_elapsed) => {
                let unhealthy = self.unhealthy().await;
                let state = if unhealthy.is_empty() {
                    "the running members do not agree on a leader".to_owned()
                } else {
                    format!("not healthy: {}", unhealthy.join(", "))
                };
                Err(ClusterError::NotReady { state })
            }
        }
    }

    /// SIGKILL for one member.
    ///
    /// # Errors
    /// There is no such member.
    pub async fn kill(&mut self, index: usize) -> Result<(), ClusterError> {
        self.member(index)?.kill().await;
        Ok(())
    }

    /// Starts one member again, on its data and ports, and waits until it listens: whether the
    /// cluster can then be ready depends on the others, so [`Cluster::wait_ready`] is separate.
    ///
    /// # Errors
    /// There is no such member, or it does not start.
    pub async fn restart(&mut self, index: usize) -> Result<(), ClusterError> {
        let member = self.member(index)?;
        member
            .relaunch()
            .await
            .map_err(|error| ClusterError::Member { name: member.settings().name.clone(), error })
    }

    /// One member, to freeze, thaw or stop it.
    ///
    /// # Errors
    /// There is no such member.
    pub fn member(&mut self, index: usize) -> Result<&mut ServerChild, ClusterError> {
        self.members.get_mut(index).ok_or(ClusterError::NoMember(index))
    }

    /// Stops all members, one after the other.
    pub async fn stop(&mut self) {
        for member in &mut self.members {
            member.stop().await;
        }
    }

    async fn unhealthy(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for member in self.members.iter().filter(|member| member.pid().is_some()) {
            if !monitor::is_healthy(member.bound().monitor).await {
                names.push(member.settings().name.as_str());
            }
        }
        names
    }

    fn still_running(&mut self) -> Result<(), ClusterError> {
        for member in &mut self.members {
            let name = member.settings().name.clone();
            if let Some(running) = member.running_mut() {
                running.still_starting().map_err(|error| ClusterError::Member { name, error })?;
            }
        }
        Ok(())
    }
}
