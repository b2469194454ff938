//! Counts what happened, from the stored logs alone: what was lost, what was committed twice, what was taken over.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use client::Client;
use protocol::entry::{Entry, Event, Kind};
use protocol::subject::Subject;
use protocol::{NodeName, TaskId, Timestamp};
use runtime::bus::ReadError;
use serde::Serialize;

/// The logs of all tasks, oldest entry first.
pub(crate) type Logs = BTreeMap<TaskId, Vec<Entry>>;

/// The killed node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Killed {
    /// Its name.
    pub(crate) node: NodeName,
    /// Its process.
    pub(crate) pid: u32,
    /// Right before the signal.
    pub(crate) at: Timestamp,
    /// Tasks it had in hand, as far as its claims said.
    pub(crate) in_hand: usize,
}

/// A task that another node finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Takeover {
    /// The task.
    pub(crate) task: TaskId,
    /// The node that went on.
    pub(crate) by: NodeName,
    /// From the kill to the first entry of the new attempt, in milliseconds.
    #[serde(rename = "begunMs", serialize_with = "millis")]
    pub(crate) begun: Duration,
    /// From the kill to the entry that ended the task.
    #[serde(rename = "endedMs", serialize_with = "millis")]
    pub(crate) ended: Duration,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Account {
    /// The survey and everything that was delegated.
    pub(crate) submitted: usize,
    /// Tasks that ended with a result.
    pub(crate) completed: usize,
    /// Runs of tasks by nodes.
    pub(crate) attempts: usize,
    /// How often a task went on after a wait that held no worker.
    pub(crate) resumed: usize,
    /// Tasks that ended without a result, and why.
    pub(crate) failed: BTreeMap<TaskId, String>,
    /// Tasks without an end.
    pub(crate) lost: Vec<TaskId>,
    /// Tasks with more than one end.
    pub(crate) doubled: Vec<TaskId>,
    /// Tasks that the killed node had begun and another one ended.
    pub(crate) taken_over: Vec<Takeover>,
    /// Ends by node.
    pub(crate) ends: BTreeMap<NodeName, usize>,
}

fn millis<S: serde::Serializer>(wait: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
}

/// Reads all logs of the mesh.
pub(super) async fn read(client: &Client) -> Result<Logs, ReadError> {
    let bus = client.bus();
    let mut logs = Logs::new();
    bus.scan(&bus.names().log, &bus.subjects().all_logs(), 1, |message| {
        if let Some(Subject::Log(_, task)) = bus.subjects().parse(&message.subject) {
            let entries = logs.entry(task).or_default();
            match serde_json::from_slice(&message.payload) {
                Ok(entry) => entries.push(entry),
                Err(error) => tracing::warn!(reason = %error, "unreadable entry"),
            }
        }
        ControlFlow::Continue(())
    })
    .await?;
    Ok(logs)
}

/// Counts.
pub(crate) fn count(survey: &TaskId, logs: &Logs, killed: Option<&Killed>) -> Account {
    let mut account = Account::default();
    let asked = asked_for(survey, logs);
    account.submitted = asked.len();
    for task in asked {
        let entries = logs.get(&task).map(Vec::as_slice).unwrap_or_default();
        let attempts: BTreeSet<u32> =
            entries.iter().map(|entry| entry.attempt).filter(|attempt| *attempt > 0).collect();
        account.attempts += attempts.len();
        account.resumed += kinds(entries).filter(|kind| *kind == Kind::Resumed).count();
        let mut ends = entries.iter().filter(|entry| entry.event.kind().is_terminal());
        let Some(end) = ends.next() else {
            account.lost.push(task);
            continue;
        };
        if ends.next().is_some() {
            account.doubled.push(task.clone());
        }
        *account.ends.entry(end.by.clone()).or_default() += 1;
        if matches!(end.event, Event::Completed { .. }) {
            account.completed += 1;
        } else {
            account.failed.insert(task.clone(), why(&end.event));
        }
        if let Some(killed) = killed {
            account.taken_over.extend(takeover(&task, entries, end, killed));
        }
    }
    account
}

fn kinds(entries: &[Entry]) -> impl Iterator<Item = Kind> {
    entries.iter().map(|entry| entry.event.kind())
}

fn why(event: &Event) -> String {
    if let Event::Failed { fault, .. } | Event::Rejected { fault } = event {
        fault.to_string()
    } else {
        event.kind().name().to_owned()
    }
}

/// The survey and its children, which have none of their own.
fn asked_for(survey: &TaskId, logs: &Logs) -> BTreeSet<TaskId> {
    let entries = logs.get(survey).map(Vec::as_slice).unwrap_or_default();
    let children = entries.iter().flat_map(|entry| {
        if let Event::Delegated { children, .. } = &entry.event { children.as_slice() } else { &[] }
    });
    let children = children.map(|child| child.task.clone());
    std::iter::once(survey.clone()).chain(children).collect()
}

/// What follows the last word of the killed node, if that was in the middle of an attempt.
fn takeover(task: &TaskId, entries: &[Entry], end: &Entry, killed: &Killed) -> Option<Takeover> {
    let last = entries.iter().rposition(|entry| entry.by == killed.node)?;
    let cut_off = entries.get(last).is_some_and(|entry| in_the_middle(entry.event.kind()));
    let next = entries.get(last + 1..)?.iter().find(|entry| entry.attempt > 0)?;
    cut_off.then(|| Takeover {
        task: task.clone(),
        by: next.by.clone(),
        begun: next.at.since(killed.at),
        ended: end.at.since(killed.at),
    })
}

fn in_the_middle(kind: Kind) -> bool {
    matches!(kind, Kind::Claimed | Kind::Status | Kind::Artifact | Kind::Step | Kind::Delegated)
}

#[cfg(test)]
mod tests {
    use protocol::Skill;
    use protocol::entry::Child;
    use protocol::fault::{FailureClass, Fault};
    use protocol::message::Part;
    use protocol::wait::WaitingFor;

    use super::*;

    fn id(text: &str) -> TaskId {
        TaskId::parse(text).unwrap()
    }

    fn node(text: &str) -> NodeName {
        NodeName::parse(text).unwrap()
    }

    fn entry(at: i64, by: &str, attempt: u32, event: Event) -> Entry {
        let at = Timestamp::from_millis(at);
        Entry {
            generation: 1,
            at,
            by: node(by),
            attempt,
            origin: None,
            agent: None,
            spent: None,
            raised: None,
            driver: None,
            event,
        }
    }

    fn claimed() -> Event {
        Event::Claimed { client: String::new() }
    }

    fn completed() -> Event {
        Event::Completed { output: Vec::new() }
    }

    /// A survey of children `t0`, `t1` ..., each with these entries.
    fn logs(children: Vec<Vec<Entry>>) -> Logs {
        let named = (0..children.len()).map(|at| Child {
            task: id(&format!("t{at}")),
            skill: Skill::parse("inspect").unwrap(),
            input: Part::text(""),
            budget: None,
            reason: None,
            avoid: None,
            essential: false,
        });
        let delegated =
            Event::Delegated { name: "inspect".to_owned(), more: false, children: named.collect() };
        let waiting_for = WaitingFor::Children { position: 1, enough: None };
        let survey = vec![
            entry(0, "a", 1, delegated),
            entry(1, "a", 1, Event::Suspended { waiting_for, until: None }),
            entry(90, "coordinator", 0, Event::Resumed { reason: String::new(), answer: None }),
            entry(99, "b", 2, completed()),
        ];
        let children = children.into_iter().enumerate();
        let mut logs: Logs = children.map(|(at, log)| (id(&format!("t{at}")), log)).collect();
        logs.retain(|_, log| !log.is_empty());
        logs.insert(id("survey"), survey);
        logs
    }

    fn killed() -> Killed {
        Killed { node: node("a"), pid: 7, at: Timestamp::from_millis(20), in_hand: 1 }
    }

    #[test]
    fn the_logs_say_what_happened() {
        let failed = Event::Failed {
            failure: FailureClass::Permanent,
            fault: Fault::new("unreadable_file", "gone"),
        };
        let logs = logs(vec![
            vec![entry(5, "a", 1, completed())],
            vec![
                entry(10, "a", 1, claimed()),
                entry(32, "b", 2, claimed()),
                entry(60, "b", 2, completed()),
            ],
            vec![entry(30, "b", 1, failed)],
        ]);
        let account = count(&id("survey"), &logs, Some(&killed()));
        assert_eq!((account.submitted, account.completed, account.attempts), (4, 3, 6));
        assert!(account.lost.is_empty() && account.doubled.is_empty());
        assert_eq!(account.resumed, 1);
        assert_eq!(account.failed.len(), 1);
        let takeover = Takeover {
            task: id("t1"),
            by: node("b"),
            begun: Duration::from_millis(12),
            ended: Duration::from_millis(40),
        };
        assert_eq!(account.taken_over, [takeover]);
        assert_eq!(account.ends, BTreeMap::from([(node("a"), 1), (node("b"), 3)]));
    }

    #[test]
    fn a_task_without_an_end_is_lost_and_one_with_two_is_doubled() {
        let logs = logs(vec![
            vec![],
            vec![entry(10, "a", 1, claimed())],
            vec![entry(10, "a", 1, completed()), entry(11, "b", 2, completed())],
        ]);
        let account = count(&id("survey"), &logs, Some(&killed()));
        assert_eq!(account.lost, [id("t0"), id("t1")]);
        assert_eq!(account.doubled, [id("t2")]);
        assert!(account.taken_over.is_empty());
    }
}
