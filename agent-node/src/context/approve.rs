//! Approvals: an action waits for somebody's decision, which is bound to the action's hash and allows one step.

use std::time::Duration;

use protocol::approval::{ApprovalRequest, Level, Ruling, Verdict, action_hash};
use protocol::fault::{Fault, code};
use protocol::wait::{Answer, WaitingFor};
use serde_json::Value;

use super::turn::Turn;
use super::wait::Waited;
use super::{Context, permanent};
use crate::agent::Stop;

/// How an approval is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApprovalOptions {
    /// What people are asked; a sentence is made up when it is empty.
    pub question: String,
    /// Who may decide, the first level from the beginning. Empty: anybody who may publish the decision.
    pub chain: Vec<Level>,
    /// How many have to approve; 0 counts as 1.
    pub quorum: u32,
    /// How long the request stands; `None`: as long as the task.
    pub expires: Option<Duration>,
}

/// An action that somebody has allowed. It allows one step: see [`super::Call::allowed_by`].
#[derive(Debug, PartialEq)]
pub struct Approved {
    /// The approval's name.
    pub(super) name: String,
    /// What may be done: the action asked for, or the one put in its place.
    pub action: Value,
    /// Who allowed it.
    pub by: Vec<String>,
    /// What the last of them said about it.
    pub comment: Option<String>,
}

/// What became of a request.
#[derive(Debug, PartialEq)]
pub enum Decided {
    /// It may be done.
    Approved(Approved),
    /// It must not be done.
    Denied {
        /// Who said so.
        by: Vec<String>,
        /// Why.
        comment: Option<String>,
    },
    /// Nobody decided in time, or not enough did.
    Expired,
}

impl Context {
    /// Waits until somebody allows an action.
    ///
    /// # Errors
    /// The permanent failures `approval_denied` when it is denied or nobody decides in time, and `approval_mismatch` when
    /// the action is another one than was decided about; those of [`Context::sleep`].
    pub async fn approve(
        &self,
        name: &str,
        action: Value,
        options: ApprovalOptions,
    ) -> Result<Approved, Stop> {
        match self.decide(name, action, options).await? {
            Decided::Approved(approved) => Ok(approved),
            Decided::Denied { by, comment } => Err(denied(name, &by, comment.as_deref())),
            Decided::Expired => Err(expired(name)),
        }
    }

    /// As [`Context::approve`], for agents that go on when an action is denied.
    ///
    /// # Errors
    /// The permanent failure `approval_mismatch`; those of [`Context::sleep`].
    pub async fn decide(
        &self,
        name: &str,
        action: Value,
        options: ApprovalOptions,
    ) -> Result<Decided, Stop> {
        let mut turn = self.turn(name)?;
        self.decided(&mut turn, name, action, options).await
    }

    pub(super) async fn decided(
        &self,
        turn: &mut Turn<'_>,
        name: &str,
        action: Value,
        options: ApprovalOptions,
    ) -> Result<Decided, Stop> {
        let ApprovalOptions { mut question, chain, quorum, expires } = options;
        if question.is_empty() {
            question = format!("May {name:?} be done?");
        }
        let hash = action_hash(&action);
        let request = ApprovalRequest {
            chain,
            quorum: quorum.max(1),
            ..ApprovalRequest::new(action, question)
        };
        let waiting_for =
            WaitingFor::Approval { name: name.to_owned(), request: Box::new(request) };
        let waited = self.wait(turn, waiting_for, expires).await?;
        let Waited { waiting_for: WaitingFor::Approval { request, .. }, answer } = waited else {
            return Ok(Decided::Expired);
        };
        if request.hash != hash {
            return Err(mismatch(name, &request.hash, &hash));
        }
        let Answer::Approval { ruling, .. } = answer else { return Ok(Decided::Expired) };
        let Ruling { verdict, by, comment, action } = ruling;
        let approved = |action| {
            Decided::Approved(Approved {
                name: name.to_owned(),
                action,
                by: by.clone(),
                comment: comment.clone(),
            })
        };
        Ok(match (verdict, action) {
            (Some(Verdict::Approve), _) => approved(request.action),
            (Some(Verdict::Edit), Some(action)) => approved(action),
            (Some(Verdict::Deny | Verdict::Edit), _) => Decided::Denied { by, comment },
            (None, _) => Decided::Expired,
        })
    }
}

pub(super) fn denied(name: &str, by: &[String], comment: Option<&str>) -> Stop {
    let who = if by.is_empty() { "somebody".to_owned() } else { by.join(", ") };
    let said = comment.map_or_else(String::new, |comment| format!(": {comment}"));
    permanent(
        Fault::new(code::APPROVAL_DENIED, format!("{name:?} was denied by {who}{said}"))
            .at(format!("approval {name:?}")),
    )
}

pub(super) fn expired(name: &str) -> Stop {
    permanent(
        Fault::new(code::APPROVAL_DENIED, format!("not enough people allowed {name:?} in time"))
            .at(format!("approval {name:?}")),
    )
}

/// A call that the settings want people to decide about was given an approval of the code's own.
pub(super) fn by_settings_only(call: &str, approval: &str) -> Stop {
    let message = format!("the settings ask for a decision about it; {approval:?} is another one");
    permanent(
        Fault::new(code::APPROVAL_MISMATCH, message).at(format!("call {call:?}")).hint(
            "leave allowed_by out: the call asks by itself, as [[agents.guard.approvals]] says",
        ),
    )
}

pub(super) fn mismatch(name: &str, approved: &str, asked: &str) -> Stop {
    let message =
        format!("the action decided about has hash {approved}, the one to be done has {asked}");
    permanent(
        Fault::new(code::APPROVAL_MISMATCH, message).at(format!("approval {name:?}")).hint(
            "an approval allows exactly the action that was shown; ask again for another one",
        ),
    )
}
