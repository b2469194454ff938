//! Where to connect and as whom: from flags, variables, the settings file and NATS contexts.
//!
//! Each source is a [`Layer`]. Servers, TLS files and credentials are each taken from the first layer that says
//! anything about them; credentials are never mixed from two layers, so that `--creds` is not overridden by
//! the user of some context.

use std::path::PathBuf;

use protocol::subject::Subjects;

use super::ArgsError;
use super::nats_context::Home;
use crate::bus::{BusSettings, Credentials, TlsFiles};
use crate::config::Settings;

/// Where a server is looked for when nothing is said.
pub const SERVER_DEFAULT: &str = "nats://127.0.0.1:4222";
/// The schemes of server URLs.
const SCHEMES: [&str; 2] = ["nats", "tls"];

/// Flags and variables of the connection; those of the NATS tools where there are such.
///
/// Holds secrets, hence no `Debug`.
#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Server URLs, separated by commas
    ///
    /// Without it, --nats-context, the settings file and the selected NATS context are asked, in this order; in
    /// the end port 4222 of this machine is tried.
    #[arg(long, short, value_name = "URL", env = "NATS_URL", hide_env_values = true)]
    pub server: Option<String>,
    /// File with JWT credentials
    #[arg(long, value_name = "FILE", env = "NATS_CREDS", hide_env_values = true)]
    pub creds: Option<PathBuf>,
    /// User, or a token if there is no password
    #[arg(long, env = "NATS_USER", hide_env_values = true)]
    pub user: Option<String>,
    /// Password of the user
    #[arg(long, env = "NATS_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// File with an nkey seed
    #[arg(long, value_name = "FILE", env = "NATS_NKEY", hide_env_values = true)]
    pub nkey: Option<PathBuf>,
    /// File with the client's TLS certificate
    #[arg(long, value_name = "FILE", env = "NATS_CERT", hide_env_values = true)]
    pub tlscert: Option<PathBuf>,
    /// File with the key of that certificate
    #[arg(long, value_name = "FILE", env = "NATS_KEY", hide_env_values = true)]
    pub tlskey: Option<PathBuf>,
    /// File with further root certificates
    #[arg(long, value_name = "FILE", env = "NATS_CA", hide_env_values = true)]
    pub tlsca: Option<PathBuf>,
    /// NATS context to use instead of the selected one
    #[arg(long, value_name = "NAME", env = "NATS_CONTEXT", hide_env_values = true)]
    pub nats_context: Option<String>,
    /// First token of the mesh's subjects [default: weft]
    #[arg(long, env = "WEFT_PREFIX", hide_env_values = true)]
    pub prefix: Option<String>,
}

/// Flags and variables of a second connection, to the system account.
#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "System account")]
pub struct SystemArgs {
    /// Server URLs for the system account; user and password may be in them
    #[arg(long, value_name = "URL", env = "WEFT_SYSTEM_URL", hide_env_values = true)]
    pub system_server: Option<String>,
    /// File with JWT credentials of the system account
    #[arg(long, value_name = "FILE", env = "WEFT_SYSTEM_CREDS", hide_env_values = true)]
    pub system_creds: Option<PathBuf>,
}

/// What one source says about the connection.
#[derive(Clone, Default)]
pub(super) struct Layer {
    pub(super) servers: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) token: Option<String>,
    pub(super) creds: Option<PathBuf>,
    pub(super) nkey: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) ca: Option<PathBuf>,
}

impl Layer {
    fn of_settings(settings: &Settings) -> Self {
        Self {
            servers: settings.servers.clone(),
            creds: settings.credentials.clone(),
            ..Self::default()
        }
    }

    /// The credentials of this layer, in the order of the NATS tools.
    fn credentials(&self) -> Result<Option<Credentials>, ArgsError> {
        Ok(match (&self.user, &self.password, &self.creds, &self.nkey, &self.token) {
            (Some(user), Some(password), ..) => {
                Some(Credentials::User { user: user.clone(), password: password.clone() })
            }
            (Some(token), None, ..) => Some(Credentials::Token(token.clone())),
            (None, _, Some(creds), ..) => Some(Credentials::File(creds.clone())),
            (None, _, None, Some(nkey), _) => {
                let seed = std::fs::read_to_string(nkey)
                    .map_err(|source| ArgsError::Nkey { path: nkey.clone(), source })?;
                Some(Credentials::Nkey(seed.trim().to_owned()))
            }
            (None, _, None, None, Some(token)) => Some(Credentials::Token(token.clone())),
            (None, _, None, None, None) => None,
        })
    }

    fn identity(&self) -> Result<Option<(PathBuf, PathBuf)>, ArgsError> {
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Ok(Some((cert.clone(), key.clone()))),
            (None, None) => Ok(None),
            _ => Err(ArgsError::HalfIdentity),
        }
    }
}

impl ConnectionArgs {
    /// The settings with the prefix that a flag or variable gives.
    ///
    /// # Errors
    /// When that is no prefix.
    pub fn with_prefix(&self, mut settings: Settings) -> Result<Settings, ArgsError> {
        if let Some(prefix) = given(self.prefix.as_ref()) {
            settings.subjects = Subjects::new(&prefix)?;
        }
        Ok(settings)
    }

    /// Where and how to connect, as a process that does `role`.
    ///
    /// # Errors
    /// When a context or a seed cannot be read.
    pub fn bus(&self, settings: &Settings, role: &str) -> Result<BusSettings, ArgsError> {
        self.bus_at(&Home::from_environment(), settings, role)
    }

    fn bus_at(
        &self,
        home: &Home,
        settings: &Settings,
        role: &str,
    ) -> Result<BusSettings, ArgsError> {
        let mut layers = vec![self.layer()];
        let named = given(self.nats_context.as_ref());
        if let Some(name) = &named {
            layers.push(home.context(name)?);
        }
        layers.push(Layer::of_settings(settings));
        // A server given by hand or by file is not to be met with whatever context happens to be selected.
        let said = layers.iter().any(|layer| layer.servers.is_some());
        if named.is_none() && !said {
            layers.extend(home.selected()?);
        }
        let servers = first(&layers, |layer| layer.servers.clone());
        let servers = servers.unwrap_or_else(|| SERVER_DEFAULT.to_owned());
        servers.split(',').try_for_each(check_server)?;
        let mut bus = BusSettings {
            servers,
            credentials: Credentials::None,
            tls: TlsFiles { ca: first(&layers, |layer| layer.ca.clone()), identity: None },
            role: role.to_owned(),
            subjects: settings.subjects.clone(),
        };
        for layer in layers.iter().rev() {
            bus.credentials = layer.credentials()?.unwrap_or(bus.credentials);
            bus.tls.identity = layer.identity()?.or(bus.tls.identity);
        }
        Ok(bus)
    }

    fn layer(&self) -> Layer {
        Layer {
            servers: given(self.server.as_ref()),
            user: given(self.user.as_ref()),
            password: given(self.password.as_ref()),
            token: None,
            creds: given_path(self.creds.as_ref()),
            nkey: given_path(self.nkey.as_ref()),
            cert: given_path(self.tlscert.as_ref()),
            key: given_path(self.tlskey.as_ref()),
            ca: given_path(self.tlsca.as_ref()),
        }
    }
}

impl SystemArgs {
    /// The connection to the system account, if one is known. TLS files are those of `main`.
    #[must_use]
    pub fn bus(&self, settings: &Settings, main: &BusSettings) -> Option<BusSettings> {
        let section = &settings.coordinator;
        let servers = given(self.system_server.as_ref()).or_else(|| section.system_servers.clone());
        let creds =
            given_path(self.system_creds.as_ref()).or_else(|| section.system_credentials.clone());
        if servers.is_none() && creds.is_none() {
            return None;
        }
        Some(BusSettings {
            servers: servers.unwrap_or_else(|| main.servers.clone()),
            credentials: creds.map_or(Credentials::None, Credentials::File),
            role: format!("{}-system", main.role),
            ..main.clone()
        })
    }
}

fn first<T>(layers: &[Layer], get: impl Fn(&Layer) -> Option<T>) -> Option<T> {
    layers.iter().find_map(get)
}

/// An empty variable counts as unset.
fn given(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

fn given_path(path: Option<&PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty()).cloned()
}

/// Tells a server that cannot be one from a server that does not answer.
fn check_server(url: &str) -> Result<(), ArgsError> {
    let url = url.trim();
    let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
    // A password is nobody's business.
    let address = rest.rsplit('@').next().unwrap_or_default();
    let reason = if !SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) {
        format!("{scheme}:// is none of {}", SCHEMES.map(|one| format!("{one}://")).join(", "))
    } else if address.is_empty() {
        "it names no host".to_owned()
    } else {
        return Ok(());
    };
    let shown =
        if url.contains("://") { format!("{scheme}://{address}") } else { address.to_owned() };
    Err(ArgsError::Server { url: shown, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let nats = dir.path().join("nats");
        std::fs::create_dir_all(nats.join("context")).unwrap();
        for (name, text) in [
            ("context/one.json", r#"{"url": "nats://one", "user": "u", "password": "p"}"#),
            ("context/two.json", r#"{"url": "nats://two", "token": "t", "ca": "/two.pem"}"#),
            ("context.txt", "one"),
        ] {
            std::fs::write(nats.join(name), text).unwrap();
        }
        let home = Home::at(dir.path());
        (dir, home)
    }

    fn shown(args: &ConnectionArgs, settings: &Settings) -> String {
        let (_dir, home) = home();
        let bus = args.bus_at(&home, settings, "test").unwrap();
        let secret = match &bus.credentials {
            Credentials::None => "-".to_owned(),
            Credentials::File(path) => path.display().to_string(),
            Credentials::User { user, password } => format!("{user}:{password}"),
            Credentials::Token(text) | Credentials::Nkey(text) => text.clone(),
        };
        format!("{} {secret}", bus.servers)
    }

    #[test]
    fn what_is_closer_to_the_user_wins() {
        let text = |text: &str| Some(text.to_owned());
        let file =
            Settings::parse("[bus]\nservers = \"nats://file\"\ncredentials = \"f\"").unwrap();
        let none = Settings::without_file();
        let args = ConnectionArgs::default;
        for (args, settings, expected) in [
            (args(), &none, "nats://one u:p"),
            (args(), &file, "nats://file f"),
            (ConnectionArgs { server: text("nats://x"), ..args() }, &none, "nats://x -"),
            (ConnectionArgs { server: text(""), ..args() }, &none, "nats://one u:p"),
            (ConnectionArgs { server: text("nats://x"), ..args() }, &file, "nats://x f"),
            (ConnectionArgs { nats_context: text("two"), ..args() }, &none, "nats://two t"),
            (ConnectionArgs { nats_context: text("two"), ..args() }, &file, "nats://two t"),
            (
                ConnectionArgs { nats_context: text("one"), creds: Some("c".into()), ..args() },
                &none,
                "nats://one c",
            ),
            (ConnectionArgs { user: text("tok"), ..args() }, &none, "nats://one tok"),
            (
                ConnectionArgs { user: text("a"), password: text("b"), ..args() },
                &file,
                "nats://file a:b",
            ),
        ] {
            assert_eq!(shown(&args, settings), expected);
        }
    }

    #[test]
    fn a_server_that_cannot_be_one_is_a_usage_error() {
        let settings = Settings::without_file();
        for (servers, told) in [
            ("http://u:secret@host:4222", Some("\"http://host:4222\" is no address")),
            ("nats://a:1,ftp://b", Some("ftp:// is none of nats://, tls://")),
            ("nats://", Some("names no host")),
            ("nats://a, tls://u:p@b:1", None),
            ("host", None),
            ("[::1]:4222", None),
        ] {
            let args = ConnectionArgs { server: Some(servers.to_owned()), ..Default::default() };
            let error = args.bus_at(&Home::default(), &settings, "test").err();
            let error = error.map(|error| error.to_string());
            assert_eq!(error.is_some(), told.is_some(), "{servers}: {error:?}");
            let error = error.unwrap_or_default();
            assert!(error.contains(told.unwrap_or_default()), "{servers}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn half_an_identity_is_an_error() {
        let args = ConnectionArgs { tlscert: Some("c".into()), ..ConnectionArgs::default() };
        let settings = Settings::without_file();
        let result = args.bus_at(&Home::default(), &settings, "test");
        assert!(matches!(result, Err(ArgsError::HalfIdentity)));
    }

    #[test]
    fn a_system_connection_is_made_only_when_something_is_said_about_it() {
        let settings = Settings::without_file();
        let main = ConnectionArgs { server: Some("nats://m".to_owned()), ..Default::default() }
            .bus_at(&Home::default(), &settings, "coordinator")
            .unwrap();
        assert!(SystemArgs::default().bus(&settings, &main).is_none());
        let creds = SystemArgs { system_creds: Some("s".into()), ..SystemArgs::default() };
        assert_eq!(creds.bus(&settings, &main).unwrap().servers, "nats://m");
    }
}
