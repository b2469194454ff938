//! Submits tasks. The receipt is the stream's acknowledgement: from then on the task is not lost.

use bytes::Bytes;
use protocol::budget::Grant;
use protocol::card::{Order, Registration};
use protocol::fault::{Fault, code};
use protocol::header::{self, Headers};
use protocol::id::{ContextId, DedupKey, Lane, Owner, Skill, TaskId};
use protocol::limits::{BATCH_MESSAGES_MAX, TASK_BYTES_MAX};
use protocol::submission::{Envelope, Stored, TraceContext};
use runtime::bus::{KvError, Outgoing, StoreError};

use crate::Client;

/// A task to be submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// What is to be done.
    pub skill: Skill,
    /// Who it belongs to.
    pub owner: Owner,
    /// The body: text, JSON, an A2A message, MessagePack, bytes.
    pub body: Bytes,
    /// What the body is; without it, the body speaks for itself.
    pub content_type: Option<String>,
    /// An id of the submitter's choice.
    pub task_id: Option<TaskId>,
    /// Asking twice with one key does the work once.
    pub dedup_key: Option<DedupKey>,
    /// The conversation.
    pub context: Option<ContextId>,
    /// Keeps its place: tasks of one skill and owner in the same lane run one after the other, in the order in which
    /// they were stored.
    pub lane: Option<Lane>,
    /// What it may spend, its children included.
    pub budget: Option<Grant>,
    /// RFC 3339 time, or a duration such as `30s` from submission.
    pub deadline: Option<String>,
    /// A subject that gets the finished task.
    pub reply_to: Option<String>,
    /// The dead task that this one repeats.
    pub redrive_of: Option<TaskId>,
    /// The trace it belongs to.
    pub trace: TraceContext,
}

/// The stream has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The task.
    pub task: TaskId,
    /// Who it belongs to.
    pub owner: Owner,
    /// Its place in the inbox.
    pub sequence: u64,
}

/// Why a task is not submitted, or not known to be.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The body is over the limit.
    #[error(
        "the input has {bytes} bytes, at most {TASK_BYTES_MAX} are allowed; put it into the object store"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It would be rejected.
    #[error("the task would be rejected: {fault}")]
    Refused {
        /// Why.
        fault: Fault,
    },
    /// The stream does not take it.
    #[error("task for skill {skill} not stored")]
    Store {
        /// The skill.
        skill: Skill,
        /// Why.
        #[source]
        source: StoreError,
    },
}

impl Submission {
    /// A task with nothing but a skill and a body.
    #[must_use]
    pub fn new(skill: Skill, body: impl Into<Bytes>) -> Self {
        Self {
            skill,
            owner: Owner::default(),
            body: body.into(),
            content_type: None,
            task_id: None,
            dedup_key: None,
            context: None,
            lane: None,
            budget: None,
            deadline: None,
            reply_to: None,
            redrive_of: None,
            trace: TraceContext::default(),
        }
    }

    /// Puts a task of a conversation into the conversation's lane when one of these agents serves its skill and keeps
    /// the order of conversations. Without a lane such a task would be rejected.
    #[must_use]
    pub fn in_order_of(mut self, agents: &[Registration]) -> Self {
        if let (None, Some(context)) = (&self.lane, &self.context) {
            let ordered = agents
                .iter()
                .any(|agent| agent.skill == self.skill && agent.order == Order::Context);
            // What may be a conversation's name may be a lane's.
            self.lane = Lane::parse(context.as_str()).ok().filter(|_| ordered);
        }
        self
    }

    fn headers(&self) -> Headers {
        let mut headers = Headers::new();
        let mut put = |name: &'static str, value: Option<&str>| {
            if let Some(value) = value {
                headers.push(name, value);
            }
        };
        put(header::CONTENT_TYPE, self.content_type.as_deref());
        put(header::TASK_ID, self.task_id.as_ref().map(TaskId::as_str));
        put(header::DEDUP_KEY, self.dedup_key.as_ref().map(DedupKey::as_str));
        put(header::CONTEXT_ID, self.context.as_ref().map(ContextId::as_str));
        let budget = self.budget.and_then(|grant| serde_json::to_string(&grant).ok());
        put(header::BUDGET, budget.as_deref());
        put(header::DEADLINE, self.deadline.as_deref());
        put(header::REPLY_TO, self.reply_to.as_deref());
        put(header::REDRIVE_OF, self.redrive_of.as_ref().map(TaskId::as_str));
        put(header::TRACEPARENT, self.trace.traceparent.as_deref());
        put(header::TRACESTATE, self.trace.tracestate.as_deref());
        put(header::BAGGAGE, self.trace.baggage.as_deref());
        headers
    }

    /// The id that the task gets when it is stored at this sequence.
    fn id(&self, sequence: u64) -> TaskId {
        match (&self.dedup_key, &self.task_id) {
            (Some(key), _) => TaskId::from_dedup_key(&self.owner, &self.skill, key),
            (None, Some(id)) => id.clone(),
            (None, None) => TaskId::from_sequence(sequence),
        }
    }
}

impl Client {
    /// Submits a task.
    ///
    /// # Errors
    /// See [`SubmitError`]. After [`StoreError::NoAnswer`] the task may be stored: submit it again under a
    /// dedup key to be sure that it runs once.
    pub async fn submit(&self, submission: Submission) -> Result<Receipt, SubmitError> {
        let message = self.outgoing(&submission)?;
        match self.bus.store(message).await {
            Ok(stored) => Ok(Receipt {
                task: submission.id(stored.sequence),
                owner: submission.owner,
                sequence: stored.sequence,
            }),
            Err(source) => Err(SubmitError::Store { skill: submission.skill, source }),
        }
    }

    /// As [`Submission::in_order_of`], by what the registry says.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn in_order(&self, submission: Submission) -> Result<Submission, KvError> {
        if submission.lane.is_some() || submission.context.is_none() {
            return Ok(submission);
        }
        Ok(submission.in_order_of(&self.agents().await?))
    }

    /// Submits tasks in atomic batches, which share the file sync where the server syncs every write. All of
    /// a batch is stored or none of it; the receipts come in the order of the tasks.
    ///
    /// # Errors
    /// As [`Client::submit`]; batches before the failing one are stored.
    pub async fn submit_all(
        &self,
        submissions: Vec<Submission>,
    ) -> Result<Vec<Receipt>, SubmitError> {
        let mut receipts = Vec::with_capacity(submissions.len());
        for batch in submissions.chunks(BATCH_MESSAGES_MAX) {
            let messages =
                batch.iter().map(|one| self.outgoing(one)).collect::<Result<Vec<_>, _>>()?;
            let Some(first) = batch.first() else { continue };
            let stored = self
                .bus
                .store_batch(messages)
                .await
                .map_err(|source| SubmitError::Store { skill: first.skill.clone(), source })?;
            receipts.extend((stored.sequence..).zip(batch).map(|(sequence, one)| Receipt {
                task: one.id(sequence),
                owner: one.owner.clone(),
                sequence,
            }));
        }
        Ok(receipts)
    }

    /// Submits a message as it came, headers included, once its envelope can be read.
    ///
    /// # Errors
    /// As [`Client::submit`], and with the fault of an envelope that would be rejected.
    pub async fn submit_raw(&self, message: Outgoing) -> Result<Receipt, SubmitError> {
        let bytes = message.payload.len();
        if bytes > TASK_BYTES_MAX {
            return Err(SubmitError::TooLarge { bytes });
        }
        let (subject, headers) = (message.subject.clone(), message.headers.clone());
        let read = |sequence| {
            let at = protocol::Timestamp::default();
            let stored = Stored { subject: &subject, headers: &headers, sequence, at };
            match Envelope::read(self.bus.subjects(), stored) {
                Some(Ok(envelope)) => Ok(envelope),
                Some(Err(refused)) => Err(SubmitError::Refused { fault: refused.fault }),
                None => Err(SubmitError::Refused {
                    fault: Fault::new(code::BAD_HEADER, format!("{subject:?} is no skill's queue")),
                }),
            }
        };
        let skill = read(0)?.skill;
        let stored =
            self.bus.store(message).await.map_err(|source| SubmitError::Store { skill, source })?;
        let envelope = read(stored.sequence)?;
        Ok(Receipt { task: envelope.task, owner: envelope.owner, sequence: stored.sequence })
    }

    fn outgoing(&self, submission: &Submission) -> Result<Outgoing, SubmitError> {
        let bytes = submission.body.len();
        if bytes > TASK_BYTES_MAX {
            return Err(SubmitError::TooLarge { bytes });
        }
        let subjects = self.bus.subjects();
        let subject = match &submission.lane {
            None => subjects.task(&submission.skill, &submission.owner),
            Some(lane) => subjects.task_in_lane(&submission.skill, &submission.owner, lane),
        };
        Ok(Outgoing::new(subject, submission.headers(), submission.body.clone()))
    }
}
