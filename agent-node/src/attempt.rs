//! Runs an agent once, within its limits.
//!
//! A task that ends within a moment is never claimed: its end is its only entry. One that takes longer is
//! claimed while it runs. Cancel, deadline and the node's own end reach the agent through its context first;
//! what does not end by itself is dropped.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::FutureExt as _;
use protocol::fault::{Failure, Fault, code};
use protocol::limits::CLAIM_AFTER;
use protocol::message::Part;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::agent::Stop;
use crate::context::Context;
use crate::engine;
use crate::served::Served;

/// What bounds a run.
pub(crate) struct Bounds<'a> {
    /// Whether the attempt is written down before the agent starts.
    pub(crate) claim_first: bool,
    /// This connection's name at the server.
    pub(crate) client: &'a str,
    /// When the run is ended by force.
    pub(crate) ends_at: Instant,
    /// Whether that is the task's deadline rather than the attempt's.
    pub(crate) ends_by_deadline: bool,
    /// Cancelled once somebody wants the task to end.
    pub(crate) cancel: &'a CancellationToken,
    /// Cancelled once the node gives its tasks back.
    pub(crate) release: &'a CancellationToken,
}

/// Runs the agent; the context's scribe has written everything that the agent asked for when this returns.
pub(crate) async fn run(
    served: &Served,
    context: &Context,
    input: Vec<Part>,
    bounds: Bounds<'_>,
) -> Result<Vec<Part>, Stop> {
    if bounds.claim_first {
        Box::pin(context.scribe.claim(bounds.client)).await?;
    }
    let run = AssertUnwindSafe(served.agent.run(context, input)).catch_unwind();
    let mut run = pin!(run.map(|ended| ended.unwrap_or_else(|panic| Err(panicked(&*panic)))));
    if !bounds.claim_first
        && let Ok(ended) = timeout(CLAIM_AFTER, &mut run).await
    {
        return ended;
    }
    // Boxed, as most attempts do not come here and each would have to hold it.
    Box::pin(go_on(served, context, run, bounds)).await
}

/// Claims the task while its agent runs, and watches over the run.
async fn go_on(
    served: &Served,
    context: &Context,
    mut run: Pin<&mut (impl Future<Output = Result<Vec<Part>, Stop>> + Send)>,
    bounds: Bounds<'_>,
) -> Result<Vec<Part>, Stop> {
    let mut claim = pin!(context.scribe.claim(bounds.client));
    let mut saying = pin!(context.scribe.keep_saying());
    let mut claimed = bounds.claim_first;
    let mut canceled_at = None;
    loop {
        let ends_at = canceled_at.map_or(bounds.ends_at, |at: Instant| {
            (at + served.terms.cancel_grace).min(bounds.ends_at)
        });
        tokio::select! {
            ended = &mut run => return ended,
            written = &mut claim, if !claimed => {
                written?;
                claimed = true;
            }
            stop = &mut saying => return Err(stop),
            () = bounds.cancel.cancelled(), if canceled_at.is_none() => {
                canceled_at = Some(Instant::now());
            }
            () = bounds.release.cancelled() => return Err(Stop::Released),
            () = sleep_until(ends_at) => {
                return Err(match (canceled_at, bounds.ends_by_deadline) {
                    (Some(_), _) => Stop::Canceled,
                    (None, true) => {
                        Stop::Failed { failure: Failure::Permanent, fault: engine::too_late() }
                    }
                    (None, false) => overtime(served.terms.timeout),
                });
            }
        }
    }
}

fn overtime(limit: Duration) -> Stop {
    Stop::Failed {
        failure: Failure::Lost,
        fault: Fault::new(code::ATTEMPT_TIMEOUT, format!("the attempt took longer than {limit:?}"))
            .hint("raise the agent's timeout, or split the work into steps"),
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Stop {
    let said = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned());
    Stop::Failed {
        failure: Failure::Transient { retry_after: None },
        fault: Fault::new(code::AGENT_PANICKED, format!("the agent panicked: {said}")),
    }
}
