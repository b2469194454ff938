//! Tasks that ended long ago: what was sent to them and about them first, their logs last.
//!
//! A log is what everything else about a task is judged by, so it goes when nothing is left that would begin the task
//! anew: while its submission is stored, its log is too. A crash between the two leads here again. A child stays with
//! its parent, which may look at its result again whenever it goes on.

use std::collections::HashMap;

use protocol::Timestamp;
use protocol::subject::Subject;
use protocol::submission::Envelope;
use protocol::topology::{CARE_CONSUMER, Names};
use runtime::bus::{Bus, ReadError, StoredMessage};

use super::standing::{Standing, Task};
use super::walk::{Cut, Walk};
use super::{Retire, before};

/// Where the next round begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskPlaces {
    about: [u64; 5],
    logs: u64,
}

/// Messages about tasks, which only matter as long as their logs stand.
struct About {
    stream: String,
    filter: String,
    taken_by: Taker,
}

/// Who has to be done with a message before it may go without a log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taker {
    /// The consumer of its skill.
    Skill,
    /// The coordinators.
    Care,
    /// Whoever begins the task, however late: it goes only with the log.
    Task,
}

/// What a message says about itself.
struct Told {
    task: Task,
    /// Of a submission, and of what was delegated or re-queued.
    envelope: Option<Box<Envelope>>,
}

/// The list of what there is about tasks, beside their logs.
fn about(bus: &Bus) -> [About; 5] {
    let (names, subjects) = (bus.names(), bus.subjects());
    let one =
        |stream: &String, filter, taken_by| About { stream: stream.clone(), filter, taken_by };
    [
        one(&names.inbox, subjects.all_tasks(), Taker::Skill),
        one(&names.log, subjects.all_runs(), Taker::Skill),
        one(&names.log, subjects.all_wakes(), Taker::Care),
        one(&names.log, subjects.all_cancels(), Taker::Care),
        one(&names.log, subjects.all_inputs(), Taker::Task),
    ]
}

impl Retire {
    /// One round about the tasks that are over their time, by the server's clock: one that is wrong here removes nothing
    /// early.
    pub(super) async fn old_tasks(&self, places: &mut TaskPlaces) -> Result<usize, ReadError> {
        let Some(kept) = self.tasks_kept else { return Ok(0) };
        let bus = self.client.bus();
        let now = bus.stream_clock(&bus.names().log).await?;
        self.tasks(places, before(now, kept)).await
    }

    /// One round about the tasks that ended before a time. Returns how many logs were removed.
    ///
    /// # Errors
    /// When a stream cannot be read; the next round begins at the same place.
    pub async fn tasks(
        &self,
        places: &mut TaskPlaces,
        before: Timestamp,
    ) -> Result<usize, ReadError> {
        let bus = self.client.bus();
        for (about, place) in about(bus).iter().zip(&mut places.about) {
            let mut walk = Walk::new(bus, (&about.stream, &about.filter), before, place);
            while let Some(old) = walk.next().await? {
                let cuts = self.judge_messages(about, &old, before).await?;
                walk.cut(&old, &cuts).await?;
            }
        }
        let (filter, mut removed) = (bus.subjects().all_logs(), 0);
        let mut walk = Walk::new(bus, (&bus.names().log, &filter), before, &mut places.logs);
        while let Some(old) = walk.next().await? {
            let cuts = self.judge_logs(&old, before).await?;
            removed += walk.cut(&old, &cuts).await?;
        }
        self.metrics.coordinator.retired.inc_by(u64::try_from(removed).unwrap_or(0));
        if let Some(model) = self.read_model.clone() {
            let forgotten = tokio::task::spawn_blocking(move || model.forget(before)).await;
            if let Ok(Err(error)) = forgotten {
                tracing::warn!(reason = %error, "removed tasks are still listed");
            }
        }
        Ok(removed)
    }

    async fn judge_messages(
        &self,
        about: &About,
        old: &[StoredMessage],
        before: Timestamp,
    ) -> Result<Vec<Option<Cut>>, ReadError> {
        let told: Vec<Option<Told>> = old.iter().map(|message| self.told(message)).collect();
        let tasks: Vec<Task> = told.iter().flatten().map(|told| told.task.clone()).collect();
        let standings = self.standings(&tasks, before).await?;
        let mut floors = HashMap::new();
        let mut cuts = Vec::with_capacity(old.len());
        for (message, told) in old.iter().zip(&told) {
            let goes = match told {
                None => false,
                Some(told) => {
                    let standing = standings.get(&told.task).unwrap_or(&Standing::Kept);
                    match self.own(told, standing, before).await? {
                        Standing::Kept => false,
                        Standing::Over(_) => true,
                        Standing::Gone => {
                            self.is_left(about, told, message.sequence, &mut floors).await?
                        }
                    }
                }
            };
            cuts.push(goes.then_some(Cut::Message));
        }
        Ok(cuts)
    }

    /// Which task a message is about.
    fn told(&self, message: &StoredMessage) -> Option<Told> {
        match self.client.bus().subjects().parse(&message.subject)? {
            Subject::Wake(owner, task)
            | Subject::Cancel(owner, task)
            | Subject::Input(owner, task) => Some(Told { task: (owner, task), envelope: None }),
            Subject::Task(..) | Subject::Run(_) => {
                let envelope = self.client.envelope(message)?;
                let task = (envelope.owner.clone(), envelope.task.clone());
                Some(Told { task, envelope: Some(Box::new(envelope)) })
            }
            Subject::Log(..)
            | Subject::Event(..)
            | Subject::Push(..)
            | Subject::Audit(_)
            | Subject::Dead(_)
            | Subject::Call(_)
            | Subject::Holding(_) => None,
        }
    }

    /// Where the log of this very submission stands: in an inbox that was set back, the one under its sequence may be an
    /// earlier one's.
    async fn own(
        &self,
        told: &Told,
        standing: &Standing,
        before: Timestamp,
    ) -> Result<Standing, ReadError> {
        let other = match (&told.envelope, standing) {
            (Some(envelope), Standing::Over(over)) => envelope.displaced_by(&over.origin),
            (Some(envelope), Standing::Gone) => envelope.other_id(),
            (Some(_), Standing::Kept) | (None, _) => None,
        };
        let Some(other) = other else { return Ok(standing.clone()) };
        let task = (told.task.0.clone(), other);
        let found = self.standings(std::slice::from_ref(&task), before).await?.remove(&task);
        Ok(found.unwrap_or(Standing::Kept))
    }

    /// Whether nobody will look for a message that has no log: a copy, or what came after the log had gone.
    async fn is_left(
        &self,
        about: &About,
        told: &Told,
        sequence: u64,
        floors: &mut HashMap<String, u64>,
    ) -> Result<bool, ReadError> {
        let consumer = match (about.taken_by, &told.envelope) {
            (Taker::Skill, Some(envelope)) => Names::skill_consumer(&envelope.skill),
            (Taker::Care, _) => CARE_CONSUMER.to_owned(),
            (Taker::Skill, None) | (Taker::Task, _) => return Ok(false),
        };
        let floor = match floors.get(&consumer) {
            Some(floor) => *floor,
            None => {
                let floor = self.client.bus().done_to(&about.stream, &consumer).await?;
                floors.insert(consumer, floor);
                floor
            }
        };
        if sequence > floor {
            return Ok(false);
        }
        // A replica may not have the log; its leader has.
        let other = told.envelope.as_ref().and_then(|envelope| envelope.other_id());
        for id in std::iter::once(told.task.1.clone()).chain(other) {
            if self.last(&(told.task.0.clone(), id)).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn judge_logs(
        &self,
        old: &[StoredMessage],
        before: Timestamp,
    ) -> Result<Vec<Option<Cut>>, ReadError> {
        let bus = self.client.bus();
        let of = |message: &StoredMessage| {
            let subject = bus.subjects().parse(&message.subject)?;
            if let Subject::Log(owner, task) = subject { Some((owner, task)) } else { None }
        };
        let tasks: Vec<Option<Task>> = old.iter().map(of).collect();
        let known: Vec<Task> = tasks.iter().flatten().cloned().collect();
        let standings = self.standings(&known, before).await?;
        let over = standings.iter().filter_map(|(task, standing)| match standing {
            Standing::Over(over) => Some((task, &**over)),
            Standing::Gone | Standing::Kept => None,
        });
        let bare = self.bare(over.collect()).await?;
        let last = |task: &Option<Task>| bare.get(task.as_ref()?).copied();
        Ok(tasks.iter().map(|task| last(task).map(Cut::UpTo)).collect())
    }
}
