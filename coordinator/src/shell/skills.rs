//! Creates the consumers of skills that nodes announce and that do not have them yet.

use std::collections::BTreeSet;
use std::time::Duration;

use client::Client;
use protocol::topology::Capacity;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks at the registry again and again until `stop`.
pub(crate) async fn provision(
    client: Client,
    capacity: Capacity,
    sync: Option<&'static str>,
    stop: CancellationToken,
) {
    let mut known = BTreeSet::new();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let agents = match client.agents().await {
            Ok(agents) => agents,
            Err(error) => {
                tracing::debug!(reason = %error, "registry not read");
                continue;
            }
        };
        for skill in agents.into_iter().map(|agent| agent.skill) {
            if known.contains(&skill) {
                continue;
            }
            match client.bus().provision_skill(&skill, &capacity, sync).await {
                Ok(_) => {
                    known.insert(skill);
                }
                Err(error) => tracing::warn!(%skill, reason = %error, "skill not provisioned"),
            }
        }
    }
}
