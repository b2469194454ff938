//! The section of the coordinators.

use std::path::PathBuf;
use std::time::Duration;

use protocol::id::NodeName;
use protocol::limits::{UNUSED_FILES_KEPT_DEFAULT, UNUSED_FILES_KEPT_MIN};
use serde::Deserialize;

use super::{Faults, SPAN_MAX, Span};

/// Settings of a coordinator.
#[derive(Debug, Clone)]
pub struct CoordinatorSection {
    /// Its name; made up when there is none.
    pub name: Option<NodeName>,
    /// Where health and metrics are served.
    pub http: Option<String>,
    /// Server URLs for the system account; without them a crash is noticed by the lease alone.
    pub system_servers: Option<String>,
    /// A `.creds` file for the system account.
    pub system_credentials: Option<PathBuf>,
    /// The file of the read model; without it this coordinator keeps none.
    pub read_model: Option<PathBuf>,
    /// How long a task stays after its end; `None`: for ever.
    pub tasks_kept: Option<Duration>,
    /// How long a file that nothing names stays after it was stored last; `None`: for ever.
    pub unused_files_kept: Option<Duration>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawCoordinator {
    name: Option<String>,
    http: Option<String>,
    system_servers: Option<String>,
    system_credentials: Option<PathBuf>,
    read_model: Option<PathBuf>,
    tasks_kept: Option<Span>,
    unused_files_kept: Option<Span>,
}

impl Faults {
    pub(super) fn coordinator(&mut self, table: toml::Table) -> CoordinatorSection {
        let raw: RawCoordinator = self.section("coordinator", table);
        let kept = self.kept("coordinator.tasks_kept", raw.tasks_kept, Duration::ZERO);
        let files = self.span(
            "coordinator.unused_files_kept",
            raw.unused_files_kept.filter(|kept| !kept.0.is_zero()),
            UNUSED_FILES_KEPT_DEFAULT,
            (UNUSED_FILES_KEPT_MIN, SPAN_MAX),
        );
        let files_go = raw.unused_files_kept.is_none_or(|kept| !kept.0.is_zero());
        CoordinatorSection {
            name: self.name("coordinator.name", raw.name),
            http: raw.http,
            system_servers: raw.system_servers,
            system_credentials: raw.system_credentials,
            read_model: raw.read_model,
            tasks_kept: Some(kept).filter(|kept| !kept.is_zero()),
            unused_files_kept: files_go.then_some(files),
        }
    }
}
