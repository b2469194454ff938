//! Creates the consumers of skills that nodes announce and that do not have them, or not any more; and whatever else
//! of the mesh somebody has taken away while it runs.

use std::collections::BTreeMap;
use std::time::Duration;

use client::Client;
use protocol::topology::Capacity;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long what was there is taken for granted.
const TRUSTED_FOR: Duration = Duration::from_secs(10);

/// Looks at the registry again and again until `stop`.
pub(crate) async fn provision(
    client: Client,
    capacity: Capacity,
    sync: Option<&'static str>,
    stop: CancellationToken,
) {
    let mut seen = BTreeMap::new();
    let mut looked = Instant::now();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        if looked.elapsed() >= TRUSTED_FOR {
            create_again(&client, &capacity, sync).await;
            looked = Instant::now();
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

/// What every mesh has is there since this coordinator started; what is missing now was deleted.
async fn create_again(client: &Client, capacity: &Capacity, sync: Option<&'static str>) {
    match client.bus().provision(capacity, sync).await {
        Ok(done) => {
            for created in done.created {
                tracing::error!(created, reason = "deleted by somebody", "created anew, empty");
            }
        }
        Err(error) => tracing::warn!(reason = %error, "cannot look at what the mesh needs"),
    }
}
