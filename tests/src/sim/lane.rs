//! Who stands before and behind a submission in its lane, asked of the model in the order of `runtime::bus::lane`.

use protocol::consequence;
use protocol::entry::Origin;
use protocol::id::{Lane, Owner, Skill, TaskId};
use protocol::log::TaskLog;
use protocol::submission::{Envelope, Queue, Stored};
use runtime::bus::{Outgoing, StoredMessage};

use super::hold::Hold;
use super::sabotage::Sabotage;
use super::world::World;

/// A place in a lane.
pub(super) type Place<'a> = (&'a Skill, &'a Owner, &'a Lane, u64);

/// What has become of a submission, as far as its lane is concerned.
enum Turn {
    Open,
    Taken,
    Skipped,
}

/// A task's place in a lane, if it has one.
pub(super) fn place(log: &TaskLog) -> Option<Place<'_>> {
    let origin: &Origin = log.origin.as_deref()?;
    let lane = origin.lane.as_ref()?;
    let source = origin.source;
    let inbox = source.queue == Queue::Inbox;
    inbox.then_some((&origin.skill, &origin.owner, lane, source.sequence))
}

/// The inbox sequence of the nearest task before this place that has not ended.
pub(super) async fn ahead(hold: &Hold, (skill, owner, lane, sequence): Place<'_>) -> Option<u64> {
    let subject = hold.with(|world| world.subjects.task_in_lane(skill, owner, lane));
    let mut behind = sequence;
    loop {
        hold.turn().await;
        let message = hold.with(|world| world.bus.before(&subject, behind).cloned())?;
        let envelope = hold.with(|world| envelope_of(world, &message))?;
        hold.turn().await;
        match hold.with(|world| turn_of(world, &envelope)) {
            Turn::Open => return Some(message.sequence),
            Turn::Taken => return None,
            Turn::Skipped => behind = message.sequence,
        }
    }
}

/// The message that wakes the first task behind this place that has begun to wait; `ended` gives it its id.
pub(super) async fn wake_behind(
    hold: &Hold,
    (skill, owner, lane, sequence): Place<'_>,
    ended: &TaskId,
) -> Option<Outgoing> {
    if hold.with(|world| world.sabotage) == Some(Sabotage::LaneWake) {
        return None;
    }
    let subject = hold.with(|world| world.subjects.task_in_lane(skill, owner, lane));
    let mut from = sequence;
    loop {
        hold.turn().await;
        let message = hold.with(|world| world.bus.behind(&subject, from).cloned())?;
        from = message.sequence;
        let Some(envelope) = hold.with(|world| envelope_of(world, &message)) else { continue };
        hold.turn().await;
        let key = (envelope.owner.clone(), envelope.task.clone());
        let log = hold.with(|world| world.read_log(&key, true));
        if log.generation == 0 {
            return None;
        }
        if !log.is_ended() {
            let wake = hold.with(|world| {
                consequence::lane_wake(&world.subjects, owner, ended, &envelope.task)
            });
            return Some(Outgoing::new(wake.subject, wake.headers, wake.payload));
        }
    }
}

fn envelope_of(world: &World, message: &StoredMessage) -> Option<Envelope> {
    let stored = Stored {
        subject: &message.subject,
        headers: &message.headers,
        sequence: message.sequence,
        at: message.at,
    };
    match Envelope::read(&world.subjects, stored)? {
        Ok(envelope) => Some(envelope),
        Err(refused) => Some(*refused.envelope),
    }
}

fn turn_of(world: &World, envelope: &Envelope) -> Turn {
    let subject = world.subjects.log(&envelope.owner, &envelope.task);
    let Some(entries) = world.logs.get(&subject).map(|chronicle| &chronicle.entries) else {
        return Turn::Open;
    };
    let origin = entries.first().and_then(|(_, _, entry)| entry.origin.as_deref());
    if envelope.keyed && origin.is_some_and(|origin| origin.source != envelope.source) {
        return Turn::Skipped;
    }
    match entries.last() {
        Some((_, _, last)) if !last.event.kind().is_terminal() => Turn::Open,
        Some((_, _, last)) if last.attempt > 0 => Turn::Taken,
        Some(_) => Turn::Skipped,
        None => Turn::Open,
    }
}
