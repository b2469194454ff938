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
    /// The ids of messages do not say whose they are.
    Owners,
    /// A re-queued message is run although another copy of it brought the attempt that is under way.
    SecondDriver,
    /// What a task has used up answers its next wait again.
    Used,
    /// A decision counts whatever action it is about.
    Hash,
    /// What comes after the limit of a wait counts.
    Late,
    /// What is said to an ended task is dropped without a word.
    Silence,
    /// A refund gives back the whole slice.
    Refund,
    /// The end of a task does not say what it used.
    Spent,
    /// Tasks of a lane begin without a look at those before them.
    Lane,
    /// The end of a task does not wake the one behind it in its lane.
    LaneWake,
    /// A timer's message is lost.
    Timer,
    /// Children that nobody waits for are left alone.
    Losers,
    /// A task that waits for some of its children goes on with fewer.
    Enough,
}

impl Sabotage {
    /// Every one.
    pub const ALL: [Self; 17] = [
        Self::Fence,
        Self::Witness,
        Self::Consequences,
        Self::Duplicates,
        Self::Owners,
        Self::SecondDriver,
        Self::Used,
        Self::Hash,
        Self::Late,
        Self::Silence,
        Self::Refund,
        Self::Spent,
        Self::Lane,
        Self::LaneWake,
        Self::Timer,
        Self::Losers,
        Self::Enough,
    ];
}
