//! One job: follows a task and tells one webhook about it, in order, until everything has been told.
//!
//! Each event is called until it is taken, and its place is written down before the next one: after a crash the last
//! call may be made a second time, and none is left out.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use protocol::{Owner, TaskId, Timestamp};
use runtime::bus::{Bus, KeyValue, ReadError, StoreError};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::circuit::Circuits;
use super::guard::Target;
use super::head::head;
use super::pace::{retry_after, wait_after};
use super::post::{Answer, Post};
use super::record::{PushState, Record, Secrets};
use super::seal::SealError;
use crate::a2a::error::Error;
use crate::core::Core;
use crate::core::StreamEvent;
use crate::core::events::{Cursor, Narrator};
use crate::files::Viewer;
use crate::limits::{PUSH_KEYLESS_REST, PUSH_REST};

/// What is told to whom.
pub(super) struct Job {
    pub(super) owner: Owner,
    pub(super) task: TaskId,
    /// Of the webhook's value.
    pub(super) key: String,
    /// The job's own name: a webhook that was made anew under the same id has another job.
    pub(super) name: String,
    /// The webhook may have changed.
    pub(super) look: Arc<Notify>,
}

/// What becomes of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing is left to do.
    All,
    /// It goes on later, here or elsewhere.
    Later(Duration),
    /// Another gateway does it.
    Elsewhere,
    /// Another gateway may be able to do it.
    NotHere,
}

/// Tells webhooks.
pub(super) struct Tell {
    core: Arc<Core>,
    post: Post,
    circuits: Circuits,
}

/// A webhook in hand.
struct Hold {
    record: Record,
    revision: u64,
    /// How it is called, or why it cannot be.
    call: Result<(Target, Secrets), String>,
}

impl Hold {
    fn endpoint(&self) -> String {
        self.call.as_ref().map_or_else(|_| String::new(), |(target, _)| target.endpoint())
    }
}

impl Tell {
    pub(super) fn new(core: &Arc<Core>) -> Result<Self, rustls::Error> {
        let push = &core.settings.push;
        Ok(Self {
            core: Arc::clone(core),
            post: Post::new(push.timeout)?,
            circuits: Circuits::new(push.backoff_first, push.backoff_max),
        })
    }

    /// Shows how many jobs are in hand.
    pub(super) fn show_held(&self, held: usize) {
        self.core.metrics.push.held.set(i64::try_from(held).unwrap_or(i64::MAX));
    }

    fn bus(&self) -> &Bus {
        self.core.client.bus()
    }

    fn now(&self) -> Timestamp {
        self.core.clock.now()
    }

    /// Does a job as far as it can be done now.
    pub(super) async fn run(&self, job: &Job) -> Told {
        self.follow(job).await.unwrap_or_else(|told| told)
    }

    async fn follow(&self, job: &Job) -> Result<Told, Told> {
        let mut hold = self.read(job).await?;
        self.core.hub.listen(&job.owner).await.map_err(|_| Told::Later(PUSH_REST))?;
        let mut follower = self.core.hub.follow(&job.owner, &job.task);
        follower.look_first();
        let mut narrator = Narrator::new(&job.task, job.task.to_string());
        loop {
            let entry = tokio::select! {
                entry = follower.next() => entry,
                () = job.look.notified() => {
                    hold = self.read(job).await?;
                    continue;
                }
            };
            match entry {
                Ok(Some((_, entry))) => {
                    for event in narrator.tell(&entry) {
                        // In a box of its own: a job that waits, as nearly all do, does without the room for a call.
                        Box::pin(self.tell(job, &mut hold, event)).await?;
                    }
                }
                Ok(None) => {
                    hold.record.progress.state = PushState::Done;
                    return self.write(job, &mut hold).await.map(|()| Told::All);
                }
                Err(Error::Unavailable(_)) => return Err(Told::Later(PUSH_REST)),
                Err(error) => return Err(self.disable(job, &mut hold, error.to_string()).await),
            }
        }
    }

    /// Looks at the webhook; an error when the job has nothing to do.
    async fn read(&self, job: &Job) -> Result<Hold, Told> {
        let found = self.bus().key(&self.bus().names().push, &job.key).await;
        let KeyValue { value, revision } = match found {
            Ok(found) => found.ok_or(Told::All)?,
            Err(ReadError::NoAnswer { .. } | ReadError::Denied { .. }) => {
                return Err(Told::Later(PUSH_REST));
            }
        };
        let Ok(record) = serde_json::from_slice::<Record>(&value) else {
            tracing::error!(key = job.key, reason = "unreadable", "webhook dropped");
            return Err(Told::All);
        };
        if record.job != job.name || record.progress.state != PushState::Active {
            return Err(Told::All);
        }
        let call = match self.core.seals.unseal(&job.key, &record.kept) {
            Ok(secrets) => Target::parse(&secrets.url, self.core.settings.push.allow_local)
                .map(|target| (target, secrets))
                .map_err(|refused| refused.to_string()),
            Err(error @ SealError::NoKey(_)) => {
                tracing::error!(key = job.key, reason = %error, "webhook put off");
                sleep(PUSH_KEYLESS_REST).await;
                return Err(Told::NotHere);
            }
            Err(error) => Err(error.to_string()),
        };
        Ok(Hold { record, revision, call })
    }

    async fn write(&self, job: &Job, hold: &mut Hold) -> Result<(), Told> {
        if let Ok((_, secrets)) = &hold.call
            && !self.core.seals.is_current(&hold.record.kept)
            && let Ok(kept) = self.core.seals.seal(&job.key, secrets)
        {
            hold.record.kept = kept;
        }
        let Ok(value) = serde_json::to_vec(&hold.record) else { return Err(Told::All) };
        let bucket = &self.bus().names().push;
        match self.bus().set_key(bucket, &job.key, value.into(), hold.revision).await {
            Ok(revision) => {
                hold.revision = revision;
                Ok(())
            }
            // Deleted, made anew, or told by another gateway as well: the value says which.
            Err(StoreError::Fenced) => match self.read(job).await {
                Ok(_) => Err(Told::Elsewhere),
                Err(told) => Err(told),
            },
            Err(error) => {
                tracing::info!(key = job.key, reason = %error, "webhook's place not written");
                Err(Told::Later(PUSH_REST))
            }
        }
    }

    async fn tell(&self, job: &Job, hold: &mut Hold, event: StreamEvent) -> Result<(), Told> {
        let Some(cursor) = Cursor::parse(&event.cursor) else { return Ok(()) };
        if cursor <= hold.record.progress.cursor() {
            return Ok(());
        }
        let viewer = Viewer { owner: job.owner.clone(), base: None };
        let shown = self.core.files.event(&viewer, event.response).await;
        let shown = shown.map_err(|_| Told::Later(PUSH_REST))?;
        let Ok(body) = serde_json::to_vec(&shown) else {
            return Err(self.disable(job, hold, "an event cannot be written".to_owned()).await);
        };
        let body = bytes::Bytes::from(body);
        loop {
            self.rest(job, hold).await?;
            let (target, headers) = match &hold.call {
                Ok((target, secrets)) => (target.clone(), head(&job.key, secrets, cursor)),
                Err(reason) => {
                    let reason = reason.clone();
                    return Err(self.disable(job, hold, reason).await);
                }
            };
            let endpoint = target.endpoint();
            let permit = tokio::select! {
                // A webhook that was deleted a moment ago is not called.
                biased;
                () = job.look.notified() => {
                    *hold = self.read(job).await?;
                    continue;
                }
                permit = self.circuits.enter(&endpoint) => permit,
            };
            let answer = self.post.send(&target, headers, body.clone()).await;
            let asked = match &answer {
                Answer::Status(_, Some(text)) => retry_after(text, self.now()),
                Answer::Status(_, None) | Answer::Silent(_) | Answer::Refused(_) => None,
            };
            match &answer {
                Answer::Silent(_) => permit.unreachable(None),
                Answer::Status(..) if asked.is_some() => permit.unreachable(asked),
                Answer::Status(..) | Answer::Refused(_) => permit.answered(),
            }
            if self.settle(job, hold, cursor, answer, asked).await? {
                return Ok(());
            }
        }
    }

    /// Waits until the webhook may be called again.
    async fn rest(&self, job: &Job, hold: &mut Hold) -> Result<(), Told> {
        while let Some(until) = hold.record.progress.not_before {
            let wait = until.since(self.now());
            if wait.is_zero() {
                return Ok(());
            }
            tokio::select! {
                () = sleep(wait) => {}
                () = job.look.notified() => *hold = self.read(job).await?,
            }
        }
        Ok(())
    }

    /// Writes down what came of a call; whether the event was taken.
    async fn settle(
        &self,
        job: &Job,
        hold: &mut Hold,
        cursor: Cursor,
        answer: Answer,
        asked: Option<Duration>,
    ) -> Result<bool, Told> {
        let outcome = match answer {
            Answer::Status(status, _) if status.is_success() => {
                hold.record.progress.take(cursor, self.now(), format!("status {status}"));
                self.core.metrics.push.told.inc();
                return self.write(job, hold).await.map(|()| true);
            }
            Answer::Status(StatusCode::GONE, _) => {
                return Err(self.disable(job, hold, "status 410 Gone".to_owned()).await);
            }
            Answer::Refused(refused) => {
                return Err(self.disable(job, hold, refused.to_string()).await);
            }
            Answer::Status(status, _) if status.is_redirection() => {
                format!("status {status}; redirects are not followed")
            }
            Answer::Status(status, _) => format!("status {status}"),
            Answer::Silent(reason) => reason,
        };
        self.core.metrics.push.failed.inc();
        let (push, now) = (&self.core.settings.push, self.now());
        let progress = &mut hold.record.progress;
        progress.fail(now, outcome.clone());
        let failing = progress.failing_since.map_or(Duration::ZERO, |since| now.since(since));
        if progress.failures >= push.failures_max || failing >= push.give_up_after {
            let failures = progress.failures;
            let reason = format!("{outcome}; {failures} failures in a row over {failing:?}");
            return Err(self.disable(job, hold, reason).await);
        }
        let bounds = (push.backoff_first, push.backoff_max);
        let wait = wait_after(progress.failures, asked, bounds, rand::random());
        progress.not_before = Some(now.after(wait));
        tracing::info!(
            task_id = %job.task, webhook = hold.record.id, endpoint = hold.endpoint(),
            failures = hold.record.progress.failures, reason = outcome, ?wait, "webhook not reached"
        );
        self.write(job, hold).await.map(|()| false)
    }

    async fn disable(&self, job: &Job, hold: &mut Hold, reason: String) -> Told {
        hold.record.progress.disable(reason.clone());
        match self.write(job, hold).await {
            Ok(()) => {
                self.core.metrics.push.disabled.inc();
                tracing::warn!(
                    task_id = %job.task, owner = %job.owner, webhook = hold.record.id,
                    endpoint = hold.endpoint(), reason, "webhook disabled"
                );
                Told::All
            }
            Err(told) => told,
        }
    }
}
