//! Ways to break the mesh on purpose, so that the tests can show that the oracle would notice.

/// One broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The server does not look at expected sequences.
    Fence,
    /// A child counts as not ended on a stale answer, so no wake of its own is still to come.
    Witness,
    /// What a dead writer left unpublished is not published by whoever finds the log.
    Consequences,
    /// A second submission under a known key is run.
    Duplicates,
}

impl Sabotage {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Fence, Self::Witness, Self::Consequences, Self::Duplicates];
}
