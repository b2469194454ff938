//! `weft dev`: a whole mesh in one process, with a nats-server child.
//!
//! The server dies with this process, however that ends; the roles stop in order (node, coordinator, server), so
//! that work in hand reaches its commit.

mod data;
mod roles;

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use clap::ValueEnum;
use runtime::args::{ArgsError, ConfigArgs, TelemetryArgs};
use runtime::config::Settings;
use runtime::nats_server::{
    FindError, FindOptions, Found, Port, ServerChild, ServerSettings, StartError, SyncInterval,
    find, start,
};
use runtime::process::{ReadyFile, Signals, WriteError};
use runtime::telemetry;
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure, store_todo};
use crate::print::{Format, PrintError, Printer, dev as print};
use data::{Data, DataError};
pub(crate) use roles::one_machine;
use roles::{Mesh, RoleEnded};

/// Where a NATS client looks first.
const NATS_PORT: u16 = 4222;
/// Where people look for HTTP.
const GATEWAY_PORT: u16 = 8080;
/// The read model's file, beside the server's data.
const READ_MODEL: &str = "tasks.sqlite";
/// Logs stay out of the way of what is said to the reader.
const LOG_FILTER: &str = "warn";
/// How long the last spans may take.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// Run a whole mesh here: nats-server, coordinator, gateway and a node with the skill echo
///
/// A nats-server is taken from PATH or the cache, or downloaded into the cache. It listens on this machine only
/// and lets everybody in.
#[derive(clap::Args)]
pub(crate) struct Dev {
    /// Port of the NATS server; 0 takes a free one [default: 4222, or a free one if that is taken]
    #[arg(long, value_name = "PORT")]
    nats_port: Option<u16>,
    /// Port of the coordinator's health and metrics, the node takes the next one [default: free ones]
    #[arg(long, value_name = "PORT")]
    http: Option<u16>,
    /// Port of the gateway: A2A and REST; 0 takes a free one [default: 8080, or a free one if that is taken]
    #[arg(long, value_name = "PORT")]
    gateway_port: Option<u16>,
    /// Keep the data there [default: a temporary directory that is removed at the end]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// When writes reach the disk
    #[arg(long, value_enum, default_value_t)]
    sync: SyncArg,
    /// Write all addresses there as JSON once everything is ready; removed at the end
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// The nats-server to start
    #[arg(long, value_name = "FILE")]
    nats_server: Option<PathBuf>,
    /// Name of the node [default: made up]
    #[arg(long)]
    name: Option<protocol::NodeName>,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum SyncArg {
    /// Every two minutes: fast
    #[default]
    Interval,
    /// Before each acknowledgement, as in production
    Always,
}

/// Why it ended badly.
#[derive(Debug, thiserror::Error)]
enum DevError {
    #[error("there is no nats-server to start")]
    Find(#[from] FindError),
    #[error("nats-server did not start")]
    Start(#[from] StartError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("nats-server ended by itself ({status}); its log ends with:\n{tail}")]
    ServerEnded { status: String, tail: String },
    #[error(transparent)]
    Role(#[from] RoleEnded),
    #[error(transparent)]
    ReadyFile(#[from] WriteError),
    #[error(transparent)]
    Print(#[from] PrintError),
}

impl From<DevError> for Failure {
    fn from(error: DevError) -> Self {
        let failure = Self::new(Exit::Failure, &error);
        match error {
            DevError::Print(error) => error.into(),
            DevError::Start(StartError::InUse(_)) => {
                failure.todo("stop the other one, or give another --data-dir")
            }
            DevError::Start(_) => failure.todo("--nats-port 0 takes a free port"),
            DevError::ServerEnded { .. } => failure.todo(
                "start it again; what was acknowledged is in the data directory, if that is kept",
            ),
            DevError::Role(error) => failure.todo(role_todo(&error)),
            DevError::Find(_) | DevError::Data(_) | DevError::ReadyFile(_) => failure,
        }
    }
}

impl Dev {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let settings = self.settings()?;
        let guard = telemetry::init(&self.telemetry.options("dev", Some(LOG_FILTER)))?;
        let mut signals = Signals::listen().map_err(|error| Failure::new(Exit::Failure, &error))?;
        let stop = CancellationToken::new();
        let work = Box::pin(self.mesh(settings, &stop));
        let done = signals.guard(&stop, work).await;
        let Some(done) = done else {
            return Err(Failure::say(Exit::Forced, "ended at once"));
        };
        if let Err(error) = guard.shutdown(FLUSH_LIMIT).await {
            tracing::warn!(reason = %error, "the last spans are lost");
        }
        Ok(done?)
    }

    fn settings(&self) -> Result<Settings, ArgsError> {
        let settings = roles::for_one_machine(self.config.load()?);
        if self.config.config.is_some() && !settings.gateway.access.knows_somebody() {
            print::open();
        }
        Ok(settings)
    }

    async fn mesh(&self, settings: Settings, stop: &CancellationToken) -> Result<(), DevError> {
        let mut printer = Printer::stdout(Format::Table);
        let ready_file = self.ready_file.clone().map(ReadyFile::new);
        let data = Data::open(self.data_dir.as_deref())?;
        let options = FindOptions::from_environment().with_explicit(self.nats_server.clone());
        let found = find(&options).await?;
        let skipped: Vec<String> = found.skipped.iter().map(ToString::to_string).collect();
        print::server(&printer, &found.path, &found.version.to_string(), &skipped);
        let mut server = self.start_server(&found, &data).await?;
        let mut mesh = Mesh::new(&server, self.sync == SyncArg::Always);
        let lived = tokio::select! {
            lived = self.live(&mut mesh, &data, settings, &mut printer, ready_file, stop) => lived,
            status = server.ended() => Err(server_ended(status, &data)),
        };
        if lived.is_ok() {
            print::stopping(&printer);
        }
        mesh.stop(lived.is_ok()).await;
        server.stop().await;
        lived
    }

    /// From the first role to the signal that ends it all.
    async fn live(
        &self,
        mesh: &mut Mesh,
        data: &Data,
        mut settings: Settings,
        printer: &mut Printer,
        ready_file: Option<ReadyFile>,
        stop: &CancellationToken,
    ) -> Result<(), DevError> {
        // The gateway's lists come from it.
        let model = || data.path().join(READ_MODEL);
        settings.coordinator.read_model.get_or_insert_with(model);
        let started = tokio::select! {
            started = mesh.start(settings, self.config.base(), self.http, self.name.clone(), self.listen()) => started,
            () = stop.cancelled() => return Ok(()),
        };
        let addresses = mesh.addresses(started?, data.path());
        if let Some(file) = &ready_file {
            file.write(&addresses)?;
        }
        print::ready(printer, &addresses, data.is_temporary(), self.sync == SyncArg::Always)?;
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = mesh.ended() => Err(ended.into()),
        }
    }

    /// Where the gateway's doors may be.
    fn listen(&self) -> Vec<String> {
        let ports = self.gateway_port.map_or(vec![GATEWAY_PORT, 0], |port| vec![port]);
        ports.into_iter().map(|port| format!("127.0.0.1:{port}")).collect()
    }

    async fn start_server(&self, found: &Found, data: &Data) -> Result<ServerChild, StartError> {
        let settings = |client_port| ServerSettings {
            client_port,
            sync_interval: match self.sync {
                SyncArg::Interval => SyncInterval::TwoMinutes,
                SyncArg::Always => SyncInterval::Always,
            },
            ..ServerSettings::new(data.path())
        };
        match self.nats_port {
            Some(0) => start(found, settings(Port::Any)).await,
            Some(port) => start(found, settings(Port::Fixed(port))).await,
            None if is_free(NATS_PORT) => {
                match start(found, settings(Port::Fixed(NATS_PORT))).await {
                    // Somebody may have been quicker.
                    Err(StartError::Exited { .. }) => start(found, settings(Port::Any)).await,
                    done => done,
                }
            }
            None => start(found, settings(Port::Any)).await,
        }
    }
}

/// What can be done when a role ended.
fn role_todo(error: &RoleEnded) -> &'static str {
    let said = error.to_string();
    if said.contains("cannot listen on") && said.contains("for clients") {
        "--gateway-port takes another port; without it a free one is taken"
    } else if said.contains("cannot listen on") {
        "--http takes another port; without it free ones are taken"
    } else {
        store_todo(error).unwrap_or("--log info shows more")
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn server_ended(status: Option<ExitStatus>, data: &Data) -> DevError {
    let status = status.map_or_else(|| "not running".to_owned(), |status| status.to_string());
    DevError::ServerEnded { status, tail: data.log_tail() }
}
