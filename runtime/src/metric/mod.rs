//! Counts what the process does and writes it down for Prometheus.
//!
//! [`list`] holds every name of the mesh and [`label`] every label; this file puts them into one
//! registry. Counting never allocates and takes no lock beyond a histogram's own: whoever counts by skill keeps the
//! [`SkillMetrics`] of that skill.

pub mod label;
pub mod list;

use std::fmt;
use std::sync::Arc;

use dashmap::DashMap;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use protocol::Skill;

use label::{
    BusErrorKind, BusErrorLabel, JobFailureCause, JobLabel, ProcessLabel, RequestLabel, SkillLabel,
    SweepLabel, SweepResult,
};
use list::{
    BusMetrics, CoordinatorMetrics, GatewayMetrics, NodeMetrics, ProcessMetrics, PushMetrics,
    SkillFamilies, SkillMetrics,
};

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Skills with series of their own; the series of all further ones are [`OVERFLOW_SKILL`]'s. A skill
/// costs about 20 series, and whoever may submit can invent names.
pub const SKILLS_MAX: usize = 1000;

/// Stands for the skills beyond [`SKILLS_MAX`]. No skill can have this name.
pub const OVERFLOW_SKILL: &str = "(other)";

/// All metrics of this process. Clones count into the same series.
#[derive(Clone)]
pub struct Metrics {
    /// What a node does, over all skills.
    pub node: Arc<NodeMetrics>,
    /// How the connection to the bus does.
    pub bus: Arc<BusMetrics>,
    /// What a coordinator does.
    pub coordinator: Arc<CoordinatorMetrics>,
    /// How webhooks are told.
    pub push: Arc<PushMetrics>,
    /// What a gateway's doors do.
    pub gateway: Arc<GatewayMetrics>,
    /// What this process is and how its jobs do.
    pub process: Arc<ProcessMetrics>,
    skills: Arc<Skills>,
    registry: Arc<Registry>,
}

struct Skills {
    families: SkillFamilies,
    known: DashMap<Skill, Arc<SkillMetrics>>,
    max: usize,
}

impl Metrics {
    /// Metrics of a process with this role (`node`, `coordinator`, ..), all at zero.
    #[must_use]
    pub fn new(role: &str) -> Self {
        Self::with_skills_max(role, SKILLS_MAX)
    }

    fn with_skills_max(role: &str, max: usize) -> Self {
        let mut registry = Registry::default();
        let process = ProcessMetrics::register(&mut registry);
        let bus = BusMetrics::register(&mut registry);
        let node = NodeMetrics::register(&mut registry);
        let coordinator = CoordinatorMetrics::register(&mut registry);
        let push = PushMetrics::register(&mut registry);
        let gateway = GatewayMetrics::register(&mut registry);
        let families = SkillFamilies::register(&mut registry);
        let label =
            ProcessLabel { role: role.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        process.info.get_or_create(&label).set(1);
        for kind in BusErrorKind::ALL {
            drop(bus.errors.get_or_create(&BusErrorLabel { kind: *kind }));
        }
        let send = RequestLabel { door: "jsonrpc", operation: "send", status: 200 };
        drop(gateway.requests.get_or_create(&send));
        for result in SweepResult::ALL {
            drop(coordinator.sweep_results.get_or_create(&SweepLabel { result: *result }));
        }
        Self {
            node: Arc::new(node),
            bus: Arc::new(bus),
            coordinator: Arc::new(coordinator),
            gateway: Arc::new(gateway),
            push: Arc::new(push),
            process: Arc::new(process),
            skills: Arc::new(Skills { families, known: DashMap::new(), max }),
            registry: Arc::new(registry),
        }
    }

    /// The series of one skill. Looks up a map: keep the answer where counting is frequent.
    #[must_use]
    pub fn skill(&self, skill: &Skill) -> Arc<SkillMetrics> {
        let skills = &self.skills;
        if let Some(known) = skills.known.get(skill) {
            return Arc::clone(&known);
        }
        let full = skills.known.len() >= skills.max;
        let name = if full { OVERFLOW_SKILL } else { skill.as_str() };
        let series = || Arc::new(skills.families.series(&SkillLabel { skill: name.to_owned() }));
        if full {
            return series();
        }
        Arc::clone(&skills.known.entry(skill.clone()).or_insert_with(series))
    }

    /// Counts an error of the bus.
    pub fn count_bus_error(&self, kind: BusErrorKind) {
        self.bus.errors.get_or_create(&BusErrorLabel { kind }).inc();
    }

    /// Counts what a sweep did about one task.
    pub fn count_sweep(&self, result: SweepResult) {
        self.coordinator.sweep_results.get_or_create(&SweepLabel { result }).inc();
    }

    /// The counter of a job's failures.
    #[must_use]
    pub fn job_failures(&self, job: &'static str, cause: JobFailureCause) -> Counter {
        self.process.job_failures.get_or_create_owned(&JobLabel { job, cause })
    }

    /// All series in the `OpenMetrics` text format; send it as [`CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(16 * 1024);
        match text::encode(&mut out, &self.registry) {
            Ok(()) => out,
            // Writing into a string cannot fail; half an exposition would be worse than none.
            Err(fmt::Error) => String::from("# EOF\n"),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("skills", &self.skills.known.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn touched() -> Metrics {
        let metrics = Metrics::new("node");
        metrics.skill(&Skill::parse("echo").unwrap()).tasks_received.inc();
        metrics.job_failures("pull", JobFailureCause::Panic).inc();
        metrics
    }

    #[test]
    fn every_metric_of_the_list_is_shown_with_its_help() {
        let shown = touched().encode();
        for (name, help) in list::METRICS.into_iter().flatten() {
            assert!(help.len() > 10 && !help.ends_with('.'), "{name}: {help:?}");
            assert!(shown.contains(&format!("# HELP {name} {help}.\n")), "{name} has no help");
            let series = shown.lines().any(|line| !line.starts_with('#') && line.starts_with(name));
            assert!(series, "{name} has no series");
        }
    }

    #[test]
    fn nothing_is_shown_that_is_not_listed_and_names_follow_the_conventions() {
        let listed: Vec<&str> =
            list::METRICS.into_iter().flatten().map(|(name, _)| *name).collect();
        let unique: BTreeSet<&str> = listed.iter().copied().collect();
        assert_eq!(unique.len(), listed.len(), "a name is listed twice");
        for name in &listed {
            assert!(name.starts_with("weft_") && !name.ends_with("_total"), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        }
        let shown = touched().encode();
        for line in shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            assert!(unique.contains(line.split(' ').next().unwrap()), "{line}");
        }
        assert!(shown.ends_with("# EOF\n"));
    }

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = touched();
        let echo = metrics.skill(&Skill::parse("echo").unwrap());
        echo.tasks_received.inc();
        echo.attempt_duration.observe(0.002);
        metrics.node.slots.set(64);
        metrics.count_bus_error(BusErrorKind::StreamFull);
        metrics.count_sweep(SweepResult::Requeued);
        let shown = metrics.encode();
        for line in [
            "weft_tasks_received_total{skill=\"echo\"} 2",
            "weft_attempt_duration_seconds_bucket{le=\"0.005\",skill=\"echo\"} 1",
            "weft_attempt_duration_seconds_count{skill=\"echo\"} 1",
            "weft_slots 64",
            "weft_bus_errors_total{kind=\"stream_full\"} 1",
            "weft_bus_errors_total{kind=\"timeout\"} 0",
            "weft_coordinator_swept_tasks_total{result=\"requeued\"} 1",
            "weft_job_failures_total{job=\"pull\",cause=\"panic\"} 1",
            concat!(
                "weft_process_info{role=\"node\",version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        }
    }

    #[test]
    fn invented_skills_share_the_series_beyond_the_limit() {
        let metrics = Metrics::with_skills_max("node", 2);
        for name in ["a", "b", "c", "d", "a"] {
            metrics.skill(&Skill::parse(name).unwrap()).tasks_received.inc();
        }
        let shown = metrics.encode();
        for (skill, count) in [("a", 2), ("b", 1), (OVERFLOW_SKILL, 2)] {
            let line = format!("weft_tasks_received_total{{skill=\"{skill}\"}} {count}\n");
            assert!(shown.contains(&line), "{line}{shown}");
        }
        assert!(!shown.contains("skill=\"c\""));
        assert!(Skill::parse(OVERFLOW_SKILL).is_err());
    }
}
