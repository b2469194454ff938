//! Decisions of people about single actions.
//!
//! A request carries the hash of the action in its canonical form; a decision names that hash, so it can allow
//! nothing else. Who may decide is a chain of levels that widens with time; how many must agree is the quorum.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::budget::Usage;
use crate::message::Message;
use crate::time::Timestamp;

/// An action that must not happen before somebody has allowed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequest {
    /// What is to be done, for people and for the hash.
    pub action: Value,
    /// [`action_hash`] of it.
    pub hash: String,
    /// What people are asked.
    pub question: String,
    /// Who may decide, the first level from the beginning. Empty: anybody who may publish the decision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Level>,
    /// How many have to approve, at least 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub quorum: u32,
}

/// A level of the chain of those who may decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Level {
    /// Their names, as decisions give them.
    pub approvers: Vec<String>,
    /// From when on they may decide, in ms after the request; earlier levels may go on deciding.
    #[serde(default)]
    pub after_ms: u64,
}

/// What somebody says about a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The hash of the action that it is about.
    pub hash: String,
    /// What is decided.
    pub verdict: Verdict,
    /// Who decides.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// With [`Verdict::Edit`]: the action that is allowed in place of the one asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Value>,
}

/// The member of a stored decision that holds the message which decided, where a message did.
const MESSAGE: &str = "message";

impl Decision {
    /// The body of a decision that was made by a message: what decides, and what was said.
    #[must_use]
    pub fn said_in(&self, message: &Message) -> Vec<u8> {
        // Values of this crate's own types always are JSON.
        let mut body = serde_json::to_value(self).unwrap_or_default();
        if let (Value::Object(members), Ok(message)) = (&mut body, serde_json::to_value(message)) {
            members.insert(MESSAGE.to_owned(), message);
        }
        body.to_string().into_bytes()
    }

    /// The message in which a stored decision was said, if it was.
    #[must_use]
    pub fn message_in(body: &[u8]) -> Option<Message> {
        let mut body: Value = crate::codec::json(body).ok()?;
        serde_json::from_value(body.get_mut(MESSAGE)?.take()).ok()
    }
}

/// The word of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may be done as asked.
    Approve,
    /// It must not be done.
    Deny,
    /// Another action may be done instead.
    Edit,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ruling {
    /// What was decided; nothing when nobody did in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Who decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// What the last of them said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The action that is allowed in place of the one asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Value>,
}

/// The member of an action that asks for more budget, a [`Usage`].
pub const RAISE_BUDGET: &str = "raiseBudget";

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this shape")]
fn is_one(quorum: &u32) -> bool {
    *quorum == 1
}

/// SHA-256 over the canonical JSON of an action (members sorted by name, no white space), in hex.
#[must_use]
pub fn action_hash(action: &Value) -> String {
    let mut text = String::new();
    canonical(action, &mut text);
    crate::id::hex(Sha256::digest(text.as_bytes()).iter())
}

/// Writes JSON with the members of every object sorted by name.
fn canonical(value: &Value, to: &mut String) {
    let scalar = |value: &Value| serde_json::to_string(value).unwrap_or_default();
    match value {
        Value::Object(members) => {
            let mut names: Vec<_> = members.iter().collect();
            names.sort_by_key(|(name, _)| *name);
            to.push('{');
            for (at, (name, value)) in names.into_iter().enumerate() {
                if at > 0 {
                    to.push(',');
                }
                to.push_str(&scalar(&Value::String(name.clone())));
                to.push(':');
                canonical(value, to);
            }
            to.push('}');
        }
        Value::Array(items) => {
            to.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    to.push(',');
                }
                canonical(item, to);
            }
            to.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            to.push_str(&scalar(value));
        }
    }
}

impl ApprovalRequest {
    /// A request that anybody may decide alone.
    #[must_use]
    pub fn new(action: Value, question: impl Into<String>) -> Self {
        let hash = action_hash(&action);
        Self { action, hash, question: question.into(), chain: Vec::new(), quorum: 1 }
    }

    /// What an approved request adds to the task's budget, when that is the action: `{"raiseBudget": {..}}`.
    #[must_use]
    pub fn raise(&self, ruling: &Ruling) -> Option<Usage> {
        let action = match ruling.verdict? {
            Verdict::Approve => &self.action,
            Verdict::Edit => ruling.action.as_ref()?,
            Verdict::Deny => return None,
        };
        serde_json::from_value(action.get(RAISE_BUDGET)?.clone()).ok()
    }

    /// Checks what an edit puts in the place of the action.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_edit(&self, action: &Value) -> Result<(), String> {
        if action.is_null() {
            return Err("it is null".to_owned());
        }
        if self.action.get(RAISE_BUDGET).is_none() {
            return Ok(());
        }
        let raise = action.get(RAISE_BUDGET).cloned().unwrap_or_default();
        let read = serde_json::from_value::<Usage>(raise);
        read.map(drop).map_err(|error| format!("{RAISE_BUDGET}: {error}"))
    }

    /// Whether somebody may decide at a time, the request being as old as `age_ms` then.
    #[must_use]
    pub fn may_decide(&self, by: &str, age_ms: u64) -> bool {
        self.chain.is_empty()
            || self
                .chain
                .iter()
                .filter(|level| level.after_ms <= age_ms)
                .any(|level| level.approvers.iter().any(|name| name == by))
    }

    /// Who may decide at an age, in the order of the chain; nobody named: anybody.
    #[must_use]
    pub fn deciders(&self, age_ms: u64) -> Vec<String> {
        self.between(None, age_ms)
    }

    /// Whom it is put to at an age: those of the last level that has begun.
    #[must_use]
    pub fn addressees(&self, age_ms: u64) -> Vec<String> {
        let begun = self.chain.iter().map(|level| level.after_ms).filter(|after| *after <= age_ms);
        let last = begun.max();
        let of_it = self.chain.iter().filter(|level| Some(level.after_ms) == last);
        of_it.flat_map(|level| level.approvers.clone()).collect()
    }

    /// The age in ms at which the next level begins, if there is one behind `reached_ms`.
    #[must_use]
    pub fn next_level(&self, reached_ms: u64) -> Option<u64> {
        self.chain.iter().map(|level| level.after_ms).filter(|after| *after > reached_ms).min()
    }

    /// The last level that has begun at an age and not by `reached_ms`, and whom all such levels add.
    #[must_use]
    pub fn escalated(&self, reached_ms: u64, age_ms: u64) -> Option<(u64, Vec<String>)> {
        let begun = self.chain.iter().map(|level| level.after_ms).filter(|after| *after <= age_ms);
        let last = begun.max().filter(|last| *last > reached_ms)?;
        Some((last, self.between(Some(reached_ms), last)))
    }

    fn between(&self, behind_ms: Option<u64>, age_ms: u64) -> Vec<String> {
        let begun = self.chain.iter().filter(|level| {
            level.after_ms <= age_ms && behind_ms.is_none_or(|behind| level.after_ms > behind)
        });
        begun.flat_map(|level| level.approvers.clone()).collect()
    }

    /// What the decisions so far come to, in the order of the stream: the first one that denies or edits, or the one
    /// that makes the quorum. `due` says whether the time is up.
    #[must_use]
    pub fn rule(
        &self,
        since: Timestamp,
        decisions: &[(u64, Timestamp, &Decision)],
        due: bool,
    ) -> Option<(Vec<u64>, Ruling)> {
        let mut sequences = Vec::new();
        let mut by: Vec<String> = Vec::new();
        for (sequence, at, decision) in decisions {
            let age = u64::try_from(at.since(since).as_millis()).unwrap_or(u64::MAX);
            if decision.hash != self.hash
                || by.contains(&decision.by)
                || !self.may_decide(&decision.by, age)
                || (decision.verdict == Verdict::Edit) != decision.action.is_some()
            {
                continue;
            }
            sequences.push(*sequence);
            by.push(decision.by.clone());
            let enough = u32::try_from(by.len()).unwrap_or(u32::MAX) >= self.quorum;
            if decision.verdict != Verdict::Approve || enough {
                let ruling = Ruling {
                    verdict: Some(decision.verdict),
                    by,
                    comment: decision.comment.clone(),
                    action: decision.action.clone(),
                };
                return Some((sequences, ruling));
            }
        }
        due.then_some((sequences, Ruling { verdict: None, by, comment: None, action: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_decision_keeps_the_message_that_made_it() {
        let decision = Decision {
            hash: "00".to_owned(),
            verdict: Verdict::Approve,
            by: "ann".to_owned(),
            comment: None,
            action: None,
        };
        let message = Message::from_user(vec![crate::message::Part::text("yes")]);
        let body = decision.said_in(&message);
        assert_eq!(serde_json::from_slice::<Decision>(&body).unwrap(), decision);
        assert_eq!(Decision::message_in(&body), Some(message));
        let bare = serde_json::to_vec(&decision).unwrap();
        for body in [bare.as_slice(), b"", b"[]", br#"{"message": 7}"#] {
            assert_eq!(Decision::message_in(body), None);
        }
    }

    #[test]
    fn the_hash_does_not_depend_on_the_order_of_members() {
        let one: Value =
            serde_json::from_str(r#"{"b":[1,{"y":0,"x":null}],"a":"\u00e9"}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"a":"é","b":[1,{"x":null,"y":0}]}"#).unwrap();
        assert_eq!(action_hash(&one), action_hash(&two));
        assert_ne!(action_hash(&json!({"a": 1})), action_hash(&json!({"a": "1"})));
    }

    #[test]
    fn a_chain_says_who_decides_at_each_age() {
        let mut request = ApprovalRequest::new(json!(1), "?");
        assert_eq!(
            (request.deciders(9), request.next_level(0), request.escalated(0, 9)),
            (vec![], None, None)
        );
        let level = |name: &str, after_ms| Level { approvers: vec![name.to_owned()], after_ms };
        request.chain = vec![level("ann", 0), level("eve", 10), level("bob", 10), level("kim", 30)];
        for (reached, age, deciders, addressees, escalated, next) in [
            (0, 0, "ann", "ann", None, Some(10)),
            (0, 9, "ann", "ann", None, Some(10)),
            (0, 10, "ann eve bob", "eve bob", Some((10, "eve bob")), Some(30)),
            (10, 29, "ann eve bob", "eve bob", None, Some(30)),
            (10, 30, "ann eve bob kim", "kim", Some((30, "kim")), None),
            (0, 99, "ann eve bob kim", "kim", Some((30, "eve bob kim")), None),
            (30, 99, "ann eve bob kim", "kim", None, None),
        ] {
            let found = request.escalated(reached, age).map(|(at, to)| (at, to.join(" ")));
            let found = found.as_ref().map(|(at, to)| (*at, to.as_str()));
            assert_eq!(request.deciders(age).join(" "), deciders, "{age}");
            assert_eq!(request.addressees(age).join(" "), addressees, "{age}");
            assert_eq!((found, request.next_level(age)), (escalated, next), "{reached} {age}");
        }
    }

    #[test]
    fn levels_quorum_and_hash_decide() {
        let mut request = ApprovalRequest::new(json!({"pay": 5}), "pay?");
        request.quorum = 2;
        request.chain = vec![
            Level { approvers: vec!["ann".to_owned(), "bob".to_owned()], after_ms: 0 },
            Level { approvers: vec!["eve".to_owned()], after_ms: 1_000 },
        ];
        let hash = request.hash.clone();
        let say = |by: &str, verdict, hash: &str| Decision {
            hash: hash.to_owned(),
            verdict,
            by: by.to_owned(),
            comment: None,
            action: (verdict == Verdict::Edit).then(|| json!({"pay": 4})),
        };
        let yes = |by| say(by, Verdict::Approve, &hash);
        for (said, due, expected) in [
            (vec![(yes("ann"), 0)], false, None),
            (vec![(yes("ann"), 0), (yes("ann"), 1)], false, None),
            (vec![(yes("ann"), 0), (yes("bob"), 1)], false, Some(Some(Verdict::Approve))),
            (vec![(yes("ann"), 0), (yes("eve"), 999)], false, None),
            (vec![(yes("ann"), 0), (yes("eve"), 1_000)], false, Some(Some(Verdict::Approve))),
            (vec![(yes("ann"), 0), (say("bob", Verdict::Approve, "ff"), 1)], false, None),
            (vec![(say("bob", Verdict::Deny, &hash), 0)], false, Some(Some(Verdict::Deny))),
            (vec![(say("bob", Verdict::Edit, &hash), 0)], false, Some(Some(Verdict::Edit))),
            (vec![(say("mallory", Verdict::Deny, &hash), 0)], false, None),
            (vec![(yes("ann"), 0)], true, Some(None)),
        ] {
            let said: Vec<_> =
                said.into_iter().map(|(one, ms)| (one, Timestamp::from_millis(ms))).collect();
            let decisions: Vec<_> =
                (1..).zip(&said).map(|(at, (one, when))| (at, *when, one)).collect();
            let ruled = request.rule(Timestamp::from_millis(0), &decisions, due);
            assert_eq!(ruled.map(|(_, ruling)| ruling.verdict), expected, "{said:?}");
        }
    }
}
