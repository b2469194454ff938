//! Looks after dead letters: list, read, redrive, discard.

use bytes::Bytes;
use protocol::codec::A2A_JSON;
use protocol::dead::{Cause, DeadLetter};
use protocol::header;
use protocol::id::{DedupKey, Owner, Skill, TaskId};
use protocol::subject::Subject;
use protocol::submission::{Queue, input_hash};
use runtime::bus::{ReadError, StoredMessage};
use serde::Serialize;

use crate::{Client, Receipt, Submission, SubmitError};

/// A dead letter with its number: the stream sequence it is stored at.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterEntry {
    /// Its number.
    pub number: u64,
    /// The letter.
    pub letter: DeadLetter,
}

/// A dead letter that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnreadableLetter {
    /// Its number.
    pub number: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// The dead letters there are, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeadLetters {
    /// Those that can be read.
    pub letters: Vec<DeadLetterEntry>,
    /// The others.
    pub unreadable: Vec<UnreadableLetter>,
}

/// Why a dead letter cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum DeadError {
    /// There is none of this number.
    #[error("there is no dead letter {number}; `weft dlq list` shows those there are")]
    Unknown {
        /// The number.
        number: u64,
    },
    /// It is no letter of ours.
    #[error("dead letter {number} is unreadable: {reason}")]
    Unreadable {
        /// The number.
        number: u64,
        /// What is wrong.
        reason: String,
    },
    /// It is about something that was said to a task, not about a task that failed.
    #[error(
        "dead letter {number} holds what was said to task {task}, which no task can be made of"
    )]
    NoTask {
        /// The number.
        number: u64,
        /// The task.
        task: protocol::TaskId,
    },
    /// The bus does not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The new task was not stored; the letter is still there.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The edited input is not JSON.
    #[error("the input of dead letter {number} cannot be written")]
    Input {
        /// The number.
        number: u64,
    },
}

/// How to redrive.
#[derive(Debug, Clone, Default)]
pub struct Redrive {
    /// Another input than the one that failed: body and content type.
    pub input: Option<(Bytes, Option<String>)>,
}

impl Client {
    /// The readable dead letters of a skill, or of all, oldest first.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn dead_letters(
        &self,
        skill: Option<&Skill>,
        limit: usize,
    ) -> Result<Vec<DeadLetterEntry>, DeadError> {
        Ok(self.all_dead_letters(skill, limit).await?.letters)
    }

    /// The dead letters of a skill, or of all, with those that cannot be read; at most `limit` together.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn all_dead_letters(
        &self,
        skill: Option<&Skill>,
        limit: usize,
    ) -> Result<DeadLetters, DeadError> {
        let subjects = self.bus().subjects();
        let filter = skill.map_or_else(|| subjects.all_dead(), |skill| subjects.dead(skill));
        let mut found = DeadLetters::default();
        self.bus()
            .scan(&self.bus().names().log, &filter, 1, |message| {
                match read(&message) {
                    Ok(entry) => found.letters.push(entry),
                    Err(reason) => {
                        let number = message.sequence;
                        found.unreadable.push(UnreadableLetter { number, reason });
                    }
                }
                if found.letters.len() + found.unreadable.len() < limit {
                    std::ops::ControlFlow::Continue(())
                } else {
                    std::ops::ControlFlow::Break(())
                }
            })
            .await?;
        Ok(found)
    }

    /// One dead letter.
    ///
    /// # Errors
    /// See [`DeadError`].
    pub async fn dead_letter(&self, number: u64) -> Result<DeadLetterEntry, DeadError> {
        let message = self.stored_letter(number).await?;
        read(&message).map_err(|reason| DeadError::Unreadable { number, reason })
    }

    /// The dead letter of a task that failed, if it is still there. It is stored right behind the entry that
    /// ended the task.
    ///
    /// # Errors
    /// See [`DeadError`].
    pub async fn dead_letter_of(
        &self,
        owner: &Owner,
        task: &TaskId,
        skill: &Skill,
    ) -> Result<Option<u64>, DeadError> {
        let (bus, stream) = (self.bus(), &self.bus().names().log);
        let Some(end) = bus.last_from_leader(stream, &bus.subjects().log(owner, task)).await?
        else {
            return Ok(None);
        };
        let dead = bus.subjects().dead(skill);
        let stored = bus.next_from_leader(stream, &dead, end.sequence).await?;
        let letter = stored.and_then(|message| read(&message).ok());
        Ok(letter.filter(|entry| entry.letter.task == *task).map(|entry| entry.number))
    }

    /// The message of a dead letter, whatever it holds.
    async fn stored_letter(&self, number: u64) -> Result<StoredMessage, DeadError> {
        let stored = self.bus().at_from_leader(&self.bus().names().log, number).await?;
        let dead = |message: &StoredMessage| {
            matches!(self.bus().subjects().parse(&message.subject), Some(Subject::Dead(_)))
        };
        stored.filter(dead).ok_or(DeadError::Unknown { number })
    }

    /// Submits a dead task again, as a new task that refers to the old one, and removes the letter. Asking twice
    /// for the same letter starts one task.
    ///
    /// # Errors
    /// See [`DeadError`].
    pub async fn redrive(&self, number: u64, how: Redrive) -> Result<Receipt, DeadError> {
        let DeadLetterEntry { letter, .. } = self.dead_letter(number).await?;
        if letter.cause == Cause::Refused {
            return Err(DeadError::NoTask { number, task: letter.task });
        }
        let (body, content_type) = match how.input {
            Some(input) => input,
            None => self.input_of(number, &letter).await?,
        };
        let origin = *letter.origin;
        let key = format!("redrive {} {number}", letter.task);
        let receipt = self
            .submit(Submission {
                owner: origin.owner,
                content_type,
                dedup_key: DedupKey::parse(&key).ok(),
                context: origin.context_id,
                lane: origin.lane,
                redrive_of: Some(letter.task),
                ..Submission::new(origin.skill, body)
            })
            .await?;
        self.discard(number).await?;
        Ok(receipt)
    }

    /// The input as it was submitted, byte for byte, while its stream still has it; else as the letter tells it.
    async fn input_of(
        &self,
        number: u64,
        letter: &DeadLetter,
    ) -> Result<(Bytes, Option<String>), DeadError> {
        let names = self.bus().names();
        let stream = match letter.origin.source.queue {
            Queue::Inbox => &names.inbox,
            Queue::Run => &names.log,
        };
        if let Some(message) = self.bus().at(stream, letter.origin.source.sequence).await? {
            let content_type = message.headers.get(header::CONTENT_TYPE).map(str::to_owned);
            // A stream that was made anew has something else under this number.
            if input_hash(content_type.as_deref(), &message.payload) == letter.origin.input_hash {
                return Ok((message.payload, content_type));
            }
        }
        let body = serde_json::to_vec(&letter.input).map_err(|_| DeadError::Input { number })?;
        Ok((Bytes::from(body), Some(A2A_JSON.to_owned())))
    }

    /// Removes a dead letter, readable or not. The task's log keeps its end.
    ///
    /// # Errors
    /// See [`DeadError`].
    pub async fn discard(&self, number: u64) -> Result<(), DeadError> {
        self.stored_letter(number).await?;
        self.bus().remove(&self.bus().names().log, number).await?;
        Ok(())
    }
}

fn read(message: &StoredMessage) -> Result<DeadLetterEntry, String> {
    let number = message.sequence;
    serde_json::from_slice(&message.payload)
        .map(|letter| DeadLetterEntry { number, letter })
        .map_err(|error| error.to_string())
}
