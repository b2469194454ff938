//! What work needs when the skill is not named, and what a coordinator answers.
//!
//! The question goes to `weft.resolve` on core NATS, as JSON; any coordinator answers it from the registry. The answer is
//! written into the entry that delegates, so that nobody asks twice.

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::id::{NodeName, Skill};

/// What an agent has to be able to do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Need {
    /// Tags that its card must have, all of them, in any case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Media types that it must read, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_modes: Vec<String>,
    /// Media types that it must write, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output_modes: Vec<String>,
    /// The most that one task may cost by its card, in millionths of the mesh's one currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros_max: Option<u64>,
    /// Skills that are out of the question.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_skills: Vec<Skill>,
    /// A node that should not do it if another can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avoid: Option<NodeName>,
}

/// What a coordinator answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Resolution {
    /// A skill that meets the need.
    Found {
        /// The skill.
        skill: Skill,
        /// Why it was chosen, for people and for the log.
        reason: String,
    },
    /// Nobody meets it.
    Nobody {
        /// What is missing, as `nobody_serves`.
        fault: Fault,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_need_is_written_short_and_misspelt_members_are_refused() {
        let need = Need { tags: vec!["ocr".to_owned()], ..Need::default() };
        assert_eq!(serde_json::to_value(&need).unwrap(), json!({"tags": ["ocr"]}));
        assert_eq!(serde_json::from_value::<Need>(json!({"tags": ["ocr"]})).unwrap(), need);
        assert!(serde_json::from_value::<Need>(json!({"tag": "ocr"})).is_err());
    }
}
