//! What an agent may do and how it is spoken to: loops, budgets, approvals, messages while it runs.

use std::time::Duration;

use protocol::approval::Level;
use protocol::limits::EQUAL_CALLS_MAX_DEFAULT;
use serde::Deserialize;

use super::{Faults, Span};

/// What happens when a call would cross the task's budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBudget {
    /// The task fails with `budget_exceeded`.
    #[default]
    Stop,
    /// The task waits until somebody raises the budget, or denies that.
    Ask,
    /// The agent is told to make do with less once little is left; crossing the budget still fails the task.
    Degrade,
}

/// A call that somebody has to approve first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalSection {
    /// The call's name.
    pub call: String,
    /// Who may decide; empty: anybody who may publish the decision.
    pub chain: Vec<Level>,
    /// How many have to approve.
    pub quorum: u32,
    /// How long the request stands; `None`: as long as the task.
    pub expires: Option<Duration>,
}

/// What watches over an agent's calls.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardSection {
    /// Equal calls in a row after which a loop is broken.
    pub equal_calls_max: u32,
    /// What happens when a call would cross the budget.
    pub on_budget: OnBudget,
    /// The share of a granted unit below which the agent is to make do with less, from 0 to 1.
    pub degrade_below: f64,
    /// The calls that somebody has to approve first.
    pub approvals: Vec<ApprovalSection>,
}

/// The share below which an agent is to make do with less, unless the file says otherwise.
pub const DEGRADE_BELOW_DEFAULT: f64 = 0.2;

impl Default for GuardSection {
    fn default() -> Self {
        Self {
            equal_calls_max: EQUAL_CALLS_MAX_DEFAULT,
            on_budget: OnBudget::default(),
            degrade_below: DEGRADE_BELOW_DEFAULT,
            approvals: Vec::new(),
        }
    }
}

impl GuardSection {
    /// The approval that a call needs.
    #[must_use]
    pub fn approval(&self, call: &str) -> Option<&ApprovalSection> {
        self.approvals.iter().find(|one| one.call == call)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawGuard {
    equal_calls_max: Option<u32>,
    on_budget: Option<OnBudget>,
    degrade_below: Option<f64>,
    approvals: Vec<RawApproval>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApproval {
    call: String,
    #[serde(default)]
    chain: Vec<RawLevel>,
    quorum: Option<u32>,
    expires: Option<Span>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLevel {
    approvers: Vec<String>,
    after: Option<Span>,
}

impl Faults {
    pub(super) fn guard(&mut self, place: &str, raw: RawGuard) -> GuardSection {
        let default = GuardSection::default();
        let equal = raw.equal_calls_max.unwrap_or(default.equal_calls_max);
        let below = raw.degrade_below.unwrap_or(default.degrade_below);
        let approvals = (0..).zip(raw.approvals).map(|(at, one)| {
            let place = format!("{place}.approvals[{at}]");
            if one.chain.iter().any(|level| level.approvers.is_empty()) {
                self.0.push(format!("{place}.chain: a level without approvers lets nobody decide"));
            }
            ApprovalSection {
                quorum: self.within(&format!("{place}.quorum"), one.quorum.unwrap_or(1), 1, 100),
                call: one.call,
                chain: one.chain.into_iter().map(level).collect(),
                expires: one.expires.map(|span| span.0),
            }
        });
        let approvals = approvals.collect();
        GuardSection {
            equal_calls_max: self.within(&format!("{place}.equal_calls_max"), equal, 1, 1_000_000),
            on_budget: raw.on_budget.unwrap_or_default(),
            degrade_below: self.within(&format!("{place}.degrade_below"), below, 0.0, 1.0),
            approvals,
        }
    }
}

fn level(raw: RawLevel) -> Level {
    let after = raw.after.map_or(0, |span| span.0.as_millis());
    Level { approvers: raw.approvers, after_ms: u64::try_from(after).unwrap_or(u64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;
    use protocol::card::{OnMessage, Order};

    #[test]
    fn a_guard_is_read_with_its_levels() {
        let settings = Settings::parse(
            r#"
            [[agents]]
            skill = "pay"
            kind = "echo"
            on_message = "interrupt"
            order = "context"
            [agents.guard]
            equal_calls_max = 3
            on_budget = "ask"
            [[agents.guard.approvals]]
            call = "transfer"
            quorum = 2
            expires = "1h"
            chain = [{ approvers = ["ann", "bob"] }, { approvers = ["eve"], after = "10m" }]
            "#,
        )
        .unwrap();
        let agent = &settings.agents[0];
        assert_eq!((agent.on_message, agent.order), (OnMessage::Interrupt, Order::Context));
        assert_eq!((agent.guard.equal_calls_max, agent.guard.on_budget), (3, OnBudget::Ask));
        let approval = agent.guard.approval("transfer").unwrap();
        assert_eq!(approval.expires, Some(Duration::from_secs(3600)));
        assert_eq!(approval.chain[1].after_ms, 600_000);
        assert_eq!(agent.guard.approval("look"), None);
    }

    #[test]
    fn faults_of_a_guard_have_places() {
        let faults = Settings::parse(
            r#"
            [[agents]]
            skill = "pay"
            kind = "echo"
            [agents.guard]
            equal_calls_max = 0
            degrade_below = 1.5
            approvals = [{ call = "transfer", quorum = 0, chain = [{ approvers = [] }] }]
            "#,
        )
        .unwrap_err();
        for place in [
            "agents[0].guard.equal_calls_max",
            "agents[0].guard.degrade_below",
            "agents[0].guard.approvals[0].quorum",
            "agents[0].guard.approvals[0].chain",
        ] {
            assert!(faults.iter().any(|fault| fault.starts_with(place)), "{place}: {faults:?}");
        }
    }
}
