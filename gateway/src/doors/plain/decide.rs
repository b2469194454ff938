//! Decisions of people over plain REST. Who decides is who asks: the name is the caller's, never the body's.

use std::convert::identity;
use std::time::Duration;

use axum::response::Response;
use client::{Choice, DecideError, Outcome};
use protocol::approval::Verdict;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, submit, wait};
use crate::a2a::error::Error;
use crate::core::call::Operation;
use crate::core::follower::unreadable;
use crate::doors::answer::{self, JSON};
use crate::doors::{body, parse};
use crate::limits::PLAIN_APPROVALS_MAX;

/// How long an answer waits for what became of a decision.
const OUTCOME_WAIT: Duration = Duration::from_secs(5);

/// The body of a decision.
#[derive(Deserialize)]
struct Said {
    verdict: Verdict,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    action: Option<Value>,
    #[serde(default)]
    hash: Option<String>,
}

/// `POST /v1/tasks/{id}/decision`.
pub(super) async fn decide(asked: Asked<'_>) -> Result<Response, Error> {
    asked.call.may(Operation::Decide, None)?;
    let (jobs, text) = (&asked.doors.core.jobs, asked.body.clone());
    let read = move || body::request(body::json(&text)?, &["verdict"]);
    let said: Said = parse::beside(jobs, asked.body.len(), read, identity).await?;
    if (said.verdict == Verdict::Edit) != said.action.is_some() {
        return Err(Error::field("action", "goes with the verdict edit, and with no other"));
    }
    let task = wait::get(&asked, asked.route.value(0).to_owned()).await?;
    let (owner, id) = (asked.call.owner()?, submit::id(&task)?);
    let choice = Choice {
        verdict: said.verdict,
        by: asked.call.caller.name.clone(),
        comment: said.comment,
        action: said.action,
        hash: said.hash,
    };
    let core = &asked.doors.core;
    let cast = core.client.decide(&owner, &id, choice, core.clock.now()).await.map_err(refused)?;
    let outcome = core.client.outcome(&owner, &id, &cast, OUTCOME_WAIT).await;
    let (status, word) = match outcome {
        Ok(Outcome::Counted(ruling)) => (200, client::word(&ruling)),
        Ok(Outcome::TooLate(ruling)) => (409, client::word(&ruling)),
        Ok(Outcome::Ended(state)) => (409, format!("the task is {state}")),
        // It is stored: that nobody has looked at it yet changes nothing.
        Ok(Outcome::Open) | Err(_) => (202, "stored; not settled yet".to_owned()),
    };
    let facts =
        json!({"taskId": id, "hash": cast.hash, "sequence": cast.sequence, "outcome": word});
    Ok(answer::json(status, JSON, &facts))
}

fn refused(error: DecideError) -> Error {
    match error {
        DecideError::NotAsked { .. } | DecideError::Decided { .. } => {
            Error::UnsupportedOperation(error.to_string())
        }
        DecideError::Changed { .. } => Error::field("hash", error.to_string()),
        DecideError::MayNot { .. } => Error::PermissionDenied(error.to_string()),
        DecideError::BadAction { .. } => Error::field("action", error.to_string()),
        DecideError::Say(error) => submit::said_error(&error),
    }
}

/// `GET /v1/approvals`.
pub(super) async fn approvals(asked: Asked<'_>) -> Result<Response, Error> {
    asked.call.may(Operation::Decide, None)?;
    let (owner, core) = (asked.call.owner()?, &asked.doors.core);
    let found = core.client.approvals(Some(&owner), PLAIN_APPROVALS_MAX, core.clock.now()).await;
    let mut approvals = found.map_err(|error| unreadable(&error))?;
    approvals.pending.retain(|one| asked.call.allows(Operation::Decide, one.skill.as_ref()));
    Ok(answer::json(200, JSON, &approvals))
}
