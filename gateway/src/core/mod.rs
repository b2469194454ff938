//! The one core behind all doors: what each operation does, in the terms of A2A and of no binding.
//!
//! Doors translate and the core acts, so that every binding answers alike.

pub mod agents;
mod board;
pub mod call;
mod cancel;
mod check;
pub mod events;
pub mod follower;
pub mod hub;
mod list;
mod once;
mod parts;
mod push;
mod read;
mod reply;
mod send;
mod standing;
mod stream;
mod submit;

use std::pin::Pin;

use client::Client;
use futures_util::Stream;
use runtime::clock::Clock;
use runtime::config::GatewaySection;
use runtime::metric::Metrics;
use runtime::supervisor::Supervisor;
use tokio_util::sync::CancellationToken;

pub use self::send::Answered;
pub(crate) use self::submit::{BUDGET, DEADLINE};
use crate::a2a::error::Error;
use crate::a2a::response::StreamResponse;
use crate::core::agents::Agents;
use crate::core::hub::Hub;

/// What a gateway works with. Cheap to share behind an `Arc`.
pub struct Core {
    /// The mesh.
    pub client: Client,
    /// Follows tasks for all open requests.
    pub hub: Hub,
    /// Who serves what.
    pub agents: Agents,
    /// The time.
    pub clock: Clock,
    /// The settings.
    pub settings: GatewaySection,
    /// What is counted.
    pub metrics: Metrics,
    /// Makes agent cards.
    pub cards: crate::cards::Cards,
    /// Seals what webhooks hold of secrets.
    pub seals: crate::push::seal::Seals,
    /// Makes and reads addresses of files.
    pub files: crate::files::Files,
    /// Starts jobs.
    pub jobs: Supervisor,
    /// Cancelled when whoever still waits for a task is to be answered without its end: this gateway stops.
    pub hurry: CancellationToken,
}

/// One event of a stream, with its place in the task's log.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamEvent {
    /// `<generation>.<index>`: a client that saw it goes on behind it.
    pub cursor: String,
    /// What happened.
    pub response: StreamResponse,
}

/// The events of a task, in the order of its log.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<StreamEvent, Error>> + Send>>;
