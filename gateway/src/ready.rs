//! Whether what clients send would be accepted: that is what it means to be ready.
//!
//! A connection is not enough: the streams may not exist yet, have no leader, or be closed to this user. So a write is
//! tried, without storing anything.

use protocol::limits::INBOX_MESSAGE_BYTES_MAX;
use protocol::{Owner, Skill};
use runtime::bus::{Bus, ReadError};
use runtime::health::CheckHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::limits::{READY_CHECK_EVERY, READY_FIRST_WAIT};

/// The skill whose queue is tried; nobody serves it.
const PROBE: &str = "readiness";

/// Looks for the first time, so that a gateway in front of a mesh that works is ready at once.
pub(crate) async fn first(bus: &Bus, check: &CheckHandle) {
    if timeout(READY_FIRST_WAIT, look(bus, check)).await.is_err() {
        check.failed("the streams do not answer");
    }
}

/// Keeps looking until `stop`.
pub(crate) async fn watch(bus: Bus, check: CheckHandle, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(READY_CHECK_EVERY) => {}
        }
        look(&bus, &check).await;
    }
}

async fn look(bus: &Bus, check: &CheckHandle) {
    let tried = async {
        submits(bus).await?;
        let log = bus.stream_state(&bus.names().log).await;
        log.map(drop).map_err(|error| error.to_string())
    };
    match tried.await {
        Ok(()) => check.ok(),
        Err(why) => check.failed(why),
    }
}

/// Whether the inbox takes tasks.
async fn submits(bus: &Bus) -> Result<(), String> {
    let skill = Skill::parse(PROBE).map_err(|error| error.to_string())?;
    let subject = bus.subjects().task(&skill, &Owner::default());
    bus.would_take(subject).await.map_err(|error| error.to_string())?;
    // The fence refuses before a limit does.
    match bus.has_room(&bus.names().inbox, INBOX_MESSAGE_BYTES_MAX).await {
        // Whoever may not look finds out when it is full.
        Ok(true) | Err(ReadError::Denied { .. }) => Ok(()),
        Ok(false) => Err("the inbox has no room for the largest task".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
