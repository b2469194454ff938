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
    /// The end of a task does not say by how much its budget was raised.
    Carry,
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
    /// A message to a running task is kept where the skill refuses it.
    Reject,
    /// A message to a running task is refused where the skill keeps it.
    Rude,
    /// A task takes a message that came while it ran where its skill refuses such messages.
    Grab,
    /// A message interrupts a task of a skill that is not to be interrupted.
    Interrupt,
    /// A need is met by a skill that has not what it takes.
    Need,
    /// The choice of a skill for a need is not explained.
    Reason,
    /// A kept result says that it is younger than it is.
    Stale,
    /// A kept result is given for other work.
    Mixup,
    /// A task waits on when a child has failed that it cannot do without.
    Missed,
    /// A raise adds more to a budget than somebody allowed.
    Raise,
    /// Who denies is taken for one who approves.
    Verdict,
    /// People decide before it is their turn.
    Level,
    /// Nobody is told that an approval waits for further people.
    Escalation,
    /// Calls that the skill guards are made without asking.
    Guard,
    /// Nobody counts equal calls.
    Loop,
    /// What children did not use that a task went on without counts as spent.
    TakeBack,
}

impl Sabotage {
    /// Every one.
    pub const ALL: [Self; 34] = [
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
        Self::Carry,
        Self::Lane,
        Self::LaneWake,
        Self::Timer,
        Self::Losers,
        Self::Enough,
        Self::Reject,
        Self::Rude,
        Self::Grab,
        Self::Interrupt,
        Self::Need,
        Self::Reason,
        Self::Stale,
        Self::Mixup,
        Self::Missed,
        Self::Raise,
        Self::Verdict,
        Self::Level,
        Self::Escalation,
        Self::Guard,
        Self::Loop,
        Self::TakeBack,
    ];
}
