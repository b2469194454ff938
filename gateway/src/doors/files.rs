//! Files: what messages refer to instead of holding it.
//!
//! `GET /files/<object>?..` serves an address that an answer has named, whole or one range of it, to whoever may act for
//! the owner it was named to; to everybody else there is nothing. `POST /files` takes a file and answers with an address
//! that a message may name. Bytes go through a few pieces at a time, in both directions.

use std::pin::Pin;
use std::sync::Arc;

use async_stream::try_stream;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, IF_RANGE, LOCATION,
    RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;
use http_body_util::BodyExt as _;
use runtime::bus::{FileError, FileFacts};
use runtime::supervisor::Kind;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::answer::{self, JSON};
use super::range::{Wanted, wanted};
use super::route::Route;
use super::rows::Endpoint;
use super::{Doors, refusal};
use crate::a2a::error::Error;
use crate::core::Core;
use crate::core::call::{Call, Operation};
use crate::files::link::File;
use crate::limits::{FILE_BYTES_MAX, FILE_NAME_CHARS_MAX, FILE_SILENCE_MAX, FILE_TYPE_CHARS_MAX};

/// Answers a request about files.
pub(super) async fn answer(
    doors: &Doors,
    call: Call,
    route: &Route,
    endpoint: Endpoint,
    request: Request,
) -> Response {
    let answered = if endpoint == Endpoint::BringFile {
        bring(doors, call, request).await
    } else {
        // The body cannot be shared between threads, and nobody reads it.
        let (parts, _) = request.into_parts();
        fetch(doors, call, route.value(0), &parts).await
    };
    answered.unwrap_or_else(|error| refusal(route, &error))
}

async fn fetch(
    doors: &Doors,
    mut call: Call,
    object: &str,
    request: &Parts,
) -> Result<Response, Error> {
    let missing = || Error::MethodNotFound("there is no such file".to_owned());
    call.may(Operation::Read, None)?;
    let links = doors.core.files.links().await?;
    let query = request.uri.query().unwrap_or_default();
    let file = links.read(object, query).ok_or_else(missing)?;
    // Foreign files look like missing ones.
    call.tenant = Some(file.owner.to_string());
    call.owner().map_err(|_| missing())?;
    let bus = doors.core.client.bus();
    let facts = bus.file(object).await.map_err(|error| unreadable(&error))?;
    let facts = facts.ok_or_else(missing)?;
    let (method, headers) = (&request.method, &request.headers);
    let tag = format!("\"{object}\"");
    let mut response = match wants(headers, &tag, facts.size) {
        Wants::Nothing => answer::empty(304),
        Wants::Bytes(Wanted::Nowhere) => {
            let mut response = answer::empty(416);
            put(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{}", facts.size));
            response
        }
        Wants::Bytes(Wanted::Whole) => {
            let size = facts.size;
            with_bytes(doors, method, facts, 200, (0, size))
        }
        Wants::Bytes(Wanted::Part { start, length }) => {
            let range = format!("bytes {start}-{}/{}", start + length - 1, facts.size);
            let mut response = with_bytes(doors, method, facts, 206, (start, length));
            put(response.headers_mut(), CONTENT_RANGE, &range);
            response
        }
    };
    describe(response.headers_mut(), &file, &tag);
    Ok(response)
}

enum Wants {
    /// It has the file already.
    Nothing,
    Bytes(Wanted),
}

fn wants(headers: &HeaderMap, tag: &str, size: u64) -> Wants {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let same = |one: &str| one == "*" || one.trim_start_matches("W/") == tag;
    if text(IF_NONE_MATCH).is_some_and(|tags| tags.split(',').map(str::trim).any(same)) {
        return Wants::Nothing;
    }
    // A part of what the client has a part of, or all of what it does not know.
    let range = text(RANGE).filter(|_| text(IF_RANGE).is_none_or(|one| one == tag));
    Wants::Bytes(range.map_or(Wanted::Whole, |range| wanted(range, size)))
}

/// What a browser makes of it must not be more than a download: agents' files are not the gateway's.
fn describe(headers: &mut HeaderMap, file: &File, tag: &str) {
    if headers.get(CONTENT_RANGE).is_none() || headers.get(CONTENT_LENGTH).is_some() {
        put(headers, CONTENT_TYPE, &file.media_type);
    }
    put(headers, ETAG, tag);
    put(headers, ACCEPT_RANGES, "bytes");
    put(headers, CACHE_CONTROL, "private, max-age=3600, immutable");
    put(headers, X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(headers, CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox");
    let name = file.name.as_deref().map(|name| format!("; filename*=UTF-8''{}", encoded(name)));
    put(headers, CONTENT_DISPOSITION, &format!("attachment{}", name.unwrap_or_default()));
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// RFC 5987: everything but letters, digits and a few marks as `%XX`.
fn encoded(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
        text
    })
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, FileError>> + Send>>;

fn with_bytes(
    doors: &Doors,
    method: &Method,
    facts: FileFacts,
    status: u16,
    (start, length): (u64, u64),
) -> Response {
    let mut response = answer::empty(status);
    put(response.headers_mut(), CONTENT_LENGTH, &length.to_string());
    if *method != Method::HEAD {
        let mut reader = doors.core.client.bus().read_file(facts, start, length);
        let pieces: Pieces = Box::pin(try_stream! {
            while let Some(bytes) = reader.next().await.map_err(noted)? {
                yield bytes;
            }
        });
        *response.body_mut() = Body::from_stream(pieces);
    }
    response
}

/// The answer has begun and can only break off.
fn noted(error: FileError) -> FileError {
    tracing::warn!(reason = %error, "a download breaks off");
    error
}

async fn bring(doors: &Doors, call: Call, request: Request) -> Result<Response, Error> {
    call.may(Operation::Send, None)?;
    let viewer = call.viewer()?;
    let (parts, body) = request.into_parts();
    let media_type = media_type(&parts.headers)?;
    let named = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .find(|(key, _)| key == "filename");
    let name = named.map(|(_, name)| name.chars().take(FILE_NAME_CHARS_MAX).collect::<String>());
    let announced = parts.headers.get(CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > FILE_BYTES_MAX) {
        return Err(too_large());
    }
    let (tell, told) = oneshot::channel();
    let core = Arc::clone(&doors.core);
    // A job of its own: a client that goes away in the middle leaves nothing in the store.
    doors.core.jobs.spawn("file", Kind::Work, async move {
        drop(tell.send(store(&core, body).await));
    });
    let stored =
        told.await.map_err(|_| Error::Internal("the file was not stored".to_owned()))??;
    let owner = viewer.owner.clone();
    let file =
        File { owner, object: stored.name, media_type: media_type.clone(), name: name.clone() };
    let url = doors.core.files.links().await?.url(doors.core.files.base(&viewer), &file);
    let said = json!({"url": url, "mediaType": media_type, "filename": name, "size": stored.size});
    let mut response = answer::json(201, JSON, &said);
    put(response.headers_mut(), LOCATION, &url);
    Ok(response)
}

fn media_type(headers: &HeaderMap) -> Result<String, Error> {
    let Some(said) = headers.get(CONTENT_TYPE) else {
        return Ok("application/octet-stream".to_owned());
    };
    let said = said.to_str().ok().filter(|said| {
        let essence = said.split(';').next().unwrap_or_default();
        said.len() <= FILE_TYPE_CHARS_MAX
            && essence.split('/').filter(|one| !one.is_empty()).count() == 2
    });
    said.map(str::to_owned).ok_or_else(|| Error::field("Content-Type", "is no media type"))
}

async fn store(core: &Core, mut body: Body) -> Result<FileFacts, Error> {
    let mut writer = core.client.bus().write_file(&uuid::Uuid::new_v4().simple().to_string());
    let failed = loop {
        let bytes = match timeout(FILE_SILENCE_MAX, body.frame()).await {
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_else(|_| Bytes::new()),
            Ok(None) => {
                let at = core.clock.now();
                return writer.finish(at).await.map_err(|error| unreadable(&error));
            }
            Ok(Some(Err(error))) => break Error::Parse(format!("the body breaks off: {error}")),
            Err(_) => {
                break Error::InvalidRequest(format!("nothing came for {FILE_SILENCE_MAX:?}"));
            }
        };
        if usize::try_from(writer.size()).unwrap_or(usize::MAX) + bytes.len() > FILE_BYTES_MAX {
            break too_large();
        }
        if let Err(error) = writer.write(bytes).await {
            break unreadable(&error);
        }
    };
    writer.give_up().await;
    Err(failed)
}

fn too_large() -> Error {
    Error::TooLarge(format!("a file may have {FILE_BYTES_MAX} bytes at most"))
}

fn unreadable(error: &FileError) -> Error {
    Error::Unavailable(error.to_string())
}
