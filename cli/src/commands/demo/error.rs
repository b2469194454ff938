//! Why a demo fails, and what the reader can do about it.

use std::path::PathBuf;
use std::time::Duration;

use client::{SubmitError, TaskError};
use runtime::bus::{ConnectError, ObjectError, ReadError, SubscribeError};
use runtime::nats_server::FindError;

use super::fleet::FleetError;
use crate::demo_agents::walk::WalkError;
use crate::failure::{Exit, Failure};
use crate::print::PrintError;

/// Differences that are shown; the report holds them all.
const LINES_MAX: usize = 20;

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    #[error(transparent)]
    Walk(#[from] WalkError),
    #[error("there is no nats-server to start")]
    Find(#[from] FindError),
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("nothing has happened for {} s; {done} of {total} inspections are done", limit.as_secs())]
    Stuck { limit: Duration, done: usize, total: usize },
    #[error("the survey ended without a report: {reason}")]
    NoReport { reason: String },
    #[error("the check failed:{}", lines(.0))]
    Wrong(Vec<String>),
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("stopped before the end")]
    Interrupted,
    #[error(transparent)]
    Print(#[from] PrintError),
}

/// The first of many lines, indented.
fn lines(all: &[String]) -> String {
    let mut text: String = all.iter().take(LINES_MAX).map(|line| format!("\n  {line}")).collect();
    if all.len() > LINES_MAX {
        text.push_str(&format!("\n  ... and {} more", all.len() - LINES_MAX));
    }
    text
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Self {
        if let DemoError::Walk(why) = &error {
            return Self::new(Exit::Usage, &error).todo(match why {
                WalkError::TooMany { .. } => "give a smaller folder, or raise --files-max",
                WalkError::Folder { .. } => "weft demo DIR takes any folder",
            });
        }
        if matches!(error, DemoError::Write { .. }) {
            return Self::new(Exit::Usage, &error).todo("--out names another file");
        }
        if let DemoError::Print(error) = error {
            return error.into();
        }
        Self::new(Exit::Failure, &error)
    }
}
