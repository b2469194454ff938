//! Shows the state of the connection to the bus in health and metrics.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::bus::Bus;
use crate::health::CheckHandle;
use crate::metric::Metrics;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps a check and the metrics up to date until `stop`.
pub async fn watch(bus: Bus, check: CheckHandle, metrics: Metrics, stop: CancellationToken) {
    let mut connections = bus.connections();
    connections.mark_unchanged();
    loop {
        if bus.is_connected() {
            check.ok();
            metrics.bus.connected.set(1);
        } else {
            check.failed("not connected");
            metrics.bus.connected.set(0);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = connections.changed() => match changed {
                Ok(()) => { metrics.bus.reconnects.inc(); }
                Err(_) => return,
            },
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}
