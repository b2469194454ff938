//! Checks what a client says about a webhook. Pure, and every wrong field is named.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::guard::Target;
use super::head::fits;
use crate::a2a::error::{Error, Violation};
use crate::a2a::request::PushConfig;
use crate::limits::{
    PUSH_ID_CHARS_MAX, PUSH_PAGE_DEFAULT, PUSH_PAGE_MAX, PUSH_SCHEME_CHARS_MAX,
    PUSH_SECRET_CHARS_MAX,
};

/// Where a webhook calls, if everything about it is as it must be.
pub(super) fn config(config: &PushConfig, place: &str, allow_local: bool) -> Result<Target, Error> {
    let mut wrong = Vec::new();
    let mut say = |field: &str, description: String| {
        wrong.push(Violation { field: format!("{place}{field}"), description });
    };
    let target = if config.url.is_empty() {
        say("url", "is required".to_owned());
        None
    } else {
        let judged = Target::parse(&config.url, allow_local);
        judged.map_err(|refused| say("url", refused.to_string())).ok()
    };
    let id = config.id.as_deref().unwrap_or_default();
    if let Some(fault) = id_fault(id) {
        say("id", fault);
    }
    let mut secret = |field: &str, text: Option<&str>| {
        let text = text.unwrap_or_default();
        if text.chars().count() > PUSH_SECRET_CHARS_MAX {
            say(field, format!("has more than {PUSH_SECRET_CHARS_MAX} characters"));
        } else if !fits(text) {
            say(field, "cannot stand in a header: visible ASCII only".to_owned());
        }
    };
    secret("token", config.token.as_deref());
    if let Some(how) = &config.authentication {
        secret("authentication.credentials", how.credentials.as_deref());
        if !is_scheme(&how.scheme) {
            let what = "is required: an HTTP authentication scheme such as Bearer".to_owned();
            say("authentication.scheme", what);
        }
    }
    match target {
        Some(target) if wrong.is_empty() => Ok(target),
        Some(_) | None => Err(Error::InvalidParams(wrong)),
    }
}

/// A token of HTTP (RFC 9110, 5.6.2).
fn is_scheme(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= PUSH_SCHEME_CHARS_MAX && text.bytes().all(is_token)
}

fn id_fault(id: &str) -> Option<String> {
    if id.chars().count() > PUSH_ID_CHARS_MAX {
        return Some(format!("has more than {PUSH_ID_CHARS_MAX} characters"));
    }
    id.chars().any(char::is_control).then(|| "holds control characters".to_owned())
}

/// The ids of a request about one webhook.
pub(super) fn ids(task: &str, id: &str) -> Result<(), Error> {
    let wrong: Vec<Violation> = [("taskId", task), ("id", id)]
        .into_iter()
        .filter(|(_, value)| value.is_empty())
        .map(|(field, _)| Violation {
            field: field.to_owned(),
            description: "is required".to_owned(),
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(Error::InvalidParams(wrong)) }
}

/// Which page of a list is asked for.
pub(super) struct Page {
    size: usize,
    /// The last key of the page before.
    after: Option<String>,
}

impl Page {
    /// Reads what the client asks for. No size, and 0, which is how protobuf says none, mean the default.
    pub(super) fn read(size: Option<i32>, token: Option<&str>) -> Result<Self, Error> {
        let size = match size.unwrap_or_default() {
            0 => PUSH_PAGE_DEFAULT,
            size => usize::try_from(size)
                .map_err(|_| Error::field("pageSize", "is negative"))?
                .min(PUSH_PAGE_MAX),
        };
        let after = token
            .filter(|token| !token.is_empty())
            .map(|token| {
                let bytes = URL_SAFE_NO_PAD.decode(token).ok();
                bytes.and_then(|bytes| String::from_utf8(bytes).ok())
            })
            .map(|key| key.ok_or_else(|| Error::field("pageToken", "is none of this list")))
            .transpose()?;
        Ok(Self { size, after })
    }

    /// The places of the page among sorted keys, and the token of the next one.
    pub(super) fn cut(&self, keys: &[&str]) -> (Range<usize>, String) {
        let after = self.after.as_deref();
        let start = after.map_or(0, |after| keys.partition_point(|key| *key <= after));
        let end = start.saturating_add(self.size).min(keys.len());
        let last = keys.get(end.wrapping_sub(1)).filter(|_| end < keys.len());
        (start..end, last.map(|key| URL_SAFE_NO_PAD.encode(key)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::a2a::request::AuthenticationInfo;

    fn hook() -> PushConfig {
        PushConfig { url: "https://example.com/hook".to_owned(), ..PushConfig::default() }
    }

    fn auth(scheme: &str, credentials: &str) -> Option<AuthenticationInfo> {
        let credentials = Some(credentials.to_owned());
        Some(AuthenticationInfo { scheme: scheme.to_owned(), credentials })
    }

    #[test]
    fn every_wrong_field_is_named() {
        let long = "x".repeat(PUSH_SECRET_CHARS_MAX + 1);
        let text = |text: &str| Some(text.to_owned());
        for (asked, fields) in [
            (hook(), vec![]),
            (PushConfig { id: text("my hook/1"), token: text("t"), ..hook() }, vec![]),
            (PushConfig { authentication: auth("Bearer", "c"), ..hook() }, vec![]),
            (PushConfig { url: String::new(), ..hook() }, vec!["url"]),
            (PushConfig { url: "http://example.com".to_owned(), ..hook() }, vec!["url"]),
            (PushConfig { id: Some("x".repeat(129)), ..hook() }, vec!["id"]),
            (PushConfig { id: text("a\nb"), ..hook() }, vec!["id"]),
            (PushConfig { token: Some(long.clone()), ..hook() }, vec!["token"]),
            (PushConfig { token: text("a\r\nX-Evil: 1"), ..hook() }, vec!["token"]),
            (
                PushConfig { authentication: auth("", &long), ..hook() },
                vec!["authentication.credentials", "authentication.scheme"],
            ),
            (
                PushConfig {
                    authentication: auth("Bearer x", "a\nb"),
                    url: String::new(),
                    ..hook()
                },
                vec!["url", "authentication.credentials", "authentication.scheme"],
            ),
        ] {
            let found: Vec<String> = match config(&asked, "", false) {
                Err(Error::InvalidParams(wrong)) => {
                    wrong.into_iter().map(|one| one.field).collect()
                }
                Ok(_) => vec![],
                Err(error) => panic!("{error}"),
            };
            assert_eq!(found, fields);
        }
    }

    #[test]
    fn pages_join_without_gap_and_repeat() {
        let keys: Vec<String> = (10..37).map(|number| format!("o.s1.c{number}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        for size in [1, 7, 26, 27, 28] {
            let (mut found, mut token) = (Vec::new(), String::new());
            loop {
                let page = Page::read(Some(size), Some(&token)).unwrap();
                let (range, next) = page.cut(&keys);
                found.extend_from_slice(&keys[range]);
                token = next;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(found, keys, "{size}");
        }
        assert!(Page::read(Some(-1), None).is_err());
        assert!(Page::read(None, Some("ü")).is_err());
        assert_eq!(Page::read(Some(0), None).unwrap().size, PUSH_PAGE_DEFAULT);
    }
}
