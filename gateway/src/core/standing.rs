//! Where a task stands, with all that was said: what every answer about one task is made from.

use client::Story;
use protocol::entry::Entry;
use protocol::history::History;
use protocol::id::ContextId;
use protocol::log::TaskLog;
use protocol::message::Message;
use protocol::task::{Task, TaskState};
use protocol::{Owner, Skill, TaskId, Timestamp, view};

use crate::a2a::error::Error;

/// A task whose skill is known: it has a log, or its submission was found.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// Whose it is.
    pub owner: Owner,
    /// The task.
    pub task: TaskId,
    /// What it does.
    pub skill: Skill,
    /// What its log says.
    pub log: TaskLog,
    /// What was submitted.
    pub input: Option<Message>,
    /// What was said since.
    pub history: History,
    context: String,
    submitted_at: Timestamp,
}

impl Standing {
    /// A task that was submitted a moment ago.
    pub(super) fn new(
        owner: Owner,
        task: TaskId,
        skill: Skill,
        context: Option<&ContextId>,
        submitted_at: Timestamp,
    ) -> Self {
        let context = view::context(&task, context);
        Self {
            owner,
            skill,
            log: TaskLog::default(),
            input: None,
            history: History::default(),
            context,
            submitted_at,
            task,
        }
    }

    /// A task as the streams have it.
    ///
    /// # Errors
    /// When its log is none.
    pub(super) fn read(owner: &Owner, task: &TaskId, story: Story) -> Result<Self, Error> {
        let origin = story.entries.first().and_then(|(_, first)| first.origin.as_ref());
        let (skill, context, at) = match (origin, &story.submission) {
            (Some(origin), _) => (&origin.skill, &origin.context_id, origin.submitted_at),
            (None, Some((envelope, at))) => (&envelope.skill, &envelope.context, *at),
            (None, None) => return Err(Error::TaskNotFound(task.to_string())),
        };
        let mut standing =
            Self::new(owner.clone(), task.clone(), skill.clone(), context.as_ref(), at);
        standing.input = story.input;
        for (sequence, message) in story.said {
            standing.history.say(sequence, message);
        }
        for (sequence, entry) in story.entries {
            standing.apply(sequence, entry)?;
        }
        Ok(standing)
    }

    /// Takes in the next entry of its log.
    ///
    /// # Errors
    /// When it cannot stand there.
    pub(super) fn apply(&mut self, sequence: u64, entry: Entry) -> Result<(), Error> {
        self.history.note(sequence, entry.generation, &entry.event);
        self.log
            .apply(sequence, entry)
            .map_err(|error| Error::InvalidAgentResponse(error.to_string()))
    }

    /// Corrects the time of its submission.
    pub(super) fn date(&mut self, submitted_at: Timestamp) {
        self.submitted_at = submitted_at;
    }

    /// The conversation.
    pub(super) fn context(&self) -> String {
        match &self.log.origin {
            Some(origin) => view::context(&self.task, origin.context_id.as_ref()),
            None => self.context.clone(),
        }
    }

    /// Whether it waits for whoever talks to it.
    pub(super) fn is_interrupted(&self) -> bool {
        matches!(self.log.state, TaskState::InputRequired | TaskState::AuthRequired)
    }

    /// The task as clients see it, with all of its history or so many of the latest messages.
    pub(super) fn view(&self, latest: Option<usize>) -> Task {
        let mut task = match &self.log.origin {
            Some(_) => view::task(&self.task, &self.log, None),
            None => view::queued(
                &self.task,
                &self.owner,
                &self.skill,
                self.context.clone(),
                self.submitted_at,
            ),
        };
        task.history =
            self.history.messages(&task.id, &task.context_id, self.input.as_ref(), latest);
        task
    }
}

/// How many messages of history the client wants: all without a number.
///
/// # Errors
/// When the number is negative.
pub(super) fn latest(length: Option<i32>, field: &str) -> Result<Option<usize>, Error> {
    let read = |length: i32| {
        usize::try_from(length).map_err(|_| {
            Error::field(field, format!("{length} is negative; leave it out for all messages"))
        })
    };
    length.map(read).transpose()
}
