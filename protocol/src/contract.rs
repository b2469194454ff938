//! The contract for other languages: THE LIST of the JSON Schemas that Weft publishes.
//!
//! The texts are the files in `schemas/`; a test holds that every example there is judged alike by its
//! schema and by the type that Weft reads it with. Schemas state the canonical spelling; what Weft reads
//! beyond it stands in `schemas/README.md`.

use serde_json::Value;

use crate::fault::{Fault, code};
use crate::schema::{Schema, SchemaError};

/// One published schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contract {
    /// Its name: the file is `schemas/<name>.v1.json`, the id `urn:weft:schema:<name>:v1`.
    pub name: &'static str,
    /// What it describes, in a few words; the schema's own title.
    pub title: &'static str,
    /// The schema, as the file has it.
    pub text: &'static str,
}

/// Every published schema. Names are append-only.
pub const ALL: [Contract; 10] = [
    Contract {
        name: "message",
        title: "A2A message",
        text: include_str!("../../schemas/message.v1.json"),
    },
    Contract {
        name: "submission-headers",
        title: "Headers of a submission",
        text: include_str!("../../schemas/submission-headers.v1.json"),
    },
    Contract {
        name: "grant",
        title: "Budget of a task",
        text: include_str!("../../schemas/grant.v1.json"),
    },
    Contract {
        name: "input-headers",
        title: "Headers of what is said to a task",
        text: include_str!("../../schemas/input-headers.v1.json"),
    },
    Contract {
        name: "decision",
        title: "Decision about an action",
        text: include_str!("../../schemas/decision.v1.json"),
    },
    Contract { name: "task", title: "A2A task", text: include_str!("../../schemas/task.v1.json") },
    Contract {
        name: "entry",
        title: "Entry of a task's log",
        text: include_str!("../../schemas/entry.v1.json"),
    },
    Contract {
        name: "dead-letter",
        title: "Dead letter",
        text: include_str!("../../schemas/dead-letter.v1.json"),
    },
    Contract {
        name: "registration",
        title: "Agent on a node",
        text: include_str!("../../schemas/registration.v1.json"),
    },
    Contract {
        name: "audit-entry",
        title: "Decision of a door",
        text: include_str!("../../schemas/audit-entry.v1.json"),
    },
];

/// Why a value is not what a schema describes.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// There is no such schema.
    #[error("there is no schema {name:?}; there are {}", names())]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The schema itself is broken; a test holds that none is.
    #[error("the schema cannot be compiled")]
    Broken(#[source] SchemaError),
    /// The value does not fit.
    #[error("the value does not fit the schema in {} places", .0.len())]
    Mismatch(Vec<Fault>),
}

fn names() -> String {
    ALL.map(|contract| contract.name).join(", ")
}

impl Contract {
    /// The schema, compiled. Takes about a millisecond: keep it where many values are judged.
    ///
    /// # Errors
    /// When the text is no valid schema.
    pub fn compile(&self) -> Result<Schema, SchemaError> {
        let source = serde_json::from_str(self.text)
            .map_err(|error| SchemaError::Invalid { reason: error.to_string() })?;
        Schema::compile(source)
    }
}

/// The schema with this name.
///
/// # Errors
/// [`ContractError::Unknown`].
pub fn find(name: &str) -> Result<&'static Contract, ContractError> {
    ALL.iter()
        .find(|contract| contract.name == name)
        .ok_or_else(|| ContractError::Unknown { name: name.to_owned() })
}

/// Judges a value by the schema with this name.
///
/// # Errors
/// When there is no such schema, or with all that is wrong with the value: `schema_mismatch` faults, each
/// with its JSON path.
pub fn validate(name: &str, value: &Value) -> Result<(), ContractError> {
    let schema = find(name)?.compile().map_err(ContractError::Broken)?;
    let faults = schema.faults(value, code::SCHEMA_MISMATCH);
    if faults.is_empty() { Ok(()) } else { Err(ContractError::Mismatch(faults)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_that_is_not_there_is_answered_with_those_that_are() {
        let error = validate("massage", &json!({})).unwrap_err().to_string();
        assert!(error.contains("massage") && error.contains("dead-letter"), "{error}");
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_its_place() {
        let value = json!({"messageId": 1, "parts": [{"text": "fine"}, {"text": "a", "url": "b"}]});
        let Err(ContractError::Mismatch(faults)) = validate("message", &value) else {
            unreachable!("two things are wrong");
        };
        let mut places: Vec<_> = faults.iter().filter_map(|fault| fault.place.as_deref()).collect();
        places.sort_unstable();
        assert_eq!(places, ["$.messageId", "$.parts[1]"]);
        assert!(faults.iter().all(|fault| fault.code == code::SCHEMA_MISMATCH));
    }
}
