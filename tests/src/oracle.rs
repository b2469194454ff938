//! Judges what became of every task, by the streams alone.
//!
//! It trusts no receipt, no acknowledgement and no process: what the inbox holds was accepted, what a log delegates
//! was accepted too, and each of these must have ended exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use client::Client;
use protocol::dead::{Cause, DeadLetter};
use protocol::entry::{Entry, Event, Kind};
use protocol::header;
use protocol::id::TaskId;
use protocol::log::TaskLog;
use protocol::subject::Subject;
use runtime::bus::ReadError;

/// The story of all tasks.
#[derive(Debug, Default)]
pub struct Oracle {
    /// The first submission of each task that was submitted.
    pub submitted: BTreeMap<TaskId, Bytes>,
    /// The tasks that others delegated.
    pub delegated: BTreeSet<TaskId>,
    /// The log of each task that has one.
    pub logs: BTreeMap<TaskId, Vec<Entry>>,
    /// All dead letters.
    pub letters: Vec<DeadLetter>,
}

/// The tasks that the streams know and that have no end yet.
///
/// # Errors
/// When the streams cannot be read.
pub async fn unfinished(client: &Client) -> Result<BTreeSet<TaskId>, ReadError> {
    let (bus, mut open, mut ended) = (client.bus(), BTreeSet::new(), BTreeSet::new());
    bus.scan(&bus.names().inbox, &bus.subjects().all_tasks(), 1, |message| {
        open.extend(client.envelope(&message).map(|envelope| envelope.task));
        ControlFlow::Continue(())
    })
    .await?;
    bus.scan(&bus.names().log, &bus.subjects().all_logs(), 1, |message| {
        let Some(Subject::Log(_, task)) = bus.subjects().parse(&message.subject) else {
            return ControlFlow::Continue(());
        };
        match message.headers.get(header::ENTRY).and_then(Kind::from_name) {
            Some(kind) if kind.is_terminal() => {
                ended.insert(task);
            }
            Some(Kind::Delegated) => {
                let entry: Entry = serde_json::from_slice(&message.payload).unwrap();
                open.extend(children(&entry));
            }
            Some(_) | None => {}
        }
        ControlFlow::Continue(())
    })
    .await?;
    Ok(open.difference(&ended).cloned().collect())
}

fn children(entry: &Entry) -> Vec<TaskId> {
    match &entry.event {
        Event::Delegated { children, .. } => {
            children.iter().map(|child| child.task.clone()).collect()
        }
        _ => Vec::new(),
    }
}

impl Oracle {
    /// Reads both streams from end to end.
    ///
    /// # Errors
    /// When the streams cannot be read.
    ///
    /// # Panics
    /// When an entry or a letter is no JSON of ours.
    pub async fn read(client: &Client) -> Result<Self, ReadError> {
        let bus = client.bus();
        let mut found = Self::default();
        bus.scan(&bus.names().inbox, &bus.subjects().all_tasks(), 1, |message| {
            if let Some(envelope) = client.envelope(&message) {
                found.submitted.entry(envelope.task).or_insert(message.payload);
            }
            ControlFlow::Continue(())
        })
        .await?;
        bus.scan(&bus.names().log, &bus.subjects().all_logs(), 1, |message| {
            if let Some(Subject::Log(_, task)) = bus.subjects().parse(&message.subject) {
                let entry: Entry = serde_json::from_slice(&message.payload).unwrap();
                found.delegated.extend(children(&entry));
                found.logs.entry(task).or_default().push(entry);
            }
            ControlFlow::Continue(())
        })
        .await?;
        bus.scan(&bus.names().log, &bus.subjects().all_dead(), 1, |message| {
            found.letters.push(serde_json::from_slice(&message.payload).unwrap());
            ControlFlow::Continue(())
        })
        .await?;
        Ok(found)
    }

    /// The log of a task; empty when it has none.
    #[must_use]
    pub fn log(&self, task: &TaskId) -> &[Entry] {
        self.logs.get(task).map_or(&[], Vec::as_slice)
    }

    /// The last entry of a task's log.
    #[must_use]
    pub fn end(&self, task: &TaskId) -> Option<&Entry> {
        self.log(task).last()
    }

    /// How many letters say that this task failed.
    #[must_use]
    pub fn letters_of(&self, task: &TaskId) -> usize {
        let of = |letter: &&DeadLetter| letter.task == *task && letter.cause == Cause::Failed;
        self.letters.iter().filter(of).count()
    }

    /// Everything that breaks the promise "ended exactly once", one sentence each.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for task in self.submitted.keys().chain(&self.delegated) {
            if !self.logs.contains_key(task) {
                faults.push(format!("{task} is lost: it has no log"));
            }
        }
        for (task, log) in &self.logs {
            if !self.submitted.contains_key(task) && !self.delegated.contains(task) {
                faults.push(format!("{task} has a log, but nobody asked for it"));
            }
            faults.extend(faults_of(task, log));
            let failed = matches!(log.last(), Some(Entry { event: Event::Failed { .. }, .. }));
            let letters = self.letters_of(task);
            if letters != usize::from(failed) {
                faults.push(format!("{task} has {letters} dead letters, failed: {failed}"));
            }
        }
        faults
    }
}

fn faults_of(task: &TaskId, log: &[Entry]) -> Vec<String> {
    let mut faults = Vec::new();
    let ends = log.iter().filter(|entry| entry.event.kind().is_terminal()).count();
    if ends != 1 {
        faults.push(format!("{task} has ended {ends} times: {:?}", crate::work::kinds(log)));
    }
    if !log.iter().map(|entry| entry.generation).eq(1..=log.len() as u64) {
        faults.push(format!("{task} has a gap or a repetition in its generations"));
    }
    if let Err(error) = TaskLog::fold((1..).zip(log.iter().cloned())) {
        faults.push(format!("{task} has a log against the rules: {error}"));
    }
    faults
}
