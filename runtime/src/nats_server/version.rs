//! Decides whether a nats-server binary is new enough to carry Weft.
//!
//! The binary itself is asked (`--version`): file names and package managers are not believed.

use std::{fmt, io, path::Path, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

/// The version that is downloaded when the machine has none.
pub const PINNED: Version = Version { major: 2, minor: 15, patch: 1 };

/// The oldest version that is accepted: 2.14 brought cron schedules and rollup, which retries and
/// timers stand on (2.12 has neither), and 2.14.3 closes the advisories of 2026.
pub const MINIMUM: Version = Version { major: 2, minor: 14, patch: 3 };

/// Loading 19 MB from a cold disk on a busy machine is the slowest honest answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// A released version of nats-server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number.
    pub patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Why a binary cannot be used as nats-server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// The file is missing, not executable, or not a program for this machine.
    #[error("it cannot be run: {0}")]
    Run(io::Error),
    /// The program did not end.
    #[error("`--version` gave no answer within {} s", ANSWER_LIMIT.as_secs())]
    Silent,
    /// The program is not nats-server.
    #[error("`--version` printed {0:?}, which is not a nats-server's answer")]
    Foreign(String),
    /// The program is nats-server, but too old.
    #[error(
        "version {0} is too old: {MINIMUM} or newer is needed (earlier ones lack cron schedules \
         and rollup, or security fixes)"
    )]
    TooOld(Version),
}

/// Runs `path --version` and accepts [`MINIMUM`] or newer.
pub(super) async fn check(path: &Path) -> Result<Version, Unusable> {
    let mut command = Command::new(path);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(ANSWER_LIMIT, command.output())
        .await
        .map_err(|_elapsed| Unusable::Silent)?
        .map_err(Unusable::Run)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(version) = parse(&text) else {
        return Err(Unusable::Foreign(text.chars().take(80).collect()));
    };
    if version < MINIMUM { Err(Unusable::TooOld(version)) } else { Ok(version) }
}

/// Reads `nats-server: v2.15.1`. What follows the third number (`-preview.1`) is not looked at.
fn parse(text: &str) -> Option<Version> {
    let numbers = text.trim().strip_prefix("nats-server: v")?;
    let mut parts = numbers.splitn(3, '.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    let patch = parts.next()?;
    let digits = patch.find(|c: char| !c.is_ascii_digit()).unwrap_or(patch.len());
    let patch = patch.get(..digits)?.parse().ok()?;
    Some(Version { major, minor, patch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_server_is_read() {
        let version = |major, minor, patch| Some(Version { major, minor, patch });
        let table = [
            ("nats-server: v2.15.1\n", version(2, 15, 1)),
            ("nats-server: v2.14.3-RC.2", version(2, 14, 3)),
            ("nats-server: v10.0.0+build", version(10, 0, 0)),
            ("nats-server: v2.15", None),
            ("nats-server: 2.15.1", None),
            ("nats-server: vX.1.2", None),
            ("usage: true", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |major, minor, patch| Version { major, minor, patch };
        let table = [
            (version(2, 9, 10), false),
            (version(2, 12, 12), false),
            (version(2, 14, 2), false),
            (version(2, 14, 3), true),
            (version(2, 15, 0), true),
            (version(3, 0, 0), true),
            (PINNED, true),
        ];
        for (candidate, accepted) in table {
            assert_eq!(candidate >= MINIMUM, accepted, "{candidate}");
        }
    }
}
