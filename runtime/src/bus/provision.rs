//! Creates what the mesh needs on the server, once, and says what differs from it.
//!
//! Creating is idempotent: what is missing is made, what is there is compared and never overwritten, since an
//! operator may have had a reason. A difference is reported with both values.

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{ConsumerInfoErrorKind, GetStreamErrorKind};
use async_nats::jetstream::{ErrorCode, kv, object_store, stream};
use protocol::id::Skill;
use protocol::topology::{self, BucketSpec, Capacity, ConsumerSpec, Names, StreamSpec};

use super::Bus;

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

/// A setting on the server that is not as the mesh wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The stream, consumer or bucket.
    pub what: String,
    /// The setting.
    pub setting: &'static str,
    /// Its value on the server.
    pub found: String,
    /// The value wanted.
    pub wanted: String,
}

impl Difference {
    /// Whether the setting is one that operators choose per mesh: without the settings file nobody knows what is wanted.
    pub(super) fn is_chosen(&self, names: &Names) -> bool {
        let of_audit = self.what == format!("stream {}", names.audit);
        matches!(self.setting, "num_replicas" | "max_bytes" | "ack_wait")
            || of_audit && self.setting == "max_age"
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
        for spec in topology::streams(&subjects, capacity) {
            done.merge(self.provision_stream(&spec).await?);
        }
        for spec in topology::buckets(&subjects, capacity) {
            done.merge(self.provision_bucket(&spec).await?);
        }
        done.merge(self.provision_objects(capacity.replicas).await?);
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

    /// A stream, or `None` when the server says that there is none: no answer is no such word.
    async fn stream_if_there(
        &self,
        what: &str,
        name: &str,
    ) -> Result<Option<stream::Stream>, ProvisionError> {
        match self.jetstream.get_stream(name).await {
            Ok(found) => Ok(Some(found)),
            Err(error) => {
                if let GetStreamErrorKind::JetStream(said) = error.kind()
                    && said.error_code() == ErrorCode::STREAM_NOT_FOUND
                {
                    return Ok(None);
                }
                Err(ProvisionError { what: what.to_owned(), reason: error.to_string() })
            }
        }
    }

    async fn provision_stream(&self, spec: &StreamSpec) -> Result<Provisioned, ProvisionError> {
        let wanted = stream_config(spec);
        let what = format!("stream {}", spec.name);
        if let Some(found) = self.stream_if_there(&what, &spec.name).await? {
            return Ok(Provisioned {
                created: Vec::new(),
                differences: compare_streams(&spec.name, &found.cached_info().config, &wanted),
            });
        }
        self.jetstream.create_stream(wanted).await.map_err(|error| ProvisionError {
            what: format!("stream {}", spec.name),
            reason: error.to_string(),
        })?;
        Ok(Provisioned { created: vec![format!("stream {}", spec.name)], differences: Vec::new() })
    }

    async fn provision_consumer(
        &self,
        spec: &ConsumerSpec,
        sync: Option<&str>,
    ) -> Result<Provisioned, ProvisionError> {
        let what = format!("consumer {} on {}", spec.name, spec.stream);
        let fail = |reason: String| ProvisionError { what: what.clone(), reason };
        let stream = self
            .jetstream
            .get_stream_no_info(&spec.stream)
            .await
            .map_err(|error| fail(error.to_string()))?;
        let wanted = consumer_config(spec, sync);
        match stream.consumer_info(&spec.name).await {
            Ok(found) => {
                return Ok(Provisioned {
                    created: Vec::new(),
                    differences: compare_consumers(&what, &found.config, &wanted),
                });
            }
            Err(error) if is_no_consumer(&error.kind()) => {}
            Err(error) => return Err(fail(error.to_string())),
        }
        stream.create_consumer(wanted).await.map_err(|error| fail(error.to_string()))?;
        Ok(Provisioned { created: vec![what], differences: Vec::new() })
    }

    async fn provision_bucket(&self, spec: &BucketSpec) -> Result<Provisioned, ProvisionError> {
        let what = format!("bucket {}", spec.name);
        let name = format!("KV_{}", spec.name);
        if let Some(found) = self.stream_if_there(&what, &name).await? {
            let found = &found.cached_info().config;
            let mut differences = Vec::new();
            compare(&mut differences, &what, "num_replicas", &found.num_replicas, &spec.replicas);
            let may_expire = spec.marker_ttl.is_some();
            compare(
                &mut differences,
                &what,
                "allow_msg_ttl",
                &found.allow_message_ttl,
                &may_expire,
            );
            return Ok(Provisioned { created: Vec::new(), differences });
        }
        let config = kv::Config {
            bucket: spec.name.clone(),
            description: spec.description.to_owned(),
            history: 1,
            num_replicas: spec.replicas,
            limit_markers: spec.marker_ttl,
            ..kv::Config::default()
        };
        match self.jetstream.create_key_value(config).await {
            Ok(_) => Ok(Provisioned { created: vec![what], differences: Vec::new() }),
            Err(error) => Err(ProvisionError { what, reason: error.to_string() }),
        }
    }

    async fn provision_objects(&self, replicas: usize) -> Result<Provisioned, ProvisionError> {
        let bucket = self.names().artifacts.clone();
        let what = format!("object store {bucket}");
        if let Some(found) = self.stream_if_there(&what, &format!("OBJ_{bucket}")).await? {
            let found = &found.cached_info().config;
            let mut differences = Vec::new();
            compare(&mut differences, &what, "num_replicas", &found.num_replicas, &replicas);
            return Ok(Provisioned { created: Vec::new(), differences });
        }
        let config = object_store::Config {
            bucket,
            num_replicas: replicas,
            ..object_store::Config::default()
        };
        match self.jetstream.create_object_store(config).await {
            Ok(_) => Ok(Provisioned { created: vec![what], differences: Vec::new() }),
            Err(error) => Err(ProvisionError { what, reason: error.to_string() }),
        }
    }
}

fn is_no_consumer(error: &ConsumerInfoErrorKind) -> bool {
    if let ConsumerInfoErrorKind::JetStream(said) = error {
        return said.error_code() == ErrorCode::CONSUMER_NOT_FOUND;
    }
    matches!(error, ConsumerInfoErrorKind::NotFound)
}

pub(super) fn stream_config(spec: &StreamSpec) -> stream::Config {
    stream::Config {
        name: spec.name.clone(),
        description: Some(spec.description.to_owned()),
        subjects: spec.subjects.clone(),
        retention: stream::RetentionPolicy::Limits,
        storage: stream::StorageType::File,
        discard: if spec.bytes_max > 0 && !spec.drops_oldest {
            stream::DiscardPolicy::New
        } else {
            stream::DiscardPolicy::Old
        },
        num_replicas: spec.replicas,
        max_bytes: spec.bytes_max,
        max_age: spec.age_max,
        max_message_size: spec.message_bytes_max,
        duplicate_window: spec.duplicate_window,
        allow_direct: true,
        allow_atomic_publish: true,
        allow_message_schedules: spec.schedules,
        allow_message_ttl: spec.message_ttl,
        republish: spec.republish.clone().map(|(source, destination)| stream::Republish {
            source,
            destination,
            headers_only: false,
        }),
        ..stream::Config::default()
    }
}

pub(super) fn consumer_config(spec: &ConsumerSpec, sync: Option<&str>) -> pull::Config {
    let metadata = sync.map(|sync| (SYNC_KEY.to_owned(), sync.to_owned())).into_iter().collect();
    pull::Config {
        durable_name: Some(spec.name.clone()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: spec.ack_wait,
        max_deliver: spec.deliveries_max,
        filter_subjects: spec.filters.clone(),
        max_ack_pending: spec.ack_pending_max,
        max_waiting: spec.pulls_waiting_max,
        metadata,
        ..pull::Config::default()
    }
}

fn compare<T: PartialEq + std::fmt::Debug>(
    out: &mut Vec<Difference>,
    what: &str,
    setting: &'static str,
    found: &T,
    wanted: &T,
) {
    if found != wanted {
        out.push(Difference {
            what: what.to_owned(),
            setting,
            found: format!("{found:?}"),
            wanted: format!("{wanted:?}"),
        });
    }
}

pub(super) fn compare_streams(
    name: &str,
    found: &stream::Config,
    wanted: &stream::Config,
) -> Vec<Difference> {
    let what = format!("stream {name}");
    let mut out = Vec::new();
    let mut subjects = (found.subjects.clone(), wanted.subjects.clone());
    subjects.0.sort();
    subjects.1.sort();
    compare(&mut out, &what, "subjects", &subjects.0, &subjects.1);
    compare(&mut out, &what, "retention", &found.retention, &wanted.retention);
    compare(&mut out, &what, "storage", &found.storage, &wanted.storage);
    compare(&mut out, &what, "discard", &found.discard, &wanted.discard);
    compare(&mut out, &what, "num_replicas", &found.num_replicas, &wanted.num_replicas);
    compare(&mut out, &what, "max_bytes", &found.max_bytes, &wanted.max_bytes);
    compare(&mut out, &what, "max_age", &found.max_age, &wanted.max_age);
    compare(&mut out, &what, "max_msg_size", &found.max_message_size, &wanted.max_message_size);
    compare(&mut out, &what, "duplicate_window", &found.duplicate_window, &wanted.duplicate_window);
    compare(&mut out, &what, "allow_direct", &found.allow_direct, &wanted.allow_direct);
    compare(
        &mut out,
        &what,
        "allow_atomic",
        &found.allow_atomic_publish,
        &wanted.allow_atomic_publish,
    );
    compare(
        &mut out,
        &what,
        "allow_msg_schedules",
        &found.allow_message_schedules,
        &wanted.allow_message_schedules,
    );
    compare(&mut out, &what, "allow_msg_ttl", &found.allow_message_ttl, &wanted.allow_message_ttl);
    compare(&mut out, &what, "republish", &found.republish, &wanted.republish);
    out
}

pub(super) fn compare_consumers(
    what: &str,
    found: &async_nats::jetstream::consumer::Config,
    wanted: &pull::Config,
) -> Vec<Difference> {
    let mut out = Vec::new();
    let filters = |mut many: Vec<String>, one: &str| {
        if many.is_empty() && !one.is_empty() {
            many.push(one.to_owned());
        }
        many.sort();
        many
    };
    compare(
        &mut out,
        what,
        "filter_subjects",
        &filters(found.filter_subjects.clone(), &found.filter_subject),
        &filters(wanted.filter_subjects.clone(), ""),
    );
    compare(&mut out, what, "ack_wait", &found.ack_wait, &wanted.ack_wait);
    compare(&mut out, what, "max_deliver", &found.max_deliver, &wanted.max_deliver);
    compare(&mut out, what, "max_ack_pending", &found.max_ack_pending, &wanted.max_ack_pending);
    compare(&mut out, what, "max_waiting", &found.max_waiting, &wanted.max_waiting);
    out
}
