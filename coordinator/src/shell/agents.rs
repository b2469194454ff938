//! The registry as a coordinator needs it: read again when it is older than a moment.

use std::sync::Arc;
use std::time::Duration;

use client::Client;
use protocol::card::Registration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How old what is known may be.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// What the registry said last.
#[derive(Clone)]
pub(crate) struct Agents {
    client: Client,
    known: Arc<Mutex<Option<Known>>>,
}

struct Known {
    at: Instant,
    agents: Arc<[Registration]>,
}

impl Agents {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, known: Arc::default() }
    }

    /// The agents there are; none when the registry has never answered.
    pub(crate) async fn now(&self) -> Arc<[Registration]> {
        self.known().await.unwrap_or_default()
    }

    /// The agents there are: what was known before, when the registry does not answer.
    pub(crate) async fn known(&self) -> Option<Arc<[Registration]>> {
        let mut known = self.known.lock().await;
        if known.as_ref().is_none_or(|known| known.at.elapsed() >= FRESH_FOR) {
            match self.client.agents().await {
                Ok(agents) => {
                    *known = Some(Known { at: Instant::now(), agents: agents.into() });
                }
                Err(error) => tracing::debug!(reason = %error, "registry not read"),
            }
        }
        known.as_ref().map(|known| Arc::clone(&known.agents))
    }
}
