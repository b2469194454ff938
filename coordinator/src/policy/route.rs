//! Chooses the skill that meets a need: by cards, health, cost and load, in this order, and says why.
//!
//! A card tells what an agent can do; a tag `cost-micros:<number>` on it tells what one task costs at most. Equal choices
//! are told apart by name, so that all coordinators choose alike.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use protocol::card::Registration;
use protocol::fault::{Fault, code};
use protocol::limits::HEARTBEAT_TTL;
use protocol::need::{Need, Resolution};
use protocol::{Skill, Timestamp};

/// What begins a tag that tells the cost of one task, in millionths of the mesh's currency.
pub const COST_TAG: &str = "cost-micros:";
/// Names that a fault lists.
const LISTED_MAX: usize = 20;

/// A skill that meets a need.
#[derive(Debug, Default)]
struct Choice {
    nodes: usize,
    /// Nodes that are not to be avoided.
    wanted: usize,
    running: u64,
    slots: u64,
    cost: Option<u64>,
}

impl Choice {
    fn add(&mut self, agent: &Registration, need: &Need) {
        self.nodes += 1;
        self.wanted += usize::from(need.avoid.as_ref() != Some(&agent.node));
        self.running += u64::from(agent.running);
        self.slots += u64::from(agent.slots);
        // What a task costs depends on the node that happens to take it: the most counts.
        self.cost = self.cost.max(cost(agent));
    }

    /// Less is better: nodes that are not to be avoided, free slots, cost, load in thousandths.
    fn rank(&self) -> (Reverse<bool>, Reverse<bool>, u64, u64) {
        let load = self.running.saturating_mul(1_000).checked_div(self.slots).unwrap_or(u64::MAX);
        (
            Reverse(self.wanted > 0),
            Reverse(self.running < self.slots),
            self.cost.unwrap_or(u64::MAX),
            load,
        )
    }

    fn describe(&self) -> String {
        let cost = self.cost.map_or_else(String::new, |cost| format!("cost {cost} micros, "));
        let nodes = if self.nodes == 1 { "node" } else { "nodes" };
        format!("{cost}{} of {} slots busy on {} {nodes}", self.running, self.slots, self.nodes)
    }
}

/// Chooses.
#[must_use]
pub fn route(need: &Need, agents: &[Registration], now: Timestamp) -> Resolution {
    let mut choices: BTreeMap<&Skill, Choice> = BTreeMap::new();
    let (mut away, mut lacks) = (BTreeSet::new(), BTreeMap::new());
    for agent in agents {
        match misfit(need, agent) {
            Some(what) => {
                lacks.entry(what).or_insert_with(BTreeSet::new).insert(agent.skill.as_str());
            }
            None if agent.draining || now.since(agent.seen_at) > HEARTBEAT_TTL => {
                away.insert(agent.skill.as_str());
            }
            None => choices.entry(&agent.skill).or_default().add(agent, need),
        }
    }
    let mut ranked: Vec<_> = choices.into_iter().collect();
    ranked.sort_by_key(|(skill, choice)| (choice.rank(), *skill));
    match ranked.as_slice() {
        [] => Resolution::Nobody { fault: nobody(need, &away, &lacks) },
        [(skill, only)] => Resolution::Found {
            skill: (*skill).clone(),
            reason: format!("the only skill with {}: {}", wants(need), only.describe()),
        },
        [(skill, first), (next, second), ..] => Resolution::Found {
            skill: (*skill).clone(),
            reason: format!(
                "best of {} skills with {}: {}; next was {next}: {}",
                ranked.len(),
                wants(need),
                first.describe(),
                second.describe()
            ),
        },
    }
}

/// The first thing of a need that an agent lacks.
fn misfit(need: &Need, agent: &Registration) -> Option<String> {
    if need.not_skills.contains(&agent.skill) {
        return Some("a skill that is not ruled out".to_owned());
    }
    let described: Vec<_> =
        agent.card.skills.iter().filter(|skill| skill.id == agent.skill.as_str()).collect();
    let has_tag = |tag: &String| {
        described.iter().flat_map(|skill| &skill.tags).any(|has| has.eq_ignore_ascii_case(tag))
    };
    if let Some(tag) = need.tags.iter().find(|tag| !has_tag(tag)) {
        return Some(format!("tag {tag:?}"));
    }
    let reads: Vec<_> = described.iter().flat_map(|skill| &skill.input_modes).collect();
    let writes: Vec<_> = described.iter().flat_map(|skill| &skill.output_modes).collect();
    for (wanted, own, common, what) in [
        (&need.input_modes, reads, &agent.card.default_input_modes, "input mode"),
        (&need.output_modes, writes, &agent.card.default_output_modes, "output mode"),
    ] {
        let own = if own.is_empty() { common.iter().collect() } else { own };
        if let Some(mode) = wanted.iter().find(|mode| !own.iter().any(|has| covers(has, mode))) {
            return Some(format!("{what} {mode:?}"));
        }
    }
    let max = need.cost_micros_max?;
    cost(agent).is_none_or(|cost| cost > max).then(|| format!("a cost of at most {max} micros"))
}

/// Whether a media type of a card, wildcards included, covers the one that is needed.
fn covers(has: &str, needed: &str) -> bool {
    let kind = |mode: &str| mode.split('/').next().unwrap_or_default().to_ascii_lowercase();
    has.eq_ignore_ascii_case(needed)
        || has == "*/*"
        || has.ends_with("/*") && kind(has) == kind(needed)
}

fn cost(agent: &Registration) -> Option<u64> {
    let tags = agent.card.skills.iter().flat_map(|skill| &skill.tags);
    tags.filter_map(|tag| tag.strip_prefix(COST_TAG)?.parse().ok()).max()
}

/// A need in words.
fn wants(need: &Need) -> String {
    let mut words: Vec<String> = need.tags.iter().map(|tag| format!("tag {tag:?}")).collect();
    words.extend(need.input_modes.iter().map(|mode| format!("input mode {mode:?}")));
    words.extend(need.output_modes.iter().map(|mode| format!("output mode {mode:?}")));
    words.extend(need.cost_micros_max.map(|max| format!("a cost of at most {max} micros")));
    if words.is_empty() { "no conditions".to_owned() } else { words.join(", ") }
}

fn nobody(need: &Need, away: &BTreeSet<&str>, lacks: &BTreeMap<String, BTreeSet<&str>>) -> Fault {
    let list = |names: &BTreeSet<&str>| {
        let mut names: Vec<_> = names.iter().copied().collect();
        let more = names.len().saturating_sub(LISTED_MAX);
        names.truncate(LISTED_MAX);
        let end = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{end}", names.join(", "))
    };
    let mut why: Vec<_> = lacks
        .iter()
        .take(LISTED_MAX)
        .map(|(what, skills)| format!("{what} is missing at {}", list(skills)))
        .collect();
    if !away.is_empty() {
        why.push(format!("{} would do, but its nodes are draining or silent", list(away)));
    }
    if why.is_empty() {
        why.push("the registry is empty".to_owned());
    }
    let message = format!("nobody serves {}: {}", wants(need), why.join("; "));
    Fault::new(code::NOBODY_SERVES, message)
        .hint("weft agent list -o json shows the cards; start a node that serves it")
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
