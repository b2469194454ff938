//! Looks at a waiting task, and lets it go on when what it waits for is there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use protocol::consequence::{self, Publication};
use protocol::entry::{Event, Kind};
use protocol::header;
use protocol::id::{Owner, TaskId};
use protocol::input::{Input, InputKind};
use protocol::limits::INPUTS_MAX;
use protocol::log::TaskLog;
use protocol::time::Timestamp;
use protocol::wait::Arrived;
use runtime::bus::{Delivery, Outgoing, StoredMessage};

use super::care::{Care, repeated};
use super::lane;
use super::log::LogError;
use crate::engine::children::{self, Child, Join};
use crate::engine::wake::{self, Look, Wake};

/// Children that the leader is asked about first when all have to end: one that is open settles it.
const WITNESSES: usize = 8;
/// Those that it is asked about then: towards the end of a fan-out few are open, and to ask about all of its children
/// costs as much as to end some of them.
const WITNESSES_MORE: usize = 56;
/// Children that it is asked about in one go, once the replicas have told of all the ends they know.
const ASK_AHEAD: usize = 64;
/// Children that a replica is asked about in one question.
const ASKED_TOGETHER: usize = 500;

impl Care {
    /// Looks at a task, and answers how its log is then; a time asks to look again after it.
    ///
    /// On wakes, a task that does not wait has its consequences published again, even on a first delivery: whoever
    /// resumed it may have died before it published, on a wake that somebody else had settled meanwhile.
    pub(super) async fn look(
        &self,
        owner: &Owner,
        task: &TaskId,
        wakes: &[Delivery],
        now: Timestamp,
    ) -> Result<(Arc<TaskLog>, Option<Duration>), LogError> {
        self.metrics.coordinator.wakes.inc();
        let mut log = self.logs.read(owner, task).await?;
        let event = match wake::wake(&log, now) {
            Wake::Unknown => None,
            Wake::CarryOut => {
                if let Some(cancels) = repeated(wakes) {
                    self.logs.carry_out(owner, task, &log, cancels).await?;
                }
                None
            }
            Wake::TooLate => {
                let why = wake::too_late(&log);
                tracing::info!(task_id = %task, reason = %why.1, "failed");
                self.logs.fail(owner, task, Arc::make_mut(&mut log), why).await?;
                None
            }
            Wake::LookAtChildren { position, enough } => {
                self.children(owner, &log, (position, enough), wakes).await?
            }
            Wake::LookAtLane => {
                lane::is_free(&self.logs, owner, &log).await?.then(wake::lane_is_free)
            }
            Wake::LookAtInputs => {
                let mut arrived = self.arrived(owner, task).await?;
                let said = arrived.iter().map(|one| (one.sequence, &one.input));
                let on_message = self.on_message(&log, said).await;
                arrived.retain(|one| !log.refuses(one.sequence, &one.input, on_message));
                match wake::look(&log, &arrived, now) {
                    Look::Resume(event) | Look::Escalate(event) => Some(*event),
                    Look::Wait => {
                        if let Some(again) = wake::next_time(self.bus().subjects(), task, &log) {
                            let Publication { subject, headers, payload } = again;
                            self.bus().store(Outgoing::new(subject, headers, payload)).await?;
                        }
                        None
                    }
                    Look::Soon { wait } => return Ok((log, Some(wait))),
                }
            }
        };
        if let Some(event) = event {
            self.write(owner, task, Arc::make_mut(&mut log), event).await?;
        } else if let Look::Soon { wait } = wake::soon(&log, now) {
            return Ok((log, Some(wait)));
        }
        Ok((log, None))
    }

    /// Lets a task go on, or puts what it asks to further people.
    async fn write(
        &self,
        owner: &Owner,
        task: &TaskId,
        log: &mut TaskLog,
        event: Event,
    ) -> Result<(), LogError> {
        let counted = if let Event::Escalated { to, reason, .. } = &event {
            tracing::warn!(task_id = %task, ?to, reason, "approval escalated");
            &self.metrics.coordinator.escalated
        } else {
            let reason = if let Event::Resumed { reason, .. } = &event { reason } else { "" };
            tracing::info!(task_id = %task, reason, "resumed");
            &self.metrics.coordinator.resumed
        };
        self.logs.append(owner, task, log, event, None).await?;
        counted.inc();
        Ok(())
    }

    /// Everything that was said to a task and can be read, oldest first, none of it newer than the leader's last.
    async fn arrived(&self, owner: &Owner, task: &TaskId) -> Result<Vec<Arrived>, LogError> {
        let stored = self.said(owner, task).await?;
        let read = stored.into_iter().filter_map(|message| {
            let input = Input::read(&message.headers, &message.payload).ok()?;
            Some(Arrived { sequence: message.sequence, at: message.at, input })
        });
        Ok(read.collect())
    }

    /// What was said to a task, oldest first: of each kind as many as are kept for it, bodies included.
    pub(super) async fn said(
        &self,
        owner: &Owner,
        task: &TaskId,
    ) -> Result<Vec<StoredMessage>, LogError> {
        let (stream, subject) = (&self.bus().names().log, self.bus().subjects().input(owner, task));
        let Some(last) = self.bus().last_from_leader(stream, &subject).await? else {
            return Ok(Vec::new());
        };
        let (mut stored, mut newest) = (Vec::new(), 0);
        let mut counts = InputKind::ALL.map(|kind| (kind, 0));
        self.bus()
            .scan(stream, &subject, 1, |message| {
                newest = message.sequence;
                let kind = InputKind::of(&message.headers);
                if let Some((_, count)) = counts.iter_mut().find(|(of, _)| *of == kind) {
                    *count += 1;
                    if *count <= INPUTS_MAX {
                        stored.push(message);
                    }
                }
                match counts.iter().all(|(_, count)| *count >= INPUTS_MAX) {
                    true => std::ops::ControlFlow::Break(()),
                    false => std::ops::ControlFlow::Continue(()),
                }
            })
            .await?;
        let is_full = counts.iter().all(|(_, count)| *count >= INPUTS_MAX);
        if !is_full && newest < last.sequence {
            return Err(LogError::Moved);
        }
        Ok(stored)
    }

    /// Looks at the children of a delegation until it is clear whether the task goes on.
    async fn children(
        &self,
        owner: &Owner,
        log: &TaskLog,
        (position, enough): (u32, Option<u32>),
        wakes: &[Delivery],
    ) -> Result<Option<Event>, LogError> {
        let children = log.children_at(position);
        let mut known = vec![Child::Unknown; children.len()];
        if children.iter().any(|child| child.essential) {
            self.ask_for_missed(owner, children, &mut known, wakes).await?;
        }
        for more in [WITNESSES, WITNESSES_MORE] {
            if enough.is_none() && children::join(&known, enough) == Join::Ask {
                self.ask_leader(owner, children, &mut known, more).await?;
            }
        }
        if children::join(&known, enough) == Join::Ask {
            self.ask_replicas(owner, children, &mut known).await?;
        }
        loop {
            match children::join(&known, enough) {
                Join::Resume(event) => return Ok(Some(*event)),
                Join::Wait => return Ok(None),
                Join::Ask => self.ask_leader(owner, children, &mut known, ASK_AHEAD).await?,
            }
        }
    }

    /// Looks for essential children that came to nothing. A wake by a child's end names the one to ask about; another
    /// wake, such as that of the suspension itself, names none, and the replicas are asked about all.
    async fn ask_for_missed(
        &self,
        owner: &Owner,
        children: &[protocol::entry::Child],
        known: &mut [Child],
        wakes: &[Delivery],
    ) -> Result<(), LogError> {
        let id = |wake: &Delivery| wake.headers.get(header::MSG_ID).map(str::to_owned);
        let named = wakes.iter().map(|wake| consequence::ended_child(owner, &id(wake)?));
        match named.collect::<Option<BTreeSet<TaskId>>>() {
            Some(named) => {
                let at = |child: &protocol::entry::Child| named.contains(&child.task);
                let asked = (0..).zip(children).filter(|(_, child)| at(child)).map(|(at, _)| at);
                self.ask_about(owner, children, known, asked.collect()).await
            }
            None => self.ask_replicas(owner, children, known).await,
        }
    }

    /// Asks the leader about the last `count` of those nobody knows about: the last child usually ends late.
    async fn ask_leader(
        &self,
        owner: &Owner,
        children: &[protocol::entry::Child],
        known: &mut [Child],
        count: usize,
    ) -> Result<(), LogError> {
        let unknown = known.iter().enumerate().rev().filter(|(_, one)| **one == Child::Unknown);
        let asked = unknown.map(|(at, _)| at).take(count).collect();
        self.ask_about(owner, children, known, asked).await
    }

    /// Asks the leader about the children at these places.
    async fn ask_about(
        &self,
        owner: &Owner,
        children: &[protocol::entry::Child],
        known: &mut [Child],
        asked: Vec<usize>,
    ) -> Result<(), LogError> {
        let looks = asked.into_iter().filter_map(|at| {
            let child = children.get(at)?;
            Some(async move { (at, child, self.logs.last_kind(owner, &child.task).await) })
        });
        for (at, child, last) in futures_util::future::join_all(looks).await {
            let end = last?.filter(|kind| kind.is_terminal());
            let state = end.map_or(Child::Open, |kind| ended(child, kind));
            if let Some(slot) = known.get_mut(at) {
                *slot = state;
            }
        }
        Ok(())
    }

    /// Marks the children that any replica knows to have ended: an end is final, however stale the rest is.
    async fn ask_replicas(
        &self,
        owner: &Owner,
        children: &[protocol::entry::Child],
        known: &mut [Child],
    ) -> Result<(), LogError> {
        let logs: Vec<_> =
            children.iter().map(|child| self.bus().subjects().log(owner, &child.task)).collect();
        let asked = logs.chunks(ASKED_TOGETHER);
        let asked = asked.map(|some| self.bus().last_of_each(&self.bus().names().log, some));
        let mut ends = std::collections::HashMap::new();
        for last in futures_util::future::join_all(asked).await {
            let ended = last?.into_iter().filter_map(|message| {
                let kind = message.entry_kind().filter(|kind| kind.is_terminal())?;
                Some((message.subject, kind))
            });
            ends.extend(ended);
        }
        for ((slot, child), subject) in known.iter_mut().zip(children).zip(&logs) {
            if let Some(kind) = ends.get(subject) {
                *slot = ended(child, *kind);
            }
        }
        Ok(())
    }
}

fn ended(child: &protocol::entry::Child, kind: Kind) -> Child {
    Child::ended(child, kind == Kind::Completed)
}
