//! Which streams become one message, and which are shown the task.

use futures_util::{TryStreamExt as _, stream};
use protocol::message::{Part, as_reply};
use protocol::task::TaskStatus;

use super::*;
use crate::a2a::error::Error;
use crate::a2a::response::{ArtifactUpdate, StatusUpdate};

fn status(state: TaskState, text: Option<&str>) -> TaskStatus {
    TaskStatus { state, message: text.map(Message::from_agent), timestamp: None }
}

fn facts() -> Option<Map<String, Value>> {
    Some(Map::from_iter([(GENERATION.to_owned(), json!(1))]))
}

fn task(state: TaskState, artifacts: Vec<Artifact>, text: Option<&str>) -> Task {
    let (id, context_id) = ("s7".to_owned(), "talk".to_owned());
    let (status, history) = (status(state, text), Vec::new());
    Task { id, context_id, status, artifacts, history, metadata: facts() }
}

fn artifact(id: &str, parts: Vec<Part>) -> Artifact {
    let artifact_id = id.to_owned();
    Artifact { artifact_id, name: None, description: None, parts, metadata: None }
}

fn answer() -> Artifact {
    artifact(RESULT_ARTIFACT, as_reply(vec![Part::text("here")]))
}

fn update(state: TaskState, text: Option<&str>) -> StreamResponse {
    let (task_id, context_id) = ("s7".to_owned(), "talk".to_owned());
    let (status, metadata) = (status(state, text), facts());
    StreamResponse::StatusUpdate(StatusUpdate { task_id, context_id, status, metadata })
}

fn made(artifact: Artifact) -> StreamResponse {
    let (task_id, context_id) = ("s7".to_owned(), "talk".to_owned());
    let (append, last_chunk, metadata) = (false, true, facts());
    let update = ArtifactUpdate { task_id, context_id, artifact, append, last_chunk, metadata };
    StreamResponse::ArtifactUpdate(update)
}

fn events(responses: Vec<StreamResponse>) -> Vec<Result<StreamEvent, Error>> {
    let numbered = responses.into_iter().zip(0..);
    numbered.map(|(response, at)| Ok(StreamEvent { cursor: format!("1.{at}"), response })).collect()
}

async fn told(events: Vec<Result<StreamEvent, Error>>) -> Vec<StreamResponse> {
    let told = or_task(Box::pin(stream::iter(events)), CancellationToken::new());
    told.map_ok(|event| event.response).try_collect().await.unwrap()
}

#[tokio::test]
async fn a_stream_is_one_message_or_begins_with_the_task() {
    let begun = || StreamResponse::Task(task(TaskState::Submitted, Vec::new(), None));
    let working = || update(TaskState::Working, None);
    let done = || update(TaskState::Completed, None);
    let reply = of(&task(TaskState::Completed, vec![answer()], None)).unwrap();
    assert_eq!((reply.parts.clone(), reply.task_id.clone()), (vec![Part::text("here")], None));
    assert_eq!((&*reply.message_id, reply.context_id.as_deref()), ("s7-1", Some("talk")));
    for quiet in [vec![begun()], vec![begun(), working()]] {
        let all = [quiet, vec![made(answer()), done()]].concat();
        assert_eq!(told(events(all)).await, [StreamResponse::Message(reply.clone())]);
    }
    let plain = || artifact(RESULT_ARTIFACT, vec![Part::text("here")]);
    for seen in [
        vec![begun(), working(), made(plain()), done()],
        vec![begun(), made(artifact("draft", as_reply(vec![Part::text("no")]))), done()],
        vec![begun(), update(TaskState::Working, Some("half")), made(answer()), done()],
        vec![begun(), update(TaskState::InputRequired, None), made(answer()), done()],
        vec![begun(), update(TaskState::Failed, None)],
        vec![begun(), working()],
    ] {
        assert_eq!(told(events(seen.clone())).await, seen);
    }
    let mut cut = events(vec![begun(), working()]);
    cut.push(Err(Error::Internal("gone".to_owned())));
    let cut: Vec<_> =
        or_task(Box::pin(stream::iter(cut)), CancellationToken::new()).collect().await;
    assert_eq!(
        (cut.len(), cut.last().unwrap().is_err()),
        (3, true),
        "who is cut off knows the task"
    );
}

#[test]
fn a_task_that_did_more_than_reply_stays_a_task() {
    use TaskState::{Canceled, Completed, Working};
    let draft = || artifact("draft", vec![Part::text("no")]);
    for task in [
        task(Working, vec![answer()], None),
        task(Canceled, vec![answer()], None),
        task(Completed, vec![answer()], Some("half")),
        task(Completed, vec![draft(), answer()], None),
        task(Completed, vec![artifact(RESULT_ARTIFACT, vec![Part::text("here")])], None),
        task(Completed, Vec::new(), None),
    ] {
        assert_eq!(of(&task), None, "{task:?}");
    }
}
