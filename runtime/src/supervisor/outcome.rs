//! How a run of a job ended, whatever it returned.

use std::any::Any;
use std::error::Error;
use std::fmt;

use crate::metric::label::JobFailureCause;

/// How a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It returned this error, causes included.
    Error(String),
    /// It panicked with this message.
    Panic(String),
}

impl Failure {
    /// As metrics name it.
    #[must_use]
    pub fn cause(&self) -> JobFailureCause {
        match self {
            Self::Error(_) => JobFailureCause::Error,
            Self::Panic(_) => JobFailureCause::Panic,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(what) => write!(f, "failed: {what}"),
            Self::Panic(what) => write!(f, "panicked: {what}"),
        }
    }
}

/// What a job may return: nothing, or an error.
pub trait Outcome {
    /// The error, with its causes, if it is one.
    fn error(self) -> Option<String>;
}

impl Outcome for () {
    fn error(self) -> Option<String> {
        None
    }
}

impl<E: Error> Outcome for Result<(), E> {
    fn error(self) -> Option<String> {
        self.err().map(|error| with_causes(&error))
    }
}

/// Whether a run that was watched for panics failed.
pub(super) fn judge<O: Outcome>(ended: Result<O, Box<dyn Any + Send>>) -> Result<(), Failure> {
    match ended {
        Ok(outcome) => outcome.error().map_or(Ok(()), |what| Err(Failure::Error(what))),
        Err(payload) => Err(Failure::Panic(message(payload.as_ref()))),
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What was given to `panic!`.
fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is no text".to_owned()
    }
}
