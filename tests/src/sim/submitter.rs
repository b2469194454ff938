//! Clients: submit once or several times over, send again when no answer came, and sometimes want the task to end.

use std::time::Duration;

use protocol::header::{self, Headers};
use protocol::id::{DedupKey, Owner, TaskId};
use protocol::subject::Subject;
use runtime::bus::Outgoing;

use super::hold::{Hold, Sent};
use super::plan::{Name, Submission};

const RETRY: Duration = Duration::from_millis(700);

/// Submits, and cancels if the plan says so.
pub(super) async fn submit(hold: Hold, submission: Submission) {
    sleep_until(&hold, submission.at).await;
    let message = hold.with(|world| {
        let subject = world.subjects.task(&world.skill, &Owner::default());
        Outgoing::new(subject, headers(&submission), submission.body.clone().into())
    });
    let sequence = persist(&hold, message).await;
    let Some(at) = submission.cancel_at else { return };
    sleep_until(&hold, at).await;
    let own = task_of(&hold, &submission, sequence);
    let other = if submission.meddles { any_task(&hold) } else { None };
    let Some(task) = other.or(own) else { return };
    let message = hold.with(|world| {
        world.seen.canceled.insert(task.clone());
        let mut headers = Headers::new();
        if world.read_log(&task, false).origin.is_none() {
            headers.push(header::SOURCE, sequence.to_string());
        }
        let subject = world.subjects.cancel(&Owner::default(), &task);
        world.tell_cancel(&task);
        Outgoing::new(subject, headers, bytes::Bytes::new())
    });
    persist(&hold, message).await;
}

/// Any task that has begun: a child of somebody's, as often as not.
fn any_task(hold: &Hold) -> Option<TaskId> {
    hold.with(|world| {
        let subjects: Vec<String> = world.logs.keys().cloned().collect();
        let subject = world.dice.pick(&subjects)?;
        match world.subjects.parse(&subject)? {
            Subject::Log(_, task) => Some(task),
            _ => None,
        }
    })
}

async fn sleep_until(hold: &Hold, at: i64) {
    let wait = hold.with(|world| u64::try_from(at - world.now).unwrap_or(0));
    hold.sleep(Duration::from_millis(wait)).await;
}

async fn persist(hold: &Hold, message: Outgoing) -> u64 {
    let messages = [message];
    loop {
        match hold.publish(&messages).await {
            Sent::Stored(sequence) => return sequence,
            Sent::Fenced | Sent::NoAnswer => hold.sleep(RETRY).await,
        }
    }
}

fn headers(submission: &Submission) -> Headers {
    let mut headers = Headers::new();
    match &submission.name {
        Name::Sequence => {}
        Name::Chosen(id) => headers.push(header::TASK_ID, id),
        Name::Key(key) => headers.push(header::DEDUP_KEY, key),
    }
    if let Some(wait) = submission.deadline {
        headers.push(header::DEADLINE, format!("{wait}ms"));
    }
    if let Some(id) = &submission.message_id {
        headers.push(header::MSG_ID, id);
    }
    if submission.garbled {
        headers.push(header::CONTEXT_ID, "not.a.token");
    }
    headers
}

fn task_of(hold: &Hold, submission: &Submission, sequence: u64) -> Option<TaskId> {
    if submission.garbled {
        return Some(TaskId::from_sequence(sequence));
    }
    match &submission.name {
        Name::Sequence => Some(TaskId::from_sequence(sequence)),
        Name::Chosen(id) => TaskId::parse(id).ok(),
        Name::Key(key) => hold.with(|world| {
            let key = DedupKey::parse(key).ok()?;
            Some(TaskId::from_dedup_key(&Owner::default(), &world.skill, &key))
        }),
    }
}
