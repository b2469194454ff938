//! Every metric of the mesh, in one list.
//!
//! A line here is a metric's name, its help text and a typed member, all at once: none of the three
//! can be missing. Counters get `_total` when they are written. Names are append-only, for dashboards
//! and alerts read them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::label::{BusErrorLabel, JobLabel, ProcessLabel, RequestLabel, SkillLabel, SweepLabel};

/// A metric's name, without the `_total` of a counter, and its help text.
pub type Described = (&'static str, &'static str);

/// The list, by group.
pub const METRICS: [&[Described]; 7] = [
    SkillMetrics::LIST,
    NodeMetrics::LIST,
    BusMetrics::LIST,
    CoordinatorMetrics::LIST,
    PushMetrics::LIST,
    GatewayMetrics::LIST,
    ProcessMetrics::LIST,
];

/// Defines the metrics that have one series a skill.
macro_rules! by_skill {
    ($($field:ident: $type:ident = $new:expr, $name:literal, $help:literal;)*) => {
        /// The series of one skill. Held by whoever counts, so that counting is one atomic operation.
        #[derive(Debug)]
        pub struct SkillMetrics { $(#[doc = concat!($help, ".")] pub $field: $type,)* }

        impl SkillMetrics {
            pub(super) const LIST: &[Described] = &[$(($name, $help),)*];
        }

        /// Where the series of all skills live.
        #[derive(Debug)]
        pub(super) struct SkillFamilies { $($field: Family<SkillLabel, $type, fn() -> $type>,)* }

        impl SkillFamilies {
            pub(super) fn register(registry: &mut Registry) -> Self {
                let families = Self { $($field: Family::new_with_constructor($new),)* };
                $(registry.register($name, $help, families.$field.clone());)*
                families
            }

            pub(super) fn series(&self, label: &SkillLabel) -> SkillMetrics {
                SkillMetrics { $($field: self.$field.get_or_create_owned(label),)* }
            }
        }
    };
}

/// Defines a group of metrics of the whole process.
macro_rules! group {
    ($(#[$doc:meta])* $group:ident { $($field:ident: $type:ty = $new:expr, $name:literal, $help:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $group { $(#[doc = concat!($help, ".")] pub $field: $type,)* }

        impl $group {
            pub(super) const LIST: &[Described] = &[$(($name, $help),)*];

            pub(super) fn register(registry: &mut Registry) -> Self {
                let group = Self { $($field: $new(),)* };
                $(registry.register($name, $help, group.$field.clone());)*
                group
            }
        }
    };
}

by_skill! {
    tasks_received: Counter = Counter::default, "weft_tasks_received", "Tasks taken from a queue for the first time, by skill";
    tasks_completed: Counter = Counter::default, "weft_tasks_completed", "Tasks that ended as completed, by skill";
    tasks_failed: Counter = Counter::default, "weft_tasks_failed", "Tasks that ended as failed, by skill";
    tasks_rejected: Counter = Counter::default, "weft_tasks_rejected", "Tasks refused because of their input or headers, by skill";
    tasks_canceled: Counter = Counter::default, "weft_tasks_canceled", "Tasks that ended as canceled, by skill";
    tasks_retried: Counter = Counter::default, "weft_tasks_retried", "Failed attempts after which another one follows, by skill";
    tasks_duplicate: Counter = Counter::default, "weft_tasks_duplicate", "Deliveries of tasks whose log had already ended or was held by another node, by skill";
    tasks_renamed: Counter = Counter::default, "weft_tasks_renamed", "Submissions given another id because the inbox was set back and another task had theirs, by skill";
    attempts_started: Counter = Counter::default, "weft_attempts_started", "Attempts started, by skill";
    attempts_in_flight: Gauge = Gauge::default, "weft_attempts_in_flight", "Attempts under way now, by skill";
    attempt_duration: Histogram = attempt_buckets, "weft_attempt_duration_seconds", "From the start of an attempt to its end, by skill";
    takeovers: Counter = Counter::default, "weft_takeovers", "Attempts that went on with a task whose worker had vanished, by skill";
    commits_fenced: Counter = Counter::default, "weft_commits_fenced", "Commits refused because another writer had appended to the log, by skill";
    dead_letters: Counter = Counter::default, "weft_dead_letters", "Dead letters written, by skill";
}

group! {
    /// What a node does, over all skills.
    NodeMetrics {
        slots: Gauge = Gauge::default, "weft_slots", "Attempts that may run at once";
        slots_taken: Gauge = Gauge::default, "weft_slots_taken", "Slots taken by attempts and open pulls";
        slot_bytes: Gauge = Gauge::default, "weft_slot_bytes", "Bytes of input that may be in flight at once";
        slot_bytes_taken: Gauge = Gauge::default, "weft_slot_bytes_taken", "Bytes of input in flight";
        pulls: Counter = Counter::default, "weft_pulls", "Pull requests sent";
        pulled_messages: Counter = Counter::default, "weft_pulled_messages", "Messages that pulls returned";
        commit_duration: Histogram = commit_buckets, "weft_commit_duration_seconds", "From handing over a log entry to its acknowledgement";
        commit_batch: Histogram = batch_buckets, "weft_commit_batch_entries", "Log entries that shared one atomic batch";
    }
}

group! {
    /// How the connection to the bus does.
    BusMetrics {
        connected: Gauge = Gauge::default, "weft_bus_connected", "1 while connected to the bus, else 0";
        reconnects: Counter = Counter::default, "weft_bus_reconnects", "Connections made after the first one";
        errors: Family<BusErrorLabel, Counter> = Family::default, "weft_bus_errors", "Errors of the bus, by kind";
    }
}

group! {
    /// How webhooks are told.
    PushMetrics {
        held: Gauge = Gauge::default, "weft_push_held", "Webhooks whose tasks this gateway waits for";
        told: Counter = Counter::default, "weft_push_told", "Events that webhooks took";
        failed: Counter = Counter::default, "weft_push_failed", "Calls to webhooks that failed";
        disabled: Counter = Counter::default, "weft_push_disabled", "Webhooks given up because their endpoints failed too often";
    }
}

group! {
    /// What a coordinator does.
    CoordinatorMetrics {
        wakes: Counter = Counter::default, "weft_coordinator_wakes", "Wakes handled: something happened that a task may wait for";
        resumed: Counter = Counter::default, "weft_coordinator_tasks_resumed", "Waiting tasks that were queued again";
        escalated: Counter = Counter::default, "weft_coordinator_approvals_escalated", "Approvals that were put to further people because nobody had decided";
        canceled: Counter = Counter::default, "weft_coordinator_tasks_canceled", "Queued and waiting tasks ended because somebody canceled them";
        crash_naks: Counter = Counter::default, "weft_coordinator_crash_naks", "Deliveries taken from nodes whose connection broke";
        system_connected: Gauge = Gauge::default, "weft_coordinator_system_connected", "1 while connected to the system account, else 0: killed nodes are then noticed by their leases alone";
        calls_refused: Counter = Counter::default, "weft_coordinator_calls_refused", "Calls answered as busy, since too many were under way";
        sweeps: Counter = Counter::default, "weft_coordinator_sweeps", "Sweeps over all open tasks";
        sweep_results: Family<SweepLabel, Counter> = Family::default, "weft_coordinator_swept_tasks", "Tasks that a sweep looked at, by result";
        retired: Counter = Counter::default, "weft_coordinator_tasks_retired", "Logs removed, so long after the ends of their tasks as the settings say";
        files_removed: Counter = Counter::default, "weft_coordinator_files_removed", "Files removed because nothing named them";
    }
}

group! {
    /// What a gateway's doors do.
    GatewayMetrics {
        requests: Family<RequestLabel, Counter> = Family::default, "weft_gateway_requests", "Requests answered or given up, by door, operation and status";
        request_duration: Histogram = request_buckets, "weft_gateway_request_duration_seconds", "From the headers of a request to the last byte of its answer, streams left out";
        open_streams: Gauge = Gauge::default, "weft_gateway_open_streams", "Streams of events that clients read now";
        connections: Gauge = Gauge::default, "weft_gateway_connections", "Connections of clients that are open now";
        refused: Counter = Counter::default, "weft_gateway_refused", "Requests without good credentials";
        audit_entries: Counter = Counter::default, "weft_gateway_audit_entries", "Audit entries stored";
    }
}

group! {
    /// What this process is and how its jobs do.
    ProcessMetrics {
        info: Family<ProcessLabel, Gauge> = Family::default, "weft_process_info", "1; the labels say what this process is";
        job_failures: Family<JobLabel, Counter> = Family::default, "weft_job_failures", "Background jobs of the process that failed, by job and cause";
    }
}

fn attempt_buckets() -> Histogram {
    Histogram::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0])
}

fn request_buckets() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0])
}

fn commit_buckets() -> Histogram {
    Histogram::new([
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
        5.0, 10.0,
    ])
}

fn batch_buckets() -> Histogram {
    Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 200.0])
}
