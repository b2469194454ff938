//! What the user can do when a node or a coordinator does not start, or ends badly.

use std::error::Error;

use agent_node::command::CommandError as NodeError;
use agent_node::role::RoleError as NodeRoleError;
use coordinator::command::CommandError as CoordinatorError;
use coordinator::role::RoleError as CoordinatorRoleError;
use gateway::command::CommandError as GatewayError;
use gateway::role::RoleError as GatewayRoleError;
use runtime::process::{ProcessError, causes};

use super::{Exit, Failure};

const PORT: &str =
    "--http 127.0.0.1:0 takes a free port; without --http and `http` in the file nothing is served";
const LISTEN: &str =
    "--listen 127.0.0.1:0 takes a free port, gateway.listen in the file another one";
const WAYS_IN: &str =
    "`weft gateway key` makes an API key; docs/gateway-security.md has the other ways";
const TLS: &str = "gateway.tls takes a certificate chain and its key, both in PEM";
const SIGN_KEY: &str = "gateway.sign.key takes a PKCS#8 PEM file of an Ed25519 or a P-256 key: docs/gateway.md says how to make one";
const AGENTS: &str = "examples/weft.toml shows an agent of each kind";
const RESTART: &str = "start it again: what was acknowledged is stored; the log above says more";
const READY_FILE: &str = "--ready-file takes a path in a directory that exists and may be written";
const STORE: &str = "the server's store has less room than the streams ask for: lower bus.inbox_bytes_max, or raise max_file_store";
const PERMISSIONS: &str =
    "give this user what docs/hosts.md gives the user weft; weft doctor tries what it may do";
const READ_MODEL: &str =
    "the read model is a copy: remove its file, and it is built again from the streams";
const SERVER: &str = "weft doctor looks at the server, its streams and what this user may do there";

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        let exit = Exit::from_code(error.exit_code());
        let failure = Self::new(exit, &error);
        match error {
            NodeError::Args(error) => error.into(),
            NodeError::ReadyFile(_) => failure.todo(READY_FILE),
            NodeError::Process(ProcessError::Telemetry(error)) => error.into(),
            NodeError::Process(ProcessError::Signals(_) | ProcessError::Forced) => failure,
            NodeError::Process(ProcessError::Work(error)) => match error {
                NodeRoleError::Connect(error) => error.into(),
                NodeRoleError::Build(_) => failure.todo(AGENTS),
                NodeRoleError::NoAgents => {
                    failure.todo(format!("{AGENTS}; weft dev brings one along"))
                }
                NodeRoleError::Schema { .. } => {
                    failure.todo("correct input_schema or output_schema: JSON Schema 2020-12 without references to other files")
                }
                NodeRoleError::Http(_) => failure.todo(PORT),
                NodeRoleError::Start(error) => failure.todo(on_the_server(&error)),
                NodeRoleError::Failed(_) => failure.todo(RESTART),
                NodeRoleError::StillRunning(_) => failure
                    .todo("what was under way is done by another node after its lease; a larger node.drain_grace gives it time"),
            },
        }
    }
}

impl From<CoordinatorError> for Failure {
    fn from(error: CoordinatorError) -> Self {
        let exit = Exit::from_code(error.exit_code());
        let failure = Self::new(exit, &error);
        match error {
            CoordinatorError::Args(error) => error.into(),
            CoordinatorError::ReadyFile(_) => failure.todo(READY_FILE),
            CoordinatorError::Process(ProcessError::Telemetry(error)) => error.into(),
            CoordinatorError::Process(ProcessError::Signals(_) | ProcessError::Forced) => failure,
            CoordinatorError::Process(ProcessError::Work(error)) => match error {
                CoordinatorRoleError::Connect(error) => error.into(),
                CoordinatorRoleError::Provision(error) => failure.todo(on_the_server(&error)),
                CoordinatorRoleError::Http(_) => failure.todo(PORT),
                CoordinatorRoleError::ReadModel(_) => failure.todo(READ_MODEL),
                CoordinatorRoleError::Failed(_) => failure.todo(RESTART),
            },
        }
    }
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        let exit = Exit::from_code(error.exit_code());
        let failure = Self::new(exit, &error);
        match error {
            GatewayError::Args(error) => error.into(),
            GatewayError::ReadyFile(_) => failure.todo(READY_FILE),
            GatewayError::Process(ProcessError::Telemetry(error)) => error.into(),
            GatewayError::Process(ProcessError::Signals(_) | ProcessError::Forced) => failure,
            GatewayError::Process(ProcessError::Work(error)) => match error {
                GatewayRoleError::Connect(error) => error.into(),
                GatewayRoleError::Http(_) => failure.todo(PORT),
                GatewayRoleError::Listen(_) => failure.todo(LISTEN),
                GatewayRoleError::Gate(_) => failure.todo(WAYS_IN),
                GatewayRoleError::Tls(_) => failure.todo(TLS),
                GatewayRoleError::SignKey(_) => failure.todo(SIGN_KEY),
                GatewayRoleError::Failed(_) => failure.todo(RESTART),
            },
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
            let role = CoordinatorRoleError::Provision(error);
            let failure = Failure::from(CoordinatorError::Process(ProcessError::Work(role)));
            assert_eq!(failure.todo.as_deref(), Some(todo), "{reason}");
        }
    }

    #[test]
    fn no_agents_and_a_bad_file_point_to_the_example() {
        let role = NodeError::Process(ProcessError::Work(NodeRoleError::NoAgents));
        let failure = Failure::from(role);
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.todo.unwrap().contains("examples/weft.toml"));
    }
}
