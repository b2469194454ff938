//! What a local nats-server is told: typed settings, and the config file they amount to.
//!
//! Two accounts: `SYS` for those who watch the server, and `WEFT`, where everything else happens.
//! A client without credentials lands in `WEFT` (`no_auth_user`), so that a bare `nats pub` works
//! on a developer's machine; the server listens on loopback only.

use std::{fmt, path::PathBuf, time::Duration};

/// Nobody has to be reached from outside the machine.
pub(super) const HOST: &str = "127.0.0.1";

/// The server pings a silent client this often and drops it after [`PINGS_UNANSWERED_MAX`] pings:
/// that is how a frozen worker is noticed within seconds.
const PING_INTERVAL_SECONDS: u32 = 1;
const PINGS_UNANSWERED_MAX: u32 = 2;

/// The user of account `SYS`.
pub const SYSTEM_USER: &str = "sys";
/// The user of account `WEFT`; also the one of clients without credentials.
pub const WEFT_USER: &str = "weft";

/// The server's own default. Larger values go to the object store, not into messages.
const PAYLOAD_BYTES_DEFAULT: u32 = 1024 * 1024;

/// Recovering millions of messages takes a while, and a server that dies is noticed at once.
const START_LIMIT_DEFAULT: Duration = Duration::from_secs(60);

/// The port of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// A free one, chosen at the first start and kept over restarts.
    Any,
    /// This one. That it is taken is an error.
    Fixed(u16),
}

/// When JetStream's writes reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncInterval {
    /// Every two minutes, the server's default: fast, survives the server's death but not the
    /// machine's.
    #[default]
    TwoMinutes,
    /// Before every acknowledgement, as in production.
    Always,
}

/// A password. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// A password of the caller's choice.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// 128 random bits as hexadecimal digits, which need no escaping in a URL.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// The password itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// The passwords of the two users.
#[derive(Debug, Clone)]
pub struct Passwords {
    /// Of user `sys` in account `SYS`.
    pub system: Password,
    /// Of user `weft` in account `WEFT`.
    pub weft: Password,
}

/// A server's place in a cluster on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The cluster's name, the same for all members.
    pub cluster: String,
    /// Where this member listens for the others.
    pub port: u16,
    /// The cluster ports of all members. JetStream derives the size of its quorum from them.
    pub routes: Vec<u16>,
}

/// How to run one server. Start from [`ServerSettings::new`] and change what matters.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Holds the streams, the config file and the log. Created if missing; one server at a time.
    pub data_dir: PathBuf,
    /// The server's name, unique in its cluster.
    pub name: String,
    /// Where clients connect.
    pub client_port: Port,
    /// Where HTTP monitoring answers.
    pub monitor_port: Port,
    /// When writes reach the disk.
    pub sync_interval: SyncInterval,
    /// Passwords of the two users.
    pub passwords: Passwords,
    /// The largest message, in bytes.
    pub payload_bytes_max: u32,
    /// What its streams may take on disk, in bytes; `None` leaves it to the server.
    pub store_bytes_max: Option<u64>,
    /// The cluster it belongs to, if any.
    pub membership: Option<Membership>,
    /// How long a start may take, recovery of the stored streams included.
    pub start_limit: Duration,
}

impl ServerSettings {
    /// A single server on free ports with random passwords, not syncing every write.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            name: "weft".to_owned(),
            client_port: Port::Any,
            monitor_port: Port::Any,
            sync_interval: SyncInterval::default(),
            passwords: Passwords { system: Password::random(), weft: Password::random() },
            payload_bytes_max: PAYLOAD_BYTES_DEFAULT,
            store_bytes_max: None,
            membership: None,
            start_limit: START_LIMIT_DEFAULT,
        }
    }
}

/// What the launcher adds to the settings: paths are absolute and UTF-8, ports are chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Launch<'a> {
    pub(super) store_dir: &'a str,
    pub(super) ports_dir: &'a str,
    pub(super) client_port: u16,
    pub(super) monitor_port: u16,
}

/// The config file, in the server's own format.
pub(super) fn text(settings: &ServerSettings, launch: &Launch<'_>) -> String {
    let sync = match settings.sync_interval {
        SyncInterval::TwoMinutes => "",
        SyncInterval::Always => ", sync_interval: always",
    };
    let room =
        settings.store_bytes_max.map_or_else(String::new, |max| format!(", max_file_store: {max}"));
    let lines = [
        format!("server_name: {}", quoted(&settings.name)),
        format!("listen: \"{HOST}:{}\"", launch.client_port),
        format!("http: \"{HOST}:{}\"", launch.monitor_port),
        format!("ports_file_dir: {}", quoted(launch.ports_dir)),
        format!("max_payload: {}", settings.payload_bytes_max),
        format!("ping_interval: \"{PING_INTERVAL_SECONDS}s\""),
        format!("ping_max: {PINGS_UNANSWERED_MAX}"),
        format!("jetstream {{ store_dir: {}{sync}{room} }}", quoted(launch.store_dir)),
        "accounts {".to_owned(),
        format!("  SYS {{ users: [ {} ] }}", user(SYSTEM_USER, &settings.passwords.system)),
        format!(
            "  WEFT {{ jetstream: enabled, users: [ {} ] }}",
            user(WEFT_USER, &settings.passwords.weft)
        ),
        "}".to_owned(),
        "system_account: SYS".to_owned(),
        format!("no_auth_user: {WEFT_USER}"),
    ];
    let mut text = lines.join("\n");
    text.push('\n');
    text.extend(settings.membership.as_ref().map(cluster));
    text
}

fn cluster(membership: &Membership) -> String {
    let route = |port: &u16| format!("\"nats-route://{HOST}:{port}\"");
    let routes: Vec<String> = membership.routes.iter().map(route).collect();
    format!(
        "cluster {{ name: {}, listen: \"{HOST}:{}\", routes: [ {} ] }}\n",
        quoted(&membership.cluster),
        membership.port,
        routes.join(", ")
    )
}

fn user(name: &str, password: &Password) -> String {
    format!("{{ user: {name}, password: {} }}", quoted(password.expose()))
}

/// A quoted string of the config format. Unquoted, `$x` would be a variable and `1m` a number.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAUNCH: Launch<'static> =
        Launch { store_dir: "/d", ports_dir: "/d/ports", client_port: 4222, monitor_port: 8222 };

    fn settings() -> ServerSettings {
        ServerSettings {
            passwords: Passwords { system: Password::new("s\"1"), weft: Password::new("$w") },
            ..ServerSettings::new("/d")
        }
    }

    const SINGLE: &str = r#"server_name: "weft"
listen: "127.0.0.1:4222"
http: "127.0.0.1:8222"
ports_file_dir: "/d/ports"
max_payload: 1048576
ping_interval: "1s"
ping_max: 2
jetstream { store_dir: "/d" }
accounts {
  SYS { users: [ { user: sys, password: "s\"1" } ] }
  WEFT { jetstream: enabled, users: [ { user: weft, password: "$w" } ] }
}
system_account: SYS
no_auth_user: weft
"#;

    #[test]
    fn settings_become_a_config_file() {
        let membership =
            Membership { cluster: "c".to_owned(), port: 6001, routes: vec![6001, 6002] };
        let always = SINGLE.replace("\"/d\" }", "\"/d\", sync_interval: always }");
        let member = format!(
            "{SINGLE}{}\n",
            r#"cluster { name: "c", listen: "127.0.0.1:6001", routes: [ "nats-route://127.0.0.1:6001", "nats-route://127.0.0.1:6002" ] }"#
        );
        let renamed = SINGLE.replace("\"weft\"", r#""a\\b""#).replace("1048576", "9");
        let table = [
            ("single", settings(), SINGLE.to_owned()),
            (
                "synced",
                ServerSettings { sync_interval: SyncInterval::Always, ..settings() },
                always,
            ),
            ("member", ServerSettings { membership: Some(membership), ..settings() }, member),
            (
                "renamed",
                ServerSettings { name: "a\\b".to_owned(), payload_bytes_max: 9, ..settings() },
                renamed,
            ),
        ];
        for (case, settings, expected) in table {
            assert_eq!(text(&settings, &LAUNCH), expected, "{case}");
        }
    }

    #[test]
    fn passwords_are_random_and_not_shown() {
        let (a, b) = (Password::random(), Password::random());
        assert_ne!(a.expose(), b.expose());
        assert_eq!(a.expose().len(), 32);
        assert!(
            !format!(
                "{:?}",
                ServerSettings {
                    passwords: Passwords { system: a.clone(), weft: b },
                    ..settings()
                }
            )
            .contains(a.expose())
        );
    }
}
