//! Creates what the mesh needs on the server, once, and says what differs from it.
//!
//! Creating is idempotent: what is missing is made, what is there is compared and never overwritten, since an
//! operator may have had a reason. A difference is reported with both values.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{ConsumerInfoErrorKind, GetStreamErrorKind};
use protocol::id::Skill;
use protocol::topology::{self, Capacity, ConsumerSpec};

use super::Bus;
use super::wanted::{Difference, Store, Thing, consumer_config, stores};

/// The metadata key under which the provisioner notes how the server syncs.
pub(super) const SYNC_KEY: &str = "weft-sync";
/// Its value where the server syncs every write.
pub const SYNC_ALWAYS: &str = "always";
/// Its value where the server syncs now and then.
pub const SYNC_INTERVAL: &str = "interval";

/// Something could not be created.
#[derive(Debug, thiserror::Error)]
#[error("cannot create {what}: {reason}")]
pub struct ProvisionError {
    /// What.
    pub what: String,
    /// What the server says.
    pub reason: String,
}

impl ProvisionError {
    /// Whether the same may succeed later without anybody changing anything: a cluster elects a leader.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        super::may_pass(&self.reason)
    }
}

/// What a provisioning run did and found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provisioned {
    /// What did not exist before.
    pub created: Vec<String>,
    /// What exists and differs.
    pub differences: Vec<Difference>,
}

impl Provisioned {
    fn merge(&mut self, other: Self) {
        self.created.extend(other.created);
        self.differences.extend(other.differences);
    }
}

impl Bus {
    /// Creates streams, buckets and the coordinators' consumer where they are missing.
    ///
    /// # Errors
    /// When something is missing and cannot be created.
    pub async fn provision(
        &self,
        capacity: &Capacity,
        sync: Option<&str>,
    ) -> Result<Provisioned, ProvisionError> {
        let subjects = self.subjects().clone();
        let mut done = Provisioned::default();
        for store in stores(&subjects, capacity) {
            done.merge(self.provision_store(store).await?);
        }
        for spec in
            [topology::care_consumer(&subjects), topology::push_consumer(&subjects, capacity)]
        {
            done.merge(self.provision_consumer(&spec, sync).await?);
        }
        Ok(done)
    }

    /// Creates a skill's two consumers where they are missing.
    ///
    /// # Errors
    /// When one is missing and cannot be created.
    pub async fn provision_skill(
        &self,
        skill: &Skill,
        capacity: &Capacity,
        sync: Option<&str>,
    ) -> Result<Provisioned, ProvisionError> {
        let mut done = Provisioned::default();
        for spec in topology::skill_consumers(self.subjects(), capacity, skill) {
            done.merge(self.provision_consumer(&spec, sync).await?);
        }
        Ok(done)
    }

    async fn provision_store(&self, store: Store) -> Result<Provisioned, ProvisionError> {
        let fail = |what: &str, reason: String| ProvisionError { what: what.to_owned(), reason };
        match self.jetstream.get_stream(&store.config.name).await {
            Ok(found) => {
                let differences = Thing::store(&store).differences(&found.cached_info().config);
                return Ok(Provisioned { created: Vec::new(), differences });
            }
            Err(error) if is_no_stream(&error.kind()) => {}
            Err(error) => return Err(fail(&store.what, error.to_string())),
        }
        let Store { what, config, .. } = store;
        let created = self.jetstream.create_stream(config).await;
        created.map_err(|error| fail(&what, error.to_string()))?;
        Ok(Provisioned { created: vec![what], differences: Vec::new() })
    }

    async fn provision_consumer(
        &self,
        spec: &ConsumerSpec,
        sync: Option<&str>,
    ) -> Result<Provisioned, ProvisionError> {
        let thing = Thing::consumer(spec);
        let what = thing.what.clone();
        let fail = |reason: String| ProvisionError { what: what.clone(), reason };
        let stream = self
            .jetstream
            .get_stream_no_info(&spec.stream)
            .await
            .map_err(|error| fail(error.to_string()))?;
        let wanted = consumer_config(spec, sync);
        match stream.consumer_info(&spec.name).await {
            Ok(found) => {
                let differences = thing.differences(&found.config);
                return Ok(Provisioned { created: Vec::new(), differences });
            }
            Err(error) if is_no_consumer(&error.kind()) => {}
            Err(error) => return Err(fail(error.to_string())),
        }
        stream.create_consumer(wanted).await.map_err(|error| fail(error.to_string()))?;
        Ok(Provisioned { created: vec![what], differences: Vec::new() })
    }
}

/// Whether the server says that there is none: no answer is no such word.
fn is_no_stream(error: &GetStreamErrorKind) -> bool {
    matches!(error, GetStreamErrorKind::JetStream(said) if said.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn is_no_consumer(error: &ConsumerInfoErrorKind) -> bool {
    if let ConsumerInfoErrorKind::JetStream(said) = error {
        return said.error_code() == ErrorCode::CONSUMER_NOT_FOUND;
    }
    matches!(error, ConsumerInfoErrorKind::NotFound)
}
