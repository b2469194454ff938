//! The task's budget: what is left, what happens when it does not suffice, what children give back.

use protocol::approval::RAISE_BUDGET;
use protocol::budget::{Account, Exceeded, Unit, Usage};
use protocol::entry::{Child, ChildSpend, Event};
use protocol::fault::{Fault, code};
use protocol::journal::Journaled;
use protocol::limits::CHILDREN_PER_ENTRY_MAX;
use protocol::log::TaskLog;
use runtime::config::OnBudget;
use serde_json::json;

use super::approve::{ApprovalOptions, Decided};
use super::children::rests;
use super::turn::Turn;
use super::{Context, permanent};
use crate::agent::Stop;

impl Context {
    /// The task's budget as of now. It changes with every call, so ask within effects, or for the eyes of people:
    /// what a run does next must not depend on it.
    pub async fn budget(&self) -> Account {
        let granted = self.origin.budget.unwrap_or_default();
        // A log without an entry does not know its grant yet.
        let account = |log: &TaskLog| log.origin.as_ref().map(|_| log.account);
        self.scribe.with_log(account).await.unwrap_or_else(|| Account::new(granted))
    }

    /// Whether the agent is to make do with less: `on_budget` is `degrade`, and less than the skill's share of some
    /// granted unit is left. As [`Context::budget`], a question for effects; [`super::Allowed`] has the answer.
    pub async fn is_degraded(&self) -> bool {
        let guard = &self.around.guard;
        guard.on_budget == OnBudget::Degrade && is_low(&self.budget().await, guard.degrade_below)
    }

    /// Whether a budget was granted to the task.
    pub(super) fn has_grant(&self) -> bool {
        self.origin.budget.is_some()
    }

    /// Sees to it that an amount may be set aside: takes the raises that the log holds at this place, and asks for one
    /// where the skill's policy is to ask.
    pub(super) async fn afford(
        &self,
        turn: &mut Turn<'_>,
        call: &str,
        amount: Usage,
    ) -> Result<(), Stop> {
        let name = format!("budget {call}");
        let mut settled = false;
        loop {
            match self.found(turn).await {
                Some(found) if found.word() == "approval" && found.name() == name => {
                    self.take_raise(turn, &name, &found).await?;
                    continue;
                }
                Some(_) => return Ok(()),
                None => {}
            }
            let Err(exceeded) = self.budget().await.check(amount) else { return Ok(()) };
            if !settled {
                settled = true;
                self.settle_children().await?;
                continue;
            }
            if self.around.guard.on_budget != OnBudget::Ask {
                return Err(too_much(call, &exceeded));
            }
            let account = self.budget().await;
            let action = json!({ RAISE_BUDGET: shortfall(&account, amount) });
            let options = self.raise_options(call, &exceeded);
            match self.decided(turn, &name, action, options).await? {
                Decided::Approved(_) => {}
                Decided::Denied { .. } | Decided::Expired => return Err(too_much(call, &exceeded)),
            }
        }
    }

    /// A raise, or its refusal, that the log holds at the call's position.
    async fn take_raise(
        &self,
        turn: &mut Turn<'_>,
        name: &str,
        found: &Journaled,
    ) -> Result<(), Stop> {
        let Journaled::Answered { waiting_for, .. } = found else { return Ok(()) };
        let protocol::wait::WaitingFor::Approval { request, .. } = waiting_for.as_ref() else {
            return Ok(());
        };
        let decided =
            self.decided(turn, name, request.action.clone(), ApprovalOptions::default()).await?;
        match decided {
            Decided::Approved(_) => Ok(()),
            Decided::Denied { .. } | Decided::Expired => Err(permanent(
                Fault::new(
                    code::BUDGET_EXCEEDED,
                    "nobody raised the budget in time, or it was denied",
                )
                .at(format!("call {name:?}")),
            )),
        }
    }

    fn raise_options(&self, call: &str, exceeded: &Exceeded) -> ApprovalOptions {
        let section = self.around.guard.approval(RAISE_BUDGET);
        ApprovalOptions {
            question: format!("{call:?} would cross the task's budget: {exceeded}. Raise it?"),
            chain: section.map(|one| one.chain.clone()).unwrap_or_default(),
            quorum: section.map_or(1, |one| one.quorum),
            expires: section.and_then(|one| one.expires),
        }
    }

    /// Writes down what ended children used, as far as something is still set aside for them.
    pub(super) async fn refund(&self, ended: Vec<ChildSpend>) -> Result<(), Stop> {
        let open: Vec<ChildSpend> = self
            .scribe
            .with_log(|log| {
                ended.into_iter().filter(|child| log.slice_of(&child.task).is_some()).collect()
            })
            .await;
        for children in open.chunks(CHILDREN_PER_ENTRY_MAX) {
            self.scribe.append(Event::Refunded { children: children.to_vec() }).await?;
        }
        Ok(())
    }

    /// Before the task ends: what children did not use that it went on without is not the task's to count.
    ///
    /// # Errors
    /// [`Stop::Fenced`] when the task belongs to another worker.
    pub async fn take_back(&self) -> Result<(), Stop> {
        if !self.has_grant() {
            return Ok(());
        }
        // A refund whose future was dropped may be stored.
        self.scribe.settle().await?;
        self.settle_children().await
    }

    /// Looks after children that the task went on without: what they did not use is left again once they have ended.
    /// They have been canceled, and so this waits a moment for their ends.
    async fn settle_children(&self) -> Result<(), Stop> {
        for rest in rests() {
            let open = self.unsettled_children().await;
            if open.is_empty() {
                break;
            }
            let ends = self.child_ends(&open).await?;
            let spent = open
                .iter()
                .zip(&ends)
                .filter_map(|(child, end)| end.as_ref().map(|end| end.spend_of(child)));
            self.refund(spent.collect()).await?;
            if ends.iter().all(Option::is_some) {
                break;
            }
            self.scribe.ledger().rest(rest).await;
        }
        Ok(())
    }

    /// The children that the task went on without and of which it does not know what they used.
    async fn unsettled_children(&self) -> Vec<Child> {
        self.scribe
            .with_log(|log| {
                let of = |journaled: &Journaled| match journaled {
                    Journaled::Delegated { children, joined: true, .. } => children.clone(),
                    Journaled::Delegated { .. }
                    | Journaled::Step { .. }
                    | Journaled::Answered { .. } => Vec::new(),
                };
                let children = log.journal.iter().flat_map(of);
                children.filter(|child| log.slice_of(&child.task).is_some()).collect()
            })
            .await
    }
}

/// Whether less than a share of some granted unit is left.
fn is_low(account: &Account, share: f64) -> bool {
    Unit::ALL.into_iter().any(|unit| match (account.granted.of(unit), account.left(unit)) {
        // Amounts beyond 2^53 lose their last digits, which a share does not need.
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
        (Some(granted), Some(left)) => (left as f64) < (granted as f64) * share,
        (None, _) | (_, None) => false,
    })
}

/// What is missing of an amount, unit by unit.
fn shortfall(account: &Account, amount: Usage) -> Usage {
    let missing = |unit| account.left(unit).map_or(0, |left| amount.of(unit).saturating_sub(left));
    Usage {
        tokens: missing(Unit::Tokens),
        money_micros: missing(Unit::MoneyMicros),
        tool_calls: missing(Unit::ToolCalls),
    }
}

pub(super) fn too_much(call: &str, exceeded: &Exceeded) -> Stop {
    permanent(
        Fault::new(code::BUDGET_EXCEEDED, format!("{call:?} would cross the budget: {exceeded}"))
            .at(format!("call {call:?}, {}", exceeded.unit.name()))
            .hint("grant more with Weft-Budget, or let the skill's on_budget be ask"),
    )
}
