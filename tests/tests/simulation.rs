//! The seeded simulation of the pure core.
//!
//! A red seed prints its number and its story. To see the story of any seed again:
//! `WEFT_SIM_SEED=17 cargo test -p weft-tests --test simulation one_seed -- --ignored --nocapture`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::ops::Range;

use protocol::entry::Kind;
use protocol::lifecycle::{ARROWS, Phase};
use weft_tests::sim::{KINDS, Sabotage, simulate, trace};

const SEEDS: u64 = 20_000;
/// How many seeds a broken rule may stay unseen.
const SABOTAGED_SEEDS: u64 = 5_000;

#[derive(Default)]
struct Total {
    red: Vec<u64>,
    arrows: BTreeSet<(Phase, Kind)>,
    tasks: usize,
    entries: usize,
    ends: BTreeMap<Kind, usize>,
    coverage: BTreeMap<&'static str, usize>,
}

impl Total {
    fn count(&mut self, coverage: BTreeMap<&'static str, usize>) {
        for (kind, count) in coverage {
            *self.coverage.entry(kind).or_default() += count;
        }
    }

    /// How often what happened, a line for each.
    fn table(&self) -> String {
        let line = |(kind, count): (&&str, &usize)| format!("{count:>9} {kind}\n");
        self.coverage.iter().map(line).collect()
    }
}

/// What to type to see a seed again.
fn again(seed: u64) -> String {
    format!(
        "WEFT_SIM_SEED={seed} cargo test -p weft-tests --test simulation one_seed -- --ignored --nocapture"
    )
}

fn play(seeds: impl Iterator<Item = u64>) -> Total {
    let mut total = Total::default();
    for seed in seeds {
        let outcome = simulate(seed, None);
        if !outcome.violations.is_empty() {
            total.red.push(seed);
        }
        total.arrows.extend(outcome.arrows);
        total.tasks += outcome.tasks;
        total.entries += outcome.entries;
        total.count(outcome.coverage);
        for (kind, count) in outcome.ends {
            *total.ends.entry(kind).or_default() += count;
        }
    }
    total
}

/// Plays seeds on all cores.
fn play_all(seeds: Range<u64>) -> Total {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let seeds = seeds.clone().skip(worker).step_by(threads);
                scope.spawn(move || play(seeds))
            })
            .collect();
        workers.into_iter().fold(Total::default(), |mut total, worker| {
            let part = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            total.red.extend(part.red);
            total.arrows.extend(part.arrows);
            total.tasks += part.tasks;
            total.entries += part.entries;
            total.count(part.coverage);
            for (kind, count) in part.ends {
                *total.ends.entry(kind).or_default() += count;
            }
            total
        })
    })
}

/// Arrows that the table allows and no code takes today: an attempt at a task that has waited for children is always
/// claimed first.
const UNUSED: [(Phase, Kind); 1] = [(Phase::Queued, Kind::Refunded)];

#[test]
fn every_seed_ends_well_and_every_arrow_is_taken() {
    let mut total = play_all(0..SEEDS);
    total.red.sort_unstable();
    if let Some(first) = total.red.first() {
        let (story, red) = (trace(*first, None), total.red.len());
        panic!("{story}\n{red} red seeds: {:?}\n{}", total.red, again(*first));
    }
    let arrows: BTreeSet<_> = ARROWS.iter().map(|(from, by, _)| (*from, *by)).collect();
    let not_taken: BTreeSet<_> = arrows.difference(&total.arrows).copied().collect();
    assert_eq!(not_taken, BTreeSet::from(UNUSED), "arrows not taken; ends: {:?}", total.ends);
    let never: Vec<_> = KINDS
        .iter()
        .filter(|kind| total.coverage.get(*kind).is_none_or(|count| *count == 0))
        .collect();
    write!(std::io::stdout(), "in {SEEDS} seeds:\n{}", total.table()).unwrap();
    assert!(never.is_empty(), "never happened: {never:?}");
    assert!(total.tasks > 40_000 && total.entries > 2 * total.tasks, "the workload has shrunk");
}

#[test]
fn a_broken_rule_is_seen() {
    for sabotage in Sabotage::ALL {
        let red = (0..SABOTAGED_SEEDS)
            .find(|seed| !simulate(*seed, Some(sabotage)).violations.is_empty());
        assert!(red.is_some(), "{SABOTAGED_SEEDS} seeds are green with a broken {sabotage:?}");
    }
}

#[test]
fn a_seed_is_played_the_same_way_every_time() {
    for seed in 0..20 {
        assert_eq!(trace(seed, None), trace(seed, None));
    }
}

/// Tells the story of the seed in `WEFT_SIM_SEED`.
#[test]
#[ignore = "a tool: shows what happens in one seed"]
fn one_seed() {
    #[expect(clippy::disallowed_methods, reason = "a person picks a seed to look at")]
    let seed = std::env::var("WEFT_SIM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let story = trace(seed, None);
    assert!(!story.contains("WRONG"), "{story}");
    writeln!(std::io::stdout(), "{story}").unwrap();
}
