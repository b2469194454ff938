//! Pulls deliveries of one skill and starts attempts, as many as there are slots.
//!
//! Two queues feed one set of slots: work that has begun (`run`) goes before submissions (`task`). A pull asks for
//! as many as are free now. Both queues are asked at once, so a burst on both can bring more than there are
//! slots; the surplus waits here for a moment and is then given back for others to take.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use protocol::Timestamp;
use protocol::topology::Names;
use runtime::bus::{Bus, Delivery, PullError, Pulled, Puller};
use runtime::metric::Metrics;
use runtime::supervisor::{Many, Supervisor};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::bytes::{Asked, ByteBudget, Load};
use crate::core::Core;
use crate::execute;
use crate::hand::InHand;
use crate::served::Served;

/// How long a surplus delivery waits for a slot.
const WAIT_MAX: Duration = Duration::from_millis(250);

/// How long pulling waits to learn what is new; without an answer nothing is.
const LEARN_LIMIT: Duration = Duration::from_millis(250);

/// The slots of one skill.
pub(crate) struct Slots {
    running: AtomicUsize,
    freed: Notify,
    /// A slot that is freed wakes the intake only while fewer than this are running.
    wake_below: AtomicUsize,
    max: usize,
}

impl Slots {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            running: AtomicUsize::new(0),
            freed: Notify::new(),
            wake_below: AtomicUsize::new(max),
            max,
        }
    }

    /// Attempts under way.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    fn free(&self) -> usize {
        self.max.saturating_sub(self.running())
    }

    /// Says when the intake, which acts on `seen` running attempts, wants to know of freed slots.
    fn wake_below(&self, limit: usize, seen: usize) {
        self.wake_below.store(limit, Ordering::SeqCst);
        let running = self.running.load(Ordering::SeqCst);
        if running < limit && running < seen {
            self.freed.notify_one();
        }
    }

    fn take(self: &Arc<Self>) -> Slot {
        self.running.fetch_add(1, Ordering::AcqRel);
        Slot(Arc::clone(self))
    }
}

/// One taken slot; dropping it frees it.
struct Slot(Arc<Slots>);

impl Drop for Slot {
    fn drop(&mut self) {
        let running = self.0.running.fetch_sub(1, Ordering::SeqCst) - 1;
        if running < self.0.wake_below.load(Ordering::SeqCst) {
            self.0.freed.notify_one();
        }
    }
}

struct Waiting {
    delivery: Box<Delivery>,
    hand: InHand,
    load: Load,
    since: Instant,
}

/// Serves one skill until told to stop.
pub(crate) struct Intake {
    core: Arc<Core>,
    served: Arc<Served>,
    slots: Arc<Slots>,
    attempts: Many,
    metrics: Metrics,
    budget: ByteBudget,
    run: Puller,
    task: Puller,
    run_asked: Asked,
    task_asked: Asked,
    run_waiting: VecDeque<Waiting>,
    task_waiting: VecDeque<Waiting>,
    news: News,
}

/// Which submissions are new to everybody.
///
/// A server that crashed may have forgotten its latest deliveries and hands them out once more as if for the first
/// time. What was stored before this node last met the server is therefore looked up before it is run; only what is
/// stored later is taken for new on the server's word.
#[derive(Default)]
struct News {
    since: Option<Timestamp>,
    restarts: Option<u64>,
}

/// Which queue something came from.
#[derive(Clone, Copy)]
enum From {
    Run,
    Task,
}

impl Intake {
    /// Opens both queues of a skill; their consumers must exist.
    pub(crate) async fn open(
        core: Arc<Core>,
        served: Arc<Served>,
        slots: Arc<Slots>,
        supervisor: &Supervisor,
        budget: ByteBudget,
        metrics: Metrics,
    ) -> Result<Self, PullError> {
        let bus: &Bus = &core.bus;
        let consumer = Names::skill_consumer(&served.terms.skill);
        let run = bus.puller(&bus.names().log, &consumer).await?;
        let task = bus.puller(&bus.names().inbox, &consumer).await?;
        Ok(Self {
            core,
            served,
            slots,
            attempts: supervisor.many("attempt"),
            metrics,
            run_asked: budget.account(),
            task_asked: budget.account(),
            budget,
            run,
            task,
            run_waiting: VecDeque::new(),
            task_waiting: VecDeque::new(),
            news: News::default(),
        })
    }

    /// Pulls and starts until `stop`; what waits then is given back.
    pub(crate) async fn serve(mut self, stop: CancellationToken) -> Result<(), Disconnected> {
        let slots = Arc::clone(&self.slots);
        loop {
            self.receive_ready()?;
            self.start_waiting();
            self.ask().await;
            let oldest = self.oldest();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                pulled = self.run.next() => self.receive(From::Run, pulled)?,
                pulled = self.task.next() => self.receive(From::Task, pulled)?,
                () = slots.freed.notified() => {}
                () = sleep_until(oldest.unwrap_or_else(Instant::now)), if oldest.is_some() => {
                    self.give_back_old().await;
                }
            }
        }
        self.give_back(Instant::now()).await;
        let (run, task) = tokio::join!(self.run.close(), self.task.close());
        for delivery in run.into_iter().chain(task) {
            self.core.bus.nak(&delivery.ack_subject, Duration::ZERO).await;
        }
        Ok(())
    }

    /// Takes what has arrived: one look at all that is awaited serves many deliveries then.
    fn receive_ready(&mut self) -> Result<(), Disconnected> {
        while let Some(pulled) = self.run.next_ready() {
            self.receive(From::Run, pulled)?;
        }
        while let Some(pulled) = self.task.next_ready() {
            self.receive(From::Task, pulled)?;
        }
        Ok(())
    }

    fn receive(&mut self, from: From, pulled: Pulled) -> Result<(), Disconnected> {
        match pulled {
            Pulled::Fewer => Ok(()),
            Pulled::Closed => Err(Disconnected),
            Pulled::Delivery(delivery) => {
                self.metrics.node.pulled_messages.inc();
                let (queue, since) = match from {
                    From::Run => (&mut self.run_waiting, self.run.heard_at()),
                    From::Task => (&mut self.task_waiting, self.task.heard_at()),
                };
                let hand = self.core.hand.take(delivery.ack_subject.clone(), since);
                let load = self.budget.take(delivery.payload.len());
                queue.push_back(Waiting { delivery, hand, load, since });
                Ok(())
            }
        }
    }

    fn start_waiting(&mut self) {
        while self.slots.free() > 0 {
            let next = self.run_waiting.pop_front().or_else(|| self.task_waiting.pop_front());
            let Some(Waiting { delivery, hand, load, .. }) = next else { return };
            let slot = self.slots.take();
            let stored_at = delivery.position.stored_at;
            let known = match self.news.since {
                Some(since) if stored_at > since => execute::Known::New,
                Some(_) | None => execute::Known::PerhapsOld,
            };
            let (core, served) = (Arc::clone(&self.core), Arc::clone(&self.served));
            // Boxed, because a future is moved several times before it runs, and this one is large.
            self.attempts.spawn(Box::pin(async move {
                execute::deliver(core, served, *delivery, known, hand).await;
                drop((slot, load));
            }));
        }
    }

    /// Asks each queue for what is free, once that is worth a message: a queue that still owes at least half of
    /// it is left alone. A queue may always ask for one message, so that a skill with a full queue cannot keep
    /// another from the byte budget for good.
    async fn ask(&mut self) {
        self.learn_what_is_new().await;
        let waiting = self.run_waiting.len() + self.task_waiting.len();
        let running = self.slots.running();
        let free = self.slots.max.saturating_sub(running + waiting);
        let queues = [(&mut self.run, &mut self.run_asked), (&mut self.task, &mut self.task_asked)];
        for (queue, asked) in queues {
            let outstanding = queue.outstanding();
            asked.set(outstanding);
            if free > 0 && outstanding < free.div_ceil(2) {
                let affordable = self.budget.messages().max(usize::from(outstanding == 0));
                self.metrics.node.pulls.inc();
                queue.ask((free - outstanding).min(affordable)).await;
                asked.set(queue.outstanding());
            }
        }
        let least = self.run.outstanding().min(self.task.outstanding());
        let limit = if waiting > 0 { 0 } else { 2 * least };
        self.slots.wake_below(self.slots.max.saturating_sub(limit), running);
    }

    async fn learn_what_is_new(&mut self) {
        let restarts = Some(self.task.restarts());
        if self.news.restarts == restarts {
            return;
        }
        self.news.since = None;
        let bus = &self.core.bus;
        let consumer = Names::skill_consumer(&self.served.terms.skill);
        let asking = bus.consumer(&bus.names().inbox, &consumer);
        if let Ok(Ok(facts)) = timeout(LEARN_LIMIT, asking).await {
            self.news = News { since: Some(facts.at), restarts };
        }
    }

    fn oldest(&self) -> Option<Instant> {
        let first = |queue: &VecDeque<Waiting>| queue.front().map(|waiting| waiting.since);
        [first(&self.run_waiting), first(&self.task_waiting)]
            .into_iter()
            .flatten()
            .min()
            .map(|since| since + WAIT_MAX)
    }

    async fn give_back_old(&mut self) {
        if let Some(limit) = Instant::now().checked_sub(WAIT_MAX) {
            self.give_back(limit).await;
        }
    }

    /// Gives back what has waited since before `limit`.
    async fn give_back(&mut self, limit: Instant) {
        for queue in [&mut self.run_waiting, &mut self.task_waiting] {
            while queue.front().is_some_and(|waiting| waiting.since <= limit) {
                if let Some(waiting) = queue.pop_front() {
                    waiting.hand.nak(Duration::ZERO).await;
                }
            }
        }
    }
}

/// The connection to the bus is closed for good.
#[derive(Debug, thiserror::Error)]
#[error("the connection to the bus is closed")]
pub(crate) struct Disconnected;
