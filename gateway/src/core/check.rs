//! Checks what a request says before anything is done: pure, and every wrong field is named.

use protocol::TaskId;
use protocol::id::ContextId;
use protocol::limits::{CANCEL_REASON_CHARS_MAX, PARTS_MAX};
use protocol::message::{Content, Message, Role};
use serde_json::{Map, Value};

use crate::a2a::error::{Error, Violation};
use crate::a2a::number;
use crate::core::standing::Standing;

/// The key in a request's metadata under which a client names the generation that it has seen.
pub(super) const IF_GENERATION: &str = "ifGenerationMatch";

/// The key in the metadata of a cancel under which a client says why.
const REASON: &str = "reason";

/// The message of a request, if it is one that can be sent.
pub(super) fn message(message: Option<Message>) -> Result<Message, Error> {
    let Some(mut message) = message else { return Err(Error::field("message", "is required")) };
    for part in &mut message.parts {
        if let Content::Data(value) = &mut part.content {
            number::make_whole(value);
        }
    }
    if let Some(metadata) = &mut message.metadata {
        number::make_members_whole(metadata);
    }
    let mut wrong = Vec::new();
    let mut say = |field: &str, description: String| {
        wrong.push(Violation { field: field.to_owned(), description });
    };
    if message.message_id.is_empty() {
        say("message.messageId", "is required".to_owned());
    }
    if message.role != Role::User {
        say("message.role", "must be ROLE_USER: clients do not speak for agents".to_owned());
    }
    match message.parts.len() {
        0 => say("message.parts", "needs at least one part".to_owned()),
        count if count > PARTS_MAX => {
            say("message.parts", format!("has {count} parts, at most {PARTS_MAX} are allowed"));
        }
        _ => {}
    }
    if wrong.is_empty() { Ok(message) } else { Err(Error::InvalidParams(wrong)) }
}

/// The conversation that a message names, if it names one.
pub(super) fn context(named: Option<&str>) -> Result<Option<ContextId>, Error> {
    named
        .filter(|named| !named.is_empty())
        .map(ContextId::parse)
        .transpose()
        .map_err(|error| Error::field("message.contextId", error.to_string()))
}

/// A task by its id. What can be no id of a task names no task.
pub(super) fn task(id: &str) -> Result<TaskId, Error> {
    if id.is_empty() {
        return Err(Error::field("id", "is required"));
    }
    TaskId::parse(id).map_err(|_| Error::TaskNotFound(id.to_owned()))
}

/// The generation that the client believes the task to be at, if it says so.
pub(super) fn generation(metadata: Option<&Map<String, Value>>) -> Result<Option<u64>, Error> {
    let Some(value) = metadata.and_then(|metadata| metadata.get(IF_GENERATION)) else {
        return Ok(None);
    };
    let read = match value {
        // What protobuf's Struct can hold is a double.
        Value::Number(number) => number.as_u64().or_else(|| {
            number
                .as_f64()
                .filter(|float| float.fract() == 0.0 && (0.0..9e15).contains(float))
                .map(|float| float as u64)
        }),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    read.map(Some).ok_or_else(|| {
        Error::field(format!("metadata.{IF_GENERATION}"), format!("{value} is no generation"))
    })
}

/// Why a task is to end, if the request says it.
pub(super) fn reason(metadata: Option<&Map<String, Value>>) -> Result<Option<&str>, Error> {
    let Some(value) = metadata.and_then(|metadata| metadata.get(REASON)) else { return Ok(None) };
    let wrong = |why: String| Error::field(format!("metadata.{REASON}"), why);
    let text = value.as_str().ok_or_else(|| wrong("has to be a text".to_owned()))?;
    if text.chars().count() > CANCEL_REASON_CHARS_MAX {
        return Err(wrong(format!("has more than {CANCEL_REASON_CHARS_MAX} characters")));
    }
    Ok(Some(text))
}

/// Checks that a task is where the client believes it to be.
pub(super) fn is_at(standing: &Standing, expected: Option<u64>) -> Result<(), Error> {
    let current = standing.log.generation;
    match expected {
        Some(expected) if expected != current => {
            Err(Error::GenerationMismatch { task: standing.task.clone(), current, expected })
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use protocol::message::Part;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_wrong_field_of_a_message_is_named() {
        let good =
            Message { message_id: "m".to_owned(), ..Message::from_user(vec![Part::text("hi")]) };
        let many = vec![Part::text("x"); PARTS_MAX + 1];
        for (asked, fields) in [
            (Some(good.clone()), vec![]),
            (None, vec!["message"]),
            (
                Some(Message { message_id: String::new(), ..good.clone() }),
                vec!["message.messageId"],
            ),
            (Some(Message { role: Role::Agent, ..good.clone() }), vec!["message.role"]),
            (Some(Message { parts: many, ..good }), vec!["message.parts"]),
            (Some(Message::default()), vec!["message.messageId", "message.parts"]),
        ] {
            let found: Vec<_> = match message(asked) {
                Ok(_) => vec![],
                Err(error) => error.violations().iter().map(|one| one.field.clone()).collect(),
            };
            assert_eq!(found, fields);
        }
    }

    #[test]
    fn a_reason_is_a_text_that_is_not_too_long() {
        let long = "é".repeat(CANCEL_REASON_CHARS_MAX);
        for (value, taken) in [
            (json!("too dear"), true),
            (json!(""), true),
            (json!(long), true),
            (json!(format!("{long}!")), false),
            (json!(7), false),
            (json!(null), false),
        ] {
            let metadata = Map::from_iter([(REASON.to_owned(), value.clone())]);
            assert_eq!(reason(Some(&metadata)).is_ok(), taken, "{value}");
        }
        assert_eq!(reason(None), Ok(None));
    }

    #[test]
    fn generations_come_as_numbers_and_as_texts() {
        for (value, expected) in [
            (json!(3), Ok(Some(3))),
            (json!(3.0), Ok(Some(3))),
            (json!("3"), Ok(Some(3))),
            (json!(-1), Err(())),
            (json!(1.5), Err(())),
            (json!(null), Err(())),
            (json!([3]), Err(())),
        ] {
            let metadata = Map::from_iter([(IF_GENERATION.to_owned(), value.clone())]);
            assert_eq!(generation(Some(&metadata)).map_err(drop), expected, "{value}");
        }
        assert_eq!(generation(None), Ok(None));
    }
}
