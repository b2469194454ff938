//! Every subject of the mesh, in one list.
//!
//! [`Subjects`] writes them and [`Subjects::parse`] reads them back; nothing else in the workspace spells
//! a subject. The first token is a prefix that an operator may choose, so that several meshes can share a
//! NATS account.

use crate::id::{IdError, Lane, NodeName, Owner, Skill, TaskId};

/// The prefix unless the operator chose another.
pub const PREFIX_DEFAULT: &str = "weft";

/// Writes and reads the subjects under one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subjects {
    prefix: String,
}

/// A subject that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// `task.<skill>[.<owner>[.<lane>]]`: a submission.
    Task(Skill, Owner, Option<Lane>),
    /// `log.<owner>.<task>`: one task's log.
    Log(Owner, TaskId),
    /// `event.<owner>.<task>`: an entry that the log has stored.
    Event(Owner, TaskId),
    /// `run.<skill>`: re-queued and delegated work.
    Run(Skill),
    /// `wake.<owner>.<task>`: something that the task may wait for has happened.
    Wake(Owner, TaskId),
    /// `input.<owner>.<task>`: a message, signal or decision for a task that exists.
    Input(Owner, TaskId),
    /// `cancel.<owner>.<task>`: somebody wants the task to end.
    Cancel(Owner, TaskId),
    /// `push.<owner>.<task>.<config>`: somebody wants to be told about a task; the last token stands for which
    /// configuration, in the gateways' own spelling.
    Push(Owner, TaskId, String),
    /// `audit.<owner>`: what a door decided.
    Audit(Owner),
    /// `dead.<skill>`: a dead letter.
    Dead(Skill),
    /// `call.<skill>`: submit and reply with the result.
    Call(Skill),
    /// `holding.<node>`: which deliveries a node has in hand.
    Holding(NodeName),
}

/// Why a text is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("prefix {found:?} is not one subject token")]
pub struct PrefixError {
    /// The text.
    pub found: String,
    /// What is wrong with it.
    #[source]
    pub source: IdError,
}

impl Default for Subjects {
    fn default() -> Self {
        Self { prefix: PREFIX_DEFAULT.to_owned() }
    }
}

impl Subjects {
    /// The subjects under a prefix.
    ///
    /// # Errors
    /// When the prefix is not one subject token.
    pub fn new(prefix: &str) -> Result<Self, PrefixError> {
        Skill::parse(prefix).map_err(|source| PrefixError { found: prefix.to_owned(), source })?;
        Ok(Self { prefix: prefix.to_owned() })
    }

    /// The prefix.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where to submit; the default owner has no token of its own.
    #[must_use]
    pub fn task(&self, skill: &Skill, owner: &Owner) -> String {
        if owner.as_str() == crate::id::OWNER_DEFAULT {
            format!("{}.task.{skill}", self.prefix)
        } else {
            format!("{}.task.{skill}.{owner}", self.prefix)
        }
    }

    /// Where to submit what keeps its place among the tasks of one lane.
    #[must_use]
    pub fn task_in_lane(&self, skill: &Skill, owner: &Owner, lane: &Lane) -> String {
        format!("{}.task.{skill}.{owner}.{lane}", self.prefix)
    }

    /// The submissions to one skill, by anybody: with and without the tokens of owner and lane.
    #[must_use]
    pub fn tasks_of(&self, skill: &Skill) -> [String; 2] {
        [format!("{}.task.{skill}", self.prefix), format!("{}.task.{skill}.>", self.prefix)]
    }

    /// All submissions.
    #[must_use]
    pub fn all_tasks(&self) -> String {
        format!("{}.task.>", self.prefix)
    }

    /// A task's log.
    #[must_use]
    pub fn log(&self, owner: &Owner, task: &TaskId) -> String {
        format!("{}.log.{owner}.{task}", self.prefix)
    }

    /// All logs.
    #[must_use]
    pub fn all_logs(&self) -> String {
        format!("{}.log.>", self.prefix)
    }

    /// All logs of one owner.
    #[must_use]
    pub fn logs_of(&self, owner: &Owner) -> String {
        format!("{}.log.{owner}.*", self.prefix)
    }

    /// A task's entries as they are stored.
    #[must_use]
    pub fn event(&self, owner: &Owner, task: &TaskId) -> String {
        format!("{}.event.{owner}.{task}", self.prefix)
    }

    /// The entries of all of an owner's tasks as they are stored.
    #[must_use]
    pub fn events_of(&self, owner: &Owner) -> String {
        format!("{}.event.{owner}.*", self.prefix)
    }

    /// All entries as they are stored.
    #[must_use]
    pub fn all_events(&self) -> String {
        format!("{}.event.>", self.prefix)
    }

    /// Re-queued and delegated work for a skill.
    #[must_use]
    pub fn run(&self, skill: &Skill) -> String {
        format!("{}.run.{skill}", self.prefix)
    }

    /// All re-queued and delegated work.
    #[must_use]
    pub fn all_runs(&self) -> String {
        format!("{}.run.*", self.prefix)
    }

    /// A timer of a task: the home of a scheduled message, never its target.
    #[must_use]
    pub fn timer(&self, owner: &Owner, task: &TaskId, name: &str) -> String {
        format!("{}.timer.{owner}.{task}.{name}", self.prefix)
    }

    /// Tells whoever looks after waiting tasks to look at this one.
    #[must_use]
    pub fn wake(&self, owner: &Owner, task: &TaskId) -> String {
        format!("{}.wake.{owner}.{task}", self.prefix)
    }

    /// All wakes.
    #[must_use]
    pub fn all_wakes(&self) -> String {
        format!("{}.wake.>", self.prefix)
    }

    /// What is said to a task that exists.
    #[must_use]
    pub fn input(&self, owner: &Owner, task: &TaskId) -> String {
        format!("{}.input.{owner}.{task}", self.prefix)
    }

    /// Everything that is said to tasks.
    #[must_use]
    pub fn all_inputs(&self) -> String {
        format!("{}.input.>", self.prefix)
    }

    /// Asks for the end of a task.
    #[must_use]
    pub fn cancel(&self, owner: &Owner, task: &TaskId) -> String {
        format!("{}.cancel.{owner}.{task}", self.prefix)
    }

    /// All cancels.
    #[must_use]
    pub fn all_cancels(&self) -> String {
        format!("{}.cancel.>", self.prefix)
    }

    /// The job of telling a webhook about a task. `config` is one subject token.
    #[must_use]
    pub fn push(&self, owner: &Owner, task: &TaskId, config: &str) -> String {
        format!("{}.push.{owner}.{task}.{config}", self.prefix)
    }

    /// All such jobs.
    #[must_use]
    pub fn all_pushes(&self) -> String {
        format!("{}.push.>", self.prefix)
    }

    /// What the doors decided about requests on behalf of an owner. `owner` is a subject token.
    #[must_use]
    pub fn audit(&self, owner: &str) -> String {
        format!("{}.audit.{owner}", self.prefix)
    }

    /// What the doors decided.
    #[must_use]
    pub fn all_audits(&self) -> String {
        format!("{}.audit.*", self.prefix)
    }

    /// The dead letters of a skill.
    #[must_use]
    pub fn dead(&self, skill: &Skill) -> String {
        format!("{}.dead.{skill}", self.prefix)
    }

    /// All dead letters.
    #[must_use]
    pub fn all_dead(&self) -> String {
        format!("{}.dead.>", self.prefix)
    }

    /// The synchronous door of a skill.
    #[must_use]
    pub fn call(&self, skill: &Skill) -> String {
        format!("{}.call.{skill}", self.prefix)
    }

    /// All synchronous doors.
    #[must_use]
    pub fn all_calls(&self) -> String {
        format!("{}.call.*", self.prefix)
    }

    /// Where coordinators answer which skill meets a need (core NATS only).
    #[must_use]
    pub fn resolve(&self) -> String {
        format!("{}.resolve", self.prefix)
    }

    /// Asks for a list of tasks, as whoever keeps a read model knows them (core NATS only).
    #[must_use]
    pub fn query(&self) -> String {
        format!("{}.query.tasks", self.prefix)
    }

    /// Where a node says which deliveries it has in hand (core NATS only).
    #[must_use]
    pub fn holding(&self, node: &NodeName) -> String {
        format!("{}.holding.{node}", self.prefix)
    }

    /// Where all nodes say so.
    #[must_use]
    pub fn all_holding(&self) -> String {
        format!("{}.holding.*", self.prefix)
    }

    /// What the log stream stores.
    #[must_use]
    pub fn log_stream(&self) -> Vec<String> {
        [
            "log.*.*",
            "run.*",
            "timer.*.*.*",
            "wake.*.*",
            "input.*.*",
            "cancel.*.*",
            "push.*.*.*",
            "dead.*",
        ]
        .iter()
        .map(|tail| format!("{}.{tail}", self.prefix))
        .collect()
    }

    /// What the inbox stream stores.
    #[must_use]
    pub fn inbox_stream(&self) -> Vec<String> {
        ["task.*", "task.*.*", "task.*.*.*"]
            .iter()
            .map(|tail| format!("{}.{tail}", self.prefix))
            .collect()
    }

    /// Reads a subject back; `None` when it is none of this mesh.
    #[must_use]
    pub fn parse(&self, subject: &str) -> Option<Subject> {
        let rest = subject.strip_prefix(self.prefix.as_str())?.strip_prefix('.')?;
        let mut tokens = rest.split('.');
        let (kind, first, second) = (tokens.next()?, tokens.next()?, tokens.next());
        let third = tokens.next();
        if tokens.next().is_some() || third.is_some() && !matches!(kind, "task" | "push") {
            return None;
        }
        let skill = || Skill::parse(first).ok();
        let owner = || Owner::parse(first).ok();
        let task = || second.and_then(|text| TaskId::parse(text).ok());
        match (kind, second) {
            ("task", None) => Some(Subject::Task(skill()?, Owner::default(), None)),
            ("task", Some(owner)) => {
                let lane = third.map(Lane::parse).transpose().ok()?;
                Some(Subject::Task(skill()?, Owner::parse(owner).ok()?, lane))
            }
            ("run", None) => Some(Subject::Run(skill()?)),
            ("audit", None) => Some(Subject::Audit(owner()?)),
            ("dead", None) => Some(Subject::Dead(skill()?)),
            ("call", None) => Some(Subject::Call(skill()?)),
            ("holding", None) => Some(Subject::Holding(NodeName::parse(first).ok()?)),
            ("log", Some(_)) => Some(Subject::Log(owner()?, task()?)),
            ("event", Some(_)) => Some(Subject::Event(owner()?, task()?)),
            ("input", Some(_)) => Some(Subject::Input(owner()?, task()?)),
            ("wake", Some(_)) => Some(Subject::Wake(owner()?, task()?)),
            ("push", Some(_)) => {
                let config = third.filter(|token| !token.is_empty())?;
                Some(Subject::Push(owner()?, task()?, config.to_owned()))
            }
            ("cancel", Some(_)) => Some(Subject::Cancel(owner()?, task()?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let subjects = Subjects::new("mesh").unwrap();
        let (skill, owner) = (Skill::parse("echo").unwrap(), Owner::parse("acme").unwrap());
        let lane = Lane::parse("l7").unwrap();
        let (task, node) = (TaskId::from_sequence(7), NodeName::parse("n1").unwrap());
        for (text, subject) in [
            (subjects.task(&skill, &owner), Subject::Task(skill.clone(), owner.clone(), None)),
            (
                subjects.task_in_lane(&skill, &owner, &lane),
                Subject::Task(skill.clone(), owner.clone(), Some(lane.clone())),
            ),
            (subjects.input(&owner, &task), Subject::Input(owner.clone(), task.clone())),
            (
                subjects.task(&skill, &Owner::default()),
                Subject::Task(skill.clone(), Owner::default(), None),
            ),
            (subjects.log(&owner, &task), Subject::Log(owner.clone(), task.clone())),
            (subjects.event(&owner, &task), Subject::Event(owner.clone(), task.clone())),
            (subjects.run(&skill), Subject::Run(skill.clone())),
            (subjects.wake(&owner, &task), Subject::Wake(owner.clone(), task.clone())),
            (subjects.cancel(&owner, &task), Subject::Cancel(owner.clone(), task.clone())),
            (
                subjects.push(&owner, &task, "=Yy4x"),
                Subject::Push(owner.clone(), task.clone(), "=Yy4x".to_owned()),
            ),
            (subjects.audit("acme"), Subject::Audit(owner.clone())),
            (subjects.dead(&skill), Subject::Dead(skill.clone())),
            (subjects.call(&skill), Subject::Call(skill.clone())),
            (subjects.holding(&node), Subject::Holding(node.clone())),
        ] {
            assert_eq!(subjects.parse(&text), Some(subject), "{text}");
        }
    }

    #[test]
    fn what_is_not_ours_is_not_read() {
        let subjects = Subjects::default();
        for text in [
            "",
            "weft",
            "weft.task",
            "weftx.task.echo",
            "weft.task.a.b.c.d",
            "weft.input.a.b.c",
            "weft.push.a.s1",
            "weft.log.a",
            "weft.no.a",
        ] {
            assert_eq!(subjects.parse(text), None, "{text}");
        }
        assert!(Subjects::new("a.b").is_err());
    }
}
