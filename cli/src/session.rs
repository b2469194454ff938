//! What a command needs to talk to a mesh: a connection, a client, a printer.

use client::Client;
use protocol::Owner;
use runtime::args::{ConfigArgs, ConnectionArgs};
use runtime::bus::Bus;
use runtime::config::Settings;
use runtime::telemetry::{self, TelemetryOptions};

use crate::failure::Failure;
use crate::print::{Format, Printer};

/// Client commands say what went wrong themselves; `RUST_LOG` shows what is below.
const LOG_FILTER: &str = "off";

/// How results are written.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct OutputArgs {
    /// How results are written
    #[arg(long, short, value_enum, default_value_t, env = "WEFT_OUTPUT", hide_env_values = true)]
    pub(crate) output: Format,
}

/// Flags of every command that talks to a mesh.
#[derive(Clone, Default, clap::Args)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Whose task it is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OwnerArgs {
    /// Who the task belongs to
    #[arg(long, default_value_t, env = "WEFT_OWNER", hide_env_values = true)]
    pub(crate) owner: Owner,
}

/// A connected command.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) printer: Printer,
    pub(crate) settings: Settings,
}

impl Session {
    /// Connects.
    pub(crate) async fn open(args: &ClientArgs) -> Result<Self, Failure> {
        let (printer, settings) = Self::prepare(args)?;
        let client = connect(args, &settings).await?;
        Ok(Self { client, printer, settings })
    }

    /// Connects, even where JetStream does not answer at the moment.
    pub(crate) async fn open_to_diagnose(args: &ClientArgs) -> Result<Self, Failure> {
        let (printer, settings) = Self::prepare(args)?;
        let whereto = args.connection.bus(&settings, "cli")?;
        let bus = match Bus::connect(whereto.clone()).await {
            Err(error) if error.may_pass() => Bus::connect_to_diagnose(whereto).await?,
            done => done?,
        };
        Ok(Self { client: Client::new(bus), printer, settings })
    }

    fn prepare(args: &ClientArgs) -> Result<(Printer, Settings), Failure> {
        let printer = Printer::stdout(args.output.output);
        let settings = args.connection.with_prefix(args.config.load()?)?;
        let mut options = TelemetryOptions::from_environment("cli");
        options.traces_endpoint = None;
        options.log_filter.get_or_insert_with(|| LOG_FILTER.to_owned());
        // Without traces there is nothing to send at the end.
        drop(telemetry::init(&options)?);
        Ok((printer, settings))
    }

    /// The same over a new connection.
    pub(crate) async fn again(self, args: &ClientArgs) -> Result<Self, Failure> {
        let client = connect(args, &self.settings).await?;
        Ok(Self { client, ..self })
    }
}

async fn connect(args: &ClientArgs, settings: &Settings) -> Result<Client, Failure> {
    Ok(Client::new(Bus::connect(args.connection.bus(settings, "cli")?).await?))
}
