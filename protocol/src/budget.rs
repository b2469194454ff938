//! What a task may spend, and what it has spent.
//!
//! A grant travels with the task. What is left is a fold of the log: nothing else counts, so a crash forgets
//! nothing and a zombie debits nothing. At every sequence number `spent + reserved + left = granted` holds in each
//! unit that is granted at all; a unit that is not granted is not limited.

use serde::{Deserialize, Serialize};

/// An amount of each unit that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Usage {
    /// Tokens of language models, read and written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tokens: u64,
    /// Money, in millionths of the mesh's one currency.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub money_micros: u64,
    /// Calls of tools.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tool_calls: u64,
}

/// What a task may spend. A unit left out is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// See [`Usage::tokens`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// See [`Usage::money_micros`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money_micros: Option<u64>,
    /// See [`Usage::tool_calls`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u64>,
    /// Time from the submission to the end, in ms: a deadline that moves with the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_clock_ms: Option<u64>,
    /// Levels of delegation below the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<u32>,
    /// Children of the task itself, over all of its delegations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fan_out: Option<u32>,
}

/// A unit that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// See [`Usage::tokens`].
    Tokens,
    /// See [`Usage::money_micros`].
    MoneyMicros,
    /// See [`Usage::tool_calls`].
    ToolCalls,
}

impl Unit {
    /// Every unit.
    pub const ALL: [Self; 3] = [Self::Tokens, Self::MoneyMicros, Self::ToolCalls];

    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::MoneyMicros => "moneyMicros",
            Self::ToolCalls => "toolCalls",
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this shape")]
fn is_zero(amount: &u64) -> bool {
    *amount == 0
}

impl Usage {
    /// The amount of one unit.
    #[must_use]
    pub fn of(self, unit: Unit) -> u64 {
        match unit {
            Unit::Tokens => self.tokens,
            Unit::MoneyMicros => self.money_micros,
            Unit::ToolCalls => self.tool_calls,
        }
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.is_zero()
    }

    /// Unit by unit.
    #[must_use]
    pub fn map(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            tokens: with(self.tokens, other.tokens),
            money_micros: with(self.money_micros, other.money_micros),
            tool_calls: with(self.tool_calls, other.tool_calls),
        }
    }

    /// The sum; what is beyond 64 bits is not told apart.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.map(other, u64::saturating_add)
    }

    /// The difference, 0 where the other is more.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.map(other, u64::saturating_sub)
    }
}

impl Grant {
    /// The amount of one unit; `None` when it is not limited.
    #[must_use]
    pub fn of(&self, unit: Unit) -> Option<u64> {
        match unit {
            Unit::Tokens => self.tokens,
            Unit::MoneyMicros => self.money_micros,
            Unit::ToolCalls => self.tool_calls,
        }
    }

    /// What a parent sets aside for a child with this grant.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            tokens: self.tokens.unwrap_or(0),
            money_micros: self.money_micros.unwrap_or(0),
            tool_calls: self.tool_calls.unwrap_or(0),
        }
    }
}

/// A task's budget as its log has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// What it may spend, raises included.
    pub granted: Grant,
    /// What raises have added to the grant, those of settled children included.
    pub raised: Usage,
    /// What it has spent, its ended children included; never more than granted.
    pub spent: Usage,
    /// What is set aside for calls under way and for children that have not been settled.
    pub reserved: Usage,
    /// What calls used beyond what was left, when they used more than they had reserved.
    pub overdrawn: Usage,
}

/// A reservation that the budget does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} {} asked for and {left} left", .asked, .unit.name())]
pub struct Exceeded {
    /// What ran out.
    pub unit: Unit,
    /// How much was asked for.
    pub asked: u64,
    /// How much is left.
    pub left: u64,
}

impl Account {
    /// An account that nothing has been spent from.
    #[must_use]
    pub fn new(granted: Grant) -> Self {
        Self { granted, ..Self::default() }
    }

    /// What is left of a unit; `None` when it is not limited.
    #[must_use]
    pub fn left(&self, unit: Unit) -> Option<u64> {
        let taken = self.spent.of(unit).saturating_add(self.reserved.of(unit));
        self.granted.of(unit).map(|granted| granted.saturating_sub(taken))
    }

    /// Whether so much may be reserved.
    ///
    /// # Errors
    /// With the first unit that does not suffice.
    pub fn check(&self, asked: Usage) -> Result<(), Exceeded> {
        for unit in Unit::ALL {
            if let Some(left) = self.left(unit).filter(|left| *left < asked.of(unit)) {
                return Err(Exceeded { unit, asked: asked.of(unit), left });
            }
        }
        Ok(())
    }

    /// Adds an amount to the grant, in each unit that is limited.
    pub(crate) fn raise(&mut self, more: Usage) {
        let before = self.granted.usage();
        let add = |amount: Option<u64>, by: u64| amount.map(|amount| amount.saturating_add(by));
        self.granted = Grant {
            tokens: add(self.granted.tokens, more.tokens),
            money_micros: add(self.granted.money_micros, more.money_micros),
            tool_calls: add(self.granted.tool_calls, more.tool_calls),
            ..self.granted
        };
        self.raised = self.raised.plus(self.granted.usage().minus(before));
    }

    /// Settles a child's slice: what was raised for the child is not its parent's to pay.
    pub(crate) fn settle_child(&mut self, slice: Usage, spent: Usage, raised: Usage) {
        self.raise(raised);
        let more = self.reserve(raised);
        self.settle(slice.plus(more), spent);
    }

    /// Sets an amount aside; never more of a limited unit than is left.
    pub(crate) fn reserve(&mut self, amount: Usage) -> Usage {
        let taken = self.capped(amount);
        self.reserved = self.reserved.plus(taken);
        taken
    }

    /// Turns a reservation into what was used; the rest of it is left again.
    pub(crate) fn settle(&mut self, reserved: Usage, used: Usage) {
        self.reserved = self.reserved.minus(reserved);
        let covered = self.capped(used);
        self.spent = self.spent.plus(covered);
        self.overdrawn = self.overdrawn.plus(used.minus(covered));
    }

    fn capped(&self, amount: Usage) -> Usage {
        let cap =
            |unit: Unit| self.left(unit).map_or(amount.of(unit), |left| left.min(amount.of(unit)));
        Usage {
            tokens: cap(Unit::Tokens),
            money_micros: cap(Unit::MoneyMicros),
            tool_calls: cap(Unit::ToolCalls),
        }
    }

    /// What a parent has to count once the task has ended: what it used and what is still out with others.
    #[must_use]
    pub fn total(&self) -> Usage {
        self.spent.plus(self.reserved).plus(self.overdrawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(tokens: u64) -> Usage {
        Usage { tokens, ..Usage::default() }
    }

    #[test]
    fn the_sum_holds_and_nothing_is_negative() {
        let mut account = Account::new(Grant { tokens: Some(100), ..Grant::default() });
        for (reserve, used, left, overdrawn) in
            [(40, 30, 70, 0), (70, 90, 0, 20), (10, 0, 0, 20), (5, 5, 0, 25)]
        {
            let taken = account.reserve(tokens(reserve));
            account.settle(taken, tokens(used));
            let sum = account.spent.tokens + account.reserved.tokens + left;
            assert_eq!((account.left(Unit::Tokens), sum), (Some(left), 100), "{reserve} {used}");
            assert_eq!(account.overdrawn.tokens, overdrawn);
        }
        assert_eq!(
            account.check(tokens(1)),
            Err(Exceeded { unit: Unit::Tokens, asked: 1, left: 0 })
        );
        assert_eq!(account.check(Usage { tool_calls: 9, ..Usage::default() }), Ok(()));
        assert_eq!(account.left(Unit::ToolCalls), None);
    }
}
