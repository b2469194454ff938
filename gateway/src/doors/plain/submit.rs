//! Submits work, and says things to tasks.

use std::convert::identity;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::response::Response;
use client::SayError;
use protocol::TaskId;
use protocol::header;
use protocol::input::Input;
use protocol::limits::NAME_CHARS_MAX;
use protocol::message::Message;
use protocol::task::Task;
use serde_json::{Value, json};

use super::{Asked, content, wait};
use crate::a2a::error::Error;
use crate::a2a::request::SendMessageRequest;
use crate::cards::extensions;
use crate::core::call::Operation;
use crate::core::{BUDGET, DEADLINE};
use crate::doors::answer::{self, JSON};
use crate::doors::parse;

/// `POST /v1/tasks/{skill}`.
pub(super) async fn submit(mut asked: Asked<'_>) -> Result<Response, Error> {
    let wait = wait::asked_for(&asked)?;
    let mut message = message(&asked).await?;
    let mut metadata = message.metadata.take().unwrap_or_default();
    let key = asked.header(header::DEDUP_KEY)?.or(asked.header("idempotency-key")?);
    if let Some(key) = key {
        key.clone_into(&mut message.message_id);
        asked.call.extensions.push(extensions::IDEMPOTENT_SEND.to_owned());
    }
    if let Some(context) = asked.header(header::CONTEXT_ID)? {
        message.context_id = Some(context.to_owned());
    }
    if let Some(deadline) = asked.header(header::DEADLINE)? {
        metadata.insert(DEADLINE.to_owned(), deadline.into());
    }
    if let Some(budget) = asked.header(header::BUDGET)? {
        let budget: Value = serde_json::from_str(budget)
            .map_err(|error| Error::field(header::BUDGET, error.to_string()))?;
        metadata.insert(BUDGET.to_owned(), budget);
        asked.call.extensions.push(extensions::BUDGET.to_owned());
    }
    message.metadata = Some(metadata).filter(|facts| !facts.is_empty());
    message.task_id = None;
    asked.call.agent = Some(asked.route.value(0).to_owned());
    let sent = send(&asked, message, wait.unwrap_or_default()).await;
    let task = sent.map_err(as_address)?;
    Ok(accepted(&task, wait.is_some()))
}

/// `POST /v1/tasks/{id}/messages`.
pub(super) async fn say(asked: Asked<'_>) -> Result<Response, Error> {
    let mut message = message(&asked).await?;
    message.task_id = Some(asked.route.value(0).to_owned());
    let task = send(&asked, message, Duration::ZERO).await?;
    Ok(accepted(&task, false))
}

/// `POST /v1/tasks/{id}/signals/{name}`.
pub(super) async fn signal(asked: Asked<'_>) -> Result<Response, Error> {
    asked.call.may(Operation::Send, None)?;
    let name = asked.route.value(1).to_owned();
    if name.is_empty()
        || name.chars().count() > NAME_CHARS_MAX
        || name.chars().any(char::is_control)
    {
        return Err(Error::field(
            "name",
            format!("a signal's name has 1 to {NAME_CHARS_MAX} characters"),
        ));
    }
    let payload = if asked.body.is_empty() { Vec::new() } else { message(&asked).await?.parts };
    // Whoever cannot see the task learns nothing from saying something to it.
    let task = wait::get(&asked, asked.route.value(0).to_owned()).await?;
    let (owner, id) = (asked.call.owner()?, id(&task)?);
    let input = Input::Signal { name, payload };
    let said = asked.doors.core.client.say(&owner, &id, &input, None).await;
    let sequence = said.map_err(|error| said_error(&error))?;
    Ok(answer::json(202, JSON, &json!({"taskId": id, "sequence": sequence})))
}

async fn message(asked: &Asked<'_>) -> Result<Message, Error> {
    let content_type = asked.header(CONTENT_TYPE.as_str())?.map(str::to_owned);
    let (jobs, body) = (&asked.doors.core.jobs, asked.body.clone());
    let read = move || content::message(content_type.as_deref(), &body);
    let mut message = parse::beside(jobs, asked.body.len(), read, identity).await?;
    if message.message_id.is_empty() {
        message.message_id = uuid::Uuid::now_v7().to_string();
    }
    Ok(message)
}

async fn send(asked: &Asked<'_>, message: Message, wait: Duration) -> Result<Task, Error> {
    let request = SendMessageRequest { message: Some(message), ..SendMessageRequest::default() };
    let sent = asked.doors.core.send_within(&asked.call, request, wait).await;
    sent.map(|answered| answered.task)
}

/// The address is the skill's own: one that nobody serves is not there.
fn as_address(error: Error) -> Error {
    if let Error::NobodyServes { skill, served, .. } = error {
        Error::SkillNotFound { skill, served }
    } else {
        error
    }
}

/// 200 for a task that was waited for and is settled; 202 with its address for one that goes on.
fn accepted(task: &Task, waited: bool) -> Response {
    let status = if waited && wait::is_settled(task.status.state) { 200 } else { 202 };
    let mut response = answer::json(status, JSON, task);
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/tasks/{}", task.id)) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// The id of a task that the core has answered with.
pub(super) fn id(task: &Task) -> Result<TaskId, Error> {
    TaskId::parse(&task.id).map_err(|_| Error::TaskNotFound(task.id.clone()))
}

/// Why something was not said, as a client is told.
pub(super) fn said_error(error: &SayError) -> Error {
    match error {
        SayError::Unknown { task, .. } => Error::TaskNotFound(task.to_string()),
        SayError::Ended { .. } => Error::UnsupportedOperation(error.to_string()),
        SayError::TooLarge { .. } => Error::TooLarge(error.to_string()),
        SayError::Task(error) => crate::core::follower::unreadable(error),
        SayError::Store { .. } => Error::Unavailable(error.to_string()),
    }
}
