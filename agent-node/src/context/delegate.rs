//! Hands work to others and waits for it without holding a worker.
//!
//! The first time, the children are written into the log, put into their queues, and the attempt ends as suspended. Once
//! enough of them have ended, the agent runs again from the start, finds the delegation in its journal, and gets the
//! results. What a piece's failure leads to is a further delegation with a place of its own in the journal: ends never
//! change, so every run comes to the same ones. Child ids are derived from parent, position and index, so dispatching
//! twice starts nothing twice.

use std::time::Duration;

use protocol::budget::Grant;
use protocol::fault::{Fault, code};
use protocol::id::NodeName;
use protocol::need::Need;
use protocol::{Skill, TaskId};
use serde_json::Value;

use super::children::End;
use super::{Context, permanent};
use crate::agent::Stop;

/// A piece of work for a skill.
#[derive(Debug, Clone, PartialEq)]
pub struct Delegation {
    /// What is to be done.
    pub skill: Skill,
    /// Its input.
    pub input: Value,
}

/// Who is to do a piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Whoever serves this skill.
    Skill(Skill),
    /// Whoever a coordinator finds for this need. Why is in the log.
    Need(Need),
}

/// A piece of work with everything that can be said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// Who is to do it.
    pub target: Target,
    /// Its input.
    pub input: Value,
    /// What it may spend. A unit left out, of a task that has a grant for it: an equal share of what is left.
    pub budget: Option<Grant>,
    /// What happens when it does not complete.
    pub on_failure: OnFailure,
}

/// What happens when a child does not complete.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// The agent gets its fault.
    #[default]
    Report,
    /// The task fails with `child_failed`, at once: the others are canceled. In a race it counts as any failure.
    Fail,
    /// The agent gets null in place of a result.
    Ignore,
    /// The same work is handed out again; not when the child was canceled or rejected.
    Retry {
        /// How often.
        times: u32,
        /// To another node, if there is one.
        elsewhere: bool,
    },
    /// The same work is handed to another skill, once.
    Fallback {
        /// Which.
        skill: Skill,
    },
    /// The agent gets the last result of this skill for an equal input, if there is one. Results of work with this policy
    /// are kept for that.
    Cached {
        /// How old it may be.
        no_older_than: Duration,
    },
}

/// When the task goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Join {
    /// Once every child has ended, or one has failed whose failure is the task's.
    #[default]
    All,
    /// Once one child has completed; the others are canceled.
    First,
    /// Once so many children have completed; the others are canceled. Never more than there are.
    Quorum(u32),
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildEnd {
    /// The child; of several at one piece of work the last.
    pub task: TaskId,
    /// What it returned, or why it did not complete: `not_awaited` when the task went on without it.
    pub result: Result<Value, Fault>,
}

impl From<Delegation> for Work {
    fn from(Delegation { skill, input }: Delegation) -> Self {
        Self::new(skill, input)
    }
}

impl Work {
    /// Work for a skill.
    #[must_use]
    pub fn new(skill: Skill, input: Value) -> Self {
        Self { target: Target::Skill(skill), input, budget: None, on_failure: OnFailure::default() }
    }

    /// Work for whoever meets a need.
    #[must_use]
    pub fn for_need(need: Need, input: Value) -> Self {
        Self { target: Target::Need(need), input, budget: None, on_failure: OnFailure::default() }
    }

    /// With a slice of the task's budget.
    #[must_use]
    pub fn spending(self, budget: Grant) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// With what happens when it does not complete.
    #[must_use]
    pub fn on_failure(self, on_failure: OnFailure) -> Self {
        Self { on_failure, ..self }
    }
}

impl Join {
    /// How many of so many children have to complete; `None`: all have to end.
    fn enough(self, of: usize) -> Option<u32> {
        let of = u32::try_from(of).unwrap_or(u32::MAX);
        match self {
            Self::All => None,
            Self::First => Some(1),
            Self::Quorum(n) => Some(n.clamp(1, of)),
        }
    }
}

/// A piece of work on its way through the delegations that it takes.
pub(super) struct Piece {
    pub(super) work: Work,
    /// A node that should not run it if another can.
    pub(super) avoid: Option<NodeName>,
    retries: u32,
    fell_back: bool,
    /// Its last child.
    pub(super) task: Option<TaskId>,
    /// The skill that its last child was for.
    pub(super) skill: Option<Skill>,
    pub(super) end: Option<End>,
}

impl Piece {
    fn new(work: Work) -> Self {
        Self { work, avoid: None, retries: 0, fell_back: false, task: None, skill: None, end: None }
    }

    fn has_completed(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.result.is_ok())
    }

    /// Whether it has failed, and the task with it.
    fn is_missed(&self) -> bool {
        self.work.on_failure == OnFailure::Fail
            && self.end.as_ref().is_some_and(|end| end.result.is_err())
    }

    /// Whether the piece is handed out again after its last end, with what is different then.
    fn again(&mut self) -> bool {
        let Some(end) = self.end.as_ref().filter(|end| end.result.is_err()) else { return false };
        match &self.work.on_failure {
            OnFailure::Retry { times, elsewhere } if end.may_pass && self.retries < *times => {
                self.retries += 1;
                self.avoid = elsewhere.then(|| end.node.clone());
            }
            OnFailure::Fallback { skill }
                if !self.fell_back && self.skill.as_ref() != Some(skill) =>
            {
                self.fell_back = true;
                self.work.target = Target::Skill(skill.clone());
            }
            OnFailure::Report
            | OnFailure::Fail
            | OnFailure::Ignore
            | OnFailure::Retry { .. }
            | OnFailure::Fallback { .. }
            | OnFailure::Cached { .. } => return false,
        }
        true
    }
}

impl Context {
    /// Hands work to the mesh and returns how each piece ended, in the order given. The task waits without a
    /// worker in between: the call then ends the attempt with [`Stop::Suspended`], to be passed on with `?`.
    ///
    /// # Errors
    /// As [`Context::delegate_with`].
    pub async fn delegate(&self, name: &str, work: Vec<Delegation>) -> Result<Vec<ChildEnd>, Stop> {
        self.delegate_with(name, work.into_iter().map(Work::from).collect(), Join::All).await
    }

    /// As [`Context::delegate`], with what each piece's failure leads to and how many have to complete.
    ///
    /// # Errors
    /// [`Stop::Suspended`]; those of [`Context::step`]; before anything is handed out the permanent failures
    /// `delegation_limit`, `nobody_serves` and `budget_exceeded`; `child_failed` when a piece says so, or when fewer
    /// complete than the join asks for.
    pub async fn delegate_with(
        &self,
        name: &str,
        work: Vec<Work>,
        join: Join,
    ) -> Result<Vec<ChildEnd>, Stop> {
        if work.is_empty() {
            return Ok(Vec::new());
        }
        let mut turn = self.turn(name)?;
        let needed = join.enough(work.len());
        let mut pieces: Vec<Piece> = work.into_iter().map(Piece::new).collect();
        let mut open: Vec<usize> = (0..pieces.len()).collect();
        for wave in 0.. {
            let wave_name =
                if wave == 0 { name.to_owned() } else { format!("{name} again {wave}") };
            let enough = needed.map(|needed| needed.saturating_sub(completed(&pieces)));
            self.wave(&mut turn, &wave_name, take(&mut pieces, &open), enough).await?;
            if needed.is_some_and(|needed| completed(&pieces) >= needed) {
                break;
            }
            if needed.is_none() && pieces.iter().any(Piece::is_missed) {
                return conclude(name, pieces, needed);
            }
            open.retain(|at| pieces.get_mut(*at).is_some_and(Piece::again));
            if open.is_empty() {
                break;
            }
        }
        self.fill_from_cache(&mut turn, name, &mut pieces).await?;
        conclude(name, pieces, needed)
    }
}

fn completed(pieces: &[Piece]) -> u32 {
    u32::try_from(pieces.iter().filter(|piece| piece.has_completed()).count()).unwrap_or(u32::MAX)
}

/// The pieces at these places, in their order.
fn take<'a>(pieces: &'a mut [Piece], open: &[usize]) -> Vec<&'a mut Piece> {
    let all = pieces.iter_mut().enumerate();
    all.filter(|(at, _)| open.binary_search(at).is_ok()).map(|(_, piece)| piece).collect()
}

/// What a delegation came to.
fn conclude(name: &str, pieces: Vec<Piece>, needed: Option<u32>) -> Result<Vec<ChildEnd>, Stop> {
    let have = completed(&pieces);
    if let Some(needed) = needed.filter(|needed| have < *needed) {
        let last = pieces.iter().rev().find_map(|piece| piece.end.as_ref()?.result.as_ref().err());
        let why = last.map_or_else(String::new, |fault| format!("; the last of them: {fault}"));
        let message = format!("{have} of the {needed} children needed completed{why}");
        return Err(permanent(
            Fault::new(code::CHILD_FAILED, message).at(format!("delegation {name:?}")),
        ));
    }
    pieces.into_iter().map(|piece| end_of(name, piece, needed.is_some())).collect()
}

fn end_of(name: &str, piece: Piece, is_race: bool) -> Result<ChildEnd, Stop> {
    let task = piece.task.unwrap_or_else(|| TaskId::from_sequence(0));
    let result = match (piece.end.map(|end| end.result), piece.work.on_failure) {
        (None, _) => Err(Fault::new(code::NOT_AWAITED, "enough others completed before it")),
        (Some(Err(_)), OnFailure::Ignore) => Ok(Value::Null),
        (Some(Err(fault)), OnFailure::Fail) if !is_race => {
            let message = format!("child {task} did not complete: {fault}");
            return Err(permanent(
                Fault::new(code::CHILD_FAILED, message).at(format!("delegation {name:?}")),
            ));
        }
        (Some(result), _) => result,
    };
    Ok(ChildEnd { task, result })
}
