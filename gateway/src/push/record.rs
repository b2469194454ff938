//! What is kept of a webhook: what the client asked for, how far it has been told, and how its endpoint does.
//!
//! One value in the bucket of webhooks, which whoever tells it writes by compare-and-set: that is all a gateway needs
//! to go on where another one was killed. The value may hold the client's credentials, so none of this has a `Debug`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::{Owner, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

use super::seal::Sealed;
use crate::a2a::request::{AuthenticationInfo, PushConfig};
use crate::core::events::Cursor;

/// A webhook.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its id, as the client spells it.
    pub id: String,
    /// The job that tells it; one that was made for an earlier webhook of this id has another.
    pub job: String,
    /// What nobody else is to know.
    #[serde(flatten)]
    pub kept: Kept,
    /// The tenant as the client named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// How far it has been told.
    pub progress: Progress,
}

/// What only its client and the gateways are to know of a webhook. The URL may hold a key as well.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secrets {
    /// Where to.
    pub url: String,
    /// Sent along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Becomes `Authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<AuthenticationInfo>,
}

/// How it is kept.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Kept {
    /// Under a key of the settings.
    Sealed {
        /// What is sealed.
        sealed: Sealed,
    },
    /// In the clear: there was no key.
    Open(Secrets),
}

/// How far a webhook has been told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The generation and the index of the last event that it took, or that was before its time.
    pub cursor: (u64, u32),
    /// Events that it took.
    pub told: u64,
    /// Failures in a row.
    #[serde(default)]
    pub failures: u32,
    /// When the first of these was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Not called before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// When it was called last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called_at: Option<Timestamp>,
    /// What came of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Whether anything is still to be told.
    pub state: PushState,
}

/// Whether a webhook is still told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PushState {
    /// Each event as it comes.
    #[default]
    Active,
    /// All of its task's events have been told.
    Done,
    /// It was given up; `outcome` says why.
    Disabled,
}

/// A webhook as people see it, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PushStatus {
    /// Its id.
    pub id: String,
    /// The task.
    pub task_id: String,
    /// Host and port: the rest of the URL may hold a secret. Empty where it cannot be opened.
    pub endpoint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How far it has been told.
    #[serde(flatten)]
    pub progress: Progress,
}

impl Progress {
    /// The last event that it took.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { generation: self.cursor.0, index: self.cursor.1 }
    }

    /// The endpoint took an event.
    pub fn take(&mut self, cursor: Cursor, now: Timestamp, outcome: String) {
        self.cursor = (cursor.generation, cursor.index);
        self.told += 1;
        self.failures = 0;
        self.failing_since = None;
        self.not_before = None;
        self.called_at = Some(now);
        self.outcome = Some(outcome);
    }

    /// It did not.
    pub fn fail(&mut self, now: Timestamp, outcome: String) {
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
        self.called_at = Some(now);
        self.outcome = Some(outcome);
    }

    /// It is given up.
    pub fn disable(&mut self, reason: String) {
        self.state = PushState::Disabled;
        self.not_before = None;
        self.outcome = Some(reason);
    }
}

impl Record {
    /// As clients see it.
    #[must_use]
    pub fn config(&self, task: &TaskId, secrets: Secrets) -> PushConfig {
        PushConfig {
            tenant: self.tenant.clone(),
            id: Some(self.id.clone()),
            task_id: Some(task.to_string()),
            url: secrets.url,
            token: secrets.token,
            authentication: secrets.authentication,
        }
    }
}

/// The key of a webhook in its bucket.
#[must_use]
pub fn key(owner: &Owner, task: &TaskId, id: &str) -> String {
    format!("{owner}.{task}.{}", token(id))
}

/// An id as one subject token: as it is where it can be.
#[must_use]
pub fn token(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !id.is_empty() && id.bytes().all(plain) {
        id.to_owned()
    } else {
        format!("={}", URL_SAFE_NO_PAD.encode(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_one_token_and_no_two_are_the_same() {
        let ids = ["a", "A-b_9", "a.b", "a b", "*", ">", "=YQ", "https://x/y", "é", "YQ"];
        let mut tokens: Vec<String> = ids.iter().map(|id| token(id)).collect();
        for token in &tokens {
            assert!(!token.is_empty() && !token.contains(['.', '*', '>', ' ']), "{token}");
        }
        tokens.sort();
        tokens.dedup();
        assert_eq!(tokens.len(), ids.len());
        assert_eq!(token("plain-id"), "plain-id");
    }

    #[test]
    fn a_success_ends_a_row_of_failures() {
        let at = Timestamp::from_millis;
        let mut progress = Progress::default();
        progress.fail(at(1), "status 500".to_owned());
        progress.fail(at(2), "status 502".to_owned());
        assert_eq!((progress.failures, progress.failing_since), (2, Some(at(1))));
        progress.take(Cursor { generation: 3, index: 1 }, at(3), "status 200".to_owned());
        assert_eq!((progress.failures, progress.failing_since, progress.told), (0, None, 1));
        assert_eq!(progress.cursor().to_string(), "3.1");
    }
}
