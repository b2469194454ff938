//! What a message becomes: a new task, or something said to a task that exists. The one entrance of all doors.

use std::sync::Arc;

use client::{Choice, DecideError, SayError, Submission, SubmitError};
use protocol::approval::Verdict;
use protocol::budget::Grant;
use protocol::card::{OnMessage, Registration};
use protocol::codec::{self, A2A_JSON};
use protocol::input::Input;
use protocol::message::{Content, Message};
use protocol::wait::WaitingFor;
use protocol::{Owner, Skill, TaskId, Timestamp};
use runtime::bus::StoreError;
use serde::Deserialize;
use serde_json::Value;

use crate::a2a::error::Error;
use crate::a2a::request::{PushConfig, SendMessageRequest};
use crate::core::Core;
use crate::core::agents::check_media_types;
use crate::core::call::{Call, Operation};
use crate::core::check;
use crate::core::events::Narrator;
use crate::core::follower::Follower;
use crate::core::once::Once;
use crate::core::parts::store_large;
use crate::core::standing::Standing;

/// The key in a message's metadata that says what its task may spend.
pub(crate) const BUDGET: &str = "weft/budget";

/// The key in a message's metadata that says until when the result is of use.
pub(crate) const DEADLINE: &str = "weft/deadline";

/// A message that is stored, and what is known about its task.
pub(super) struct Sent {
    /// The task.
    pub standing: Standing,
    /// What happens next.
    pub follower: Follower,
    /// Tells it.
    pub narrator: Narrator,
    /// For something that was said: its place in the log stream.
    pub said: Option<u64>,
    /// For a new task: its place in the inbox.
    pub stored: Option<u64>,
    /// For a new task under a key: the hash of its input, by which another task under the same key is noticed.
    pub hash: Option<String>,
    /// The webhook that is still to be made for it.
    webhook: Option<PushConfig>,
}

/// A message that was judged by itself, on its way to where it is stored.
struct Draft {
    message: Message,
    once: Option<Once>,
    webhook: Option<PushConfig>,
    expected: Option<u64>,
}

impl Draft {
    /// A message that is sent again brings the same webhook.
    fn name_webhook(&mut self) {
        if let (Some(webhook), Some(once)) = (&mut self.webhook, &self.once)
            && webhook.id.as_deref().unwrap_or_default().is_empty()
        {
            webhook.id = Some(once.webhook());
        }
    }
}

/// A decision, as the data part of a message has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Decides {
    verdict: Verdict,
    #[serde(default)]
    hash: Option<String>,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    action: Option<Value>,
}

impl Core {
    /// Stores a message. Whatever can refuse it does so before that.
    pub(super) async fn submit(
        &self,
        call: &Call,
        request: SendMessageRequest,
    ) -> Result<Sent, Error> {
        call.may(Operation::Send, None)?;
        let owner = call.owner()?;
        let expected = check::generation(request.metadata.as_ref())?;
        let webhook = request.configuration.and_then(|one| one.task_push_notification_config);
        let mut message = check::message(request.message)?;
        self.files.let_in(&owner, &mut message.parts).await?;
        if let Some(webhook) = &webhook {
            self.check_push(call, webhook, "configuration.taskPushNotificationConfig.").await?;
        }
        let once = Once::of(call, &message);
        let mut draft = Draft { message, once, webhook, expected };
        draft.name_webhook();
        self.hub.listen(&owner).await?;
        let mut sent = match draft.message.task_id.clone().filter(|id| !id.is_empty()) {
            Some(id) => Box::pin(self.say(call, owner, &id, draft)).await?,
            None => {
                if let Some(expected) = expected.filter(|expected| *expected > 0) {
                    let what = format!("a new task is at generation 0, not {expected}");
                    return Err(Error::field("metadata.ifGenerationMatch", what));
                }
                let metadata = request.metadata.as_ref();
                let (skill, agents) = self.skill(call, &draft.message, metadata).await?;
                Box::pin(self.begin(call, owner, draft, skill, &agents)).await?
            }
        };
        if let Some(webhook) = sent.webhook.take() {
            let (task, from) = (&sent.standing.task, sent.standing.log.generation);
            let attached = self.attach_push(&sent.standing.owner, task, webhook, from).await;
            attached.map_err(|error| Error::goes_on(task, &error))?;
        }
        Ok(sent)
    }

    /// Judges the webhook that comes with a message for this task. One that it has is not made again when the message is
    /// a repeat.
    async fn judge_webhook(
        &self,
        owner: &Owner,
        task: &TaskId,
        draft: &mut Draft,
    ) -> Result<(), Error> {
        let Some(webhook) = &draft.webhook else { return Ok(()) };
        let known = self.has_room(owner, task, webhook).await?;
        if known && draft.once.is_some() {
            draft.webhook = None;
        }
        Ok(())
    }

    async fn begin(
        &self,
        call: &Call,
        owner: Owner,
        mut draft: Draft,
        skill: Skill,
        agents: &Arc<Vec<Registration>>,
    ) -> Result<Sent, Error> {
        check_media_types(agents, &skill, &draft.message.parts)?;
        let context = check::context(draft.message.context_id.as_deref())?;
        let dedup_key = draft.once.as_ref().map(Once::key).transpose()?;
        if let Some(key) = &dedup_key {
            let task = TaskId::from_dedup_key(&owner, &skill, key);
            self.judge_webhook(&owner, &task, &mut draft).await?;
        }
        let Draft { mut message, once, webhook, .. } = draft;
        message.context_id = context.as_ref().map(ToString::to_string);
        message.task_id = None;
        store_large(self.client.bus(), &mut message.parts).await?;
        let submission = Submission {
            owner: owner.clone(),
            content_type: Some(A2A_JSON.to_owned()),
            dedup_key,
            context: context.clone(),
            budget: budget(&message)?,
            deadline: deadline(&message, self.clock.now())?,
            trace: call.trace.clone(),
            ..Submission::new(skill.clone(), body(&message)?)
        };
        let hash = once.map(|_| protocol::submission::input_hash(Some(A2A_JSON), &submission.body));
        let submission = submission.in_order_of(agents);
        let receipt = self.client.submit(submission).await.map_err(not_submitted)?;
        call.about(receipt.task.as_str());
        let mut follower = self.hub.follow(&owner, &receipt.task);
        if hash.is_some() {
            follower.look_first();
        }
        let at = self.clock.now();
        let stored = Some(receipt.sequence);
        let mut standing = Standing::new(owner, receipt.task, skill, context.as_ref(), at);
        standing.input = Some(message);
        let narrator = Narrator::new(&standing.task, standing.context());
        Ok(Sent { standing, follower, narrator, said: None, stored, hash, webhook })
    }

    async fn say(
        &self,
        call: &Call,
        owner: Owner,
        id: &str,
        mut draft: Draft,
    ) -> Result<Sent, Error> {
        call.about(id);
        let (mut standing, narrator, mut follower) = self.find(call, &owner, id).await?;
        call.may(Operation::Send, Some(&standing.skill))?;
        follower.skip_to(standing.log.generation, standing.log.last_sequence);
        self.judge_webhook(&owner, &standing.task, &mut draft).await?;
        let Draft { mut message, once, webhook, expected } = draft;
        let sent = |standing, said| {
            let stored = None;
            Ok(Sent { standing, follower, narrator, said: Some(said), stored, hash: None, webhook })
        };
        if once.is_some()
            && let Some(said) = said_before(&standing, &message)?
        {
            return sent(standing, said);
        }
        check::is_at(&standing, expected)?;
        if standing.log.is_ended() {
            let state = standing.log.state.word();
            let what = format!("task {id} has already ended: {state}; send a new message");
            return Err(Error::UnsupportedOperation(what));
        }
        let named = check::context(message.context_id.as_deref())?;
        if named.is_some_and(|named| named.as_str() != standing.context()) {
            let what = format!("task {id} belongs to the context {:?}", standing.context());
            return Err(Error::field("message.contextId", what));
        }
        if let Some(WaitingFor::Approval { .. }) = &standing.log.waiting_for {
            let said = self.decide(call, &standing, &mut message).await?;
            standing.history.say(said, message);
            return sent(standing, said);
        }
        let agents = self.agents.now().await?;
        check_media_types(&agents, &standing.skill, &message.parts)?;
        refuse_unheard(&agents, &standing)?;
        store_large(self.client.bus(), &mut message.parts).await?;
        body(&message)?;
        let input = Input::Message(message.clone());
        let once = once.map(|once| once.name(&owner, &standing.task));
        let telling =
            self.client.tell_task_as(&owner, &standing.task, &input, None, once.as_deref());
        let stored = telling.await;
        let sequence = stored.map_err(not_said)?;
        standing.history.say(sequence, message);
        sent(standing, sequence)
    }

    /// Decides about the approval that the task waits for.
    async fn decide(
        &self,
        call: &Call,
        standing: &Standing,
        message: &mut Message,
    ) -> Result<u64, Error> {
        let form = || {
            Error::field(
                "message.parts",
                "the task waits for a decision: send one data part with a verdict (approve, deny or edit) and, as you \
                 like, hash, comment and action",
            )
        };
        let mut data = message.parts.iter().filter_map(|part| match &part.content {
            Content::Data(value) => Some(value),
            Content::Text(_) | Content::Raw(_) | Content::Url(_) => None,
        });
        let (Some(value), None) = (data.next(), data.next()) else { return Err(form()) };
        let Decides { verdict, hash, comment, action } =
            Deserialize::deserialize(value).map_err(|_| form())?;
        call.may(Operation::Decide, Some(&standing.skill))?;
        let choice = Choice { verdict, by: call.caller.name.clone(), comment, action, hash };
        store_large(self.client.bus(), &mut message.parts).await?;
        self.client
            .decide_in(&standing.owner, &standing.task, choice, self.clock.now(), Some(message))
            .await
            .map(|cast| cast.sequence)
            .map_err(|error| match error {
                DecideError::Say(error) => not_said(error),
                DecideError::MayNot { .. } => Error::PermissionDenied(error.to_string()),
                DecideError::BadAction { .. } => Error::field("message.parts", error.to_string()),
                DecideError::NotAsked { .. }
                | DecideError::Decided { .. }
                | DecideError::Changed { .. } => Error::UnsupportedOperation(error.to_string()),
            })
    }

    /// A task that somebody asks about by its id, and what happens to it from now on.
    pub(super) async fn find(
        &self,
        call: &Call,
        owner: &Owner,
        id: &str,
    ) -> Result<(Standing, Narrator, Follower), Error> {
        let task = check::task(id)?;
        self.hub.listen(owner).await?;
        let follower = self.hub.follow(owner, &task);
        let story = self.client.story(owner, &task).await;
        let story = story
            .map_err(|error| crate::core::follower::unreadable(&error))?
            .ok_or_else(|| Error::TaskNotFound(id.to_owned()))?;
        let told = Narrator::behind(&task, &story.entries);
        let standing = Standing::read(owner, &task, story)?;
        see(call, &standing)?;
        let narrator = told.unwrap_or_else(|| Narrator::new(&task, standing.context()));
        Ok((standing, narrator, follower))
    }
}

/// The place of an earlier message under the same id; an error when that one said something else.
fn said_before(standing: &Standing, message: &Message) -> Result<Option<u64>, Error> {
    let Some((sequence, before)) = standing.history.said_as(&message.message_id) else {
        return Ok(None);
    };
    // Large parts are stored by reference, which this message does not have yet.
    let same =
        before.parts == message.parts || before.parts.iter().any(|one| one.object().is_some());
    if same {
        return Ok(Some(sequence));
    }
    let what = format!("task {} was sent another message under this id before", standing.task);
    Err(Error::field("message.messageId", what))
}

/// A task of a skill that the caller may not use looks missing.
pub(super) fn see(call: &Call, standing: &Standing) -> Result<(), Error> {
    match &call.caller.skills {
        Some(skills) if !skills.contains(&standing.skill) => {
            Err(Error::TaskNotFound(standing.task.to_string()))
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses what the agent would refuse: a message to one that takes none while it runs.
fn refuse_unheard(agents: &[Registration], standing: &Standing) -> Result<(), Error> {
    let asked = matches!(&standing.log.waiting_for, Some(WaitingFor::Input { .. }));
    let rejects = |agent: &Registration| {
        agent.skill == standing.skill && agent.on_message == OnMessage::Reject
    };
    if asked || !agents.iter().any(rejects) {
        return Ok(());
    }
    let (task, skill) = (&standing.task, &standing.skill);
    let what =
        format!("task {task} asks for nothing now, and {skill} takes messages only when it does");
    Err(Error::UnsupportedOperation(what))
}

fn budget(message: &Message) -> Result<Option<Grant>, Error> {
    let given = message.metadata.as_ref().and_then(|facts| facts.get(BUDGET));
    given
        .map(Grant::deserialize)
        .transpose()
        .map_err(|e| Error::field(format!("message.metadata[{BUDGET:?}]"), e.to_string()))
}

fn deadline(message: &Message, now: Timestamp) -> Result<Option<String>, Error> {
    let given = message.metadata.as_ref().and_then(|facts| facts.get(DEADLINE));
    let Some(given) = given else { return Ok(None) };
    let wrong = |why: String| Error::field(format!("message.metadata[{DEADLINE:?}]"), why);
    let text = given.as_str().ok_or_else(|| wrong("has to be a text".to_owned()))?;
    protocol::submission::deadline(text, now).map_err(wrong)?;
    Ok(Some(text.to_owned()))
}

/// The body that is stored, once it is sure that a node can read it.
fn body(message: &Message) -> Result<Vec<u8>, Error> {
    let body = serde_json::to_vec(message).map_err(|error| Error::Internal(error.to_string()))?;
    codec::decode_body(Some(A2A_JSON), &body).map(|_| body).map_err(|fault| {
        match fault.code.as_str() {
            protocol::fault::code::TOO_LARGE => Error::TooLarge(fault.to_string()),
            _ => Error::field("message", fault.to_string()),
        }
    })
}

fn not_stored(error: &StoreError) -> Error {
    match error {
        StoreError::TooLarge { .. } => Error::TooLarge(error.to_string()),
        StoreError::Full
        | StoreError::NoStream { .. }
        | StoreError::NoAnswer { .. }
        | StoreError::Denied { .. }
        | StoreError::Fenced
        | StoreError::Refused { .. } => Error::Unavailable(error.to_string()),
    }
}

fn not_submitted(error: SubmitError) -> Error {
    match error {
        SubmitError::TooLarge { .. } => Error::TooLarge(error.to_string()),
        SubmitError::Refused { fault } => Error::field("message", fault.to_string()),
        SubmitError::Store { source, .. } => not_stored(&source),
    }
}

fn not_said(error: SayError) -> Error {
    match error {
        SayError::Unknown { task, .. } => Error::TaskNotFound(task.to_string()),
        SayError::Ended { .. } => Error::UnsupportedOperation(error.to_string()),
        SayError::TooLarge { .. } => Error::TooLarge(error.to_string()),
        SayError::Task(error) => crate::core::follower::unreadable(&error),
        SayError::Store { source, .. } => not_stored(&source),
    }
}
