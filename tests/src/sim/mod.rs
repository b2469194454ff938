//! The seeded simulation: the mesh's own decisions on a server, a network and a clock that are out to break them.
//!
//! The lifecycle, the fold, admission, the end of an attempt, the scribe with its fence, journal and delegation, the
//! consequences, wakes and cancels are the real code. The server, the time and the processes are models: nothing
//! here waits, so tens of thousands of runs take seconds. Each run has a phase in which anything may go wrong, then the
//! world heals and goes on until nothing is left to happen. Then the [`oracle`] reads what was stored.
//!
//! A seed decides everything. [`simulate`] says what was wrong with a run, [`trace`] tells its story.

mod agent;
mod budgets;
mod bus;
mod care;
mod choices;
mod consumer;
mod coverage;
mod delegation;
mod dice;
mod fate;
mod hold;
mod kinship;
mod lane;
mod ledger;
mod mesh;
mod node;
mod oracle;
mod people;
mod plan;
mod run;
mod sabotage;
mod said;
mod submitter;
mod waits;
mod world;

use std::collections::BTreeSet;

use protocol::entry::Kind;
use protocol::lifecycle::Phase;

pub use coverage::KINDS;
pub use sabotage::Sabotage;

/// What a run came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was wrong; empty for a good run.
    pub violations: Vec<String>,
    /// The arrows of the lifecycle that were taken.
    pub arrows: BTreeSet<(Phase, Kind)>,
    /// Tasks that have a log.
    pub tasks: usize,
    /// How the tasks ended, how often.
    pub ends: std::collections::BTreeMap<Kind, usize>,
    /// How often what happened.
    pub coverage: std::collections::BTreeMap<&'static str, usize>,
    /// Entries written.
    pub entries: usize,
}

/// Runs a seed, with a rule broken if so asked, and judges what was stored.
#[must_use]
pub fn simulate(seed: u64, sabotage: Option<Sabotage>) -> Outcome {
    play(seed, sabotage, false).0
}

/// The story of a seed, a line for everything that happened, and what was wrong with it.
#[must_use]
pub fn trace(seed: u64, sabotage: Option<Sabotage>) -> String {
    let (outcome, lines) = play(seed, sabotage, true);
    let wrong: Vec<String> = outcome.violations.iter().map(|v| format!("WRONG: {v}")).collect();
    format!("seed {seed}\n{}\n{}", lines.join("\n"), wrong.join("\n"))
}

fn play(seed: u64, sabotage: Option<Sabotage>, trace: bool) -> (Outcome, Vec<String>) {
    let workload = match plan::Workload::draw(seed) {
        Ok(workload) => workload,
        Err(error) => {
            let violations = vec![error.to_string()];
            return (Outcome { violations, ..Outcome::default() }, Vec::new());
        }
    };
    let story = trace.then(|| workload.describe());
    let ended = run::run(seed, workload, sabotage, trace);
    ended.hold.with(|world| {
        let outcome = oracle::judge(world, ended.quiet);
        let mut lines: Vec<String> = story.into_iter().flatten().collect();
        lines.extend(world.trace.take().unwrap_or_default());
        (outcome, lines)
    })
}
