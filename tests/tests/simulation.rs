//! The seeded simulation of the pure core.
//!
//! A red seed prints its number and its story. To see the story of any seed again:
//! `WEFT_SIM_SEED=17 cargo test -p weft-tests --test simulation one_seed -- --nocapture`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use protocol::entry::Kind;
use protocol::lifecycle::{ARROWS, Phase};
use weft_tests::sim::{Sabotage, simulate, trace};

const SEEDS: u64 = 20_000;

#[derive(Default)]
struct Total {
    red: Vec<u64>,
    arrows: BTreeSet<(Phase, Kind)>,
    tasks: usize,
    entries: usize,
    ends: BTreeMap<Kind, usize>,
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
            let part = worker.join().expect("a worker panics only with a bug of the simulation");
            total.red.extend(part.red);
            total.arrows.extend(part.arrows);
            total.tasks += part.tasks;
            total.entries += part.entries;
            for (kind, count) in part.ends {
                *total.ends.entry(kind).or_default() += count;
            }
            total
        })
    })
}

#[test]
fn every_seed_ends_well_and_every_arrow_is_taken() {
    let mut total = play_all(0..SEEDS);
    total.red.sort_unstable();
    if let Some(first) = total.red.first() {
        panic!("{}\n{} red seeds: {:?}", trace(*first, None), total.red.len(), total.red);
    }
    let missing: Vec<_> =
        ARROWS.iter().filter(|(from, by, _)| !total.arrows.contains(&(*from, *by))).collect();
    assert!(missing.is_empty(), "arrows not taken: {missing:?}; ends: {:?}", total.ends);
}
