//! What durable work costs: steps, fan-out and join, resume, waking, waiting, and the rebuild of the read model.

pub(crate) mod agent;
mod fan_out;
mod rebuild;
pub(crate) mod stage;
mod steps;
mod waits;

use std::io::{self, Write};

use runtime::nats_server::Found;
use tempfile::TempDir;

use crate::child::Again;
use crate::report::{table, verdict};
use crate::{BenchArgs, BenchError};

/// A figure, and what it has to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// What came out.
    pub value: String,
    /// What it has to be.
    pub target: &'static str,
    /// Whether it is.
    pub met: bool,
}

/// How a cost grows with a size: one row for each size.
#[derive(Debug, Clone, PartialEq)]
pub struct Growth {
    /// What grows.
    pub title: &'static str,
    /// The columns, the size first.
    pub columns: &'static [&'static str],
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

/// What durable work costs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DurableReport {
    /// Figures with a target.
    pub figures: Vec<Figure>,
    /// Tables without one.
    pub growth: Vec<Growth>,
}

/// Measures all of it.
pub(crate) async fn measure(
    args: &BenchArgs,
    found: &Found,
    again: &Again,
    place: &TempDir,
) -> Result<DurableReport, BenchError> {
    let mut report = measure_fan_out(found, again, place).await?;
    waits::measure(args, found, again, place, &mut report).await?;
    rebuild::measure(args, found, again, place, &mut report).await?;
    Ok(report)
}

/// Measures the steps and the fan-out only.
pub(crate) async fn measure_fan_out(
    found: &Found,
    again: &Again,
    place: &TempDir,
) -> Result<DurableReport, BenchError> {
    let mut report = DurableReport::default();
    steps::measure(found, again, place, &mut report).await?;
    fan_out::measure(found, again, place, &mut report).await?;
    Ok(report)
}

impl DurableReport {
    fn add(&mut self, what: impl Into<String>, value: String, target: &'static str, met: bool) {
        self.figures.push(Figure { what: what.into(), value, target, met });
    }

    pub(crate) fn print(&self, out: &mut (dyn Write + Send)) -> io::Result<()> {
        writeln!(out, "\nDurable work\n")?;
        let mut figures = table(&["what", "measured", "wanted", ""]);
        for Figure { what, value, target, met } in &self.figures {
            figures.add_row([what, value, *target, verdict(*met)]);
        }
        writeln!(out, "{figures}")?;
        for Growth { title, columns, rows } in &self.growth {
            writeln!(out, "\n{title}\n")?;
            let mut growth = table(columns);
            for row in rows {
                growth.add_row(row);
            }
            writeln!(out, "{growth}")?;
        }
        Ok(())
    }
}
