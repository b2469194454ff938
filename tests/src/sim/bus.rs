//! The model of JetStream: two streams, their consumers, schedules, and a memory for message ids.
//!
//! It keeps what measurements say about the server and nothing more: a fence by the subject's last
//! sequence, ids that are forgotten after a window, deliveries that come again when nobody settles them,
//! acknowledgements that prove no ownership. What goes wrong on the way is the world's business.

use std::collections::BTreeMap;

use protocol::Timestamp;
use protocol::header::{self, Headers};
use protocol::limits::DELIVERIES_MAX;
use runtime::bus::{Outgoing, StoredMessage};

use super::consumer::{Consumer, Queue};
use super::dice::Dice;

/// One of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Inbox,
    Log,
}

/// The subject has another last sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fenced;

#[derive(Debug, Default)]
struct Messages {
    stored: BTreeMap<u64, StoredMessage>,
    next: u64,
    last: BTreeMap<String, u64>,
    ids: BTreeMap<String, (i64, u64)>,
}

/// A message handed out.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) queue: Queue,
    pub(super) message: StoredMessage,
    pub(super) delivered: u64,
}

#[derive(Debug)]
struct Scheduled {
    due: i64,
    home: String,
    target: String,
    headers: Headers,
}

/// The server.
#[derive(Debug)]
pub(super) struct Bus {
    inbox: Messages,
    log: Messages,
    consumers: [Consumer; 3],
    scheduled: Vec<Scheduled>,
    /// How long message ids are remembered, in ms.
    pub(super) window: i64,
    pub(super) lease: i64,
    /// Whether expected sequences are looked at.
    pub(super) fence: bool,
    /// Whether the message that ends a wait by its time gets lost.
    pub(super) loses_timers: bool,
    /// Whether message ids lack the owner.
    pub(super) shares_ids: bool,
    /// Messages that the server has stopped to deliver.
    pub(super) given_up: Vec<u64>,
}

impl Bus {
    pub(super) fn new(window: i64, lease: i64, fence: bool) -> Self {
        Self {
            inbox: Messages::default(),
            log: Messages::default(),
            consumers: Default::default(),
            scheduled: Vec::new(),
            window,
            lease,
            fence,
            loses_timers: false,
            shares_ids: false,
            given_up: Vec::new(),
        }
    }

    fn messages(&self, stream: Stream) -> &Messages {
        match stream {
            Stream::Inbox => &self.inbox,
            Stream::Log => &self.log,
        }
    }

    /// The consumer of a queue.
    pub(super) fn consumer(&mut self, queue: Queue) -> &mut Consumer {
        let [run, task, care] = &mut self.consumers;
        match queue {
            Queue::Run => run,
            Queue::Task => task,
            Queue::Care => care,
        }
    }

    /// The message at a sequence.
    pub(super) fn at(&self, stream: Stream, sequence: u64) -> Option<&StoredMessage> {
        self.messages(stream).stored.get(&sequence)
    }

    /// All messages of a stream.
    pub(super) fn all(&self, stream: Stream) -> impl Iterator<Item = &StoredMessage> {
        self.messages(stream).stored.values()
    }

    /// Takes a message out.
    pub(super) fn remove(&mut self, stream: Stream, sequence: u64) {
        let messages = match stream {
            Stream::Inbox => &mut self.inbox,
            Stream::Log => &mut self.log,
        };
        messages.stored.remove(&sequence);
    }

    /// The last message of a subject of the inbox before a sequence.
    pub(super) fn before(&self, subject: &str, sequence: u64) -> Option<&StoredMessage> {
        let mut before = self.inbox.stored.range(..sequence).rev();
        before.find(|(_, message)| message.subject == subject).map(|(_, message)| message)
    }

    /// The first message of a subject of the inbox behind a sequence.
    pub(super) fn behind(&self, subject: &str, sequence: u64) -> Option<&StoredMessage> {
        let mut behind = self.inbox.stored.range(sequence + 1..);
        behind.find(|(_, message)| message.subject == subject).map(|(_, message)| message)
    }

    /// The sequence of the last message of the log stream.
    pub(super) fn last_sequence(&self) -> u64 {
        self.log.next
    }

    /// Stores all messages or none; the sequence of the first, or of the message that had its id.
    pub(super) fn store(&mut self, now: i64, messages: &[Outgoing]) -> Result<u64, Fenced> {
        for message in messages {
            let last = self.log.last.get(&message.subject).copied().unwrap_or(0);
            if self.fence && message.expected_last.is_some_and(|expected| expected != last) {
                return Err(Fenced);
            }
        }
        let sequences = messages.iter().map(|message| self.store_one(now, message));
        Ok(sequences.collect::<Vec<u64>>().first().copied().unwrap_or(0))
    }

    fn store_one(&mut self, now: i64, message: &Outgoing) -> u64 {
        let inbox = message.subject.starts_with("weft.task.");
        let (window, shares_ids) = (self.window, self.shares_ids);
        let messages = if inbox { &mut self.inbox } else { &mut self.log };
        let id = message.headers.get(header::MSG_ID).map(|id| match shares_ids {
            true => id.replace("-acme-", "-").replace("-default-", "-"),
            false => id.to_owned(),
        });
        if let Some(id) = id {
            match messages.ids.get(&id) {
                Some((at, sequence)) if now - at <= window => return *sequence,
                Some(_) | None => {
                    messages.ids.insert(id, (now, messages.next + 1));
                }
            }
        }
        messages.next += 1;
        let sequence = messages.next;
        messages.last.insert(message.subject.clone(), sequence);
        messages.stored.insert(
            sequence,
            StoredMessage {
                sequence,
                subject: message.subject.clone(),
                headers: message.headers.clone(),
                payload: message.payload.clone(),
                at: Timestamp::from_millis(now),
            },
        );
        let timer = message.subject.contains(".wait-");
        if let Some(scheduled) = scheduled(message).filter(|_| !(timer && self.loses_timers)) {
            self.scheduled.retain(|other| other.home != scheduled.home);
            self.scheduled.push(scheduled);
        }
        for queue in Queue::ALL {
            if queue.takes(&message.subject) {
                self.consumer(queue).add(sequence);
            }
        }
        sequence
    }

    /// Fires what is due; `late` says by how much each may be late.
    pub(super) fn fire(&mut self, now: i64, mut late: impl FnMut() -> i64) {
        if self.scheduled.is_empty() {
            return;
        }
        let (mut due, mut rest) = (Vec::new(), Vec::new());
        for mut scheduled in self.scheduled.drain(..) {
            let wait = if scheduled.due <= now { late() } else { 0 };
            if scheduled.due <= now && wait == 0 {
                due.push(scheduled);
            } else {
                scheduled.due += wait;
                rest.push(scheduled);
            }
        }
        self.scheduled = rest;
        for Scheduled { target, headers, .. } in due {
            self.store_one(now, &Outgoing::new(target, headers, bytes::Bytes::new()));
        }
    }

    /// Whether this consumer has something to hand out.
    pub(super) fn is_ready(&self, queue: Queue, now: i64) -> bool {
        let [run, task, care] = &self.consumers;
        match queue {
            Queue::Run => run.is_ready(now),
            Queue::Task => task.is_ready(now),
            Queue::Care => care.is_ready(now),
        }
    }

    /// Hands out a message, unless it was taken out or the server gives it up.
    pub(super) fn deliver(
        &mut self,
        queue: Queue,
        now: i64,
        dice: &mut Dice,
        holder: usize,
    ) -> Option<Delivery> {
        let lease = self.lease;
        let (sequence, delivered) = self.consumer(queue).deliver(now, lease, dice, holder)?;
        let often = i64::try_from(delivered).unwrap_or(i64::MAX) > DELIVERIES_MAX;
        let message = self.at(stream_of(queue), sequence).cloned();
        if queue != Queue::Care && often {
            self.given_up.push(sequence);
        } else if let Some(message) = message {
            return Some(Delivery { queue, message, delivered });
        }
        self.consumer(queue).ack(sequence);
        None
    }

    /// Gives back everything that some nodes have.
    pub(super) fn nak_all(&mut self, now: i64, of: impl Fn(usize) -> bool) {
        for queue in [Queue::Run, Queue::Task] {
            self.consumer(queue).nak_all(now, &of);
        }
    }

    /// Whether something is new or due.
    pub(super) fn is_busy(&self, now: i64) -> bool {
        self.consumers.iter().any(|consumer| consumer.is_ready(now))
            || self.scheduled.iter().any(|scheduled| scheduled.due <= now)
    }

    /// When the server does something by itself next, after `now`.
    pub(super) fn next_due(&self, now: i64) -> Option<i64> {
        let pending = self.consumers.iter().flat_map(Consumer::due);
        let scheduled = self.scheduled.iter().map(|scheduled| scheduled.due);
        pending.chain(scheduled).filter(|due| *due > now).min()
    }

    /// Messages that nobody has settled, and schedules that have not fired.
    pub(super) fn unsettled(&self) -> usize {
        self.consumers.iter().map(Consumer::unsettled).sum::<usize>() + self.scheduled.len()
    }
}

fn stream_of(queue: Queue) -> Stream {
    match queue {
        Queue::Task => Stream::Inbox,
        Queue::Run | Queue::Care => Stream::Log,
    }
}

fn scheduled(message: &Outgoing) -> Option<Scheduled> {
    let at = message.headers.get(header::SCHEDULE)?.strip_prefix("@at ")?;
    let headers = message
        .headers
        .iter()
        .filter(|(name, _)| {
            ![header::SCHEDULE, header::SCHEDULE_TARGET, header::MSG_ID].contains(name)
        })
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Some(Scheduled {
        due: Timestamp::parse(at).ok()?.millis(),
        home: message.subject.clone(),
        target: message.headers.get(header::SCHEDULE_TARGET)?.to_owned(),
        headers,
    })
}
