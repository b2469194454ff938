//! Why a command failed, as the user sees it: what, why, what to do, and the exit code.
//!
//! THE LIST of exit codes. They are append-only, as scripts depend on them.

mod role;

use std::error::Error;

use client::{CancelError, DeadError, DecideError, SayError, SubmitError, TaskError, WatchError};
use protocol::contract::ContractError;
use runtime::args::ArgsError;
use runtime::bus::{ConnectError, KvError, ObjectError, ReadError, StoreError, UpgradeError};
use runtime::process::{causes, exit};
use runtime::telemetry::TelemetryError;

use crate::print::PrintError;
pub(crate) use role::store_todo;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok,
    Failure,
    Usage,
    CannotConnect,
    NotFound,
    TimedOut,
    TaskEndedBadly,
    DedupConflict,
    NotPermitted,
    Forced,
}

impl Exit {
    pub(crate) const ALL: [Self; 10] = [
        Self::Ok,
        Self::Failure,
        Self::Usage,
        Self::CannotConnect,
        Self::NotFound,
        Self::TimedOut,
        Self::TaskEndedBadly,
        Self::DedupConflict,
        Self::NotPermitted,
        Self::Forced,
    ];

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => exit::OK,
            Self::Failure => exit::FAILURE,
            Self::Usage => exit::USAGE,
            Self::CannotConnect => exit::CANNOT_CONNECT,
            Self::NotFound => 4,
            Self::TimedOut => 5,
            Self::TaskEndedBadly => 6,
            Self::DedupConflict => 7,
            Self::NotPermitted => 8,
            Self::Forced => exit::FORCED,
        }
    }

    pub(crate) fn from_code(code: u8) -> Self {
        Self::ALL.into_iter().find(|exit| exit.code() == code).unwrap_or(Self::Failure)
    }

    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done; also when the reader of the output went away",
            Self::Failure => "something failed, or doctor found something that fails",
            Self::Usage => "flags, settings or input that cannot be used",
            Self::CannotConnect => "no server answers, or none lets us in",
            Self::NotFound => "there is no such task, dead letter, schema or help topic",
            Self::TimedOut => "waited as long as told; the task goes on",
            Self::TaskEndedBadly => "the task waited for failed, was rejected or canceled",
            Self::DedupConflict => {
                "another input was submitted before under this key or id; the first one counts"
            }
            Self::NotPermitted => "the server does not let this user do it",
            Self::Forced => "a second Ctrl-C: ended without waiting",
        }
    }
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// What failed and why, outermost first; nothing to say when the reader went away.
    pub(crate) causes: Vec<String>,
    /// What the user can do.
    pub(crate) todo: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, error: &dyn Error) -> Self {
        Self { exit, causes: causes(error), todo: None }
    }

    pub(crate) fn say(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, causes: vec![what.into()], todo: None }
    }

    /// With one more reason.
    pub(crate) fn because(mut self, why: impl Into<String>) -> Self {
        self.causes.push(why.into());
        self
    }

    pub(crate) fn todo(mut self, what: impl Into<String>) -> Self {
        self.todo = Some(what.into());
        self
    }
}

const NO_STREAMS: &str = "start a coordinator (weft coordinator, or weft dev): it creates the streams; weft doctor tells more";

impl From<PrintError> for Failure {
    fn from(error: PrintError) -> Self {
        match error {
            PrintError::Closed => Self { exit: Exit::Ok, causes: Vec::new(), todo: None },
            PrintError::Failed(_) => Self::new(Exit::Failure, &error),
        }
    }
}

impl From<ArgsError> for Failure {
    fn from(error: ArgsError) -> Self {
        let failure = Self::new(Exit::Usage, &error);
        match error {
            ArgsError::ContextUnknown { .. } => {
                failure.todo("nats context ls shows those there are; --server goes without one")
            }
            ArgsError::ContextUnsupported { .. } => {
                failure.todo("give --server and credentials as flags instead")
            }
            ArgsError::Config(_) => {
                failure.todo("examples/weft.toml shows every setting with its default")
            }
            ArgsError::Prefix(_) => failure.todo("a prefix is one word, such as weft"),
            ArgsError::Server { .. } => {
                failure.todo("a server is host, host:port or nats://host:port")
            }
            ArgsError::ContextUnreadable { .. } => {
                failure.todo("--server and credentials as flags go without a context")
            }
            ArgsError::Nkey { .. } | ArgsError::HalfIdentity => failure,
        }
    }
}

impl From<TelemetryError> for Failure {
    fn from(error: TelemetryError) -> Self {
        Self::new(Exit::Usage, &error)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let failure = Self::new(Exit::CannotConnect, &error);
        match error {
            ConnectError::Unreachable { reason, .. } => {
                let refused = reason.to_ascii_lowercase().contains("authorization");
                failure.todo(if refused {
                    "give --creds, --user and --password, --nkey or --nats-context"
                } else {
                    "start a mesh with weft dev, or say where one is with --server or NATS_URL"
                })
            }
            ConnectError::TooOld { .. } => failure.todo("update nats-server"),
            ConnectError::NotReady { .. } => {
                failure.todo("try again in a moment; `weft doctor` shows which servers answer")
            }
            ConnectError::NoJetStream { .. } => {
                failure.todo("nats-server -js; in accounts: jetstream: enabled")
            }
            ConnectError::Credentials { .. } => failure,
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::Denied { .. } => Self::new(Exit::NotPermitted, &error)
                .todo("weft doctor tries what this user may do"),
            ReadError::NoAnswer { reason, .. } => {
                let missing = reason.contains("no responders") || reason.contains("not exist");
                let todo = if missing { NO_STREAMS } else { "weft doctor looks for the cause" };
                Self::new(Exit::Failure, &error).todo(todo)
            }
        }
    }
}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::Read(error) => error.into(),
            TaskError::Unreadable { .. } | TaskError::Broken { .. } => {
                Self::new(Exit::Failure, &error)
            }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let failure = |exit| Self::new(exit, &error);
        match &error {
            StoreError::Denied { .. } => failure(Exit::NotPermitted),
            StoreError::TooLarge { .. } => failure(Exit::Usage),
            StoreError::NoStream { .. } => failure(Exit::Failure).todo(NO_STREAMS),
            StoreError::Full => failure(Exit::Failure)
                .todo("make room: let ended tasks go (coordinator.tasks_kept), or raise bus.inbox_bytes_max, the account's or the server's max_file_store; \
                 weft doctor shows the fill"),
            StoreError::NoAnswer { .. } => failure(Exit::Failure)
                .todo("it may be stored all the same: with --dedup-key sending again is harmless"),
            StoreError::Fenced | StoreError::Refused { .. } => failure(Exit::Failure),
        }
    }
}

impl From<SubmitError> for Failure {
    fn from(error: SubmitError) -> Self {
        match &error {
            SubmitError::TooLarge { .. } | SubmitError::Refused { .. } => {
                Self::new(Exit::Usage, &error)
            }
            SubmitError::Store { source, .. } => {
                let Self { exit, todo, .. } = Self::from(source.clone());
                Self { exit, todo, ..Self::new(exit, &error) }
            }
        }
    }
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        Self::new(Exit::Failure, &error).todo(NO_STREAMS)
    }
}

impl From<KvError> for Failure {
    fn from(error: KvError) -> Self {
        Self::new(Exit::Failure, &error).todo(NO_STREAMS)
    }
}

impl From<UpgradeError> for Failure {
    fn from(error: UpgradeError) -> Self {
        Self::new(Exit::Failure, &error)
            .todo("weft doctor looks at the server and at what this user may do there")
    }
}

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Task(error) => error.into(),
            WatchError::Subscribe(error) => Self::new(Exit::Failure, &error),
        }
    }
}

impl From<CancelError> for Failure {
    fn from(error: CancelError) -> Self {
        match error {
            CancelError::Unknown { .. } => Self::new(Exit::NotFound, &error)
                .todo("weft task list shows the tasks there are; --owner names whose"),
            CancelError::Ended { .. } => Self::new(Exit::Failure, &error),
            CancelError::Task(error) => error.into(),
            CancelError::Store { ref source, .. } => {
                let Self { exit, todo, .. } = Self::from(source.clone());
                Self { exit, todo, ..Self::new(exit, &error) }
            }
        }
    }
}

impl From<DeadError> for Failure {
    fn from(error: DeadError) -> Self {
        match error {
            DeadError::Unknown { .. } => Self::new(Exit::NotFound, &error),
            DeadError::Read(error) => error.into(),
            DeadError::Submit(error) => error.into(),
            DeadError::Unreadable { number, .. } => Self::new(Exit::Failure, &error).todo(format!(
                "weft dlq discard {number} removes it; the task's log keeps its end"
            )),
            DeadError::Input { .. } => Self::new(Exit::Failure, &error),
            DeadError::NoTask { .. } => Self::new(Exit::Failure, &error).todo(
                "weft dlq get shows it; weft task say says it again, weft dlq discard removes it",
            ),
        }
    }
}

impl From<SayError> for Failure {
    fn from(error: SayError) -> Self {
        match error {
            SayError::Unknown { .. } => Self::new(Exit::NotFound, &error)
                .todo("weft task list shows the tasks there are; --owner names whose"),
            SayError::Ended { .. } => Self::new(Exit::Failure, &error)
                .todo("weft task send --context keeps the conversation in another task"),
            SayError::TooLarge { .. } => Self::new(Exit::Usage, &error)
                .todo("put it where the agent can fetch it, and say its address"),
            SayError::Task(error) => error.into(),
            SayError::Store { ref source, .. } => {
                let Self { exit, todo, .. } = Self::from(source.clone());
                Self { exit, todo, ..Self::new(exit, &error) }
            }
        }
    }
}

impl From<DecideError> for Failure {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::NotAsked { .. } => Self::new(Exit::NotFound, &error)
                .todo("weft approval list shows what waits for a decision"),
            DecideError::Decided { .. } => Self::new(Exit::Failure, &error)
                .todo("weft task watch shows who decided what, and when"),
            DecideError::Changed { .. } => Self::new(Exit::Failure, &error)
                .todo("weft approval list shows what it asks now; decide about that"),
            DecideError::BadAction { .. } => Self::new(Exit::Usage, &error),
            DecideError::MayNot { .. } => Self::new(Exit::NotPermitted, &error)
                .todo("--by says who decides; weft approval list says when others may"),
            DecideError::Say(error) => error.into(),
        }
    }
}

impl From<ContractError> for Failure {
    fn from(error: ContractError) -> Self {
        match &error {
            ContractError::Unknown { .. } => Self::new(Exit::NotFound, &error),
            ContractError::Broken(_) => Self::new(Exit::Failure, &error),
            ContractError::Mismatch(faults) => {
                let mut failure = Self::new(Exit::Failure, &error);
                failure.causes.extend(faults.iter().map(ToString::to_string));
                failure
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_means_one_thing() {
        for (index, exit) in Exit::ALL.iter().enumerate() {
            assert_eq!(Exit::from_code(exit.code()), *exit);
            assert!(Exit::ALL[index + 1..].iter().all(|other| other.meaning() != exit.meaning()));
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let failure = Failure::from(PrintError::Closed);
        assert_eq!((failure.exit, failure.causes.len()), (Exit::Ok, 0));
    }
}
