//! Watches the connection to the bus: shows its state in health and metrics, and notices its death.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::bus::Bus;
use crate::health::CheckHandle;
use crate::metric::Metrics;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The client library's connection task has died and will not come back; only a new process helps.
#[derive(Debug, thiserror::Error)]
#[error(
    "the connection to the bus has died; a message with malformed headers can do that (see the log above)"
)]
pub struct LinkDied;

/// Keeps a check and the metrics up to date until `stop`.
///
/// # Errors
/// When the connection has died for good: the process should end and be started again.
pub async fn watch(
    bus: Bus,
    check: CheckHandle,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(), LinkDied> {
    let mut connections = bus.connections();
    connections.mark_unchanged();
    loop {
        if bus.is_connected() {
            if !bus.is_alive().await {
                check.failed("died");
                return Err(LinkDied);
            }
            check.ok();
            metrics.bus.connected.set(1);
        } else {
            check.failed("not connected");
            metrics.bus.connected.set(0);
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = connections.changed() => match changed {
                Ok(()) => { metrics.bus.reconnects.inc(); }
                Err(_) => return Err(LinkDied),
            },
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}
