//! The tables, and what the figures mean against their targets.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;

use crate::BenchArgs;
use crate::durable::DurableReport;
use crate::gateway::GatewayReport;
use crate::load::Sample;

/// Everything measured in one run.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Beside the floor.
    pub speed: Option<SpeedReport>,
    /// The same on a server that syncs every write.
    pub sync: Option<SpeedReport>,
    /// A node's memory.
    pub memory: Option<MemoryReport>,
    /// Submit and pull with a long queue.
    pub depth: Option<DepthReport>,
    /// Steps, fan-out, waits and the rebuild.
    pub durable: Option<DurableReport>,
    /// The gateway.
    pub gateway: Option<GatewayReport>,
}

/// The median of several rounds, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or_default();
        Self { median: at(values.len() / 2), min: at(0), max: at(values.len().saturating_sub(1)) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}-{:.2})", self.median, self.min, self.max)
    }
}

/// What a task cost in one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cost {
    pub(crate) server_micros: f64,
    pub(crate) worker_micros: f64,
    pub(crate) submitter_micros: f64,
    pub(crate) coordinator_micros: f64,
    pub(crate) writes: f64,
}

/// One number of tasks in flight.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Tasks in flight.
    pub in_flight: usize,
    /// Tasks of a round.
    pub tasks: usize,
    /// Tasks a second: the floor's, Weft's.
    pub rate: [Spread; 2],
    /// Median latency in microseconds: the floor's, Weft's.
    pub p50: [Spread; 2],
    /// 99th percentile in microseconds: the floor's, Weft's.
    pub p99: [Spread; 2],
    /// Microseconds of the server's processor time a task: the floor's, Weft's.
    pub server: [Spread; 2],
    /// Microseconds of the worker's processor time a task: the floor's, Weft's.
    pub worker: [Spread; 2],
    /// Microseconds of the submitter's processor time a task: the floor's, Weft's.
    pub submitter: [Spread; 2],
    /// Microseconds of the coordinator's processor time a task of Weft's.
    pub coordinator: Spread,
    /// Weft's rate by the floor's, of neighbouring rounds.
    pub rate_ratio: Spread,
    /// Weft's median latency by the floor's, of neighbouring rounds.
    pub p50_ratio: Spread,
    /// Messages that Weft stored a task.
    pub writes: Spread,
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

impl Row {
    pub(crate) fn of(
        in_flight: usize,
        tasks: usize,
        floor: &[(Sample, Cost)],
        weft: &[(Sample, Cost)],
    ) -> Self {
        type Read = fn(&(Sample, Cost)) -> f64;
        let both = |read: Read| [floor, weft].map(|side| Spread::of(side.iter().map(read)));
        let ratio = |read: Read| {
            Spread::of(weft.iter().zip(floor).map(|(weft, floor)| read(weft) / read(floor)))
        };
        Self {
            in_flight,
            tasks,
            rate: both(|(sample, _)| sample.rate),
            p50: both(|(sample, _)| micros(sample.p50)),
            p99: both(|(sample, _)| micros(sample.p99)),
            server: both(|(_, cost)| cost.server_micros),
            worker: both(|(_, cost)| cost.worker_micros),
            submitter: both(|(_, cost)| cost.submitter_micros),
            coordinator: Spread::of(weft.iter().map(|(_, cost)| cost.coordinator_micros)),
            rate_ratio: ratio(|(sample, _)| sample.rate),
            p50_ratio: ratio(|(sample, _)| micros(sample.p50)),
            writes: Spread::of(weft.iter().map(|(_, cost)| cost.writes)),
        }
    }
}

/// Weft beside the floor.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeedReport {
    /// Whether the server synced every write.
    pub sync_always: bool,
    /// A row for each number in flight.
    pub rows: Vec<Row>,
}

/// Throughput that Weft must keep with many in flight.
const RATE_RATIO_MIN: f64 = 0.8;
/// Latency that Weft may take with one in flight.
const P50_RATIO_MAX: f64 = 1.25;
/// What group commit must bring where every write is synced.
const SYNC_RATIO_MIN: f64 = 3.0;
const NODE_BYTES_MAX: u64 = 50_000_000;
/// What a long queue may cost.
const DEPTH_RATIO_MAX: f64 = 1.10;

pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

impl SpeedReport {
    pub(crate) fn print(&self, out: &mut (dyn Write + Send)) -> io::Result<()> {
        let what = if self.sync_always { "sync_interval: always" } else { "default sync" };
        writeln!(out, "\nBeside the floor, {what}: (a) the bare client, (b) Weft\n")?;
        let mut table = table(&[
            "in flight",
            "tasks/s (a)",
            "tasks/s (b)",
            "(b)/(a)",
            "p50 us (a)",
            "p50 us (b)",
            "(b)/(a)",
            "p99 us (a)",
            "p99 us (b)",
        ]);
        for row in &self.rows {
            let [rate, p50, p99] =
                [row.rate, row.p50, row.p99].map(|pair| pair.map(|s| format!("{:.0}", s.median)));
            let (ratios, ratios_p50) = (row.rate_ratio.to_string(), row.p50_ratio.to_string());
            let mut cells = vec![row.in_flight.to_string()];
            cells.extend(rate);
            cells.push(ratios);
            cells.extend(p50);
            cells.push(ratios_p50);
            cells.extend(p99);
            table.add_row(cells);
        }
        writeln!(out, "{table}\n")?;
        self.print_cost(out)?;
        for line in self.verdicts() {
            writeln!(out, "- {line}")?;
        }
        Ok(())
    }

    fn print_cost(&self, out: &mut (dyn Write + Send)) -> io::Result<()> {
        let mut table = table(&[
            "in flight",
            "server us (a)",
            "server us (b)",
            "worker us (a)",
            "worker us (b)",
            "submitter us (a)",
            "submitter us (b)",
            "coordinator us (b)",
            "writes a task (b)",
            "tasks a round",
        ]);
        for row in &self.rows {
            let mut cells = vec![row.in_flight.to_string()];
            for pair in [row.server, row.worker, row.submitter] {
                cells.extend(pair.map(|spread| format!("{:.0}", spread.median)));
            }
            cells.push(format!("{:.0}", row.coordinator.median));
            cells.push(format!("{:.3}", row.writes.max));
            cells.push(row.tasks.to_string());
            table.add_row(cells);
        }
        writeln!(out, "{table}\n")
    }

    fn verdicts(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for row in &self.rows {
            let Row { in_flight, rate_ratio, p50_ratio, .. } = row;
            if *in_flight == 1 && !self.sync_always {
                let met = p50_ratio.median <= P50_RATIO_MAX;
                lines.push(format!(
                    "1 in flight: p50 (b)/(a) {:.2}, at most {P50_RATIO_MAX}: {}",
                    p50_ratio.median,
                    verdict(met)
                ));
            } else if *in_flight > 1 {
                let least = if self.sync_always { SYNC_RATIO_MIN } else { RATE_RATIO_MIN };
                lines.push(format!(
                    "{in_flight} in flight: tasks/s (b)/(a) {:.2}, at least {least}: {}",
                    rate_ratio.median,
                    verdict(rate_ratio.median >= least)
                ));
            }
        }
        let writes = self.rows.iter().map(|row| row.writes.max).fold(0.0, f64::max);
        lines.push(format!("durable writes a task: {writes:.3}, 2: {}", verdict(writes <= 2.0)));
        lines
    }
}

/// A node's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryReport {
    /// Tasks that waited.
    pub queued: u64,
    /// Attempts under way.
    pub running: usize,
    /// The most resident memory seen, in bytes.
    pub peak_bytes: u64,
}

impl MemoryReport {
    pub(crate) fn print(&self, out: &mut (dyn Write + Send)) -> io::Result<()> {
        writeln!(
            out,
            "\nMemory of a node with {} tasks queued and {} running: {:.1} MB resident, under {} MB: {}",
            self.queued,
            self.running,
            crate::load::count(usize::try_from(self.peak_bytes / 1000).unwrap_or(usize::MAX)) / 1e3,
            NODE_BYTES_MAX / 1_000_000,
            verdict(self.peak_bytes < NODE_BYTES_MAX)
        )
    }
}

/// One operation with a long queue and with an empty one.
#[derive(Debug, Clone, PartialEq)]
pub struct DepthRow {
    /// The operation.
    pub what: &'static str,
    /// Median in microseconds, with the long queue and with the empty one.
    pub p50: [f64; 2],
    /// 99th percentile likewise.
    pub p99: [f64; 2],
}

impl DepthRow {
    pub(crate) fn of(what: &'static str, full: Vec<Duration>, empty: Vec<Duration>) -> Self {
        let sorted = [full, empty].map(|mut side| {
            side.sort_unstable();
            side
        });
        let at = |percent: usize| {
            let read = |side: &Vec<Duration>| side.get(side.len() * percent / 100).copied();
            let [full, empty] = &sorted;
            [full, empty].map(|side| micros(read(side).unwrap_or_default()))
        };
        Self { what, p50: at(50), p99: at(99) }
    }

    /// The long queue's median by the empty one's.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        let [full, empty] = self.p50;
        full / empty
    }
}

/// Submit and pull with a long queue.
#[derive(Debug, Clone, PartialEq)]
pub struct DepthReport {
    /// How long it was.
    pub queued: usize,
    /// Submit, pull.
    pub rows: Vec<DepthRow>,
}

impl DepthReport {
    pub(crate) fn print(&self, out: &mut (dyn Write + Send)) -> io::Result<()> {
        writeln!(out, "\nWith {} tasks queued, beside an empty queue\n", self.queued)?;
        let mut table = table(&[
            "operation",
            "p50 us (full)",
            "p50 us (empty)",
            "full/empty",
            "p99 us (full)",
            "p99 us (empty)",
            "at most 1.10",
        ]);
        for row in &self.rows {
            let ([full, empty], [full99, empty99]) = (row.p50, row.p99);
            table.add_row([
                row.what.to_owned(),
                format!("{full:.0}"),
                format!("{empty:.0}"),
                format!("{:.2}", row.ratio()),
                format!("{full99:.0}"),
                format!("{empty99:.0}"),
                verdict(row.ratio() <= DEPTH_RATIO_MAX).to_owned(),
            ]);
        }
        writeln!(out, "{table}")
    }
}

pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header.iter().copied());
    table
}

/// What was run, for whoever reads the tables later.
pub(crate) fn heading(args: &BenchArgs) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{} rounds of each side in turn, medians (least-greatest), {} B a task, {cores} cores",
        args.rounds, args.bytes
    )
}
