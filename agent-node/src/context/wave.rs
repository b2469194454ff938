//! One delegation of a list of pieces: checked, written, dispatched, joined.

use std::collections::HashMap;

use protocol::Skill;
use protocol::TaskId;
use protocol::budget::{Account, Grant, Unit, Usage};
use protocol::entry::{Child, Event};
use protocol::fault::{Fault, code};
use protocol::journal::Journaled;
use protocol::limits::{CHILDREN_PER_ENTRY_MAX, DELEGATION_DEPTH_MAX, FAN_OUT_MAX};
use protocol::need::Resolution;
use protocol::wait::{Answer, WaitingFor};

use super::children::End;
use super::delegate::{OnFailure, Piece, Target};
use super::turn::Turn;
use super::{Context, permanent, transient};
use crate::agent::Stop;

/// Entries of one delegation stay below this, in bytes, with room for what is around the children.
const ENTRY_BYTES: usize = 256 * 1024;

/// Who does a piece, and why.
type Chosen = (Skill, Option<String>);

impl Context {
    /// Hands the pieces out, waits until `enough` of them have completed, or all have ended, and tells each how.
    pub(super) async fn wave(
        &self,
        turn: &mut Turn<'_>,
        name: &str,
        mut pieces: Vec<&mut Piece>,
        enough: Option<u32>,
    ) -> Result<(), Stop> {
        self.afford(turn, name, explicit(&pieces)).await?;
        let found = self.recorded(turn, "delegation", name).await?;
        let is_open = self.scribe.with_log(protocol::log::TaskLog::delegation_is_open).await;
        let mut is_fresh = false;
        let (children, joined, counted) = match found {
            Some(Journaled::Delegated { children, joined, counted, .. }) if !is_open => {
                (children, joined, counted)
            }
            Some(Journaled::Delegated { children, .. }) => {
                let chosen = self.choose(name, &pieces).await?;
                let all =
                    self.write_children(turn, name, children, &pieces, (chosen, enough)).await?;
                (all, false, None)
            }
            Some(Journaled::Step { .. } | Journaled::Answered { .. }) | None => {
                is_fresh = true;
                self.check_limits(name, pieces.len()).await?;
                let chosen = self.choose(name, &pieces).await?;
                let all =
                    self.write_children(turn, name, Vec::new(), &pieces, (chosen, enough)).await?;
                (all, false, None)
            }
        };
        if children.len() != pieces.len() {
            let (held, asked) = (children.len(), pieces.len());
            let message =
                format!("delegation {name:?} has {held} children in the log, and now {asked}");
            return Err(self.nondeterministic(message).await);
        }
        let ends = match counted {
            Some(counted) => self.known_ends(&children, &counted).await?,
            None if joined => {
                let all = (0_u32..).zip(&children).map(|(at, _)| at).collect::<Vec<_>>();
                self.known_ends(&children, &all).await?
            }
            None => self.join(turn, &children, enough, is_fresh).await?,
        };
        turn.pass();
        self.cancel_losers().await?;
        let spent = children.iter().zip(&ends);
        let spent = spent.filter_map(|(child, end)| end.as_ref().map(|end| end.spend_of(child)));
        self.refund(spent.collect()).await?;
        for ((piece, child), end) in pieces.iter_mut().zip(children).zip(ends) {
            piece.task = Some(child.task);
            piece.skill = Some(child.skill);
            piece.end = end;
        }
        let held = self.scribe.with_log(|log| log.journal.len()).await;
        if usize::try_from(turn.position()).is_ok_and(|position| position == held) {
            self.keep_results(&pieces).await;
        }
        Ok(())
    }

    /// How the children ended, if enough of them have; else dispatches those that have not begun, and suspends.
    async fn join(
        &self,
        turn: &mut Turn<'_>,
        children: &[Child],
        enough: Option<u32>,
        is_fresh: bool,
    ) -> Result<Vec<Option<End>>, Stop> {
        let waiting_for = WaitingFor::Children { position: turn.position(), enough };
        let last = if is_fresh { HashMap::new() } else { self.last_entries(children).await? };
        let ends = self.ends_in(children, &last).await?;
        let ended: Vec<u32> =
            (0_u32..).zip(&ends).filter(|(_, end)| end.is_some()).map(|(at, _)| at).collect();
        let completed = ends.iter().flatten().filter(|end| end.result.is_ok()).count();
        let all = ended.len() == children.len();
        let is_enough = |enough| u32::try_from(completed).is_ok_and(|have| have >= enough);
        let misses = |(child, end): (&Child, &Option<End>)| {
            child.essential && end.as_ref().is_some_and(|end| end.result.is_err())
        };
        match enough {
            None if all => Ok(ends),
            _ if all || enough.is_some_and(is_enough) || children.iter().zip(&ends).any(misses) => {
                let answer = Answer::Children { ended };
                self.append(turn, Event::Received { waiting_for, answer }).await?;
                Ok(ends)
            }
            None | Some(_) => {
                let begun = |task: &TaskId| {
                    last.contains_key(&self.scribe.subjects().log(self.owner(), task))
                };
                self.dispatch(children, begun).await?;
                Err(Stop::Suspended { waiting_for: Box::new(waiting_for), until: None })
            }
        }
    }

    /// Refuses delegations that go too deep or start too many children.
    async fn check_limits(&self, name: &str, more: usize) -> Result<(), Stop> {
        let granted = self.budget().await.granted;
        let started = self.scribe.with_log(|log| log.children).await;
        let place = format!("delegation {name:?}");
        let refuse = |message: String, place: String| {
            permanent(Fault::new(code::DELEGATION_LIMIT, message).at(place))
        };
        let depth = self.origin().depth.saturating_add(1);
        if depth > DELEGATION_DEPTH_MAX {
            let message = format!(
                "{depth} delegations above one another, {DELEGATION_DEPTH_MAX} are allowed"
            );
            return Err(refuse(message, format!("{place}, depth")));
        }
        if granted.depth == Some(0) {
            let message = "the task's budget allows no level of delegation below it";
            return Err(refuse(message.to_owned(), format!("{place}, budget.depth")));
        }
        if more > FAN_OUT_MAX {
            let message = format!("{more} children in one delegation, {FAN_OUT_MAX} are allowed");
            return Err(refuse(message, format!("{place}, fan-out"))).map_err(|stop| {
                hinted(stop, "let children delegate in their turn: a tree has no such limit")
            });
        }
        let children = u64::from(started).saturating_add(more as u64);
        match granted.fan_out {
            Some(most) if children > u64::from(most) => {
                let message =
                    format!("{children} children in all, the task's budget allows {most}");
                Err(refuse(message, format!("{place}, budget.fanOut")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Who does each piece: looked up before anything is written.
    async fn choose(&self, name: &str, pieces: &[&mut Piece]) -> Result<Vec<Chosen>, Stop> {
        let mut known: HashMap<&Skill, bool> = HashMap::new();
        let mut chosen = Vec::with_capacity(pieces.len());
        for (at, piece) in pieces.iter().enumerate() {
            let place = format!("delegation {name:?}, piece {at}");
            let skill = match &piece.work.target {
                Target::Skill(skill) => skill,
                Target::Need(need) => {
                    let mut need = need.clone();
                    need.avoid = need.avoid.or_else(|| piece.avoid.clone());
                    match self.around.mesh.resolve(&need).await.map_err(transient)? {
                        Resolution::Found { skill, reason } => chosen.push((skill, Some(reason))),
                        Resolution::Nobody { fault } => chosen.push(instead(piece, fault, &place)?),
                    }
                    continue;
                }
            };
            let is_served = match known.get(skill) {
                Some(is_served) => *is_served,
                None => {
                    let found = self.around.mesh.is_served(skill).await.map_err(transient)?;
                    known.insert(skill, found);
                    found
                }
            };
            if is_served {
                chosen.push((skill.clone(), None));
            } else {
                let fault =
                    Fault::new(code::NOBODY_SERVES, format!("nobody serves the skill {skill}"));
                chosen.push(instead(piece, fault, &place)?);
            }
        }
        Ok(chosen)
    }

    /// Writes the children that the log does not hold yet, in as many entries as it takes.
    async fn write_children(
        &self,
        turn: &mut Turn<'_>,
        name: &str,
        mut children: Vec<Child>,
        pieces: &[&mut Piece],
        (chosen, enough): (Vec<Chosen>, Option<u32>),
    ) -> Result<Vec<Child>, Stop> {
        let written = children.len();
        let account = self.budget().await;
        let share = self.has_grant().then(|| share(&account, pieces.get(written..).unwrap_or(&[])));
        let is_race = enough.is_some();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut rest = (0_u32..).zip(pieces.iter().zip(chosen)).skip(written).peekable();
        while let Some((index, (piece, (skill, reason)))) = rest.next() {
            let input = self.store(piece.work.input.clone()).await?;
            bytes += serde_json::to_vec(&input).map_or(0, |text| text.len()) + 256;
            batch.push(Child {
                task: TaskId::of_child(self.owner(), self.task(), turn.position(), index),
                skill,
                input,
                budget: slice(piece.work.budget, share, &account.granted),
                reason,
                avoid: piece.avoid.clone(),
                essential: !is_race && piece.work.on_failure == OnFailure::Fail,
            });
            let full = batch.len() >= CHILDREN_PER_ENTRY_MAX || bytes >= ENTRY_BYTES;
            let more = rest.peek().is_some();
            if full || !more {
                let (name, children_now) = (name.to_owned(), batch.clone());
                self.append(turn, Event::Delegated { name, more, children: children_now }).await?;
                children.append(&mut batch);
                bytes = 0;
            }
        }
        Ok(children)
    }
}

/// The skill that a piece falls back to when nobody does it as asked.
fn instead(piece: &Piece, fault: Fault, place: &str) -> Result<Chosen, Stop> {
    match &piece.work.on_failure {
        OnFailure::Fallback { skill } if piece.work.target != Target::Skill(skill.clone()) => {
            Ok((skill.clone(), Some(format!("fallback: {}", fault.message))))
        }
        OnFailure::Report
        | OnFailure::Fail
        | OnFailure::Ignore
        | OnFailure::Retry { .. }
        | OnFailure::Fallback { .. }
        | OnFailure::Cached { .. } => {
            let hint = "start a node that serves it, or see `weft agents` for what is served";
            Err(permanent(fault.at(place).hint(hint)))
        }
    }
}

fn hinted(stop: Stop, hint: &str) -> Stop {
    match stop {
        Stop::Failed { failure, fault } => Stop::Failed { failure, fault: fault.hint(hint) },
        stop @ (Stop::Suspended { .. } | Stop::Canceled | Stop::Released | Stop::Fenced) => stop,
    }
}

/// What the pieces themselves say that they may spend, all together.
fn explicit(pieces: &[&mut Piece]) -> Usage {
    let budgets = pieces.iter().filter_map(|piece| piece.work.budget);
    budgets.fold(Usage::default(), |sum, budget| sum.plus(budget.usage()))
}

/// What each piece gets of a unit that it says nothing about: the pieces and the task itself share what is left.
fn share(account: &Account, pieces: &[&mut Piece]) -> Grant {
    let said = explicit(pieces);
    let of = |unit: Unit| {
        let says_nothing =
            |piece: &&&mut Piece| piece.work.budget.is_none_or(|budget| budget.of(unit).is_none());
        let shares = pieces.iter().filter(says_nothing).count() as u64 + 1;
        account.left(unit).map(|left| left.saturating_sub(said.of(unit)) / shares)
    };
    Grant {
        tokens: of(Unit::Tokens),
        money_micros: of(Unit::MoneyMicros),
        tool_calls: of(Unit::ToolCalls),
        ..Grant::default()
    }
}

/// A child's grant: what its piece says, a share of what it does not say, one level less below it.
fn slice(said: Option<Grant>, share: Option<Grant>, granted: &Grant) -> Option<Grant> {
    let Some(share) = share else { return said };
    let said = said.unwrap_or_default();
    let less = |said: Option<u32>, most: Option<u32>| said.into_iter().chain(most).min();
    Some(Grant {
        tokens: said.tokens.or(share.tokens),
        money_micros: said.money_micros.or(share.money_micros),
        tool_calls: said.tool_calls.or(share.tool_calls),
        wall_clock_ms: said.wall_clock_ms,
        depth: less(said.depth, granted.depth.map(|depth| depth.saturating_sub(1))),
        fan_out: less(said.fan_out, granted.fan_out),
    })
}
