//! Webhooks: who is told about a task's changes, and the durable telling.
//!
//! A webhook is a value in a bucket and a job in the log stream. The value says what the client asked for and how far it
//! has been told; the job is held by one gateway at a time, which follows the task and makes the calls. Everything that
//! a gateway knows about a webhook beyond that can be lost with it.

pub mod census;
mod check;
mod circuit;
pub mod guard;
mod head;
mod pace;
mod post;
pub mod record;
pub mod seal;
mod tell;
mod worker;

use bytes::Bytes;
use protocol::header::Headers;
use protocol::{Owner, TaskId};
use runtime::bus::{KeyValue, Outgoing, ReadError, StoreError};
use tokio::time::timeout;

pub use self::record::{PushState, PushStatus};
pub use self::worker::serve;

use self::check::Page;
use self::guard::Target;
use self::record::{Progress, Record, Secrets, key};
use crate::a2a::error::Error;
use crate::a2a::request::{ListPushConfigsRequest, PushConfig, PushConfigRequest};
use crate::a2a::response::ListPushConfigsResponse;
use crate::core::Core;
use crate::core::call::{Call, Operation};
use crate::limits::{PUSH_CHECK_MAX, PUSH_CONFIGS_MAX};

impl Core {
    /// `CreateTaskPushNotificationConfig`: the webhook is told what happens from now on, and of an ended task its end.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_push(&self, call: &Call, config: PushConfig) -> Result<PushConfig, Error> {
        let task = config.task_id.clone().unwrap_or_default();
        if task.is_empty() {
            return Err(Error::field("taskId", "is required"));
        }
        self.check_push(call, &config, "").await?;
        let (owner, task, from) = self.push_task(call, &task).await?;
        self.has_room(&owner, &task, &config).await?;
        self.attach_push(&owner, &task, config, from).await
    }

    /// Judges a webhook before there is anything that it could be for. `place` is where it stands in the request.
    ///
    /// # Errors
    /// When the caller may make none, or not this one.
    pub async fn check_push(
        &self,
        call: &Call,
        config: &PushConfig,
        place: &str,
    ) -> Result<(), Error> {
        call.may(Operation::Push, None)?;
        let target = check::config(config, place, self.settings.push.allow_local)?;
        // A name that does not resolve now may do so when it is called, and is judged again then.
        match timeout(PUSH_CHECK_MAX, target.resolve()).await {
            Ok(Err(refused)) if !refused.may_pass() => {
                Err(Error::field(format!("{place}url"), refused.to_string()))
            }
            Ok(Ok(_) | Err(_)) | Err(_) => Ok(()),
        }
    }

    /// Judges whether a task may have this webhook too; whether it has one under this id already, which is told or was
    /// told. Who asks at the same moment as others may get one more than the limit: what was stored is not refused behind
    /// that.
    ///
    /// # Errors
    /// When it has too many, or they cannot be read.
    pub async fn has_room(
        &self,
        owner: &Owner,
        task: &TaskId,
        config: &PushConfig,
    ) -> Result<bool, Error> {
        let others = self.push_records(owner, task).await?;
        let own = config.id.as_deref().map(|id| key(owner, task, id));
        let known = others.iter().find(|(other, _)| Some(other) == own.as_ref());
        if known.is_none() && others.len() >= PUSH_CONFIGS_MAX {
            let what =
                format!("task {task} has {PUSH_CONFIGS_MAX} webhooks, the most that one may have");
            return Err(Error::TooLarge(what));
        }
        match known {
            Some((_, record)) => self.is_at_work(owner, task, record).await,
            None => Ok(false),
        }
    }

    /// Whether the job of a webhook is there: whoever made the webhook may have ended between the two.
    async fn is_at_work(
        &self,
        owner: &Owner,
        task: &TaskId,
        record: &Record,
    ) -> Result<bool, Error> {
        if record.progress.state != PushState::Active {
            return Ok(true);
        }
        let bus = self.client.bus();
        let subject = bus.subjects().push(owner, task, &record::token(&record.id));
        let job = bus.last_from_leader(&bus.names().log, &subject).await;
        let job = job.map_err(|error| not_read(&error))?;
        Ok(job.is_some_and(|job| job.payload == record.job.as_bytes()))
    }

    /// Makes a webhook that was judged for a task that exists: it is told what comes behind the generation `from`.
    ///
    /// # Errors
    /// When the bus does not store it.
    pub async fn attach_push(
        &self,
        owner: &Owner,
        task: &TaskId,
        config: PushConfig,
        from: u64,
    ) -> Result<PushConfig, Error> {
        let bus = self.client.bus();
        let id = config.id.filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let key = key(owner, task, &id);
        let secrets = Secrets {
            url: config.url,
            token: config.token.filter(|token| !token.is_empty()),
            authentication: config.authentication,
        };
        let kept = self.seals.seal(&key, &secrets);
        let record = Record {
            id,
            job: uuid::Uuid::new_v4().to_string(),
            kept: kept.map_err(|error| Error::Internal(error.to_string()))?,
            tenant: config.tenant.filter(|tenant| !tenant.is_empty()),
            created_at: self.clock.now(),
            progress: Progress { cursor: (from, u32::MAX), ..Progress::default() },
        };
        let value =
            serde_json::to_vec(&record).map_err(|error| Error::Internal(error.to_string()))?;
        // First the value: a job without one is taken for the job of a webhook that was deleted.
        bus.put_key(&bus.names().push, &key, value.into()).await.map_err(|e| not_stored(&e))?;
        let subject = bus.subjects().push(owner, task, &record::token(&record.id));
        let job = Bytes::from(record.job.clone());
        bus.store(Outgoing::new(subject, Headers::new(), job)).await.map_err(|e| not_stored(&e))?;
        Ok(record.config(task, secrets))
    }

    /// `GetTaskPushNotificationConfig`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_push(
        &self,
        call: &Call,
        request: PushConfigRequest,
    ) -> Result<PushConfig, Error> {
        call.may(Operation::Push, None)?;
        let PushConfigRequest { task_id, id, .. } = request;
        check::ids(&task_id, &id)?;
        let (owner, task, _) = self.push_task(call, &task_id).await?;
        let (bus, key) = (self.client.bus(), key(&owner, &task, &id));
        let found = bus.key(&bus.names().push, &key).await;
        let found = found.map_err(|error| not_read(&error))?;
        let record = found.and_then(|found| read(&found));
        // A2A has no error of its own for it.
        let missing = || Error::TaskNotFound(format!("{task}/pushNotificationConfigs/{id}"));
        self.push_config(&task, &key, &record.ok_or_else(missing)?)
    }

    /// `ListTaskPushNotificationConfigs`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_push(
        &self,
        call: &Call,
        request: ListPushConfigsRequest,
    ) -> Result<ListPushConfigsResponse, Error> {
        call.may(Operation::Push, None)?;
        if request.task_id.is_empty() {
            return Err(Error::field("taskId", "is required"));
        }
        let page = Page::read(request.page_size, request.page_token.as_deref())?;
        let (owner, task, _) = self.push_task(call, &request.task_id).await?;
        let found = self.push_records(&owner, &task).await?;
        let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        let (range, next_page_token) = page.cut(&keys);
        let configs = found.get(range).unwrap_or_default();
        let config = |(key, record): &(String, Record)| self.push_config(&task, key, record);
        let configs = configs.iter().map(config).collect::<Result<_, _>>()?;
        Ok(ListPushConfigsResponse { configs, next_page_token })
    }

    /// A webhook as its client made it.
    fn push_config(&self, task: &TaskId, key: &str, record: &Record) -> Result<PushConfig, Error> {
        let secrets = self.seals.unseal(key, &record.kept);
        let secrets = secrets.map_err(|error| {
            Error::Unavailable(format!("webhook {} cannot be read: {error}", record.id))
        })?;
        Ok(record.config(task, secrets))
    }

    /// `DeleteTaskPushNotificationConfig`. A second time changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_push(&self, call: &Call, request: PushConfigRequest) -> Result<(), Error> {
        call.may(Operation::Push, None)?;
        let PushConfigRequest { task_id, id, .. } = request;
        check::ids(&task_id, &id)?;
        let (owner, task, _) = self.push_task(call, &task_id).await?;
        let (bus, key) = (self.client.bus(), key(&owner, &task, &id));
        let bucket = &bus.names().push;
        if bus.key(bucket, &key).await.map_err(|error| not_read(&error))?.is_none() {
            return Ok(());
        }
        bus.remove_key(bucket, &key).await.map_err(|error| Error::Unavailable(error.to_string()))
    }

    /// How a task's webhooks do: what A2A has no field for.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn push_statuses(&self, call: &Call, task: &str) -> Result<Vec<PushStatus>, Error> {
        call.may(Operation::Push, None)?;
        let (owner, task, _) = self.push_task(call, task).await?;
        let found = self.push_records(&owner, &task).await?;
        let status = |(key, record): (String, Record)| {
            let Record { id, kept, created_at, mut progress, .. } = record;
            let target = match self.seals.unseal(&key, &kept) {
                Ok(secrets) => Target::parse(&secrets.url, true).ok(),
                Err(error) => {
                    progress.outcome = Some(error.to_string());
                    None
                }
            };
            let endpoint = target.map(|target| target.endpoint()).unwrap_or_default();
            PushStatus { id, task_id: task.to_string(), endpoint, created_at, progress }
        };
        Ok(found.into_iter().map(status).collect())
    }

    async fn push_records(
        &self,
        owner: &Owner,
        task: &TaskId,
    ) -> Result<Vec<(String, Record)>, Error> {
        let bus = self.client.bus();
        let found = bus.keys(&bus.names().push, &format!("{owner}.{task}.*")).await;
        let found = found.map_err(|error| not_read(&error))?;
        Ok(found.into_iter().filter_map(|(key, value)| Some((key, read(&value)?))).collect())
    }
}

fn read(value: &KeyValue) -> Option<Record> {
    serde_json::from_slice(&value.value).ok()
}

fn not_read(error: &ReadError) -> Error {
    Error::Unavailable(error.to_string())
}

fn not_stored(error: &StoreError) -> Error {
    Error::Unavailable(error.to_string())
}
