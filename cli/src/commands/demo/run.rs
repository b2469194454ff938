//! The run itself: submits the survey, watches the log, kills a node, waits for the end, counts.

use std::time::Duration;

use client::{Client, Submission};
use protocol::entry::{Entry, Event};
use protocol::message::value_of;
use protocol::subject::Subject;
use protocol::{NodeName, Owner, Skill, TaskId};
use runtime::bus::{Bus, Subscription};
use runtime::clock::Clock;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::account::{self, Account, Killed};
use super::fleet::Fleet;
use super::progress::{Progress, Seen};
use super::settings::{NODES, SLOTS};
use super::{DemoError, Plan};
use crate::demo_agents::{SurveyInput, SurveyOutput, escape};
use crate::print::Printer;
use crate::print::demo::View;

/// Nothing stored for this long means that something is broken.
const STUCK_AFTER: Duration = Duration::from_secs(40);
/// How often the live view is drawn and the processes are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Runs a survey to its end.
pub(super) async fn run(
    plan: &Plan,
    fleet: &mut Fleet,
    printer: &mut Printer,
    view: &mut View,
) -> Result<(SurveyOutput, Account, Option<Killed>), DemoError> {
    let client = Client::new(Bus::connect(fleet.bus()).await?);
    let owner = Owner::default();
    let events = client.bus().subscribe(client.bus().subjects().events_of(&owner), None).await?;
    client.bus().flush().await;
    let task = submit(&client, plan).await?;
    let watch = Watch {
        client: &client,
        task: &task,
        events,
        progress: Progress::default(),
        late_after: Duration::from_millis(plan.rest_ms) / 4,
    };
    let killed = watch.follow(fleet, printer, view).await?;
    let survey = output(&client, &owner, &task).await?;
    let logs = account::read(&client).await?;
    Ok((survey, account::count(&task, &logs, killed.as_ref()), killed))
}

async fn submit(client: &Client, plan: &Plan) -> Result<TaskId, DemoError> {
    let skill = Skill::parse("survey").map_err(no_report)?;
    let input = SurveyInput {
        root: escape(&plan.root),
        files_max: plan.bounds.files_max,
        bytes_max: plan.bounds.bytes_max,
        except: plan.bounds.except.as_deref().map(escape),
        rest_ms: plan.rest_ms,
    };
    let body = serde_json::to_vec(&input).map_err(no_report)?;
    Ok(client.submit(Submission::new(skill, body)).await?.task)
}

struct Watch<'a> {
    client: &'a Client,
    task: &'a TaskId,
    events: Subscription,
    progress: Progress,
    /// An entry that is seen this long after it was written tells nothing about the present.
    late_after: Duration,
}

impl Watch<'_> {
    /// Follows the run until the survey has ended; on the way, kills a node.
    async fn follow(
        mut self,
        fleet: &mut Fleet,
        printer: &mut Printer,
        view: &mut View,
    ) -> Result<Option<Killed>, DemoError> {
        let clock = Clock::system();
        let mut killed: Option<Killed> = None;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stuck_at = Instant::now() + STUCK_AFTER;
        while !self.progress.ended {
            let event = tokio::select! {
                _ = tick.tick() => {
                    fleet.check()?;
                    view.draw(&self.progress, killed.as_ref());
                    if Instant::now() >= stuck_at {
                        return Err(self.stuck());
                    }
                    continue;
                }
                event = self.events.next() => event,
            };
            let Some(event) = event else { return Err(self.stuck()) };
            let Some(Subject::Event(_, task)) = self.client.bus().subjects().parse(&event.subject)
            else {
                continue;
            };
            let Ok(entry) = serde_json::from_slice::<Entry>(&event.payload) else { continue };
            stuck_at = Instant::now() + STUCK_AFTER;
            let held_by_victim = killed.as_ref().is_some_and(|killed| {
                let node = self.progress.nodes.get(&killed.node);
                node.is_some_and(|node| node.in_hand.contains(&task))
            });
            let seen = self.progress.note(self.task, &task, &entry);
            if let Some(killed) =
                killed.as_ref().filter(|_| held_by_victim && seen == Seen::Claimed)
            {
                view.taken_over(printer, &entry.by, entry.at.since(killed.at))?;
            }
            view.seen(printer, &seen, &self.progress)?;
            // What is seen late says little about who has what in hand now.
            let late = clock.now().since(entry.at) > self.late_after;
            if killed.is_none() && (!late || self.progress.is_nearly_done()) {
                killed = self.kill(fleet, &clock, printer, view).await?;
            }
        }
        view.draw(&self.progress, killed.as_ref());
        Ok(killed)
    }

    /// Kills a node if the moment has come.
    async fn kill(
        &self,
        fleet: &mut Fleet,
        clock: &Clock,
        printer: &mut Printer,
        view: &mut View,
    ) -> Result<Option<Killed>, DemoError> {
        let Some(node) = self.progress.victim(&NODES, SLOTS) else { return Ok(None) };
        // Frozen, it still has at the kill what it is found to have: its tasks are short.
        if let Some(process) = fleet.node(node.as_str()) {
            process.freeze();
        }
        let in_hand = self.open_tasks_of(&node).await?;
        if in_hand == 0 && !self.progress.is_nearly_done() {
            if let Some(process) = fleet.node(node.as_str()) {
                process.thaw();
            }
            return Ok(None);
        }
        let Some((pid, at)) = fleet.kill(node.as_str(), clock).await else { return Ok(None) };
        let killed = Killed { node, pid, at, in_hand };
        view.killed(printer, &killed)?;
        Ok(Some(killed))
    }

    /// How many of the tasks that a node was seen to have in hand have not ended.
    async fn open_tasks_of(&self, node: &NodeName) -> Result<usize, DemoError> {
        let owner = Owner::default();
        let mut open = 0;
        for task in self.progress.nodes.get(node).map(|node| &node.in_hand).into_iter().flatten() {
            open += usize::from(!self.client.log(&owner, task).await?.is_ended());
        }
        Ok(open)
    }

    fn stuck(&self) -> DemoError {
        let (done, total) = (self.progress.done, self.progress.total.unwrap_or(0));
        DemoError::Stuck { limit: STUCK_AFTER, done, total }
    }
}

/// What the survey returned, from its log.
async fn output(client: &Client, owner: &Owner, task: &TaskId) -> Result<SurveyOutput, DemoError> {
    let last = client.entries(owner, task).await?.pop().map(|(_, entry)| entry.event);
    let output = match last {
        Some(Event::Completed { output }) => output,
        Some(Event::Failed { fault, .. } | Event::Rejected { fault }) => {
            return Err(no_report(fault));
        }
        other => {
            let kind = other.map_or("nothing", |event| event.kind().name());
            return Err(no_report(format!("its log ends with {kind}")));
        }
    };
    // A long report lies in the object store, and its log names it.
    let value = match output.iter().find_map(|part| part.object()) {
        None => value_of(&output),
        Some(name) => {
            let bytes = client.bus().get_object(name).await?;
            let bytes = bytes.ok_or_else(|| no_report(format!("there is no object {name}")))?;
            serde_json::from_slice(&bytes).map_err(no_report)?
        }
    };
    serde_json::from_value(value).map_err(no_report)
}

fn no_report(reason: impl std::fmt::Display) -> DemoError {
    DemoError::NoReport { reason: reason.to_string() }
}

/// What the logs say went wrong. A task that failed is no fault of the mesh's: the comparison knows whether its
/// file was there to be inspected.
pub(super) fn faults(account: &Account) -> Vec<String> {
    let lost = account.lost.iter().map(|task| format!("task {task} is lost: its log has no end"));
    let doubled = account.doubled.iter().map(|task| format!("task {task} was committed twice"));
    lost.chain(doubled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_that_is_lost_or_doubled_is_a_fault() {
        let id = |text: &str| TaskId::parse(text).unwrap();
        assert!(faults(&Account::default()).is_empty());
        let account = Account {
            lost: vec![id("l1"), id("l2")],
            doubled: vec![id("d")],
            ..Account::default()
        };
        let faults = faults(&account);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[2].contains("d was committed twice"), "{faults:?}");
    }
}
