//! Reads the settings of a process agent and checks, before any task arrives, that it can be started.
//!
//! [`ProcessSettings`] is what `weft.toml` says. Checking turns it into a [`Launch`] and the schemas, or into the list of
//! everything that is wrong with it: programs, directories and schemas that are missing are found when
//! the node starts and not by the first task.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::schema::{Schema, SchemaError};
use runtime::config::Span;
use serde::{Deserialize, Deserializer};

use super::environment::{self, Environment, Value};

/// The default of `line_bytes_max`.
const LINE_BYTES: usize = 1024 * 1024;
/// What `line_bytes_max` may be.
const LINE_BYTES_RANGE: std::ops::RangeInclusive<usize> = 1024..=64 * 1024 * 1024;

/// How tasks reach the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One process does many tasks, one after the other.
    #[default]
    Serve,
    /// One process for each task, which ends with it.
    Once,
}

impl Mode {
    /// As settings and the program's environment call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Once => "once",
        }
    }
}

/// A JSON Schema in the settings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum SchemaSource {
    /// The path of a JSON file.
    Path(PathBuf),
    /// The schema itself.
    Inline(serde_json::Value),
}

/// A process agent in `weft.toml`. Relative paths start at the directory of that file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSettings {
    /// The program, by path or by name on `PATH`, and its arguments. No shell is involved.
    pub command: Vec<String>,
    /// How tasks reach it.
    #[serde(default)]
    pub mode: Mode,
    /// Its working directory; by default the one that relative paths start at.
    pub cwd: Option<PathBuf>,
    /// Variables set for it.
    #[serde(default)]
    pub env: BTreeMap<String, Value>,
    /// Variables of the node that it gets too. `PATH`, `HOME`, locale and the like always are.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// The longest line it may write, in bytes.
    #[serde(default = "line_bytes")]
    pub line_bytes_max: usize,
    /// How long it may take to say `hello`. Without it, `hello` is not waited for.
    #[serde(default, deserialize_with = "some_duration")]
    pub start_timeout: Option<Duration>,
    /// How long it may leave a task unread.
    #[serde(default = "write_timeout", deserialize_with = "duration")]
    pub write_timeout: Duration,
    /// How long it may take to end once its input is closed, and again once it got SIGTERM.
    #[serde(default = "stop_grace", deserialize_with = "duration")]
    pub stop_grace: Duration,
    /// How long it may go on with a step that a message cuts short.
    #[serde(default = "interrupt_grace", deserialize_with = "duration")]
    pub interrupt_grace: Duration,
    /// Its name for people; by default what its `hello` says.
    pub name: Option<String>,
    /// What it does; by default what its `hello` says.
    pub description: Option<String>,
    /// Its version; by default what its `hello` says.
    pub version: Option<String>,
    /// Words to find it by; by default what its `hello` says, and so the next three.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Inputs that work.
    #[serde(default)]
    pub examples: Vec<String>,
    /// Media types it reads.
    #[serde(default)]
    pub input_modes: Vec<String>,
    /// Media types it writes.
    #[serde(default)]
    pub output_modes: Vec<String>,
    /// Whether its results may be direct replies; by default what its `hello` says.
    #[serde(default)]
    pub replies: bool,
    /// What it takes.
    pub input_schema: Option<SchemaSource>,
    /// What it gives.
    pub output_schema: Option<SchemaSource>,
}

impl ProcessSettings {
    /// The defaults for a command.
    #[must_use]
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            mode: Mode::default(),
            cwd: None,
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            line_bytes_max: line_bytes(),
            start_timeout: None,
            write_timeout: write_timeout(),
            stop_grace: stop_grace(),
            interrupt_grace: interrupt_grace(),
            name: None,
            description: None,
            version: None,
            tags: Vec::new(),
            examples: Vec::new(),
            input_modes: Vec::new(),
            output_modes: Vec::new(),
            replies: false,
            input_schema: None,
            output_schema: None,
        }
    }
}

fn line_bytes() -> usize {
    LINE_BYTES
}

fn write_timeout() -> Duration {
    Duration::from_secs(10)
}

fn stop_grace() -> Duration {
    Duration::from_secs(2)
}

fn interrupt_grace() -> Duration {
    Duration::from_secs(5)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Span::deserialize(deserializer).map(|span| span.0)
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// One thing that is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingFault {
    /// There is nothing to start.
    #[error("command is empty; it is a list such as [\"python3\", \"agent.py\"]")]
    NoCommand,
    /// A program named by its path is not there.
    #[error("command: there is no program {}", path.display())]
    ProgramMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A program named without a path is not on the path.
    #[error("command: there is no program {name:?} on PATH ({searched})")]
    ProgramNotOnPath {
        /// The name.
        name: String,
        /// What was searched.
        searched: String,
    },
    /// The file may not be executed.
    #[error("command: {} is not executable; chmod +x it or name its interpreter first", path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
    },
    /// The working directory is not there.
    #[error("cwd: there is no directory {}", path.display())]
    DirectoryMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Something that cannot name a variable.
    #[error("{setting}: {name:?} cannot be the name of an environment variable")]
    VariableName {
        /// `env` or `pass_env`.
        setting: &'static str,
        /// The name.
        name: String,
    },
    /// Something that is no media type.
    #[error("{setting}: {mode:?} is no media type such as text/plain, image/* or */*")]
    MediaType {
        /// `input_modes` or `output_modes`.
        setting: &'static str,
        /// The text.
        mode: String,
    },
    /// A line limit that makes no sense.
    #[error("line_bytes_max is {bytes}, and must be from 1024 to 67108864")]
    LineBytes {
        /// What it is.
        bytes: usize,
    },
    /// A schema file cannot be read.
    #[error("{setting}: cannot read {}", path.display())]
    SchemaUnreadable {
        /// `input_schema` or `output_schema`.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A schema is none.
    #[error("{setting} cannot be used")]
    SchemaInvalid {
        /// `input_schema` or `output_schema`.
        setting: &'static str,
        /// Why.
        source: SchemaError,
    },
}

/// Everything that is wrong with an agent's settings.
#[derive(Debug, thiserror::Error)]
#[error("agent {agent:?}: {}", list(faults))]
pub struct SettingsError {
    /// The agent, as `weft.toml` calls it.
    pub agent: String,
    /// At least one.
    pub faults: Vec<SettingFault>,
}

fn list(faults: &[SettingFault]) -> String {
    let with_cause = |fault: &SettingFault| match std::error::Error::source(fault) {
        Some(cause) => format!("{fault}: {cause}"),
        None => fault.to_string(),
    };
    faults.iter().map(with_cause).collect::<Vec<_>>().join("; ")
}

/// How to start a program: settings that were checked.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    pub(super) agent: String,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) cwd: PathBuf,
    pub(super) environment: Environment,
    pub(super) mode: Mode,
    pub(super) line_bytes_max: usize,
    pub(super) start_timeout: Option<Duration>,
    pub(super) write_timeout: Duration,
    pub(super) stop_grace: Duration,
    pub(super) interrupt_grace: Duration,
}

impl Launch {
    /// Whether the program and its directory are there.
    pub(super) fn check(&self) -> Result<(), SettingFault> {
        if !self.cwd.is_dir() {
            return Err(SettingFault::DirectoryMissing { path: self.cwd.clone() });
        }
        executable(self.program.clone()).map(drop)
    }
}

/// What comes out of settings that are right.
pub(super) struct Checked {
    pub(super) launch: Launch,
    pub(super) input_schema: Option<serde_json::Value>,
    pub(super) output_schema: Option<serde_json::Value>,
}

/// Checks the settings of `agent`. `own` is the node's environment, `base` where relative paths start.
pub(super) fn check(
    agent: &str,
    settings: &ProcessSettings,
    base: &Path,
    own: &[(OsString, OsString)],
) -> Result<Checked, SettingsError> {
    let mut faults = Vec::new();
    // The names stand for an agent that reads them: `serve` or `once`, and who it is.
    let environment = Environment::select(own, &settings.pass_env, &settings.env)
        .with("WEFT_AGENT", agent)
        .with("WEFT_AGENT_MODE", settings.mode.name());
    let names = settings.env.keys().map(|name| ("env", name));
    for (setting, name) in names.chain(settings.pass_env.iter().map(|name| ("pass_env", name))) {
        if !environment::is_name(name) {
            faults.push(SettingFault::VariableName { setting, name: name.clone() });
        }
    }
    let modes = settings.input_modes.iter().map(|mode| ("input_modes", mode));
    for (setting, mode) in
        modes.chain(settings.output_modes.iter().map(|mode| ("output_modes", mode)))
    {
        if !is_media_type(mode) {
            faults.push(SettingFault::MediaType { setting, mode: mode.clone() });
        }
    }
    if !LINE_BYTES_RANGE.contains(&settings.line_bytes_max) {
        faults.push(SettingFault::LineBytes { bytes: settings.line_bytes_max });
    }
    let cwd = settings.cwd.as_ref().map_or_else(|| base.to_owned(), |cwd| base.join(cwd));
    if !cwd.is_dir() {
        faults.push(SettingFault::DirectoryMissing { path: cwd.clone() });
    }
    let mut keep = |result: Result<PathBuf, SettingFault>| {
        result.map_err(|fault| faults.push(fault)).unwrap_or_default()
    };
    let program = keep(find_program(settings.command.first(), base, &environment));
    let mut schema = |setting, source: &Option<SchemaSource>| {
        let schema = source.as_ref().map(|source| read_schema(setting, source, base)).transpose();
        schema.map_err(|fault| faults.push(fault)).ok().flatten()
    };
    let input_schema = schema("input_schema", &settings.input_schema);
    let output_schema = schema("output_schema", &settings.output_schema);
    if !faults.is_empty() {
        return Err(SettingsError { agent: agent.to_owned(), faults });
    }
    let launch = Launch {
        agent: agent.to_owned(),
        program,
        args: settings.command.iter().skip(1).cloned().collect(),
        cwd,
        environment,
        mode: settings.mode,
        line_bytes_max: settings.line_bytes_max,
        start_timeout: settings.start_timeout,
        write_timeout: settings.write_timeout,
        stop_grace: settings.stop_grace,
        interrupt_grace: settings.interrupt_grace,
    };
    Ok(Checked { launch, input_schema, output_schema })
}

/// Whether a text is two parts around a slash, as media types are.
fn is_media_type(text: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace);
    text.split_once('/').is_some_and(|(kind, rest)| part(kind) && part(rest))
}

/// The absolute path of the program, which must be executable.
fn find_program(
    name: Option<&String>,
    base: &Path,
    environment: &Environment,
) -> Result<PathBuf, SettingFault> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(SettingFault::NoCommand);
    };
    if name.contains('/') {
        return executable(base.join(name).components().collect());
    }
    let searched = environment.get("PATH").cloned().unwrap_or_default();
    let mut candidates = std::env::split_paths(&searched).map(|directory| directory.join(name));
    candidates.find(|path| is_executable(path) == Some(true)).ok_or_else(|| {
        SettingFault::ProgramNotOnPath {
            name: name.clone(),
            searched: searched.to_string_lossy().into_owned(),
        }
    })
}

fn executable(path: PathBuf) -> Result<PathBuf, SettingFault> {
    match is_executable(&path) {
        Some(true) => Ok(path),
        Some(false) => Err(SettingFault::NotExecutable { path }),
        None => Err(SettingFault::ProgramMissing { path }),
    }
}

/// `None` when there is no such file.
fn is_executable(path: &Path) -> Option<bool> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some(metadata.permissions().mode() & 0o111 != 0)
}

fn read_schema(
    setting: &'static str,
    source: &SchemaSource,
    base: &Path,
) -> Result<serde_json::Value, SettingFault> {
    let value = match source {
        SchemaSource::Inline(value) => value.clone(),
        SchemaSource::Path(path) => {
            let path = base.join(path);
            let text = std::fs::read(&path);
            text.and_then(|text| Ok(serde_json::from_slice(&text)?))
                .map_err(|source| SettingFault::SchemaUnreadable { setting, path, source })?
        }
    };
    let compiled = Schema::compile(value);
    let schema = compiled.map_err(|source| SettingFault::SchemaInvalid { setting, source })?;
    Ok(schema.source().clone())
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
