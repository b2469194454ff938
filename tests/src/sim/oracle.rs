//! Judges a run by what was stored, from the outside: it reads raw entries and messages, never the fold.
//!
//! What holds over several tasks, such as letters, children and cancels, is in [`super::kinship`].

use std::collections::{BTreeMap, BTreeSet};

use protocol::approval::Verdict;
use protocol::dead::DeadLetter;
use protocol::entry::{Child, Entry, Event, Kind, Origin};
use protocol::fault::code;
use protocol::id::{Owner, TaskId};
use protocol::message::value_of;
use protocol::subject::Subject;
use protocol::submission::{Envelope, Stored};
use protocol::wait::Answer;
use runtime::bus::StoredMessage;
use serde_json::Value;

use super::Outcome;
use super::bus::Stream;
use super::plan::{Act, End, Plan};
use super::world::{Effect, Key, World};

/// One task's log as the oracle sees it.
pub(super) struct Story<'a> {
    pub(super) owner: Owner,
    pub(super) task: TaskId,
    pub(super) entries: Vec<(u64, &'a Entry)>,
}

impl<'a> Story<'a> {
    /// The first terminal entry.
    pub(super) fn end(&self) -> Option<(u64, &'a Entry)> {
        self.entries.iter().find(|(_, entry)| entry.event.kind().is_terminal()).copied()
    }

    /// Whether it ended like this.
    pub(super) fn ended(&self, kind: Kind) -> bool {
        self.end().is_some_and(|(_, entry)| entry.event.kind() == kind)
    }

    /// Who it is among the tasks of all owners.
    pub(super) fn key(&self) -> Key {
        (self.owner.clone(), self.task.clone())
    }

    /// A task of the same owner.
    pub(super) fn kin(&self, task: &TaskId) -> Key {
        (self.owner.clone(), task.clone())
    }

    /// What it is.
    pub(super) fn origin(&self) -> Option<&'a Origin> {
        self.entries.first().and_then(|(_, entry)| entry.origin.as_deref())
    }

    /// All children that it has started, each with the sequence of the entry.
    pub(super) fn children(&self) -> Vec<(u64, &'a Child)> {
        let mut children = Vec::new();
        for (sequence, entry) in &self.entries {
            if let Event::Delegated { children: more, .. } = &entry.event {
                children.extend(more.iter().map(|child| (*sequence, child)));
            }
        }
        children
    }
}

/// Everything that was stored, ready to be judged.
pub(super) struct Evidence<'a> {
    pub(super) world: &'a World,
    pub(super) stories: BTreeMap<Key, Story<'a>>,
    pub(super) letters: Vec<DeadLetter>,
    /// Every submission and every task in the run queue, with its message.
    pub(super) accepted: Vec<(Envelope, &'a StoredMessage)>,
    pub(super) wrong: Vec<String>,
}

impl Evidence<'_> {
    /// Notes what is wrong unless a fact holds.
    pub(super) fn hold(&mut self, fact: bool, what: impl FnOnce() -> String) {
        if !fact {
            self.wrong.push(what());
        }
    }
}

/// Judges a run that has ended; `quiet` says whether nothing was left to happen.
pub(super) fn judge(world: &World, quiet: bool) -> Outcome {
    let mut evidence = gather(world);
    evidence.hold(quiet, || "it never comes to rest".to_owned());
    evidence.hold(world.bus.given_up.is_empty(), || "the server gave a message up".to_owned());
    let stories = std::mem::take(&mut evidence.stories);
    for story in stories.values() {
        shape(&mut evidence, story);
        journal(&mut evidence, story);
        attempts(&mut evidence, story);
        effects(&mut evidence, story);
        super::waits::judge(&mut evidence, story);
        super::budgets::judge(&mut evidence, story, &stories);
    }
    evidence.wrong.extend(world.seen.robbed.iter().cloned());
    evidence.stories = stories;
    super::kinship::judge(&mut evidence);
    let mut ends = BTreeMap::new();
    for (_, end) in evidence.stories.values().filter_map(Story::end) {
        *ends.entry(end.event.kind()).or_insert(0) += 1;
    }
    Outcome {
        arrows: world.seen.arrows.clone(),
        tasks: evidence.stories.len(),
        entries: evidence.stories.values().map(|story| story.entries.len()).sum(),
        ends,
        coverage: super::coverage::count(&evidence),
        violations: evidence.wrong,
    }
}

fn gather(world: &World) -> Evidence<'_> {
    let mut wrong = Vec::new();
    let mut stories = BTreeMap::new();
    for (subject, chronicle) in &world.logs {
        let Some(Subject::Log(owner, task)) = world.subjects.parse(subject) else { continue };
        if let Some(reason) = &chronicle.broken {
            wrong.push(format!("{task}: the log cannot be folded: {reason}"));
        }
        let entries = chronicle.entries.iter().map(|(at, _, entry)| (*at, entry)).collect();
        stories.insert((owner.clone(), task.clone()), Story { owner, task, entries });
    }
    let mut letters = Vec::new();
    let mut accepted = Vec::new();
    for stream in [Stream::Inbox, Stream::Log] {
        for message in world.bus.all(stream) {
            if message.subject.starts_with("weft.dead.") {
                match serde_json::from_slice(&message.payload) {
                    Ok(letter) => letters.push(letter),
                    Err(error) => wrong.push(format!("an unreadable letter: {error}")),
                }
            }
            let stored = Stored {
                subject: &message.subject,
                headers: &message.headers,
                sequence: message.sequence,
                at: message.at,
            };
            match Envelope::read(&world.subjects, stored) {
                None => {}
                Some(Ok(envelope)) => accepted.push((envelope, message)),
                Some(Err(refused)) => accepted.push((*refused.envelope, message)),
            }
        }
    }
    Evidence { world, stories, letters, accepted, wrong }
}

/// Generations without gap or repetition, one origin, one end, nothing behind it.
fn shape(evidence: &mut Evidence<'_>, story: &Story<'_>) {
    let task = &story.task;
    for (expected, (sequence, entry)) in (1_u64..).zip(&story.entries) {
        let found = entry.generation;
        evidence.hold(found == expected, || {
            format!("{task}: generation {found} at {sequence}, expected {expected}")
        });
        evidence.hold(entry.origin.is_some() == (expected == 1), || {
            format!("{task}: the origin is misplaced at {sequence}")
        });
    }
    let ends = story.entries.iter().filter(|(_, entry)| entry.event.kind().is_terminal()).count();
    evidence.hold(ends == 1, || format!("{task}: {ends} terminal entries"));
    let last = story.entries.last().is_some_and(|(_, entry)| entry.event.kind().is_terminal());
    evidence.hold(last, || format!("{task}: its last entry is not its end"));
}

/// Every step committed once, and the result made of what was committed.
fn journal(evidence: &mut Evidence<'_>, story: &Story<'_>) {
    let task = &story.task;
    let mut names = BTreeSet::new();
    let mut results = Vec::new();
    for (_, entry) in &story.entries {
        let name = match &entry.event {
            Event::Step { name, output, .. } => {
                if !name.contains(" cached ") {
                    results.push(value_of(std::slice::from_ref(output)));
                }
                name
            }
            Event::Delegated { name, .. } => name,
            _ => continue,
        };
        evidence.hold(names.insert(name) || name == "again", || {
            format!("{task}: {name} is committed twice")
        });
    }
    let Some((_, end)) = story.end() else { return };
    let plan = plan_of(evidence.world, story);
    let fits = match &end.event {
        Event::Completed { output } => {
            let result = value_of(output);
            evidence.hold(result == Value::from(results.clone()), || {
                format!("{task}: the result {result} is not what its steps committed: {results:?}")
            });
            plan.is_some_and(|plan| matches!(plan.end, End::Complete | End::Luck))
        }
        Event::Failed { fault, .. } => match fault.code.as_str() {
            code::DEADLINE_EXCEEDED => story.origin().is_some_and(|o| o.deadline.is_some()),
            code::BUDGET_EXCEEDED => story.origin().is_some_and(|o| o.budget.is_some()),
            // Which of them failed, and when, is judged with the others.
            code::CHILD_FAILED => !story.children().is_empty(),
            code::NOBODY_SERVES | code::BUS_UNAVAILABLE => plan.is_some_and(Plan::has_need),
            code::APPROVAL_DENIED => {
                ruled(story, |verdict| matches!(verdict, None | Some(Verdict::Deny)))
            }
            code::APPROVAL_MISMATCH => ruled(story, |verdict| verdict == Some(Verdict::Edit)),
            code::LOOP_DETECTED => {
                plan.is_some_and(|plan| plan.acts.iter().any(|act| matches!(act, Act::Repeat(_))))
            }
            code::AGENT_ERROR => plan.is_some_and(|plan| {
                fault.message == "may pass" || matches!(plan.end, End::Permanent | End::Luck)
            }),
            code::ATTEMPTS_EXHAUSTED | code::ATTEMPT_TIMEOUT => true,
            _ => false,
        },
        Event::Rejected { fault } => match fault.code.as_str() {
            code::BAD_HEADER => true,
            _ => plan.is_some_and(|plan| plan.end == End::BadInput),
        },
        Event::Canceled { .. } => true,
        _ => false,
    };
    evidence.hold(fits, || format!("{task}: such an end was not to be had: {:?}", end.event));
}

/// Whether the task was told a decision like this.
fn ruled(story: &Story<'_>, fits: impl Fn(Option<Verdict>) -> bool) -> bool {
    story.entries.iter().any(|(_, entry)| match &entry.event {
        Event::Resumed { answer: Some(Answer::Approval { ruling, .. }), .. }
        | Event::Received { answer: Answer::Approval { ruling, .. }, .. } => fits(ruling.verdict),
        Event::Resumed { answer: Some(Answer::Time), .. } => fits(None),
        _ => false,
    })
}

/// The plan that a task was made from, by the message that its log names.
pub(super) fn plan_of<'a>(world: &'a World, story: &Story<'_>) -> Option<&'a Plan> {
    let source = story.origin()?.source;
    let stream = match source.queue {
        protocol::submission::Queue::Inbox => Stream::Inbox,
        protocol::submission::Queue::Run => Stream::Log,
    };
    let message = world.bus.at(stream, source.sequence)?;
    let body = String::from_utf8_lossy(&message.payload);
    let text = match serde_json::from_str::<protocol::message::Message>(&body) {
        Ok(message) => value_of(&message.parts).as_str().map(str::to_owned)?,
        Err(_) => body.into_owned(),
    };
    let number = text.split(' ').next()?.strip_prefix('p')?.parse::<usize>().ok()?;
    world.workload.plans.get(number)
}

/// Failed and lost attempts are bounded by the policy, and no attempt's entries are mixed with another's.
fn attempts(evidence: &mut Evidence<'_>, story: &Story<'_>) {
    let task = &story.task;
    let mut attempts: BTreeMap<u32, Vec<Kind>> = BTreeMap::new();
    let mut latest = 0;
    for (sequence, entry) in story.entries.iter().filter(|(_, entry)| entry.attempt > 0) {
        evidence.hold(entry.attempt >= latest, || {
            format!(
                "{task}: attempt {} writes after attempt {latest}, at {sequence}",
                entry.attempt
            )
        });
        latest = latest.max(entry.attempt);
        attempts.entry(entry.attempt).or_default().push(entry.event.kind());
    }
    // The entry that gives a task up may stand under a number of its own, where no agent ran.
    let only_the_end = |kinds: &Vec<Kind>| kinds.as_slice() == [Kind::Failed];
    let good = |kind: &Kind| {
        matches!(
            kind,
            Kind::Suspended | Kind::Released | Kind::Completed | Kind::Canceled | Kind::Rejected
        )
    };
    let costly = attempts.values().filter(|kinds| !kinds.last().is_some_and(good));
    let judged = costly.clone().filter(|kinds| only_the_end(kinds)).count().min(1);
    let costly = costly.count() - judged;
    let max = usize::try_from(evidence.world.workload.policy.attempts_max).unwrap_or(0);
    evidence.hold(costly <= max, || format!("{task}: {costly} attempts failed, {max} allowed"));
}

/// Every effect behind a step that was committed, and none again by an attempt that knew that it had been.
fn effects(evidence: &mut Evidence<'_>, story: &Story<'_>) {
    let (world, task) = (evidence.world, &story.task);
    let done: Vec<&Effect> =
        world.seen.effects.iter().filter(|effect| effect.task == story.key()).collect();
    let mut by_actor = BTreeSet::new();
    for effect in &done {
        let once = by_actor.insert((effect.actor, &effect.name)) || effect.name == "again";
        evidence.hold(once, || format!("{task}: {} was done twice by one attempt", effect.name));
    }
    for (sequence, entry) in &story.entries {
        let Event::Step { name, output, .. } = &entry.event else { continue };
        if name.contains(" cached ") {
            continue;
        }
        let gave = value_of(std::slice::from_ref(output));
        let own = name.replace("guarded", "act");
        let of_step = done.iter().filter(|effect| effect.name == own);
        evidence.hold(of_step.clone().any(|effect| gave == effect.gave), || {
            format!("{task}: {name} committed {gave}, which no effect gave")
        });
        let mut known = of_step.filter(|effect| gave == effect.gave || name != "again");
        evidence.hold(known.all(|effect| effect.knew < *sequence), || {
            format!("{task}: {name} was done again by an attempt that knew its result")
        });
    }
}
