//! Judges an agent's input and output by its JSON Schema, compiled once.
//!
//! Schemas come from agent authors, values from anybody. References are never fetched.

use serde_json::Value;

use crate::fault::{Fault, code};
use crate::limits::SCHEMA_BYTES_MAX;

/// Faults told of one value; nobody reads more.
pub const FAULTS_MAX: usize = 32;

/// A compiled JSON Schema (2020-12).
#[derive(Debug)]
pub struct Schema {
    source: Value,
    validator: jsonschema::Validator,
}

/// Why a schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// It is larger than the limit.
    #[error("the schema has {bytes} bytes, at most {SCHEMA_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its size as compact JSON.
        bytes: usize,
    },
    /// It is no valid JSON Schema.
    #[error("not a valid JSON Schema: {reason}")]
    Invalid {
        /// What the compiler says.
        reason: String,
    },
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// When it is too large or no valid JSON Schema.
    pub fn compile(source: Value) -> Result<Self, SchemaError> {
        let bytes = source.to_string().len();
        if bytes > SCHEMA_BYTES_MAX {
            return Err(SchemaError::TooLarge { bytes });
        }
        let validator = jsonschema::validator_for(&source)
            .map_err(|error| SchemaError::Invalid { reason: error.to_string() })?;
        Ok(Self { source, validator })
    }

    /// The schema itself.
    #[must_use]
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// Judges a value.
    ///
    /// # Errors
    /// A fault with this code and the JSON path of the first thing that is wrong.
    pub fn check(&self, value: &Value, fault_code: &str) -> Result<(), Fault> {
        self.validator.validate(value).map_err(|error| {
            Fault::new(fault_code, error.to_string())
                .at(json_path(&error.instance_path().to_string()))
        })
    }

    /// All that is wrong with a value, up to [`FAULTS_MAX`], each with this code and its JSON path.
    #[must_use]
    pub fn faults(&self, value: &Value, fault_code: &str) -> Vec<Fault> {
        self.validator
            .iter_errors(value)
            .take(FAULTS_MAX)
            .map(|error| {
                Fault::new(fault_code, error.to_string())
                    .at(json_path(&error.instance_path().to_string()))
            })
            .collect()
    }

    /// Judges an input, as [`Schema::check`].
    ///
    /// # Errors
    /// An `invalid_input` fault.
    pub fn check_input(&self, value: &Value) -> Result<(), Fault> {
        self.check(value, code::INVALID_INPUT)
    }
}

/// A JSON Pointer (`/files/0/path`) as a JSON path (`$.files[0].path`).
fn json_path(pointer: &str) -> String {
    let mut path = String::from("$");
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        if token.bytes().all(|b| b.is_ascii_digit()) && !token.is_empty() {
            path.push_str(&format!("[{token}]"));
        } else if token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            path.push_str(&format!(".{token}"));
        } else {
            path.push_str(&format!("[{token:?}]"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fault_names_the_place() {
        let schema = Schema::compile(json!({
            "type": "object", "required": ["files"],
            "properties": {"files": {"type": "array", "items": {"type": "object",
                "properties": {"a b": {"type": "string"}}}}}
        }))
        .unwrap();
        for (value, place) in [
            (json!({}), "$"),
            (json!({"files": [{}, {"a b": 1}]}), "$.files[1][\"a b\"]"),
            (json!("text"), "$"),
        ] {
            let fault = schema.check_input(&value).unwrap_err();
            assert_eq!(
                (fault.code.as_str(), fault.place.as_deref()),
                ("invalid_input", Some(place))
            );
        }
        assert!(schema.check_input(&json!({"files": []})).is_ok());
    }

    #[test]
    fn bad_schemas_are_refused_and_nothing_is_fetched() {
        for source in [
            json!({"type": "nonsense"}),
            json!({"$ref": "https://example.org/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"description": "x".repeat(SCHEMA_BYTES_MAX)}),
        ] {
            assert!(Schema::compile(source).is_err());
        }
    }
}
