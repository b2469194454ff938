//! Processor time a message, process by process: what is left to compare when the machine is busy with something else.

use std::time::Duration;

use comfy_table::Table;

use crate::child::RoleChild;
use crate::load::count;
use crate::mesh::Mesh;
use crate::report::table;
use crate::{BenchError, proc};

/// The processes, in the order of the columns. The callers are this process, on both sides.
const PROCESSES: [&str; 5] = ["server", "worker", "coordinator", "gateway", "callers"];

/// Processor time that each process has used.
pub(super) struct Meter([Duration; PROCESSES.len()]);

/// Microseconds of processor time a message, of each process.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Cost([f64; PROCESSES.len()]);

impl Meter {
    pub(super) fn read(mesh: &Mesh, gateway: &RoleChild) -> Result<Self, BenchError> {
        let node = mesh.node.as_ref().ok_or(BenchError::NotReady { what: "node" })?;
        Ok(Self([
            proc::cpu(mesh.server_pid()?)?,
            proc::cpu(node.pid)?,
            proc::cpu(mesh.coordinator.pid)?,
            proc::cpu(gateway.pid)?,
            proc::cpu(std::process::id())?,
        ]))
    }

    /// What so many messages have cost since `before`.
    pub(super) fn since(&self, before: &Self, messages: usize) -> Cost {
        let mut cost = Cost::default();
        let times = self.0.iter().zip(&before.0);
        for (each, (now, then)) in cost.0.iter_mut().zip(times) {
            *each = now.saturating_sub(*then).as_secs_f64() * 1e6 / count(messages);
        }
        cost
    }
}

impl Cost {
    /// The mean over rounds of one length: medians would not add up.
    pub(super) fn mean(rounds: &[Self]) -> Self {
        let mut mean = Self::default();
        for round in rounds {
            for (sum, one) in mean.0.iter_mut().zip(round.0) {
                *sum += one / count(rounds.len());
            }
        }
        mean
    }

    /// All processes together.
    pub(super) fn all(&self) -> f64 {
        self.0.iter().sum()
    }
}

/// A row for each number of callers and side.
pub(super) fn print<'a>(rows: impl Iterator<Item = (usize, &'a str, &'a Cost)>) -> Table {
    let columns = PROCESSES.map(|process| format!("{process} us"));
    let columns = columns.iter().map(String::as_str);
    let header: Vec<&str> =
        ["callers", "through"].into_iter().chain(columns).chain(["all us"]).collect();
    let mut table = table(&header);
    for (callers, through, cost) in rows {
        let mut cells = vec![callers.to_string(), through.to_owned()];
        cells.extend(cost.0.iter().map(|each| format!("{each:.0}")));
        cells.push(format!("{:.0}", cost.all()));
        table.add_row(cells);
    }
    table
}
