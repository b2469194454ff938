//! Clients: submit once or several times over, send again when no answer came, and sometimes want the task to end.

use std::time::Duration;

use protocol::header::{self, Headers};
use protocol::id::{DedupKey, TaskId};
use protocol::subject::Subject;
use runtime::bus::Outgoing;

use super::hold::{Hold, Sent};
use super::people;
use super::plan::{Name, Submission};
use super::world::Key;

const RETRY: Duration = Duration::from_millis(700);

/// Submits, and cancels if the plan says so.
pub(super) async fn submit(hold: Hold, submission: Submission) {
    submit_and_cancel(&hold, submission).await;
    hold.with(|world| world.seen.submitting -= 1);
}

async fn submit_and_cancel(hold: &Hold, submission: Submission) {
    sleep_until(hold, submission.at).await;
    let message = hold.with(|world| {
        let (skill, owner) = (&world.skill, &submission.owner);
        let subject = match &submission.lane {
            Some(lane) => world.subjects.task_in_lane(skill, owner, lane),
            None => world.subjects.task(skill, owner),
        };
        Outgoing::new(subject, headers(&submission), submission.body.clone().into())
    });
    let sequence = persist(hold, message).await;
    let own = task_of(hold, &submission, sequence);
    if let Some(task) = &own {
        people::say_early(hold, task).await;
    }
    let Some(at) = submission.cancel_at else { return };
    sleep_until(hold, at).await;
    let other = if submission.meddles { any_task(hold) } else { None };
    let Some(task) = other.or(own) else { return };
    let message = hold.with(|world| {
        world.seen.canceled.insert(task.clone());
        let mut headers = Headers::new();
        if world.read_log(&task, false).origin.is_none() {
            headers.push(header::SOURCE, sequence.to_string());
        }
        let subject = world.subjects.cancel(&task.0, &task.1);
        world.tell_cancel(&task);
        Outgoing::new(subject, headers, bytes::Bytes::new())
    });
    persist(hold, message).await;
}

/// Any task that has begun: a child of somebody's, as often as not.
pub(super) fn any_task(hold: &Hold) -> Option<Key> {
    hold.with(|world| {
        let subjects: Vec<String> = world.logs.keys().cloned().collect();
        let subject = world.dice.pick(&subjects)?;
        match world.subjects.parse(&subject)? {
            Subject::Log(owner, task) => Some((owner, task)),
            _ => None,
        }
    })
}

async fn sleep_until(hold: &Hold, at: i64) {
    let wait = hold.with(|world| u64::try_from(at - world.now).unwrap_or(0));
    hold.sleep(Duration::from_millis(wait)).await;
}

pub(super) async fn persist(hold: &Hold, message: Outgoing) -> u64 {
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
    if let Some(tokens) = submission.budget {
        headers.push(header::BUDGET, format!("{{\"tokens\":{tokens}}}"));
    }
    if let Some(id) = &submission.message_id {
        headers.push(header::MSG_ID, id);
    }
    if submission.garbled {
        headers.push(header::CONTEXT_ID, "not.a.token");
    }
    headers
}

fn task_of(hold: &Hold, submission: &Submission, sequence: u64) -> Option<Key> {
    let owner = &submission.owner;
    let task = match &submission.name {
        _ if submission.garbled => TaskId::from_sequence(sequence),
        Name::Sequence => TaskId::from_sequence(sequence),
        Name::Chosen(id) => TaskId::parse(id).ok()?,
        Name::Key(key) => {
            let key = DedupKey::parse(key).ok()?;
            hold.with(|world| TaskId::from_dedup_key(owner, &world.skill, &key))
        }
    };
    Some((owner.clone(), task))
}
