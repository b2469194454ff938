//! Looks at tasks and agents, and ends tasks.

use std::collections::BTreeMap;

use axum::response::Response;
use protocol::Skill;
use serde_json::{Value, json};

use super::{Asked, submit, wait};
use crate::a2a::error::Error;
use crate::a2a::request::{CancelTaskRequest, ListTasksRequest, SubscribeToTaskRequest};
use crate::core::call::Operation;
use crate::core::follower::unreadable;
use crate::doors::answer::{self, JSON};
use crate::doors::query::{Field, Kind};
use crate::doors::rest::Bare;
use crate::doors::{body, sse};
use crate::limits::PLAIN_TREE_MAX;

/// The cursor that every event is behind.
const BEGINNING: &str = "0.0";

/// What `GET /v1/tasks` can be asked with.
pub(in crate::doors) const FILTERS: &[Field] = &[
    filter("skill", Kind::Text, "Only those of this skill."),
    filter("contextId", Kind::Text, "Only those of this conversation."),
    filter("status", Kind::State, "Only those in this state, as in `working`."),
    filter("statusTimestampAfter", Kind::Time, "Only those that changed then or later."),
    filter("pageSize", Kind::Number, "Tasks of a page: 1 to 100, or 50."),
    filter("pageToken", Kind::Text, "Where the last page ended."),
    filter("includeArtifacts", Kind::Bool, "With their artifacts."),
    filter("historyLength", Kind::Number, "Messages of history of each, the latest; or none."),
];

const fn filter(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, about }
}

/// `GET /v1/tasks/{id}`.
pub(super) async fn task(asked: Asked<'_>) -> Result<Response, Error> {
    let wait = wait::asked_for(&asked)?;
    let task = wait::get(&asked, asked.route.value(0).to_owned()).await?;
    let task = wait::settled(&asked, task, wait).await?;
    Ok(answer::json(200, JSON, &task))
}

/// `GET /v1/tasks`.
pub(super) async fn tasks(mut asked: Asked<'_>) -> Result<Response, Error> {
    asked.query.only(FILTERS)?;
    let mut members = asked.query.typed(FILTERS)?;
    asked.call.agent = match members.remove("skill") {
        Some(Value::String(skill)) => Some(skill),
        _ => None,
    };
    let request: ListTasksRequest = body::request(Value::Object(members), &[])?;
    let page = asked.doors.core.list(&asked.call, request).await?;
    Ok(answer::json(200, JSON, &page))
}

/// `POST /v1/tasks/{id}:cancel`.
pub(super) async fn cancel(asked: Asked<'_>) -> Result<Response, Error> {
    let request =
        CancelTaskRequest { tenant: None, id: asked.route.value(0).to_owned(), metadata: None };
    let task = asked.doors.core.cancel(&asked.call, request).await?;
    Ok(answer::json(200, JSON, &task))
}

/// `GET /v1/tasks/{id}/events`: all of them, also those of a task that has ended.
pub(super) async fn events(asked: Asked<'_>) -> Result<Response, Error> {
    let request = SubscribeToTaskRequest { tenant: None, id: asked.route.value(0).to_owned() };
    let after = asked.header("last-event-id")?.unwrap_or(BEGINNING);
    let core = &asked.doors.core;
    let events = core.subscribe(&asked.call, request, Some(after)).await?;
    sse::answer(events, Bare, core.jobs.shutdown_token()).await
}

/// `GET /v1/tasks/{id}/tree`.
pub(super) async fn tree(asked: Asked<'_>) -> Result<Response, Error> {
    let task = wait::get(&asked, asked.route.value(0).to_owned()).await?;
    let (owner, id) = (asked.call.owner()?, submit::id(&task)?);
    let tree = asked.doors.core.client.tree(&owner, &id, PLAIN_TREE_MAX).await;
    match tree.map_err(|error| unreadable(&error))? {
        Some(tree) => Ok(answer::json(200, JSON, &tree)),
        None => Err(Error::TaskNotFound(task.id)),
    }
}

/// `GET /v1/tasks/{id}/push`.
pub(super) async fn push(asked: Asked<'_>) -> Result<Response, Error> {
    let statuses = asked.doors.core.push_statuses(&asked.call, asked.route.value(0)).await?;
    Ok(answer::json(200, JSON, &json!({ "webhooks": statuses })))
}

/// `GET /v1/agents`.
pub(super) async fn agents(asked: Asked<'_>) -> Result<Response, Error> {
    asked.call.may(Operation::Card, None)?;
    let agents = asked.doors.core.agents.now().await?;
    let mut skills: BTreeMap<&Skill, Value> = BTreeMap::new();
    for agent in agents.iter() {
        if !asked.call.allows(Operation::Card, Some(&agent.skill)) {
            continue;
        }
        let known = skills.entry(&agent.skill).or_insert_with(|| {
            json!({
                "skill": agent.skill,
                "name": agent.card.name,
                "description": agent.card.description,
                "version": agent.card.version,
                "inputSchema": agent.input_schema,
                "outputSchema": agent.output_schema,
                "submit": format!("/v1/tasks/{}", agent.skill),
                "nodes": 0,
            })
        });
        if let Some(nodes) = known.get_mut("nodes") {
            *nodes = json!(nodes.as_u64().unwrap_or_default() + 1);
        }
    }
    Ok(answer::json(200, JSON, &json!({"agents": skills.into_values().collect::<Vec<_>>()})))
}
