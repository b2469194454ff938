//! Looks after dead letters: list, read, redrive, discard.

use bytes::Bytes;
use protocol::codec::A2A_JSON;
use protocol::dead::DeadLetter;
use protocol::header;
use protocol::id::{DedupKey, Skill};
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
    /// The dead letters of a skill, or of all, oldest first.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn dead_letters(
        &self,
        skill: Option<&Skill>,
        limit: usize,
    ) -> Result<Vec<DeadLetterEntry>, DeadError> {
        let subjects = self.bus().subjects();
        let filter = skill.map_or_else(|| subjects.all_dead(), |skill| subjects.dead(skill));
        let mut found = Vec::new();
        self.bus()
            .scan(&self.bus().names().log, &filter, 1, |message| {
                match read(&message) {
                    Ok(entry) => found.push(entry),
                    Err(error) => tracing::warn!(reason = %error, "left out"),
                }
                if found.len() < limit {
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
        let stored = self.bus().at_from_leader(&self.bus().names().log, number).await?;
        let dead = |message: &StoredMessage| {
            matches!(
                self.bus().subjects().parse(&message.subject),
                Some(protocol::subject::Subject::Dead(_))
            )
        };
        match stored.filter(dead) {
            Some(message) => read(&message),
            None => Err(DeadError::Unknown { number }),
        }
    }

    /// Submits a dead task again, as a new task that refers to the old one, and removes the letter. Asking twice
    /// for the same letter starts one task.
    ///
    /// # Errors
    /// See [`DeadError`].
    pub async fn redrive(&self, number: u64, how: Redrive) -> Result<Receipt, DeadError> {
        let DeadLetterEntry { letter, .. } = self.dead_letter(number).await?;
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

    /// Removes a dead letter. The task's log keeps its end.
    ///
    /// # Errors
    /// See [`DeadError`].
    pub async fn discard(&self, number: u64) -> Result<(), DeadError> {
        self.dead_letter(number).await?;
        self.bus().remove(&self.bus().names().log, number).await?;
        Ok(())
    }
}

fn read(message: &StoredMessage) -> Result<DeadLetterEntry, DeadError> {
    let number = message.sequence;
    serde_json::from_slice(&message.payload)
        .map(|letter| DeadLetterEntry { number, letter })
        .map_err(|error| DeadError::Unreadable { number, reason: error.to_string() })
}
