//! Settles what was said to tasks: it stays for a later wait, or is refused and the sender told.

use std::collections::BTreeSet;

use protocol::card::OnMessage;
use protocol::codec;
use protocol::dead::{Cause, DeadLetter};
use protocol::entry::Origin;
use protocol::fault::{FailureClass, Fault};
use protocol::header::{self, Headers};
use protocol::id::{Owner, Skill, TaskId};
use protocol::input::Input;
use protocol::limits::INPUTS_MAX;
use protocol::log::TaskLog;
use protocol::message::{Message, Part};
use protocol::submission::{Queue, Source, reply_subject};
use runtime::bus::Delivery;
use serde_json::json;

use super::care::{Care, REST, Settled};
use super::log::LogError;
use crate::engine::input::{self, Judgement, Said};

/// The skill under which the letters of unknown tasks are kept.
const NO_SKILL: &str = "unknown";

/// Which of what was said to a task is kept for it.
pub(super) enum Kept {
    /// All of it.
    All,
    /// What is stored at these places.
    These(BTreeSet<u64>),
}

impl Kept {
    /// How many of its kind had been said when this came, as far as the limit goes.
    fn place(&self, sequence: u64) -> usize {
        match self {
            Self::These(kept) if !kept.contains(&sequence) => INPUTS_MAX + 1,
            Self::These(_) | Self::All => 1,
        }
    }
}

impl Care {
    /// Settles what was said to a task, given its log after everything that came has been looked at.
    pub(super) async fn judge(
        &self,
        owner: &Owner,
        task: &TaskId,
        log: &TaskLog,
        delivery: &Delivery,
        kept: &Kept,
    ) -> Settled {
        let read = Input::read(&delivery.headers, &delivery.payload);
        let sequence = delivery.position.sequence;
        let said = Said {
            sequence,
            at: delivery.position.stored_at,
            place: kept.place(sequence),
            input: read.as_ref(),
        };
        let on_message = match &read {
            Ok(input) => self.on_message(log, [(sequence, input)].into_iter()).await,
            Err(_) => OnMessage::default(),
        };
        match input::judge(log, said, on_message) {
            Judgement::Keep => Ok(None),
            Judgement::Refuse(fault) => self.refuse(owner, task, log, delivery, fault).await,
            Judgement::Unknown => {
                let submitted = self.client.submission(owner, task).await;
                let age = self.logs.clock.now().since(delivery.position.stored_at);
                match submitted {
                    Ok(Some(_)) => Ok(None),
                    Ok(None) if age >= input::UNKNOWN_FOR => {
                        self.refuse(owner, task, log, delivery, input::nobody_there()).await
                    }
                    Ok(None) | Err(_) => Ok(Some(REST)),
                }
            }
        }
    }

    /// What the task's skill does with messages while it runs; looked up where one of these came then.
    pub(super) async fn on_message<'a>(
        &self,
        log: &TaskLog,
        mut said: impl Iterator<Item = (u64, &'a Input)>,
    ) -> OnMessage {
        if !said.any(|(sequence, input)| log.refuses(sequence, input, OnMessage::Reject)) {
            return OnMessage::default();
        }
        let skill = log.origin.as_ref().map(|origin| &origin.skill);
        let agents = self.agents.now().await;
        let of_skill = agents.iter().find(|agent| Some(&agent.skill) == skill);
        of_skill.map(|agent| agent.on_message).unwrap_or_default()
    }

    /// Which of what was said to a task is kept, where it is so much that some may have to go.
    pub(super) async fn kept(&self, owner: &Owner, task: &TaskId) -> Result<Kept, LogError> {
        let subject = self.bus().subjects().input(owner, task);
        let stream = &self.bus().names().log;
        if self.bus().count(stream, &subject).await? <= INPUTS_MAX {
            return Ok(Kept::All);
        }
        let kept = self.said(owner, task).await?;
        Ok(Kept::These(kept.into_iter().map(|message| message.sequence).collect()))
    }

    /// The letter first, then the removal: a crash between them repeats both.
    async fn refuse(
        &self,
        owner: &Owner,
        task: &TaskId,
        log: &TaskLog,
        delivery: &Delivery,
        fault: Fault,
    ) -> Settled {
        let sequence = delivery.position.sequence;
        let fault = match &fault.place {
            Some(_) => fault,
            None => fault.at(delivery.subject.clone()),
        };
        tracing::warn!(task_id = %task, reason = %fault, "what was said is refused");
        let origin = match &log.origin {
            Some(origin) => origin.clone(),
            None => nobody(owner, delivery)?,
        };
        let content_type = delivery.headers.get(header::CONTENT_TYPE);
        let letter = DeadLetter {
            task: task.clone(),
            cause: Cause::Refused,
            failure: FailureClass::Permanent,
            fault: fault.clone(),
            origin,
            input: codec::decode_body(content_type, &delivery.payload).unwrap_or_else(|_| {
                Message::from_user(vec![Part::raw(delivery.payload.to_vec(), None)])
            }),
            attempts: Vec::new(),
            died_at: self.logs.clock.now(),
        };
        self.logs.store_letter(&letter, &format!("refused-{sequence}")).await?;
        self.bus().remove(&self.bus().names().log, sequence).await?;
        let reply = delivery.headers.get(header::REPLY_TO);
        if let Some(Ok(reply)) = reply.map(|text| reply_subject(self.bus().subjects(), text)) {
            let body = json!({ "task": task, "error": fault }).to_string();
            self.bus().tell(reply, &Headers::new(), body.into()).await;
        }
        Ok(None)
    }
}

/// The origin of a task that nobody knows.
fn nobody(owner: &Owner, delivery: &Delivery) -> Result<Box<Origin>, LogError> {
    let skill = Skill::parse(NO_SKILL).map_err(|error| LogError::Name(error.to_string()))?;
    let source = Source { queue: Queue::Run, sequence: delivery.position.sequence };
    let origin = Origin::bare(skill, source, delivery.position.stored_at);
    Ok(Box::new(Origin { owner: owner.clone(), ..origin }))
}
