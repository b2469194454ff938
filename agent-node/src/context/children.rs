//! Children as the log and their own logs have them: dispatched, ended, canceled.

use std::collections::HashMap;
use std::time::Duration;

use protocol::budget::Usage;
use protocol::consequence::{self, Publication};
use protocol::entry::{Child, ChildSpend, Entry, Event};
use protocol::fault::{Fault, code};
use protocol::header;
use protocol::id::NodeName;
use protocol::message::Part;
use protocol::{TaskId, Timestamp};
use runtime::bus::{Outgoing, StoredMessage};
use serde_json::Value;

use super::{Context, bus_stop, permanent};
use crate::agent::Stop;

/// Publications under way at once.
const AT_ONCE: usize = 500;
/// Children asked about in one question.
const ASKED_ABOUT: usize = 500;
/// How often somebody is asked who has not heard of an end yet: for about a second.
const LOOKS_MAX: u32 = 8;
/// How long to wait before asking a second time; then twice as long each time.
const LOOK_AGAIN: Duration = Duration::from_millis(4);

/// How long to wait after each look for ends that are about to come.
pub(super) fn rests() -> impl Iterator<Item = Duration> {
    (0..LOOKS_MAX).map(|look| LOOK_AGAIN * 2_u32.pow(look))
}

/// How a child ended.
pub(super) struct End {
    /// What it returned, or why it did not complete.
    pub(super) result: Result<Value, Fault>,
    /// The same as its log has it: large values by reference.
    pub(super) output: Vec<Part>,
    /// Whether it failed, as opposed to having been canceled or rejected.
    pub(super) may_pass: bool,
    /// Who ended it.
    pub(super) node: NodeName,
    /// When.
    pub(super) at: Timestamp,
    /// What it used, if it had a grant.
    pub(super) spent: Option<Usage>,
    /// What was added to its grant.
    pub(super) raised: Usage,
}

impl End {
    /// What the parent has to count. A child that does not say what it used has used all it had.
    pub(super) fn spend_of(&self, child: &Child) -> ChildSpend {
        let all = || child.budget.map_or_else(Usage::default, |budget| budget.usage());
        let spent = self.spent.unwrap_or_else(all);
        ChildSpend { task: child.task.clone(), spent, raised: self.raised }
    }
}

impl Context {
    /// Puts every child that has not begun into its queue.
    pub(super) async fn dispatch(
        &self,
        children: &[Child],
        begun: impl Fn(&TaskId) -> bool,
    ) -> Result<(), Stop> {
        let trace = self.trace();
        let waiting = children.iter().filter(|child| !begun(&child.task)).map(|child| {
            let mut publication =
                consequence::dispatch(self.scribe.subjects(), self.origin(), self.task(), child);
            if let Some(traceparent) = &trace.traceparent {
                publication.headers.push(header::TRACEPARENT, traceparent.as_str());
            }
            publication
        });
        self.publish(waiting.collect()).await
    }

    /// Asks for the end of the children that the task has gone on without.
    pub(super) async fn cancel_losers(&self) -> Result<(), Stop> {
        let cancels = self
            .scribe
            .with_log(|log| {
                let cancel = |child: &Child| {
                    consequence::cancel(
                        self.scribe.subjects(),
                        self.owner(),
                        self.task(),
                        &child.task,
                    )
                };
                log.losers().map(cancel).collect::<Vec<_>>()
            })
            .await;
        self.publish(cancels).await
    }

    async fn publish(&self, publications: Vec<Publication>) -> Result<(), Stop> {
        let mut rest = publications.into_iter().peekable();
        while rest.peek().is_some() {
            let sends = rest.by_ref().take(AT_ONCE).map(|publication| {
                let Publication { subject, headers, payload } = publication;
                self.scribe.ledger().append(vec![Outgoing::new(subject, headers, payload)])
            });
            for sent in futures_util::future::join_all(sends).await {
                sent.map_err(bus_stop)?;
            }
        }
        Ok(())
    }

    /// The last entry of each child's log, those that have not begun left out.
    pub(super) async fn last_entries(
        &self,
        children: &[Child],
    ) -> Result<HashMap<String, StoredMessage>, Stop> {
        let subject = |child: &Child| self.scribe.subjects().log(self.owner(), &child.task);
        let subjects = children.iter().map(subject).collect::<Vec<_>>();
        let asked = subjects.chunks(ASKED_ABOUT).map(|some| self.scribe.ledger().last_of(some));
        let mut last = HashMap::with_capacity(children.len());
        for found in futures_util::future::join_all(asked).await {
            let found = found.map_err(bus_stop)?.into_iter();
            last.extend(found.map(|message| (message.subject.clone(), message)));
        }
        Ok(last)
    }

    /// How each child ended, `None` for those that have not.
    pub(super) async fn child_ends(&self, children: &[Child]) -> Result<Vec<Option<End>>, Stop> {
        let last = self.last_entries(children).await?;
        self.ends_in(children, &last).await
    }

    /// How each child ended by the last entries given.
    pub(super) async fn ends_in(
        &self,
        children: &[Child],
        last: &HashMap<String, StoredMessage>,
    ) -> Result<Vec<Option<End>>, Stop> {
        let mut ends = Vec::with_capacity(children.len());
        for child in children {
            let subject = self.scribe.subjects().log(self.owner(), &child.task);
            let end = match last.get(&subject).map(end_of).transpose()?.flatten() {
                Some((mut end, true)) => {
                    end.result = Ok(self.load(end.output.clone()).await?);
                    Some(end)
                }
                Some((end, false)) => Some(end),
                None => None,
            };
            ends.push(end);
        }
        Ok(ends)
    }

    /// How the children at these indices ended, of which the log says that they have: whoever is asked may not have heard
    /// of all of it yet.
    pub(super) async fn known_ends(
        &self,
        children: &[Child],
        counted: &[u32],
    ) -> Result<Vec<Option<End>>, Stop> {
        let is_counted = |at: usize| u32::try_from(at).is_ok_and(|at| counted.contains(&at));
        for rest in rests() {
            let mut ends = self.child_ends(children).await?;
            for (at, end) in ends.iter_mut().enumerate() {
                if !is_counted(at) {
                    *end = None;
                }
            }
            if ends.iter().flatten().count() >= counted.len() {
                return Ok(ends);
            }
            self.scribe.ledger().rest(rest).await;
        }
        let message = "the end of a child that is in the log cannot be read yet";
        Err(super::transient(Fault::new(code::BUS_UNAVAILABLE, message)))
    }
}

/// What a log's last entry says about the end, and whether it is one with a result that has to be loaded.
fn end_of(message: &StoredMessage) -> Result<Option<(End, bool)>, Stop> {
    let Entry { by, at, spent, raised, event, .. } = serde_json::from_slice(&message.payload)
        .map_err(|error| {
            let message = format!("a child's log is unreadable: {error}");
            permanent(Fault::new(code::MALFORMED_BODY, message))
        })?;
    let raised = raised.unwrap_or_default();
    let (result, output) = (Ok(Value::Null), Vec::new());
    let mut end = End { result, output, may_pass: false, node: by, at, spent, raised };
    match event {
        Event::Completed { output } => {
            end.output = output;
            return Ok(Some((end, true)));
        }
        Event::Failed { fault, .. } => {
            end.may_pass = true;
            end.result = Err(fault);
        }
        Event::Rejected { fault } => end.result = Err(fault),
        Event::Canceled { reason } => end.result = Err(Fault::new(code::CHILD_FAILED, reason)),
        Event::Claimed { .. }
        | Event::Status { .. }
        | Event::Artifact { .. }
        | Event::Reserved { .. }
        | Event::Step { .. }
        | Event::Received { .. }
        | Event::Refunded { .. }
        | Event::Delegated { .. }
        | Event::Suspended { .. }
        | Event::Escalated { .. }
        | Event::Resumed { .. }
        | Event::AttemptFailed { .. }
        | Event::Released { .. } => return Ok(None),
    }
    Ok(Some((end, false)))
}
