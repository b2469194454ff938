//! One request as the core sees it: who asks, on whose behalf, and which agent is meant.

use std::sync::Arc;

use protocol::submission::TraceContext;
use protocol::{Owner, Skill};

use crate::a2a::error::Error;
use crate::auth::trail::Trail;
use crate::cards::base::Base;

/// What can be asked. Roles allow or deny by these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Submit work, and say something to a task.
    Send,
    /// Look at tasks, follow them, and fetch what they made.
    Read,
    /// End a task.
    Cancel,
    /// Look after webhooks.
    Push,
    /// Decide about an approval.
    Decide,
    /// See the extended agent card.
    Card,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 6] =
        [Self::Send, Self::Read, Self::Cancel, Self::Push, Self::Decide, Self::Card];

    /// The word for it in settings and audit entries.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
            Self::Cancel => "cancel",
            Self::Push => "push",
            Self::Decide => "decide",
            Self::Card => "card",
        }
    }
}

/// Somebody whose credentials were good, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who it is, for people and for the audit.
    pub name: String,
    /// Whose tasks they see and make, unless they name another of theirs.
    pub owner: Owner,
    /// Further owners they may act for; `None` allows every owner.
    pub owners: Option<Vec<Owner>>,
    /// Skills they may use; `None` allows every skill.
    pub skills: Option<Vec<Skill>>,
    /// What they may do.
    pub operations: Vec<Operation>,
}

impl Caller {
    /// Anybody, who may do anything in the name of the default owner: what `weft dev` lets in.
    #[must_use]
    pub fn anybody() -> Self {
        Self {
            name: "anybody".to_owned(),
            owner: Owner::default(),
            owners: None,
            skills: None,
            operations: Operation::ALL.to_vec(),
        }
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who asks.
    pub caller: Arc<Caller>,
    /// The agent or skill in the address: `/agents/<name>/...`.
    pub agent: Option<String>,
    /// The tenant in the address or the request: `<owner>`, `~<agent>` or `<owner>~<agent>`, for bindings whose
    /// address has no room for an agent.
    pub tenant: Option<String>,
    /// The address that the client used, for cards; `None` where it is not known.
    pub base: Option<Base>,
    /// Extensions that the client names, by URI.
    pub extensions: Vec<String>,
    /// Names the request in logs, answers and the audit.
    pub request_id: String,
    /// Where it is noted what was decided about it.
    pub trail: Trail,
    /// The trace it belongs to.
    pub trace: TraceContext,
}

impl Call {
    /// Whose tasks the call is about.
    ///
    /// # Errors
    /// When the tenant is no owner's name, or an owner that the caller may not act for.
    pub fn owner(&self) -> Result<Owner, Error> {
        match self.find_owner() {
            Ok(owner) => {
                self.trail.is_for(&owner);
                Ok(owner)
            }
            Err(error) => {
                self.trail.is_denied(&error.to_string());
                Err(error)
            }
        }
    }

    fn find_owner(&self) -> Result<Owner, Error> {
        let named = self.tenant.as_deref().map(|tenant| tenant.split('~').next().unwrap_or(""));
        let Some(named) = named.filter(|named| !named.is_empty()) else {
            return Ok(self.caller.owner.clone());
        };
        let owner =
            Owner::parse(named).map_err(|error| Error::field("tenant", error.to_string()))?;
        let allowed = owner == self.caller.owner
            || self.caller.owners.as_ref().is_none_or(|owners| owners.contains(&owner));
        if allowed {
            Ok(owner)
        } else {
            self.trail.is_not_for(&owner);
            Err(Error::PermissionDenied(format!("{} may not act for {owner}", self.caller.name)))
        }
    }

    /// The agent or skill that the address names.
    #[must_use]
    pub fn agent(&self) -> Option<&str> {
        let in_tenant = || self.tenant.as_deref()?.split_once('~').map(|(_, agent)| agent);
        self.agent.as_deref().or_else(in_tenant).filter(|agent| !agent.is_empty())
    }

    /// Checks that the caller may do this, to this skill if one is meant: the decision about the request.
    ///
    /// # Errors
    /// With what is missing.
    pub fn may(&self, operation: Operation, skill: Option<&Skill>) -> Result<(), Error> {
        self.trail.asks(operation, skill);
        self.check(operation, skill).inspect_err(|error| self.trail.is_denied(&error.to_string()))
    }

    /// Whether the caller might do this, for lists of what they may see. Decides nothing about the request.
    #[must_use]
    pub fn allows(&self, operation: Operation, skill: Option<&Skill>) -> bool {
        self.check(operation, skill).is_ok()
    }

    fn check(&self, operation: Operation, skill: Option<&Skill>) -> Result<(), Error> {
        let caller = &self.caller;
        if !caller.operations.contains(&operation) {
            return Err(Error::PermissionDenied(format!(
                "{} lacks the operation {}",
                caller.name,
                operation.word()
            )));
        }
        match (skill, &caller.skills) {
            (Some(skill), Some(skills)) if !skills.contains(skill) => Err(Error::PermissionDenied(
                format!("{} may not use the skill {skill}", caller.name),
            )),
            _ => Ok(()),
        }
    }

    /// Notes which task the call is about, for the audit.
    pub fn about(&self, task: &str) {
        self.trail.is_about(task);
    }

    /// Whether the client named this extension.
    #[must_use]
    pub fn speaks(&self, extension: &str) -> bool {
        self.extensions.iter().any(|named| named == extension)
    }
}
