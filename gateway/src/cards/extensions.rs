//! THE LIST of extensions of A2A that are understood here. None is ever required: who does not name them notices nothing.

use protocol::card::AgentExtension;
use serde_json::{Map, Value, json};

/// Going on with a stream behind the last event that the client saw.
pub const RESUME: &str = "urn:weft:a2a:resume:v1";
/// The generation of a task, and changes that depend on it.
pub const GENERATION: &str = "urn:weft:a2a:generation:v1";
/// Sending a message twice and having it done once.
pub const IDEMPOTENT_SEND: &str = "urn:weft:a2a:idempotent-send:v1";
/// Ending a task with all that it has started.
pub const CASCADE_CANCEL: &str = "urn:weft:a2a:cascade-cancel:v1";
/// What a task may spend.
pub const BUDGET: &str = "urn:weft:a2a:budget:v1";
/// Deciding what a task asks approval for.
pub const APPROVAL: &str = "urn:weft:a2a:approval:v1";
/// What the extended card knows about skills beyond A2A.
pub const SKILLS: &str = "urn:weft:a2a:skills:v1";

/// An extension.
#[derive(Debug, Clone, Copy)]
pub struct Extension {
    /// Its URI.
    pub uri: &'static str,
    /// What is done with it, for people.
    pub description: &'static str,
    /// What a client has to know to use it.
    pub params: fn() -> Value,
}

/// THE LIST.
pub const EXTENSIONS: &[Extension] = &[
    Extension {
        uri: RESUME,
        description: "Events have a cursor, <generation>.<index>: the id of a server-sent event, metadata over gRPC. A client \
                      that subscribes with Last-Event-ID gets what came behind it, once and in order, from any gateway.",
        params: || json!({"header": "Last-Event-ID", "metadata": "weft/cursor"}),
    },
    Extension {
        uri: GENERATION,
        description: "Task.metadata tells the task's generation, which grows with every change. A request that expects \
                      another one is refused with the error -32010 (the draft of A2A 1.1).",
        params: || json!({"metadata": "weft/generation", "precondition": "ifGenerationMatch"}),
    },
    Extension {
        uri: IDEMPOTENT_SEND,
        description: "A client that names this extension may send a message again, with the same messageId, when it does \
                      not know what became of it: the task is made once, and the answer is that task.",
        params: || json!({"key": "messageId"}),
    },
    Extension {
        uri: CASCADE_CANCEL,
        description: "Canceling a task ends the tasks that it has delegated and still waits for.",
        params: || json!({}),
    },
    Extension {
        uri: BUDGET,
        description: "A message that begins a task may say what the task may spend, with all that it delegates.",
        params: || json!({"metadata": "weft/budget"}),
    },
    Extension {
        uri: APPROVAL,
        description: "A task that waits for a decision tells what it asks for in the metadata of its status message. The \
                      decision is a message to the task with one data part.",
        params: || json!({"metadata": "weft/approval"}),
    },
];

/// Whether an extension is in the list.
#[must_use]
pub fn is_known(uri: &str) -> bool {
    EXTENSIONS.iter().any(|extension| extension.uri == uri)
}

/// The list as cards say it.
#[must_use]
pub fn declared() -> Vec<AgentExtension> {
    EXTENSIONS.iter().map(|extension| declaration(extension, (extension.params)())).collect()
}

/// What the extended card tells about skills: their JSON Schemas, and to whom may know, who runs them.
#[must_use]
pub fn skills(facts: Map<String, Value>) -> AgentExtension {
    let extension = Extension {
        uri: SKILLS,
        description: "Each skill's JSON Schemas and, for those who may look at tasks, its nodes and their load.",
        params: || Value::Null,
    };
    declaration(&extension, Value::Object(facts))
}

fn declaration(extension: &Extension, params: Value) -> AgentExtension {
    let params = params.as_object().filter(|params| !params.is_empty()).cloned();
    AgentExtension {
        uri: extension.uri.to_owned(),
        description: extension.description.to_owned(),
        required: false,
        params,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_extension_is_required_and_each_is_listed_once() {
        let declared = declared();
        assert!(declared.iter().all(|one| !one.required && !one.description.is_empty()));
        let mut uris: Vec<_> = declared.iter().map(|one| one.uri.as_str()).collect();
        uris.dedup();
        assert_eq!(uris.len(), EXTENSIONS.len());
        assert!(uris.iter().all(|uri| is_known(uri)) && !is_known("urn:weft:a2a:resume:v2"));
    }
}
