//! Admission: what every request passes before its door.
//!
//! It is named, watched, and answered in the form of the door that its address belongs to. Public addresses ask nobody
//! who they are. The audit entry is written with the answer, or before it when the answer takes long: what is known
//! about a request is known soon, and a blocking send may take an hour.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_LENGTH, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use protocol::Skill;
use protocol::audit::AuditEntry;
use runtime::clock::Clock;
use runtime::config::DoorLimits;
use runtime::health::{Health, Status};
use runtime::metric::Metrics;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::audit::{Audit, Place};
use super::observe::{self, GONE, Seen};
use super::trail::{self, Trail};
use super::{Admitted, Gate, Peer, client};
use crate::a2a::error::Error;
use crate::doors::drain::drain;
use crate::doors::request_id::{self, RequestId};
use crate::doors::route::{self, Found, Route};
use crate::doors::rows::Endpoint;
use crate::doors::{Door, refusal};
use crate::limits::{AUDIT_AFTER, BODY_BYTES_MAX, FILE_BYTES_MAX};

/// Characters of a caller's name that the audit keeps; the subject of a token may be long.
const CALLER_CHARS_MAX: usize = 256;

/// What admission works with.
pub struct Hall {
    /// Lets callers in.
    pub gate: Gate,
    /// Keeps what was decided.
    pub audit: Audit,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether the gateway can work.
    pub health: Health,
    /// The time.
    pub clock: Clock,
    /// How much a request may have.
    pub limits: DoorLimits,
    /// Cancelled when the gateway stops.
    pub closing: CancellationToken,
}

/// A request on its way.
struct Guest {
    id: RequestId,
    route: Route,
    address: IpAddr,
    trail: Trail,
    caller: Option<Admitted>,
}

/// The layer around all doors.
pub async fn guard(State(hall): State<Arc<Hall>>, request: Request, next: Next) -> Response {
    let since = Instant::now();
    if let Some(response) = hall.probe(&request) {
        return response;
    }
    let (method, headers) = (request.method(), request.headers());
    if let Some(response) = hall.gate.origins.preflight(method, headers) {
        return response;
    }
    let origin = headers.get(ORIGIN).cloned();
    let peer = request.extensions().get::<Peer>().cloned();
    let route = route::route(method, request.uri().path());
    let mut guest = Guest {
        id: request_id::of(headers),
        address: peer.as_ref().map_or(IpAddr::from([0, 0, 0, 0]), |peer| {
            client::address(peer.address.ip(), headers, &hall.gate.proxies)
        }),
        trail: Trail::default(),
        caller: None,
        route,
    };
    let mut seen = Seen {
        metrics: hall.metrics.clone(),
        trail: guest.trail.clone(),
        door: word(guest.route.door),
        request: guest.id.text.clone(),
        address: guest.address,
        caller: Arc::from("-"),
        status: GONE,
        since,
        is_stream: false,
    };
    if let Found::Endpoint(endpoint) = guest.route.found {
        guest.note(endpoint);
    }
    let mut response = match hall.let_in(&mut guest, peer, request.uri(), request.headers()).await {
        Err(error) => {
            drain(request.into_body()).await;
            guest.refuse(&error)
        }
        Ok(place) => {
            let request = match guest.route.found {
                Found::Endpoint(_) => request,
                Found::Nothing | Found::OtherMethods(_) => {
                    let (head, body) = request.into_parts();
                    drain(body).await;
                    Request::from_parts(head, Body::empty())
                }
            };
            if let Some(admitted) = &guest.caller {
                seen.caller = Arc::from(admitted.caller.name.as_str());
            }
            hall.pass(&guest, place, request, next).await
        }
    };
    let headers = response.headers_mut();
    headers.insert(request_id::HEADER, guest.id.value.clone());
    hall.gate.origins.mark(origin.as_ref(), headers);
    observe::release(response, seen, hall.closing.clone())
}

impl Hall {
    /// Probes are answered to everybody, and say nothing but how it stands.
    fn probe(&self, request: &Request) -> Option<Response> {
        let path = request.uri().path();
        if !matches!(path, "/livez" | "/readyz") {
            return None;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Some((StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response());
        }
        match path {
            "/livez" => Some("ok\n".into_response()),
            "/readyz" => {
                let works = self.health.report().status != Status::Failed;
                Some(if works && !self.closing.is_cancelled() {
                    "ok\n".into_response()
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
                })
            }
            _ => None,
        }
    }

    /// Lets a request in, or says why not. Whoever is let in has a place for the audit entry.
    async fn let_in(
        &self,
        guest: &mut Guest,
        peer: Option<Peer>,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Option<Place>, Error> {
        self.gate.origins.check(uri, headers)?;
        if headers.len() > self.limits.headers {
            let max = self.limits.headers;
            return Err(Error::TooLarge(format!("{} headers, at most {max}", headers.len())));
        }
        let length =
            headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length: usize = length.unwrap_or(0);
        let max = if guest.brings_a_file() { FILE_BYTES_MAX } else { BODY_BYTES_MAX };
        if length > max {
            let said = format!("the body has {length} bytes, at most {max} are taken");
            return Err(Error::TooLarge(said));
        }
        if guest.is_public(self.gate.public_cards) {
            return Ok(None);
        }
        let peer =
            peer.ok_or_else(|| Error::Internal("the connection has no address".to_owned()))?;
        let admitted = match self.gate.admit(headers, &peer).await {
            Ok(admitted) => admitted,
            Err(refused) => {
                self.metrics.gateway.refused.inc();
                self.gate.count_failure(guest.address)?;
                guest.trail.is_denied(&refused.reason);
                tracing::debug!(request = guest.id.text, reason = refused.reason, "not let in");
                self.keep(guest, None, &refused.error).await?;
                return Err(refused.error);
            }
        };
        let who = match admitted.shown {
            "open" => guest.address.to_string(),
            shown => format!("{shown} {}", admitted.caller.name),
        };
        guest.trail.is_for(&admitted.caller.owner);
        let counted = self.gate.roles.count(&who, &admitted.roles);
        guest.caller = Some(admitted);
        if let Err(error) = counted {
            self.keep(guest, None, &error).await?;
            return Err(error);
        }
        Ok(Some(self.audit.place().await?))
    }

    /// Keeps that a request was refused.
    async fn keep(&self, guest: &Guest, place: Option<Place>, error: &Error) -> Result<(), Error> {
        let place = match place {
            Some(place) => place,
            None => self.audit.place().await?,
        };
        place.put(self.entry(guest, Some(error.names().reason)));
        Ok(())
    }

    /// Hands a request to the doors.
    async fn pass(
        &self,
        guest: &Guest,
        place: Option<Place>,
        mut request: Request,
        next: Next,
    ) -> Response {
        let extensions = request.extensions_mut();
        extensions.insert(guest.trail.clone());
        extensions.insert(guest.id.clone());
        if let Some(admitted) = &guest.caller {
            extensions.insert(Arc::clone(&admitted.caller));
        }
        let answer = self.in_time(guest, next.run(request));
        let Some(place) = place else { return answer.await };
        let mut owed = Owed { hall: self, guest, place: Some(place) };
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            biased;
            response = &mut answer => {
                owed.pay(guest.denial(&response));
                response
            }
            () = tokio::time::sleep(AUDIT_AFTER) => {
                owed.pay(None);
                let response = answer.await;
                if let Some(reason) = guest.denial(&response)
                    && let Ok(place) = self.audit.place().await
                {
                    place.put(self.entry(guest, Some(reason)));
                }
                response
            }
        }
    }

    /// The answer of the doors; when the gateway stops, the one that is ready by then.
    async fn in_time(&self, guest: &Guest, answer: impl Future<Output = Response>) -> Response {
        let too_late = async {
            self.closing.cancelled().await;
            tokio::time::sleep(self.limits.grace).await;
        };
        tokio::select! {
            biased;
            response = answer => response,
            () = too_late => guest.refuse(&Error::Unavailable(
                "this gateway stops; what was submitted goes on".to_owned(),
            )),
        }
    }

    fn entry(&self, guest: &Guest, denied: Option<&str>) -> AuditEntry {
        let facts = guest.trail.facts();
        let (by, id) = self.audit.next();
        let reason = denied.map(|word| match &facts.denial {
            Some(why) => format!("{word}: {why}"),
            None => word.to_owned(),
        });
        let caller = guest.caller.as_ref();
        AuditEntry {
            id,
            at: self.clock.now(),
            by,
            request: guest.id.text.clone(),
            address: guest.address.to_string(),
            caller: caller.map(|admitted| trail::cut(&admitted.caller.name, CALLER_CHARS_MAX)),
            shown: caller.map(|admitted| admitted.shown.to_owned()),
            door: word(guest.route.door).to_owned(),
            operation: facts.operation.map(|one| one.word().to_owned()),
            owner: facts.owner,
            asked_for: facts.asked_for,
            skill: facts.skill,
            task: facts.task,
            allowed: denied.is_none(),
            reason,
        }
    }
}

/// The audit entry of a request that was let in. It is written at the latest when the request goes: what a client that
/// hangs up has asked for may be done already.
struct Owed<'a> {
    hall: &'a Hall,
    guest: &'a Guest,
    place: Option<Place>,
}

impl Owed<'_> {
    fn pay(&mut self, denied: Option<&str>) {
        if let Some(place) = self.place.take() {
            place.put(self.hall.entry(self.guest, denied));
        }
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        self.pay(None);
    }
}

impl Guest {
    /// Whether the address asks nobody who they are.
    fn is_public(&self, public_cards: bool) -> bool {
        self.route.is_public() && (public_cards || self.route.door != Door::Card)
    }

    /// Files may be larger than any other body.
    fn brings_a_file(&self) -> bool {
        self.route.found == Found::Endpoint(Endpoint::BringFile)
    }

    /// What was denied, if an answer says so; one about a file of a foreign owner looks like one about no file.
    fn denial(&self, response: &Response) -> Option<&'static str> {
        match observe::status_of(response) {
            401 => Some("UNAUTHENTICATED"),
            403 => Some("PERMISSION_DENIED"),
            404 if self.trail.facts().asked_for.is_some() => Some("PERMISSION_DENIED"),
            _ => None,
        }
    }

    /// What the address alone tells.
    fn note(&self, endpoint: Endpoint) {
        let value = self.route.values.first();
        if let Some(operation) = endpoint.asks() {
            let skill = value.filter(|_| endpoint == Endpoint::PlainSubmit);
            self.trail.asks(operation, skill.and_then(|skill| Skill::parse(skill).ok()).as_ref());
        }
        let names_task = matches!(self.route.door, Door::Rest | Door::Plain)
            && endpoint != Endpoint::PlainSubmit;
        if let Some(task) = value.filter(|_| names_task) {
            self.trail.is_about(task);
        }
    }

    fn refuse(&self, error: &Error) -> Response {
        let mut response = refusal(&self.route, error);
        if matches!(error, Error::Unauthenticated(_)) {
            challenge(response.headers_mut());
        }
        response
    }
}

/// Names the schemes, whichever of them the gateway takes.
fn challenge(headers: &mut HeaderMap) {
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"weft\""));
    headers.append(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("ApiKey realm=\"weft\", header=\"X-API-Key\""),
    );
}

/// The word for the decision against the caller in an answer, if it has one.
fn word(door: Door) -> &'static str {
    match door {
        Door::JsonRpc => "jsonrpc",
        Door::Rest => "rest",
        Door::Grpc => "grpc",
        Door::Card => "card",
        Door::File => "file",
        Door::Plain => "plain",
        Door::Description => "description",
    }
}
