//! What the process says about its own state.
//!
//! Each part that others depend on registers a named check and sets it when something changes; nobody is asked
//! when a probe comes, so a probe can neither hang nor cause load. *Degraded* means that work
//! goes on with less comfort (no coordinator in sight, say) and keeps the process ready; *failed* means that it should
//! get no new work. The doors are in [`server`].

pub mod server;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// How one check, or the process, stands. Ordered from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All is well.
    Ok,
    /// Work goes on, but somebody should look.
    Degraded,
    /// New work should go elsewhere.
    Failed,
}

/// One check as `/readyz` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Its name.
    pub name: Cow<'static, str>,
    /// How it stands.
    pub status: Status,
    /// Why, when it is not ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
}

/// All checks as `/readyz` shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The worst of them; ok when there is none.
    pub status: Status,
    /// Each, sorted by name.
    pub checks: Vec<CheckReport>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    status: Status,
    reason: Option<Cow<'static, str>>,
}

type Checks = BTreeMap<Cow<'static, str>, State>;

/// The checks of this process. Clones are the same registry.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Checks>>);

/// Sets one check. The last word counts, also after all handles are gone.
#[derive(Debug, Clone)]
pub struct CheckHandle {
    name: Cow<'static, str>,
    health: Health,
}

impl Health {
    /// No checks yet, which counts as ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a check, failed with reason `starting` until it is set; a known name gives a further
    /// handle to the check that exists.
    #[must_use]
    pub fn check(&self, name: impl Into<Cow<'static, str>>) -> CheckHandle {
        let name = name.into();
        let starting = || State { status: Status::Failed, reason: Some("starting".into()) };
        self.checks().entry(name.clone()).or_insert_with(starting);
        CheckHandle { name, health: self.clone() }
    }

    /// How all checks stand now.
    #[must_use]
    pub fn report(&self) -> Report {
        let checks: Vec<CheckReport> = self
            .checks()
            .iter()
            .map(|(name, state)| CheckReport {
                name: name.clone(),
                status: state.status,
                reason: state.reason.clone(),
            })
            .collect();
        let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Ok);
        Report { status, checks }
    }

    fn checks(&self) -> MutexGuard<'_, Checks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CheckHandle {
    /// All is well.
    pub fn ok(&self) {
        self.set(State { status: Status::Ok, reason: None });
    }

    /// Work goes on, but somebody should look.
    pub fn degraded(&self, reason: impl Into<Cow<'static, str>>) {
        self.set(State { status: Status::Degraded, reason: Some(reason.into()) });
    }

    /// New work should go elsewhere.
    pub fn failed(&self, reason: impl Into<Cow<'static, str>>) {
        self.set(State { status: Status::Failed, reason: Some(reason.into()) });
    }

    /// As [`CheckHandle::failed`], because the process is ending as it was told to: nobody needs to look.
    pub fn leaving(&self, reason: impl Into<Cow<'static, str>>) {
        let (status, reason) = (Status::Failed, Some(reason.into()));
        tracing::info!(check = self.name.as_ref(), reason = reason.as_deref(), "leaving");
        self.health.checks().insert(self.name.clone(), State { status, reason });
    }

    fn set(&self, new: State) {
        let check = self.name.as_ref();
        {
            let mut checks = self.health.checks();
            match checks.get_mut(check) {
                Some(old) if *old == new => return,
                Some(old) => *old = new.clone(),
                None => drop(checks.insert(self.name.clone(), new.clone())),
            }
        }
        match (new.status, new.reason) {
            (Status::Ok, _) => tracing::info!(check, "check passes"),
            (Status::Degraded, reason) => {
                tracing::warn!(check, reason = reason.as_deref(), "check degraded");
            }
            (Status::Failed, reason) => {
                tracing::warn!(check, reason = reason.as_deref(), "check failed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_decides() {
        type Set = fn(&CheckHandle);
        let (ok, degraded, failed): (Set, Set, Set) =
            (CheckHandle::ok, |c| c.degraded("slow"), |c| c.failed("gone"));
        for (first, second, expected) in [
            (ok, ok, Status::Ok),
            (ok, degraded, Status::Degraded),
            (degraded, ok, Status::Degraded),
            (failed, degraded, Status::Failed),
            (ok, failed, Status::Failed),
        ] {
            let health = Health::new();
            first(&health.check("bus"));
            second(&health.check("coordinator"));
            assert_eq!(health.report().status, expected);
        }
        assert_eq!(Health::new().report().status, Status::Ok);
    }

    #[test]
    fn a_check_fails_until_it_is_set_and_forgets_old_reasons() {
        let health = Health::new();
        let bus = health.check("bus");
        let json = |health: &Health| serde_json::to_string(&health.report()).unwrap();
        let starting = r#"{"status":"failed","checks":[{"name":"bus","status":"failed","reason":"starting"}]}"#;
        assert_eq!(json(&health), starting);
        bus.degraded("reconnecting");
        bus.ok();
        let ok = r#"{"status":"ok","checks":[{"name":"bus","status":"ok"}]}"#;
        assert_eq!(json(&health), ok);
        drop(health.check("bus"));
        assert_eq!(json(&health), ok, "a second handle changes nothing");
    }
}
