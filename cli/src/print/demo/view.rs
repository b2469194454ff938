//! How far the run is: bars on a terminal, lines elsewhere.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use protocol::NodeName;

use super::counted;
use crate::commands::demo::account::Killed;
use crate::commands::demo::progress::{Progress, Seen};
use crate::print::{PrintError, Printer, colors_are_wanted, shown};

/// Shows how far the run is.
pub(crate) enum View {
    /// Bars on a terminal.
    Live {
        /// Draws them.
        bars: MultiProgress,
        /// All inspections.
        total: Option<ProgressBar>,
        /// A line a node.
        nodes: BTreeMap<String, (String, ProgressBar)>,
    },
    /// Lines.
    Plain {
        /// Quarters of the inspections that were said to be done.
        quarters: usize,
    },
}

impl View {
    /// Bars where somebody looks at them and wants them.
    pub(crate) fn new(printer: &Printer) -> Self {
        if printer.is_terminal() && io::stderr().is_terminal() && colors_are_wanted() {
            Self::Live { bars: MultiProgress::new(), total: None, nodes: BTreeMap::new() }
        } else {
            Self::Plain { quarters: 0 }
        }
    }

    /// The fleet is there.
    pub(crate) fn begin(&mut self, names: &[&str], python: Option<&str>) {
        if let Self::Live { bars, total, nodes } = self {
            *total = Some(bars.add(bar("  {bar:40.green} {pos}/{len} files {msg}")));
            for name in names {
                let language = if python == Some(*name) { "Python" } else { "Rust" };
                let bar = bars.add(bar("  {msg}"));
                nodes.insert((*name).to_owned(), (language.to_owned(), bar));
            }
        }
    }

    /// Something was stored.
    pub(crate) fn seen(
        &mut self,
        printer: &mut Printer,
        seen: &Seen,
        progress: &Progress,
    ) -> Result<(), PrintError> {
        match (seen, &mut *self) {
            (Seen::Split { files }, _) => {
                let what = format!(
                    "survey: {}, a task each for whoever serves inspect",
                    counted(*files, "file")
                );
                self.line(printer, &what)
            }
            (Seen::Reporting, _) => {
                self.line(printer, "survey: all inspected, asking for a report")
            }
            (Seen::Done, Self::Plain { quarters }) => {
                let total = progress.total.unwrap_or(0).max(1);
                let now = progress.done * 4 / total;
                if now <= *quarters {
                    return Ok(());
                }
                *quarters = now;
                self.line(printer, &format!("{} of {total} files inspected", progress.done))
            }
            (Seen::Done | Seen::Claimed | Seen::Nothing, _) => Ok(()),
        }
    }

    /// A node was killed.
    pub(crate) fn killed(
        &mut self,
        printer: &mut Printer,
        killed: &Killed,
    ) -> Result<(), PrintError> {
        let Killed { node, pid, in_hand, .. } = killed;
        self.line(
            printer,
            &format!("kill -9 {pid}: {node} is gone with {} in hand", counted(*in_hand, "task")),
        )
    }

    /// Another node has begun one of its tasks.
    pub(crate) fn taken_over(
        &mut self,
        printer: &mut Printer,
        by: &NodeName,
        after: Duration,
    ) -> Result<(), PrintError> {
        let after = after.as_millis();
        self.line(printer, &format!("{by} goes on with one of them, {after} ms after the kill"))
    }

    /// Draws the bars anew.
    pub(crate) fn draw(&mut self, progress: &Progress, killed: Option<&Killed>) {
        let Self::Live { total: Some(total), nodes, .. } = self else { return };
        total.set_length(progress.total.unwrap_or(0).max(1) as u64);
        total.set_position(progress.done as u64);
        for (name, (language, bar)) in nodes {
            let seen = progress.nodes.iter().find(|(node, _)| node.as_str() == name);
            let (in_hand, done) = seen.map_or((0, 0), |(_, node)| (node.in_hand.len(), node.done));
            let state = match killed.is_some_and(|killed| killed.node.as_str() == name) {
                true => "killed".to_owned(),
                false => format!("in hand {in_hand:3}"),
            };
            bar.set_message(format!("{name}  {language:6}  done {done:5}  {state}"));
        }
    }

    /// Takes the bars away.
    pub(crate) fn close(&mut self) {
        if let Self::Live { bars, total, nodes } = self {
            // A bar that is not finished draws itself once more when it is dropped.
            for bar in total.iter().chain(nodes.values().map(|(_, bar)| bar)) {
                bar.finish_and_clear();
            }
            // Whoever looked is gone if that fails.
            drop(bars.clear());
        }
    }

    fn line(&self, printer: &mut Printer, text: &str) -> Result<(), PrintError> {
        match self {
            Self::Live { bars, .. } => Ok(bars.println(shown(text))?),
            Self::Plain { .. } => printer.line(text),
        }
    }
}

fn bar(template: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(1).with_style(style.progress_chars("=> "))
}
