//! Tells the mesh that this gateway is there, again and again, so that operators see all of them.
//!
//! The key has a time to live: a gateway that dies vanishes by itself. Nothing depends on it: where the bucket is missing,
//! the gateway works and is not listed.

use std::net::SocketAddr;

use protocol::NodeName;
use protocol::gateway::GatewayRegistration;
use protocol::limits::{HEARTBEAT_EVERY, HEARTBEAT_TTL};
use runtime::bus::Bus;
use runtime::clock::Clock;
use runtime::metric::Metrics;
use runtime::supervisor::{Kind, Supervisor};

use crate::core::Core;

/// The place of a gateway in the registry.
pub(crate) struct Place {
    bus: Bus,
    clock: Clock,
    metrics: Metrics,
    facts: GatewayRegistration,
}

impl Place {
    /// The place of a gateway that has just started.
    pub(crate) fn new(core: &Core, name: NodeName, listen: SocketAddr) -> Self {
        let (section, now) = (&core.settings, core.clock.now());
        let facts = GatewayRegistration {
            name,
            listen: listen.to_string(),
            url: section.url.clone(),
            secure: section.tls.is_some(),
            connections: 0,
            connections_max: u32::try_from(section.limits.connections).unwrap_or(u32::MAX),
            streams: 0,
            started_at: now,
            seen_at: now,
            weft_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let (bus, clock) = (core.client.bus().clone(), core.clock.clone());
        Self { bus, clock, metrics: core.metrics.clone(), facts }
    }

    /// Keeps it until the process shuts down.
    pub(crate) fn keep(mut self, jobs: &Supervisor) {
        let stop = jobs.shutdown_token();
        jobs.spawn("gateway registry", Kind::Work, async move {
            let mut tick = tokio::time::interval(HEARTBEAT_EVERY);
            let mut is_silent = false;
            while stop.run_until_cancelled(tick.tick()).await.is_some() {
                let put = self.put().await;
                if let (Err(error), false) = (&put, is_silent) {
                    tracing::warn!(reason = %error, "gateway not announced; it works all the same");
                }
                is_silent = put.is_err();
            }
            let (bucket, key) = (&self.bus.names().gateways, self.facts.name.as_str());
            if let Err(error) = self.bus.remove_key(bucket, key).await {
                tracing::debug!(reason = %error, "gateway not removed, its key will expire");
            }
        });
    }

    async fn put(&mut self) -> Result<(), runtime::bus::KvError> {
        let count = |gauge: i64| u32::try_from(gauge).unwrap_or(0);
        self.facts.connections = count(self.metrics.gateway.connections.get());
        self.facts.streams = count(self.metrics.gateway.open_streams.get());
        self.facts.seen_at = self.clock.now();
        let value = serde_json::to_vec(&self.facts).unwrap_or_default();
        let (bucket, key) = (&self.bus.names().gateways, self.facts.name.as_str());
        self.bus.put_for(bucket, key, value.into(), HEARTBEAT_TTL).await
    }
}
