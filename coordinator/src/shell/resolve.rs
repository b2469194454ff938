//! Answers which skill meets a need, on core NATS: `nats req weft.resolve '{"tags": ["ocr"]}'`.
//!
//! The answer is written into the log of the task that asked, so that it is never asked twice.

use protocol::codec;
use protocol::fault::{Fault, code};
use protocol::header::Headers;
use protocol::need::{Need, Resolution};
use runtime::bus::Bus;
use runtime::clock::Clock;
use tokio_util::sync::CancellationToken;

use super::agents::Agents;
use super::care::Closed;
use crate::policy::route;

/// The queue group that shares the questions among coordinators.
const GROUP: &str = "coordinators";

/// Answers until `stop`.
pub(crate) async fn serve(
    bus: Bus,
    agents: Agents,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), Closed> {
    let mut questions =
        bus.subscribe(bus.subjects().resolve(), Some(GROUP)).await.map_err(|_| Closed)?;
    loop {
        let question = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            question = questions.next() => question.ok_or(Closed)?,
        };
        let Some(reply) = question.reply else { continue };
        let resolution = match codec::json::<Need>(&question.payload) {
            Ok(need) => match agents.known().await {
                Some(agents) => route::route(&need, &agents, clock.now()),
                None => Resolution::Nobody {
                    fault: Fault::new(code::BUS_UNAVAILABLE, "the registry cannot be read"),
                },
            },
            Err(fault) => Resolution::Nobody { fault },
        };
        if let Resolution::Found { skill, reason } = &resolution {
            tracing::debug!(%skill, reason, "resolved");
        }
        match serde_json::to_vec(&resolution) {
            Ok(body) => bus.tell(reply, &Headers::new(), body.into()).await,
            Err(error) => tracing::warn!(reason = %error, "answer not written"),
        }
    }
}
