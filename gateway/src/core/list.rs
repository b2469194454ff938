//! `ListTasks`: pages of the read model, newest change first.

use std::collections::BTreeSet;

use client::QueryError;
use futures_util::StreamExt as _;
use protocol::fault::code;
use protocol::query::{Query, Row};
use protocol::task::{Task, TaskState, TaskStatus};
use protocol::{Owner, TaskId, message::Message, view};
use serde_json::{Map, json};

use crate::a2a::error::{Error, Violation};
use crate::a2a::request::ListTasksRequest;
use crate::a2a::response::ListTasksResponse;
use crate::core::Core;
use crate::core::agents::skills_of;
use crate::core::call::{Call, Operation};
use crate::core::follower::unreadable;
use crate::core::standing::Standing;
use crate::files::Viewer;
use crate::limits::{LIST_PAGE_DEFAULT, LIST_PAGE_MAX, LIST_READS_MAX};

/// What a page shows of each task beyond its status.
#[derive(Debug, Clone, Copy)]
struct Detail {
    history: usize,
    artifacts: bool,
}

impl Core {
    /// `ListTasks`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list(
        &self,
        call: &Call,
        request: ListTasksRequest,
    ) -> Result<ListTasksResponse, Error> {
        call.may(Operation::Read, None)?;
        let viewer = call.viewer()?;
        let owner = viewer.owner.clone();
        let (mut query, detail, size) = read(&owner, request)?;
        query.skills = self.skills_to_list(call).await?;
        let turned = query.cursor.is_some();
        let page = self.client.query(&query).await.map_err(|error| match error {
            QueryError::Nobody { reason } => Error::Unavailable(format!(
                "lists need a read model: set read_model under [coordinator] in weft.toml ({reason})"
            )),
            QueryError::Refused(fault) if turned && fault.code == code::INVALID_INPUT => {
                Error::field("pageToken", "is none that a list has answered with")
            }
            QueryError::Refused(_) | QueryError::Unreadable(_) => {
                Error::Unavailable(error.to_string())
            }
        })?;
        let tasks = futures_util::stream::iter(page.tasks)
            .map(|row| self.listed(&viewer, row, detail))
            .buffered(LIST_READS_MAX)
            .collect::<Vec<_>>()
            .await;
        Ok(ListTasksResponse {
            tasks: tasks.into_iter().collect::<Result<_, _>>()?,
            next_page_token: page.next.unwrap_or_default(),
            page_size: size,
            total_size: i32::try_from(page.total).unwrap_or(i32::MAX),
        })
    }

    /// The skills whose tasks the caller sees at this address; `None` for all.
    async fn skills_to_list(&self, call: &Call) -> Result<Option<Vec<String>>, Error> {
        let allowed = call.caller.skills.as_ref();
        let Some(name) = call.agent() else {
            return Ok(allowed.map(|skills| skills.iter().map(ToString::to_string).collect()));
        };
        let agents = self.agents.now().await?;
        let mut skills: BTreeSet<String> =
            skills_of(&agents, name).into_iter().map(ToString::to_string).collect();
        if skills.is_empty() {
            // An agent that is away for now still has its tasks.
            skills.insert(name.to_owned());
        }
        skills.retain(|skill| {
            allowed.is_none_or(|allowed| allowed.iter().any(|one| one.as_str() == skill))
        });
        Ok(Some(skills.into_iter().collect()))
    }

    async fn listed(&self, viewer: &Viewer, row: Row, detail: Detail) -> Result<Task, Error> {
        let owner = &viewer.owner;
        if detail.history == 0 && !detail.artifacts {
            return Ok(from_row(row));
        }
        let Ok(task) = TaskId::parse(&row.id) else { return Ok(from_row(row)) };
        let story = self.client.story(owner, &task).await.map_err(|error| unreadable(&error))?;
        let Some(story) = story else { return Ok(from_row(row)) };
        let mut task = Standing::read(owner, &task, story)?.view(Some(detail.history));
        if !detail.artifacts {
            task.artifacts.clear();
        }
        self.files.task(viewer, task).await
    }
}

/// A task as the read model knows it.
fn from_row(row: Row) -> Task {
    let at = row.changed_at;
    let message = row.error.as_ref().map(|error| {
        let message = Message::from_agent(error.as_str());
        view::addressed(message, &row.id, &row.context_id, row.generation)
    });
    let mut metadata = Map::new();
    let mut put = |name: &str, value| metadata.insert(format!("weft/{name}"), value);
    put("generation", json!(row.generation));
    put("attempts", json!(row.attempts));
    put("skill", json!(row.skill));
    put("owner", json!(row.owner));
    put("submittedAt", json!(row.submitted_at));
    if let Some(node) = &row.node {
        put("node", json!(node));
    }
    if let Some(parent) = &row.parent {
        put("parent", json!(parent));
    }
    Task {
        id: row.id,
        context_id: row.context_id,
        status: TaskStatus { state: row.state, message, timestamp: Some(at) },
        artifacts: Vec::new(),
        history: Vec::new(),
        metadata: Some(metadata),
    }
}

/// What is asked for; every wrong field is named.
fn read(owner: &Owner, request: ListTasksRequest) -> Result<(Query, Detail, i32), Error> {
    let mut wrong = Vec::new();
    let mut refuse = |field: &str, description: String| {
        wrong.push(Violation { field: field.to_owned(), description });
    };
    let size = request.page_size.map(usize::try_from).unwrap_or(Ok(LIST_PAGE_DEFAULT));
    let size = size.ok().filter(|size| (1..=LIST_PAGE_MAX).contains(size)).unwrap_or_else(|| {
        refuse("pageSize", format!("must be 1 to {LIST_PAGE_MAX}"));
        LIST_PAGE_DEFAULT
    });
    let history = usize::try_from(request.history_length.unwrap_or(0)).unwrap_or_else(|_| {
        refuse("historyLength", "must not be negative".to_owned());
        0
    });
    let state = request.status.filter(|status| !status.is_empty()).and_then(|status| {
        state(&status).unwrap_or_else(|()| {
            refuse("status", format!("{status:?} is no TaskState"));
            None
        })
    });
    if !wrong.is_empty() {
        return Err(Error::InvalidParams(wrong));
    }
    let query = Query {
        owner: Some(owner.to_string()),
        context_id: request.context_id.filter(|context| !context.is_empty()),
        state,
        changed_since: request.status_timestamp_after,
        limit: Some(size),
        cursor: request.page_token.filter(|token| !token.is_empty()),
        ..Query::default()
    };
    let detail = Detail { history, artifacts: request.include_artifacts.unwrap_or(false) };
    Ok((query, detail, i32::try_from(size).unwrap_or(i32::MAX)))
}

/// The name or the number of a `TaskState`, as ProtoJSON has enums; `None` for the one that says nothing.
fn state(text: &str) -> Result<Option<TaskState>, ()> {
    const NAMES: [(&str, &str, Option<TaskState>); 9] = [
        ("0", "TASK_STATE_UNSPECIFIED", None),
        ("1", "TASK_STATE_SUBMITTED", Some(TaskState::Submitted)),
        ("2", "TASK_STATE_WORKING", Some(TaskState::Working)),
        ("3", "TASK_STATE_COMPLETED", Some(TaskState::Completed)),
        ("4", "TASK_STATE_FAILED", Some(TaskState::Failed)),
        ("5", "TASK_STATE_CANCELED", Some(TaskState::Canceled)),
        ("6", "TASK_STATE_INPUT_REQUIRED", Some(TaskState::InputRequired)),
        ("7", "TASK_STATE_REJECTED", Some(TaskState::Rejected)),
        ("8", "TASK_STATE_AUTH_REQUIRED", Some(TaskState::AuthRequired)),
    ];
    let found = NAMES.iter().find(|(number, name, _)| text == *number || text == *name);
    found.map(|(_, _, state)| *state).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named_and_what_is_left_out_has_its_default() {
        let asked = ListTasksRequest::default;
        for (request, expected) in [
            (asked(), vec![]),
            (ListTasksRequest { page_size: Some(100), ..asked() }, vec![]),
            (ListTasksRequest { page_size: Some(0), ..asked() }, vec!["pageSize"]),
            (ListTasksRequest { page_size: Some(101), ..asked() }, vec!["pageSize"]),
            (
                ListTasksRequest {
                    page_size: Some(-1),
                    history_length: Some(-1),
                    status: Some("working".to_owned()),
                    ..asked()
                },
                vec!["pageSize", "historyLength", "status"],
            ),
        ] {
            let found: Vec<_> = match read(&Owner::default(), request) {
                Ok(_) => vec![],
                Err(error) => error.violations().iter().map(|one| one.field.clone()).collect(),
            };
            assert_eq!(found, expected);
        }
        let (query, detail, size) = read(&Owner::default(), asked()).unwrap();
        assert_eq!((query.limit, query.state, size), (Some(50), None, 50));
        assert!(detail.history == 0 && !detail.artifacts);
        for state_of in TaskState::ALL {
            let name = serde_json::to_value(state_of).unwrap();
            assert_eq!(state(name.as_str().unwrap()), Ok(Some(state_of)));
        }
    }
}
