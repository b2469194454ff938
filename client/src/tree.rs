//! Reads a task with everything that it delegated, level by level.

use std::collections::VecDeque;

use futures_util::StreamExt as _;
use protocol::budget::Account;
use protocol::entry::Child;
use protocol::journal::Journaled;
use protocol::log::TaskLog;
use protocol::task::TaskState;
use protocol::wait::WaitingFor;
use protocol::{Owner, Skill, TaskId, Timestamp};
use serde::Serialize;

use crate::Client;
use crate::read::TaskError;

/// Logs read at once.
const READ_AHEAD: usize = 32;

/// A task in its tree.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TreeNode {
    /// The task.
    pub task: TaskId,
    /// What it does; unknown for a root that nobody has begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skill: Option<Skill>,
    /// Its state.
    pub state: TaskState,
    /// How often it was tried; a run that goes on after a wait or a drain is no further try.
    pub attempts: usize,
    /// The node of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<WaitingFor>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Its budget, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Account>,
    /// Why its skill was chosen, where its parent asked for a need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What went wrong, if something did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it delegated, in the order of its log.
    pub children: Vec<TreeNode>,
    /// Children that were not read.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_read: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this shape")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A task whose log was read, before it is put into its place.
struct Read {
    node: TreeNode,
    parent: Option<usize>,
}

impl Client {
    /// A task with everything that it delegated, at most `limit` tasks, those nearest to the root first. `None` when
    /// nobody knows the task.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub async fn tree(
        &self,
        owner: &Owner,
        task: &TaskId,
        limit: usize,
    ) -> Result<Option<TreeNode>, TaskError> {
        let log = self.log(owner, task).await?;
        if log.origin.is_none() && self.submission(owner, task).await?.is_none() {
            return Ok(None);
        }
        let mut read = vec![Read { node: node(task.clone(), &log, None), parent: None }];
        let mut level: VecDeque<(usize, Child)> = delegated(&log).map(|child| (0, child)).collect();
        while !level.is_empty() {
            let room = limit.saturating_sub(read.len());
            for (parent, _) in level.drain(room.min(level.len())..) {
                if let Some(parent) = read.get_mut(parent) {
                    parent.node.not_read += 1;
                }
            }
            let looks = level.drain(..).map(|(parent, child)| async move {
                let log = self.log(owner, &child.task).await;
                (parent, child, log)
            });
            let mut next = VecDeque::new();
            let mut logs = futures_util::stream::iter(looks).buffered(READ_AHEAD);
            while let Some((parent, child, log)) = logs.next().await {
                let log = log?;
                next.extend(delegated(&log).map(|child| (read.len(), child)));
                let node = node(child.task.clone(), &log, Some(child));
                read.push(Read { node, parent: Some(parent) });
            }
            drop(logs);
            level = next;
        }
        Ok(assemble(read))
    }
}

/// Puts every task under its parent; parents stand before their children.
fn assemble(mut read: Vec<Read>) -> Option<TreeNode> {
    while let Some(Read { mut node, parent }) = read.pop() {
        node.children.reverse();
        match parent.and_then(|parent| read.get_mut(parent)) {
            Some(parent) => parent.node.children.push(node),
            None => return Some(node),
        }
    }
    None
}

fn delegated(log: &TaskLog) -> impl Iterator<Item = Child> {
    log.journal.iter().flat_map(|journaled| match journaled {
        Journaled::Delegated { children, .. } => children.clone(),
        Journaled::Step { .. } | Journaled::Answered { .. } => Vec::new(),
    })
}

fn node(task: TaskId, log: &TaskLog, child: Option<Child>) -> TreeNode {
    let origin = log.origin.as_ref();
    let (skill, reason) = child.map(|child| (child.skill, child.reason)).unzip();
    TreeNode {
        task,
        skill: skill.or_else(|| origin.map(|origin| origin.skill.clone())),
        state: log.state,
        attempts: log.tries(),
        node: log.attempts.last().map(|attempt| attempt.node.to_string()),
        waiting_for: log.waiting_for.clone(),
        until: log.until,
        budget: origin.and_then(|origin| origin.budget).map(|_| log.account),
        reason: reason.flatten(),
        error: log.failure.as_ref().map(|(_, fault)| fault.to_string()),
        children: Vec::new(),
        not_read: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_stand_under_their_parents_in_order() {
        let of = |id: u64, parent| Read {
            node: node(TaskId::from_sequence(id), &TaskLog::default(), None),
            parent,
        };
        let read =
            vec![of(1, None), of(2, Some(0)), of(3, Some(0)), of(4, Some(1)), of(5, Some(1))];
        let root = assemble(read).unwrap();
        let ids = |node: &TreeNode| -> Vec<String> {
            node.children.iter().map(|child| child.task.to_string()).collect()
        };
        assert_eq!(ids(&root), ["s2", "s3"]);
        assert_eq!(ids(&root.children[0]), ["s4", "s5"]);
    }
}
