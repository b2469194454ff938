//! What nodes say they hold, kept so that it can be given back when one of them is gone.
//!
//! A delivery is given back once, and only if nobody is known to have got the message since: the server takes a NAK
//! of an old delivery for one of the message's newest, and would take that away from its heir.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::NodeName;
use protocol::holding::Holding;
use protocol::limits::HEARTBEAT_TTL;
use runtime::bus::HandOut;
use tokio::time::Instant;

/// Nodes remembered at most; beyond that their leases do the work.
pub(crate) const NODES_MAX: usize = 10_000;
/// Deliveries remembered of one node.
const HELD_MAX: usize = 20_000;
/// Deliveries remembered as given back.
const GIVEN_MAX: usize = 20_000;

/// What nodes hold, by connection name.
#[derive(Default)]
pub(crate) struct Board(Mutex<Nodes>);

struct Nodes {
    by_client: HashMap<String, Known>,
    given: Given,
    tidied_at: Instant,
}

struct Known {
    node: NodeName,
    /// Where acknowledgements go, by the node's own numbers.
    held: HashMap<u64, String>,
    heard_at: Instant,
}

/// The latest deliveries that were given back.
#[derive(Default)]
struct Given {
    all: HashSet<String>,
    oldest: VecDeque<String>,
}

/// What a client that is gone has left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Where to NAK what nobody else has got since.
    pub(crate) acks: Vec<String>,
    /// Deliveries whose message somebody else has got since, or that were given back before.
    pub(crate) passed_on: usize,
    /// The node, unless it runs again under its name.
    pub(crate) node: Option<NodeName>,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { by_client: HashMap::new(), given: Given::default(), tidied_at: Instant::now() }
    }
}

impl Given {
    /// Whether it is the first time.
    fn note(&mut self, ack: &str) -> bool {
        if !self.all.insert(ack.to_owned()) {
            return false;
        }
        self.oldest.push_back(ack.to_owned());
        if self.oldest.len() > GIVEN_MAX
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.all.remove(&oldest);
        }
        true
    }
}

impl Board {
    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a node says.
    pub(crate) fn note(&self, node: NodeName, holding: Holding) {
        let mut nodes = self.nodes();
        nodes.tidy();
        let full = nodes.by_client.len() >= NODES_MAX;
        if full && !nodes.by_client.contains_key(&holding.client) {
            return;
        }
        let heard_at = Instant::now();
        let fresh = || Known { node, held: HashMap::new(), heard_at };
        let known = nodes.by_client.entry(holding.client).or_insert_with(fresh);
        known.heard_at = heard_at;
        let held = &mut known.held;
        if holding.complete {
            held.clear();
        }
        for number in holding.settled {
            held.remove(&number);
        }
        let room = HELD_MAX.saturating_sub(held.len());
        held.extend(holding.taken.into_iter().take(room));
    }

    /// Whether this client has said anything lately.
    pub(crate) fn knows(&self, client: &str) -> bool {
        self.nodes().by_client.contains_key(client)
    }

    /// Forgets a client that is gone, and says what it has left.
    pub(crate) fn take(&self, client: &str) -> Left {
        let mut nodes = self.nodes();
        let Some(known) = nodes.by_client.remove(client) else { return Left::default() };
        let runs_again = nodes.by_client.values().any(|other| other.node == known.node);
        let total = known.held.len();
        let mut acks = nodes.without_heir(known.held.into_values());
        acks.retain(|ack| nodes.given.note(ack));
        Left { passed_on: total - acks.len(), acks, node: (!runs_again).then_some(known.node) }
    }
}

impl Nodes {
    /// Forgets who has not been heard of for long: another coordinator has dealt with its end.
    fn tidy(&mut self) {
        if self.tidied_at.elapsed() > HEARTBEAT_TTL {
            self.tidied_at = Instant::now();
            self.by_client.retain(|_, known| known.heard_at.elapsed() <= HEARTBEAT_TTL);
        }
    }

    /// Leaves out each delivery of which a later one is known.
    fn without_heir(&self, held: impl Iterator<Item = String>) -> Vec<String> {
        let mut newest: HashMap<(String, u64), (u64, Option<String>)> = HashMap::new();
        for ack in held {
            let Some(HandOut { queue, sequence, delivered }) = HandOut::read(&ack) else {
                continue;
            };
            let known = newest.entry((queue, sequence)).or_default();
            if known.0 < delivered {
                *known = (delivered, Some(ack));
            }
        }
        for ack in self.by_client.values().flat_map(|known| known.held.values()) {
            let Some(HandOut { queue, sequence, delivered }) = HandOut::read(ack) else { continue };
            if let Some(known) = newest.get_mut(&(queue, sequence))
                && known.0 < delivered
            {
                *known = (delivered, None);
            }
        }
        newest.into_values().filter_map(|(_, ack)| ack).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(sequence: u64, delivered: u64) -> String {
        format!("$JS.ACK.WEFT_INBOX.skill-echo.{delivered}.{sequence}.40.1700000000123456789.5")
    }

    fn note(board: &Board, client: &str, holding: Holding) {
        let node = NodeName::parse(client.trim_end_matches('\'')).unwrap();
        board.note(node, Holding { client: client.to_owned(), ..holding });
    }

    fn takes(board: &Board, client: &str, taken: &[(u64, u64)]) {
        let taken = taken.iter().map(|(seq, times)| (seq * 100 + times, ack(*seq, *times)));
        note(board, client, Holding { taken: taken.collect(), ..Holding::default() });
    }

    fn left(board: &Board, client: &str) -> Vec<String> {
        let mut acks = board.take(client).acks;
        acks.sort();
        acks
    }

    #[test]
    fn a_node_holds_what_it_took_and_did_not_settle() {
        let board = Board::default();
        takes(&board, "n", &[(1, 1), (2, 1), (3, 1)]);
        note(&board, "n", Holding { settled: vec![101, 201], ..Holding::default() });
        takes(&board, "n", &[(4, 1)]);
        assert_eq!(left(&board, "n"), [ack(3, 1), ack(4, 1)]);
        assert!(left(&board, "n").is_empty());
        takes(&board, "n", &[(5, 1), (6, 1)]);
        let all = Holding { complete: true, taken: vec![(1, ack(7, 1))], ..Holding::default() };
        note(&board, "n", all);
        assert_eq!(left(&board, "n"), [ack(7, 1)]);
    }

    #[test]
    fn what_somebody_has_got_since_is_not_given_back() {
        for (mine, theirs, given) in [
            (&[(1, 1)][..], &[(1, 2)][..], &[][..]),
            (&[(1, 2)], &[(1, 1)], &[(1, 2)]),
            (&[(1, 1), (2, 1)], &[(1, 2), (3, 9)], &[(2, 1)]),
            // A node that got back what it was still running holds the newer delivery.
            (&[(1, 1), (1, 2)], &[], &[(1, 2)]),
        ] {
            let board = Board::default();
            takes(&board, "dead", mine);
            takes(&board, "heir", theirs);
            let expected: Vec<_> = given.iter().map(|(seq, times)| ack(*seq, *times)).collect();
            assert_eq!(left(&board, "dead"), expected, "{mine:?} {theirs:?}");
        }
    }

    #[test]
    fn nothing_is_given_back_twice() {
        let board = Board::default();
        takes(&board, "n", &[(1, 1)]);
        assert_eq!(left(&board, "n"), [ack(1, 1)]);
        takes(&board, "n", &[(1, 1), (2, 1)]);
        let again = board.take("n");
        assert_eq!((again.acks, again.passed_on), (vec![ack(2, 1)], 1));
    }

    #[test]
    fn a_node_that_runs_again_keeps_its_name() {
        let board = Board::default();
        takes(&board, "n", &[]);
        takes(&board, "n'", &[]);
        assert_eq!(board.take("n").node, None);
        assert_eq!(board.take("n'").node, Some(NodeName::parse("n").unwrap()));
    }
}
