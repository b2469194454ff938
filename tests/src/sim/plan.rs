//! What a run is asked to do, drawn from its seed: tasks of every sort, who submits them how often, who cancels
//! what, and how badly the world behaves until it heals.

use std::time::Duration;

use agent_node::context::delegate::OnFailure;
use protocol::Skill;
use protocol::card::OnMessage;
use protocol::id::{IdError, Lane, Owner};
use protocol::retry::RetryPolicy;
use runtime::config::OnBudget;

use super::dice::Dice;
use super::world::Faults;

/// One thing that an agent does.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// Computes for so many ms.
    Work(i64),
    /// Journals a step.
    Step,
    /// Journals a step that takes so many ms, which a message may cut short.
    Listen(i64),
    /// Makes a call that nobody may make before somebody has approved it, by the skill's settings.
    Guarded,
    /// Makes equal calls, so many in a row.
    Repeat(u32),
    /// Makes a call that sets so many tokens aside and uses so many.
    Call { reserve: u64, used: u64 },
    /// Waits for so many ms.
    Sleep(i64),
    /// Asks a question, which may have a limit in ms.
    Ask(Option<i64>),
    /// Waits for a signal, which may have a limit in ms.
    Signal(Option<i64>),
    /// Asks so many people to approve an action, for so many ms, and carries it out when they do.
    Approve { quorum: u32, expires: Option<i64>, late_level: Option<u64> },
    /// Says how far it is.
    Status,
    /// Hands something over.
    Artifact,
    /// Hands these plans to others and waits for them, or for some of them to complete.
    Delegate {
        pieces: Vec<Piece>,
        enough: Option<u32>,
        /// What each may spend, in tokens; a share of what is left when nothing is said.
        slice: Option<u64>,
    },
    /// Fails in a way that may pass, up to this attempt.
    Fail {
        /// The last attempt that fails.
        until: u32,
        /// What the peer asks to wait after the first failure, in ms.
        retry_after: Option<u64>,
        /// Whether it asks so every time.
        always: bool,
    },
}

/// A piece of work for others.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// What is to be done.
    pub(super) plan: usize,
    /// The tag of whoever is to do it; without one it is for the same skill.
    pub(super) need: Option<&'static str>,
    pub(super) on_failure: OnFailure,
}

/// How an agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    /// Completes when its last step gave an even number, and fails for good when not.
    Luck,
    Permanent,
    BadInput,
}

/// A task's program. Its input names it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) acts: Vec<Act>,
    pub(super) end: End,
    /// Whether it looks for a cancel between its acts.
    pub(super) cooperative: bool,
}

impl Plan {
    /// Whether it hands work to whoever meets a need.
    pub(super) fn has_need(&self) -> bool {
        self.acts.iter().any(|act| match act {
            Act::Delegate { pieces, .. } => pieces.iter().any(|piece| piece.need.is_some()),
            _ => false,
        })
    }
}

/// How a submission names its task.
#[derive(Debug, Clone)]
pub(super) enum Name {
    Sequence,
    Chosen(String),
    Key(String),
}

/// One submission.
#[derive(Debug, Clone)]
pub(super) struct Submission {
    pub(super) at: i64,
    pub(super) owner: Owner,
    pub(super) name: Name,
    pub(super) lane: Option<Lane>,
    /// What the task may spend, in tokens.
    pub(super) budget: Option<u64>,
    pub(super) body: String,
    pub(super) deadline: Option<i64>,
    /// Whether it bears a `Nats-Msg-Id`, so that sending it again after a lost answer is dropped.
    pub(super) message_id: Option<String>,
    /// Whether a header is unreadable.
    pub(super) garbled: bool,
    /// When its submitter wants it to end.
    pub(super) cancel_at: Option<i64>,
    /// Whether it is any task of the mesh that it then wants to end.
    pub(super) meddles: bool,
}

/// Everything that a seed decides beforehand.
#[derive(Debug, Clone)]
pub(super) struct Workload {
    pub(super) skill: Skill,
    /// Another one that the same nodes serve.
    pub(super) spare: Skill,
    /// What becomes of a message to a running task.
    pub(super) on_message: OnMessage,
    /// What happens when a budget does not suffice.
    pub(super) on_budget: OnBudget,
    pub(super) plans: Vec<Plan>,
    pub(super) submissions: Vec<Submission>,
    pub(super) policy: RetryPolicy,
    pub(super) nodes: usize,
    pub(super) coordinators: usize,
    pub(super) slots: usize,
    pub(super) faults: Faults,
    pub(super) healed_at: i64,
    /// How long the server remembers message ids, in ms.
    pub(super) window: i64,
    /// How long an attempt may take, in ms.
    pub(super) timeout: i64,
    /// The plan of work whose earlier results may do.
    lucky: Option<usize>,
}

/// What a need may name: what both skills do, what only the spare one does, and what nobody does.
const TAGS: [&str; 3] = ["do", "spare", "nobody"];

impl Workload {
    /// Draws a workload.
    ///
    /// # Errors
    /// When the skill's name is not one, which it is.
    pub(super) fn draw(seed: u64) -> Result<Self, IdError> {
        let mut dice = Dice::new(seed);
        let policy = RetryPolicy {
            attempts_max: 2 + u32::try_from(dice.below(3)).unwrap_or(0),
            backoff_first: Duration::from_millis(if dice.permille(300) { 4_000 } else { 200 }),
            backoff_max: Duration::from_secs(20),
            ..RetryPolicy::default()
        };
        let mut load = Self {
            skill: Skill::parse("work")?,
            spare: Skill::parse("spare")?,
            on_message: dice
                .pick(&[OnMessage::Enqueue, OnMessage::Interrupt, OnMessage::Reject])
                .unwrap_or_default(),
            on_budget: dice
                .pick(&[OnBudget::Stop, OnBudget::Ask, OnBudget::Ask, OnBudget::Degrade])
                .unwrap_or_default(),
            plans: Vec::new(),
            submissions: Vec::new(),
            policy,
            nodes: 1 + dice.below(3),
            coordinators: 1 + dice.below(2),
            slots: 1 + dice.below(4),
            faults: Faults::default(),
            healed_at: dice.ms(2_000, 60_000),
            window: if dice.permille(300) { 1_500 } else { 120_000 },
            timeout: if dice.permille(100) { 400 } else { 60_000 },
            lucky: None,
        };
        if dice.permille(950) {
            load.faults = Faults {
                crash: dice.below(25),
                freeze: dice.below(15),
                drain: dice.below(8),
                slow: dice.below(25),
                lost: dice.below(60),
                stale: if dice.permille(400) { 150 } else { 0 },
            };
        }
        for _ in 0..=dice.below(3) {
            load.add_submissions(&mut dice)?;
        }
        Ok(load)
    }

    fn add_plan(&mut self, dice: &mut Dice, depth: usize) -> usize {
        let mut acts = Vec::new();
        for _ in 0..dice.below(4) {
            let act = match dice.below(if depth < 2 { 13 } else { 10 }) {
                0 | 1 => Act::Step,
                8 => Act::Listen(dice.ms(0, 9_000)),
                9 if dice.permille(500) => Act::Guarded,
                9 => Act::Repeat(1 + u32::try_from(dice.below(5)).unwrap_or(0)),
                6 => Self::wait(dice),
                7 => {
                    let reserve = dice.below(40);
                    let used = dice.below(reserve + 1);
                    Act::Call { reserve: reserve as u64, used: used as u64 }
                }
                2 => Act::Work(if dice.permille(200) {
                    dice.ms(500, 15_000)
                } else {
                    dice.ms(0, 30)
                }),
                3 => Act::Status,
                4 => Act::Artifact,
                5 => Act::Fail {
                    until: u32::try_from(dice.below(4)).unwrap_or(0),
                    retry_after: dice.permille(300).then_some(7_000),
                    always: dice.permille(500),
                },
                _ => self.delegation(dice, depth),
            };
            acts.push(act);
        }
        let end = match dice.below(10) {
            0 => End::Permanent,
            1 => End::BadInput,
            _ => End::Complete,
        };
        self.plans.push(Plan { acts, end, cooperative: dice.permille(600) });
        self.plans.len() - 1
    }

    /// Some wait.
    fn wait(dice: &mut Dice) -> Act {
        let limit = dice.permille(600).then(|| dice.ms(0, 9_000));
        match dice.below(4) {
            0 => Act::Sleep(dice.ms(0, 12_000)),
            1 => Act::Ask(limit),
            2 => Act::Signal(limit),
            _ => Act::Approve {
                quorum: 1 + u32::try_from(dice.below(2)).unwrap_or(0),
                expires: limit,
                late_level: dice.permille(300).then_some(3_000),
            },
        }
    }

    fn delegation(&mut self, dice: &mut Dice, depth: usize) -> Act {
        let count = 1 + dice.below(2) + dice.below(2);
        let pieces = (0..count).map(|_| self.piece(dice, depth)).collect();
        let some = u32::try_from(1 + dice.below(count)).unwrap_or(1);
        Act::Delegate {
            pieces,
            enough: dice.permille(300).then_some(some),
            slice: dice.permille(500).then(|| dice.below(30) as u64),
        }
    }

    fn piece(&mut self, dice: &mut Dice, depth: usize) -> Piece {
        let on_failure = match dice.below(10) {
            0 | 1 => OnFailure::Fail,
            2 => OnFailure::Ignore,
            3 => OnFailure::Retry { times: 1, elsewhere: dice.permille(500) },
            4 => OnFailure::Fallback { skill: self.spare.clone() },
            5 | 6 => OnFailure::Cached {
                no_older_than: Duration::from_millis(if dice.permille(500) {
                    2_000
                } else {
                    60_000
                }),
            },
            _ => OnFailure::Report,
        };
        let plan = match on_failure {
            OnFailure::Cached { .. } => self.lucky(),
            _ => self.add_plan(dice, depth + 1),
        };
        let need = if dice.permille(300) { dice.pick(&TAGS) } else { None };
        let need = need.filter(|tag| *tag != "nobody" || dice.permille(400));
        Piece { plan, need, on_failure }
    }

    /// One plan for all work whose earlier results may do, so that there are earlier results.
    fn lucky(&mut self) -> usize {
        let plan = Plan { acts: vec![Act::Step], end: End::Luck, cooperative: false };
        *self.lucky.get_or_insert_with(|| {
            self.plans.push(plan);
            self.plans.len() - 1
        })
    }

    fn add_submissions(&mut self, dice: &mut Dice) -> Result<(), IdError> {
        let plan = self.add_plan(dice, 0);
        let number = self.submissions.len();
        let name = match dice.below(4) {
            0 | 1 => Name::Sequence,
            2 => Name::Chosen(format!("task-{number}")),
            _ => Name::Key(format!("key {number}")),
        };
        let again = match &name {
            Name::Sequence => 0,
            Name::Chosen(_) | Name::Key(_) => dice.below(3),
        };
        let deadline = dice.permille(150).then(|| dice.ms(100, 20_000));
        let budget = dice.permille(500).then(|| 20 + dice.below(200) as u64);
        let lane = match dice.below(3) {
            0 => Some(Lane::parse(if dice.permille(700) { "lane" } else { "other" })?),
            _ => None,
        };
        let both = dice.permille(300);
        for copy in 0..=again {
            let other = copy > 0 && dice.permille(400);
            let acme = both && copy % 2 == 1;
            self.submissions.push(Submission {
                at: dice.ms(0, 3_000 + 4_000 * i64::try_from(copy).unwrap_or(0)),
                owner: if acme { Owner::parse("acme")? } else { Owner::default() },
                name: name.clone(),
                lane: lane.clone(),
                budget,
                body: if other { format!("p{plan} other") } else { format!("p{plan}") },
                deadline,
                message_id: dice.permille(600).then(|| format!("m-{number}-{copy}")),
                garbled: dice.permille(30),
                cancel_at: dice.permille(250).then(|| dice.ms(0, 15_000)),
                meddles: dice.permille(500),
            });
        }
        Ok(())
    }
}

impl Workload {
    /// What is to be done, for the trace.
    pub(super) fn describe(&self) -> Vec<String> {
        let setting = format!(
            "{} nodes with {} slots, {} coordinators, {} attempts at most, {:?} messages, {:?} about budgets, \
             ids kept {} ms, healed at {} ms, {:?}",
            self.nodes,
            self.slots,
            self.coordinators,
            self.policy.attempts_max,
            self.on_message,
            self.on_budget,
            self.window,
            self.healed_at,
            self.faults
        );
        let plans = self.plans.iter().enumerate().map(|(at, plan)| format!("p{at} {plan:?}"));
        let submissions = self.submissions.iter().map(|submission| format!("{submission:?}"));
        std::iter::once(setting).chain(plans).chain(submissions).collect()
    }
}
