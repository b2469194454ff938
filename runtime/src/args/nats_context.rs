//! NATS contexts, as the NATS tools write them: named files with a server and credentials.
//!
//! `$XDG_CONFIG_HOME/nats/context/<name>.json` holds one, `nats/context.txt` the name of the selected one. Only
//! reading: choosing and editing is the business of the `nats` command.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ArgsError;
use super::connection::Layer;

/// The file. Unknown settings (colors, event prefixes) have no meaning here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    url: String,
    token: String,
    user: String,
    password: String,
    creds: String,
    nkey: String,
    cert: String,
    key: String,
    ca: String,
    nsc: String,
    user_jwt: String,
    socks_proxy: String,
    inbox_prefix: String,
    jetstream_domain: String,
    jetstream_api_prefix: String,
}

/// The directories that decide where contexts are.
#[derive(Debug, Clone, Default)]
pub(super) struct Home {
    config: Option<PathBuf>,
    home: Option<PathBuf>,
}

impl Home {
    pub(super) fn from_environment() -> Self {
        Self::from_lookup(variable)
    }

    fn from_lookup(get: impl Fn(&str) -> Option<String>) -> Self {
        let home = get("HOME").map(PathBuf::from);
        let config = get("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join(".config")));
        Self { config, home }
    }

    #[cfg(test)]
    pub(super) fn at(config: &Path) -> Self {
        Self { config: Some(config.to_owned()), home: None }
    }

    /// The context with this name.
    pub(super) fn context(&self, name: &str) -> Result<Layer, ArgsError> {
        let path = self.directory().join("context").join(format!("{name}.json"));
        let unknown = || ArgsError::ContextUnknown { name: name.to_owned(), path: path.clone() };
        let unreadable = |reason: String| ArgsError::ContextUnreadable {
            name: name.to_owned(),
            path: path.clone(),
            reason,
        };
        // As the NATS tools have it: a name cannot lead out of the directory.
        if name.is_empty() || name.contains("..") || name.contains('/') {
            return Err(unknown());
        }
        let text = std::fs::read(&path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                unknown()
            } else {
                unreadable(error.to_string())
            }
        })?;
        let file: File =
            serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if let Some(setting) = file.unsupported() {
            return Err(ArgsError::ContextUnsupported { name: name.to_owned(), setting });
        }
        Ok(self.layer(file))
    }

    /// The context that the user has selected, if any.
    pub(super) fn selected(&self) -> Result<Option<Layer>, ArgsError> {
        let Ok(name) = std::fs::read_to_string(self.directory().join("context.txt")) else {
            return Ok(None);
        };
        match name.trim() {
            "" => Ok(None),
            name => self.context(name).map(Some),
        }
    }

    fn directory(&self) -> PathBuf {
        self.config.as_deref().unwrap_or(Path::new("")).join("nats")
    }

    fn layer(&self, file: File) -> Layer {
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        let path = |value: String| {
            text(value).map(|value| match (value.strip_prefix("~/"), &self.home) {
                (Some(rest), Some(home)) => home.join(rest),
                _ => PathBuf::from(value),
            })
        };
        Layer {
            servers: text(file.url),
            user: text(file.user),
            password: text(file.password),
            token: text(file.token),
            creds: path(file.creds),
            nkey: path(file.nkey),
            cert: path(file.cert),
            key: path(file.key),
            ca: path(file.ca),
        }
    }
}

impl File {
    /// The first setting without which the connection would be another one than the user means.
    fn unsupported(&self) -> Option<&'static str> {
        let own_inbox = !self.inbox_prefix.is_empty() && self.inbox_prefix != "_INBOX";
        [
            ("nsc", !self.nsc.is_empty()),
            ("user_jwt", !self.user_jwt.is_empty()),
            ("socks_proxy", !self.socks_proxy.is_empty()),
            ("inbox_prefix", own_inbox),
            ("jetstream_domain", !self.jetstream_domain.is_empty()),
            ("jetstream_api_prefix", !self.jetstream_api_prefix.is_empty()),
        ]
        .into_iter()
        .find_map(|(setting, is_set)| is_set.then_some(setting))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the home of the variables that say where contexts are"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(files: &[(&str, &str)]) -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("nats/context")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join("nats").join(name), text).unwrap();
        }
        let home =
            Home { config: Some(dir.path().to_owned()), home: Some(PathBuf::from("/home/u")) };
        (dir, home)
    }

    #[test]
    fn a_context_is_read_as_the_nats_tools_write_it() {
        let (_dir, home) = home(&[
            (
                "context/prod.json",
                r#"{"description": "", "url": "nats://a,nats://b", "creds": "~/c.creds",
                    "user": "", "ca": "/ca.pem", "color_scheme": "", "inbox_prefix": "_INBOX"}"#,
            ),
            ("context.txt", "prod\n"),
        ]);
        let prod = home.selected().unwrap().unwrap();
        assert_eq!(prod.servers.as_deref(), Some("nats://a,nats://b"));
        assert_eq!(prod.creds, Some(PathBuf::from("/home/u/c.creds")));
        assert_eq!((prod.user, prod.ca), (None, Some(PathBuf::from("/ca.pem"))));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let (_dir, home) = home(&[
            ("context/bad.json", "{"),
            ("context/hub.json", r#"{"url": "nats://a", "jetstream_domain": "hub"}"#),
        ]);
        for (name, told) in [
            ("none", "there is no NATS context \"none\""),
            ("../bad", "there is no NATS context"),
            ("", "there is no NATS context"),
            ("bad", "cannot be used: EOF"),
            ("hub", "sets \"jetstream_domain\""),
        ] {
            let error = home.context(name).err().unwrap().to_string();
            assert!(error.contains(told), "{name}: {error}");
        }
        assert!(home.selected().unwrap().is_none());
    }

    #[test]
    fn the_directory_follows_xdg() {
        for (variables, expected) in [
            (&[("HOME", "/h")][..], "/h/.config/nats"),
            (&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")], "/x/nats"),
        ] {
            let home = Home::from_lookup(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned())
            });
            assert_eq!(home.directory(), PathBuf::from(expected));
        }
    }
}
