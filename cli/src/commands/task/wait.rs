//! Waits for the end of a task by following its log, and where a user may not read that, by its events.

use std::time::Duration;

use client::Client;
use protocol::entry::{Entry, Event};
use protocol::lifecycle::end_state;
use protocol::log::TaskLog;
use protocol::message::Message;
use protocol::subject::Subject;
use protocol::task::{Artifact, RESULT_ARTIFACT, Task, TaskState};
use protocol::{Owner, Skill, TaskId, view};
use runtime::bus::Subscription;
use serde_json::json;

use super::served;
use crate::failure::{Exit, Failure};
use crate::print::table::span;
use crate::print::tasks::preview;

/// Characters shown of what a task says about its end.
const CHARS_MAX: usize = 2_000;
/// How long the number of a dead letter is asked for: who may not read has to go without.
const LETTER_LIMIT: Duration = Duration::from_millis(500);
/// In a task's metadata: the number of its dead letter.
const DEAD_LETTER: &str = "weft/deadLetter";

/// What is known of a task while it is waited for.
#[derive(Default)]
struct Known {
    log: TaskLog,
    /// The log may not be read.
    is_hidden: bool,
}

/// Follows a task to its end, at most for `limit`; `see` gets every entry.
///
/// # Errors
/// When it cannot be followed, `see` refuses, or the time is up.
pub(super) async fn to_the_end(
    client: &Client,
    owner: &Owner,
    task: &TaskId,
    limit: Option<Duration>,
    see: impl FnMut(&Entry) -> Result<(), Failure>,
) -> Result<Task, Failure> {
    let mut known = Known::default();
    let followed = within(limit, follow(client, owner, task, &mut known, see)).await;
    match followed {
        Some(done) => Ok(with_letter(client, owner, task, done?).await),
        None => Err(too_late(client, owner, task, limit, &known).await),
    }
}

/// As [`to_the_end`], for a task that was submitted after `events` of its owner began to come: its end is known
/// even where its log may not be read.
///
/// # Errors
/// When it cannot be followed, or the time is up.
pub(super) async fn to_the_end_by_events(
    client: &Client,
    (owner, task): (&Owner, &TaskId),
    limit: Duration,
    mut events: Subscription,
) -> Result<Task, Failure> {
    let mut known = Known::default();
    let either = async {
        let by_event = listen(client, task, &mut events);
        let by_log = follow(client, owner, task, &mut known, |_| Ok(()));
        tokio::pin!(by_event);
        tokio::select! {
            task = &mut by_event => Ok(task),
            done = by_log => match done {
                Err(failure) if failure.exit == Exit::NotPermitted => Ok(by_event.await),
                done => done,
            },
        }
    };
    match within(Some(limit), either).await {
        Some(done) => Ok(with_letter(client, owner, task, done?).await),
        None => Err(too_late(client, owner, task, Some(limit), &known).await),
    }
}

async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, work).await.ok(),
        None => Some(work.await),
    }
}

async fn follow(
    client: &Client,
    owner: &Owner,
    task: &TaskId,
    known: &mut Known,
    mut see: impl FnMut(&Entry) -> Result<(), Failure>,
) -> Result<Task, Failure> {
    let opened = client.watch(owner, task).await.map_err(Failure::from);
    known.is_hidden = opened.as_ref().is_err_and(|failure| failure.exit == Exit::NotPermitted);
    let mut watch = opened?;
    while let Some(entry) = watch.next().await? {
        see(&entry)?;
        let generation = entry.generation;
        known.log.apply(generation, entry).map_err(|error| Failure::new(Exit::Failure, &error))?;
    }
    Ok(view::task(watch.task(), &known.log, None))
}

/// The same task, with the number of its dead letter if it failed and the number can be had.
async fn with_letter(client: &Client, owner: &Owner, task: &TaskId, mut done: Task) -> Task {
    if done.status.state != TaskState::Failed {
        return done;
    }
    let skill = done.metadata.as_ref().and_then(|facts| facts.get("weft/skill")?.as_str());
    let Some(Ok(skill)) = skill.map(Skill::parse) else { return done };
    let asked = client.dead_letter_of(owner, task, &skill);
    if let Ok(Ok(Some(number))) = tokio::time::timeout(LETTER_LIMIT, asked).await
        && let Some(facts) = &mut done.metadata
    {
        facts.insert(DEAD_LETTER.to_owned(), json!(number));
    }
    done
}

/// Waits for the event of the task's end; never returns when the connection is closed.
async fn listen(client: &Client, task: &TaskId, events: &mut Subscription) -> Task {
    let subjects = client.bus().subjects();
    let mut log = TaskLog::default();
    while let Some(event) = events.next().await {
        let Some(Subject::Event(_, of)) = subjects.parse(&event.subject) else { continue };
        let Ok(entry) = serde_json::from_slice::<Entry>(&event.payload) else { continue };
        if of != *task {
            continue;
        }
        let end = entry.event.kind();
        if end_state(end).is_none() {
            // What is missed here is missing in the task's facts, not in its result.
            drop(log.apply(entry.generation, entry));
            continue;
        }
        if log.apply(entry.generation, entry.clone()).is_err() {
            log = end_alone(entry.event);
            log.state = end_state(end).unwrap_or(log.state);
        }
        return view::task(task, &log, None);
    }
    std::future::pending().await
}

/// What the entry that ended a task says, without those before it.
fn end_alone(event: Event) -> TaskLog {
    let mut log = TaskLog::default();
    if let Event::Failed { fault, .. } | Event::Rejected { fault } = event {
        log.status_message = Some(Message::from_agent(fault.to_string()));
    } else if let Event::Completed { output } = event {
        log.artifacts.push(Artifact {
            artifact_id: RESULT_ARTIFACT.to_owned(),
            name: None,
            description: None,
            parts: output,
            metadata: None,
        });
    }
    log
}

/// The time is up: says what holds the task up, as far as anybody can tell.
async fn too_late(
    client: &Client,
    owner: &Owner,
    task: &TaskId,
    limit: Option<Duration>,
    known: &Known,
) -> Failure {
    let limit = limit.map(span).unwrap_or_default();
    let what = format!("task {task} has not ended within {limit}; it goes on");
    let failure = Failure::say(Exit::TimedOut, what);
    if known.is_hidden {
        return failure
            .because("this user may not read the log of the task, and no event told its end")
            .todo("docs/hosts.md says what a user needs to read tasks");
    }
    let skill = match (known.log.state, &known.log.origin) {
        (TaskState::Submitted, None) => submitted_to(client, owner, task).await,
        (TaskState::Submitted, Some(origin)) => Some(origin.skill.clone()),
        (_, _) => None,
    };
    if let Some(skill) = skill
        && let Some(served) = served::look(client, &skill).await
        && !served.by_a_node
    {
        return failure.because(format!("no node serves skill {skill}")).todo(format!(
            "weft agent list shows who serves what; start a node for skill {skill}, or weft task cancel {task}"
        ));
    }
    failure.todo(format!("weft task watch {task} follows it, weft task cancel {task} ends it"))
}

async fn submitted_to(client: &Client, owner: &Owner, task: &TaskId) -> Option<Skill> {
    let (envelope, _) = client.submission(owner, task).await.ok()??;
    Some(envelope.skill)
}

/// A failure unless the task completed.
///
/// # Errors
/// [`Exit::TaskEndedBadly`] with what the task says about it.
pub(super) fn require_completed(task: &Task) -> Result<(), Failure> {
    if task.status.state == TaskState::Completed {
        return Ok(());
    }
    let mut failure = Failure::say(
        Exit::TaskEndedBadly,
        format!("task {} ended as {}", task.id, task.status.state.word()),
    );
    let said = task.status.message.iter().map(|message| preview(&message.parts, CHARS_MAX));
    failure.causes.extend(said);
    if task.status.state != TaskState::Failed {
        return Err(failure);
    }
    let number = task.metadata.as_ref().and_then(|facts| facts.get(DEAD_LETTER));
    Err(match number {
        Some(number) => failure.todo(format!(
            "weft dlq get {number} shows the whole story; weft dlq redrive {number} sends it again"
        )),
        None => {
            failure.todo("weft dlq list shows the whole story; weft dlq redrive sends it again")
        }
    })
}
