//! What `weft dev` says: where everything is, and what to try.

use std::path::Path;

use serde::Serialize;

use super::{Color, PrintError, Printer};

/// Where everything is; also what the ready file holds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Addresses {
    /// Where clients connect.
    pub(crate) nats: String,
    /// Where the system account connects; holds its password.
    pub(crate) system: String,
    /// HTTP monitoring of the server.
    pub(crate) monitor: String,
    /// Health and metrics of the coordinator.
    pub(crate) coordinator_http: Option<String>,
    /// Health and metrics of the node.
    pub(crate) node_http: Option<String>,
    /// The gateway's doors.
    pub(crate) gateway: Option<String>,
    /// This process.
    pub(crate) pid: u32,
    /// The server's process.
    pub(crate) nats_server_pid: Option<u32>,
    /// Where the server keeps its data.
    pub(crate) data_dir: std::path::PathBuf,
}

/// The block that is shown once all is ready.
pub(crate) fn ready(
    printer: &mut Printer,
    at: &Addresses,
    temporary: bool,
    synced: bool,
) -> Result<(), PrintError> {
    let data = at.data_dir.display();
    let data = if temporary {
        format!("{data} (temporary: gone when this ends; --data-dir keeps it)")
    } else {
        data.to_string()
    };
    let sync = match synced {
        true => "every write, before it is acknowledged",
        false => "every two minutes: fast, and a power cut loses data (--sync always does not)",
    };
    printer.headed(Color::Green, "weft is ready", "\n")?;
    printer.facts(&[
        ("  NATS", Some(at.nats.clone())),
        ("  gateway", at.gateway.clone()),
        ("  monitoring", Some(at.monitor.clone())),
        ("  coordinator", at.coordinator_http.as_ref().map(|url| format!("{url}/readyz"))),
        ("  node", at.node_http.as_ref().map(|url| format!("{url}/readyz"))),
        ("  data", Some(data)),
        ("  synced", Some(sync.to_owned())),
    ])?;
    printer.line("\nIn another terminal:\n")?;
    printer.line(&format!("  export NATS_URL={}", at.nats))?;
    printer.line("  weft task send echo hello --wait    a task, durable from the first moment")?;
    printer.line("  weft agent list                     who serves what")?;
    printer.line("  weft doctor                         whether all is well\n")?;
    printer.line("Ctrl-C stops in good order, a second one at once.")
}

/// The settings have nobody who may come in.
pub(crate) fn open() {
    super::note("the settings name nobody who may come in, so the gateway lets everybody in");
}

/// A signal came.
pub(crate) fn stopping(printer: &Printer) {
    printer.note("stopping: work in hand reaches a commit first");
}

/// A binary was passed over, or downloaded.
pub(crate) fn server(printer: &Printer, path: &Path, version: &str, skipped: &[String]) {
    for skipped in skipped {
        printer.note(&format!("passed over {skipped}"));
    }
    if !skipped.is_empty() {
        printer.note(&format!("using nats-server {version} at {}", path.display()));
    }
}
