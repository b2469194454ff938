//! Creates the consumers of skills that nodes announce and that do not have them, or not any more.

use std::collections::BTreeMap;
use std::time::Duration;

use client::Client;
use protocol::topology::Capacity;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a skill's consumers are taken for granted once they were there.
const TRUSTED_FOR: Duration = Duration::from_secs(10);

/// Looks at the registry again and again until `stop`.
pub(crate) async fn provision(
    client: Client,
    capacity: Capacity,
    sync: Option<&'static str>,
    stop: CancellationToken,
) {
    let mut seen = BTreeMap::new();
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
            if seen.get(&skill).is_some_and(|at: &Instant| at.elapsed() < TRUSTED_FOR) {
                continue;
            }
            match client.bus().provision_skill(&skill, &capacity, sync).await {
                Ok(done) => {
                    for created in done.created {
                        tracing::info!(%skill, created, "created");
                    }
                    seen.insert(skill, Instant::now());
                }
                Err(error) => tracing::warn!(%skill, reason = %error, "skill not provisioned"),
            }
        }
    }
}
