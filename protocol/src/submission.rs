//! From a message in a queue to what it asks for.
//!
//! The envelope (subject and headers) is read first: it gives the task's id even where the rest is
//! hopeless, so that a refusal can always be written into a log. Nothing here decodes the body.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::budget::Grant;
use crate::entry::Origin;
use crate::fault::{Fault, code};
use crate::header::{self, Headers};
use crate::id::{ContextId, DedupKey, Lane, NodeName, Owner, Skill, TaskId};
use crate::limits::HEADER_BYTES_MAX;
use crate::subject::{Subject, Subjects};
use crate::time::Timestamp;

/// Which stream a message waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Queue {
    /// Submissions, from anybody.
    Inbox,
    /// Re-queued and delegated work, from the mesh itself.
    Run,
}

/// Where a task's input is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Source {
    /// The queue.
    pub queue: Queue,
    /// The stream sequence there.
    pub sequence: u64,
}

/// W3C trace context, as it came; what no trace header can hold is left out, as a trace never stops work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraceContext {
    /// `traceparent`.
    pub traceparent: Option<String>,
    /// `tracestate`.
    pub tracestate: Option<String>,
    /// `baggage`.
    pub baggage: Option<String>,
}

/// The parent of a delegated task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentRef {
    /// The task that delegated.
    pub task: TaskId,
}

/// Everything a message says about a task but its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The task.
    pub task: TaskId,
    /// Who it belongs to.
    pub owner: Owner,
    /// What is to be done.
    pub skill: Skill,
    /// Where the message is stored.
    pub source: Source,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// Whether another message may carry the same task id: it was chosen or derived from a key.
    pub keyed: bool,
    /// The dedup key, if there is one.
    pub dedup_key: Option<DedupKey>,
    /// The conversation, if the submitter named one.
    pub context: Option<ContextId>,
    /// When the result stops being of use.
    pub deadline: Option<Timestamp>,
    /// The subject that gets the finished task.
    pub reply_to: Option<String>,
    /// The dead task that this one repeats.
    pub redrive_of: Option<TaskId>,
    /// The task that delegated this one.
    pub parent: Option<ParentRef>,
    /// The lane that it keeps its place in.
    pub lane: Option<Lane>,
    /// What it may spend.
    pub budget: Option<Grant>,
    /// Delegations above it.
    pub depth: u32,
    /// A node that should not run it if another can.
    pub avoid: Option<NodeName>,
    /// On re-queued work: the generation of the entry that asked for it.
    pub requeued_by: Option<u64>,
    /// What the body is.
    pub content_type: Option<String>,
    /// The trace it belongs to.
    pub trace: TraceContext,
}

/// A message whose envelope cannot be read, with as much of it as could.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The envelope with everything unreadable left out; its task id is derived from the sequence.
    pub envelope: Box<Envelope>,
    /// Why.
    pub fault: Fault,
}

/// What was stored, as far as an envelope needs it.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// The subject it was published to.
    pub subject: &'a str,
    /// Its headers.
    pub headers: &'a Headers,
    /// Its stream sequence.
    pub sequence: u64,
    /// When it was stored.
    pub at: Timestamp,
}

/// SHA-256 over content type, a zero byte and body, in hex: tells two submissions under one key apart.
#[must_use]
pub fn input_hash(content_type: Option<&str>, body: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(content_type.unwrap_or_default().as_bytes());
    hasher.update([0]);
    hasher.update(body);
    crate::id::hex(hasher.finalize().iter())
}

impl Envelope {
    /// What the first entry of the task's log says about it.
    #[must_use]
    pub fn origin(&self, body: &[u8]) -> Origin {
        Origin {
            skill: self.skill.clone(),
            owner: self.owner.clone(),
            source: self.source,
            submitted_at: self.stored_at,
            input_hash: input_hash(self.content_type.as_deref(), body),
            context_id: self.context.clone(),
            dedup_key: self.dedup_key.clone(),
            deadline: self.deadline,
            reply_to: self.reply_to.clone(),
            parent: self.parent.clone(),
            redrive_of: self.redrive_of.clone(),
            traceparent: self.trace.traceparent.clone(),
            lane: self.lane.clone(),
            budget: self.budget,
            depth: self.depth,
        }
    }

    /// Reads the envelope of a stored message. `None` when the subject is no queue of this mesh.
    #[must_use]
    pub fn read(subjects: &Subjects, stored: Stored<'_>) -> Option<Result<Self, Refused>> {
        let (queue, skill, owner, lane) = match subjects.parse(stored.subject)? {
            Subject::Task(skill, owner, lane) => (Queue::Inbox, skill, owner, lane),
            Subject::Run(skill) => (Queue::Run, skill, Owner::default(), None),
            Subject::Log(..)
            | Subject::Event(..)
            | Subject::Wake(..)
            | Subject::Input(..)
            | Subject::Cancel(..)
            | Subject::Push(..)
            | Subject::Audit(_)
            | Subject::Dead(_)
            | Subject::Call(_)
            | Subject::Holding(_) => return None,
        };
        let bare = Self {
            task: TaskId::from_sequence(stored.sequence),
            owner,
            skill,
            source: Source { queue, sequence: stored.sequence },
            stored_at: stored.at,
            keyed: false,
            dedup_key: None,
            context: None,
            deadline: None,
            reply_to: None,
            redrive_of: None,
            parent: None,
            lane,
            budget: None,
            depth: 0,
            avoid: None,
            requeued_by: None,
            content_type: None,
            trace: TraceContext::default(),
        };
        if stored.headers.is_empty() && queue == Queue::Inbox {
            return Some(Ok(bare));
        }
        Some(
            bare.clone()
                .with_headers(subjects, stored.headers)
                .map_err(|fault| Refused { envelope: Box::new(bare), fault }),
        )
    }

    /// The id of a submission without a chosen one when the log under its sequence began with an earlier submission:
    /// the inbox was set back, by a restored copy or a new stream under the old name. `None` when that log is its own.
    #[must_use]
    pub fn displaced_by(&self, first: &Origin) -> Option<TaskId> {
        self.other_id().filter(|_| first.submitted_at != self.stored_at)
    }

    /// The id that a submission without a chosen one has where the one of its sequence was given before.
    #[must_use]
    pub fn other_id(&self) -> Option<TaskId> {
        let is_numbered = !self.keyed && self.source.queue == Queue::Inbox;
        is_numbered.then(|| TaskId::from_sequence_at(self.source.sequence, self.stored_at))
    }

    /// The envelope under this id, if the submission may have it.
    #[must_use]
    pub fn under(mut self, task: &TaskId) -> Option<Self> {
        if self.task != *task {
            let other = TaskId::from_sequence_at(self.source.sequence, self.stored_at);
            if self.keyed || other != *task {
                return None;
            }
            self.task = other;
        }
        Some(self)
    }

    /// As [`Envelope::read`], with everything that cannot be read left out.
    #[must_use]
    pub fn readable(subjects: &Subjects, stored: Stored<'_>) -> Option<Self> {
        Some(Self::read(subjects, stored)?.unwrap_or_else(|refused| *refused.envelope))
    }

    fn with_headers(mut self, subjects: &Subjects, headers: &Headers) -> Result<Self, Fault> {
        if headers.bytes() > HEADER_BYTES_MAX {
            return Err(Fault::new(
                code::TOO_LARGE,
                format!(
                    "the headers have {} bytes, at most {HEADER_BYTES_MAX} are allowed",
                    headers.bytes()
                ),
            )
            .at("headers"));
        }
        self.trace = TraceContext {
            traceparent: printable(headers, header::TRACEPARENT),
            tracestate: printable(headers, header::TRACESTATE),
            baggage: printable(headers, header::BAGGAGE),
        };
        self.content_type = headers.get(header::CONTENT_TYPE).map(str::to_owned);
        self.context = read(headers, header::CONTEXT_ID, ContextId::parse)?;
        self.dedup_key = read(headers, header::DEDUP_KEY, DedupKey::parse)?;
        self.redrive_of = read(headers, header::REDRIVE_OF, TaskId::parse)?;
        self.reply_to = read(headers, header::REPLY_TO, |text| reply_subject(subjects, text))?;
        self.budget = read(headers, header::BUDGET, |text| serde_json::from_str::<Grant>(text))?;
        let wall_clock = self.budget.and_then(|grant| grant.wall_clock_ms);
        let by_clock = wall_clock.map(|ms| self.stored_at.after(Duration::from_millis(ms)));
        let given = read(headers, header::DEADLINE, |text| deadline(text, self.stored_at))?;
        self.deadline = given.into_iter().chain(by_clock).min();
        match self.source.queue {
            Queue::Inbox => self.identify_submission(headers)?,
            Queue::Run => self.identify_run(headers)?,
        }
        Ok(self)
    }

    fn identify_submission(&mut self, headers: &Headers) -> Result<(), Fault> {
        let said = read(headers, header::LANE, Lane::parse)?;
        if said.is_some() && said != self.lane {
            return Err(Fault::new(
                code::LANE_MISSING,
                format!("{} is not the last token of the subject", header::LANE),
            )
            .at(format!("header {}", header::LANE))
            .hint(
                "publish to weft.task.<skill>.<owner>.<lane>: the order is that of the subject",
            ));
        }
        let chosen = read(headers, header::TASK_ID, TaskId::parse_chosen)?;
        if chosen.is_some() && self.dedup_key.is_some() {
            return Err(Fault::new(
                code::BAD_HEADER,
                format!("{} and {} exclude each other", header::TASK_ID, header::DEDUP_KEY),
            )
            .at(format!("header {}", header::TASK_ID))
            .hint("a dedup key gives the task its id"));
        }
        if let Some(key) = &self.dedup_key {
            self.task = TaskId::from_dedup_key(&self.owner, &self.skill, key);
            self.keyed = true;
        } else if let Some(task) = chosen {
            self.task = task;
            self.keyed = true;
        }
        Ok(())
    }

    fn identify_run(&mut self, headers: &Headers) -> Result<(), Fault> {
        let missing = |name: &str| {
            Fault::new(code::BAD_HEADER, format!("work in the run queue has no {name}"))
                .at(format!("header {name}"))
                .hint("only nodes and coordinators may publish to this queue")
        };
        self.task = read(headers, header::TASK_ID, TaskId::parse)?
            .ok_or_else(|| missing(header::TASK_ID))?;
        self.owner =
            read(headers, header::OWNER, Owner::parse)?.ok_or_else(|| missing(header::OWNER))?;
        self.parent = read(headers, header::PARENT, TaskId::parse)?.map(|task| ParentRef { task });
        self.requeued_by = read(headers, header::GENERATION, str::parse::<u64>)?;
        self.depth = read(headers, header::DEPTH, str::parse::<u32>)?.unwrap_or(0);
        self.avoid = read(headers, header::AVOID, NodeName::parse)?;
        self.keyed = true;
        Ok(())
    }
}

fn read<T, E: std::fmt::Display>(
    headers: &Headers,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, Fault> {
    headers
        .get(name)
        .map(|text| {
            parse(text.trim()).map_err(|error| {
                Fault::new(code::BAD_HEADER, error.to_string()).at(format!("header {name}"))
            })
        })
        .transpose()
}

/// A header that is passed on: what is not printable ASCII could not be written again.
fn printable(headers: &Headers, name: &str) -> Option<String> {
    headers
        .get(name)
        .filter(|value| value.chars().all(|c| matches!(c, ' '..='~')))
        .map(str::to_owned)
}

/// A deadline: a point in time, or a duration counted from when the message was stored.
///
/// # Errors
/// With what is wrong, when the text is neither.
pub fn deadline(text: &str, stored_at: Timestamp) -> Result<Timestamp, String> {
    if let Ok(at) = Timestamp::parse_bounded(text) {
        return Ok(at);
    }
    let wait = text
        .parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|wait| Duration::try_from(wait).ok())
        .ok_or_else(|| {
            format!("{text:?} is neither an RFC 3339 time nor a duration such as 30s")
        })?;
    Ok(stored_at.after(wait))
}

/// A subject that results may be sent to: one of the submitter's, never one of the mesh's or the server's,
/// which the node might be allowed to write and the submitter not.
///
/// # Errors
/// With what is wrong with the text.
pub fn reply_subject(subjects: &Subjects, text: &str) -> Result<String, String> {
    let first = text.split('.').next().unwrap_or_default();
    if text.len() > 256 || text.split('.').any(str::is_empty) {
        return Err("a reply subject has 1 to 256 characters and no empty token".to_owned());
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '*' | '>')) {
        return Err("a reply subject has neither wildcards nor white space".to_owned());
    }
    if first.starts_with('$') || first == subjects.prefix() {
        return Err(format!("results are not sent to subjects under {first:?}"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(subject: &str, headers: &[(&str, &str)]) -> Result<Envelope, Refused> {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let stored =
            Stored { subject, headers: &headers, sequence: 17, at: Timestamp::from_millis(1_000) };
        Envelope::read(&Subjects::default(), stored).unwrap()
    }

    #[test]
    fn a_bare_publish_gets_its_sequence_as_id() {
        let bare = envelope("weft.task.echo", &[]).unwrap();
        assert_eq!(
            (bare.task.as_str(), bare.owner.as_str(), bare.keyed),
            ("s17", "default", false)
        );
        assert_eq!(envelope("weft.task.echo.acme", &[]).unwrap().owner.as_str(), "acme");
    }

    #[test]
    fn a_sequence_that_is_given_twice_is_told_by_the_time() {
        let origin = |at| {
            let bare = envelope("weft.task.echo", &[]).unwrap();
            Origin { submitted_at: Timestamp::from_millis(at), ..bare.origin(b"") }
        };
        let chosen = &[("Weft-Task-Id", "abc")];
        for (headers, at, expected) in [
            (&[][..], 1_000, None),
            (&[][..], 999, Some("s17-1000")),
            (&[][..], 5_000, Some("s17-1000")),
            (chosen, 999, None),
        ] {
            let envelope = envelope("weft.task.echo", headers).unwrap();
            let found = envelope.displaced_by(&origin(at));
            assert_eq!(found.as_ref().map(TaskId::as_str), expected, "{headers:?} {at}");
            if let Some(id) = found {
                assert_eq!(envelope.clone().under(&id).unwrap().task, id);
                let other = TaskId::from_sequence_at(17, Timestamp::from_millis(at));
                assert_eq!(envelope.under(&other), None);
            }
        }
    }

    #[test]
    fn headers_say_the_rest_in_any_case() {
        let read = envelope(
            "weft.task.echo",
            &[("weft-task-id", "abc"), ("WEFT-DEADLINE", "30s"), ("Weft-Reply-To", "_INBOX.x.y")],
        )
        .unwrap();
        assert_eq!((read.task.as_str(), read.keyed), ("abc", true));
        assert_eq!(read.deadline, Some(Timestamp::from_millis(31_000)));
        assert_eq!(read.reply_to.as_deref(), Some("_INBOX.x.y"));
    }

    #[test]
    fn a_bad_header_is_refused_under_the_sequence_id() {
        let long = "x".repeat(HEADER_BYTES_MAX);
        for (name, value) in [
            ("Weft-Task-Id", "s1"),
            ("Weft-Task-Id", "a b"),
            ("Weft-Dedup-Key", " "),
            ("Weft-Deadline", "soon"),
            ("Weft-Deadline", "-5s"),
            ("Weft-Context-Id", "a.b"),
            ("Weft-Reply-To", "weft.task.echo"),
            ("Weft-Reply-To", "$JS.API.STREAM.DELETE.WEFT_LOG"),
            ("Weft-Reply-To", "a.>"),
            ("X-Other", &long),
        ] {
            let refused = envelope("weft.task.echo", &[(name, value)]).unwrap_err();
            assert_eq!(refused.envelope.task.as_str(), "s17", "{name}: {value:.20}");
            assert!(refused.fault.place.is_some());
        }
    }

    #[test]
    fn a_trace_that_cannot_be_passed_on_is_left_out() {
        for (value, kept) in [("00-4bf9-00f0-01", true), ("a\rb", false), ("\u{fc}", false)] {
            let read = envelope("weft.task.echo", &[("traceparent", value)]).unwrap();
            assert_eq!(read.trace.traceparent.is_some(), kept, "{value:?}");
        }
    }

    #[test]
    fn the_run_queue_takes_only_what_names_a_task() {
        assert!(envelope("weft.run.echo", &[]).is_err());
        let read = envelope(
            "weft.run.echo",
            &[("Weft-Task-Id", "s4"), ("Weft-Owner", "acme"), ("Weft-Generation", "3")],
        )
        .unwrap();
        assert_eq!(
            (read.task.as_str(), read.owner.as_str(), read.requeued_by),
            ("s4", "acme", Some(3))
        );
    }
}
