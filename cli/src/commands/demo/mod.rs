//! `weft demo`: a real fleet on a real folder, and one node killed in the middle.
//!
//! What is shown is checked: the results against a plain walk of the same folder, the counts against the stored
//! logs. Anything wrong, lost or doubled ends the demo with a failure.

pub(crate) mod account;
mod error;
mod fleet;
mod process;
pub(crate) mod progress;
mod run;
mod settings;
pub(crate) mod verify;

use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::nats_server::{FindOptions, find};
use runtime::process::{Signals, causes};
use runtime::telemetry::{self, TelemetryOptions};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::demo_agents::SurveyOutput;
use crate::demo_agents::walk::{Bounds, REPORT_NAME, WalkError};
use crate::failure::{Exit, Failure};
use crate::print::demo::{self as print, View};
use crate::print::{Format, Printer};
use account::Account;
use error::DemoError;
use fleet::Fleet;
use settings::{NODES, SLOTS};

/// The demo's own log; the roles write theirs to files.
const LOG_FILTER: &str = "off";
/// About how long the inspections take together, so that there is a middle to kill a node in.
const INSPECTIONS_MS: u64 = 4_000;
/// One inspection rests at least this long, in milliseconds: it has to be begun before it can be taken over.
const REST_MS_MIN: u64 = 15;
/// One inspection rests at most this long, in milliseconds.
const REST_MS_MAX: u64 = 400;

/// Run a fleet on a folder, kill one node in the middle, check that nothing is lost or committed twice
///
/// Starts a nats-server, a coordinator and three nodes as processes of their own. A survey splits the folder into
/// files; each is inspected by an agent in Rust or one in Python (each inspection rests a moment, so that
/// there is a middle: 5 to 10 seconds for some hundred files); a report counts languages, lines, words, TODOs and duplicates. One node
/// is killed with SIGKILL while it works. The result is compared with a plain walk of the folder.
#[derive(clap::Args)]
pub(crate) struct Demo {
    /// The folder; what git, cargo and npm keep there, links and binary files are left out
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Write the report there as JSON
    #[arg(long, value_name = "FILE", default_value = REPORT_NAME)]
    out: PathBuf,
    /// Refuse a folder with more files than this
    #[arg(long, value_name = "COUNT", default_value_t = 5_000)]
    files_max: usize,
    /// Leave out files with more bytes than this
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    bytes_max: u64,
    /// Keep the logs of all processes
    #[arg(long)]
    keep: bool,
    /// The nats-server to start
    #[arg(long, value_name = "FILE")]
    nats_server: Option<PathBuf>,
}

/// What is to be done.
struct Plan {
    root: PathBuf,
    bounds: Bounds,
    rest_ms: u64,
    /// What a plain walk found before.
    before: SurveyOutput,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) survey: SurveyOutput,
    pub(crate) account: Account,
    pub(crate) killed: Option<account::Killed>,
    pub(crate) took: Duration,
}

impl Demo {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut options = TelemetryOptions::from_environment("demo");
        options.log_filter.get_or_insert_with(|| LOG_FILTER.to_owned());
        options.traces_endpoint = None;
        // Without traces there is nothing to send at the end.
        drop(telemetry::init(&options)?);
        let mut signals = Signals::listen().map_err(|error| Failure::new(Exit::Failure, &error))?;
        let stop = CancellationToken::new();
        let done = signals.guard(&stop, Box::pin(self.perform(&stop))).await;
        done.unwrap_or_else(|| Err(Failure::say(Exit::Forced, "ended at once")))
    }

    /// From the first look at the folder to the last process's end.
    async fn perform(&self, stop: &CancellationToken) -> Result<(), Failure> {
        let mut printer = Printer::stdout(Format::Table);
        let plan = self.plan().await?;
        let files = plan.before.report.files.len();
        print::opening(&mut printer, &plan.root, files, NODES.len())?;
        if files < SLOTS * NODES.len() {
            print::too_small(&printer);
        }
        let mut fleet = Fleet::new().map_err(DemoError::from)?;
        let mut view = View::new(&printer);
        let done = tokio::select! {
            done = self.drive(&plan, &mut fleet, &mut printer, &mut view) => done,
            () = stop.cancelled() => Err(DemoError::Interrupted),
        };
        view.close();
        fleet.stop(done.is_ok()).await;
        let checked = match done {
            Ok(outcome) => self.conclude(&plan, outcome, &mut printer).await,
            Err(error) => Err(error),
        };
        let went_wrong = checked
            .as_ref()
            .is_err_and(|error| !matches!(error, DemoError::Interrupted | DemoError::Print(_)));
        if self.keep || went_wrong {
            print::kept(&printer, &fleet.keep_files());
        }
        Ok(checked?)
    }

    /// Looks at the folder first: what cannot work is said before anything is started.
    async fn plan(&self) -> Result<Plan, DemoError> {
        let folder = |source| WalkError::Folder { path: self.dir.clone(), source };
        let root = self.dir.canonicalize().map_err(folder)?;
        let out = resolved(&self.out);
        if !out.parent().is_some_and(Path::is_dir) {
            let source = std::io::ErrorKind::NotFound.into();
            return Err(DemoError::Write { path: self.out.clone(), source });
        }
        writable(&out).map_err(|source| DemoError::Write { path: self.out.clone(), source })?;
        let except = Some(out);
        let bounds = Bounds { files_max: self.files_max, bytes_max: self.bytes_max, except };
        let before = walk_plainly(&root, &bounds).await?;
        let count = u64::try_from(before.report.files.len()).unwrap_or(u64::MAX).max(1);
        let slots = u64::try_from(SLOTS * NODES.len()).unwrap_or(1);
        let rest_ms = (INSPECTIONS_MS * slots / count).clamp(REST_MS_MIN, REST_MS_MAX);
        Ok(Plan { root, bounds, rest_ms, before })
    }

    async fn drive(
        &self,
        plan: &Plan,
        fleet: &mut Fleet,
        printer: &mut Printer,
        view: &mut View,
    ) -> Result<Outcome, DemoError> {
        let options = FindOptions::from_environment().with_explicit(self.nats_server.clone());
        let (found, python) = tokio::join!(find(&options), settings::python_is_there());
        let found = found?;
        if !python {
            printer.note("no python3 (3.8 or later) on PATH: all nodes inspect in Rust");
        }
        fleet.start(&found, python).await?;
        let python_node = python.then_some(settings::PYTHON_NODE);
        print::fleet(printer, &fleet.pids(), python_node)?;
        view.begin(&NODES, python_node);
        let started = Instant::now();
        let (survey, account, killed) = run::run(plan, fleet, printer, view).await?;
        Ok(Outcome { survey, account, killed, took: started.elapsed() })
    }

    /// Checks everything and says what came of it.
    async fn conclude(
        &self,
        plan: &Plan,
        outcome: Outcome,
        printer: &mut Printer,
    ) -> Result<(), DemoError> {
        let after = walk_plainly(&plan.root, &plan.bounds).await?;
        let mut verdict = verify::compare(&outcome.survey, &plan.before, &after);
        verdict.differences.extend(run::faults(&outcome.account));
        print::report(printer, &outcome)?;
        print::account(printer, &outcome, &verdict, &self.out)?;
        let fail = |source| DemoError::Write { path: self.out.clone(), source };
        let text = serde_json::to_vec_pretty(&print::document(&plan.root, &outcome, &verdict))
            .map_err(|error| fail(error.into()))?;
        std::fs::write(resolved(&self.out), text).map_err(fail)?;
        if !verdict.differences.is_empty() {
            return Err(DemoError::Wrong(verdict.differences));
        }
        Ok(print::next(printer)?)
    }
}

async fn walk_plainly(root: &Path, bounds: &Bounds) -> Result<SurveyOutput, DemoError> {
    let (root, bounds) = (root.to_owned(), bounds.clone());
    let walked = tokio::task::spawn_blocking(move || verify::sequential(root, &bounds)).await;
    match walked {
        Ok(walked) => Ok(walked?),
        Err(error) => Err(DemoError::NoReport { reason: causes(&error).join(": ") }),
    }
}

/// An error when the file cannot be written; it is left as it is.
fn writable(file: &Path) -> std::io::Result<()> {
    let was_there = file.try_exists()?;
    drop(std::fs::OpenOptions::new().append(true).create(true).open(file)?);
    if was_there { Ok(()) } else { std::fs::remove_file(file) }
}

/// A file's path with the links of its directory resolved, as a walk of that directory shows it.
fn resolved(file: &Path) -> PathBuf {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new(".")).canonicalize();
    match (parent, file.file_name()) {
        (Ok(parent), Some(name)) => parent.join(name),
        _ => file.to_owned(),
    }
}
