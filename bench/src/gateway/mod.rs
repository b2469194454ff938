//! What the gateway costs: a blocking `SendMessage` beside the bus and beside the reference server, open streams, lists.

mod caller;
mod cost;
mod door;
mod lists;
mod peer;
mod streams;

use std::io::{self, Write};
use std::sync::Mutex;
use std::time::Duration;

use runtime::nats_server::Found;
use tempfile::TempDir;

use crate::child::Again;
use crate::durable::Figure;
use crate::load::{self, Sample};
use crate::mesh::{Mesh, one_agent};
use crate::report::{table, verdict};
use crate::weft::Weft;
use crate::{BenchArgs, BenchError};
use caller::Caller;
use cost::{Cost, Meter};
use peer::Peer;

/// Callers at once, one row of the table each.
const CALLERS: [usize; 3] = [1, 16, 64];
/// Requests to the reference server for each hundred to the gateway, which is that much faster.
const PEER_SHARE: usize = 10;
const ROUNDS: usize = 5;
/// What a message says, in bytes.
const BYTES: usize = 256;

/// One number of callers.
#[derive(Debug, Clone, PartialEq)]
pub struct CallersRow {
    callers: usize,
    bus: Sample,
    gateway: Sample,
    peer: Sample,
    /// Requests a second through the gateway by those over the bus, the median of the rounds.
    to_bus: f64,
    /// The same by those to the reference server.
    to_peer: f64,
    /// The median time through the gateway by that over the bus.
    p50_to_bus: f64,
    /// Processor time a message over the bus, and through the gateway.
    costs: [Cost; 2],
}

/// What the gateway costs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GatewayReport {
    rows: Vec<CallersRow>,
    figures: Vec<Figure>,
}

/// Measures all of it.
pub(crate) async fn measure(
    args: &BenchArgs,
    found: &Found,
    again: &Again,
    place: &TempDir,
) -> Result<GatewayReport, BenchError> {
    let mut report = GatewayReport::default();
    send(args, found, again, place, &mut report).await?;
    streams::measure(args, found, again, place, &mut report).await?;
    lists::measure(args, found, again, place, &mut report).await?;
    Ok(report)
}

/// The callers of one round.
struct Callers(Mutex<Vec<Caller>>);

impl Callers {
    async fn open(address: &str, count: usize) -> Result<Self, BenchError> {
        let request = caller::post(address, &door::message(BYTES));
        let mut callers = Vec::with_capacity(count);
        for _ in 0..count {
            callers.push(Caller::open(address, request.clone()).await?);
        }
        Ok(Self(Mutex::new(callers)))
    }

    fn callers(&self) -> std::sync::MutexGuard<'_, Vec<Caller>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn once(&self) -> Result<(), BenchError> {
        let caller = self.callers().pop();
        let mut caller = caller.ok_or(BenchError::NotReady { what: "connection" })?;
        let text = String::from_utf8_lossy(caller.call().await?);
        if !text.contains("TASK_STATE_COMPLETED") {
            let reason = text.into_owned();
            return Err(BenchError::Weft { doing: "send a message", reason });
        }
        drop(text);
        self.callers().push(caller);
        Ok(())
    }
}

/// One round: so many messages from so many callers.
async fn round(address: &str, messages: usize, callers: usize) -> Result<Sample, BenchError> {
    let open = Callers::open(address, callers).await?;
    load::single(messages, callers, || open.once()).await
}

async fn send(
    args: &BenchArgs,
    found: &Found,
    again: &Again,
    place: &TempDir,
    report: &mut GatewayReport,
) -> Result<(), BenchError> {
    let agent = one_agent("echo", 256, false);
    let mesh = Mesh::start(found, again, place, "gateway", false, Some(agent)).await?;
    let gateway = mesh.gateway(again).await?;
    let address = gateway.address.clone();
    let peer = Peer::start(place.path()).await?;
    let weft = Weft::open(&mesh.server.client_url(), "echo", BYTES, &mesh.jobs).await?;
    for callers in CALLERS {
        let tasks = args.tasks_of_round(callers, false) / 4;
        let few = (tasks / PEER_SHARE).max(callers * 4);
        round(&address, tasks / 4, callers).await?;
        round(&peer.address, few / 4, callers).await?;
        let (mut bus, mut through, mut peers) = (Vec::new(), Vec::new(), Vec::new());
        let mut costs = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let [of_bus, of_gateway] = &mut costs;
            let began = Meter::read(&mesh, &gateway)?;
            bus.push(load::single(tasks, callers, || weft.once()).await?);
            let between = Meter::read(&mesh, &gateway)?;
            of_bus.push(between.since(&began, tasks));
            through.push(round(&address, tasks, callers).await?);
            of_gateway.push(Meter::read(&mesh, &gateway)?.since(&between, tasks));
            peers.push(round(&peer.address, few, callers).await?);
        }
        let costs = costs.map(|rounds| Cost::mean(&rounds));
        report.rows.push(CallersRow::of(callers, (&bus, &through, &peers), costs));
    }
    gateway.stop().await;
    mesh.stop().await;
    report.judge();
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn typical(samples: &[Sample]) -> Sample {
    let of = |value: fn(&Sample) -> f64| median(samples.iter().map(value).collect());
    Sample {
        rate: of(|sample| sample.rate),
        p50: Duration::from_secs_f64(of(|sample| sample.p50.as_secs_f64())),
        p99: Duration::from_secs_f64(of(|sample| sample.p99.as_secs_f64())),
    }
}

impl CallersRow {
    fn of(
        callers: usize,
        (bus, gateway, peer): (&[Sample], &[Sample], &[Sample]),
        costs: [Cost; 2],
    ) -> Self {
        let ratio = |others: &[Sample], value: fn(&Sample) -> f64| {
            median(
                gateway.iter().zip(others).map(|(one, other)| value(one) / value(other)).collect(),
            )
        };
        Self {
            callers,
            bus: typical(bus),
            gateway: typical(gateway),
            peer: typical(peer),
            to_bus: ratio(bus, |sample| sample.rate),
            to_peer: ratio(peer, |sample| sample.rate),
            p50_to_bus: ratio(bus, |sample| sample.p50.as_secs_f64()),
            costs,
        }
    }
}

impl GatewayReport {
    fn add(&mut self, what: impl Into<String>, value: String, target: &'static str, met: bool) {
        self.figures.push(Figure { what: what.into(), value, target, met });
    }

    fn judge(&mut self) {
        for row in self.rows.clone() {
            let CallersRow { callers, to_bus, to_peer, p50_to_bus, .. } = row;
            let what = |by| format!("{callers} callers, messages a second by those {by}");
            self.add(what("over the bus"), format!("{to_bus:.2}"), "at least 0.6", to_bus >= 0.6);
            let to = "to the reference server";
            self.add(what(to), format!("{to_peer:.1}"), "at least 10", to_peer >= 10.0);
            if callers == 1 {
                let what = "1 caller, p50 by that over the bus";
                self.add(what, format!("{p50_to_bus:.2}"), "under 2", p50_to_bus < 2.0);
            }
        }
    }

    pub(crate) fn print(&self, out: &mut (dyn Write + Send)) -> io::Result<()> {
        writeln!(out, "\nBlocking SendMessage over JSON-RPC\n")?;
        let mut rows = table(&[
            "callers",
            "bus/s (a)",
            "gateway/s (g)",
            "a2a-sdk/s (b)",
            "(g)/(a)",
            "(g)/(b)",
            "p50 us (a)",
            "p50 us (g)",
            "p50 us (b)",
        ]);
        for row in &self.rows {
            let micros = |sample: &Sample| sample.p50.as_micros().to_string();
            let rate = |sample: &Sample| format!("{:.0}", sample.rate);
            rows.add_row([
                row.callers.to_string(),
                rate(&row.bus),
                rate(&row.gateway),
                rate(&row.peer),
                format!("{:.2}", row.to_bus),
                format!("{:.1}", row.to_peer),
                micros(&row.bus),
                micros(&row.gateway),
                micros(&row.peer),
            ]);
        }
        writeln!(out, "{rows}\n\nProcessor time a message\n")?;
        let costs = self.rows.iter().flat_map(|row| {
            let [bus, gateway] = &row.costs;
            [(row.callers, "bus (a)", bus), (row.callers, "gateway (g)", gateway)]
        });
        writeln!(out, "{}\n", cost::print(costs))?;
        let mut figures = table(&["what", "measured", "wanted", ""]);
        for Figure { what, value, target, met } in &self.figures {
            figures.add_row([what, value, *target, verdict(*met)]);
        }
        writeln!(out, "{figures}")
    }
}
