//! What the user can do when a node or a coordinator does not start, or ends badly.

use std::error::Error;

use agent_node::role::RoleError as NodeError;
use coordinator::role::RoleError as CoordinatorError;
use gateway::role::RoleError as GatewayError;
use runtime::process::{ProcessError, causes};
use runtime::role::{CommandError, WorkError};

use super::{Exit, Failure};

const PORT: &str =
    "--http 127.0.0.1:0 takes a free port; without --http and `http` in the file nothing is served";
const LISTEN: &str =
    "--listen 127.0.0.1:0 takes a free port, gateway.listen in the file another one";
const WAYS_IN: &str =
    "`weft gateway key` makes an API key; docs/gateway-security.md has the other ways";
const TLS: &str = "gateway.tls takes a certificate chain and its key, both in PEM";
const SIGN_KEY: &str = "gateway.sign.key takes a PKCS#8 PEM file of an Ed25519 or a P-256 key: docs/gateway.md says how to make one";
const SEAL_KEY: &str =
    "openssl rand -hex 32 makes a key: docs/gateway-security.md, \"Webhooks at rest\"";
const AGENTS: &str = "examples/weft.toml shows an agent of each kind";
const SCHEMA: &str =
    "correct input_schema or output_schema: JSON Schema 2020-12 without references to other files";
const GRACE: &str = "what was under way is done by another node after its lease; a larger node.drain_grace gives it time";
const RESTART: &str = "start it again: what was acknowledged is stored; the log above says more";
const READY_FILE: &str = "--ready-file takes a path in a directory that exists and may be written";
const STORE: &str = "the server's store has less room than the streams ask for: lower bus.inbox_bytes_max or gateway.audit.max_bytes, or raise max_file_store";
const PERMISSIONS: &str =
    "give this user what docs/hosts.md gives the user weft; weft doctor tries what it may do";
const READ_MODEL: &str =
    "the read model is a copy: remove its file, and it is built again from the streams";
const SERVER: &str = "weft doctor looks at the server, its streams and what this user may do there";

/// A failure of a role's work, for which there is something that the user can do.
pub(crate) trait Advised: WorkError {
    /// Adds what can be done.
    fn advise(self, failure: Failure) -> Failure;
}

impl<E: Advised> From<CommandError<E>> for Failure {
    fn from(error: CommandError<E>) -> Self {
        let failure = Self::new(Exit::from_code(error.exit_code()), &error);
        match error {
            CommandError::Args(error) => error.into(),
            CommandError::ReadyFile(_) => failure.todo(READY_FILE),
            CommandError::Process(ProcessError::Telemetry(error)) => error.into(),
            CommandError::Process(ProcessError::Signals(_) | ProcessError::Forced) => failure,
            CommandError::Process(ProcessError::Work(error)) => error.advise(failure),
        }
    }
}

impl Advised for NodeError {
    fn advise(self, failure: Failure) -> Failure {
        match self {
            Self::Connect(error) => error.into(),
            Self::Build(_) => failure.todo(AGENTS),
            Self::NoAgents => failure.todo(format!("{AGENTS}; weft dev brings one along")),
            Self::Schema { .. } => failure.todo(SCHEMA),
            Self::Http(_) => failure.todo(PORT),
            Self::Start(error) => failure.todo(on_the_server(&error)),
            Self::Failed(_) => failure.todo(RESTART),
            Self::Drain(_) => failure.todo(GRACE),
        }
    }
}

impl Advised for CoordinatorError {
    fn advise(self, failure: Failure) -> Failure {
        match self {
            Self::Connect(error) => error.into(),
            Self::Provision(error) => failure.todo(on_the_server(&error)),
            Self::Http(_) => failure.todo(PORT),
            Self::ReadModel(_) => failure.todo(READ_MODEL),
            Self::Failed(_) => failure.todo(RESTART),
        }
    }
}

impl Advised for GatewayError {
    fn advise(self, failure: Failure) -> Failure {
        match self {
            Self::Connect(error) => error.into(),
            Self::Http(_) => failure.todo(PORT),
            Self::Listen(_) => failure.todo(LISTEN),
            Self::Gate(_) => failure.todo(WAYS_IN),
            Self::Tls(_) => failure.todo(TLS),
            Self::SignKey(_) => failure.todo(SIGN_KEY),
            Self::SealKey(_) => failure.todo(SEAL_KEY),
            Self::Failed(_) => failure.todo(RESTART),
        }
    }
}

/// What fits a refusal of the server's, as its own words tell.
fn on_the_server(error: &dyn Error) -> &'static str {
    let denied = says(error, &["permissions violation", "not permitted"]);
    store_todo(error).unwrap_or(if denied { PERMISSIONS } else { SERVER })
}

/// What to do when the server has no room for the streams.
pub(crate) fn store_todo(error: &dyn Error) -> Option<&'static str> {
    says(error, &["10047", "insufficient storage", "10028", "resource limits exceeded"])
        .then_some(STORE)
}

fn says(error: &dyn Error, words: &[&str]) -> bool {
    let said = causes(error).join(" ").to_ascii_lowercase();
    words.iter().any(|word| said.contains(word))
}

#[cfg(test)]
mod tests {
    use runtime::bus::ProvisionError;

    use super::*;

    #[test]
    fn the_servers_refusal_decides_what_is_to_be_done() {
        for (reason, todo) in [
            ("insufficient storage resources available, error code 10047", STORE),
            ("Permissions Violation for Publish to \"$JS.API.STREAM.CREATE.A\"", PERMISSIONS),
            ("timed out", SERVER),
        ] {
            let what = "stream WEFT_INBOX".to_owned();
            let error = ProvisionError { what, reason: reason.to_owned() };
            let work = ProcessError::Work(CoordinatorError::Provision(error));
            let failure = Failure::from(CommandError::Process(work));
            assert_eq!(failure.todo.as_deref(), Some(todo), "{reason}");
        }
    }

    #[test]
    fn no_agents_and_a_bad_file_point_to_the_example() {
        let work = ProcessError::Work(NodeError::NoAgents);
        let failure = Failure::from(CommandError::Process(work));
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.todo.unwrap().contains("examples/weft.toml"));
    }
}
