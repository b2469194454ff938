//! Decides which environment a program gets: what it needs to find its way, and what was configured.
//!
//! A node's own environment holds the credentials of the bus; a program gets none of that unless the
//! settings pass it on by name. Values never appear in logs or errors.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use serde::Deserialize;

/// What every program gets from the node's environment, where it is set.
const ALWAYS: &[&str] = &[
    "HOME",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TEMP",
    "TMP",
    "TMPDIR",
    "TZ",
    "USER",
    "VIRTUAL_ENV",
];

/// A configured value. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Value(String);

impl Value {
    /// A value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The whole environment of a program. Its `Debug` shows names only.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Environment(BTreeMap<OsString, OsString>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// From the node's own environment, the names to pass on besides the usual ones, and configured
    /// values, which win.
    pub(super) fn select(
        own: &[(OsString, OsString)],
        pass: &[String],
        set: &BTreeMap<String, Value>,
    ) -> Self {
        let passed = own.iter().filter(|(name, _)| {
            ALWAYS.iter().any(|always| name == always)
                || pass.iter().any(|pass| name == pass.as_str())
        });
        let mut all: BTreeMap<_, _> = passed.cloned().collect();
        all.extend(set.iter().map(|(name, value)| (name.into(), (&value.0).into())));
        Self(all)
    }

    /// Sets one more.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    pub(super) fn get(&self, name: &str) -> Option<&OsString> {
        self.0.get(std::ffi::OsStr::new(name))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.0.iter()
    }
}

/// Whether something can be the name of a variable.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_usual_or_configured_is_passed() {
        let own = [("PATH", "/bin"), ("HOME", "/root"), ("NATS_CREDS", "secret"), ("TOKEN", "t")]
            .map(|(name, value)| (name.into(), value.into()));
        let set = BTreeMap::from([
            ("HOME".to_owned(), Value::new("/srv")),
            ("MODE".to_owned(), Value::new("fast")),
        ]);
        let selected = Environment::select(&own, &["TOKEN".to_owned(), "NONE".to_owned()], &set);
        let found: Vec<_> =
            selected.iter().map(|(n, v)| format!("{}={}", n.display(), v.display())).collect();
        assert_eq!(found, ["HOME=/srv", "MODE=fast", "PATH=/bin", "TOKEN=t"]);
        let shown = format!("{selected:?} {set:?}");
        assert!(!shown.contains("/srv") && !shown.contains("fast"), "{shown}");
    }
}
