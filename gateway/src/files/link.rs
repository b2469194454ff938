//! Addresses of files: how a reference into the object store leaves through the doors, and how it comes back. Pure.
//!
//! `<base>/files/<object>?owner=..&type=..&name=..&sig=..`. The signature says that this mesh has shown the object to
//! somebody who may see the owner's tasks; it is checked together with the credentials of whoever asks, who must be
//! allowed to act for that owner. So an address alone opens nothing, and credentials alone do not open what other owners
//! have, although equal files of all owners are one object. Addresses do not expire: what protects them is the
//! credentials, and a task read twice, or streamed by two gateways, has the same bytes. An ownership record would have
//! cost a write for each part and a read for each download.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::Owner;
use protocol::message::{Content, OBJECT_CONTENT, OBJECT_SCHEME, Part};
use ring::hmac;
use url::Url;
use url::form_urlencoded::{Serializer, parse};

use crate::limits::FILE_NAME_CHARS_MAX;

/// The path below which files are.
pub const FILES: &str = "/files/";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// What an address says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Whose it is.
    pub owner: Owner,
    /// Its name in the object store.
    pub object: String,
    /// What it is.
    pub media_type: String,
    /// What a browser saves it as.
    pub name: Option<String>,
}

/// Makes addresses and judges them.
pub struct Links(hmac::Key);

impl Links {
    /// Addresses that are signed with `key`.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The address of a file at the doors below `base`.
    #[must_use]
    pub fn url(&self, base: &str, file: &File) -> String {
        let signature = hmac::sign(&self.0, &signed(file));
        let mut query = Serializer::new(String::new());
        query.append_pair("owner", file.owner.as_str()).append_pair("type", &file.media_type);
        if let Some(name) = &file.name {
            query.append_pair("name", name);
        }
        query.append_pair("sig", &URL_SAFE_NO_PAD.encode(signature));
        format!("{}{FILES}{}?{}", base.trim_end_matches('/'), file.object, query.finish())
    }

    /// What an object's name and a query say, if they are as this mesh wrote them.
    #[must_use]
    pub fn read(&self, object: &str, query: &str) -> Option<File> {
        let (mut owner, mut media_type, mut name, mut signature) = (None, None, None, None);
        for (key, value) in parse(query.as_bytes()) {
            match key.as_ref() {
                "owner" => owner = Owner::parse(&value).ok(),
                "type" => media_type = Some(value.into_owned()),
                "name" => name = Some(value.into_owned()),
                "sig" => signature = URL_SAFE_NO_PAD.decode(value.as_bytes()).ok(),
                _ => {}
            }
        }
        let object = object.to_owned();
        let file = File { owner: owner?, object, media_type: media_type?, name };
        hmac::verify(&self.0, &signed(&file), &signature?).ok().map(|()| file)
    }

    /// Lets a reference out: as an address that clients can fetch.
    pub fn let_out(&self, base: &str, owner: &Owner, part: &mut Part) {
        let Some(object) = part.object().map(str::to_owned) else { return };
        let held_as = part.metadata.as_mut().and_then(|facts| facts.remove(OBJECT_CONTENT));
        part.metadata = part.metadata.take().filter(|facts| !facts.is_empty());
        let usual = match held_as.as_ref().and_then(|held| held.as_str()) {
            Some("text") => TEXT,
            Some("data") => JSON,
            Some(_) | None => BYTES,
        };
        let media_type = part.media_type.get_or_insert_with(|| usual.to_owned()).clone();
        let name = part.filename.as_deref().map(shortened);
        let file = File { owner: owner.clone(), object, media_type, name };
        part.content = Content::Url(self.url(base, &file));
    }

    /// Lets an address of ours in, below whatever name of this gateway: as a reference again. Somebody else's address
    /// is left as it is.
    ///
    /// # Errors
    /// When a client names an object by itself, or shows an address that is not one of the owner's.
    pub fn let_in(&self, owner: &Owner, part: &mut Part) -> Result<(), NotYours> {
        let Content::Url(text) = &part.content else { return Ok(()) };
        // Any spelling of the scheme: URLs do not tell cases apart.
        let scheme = text.get(..OBJECT_SCHEME.len());
        if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(OBJECT_SCHEME)) {
            return Err(NotYours);
        }
        let Ok(url) = Url::parse(text) else { return Ok(()) };
        let (object, query) = match (url.path().rsplit_once(FILES), url.query()) {
            (Some((_, object)), Some(query)) if is_ours(object, query) => (object, query),
            _ => return Ok(()),
        };
        let file = self.read(object, query);
        let file = file.filter(|file| file.owner == *owner).ok_or(NotYours)?;
        part.content = Content::Url(format!("{OBJECT_SCHEME}{}", file.object));
        let facts = part.metadata.get_or_insert_default();
        let held_as = match file.media_type.as_str() {
            TEXT => "text",
            JSON => "data",
            _ => "raw",
        };
        facts.insert(OBJECT_CONTENT.to_owned(), held_as.into());
        part.media_type.get_or_insert(file.media_type);
        part.filename = part.filename.take().or(file.name);
        Ok(())
    }
}

/// Whether an address looks like one of ours, signed well or not.
fn is_ours(object: &str, query: &str) -> bool {
    let named = |wanted: &str| parse(query.as_bytes()).any(|(name, _)| name == wanted);
    object.len() == 64
        && object.bytes().all(|byte| byte.is_ascii_hexdigit())
        && ["owner", "type", "sig"].into_iter().all(named)
}

/// A part that refers to a file which the caller was never shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no address of a file that you were shown")]
pub struct NotYours;

/// What is signed: each text with its length before it, so that no two files are the same bytes.
fn signed(file: &File) -> Vec<u8> {
    let name = file.name.as_deref();
    let mut bytes = b"weft file 1".to_vec();
    for text in [file.owner.as_str(), &file.object, &file.media_type, name.unwrap_or_default()] {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.push(u8::from(name.is_some()));
    bytes
}

fn shortened(name: &str) -> String {
    name.chars().take(FILE_NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://agents.example.org/";
    const OBJECT: &str = "ab34ab34ab34ab34ab34ab34ab34ab34ab34ab34ab34ab34ab34ab34ab34ab34";

    fn links() -> Links {
        Links::new(b"a key of all gateways")
    }

    fn owner(name: &str) -> Owner {
        Owner::parse(name).unwrap()
    }

    fn reference(held_as: Option<&str>) -> Part {
        let mut part = Part::url(format!("weft-object:{OBJECT}"));
        if let Some(held_as) = held_as {
            part.metadata.get_or_insert_default().insert(OBJECT_CONTENT.into(), held_as.into());
        }
        part
    }

    #[test]
    fn what_goes_out_comes_back_the_same() {
        for (held_as, media_type, name) in [
            (Some("raw"), None, Some("report ü & co.pdf")),
            (Some("raw"), Some("image/png"), None),
            (Some("text"), None, None),
            (Some("data"), None, Some("rows.json")),
            (None, None, None),
        ] {
            let mut part = reference(held_as);
            (part.media_type, part.filename) =
                (media_type.map(str::to_owned), name.map(str::to_owned));
            links().let_out(BASE, &owner("acme"), &mut part);
            let Content::Url(url) = &part.content else { panic!("{part:?}") };
            assert!(url.starts_with(&format!("{BASE}files/{OBJECT}?")), "{url}");
            assert_eq!(part.metadata, None, "nobody outside needs to know how it is held");
            links().let_in(&owner("acme"), &mut part).unwrap();
            assert_eq!(part.object(), Some(OBJECT));
            let again = part.metadata.as_ref().unwrap().get(OBJECT_CONTENT).unwrap();
            assert_eq!(again, held_as.unwrap_or("raw"));
            assert_eq!(part.filename.as_deref(), name);
        }
    }

    #[test]
    fn nobody_gets_in_what_they_were_not_shown() {
        let mut shown = reference(None);
        links().let_out(BASE, &owner("acme"), &mut shown);
        let Content::Url(shown) = shown.content else { panic!() };
        for (url, fine) in [
            (shown.clone(), true),
            ("https://example.org/elsewhere.pdf".to_owned(), true),
            (format!("weft-object:{OBJECT}"), false),
            (format!("WEFT-Object:{OBJECT}"), false),
            (shown.replace("ab34", "ab35"), false),
            (shown.replace("owner=acme", "owner=other"), false),
            (shown.replace("octet-stream", "octet-streams"), false),
            (shown.replace("&sig=", "&name=x&sig="), false),
            (shown.replace("&sig=", "&sig=x"), false),
            (shown.replace("https://agents.example.org/", "http://127.0.0.1:8080/a/"), true),
            // Without a signature it is anybody's address, and stays one.
            (shown.replace("&sig=", "&sgi="), true),
        ] {
            let mut part = Part::url(url.clone());
            assert_eq!(links().let_in(&owner("acme"), &mut part).is_ok(), fine, "{url}");
        }
        let mut unsigned = Part::url(shown.replace("&sig=", "&sgi="));
        links().let_in(&owner("acme"), &mut unsigned).unwrap();
        assert_eq!(unsigned.object(), None);
        let mut part = Part::url(shown);
        assert_eq!(links().let_in(&owner("other"), &mut part), Err(NotYours));
    }
}
