//! Lets the ends of many children of one parent share one wake.
//!
//! A wake by a completed child says no more than "look", so one that is stored behind several ends stands for all of
//! them: a thousand children cost some tens of wakes, and a lone child's leaves at once. The wake of a child that came to
//! nothing names it to a parent that may not be able to do without it, and goes by itself.

use protocol::consequence::Publication;
use protocol::header::{self, Headers};
use protocol::log::TaskLog;
use protocol::subject::{Subject, Subjects};
use protocol::task::TaskState;
use runtime::bus::Outgoing;

use crate::gather::{Gather, Turn};
use crate::ledger::{AppendError, Ledger};

/// The wakes of parents that are on their way.
#[derive(Clone, Default)]
pub struct Wakes(Gather<(), Result<u64, AppendError>>);

impl Wakes {
    /// Stores what follows from a log's last entry. The wake that follows from a child's end may be another child's,
    /// stored after this was called.
    ///
    /// # Errors
    /// As [`Ledger::append`].
    pub async fn store(
        &self,
        ledger: &dyn Ledger,
        subjects: &Subjects,
        log: &TaskLog,
        publication: Publication,
    ) -> Result<(), AppendError> {
        let Publication { subject, headers, payload } = publication;
        let message = Outgoing::new(subject, headers, payload);
        let is_wake = || matches!(subjects.parse(&message.subject), Some(Subject::Wake(..)));
        if log.state != TaskState::Completed || !is_wake() {
            return ledger.append(vec![message]).await.map(drop);
        }
        let lead = match self.0.turn(&message.subject, ()).await {
            None => return ledger.append(vec![message]).await.map(drop),
            Some(Turn::Done(stored)) => return stored.map(drop),
            Some(Turn::Lead(lead)) => lead,
        };
        let wake = if lead.company().len() == 0 { message } else { shared(message) };
        let stored = ledger.append(vec![wake]).await;
        lead.finish(|()| stored.clone());
        stored.map(drop)
    }
}

/// A wake that stands for several ends. Under the first one's own id the stream would drop it if an earlier delivery of
/// that child had stored a wake before the others ended. To its reader the id names no child: nobody needs to ask about
/// completed ones in particular.
fn shared(wake: Outgoing) -> Outgoing {
    let number: u64 = rand::random();
    let renamed = wake.headers.iter().map(|(name, value)| {
        let is_id = name == header::MSG_ID;
        let value = if is_id { format!("{value}-{number:016x}") } else { value.to_owned() };
        (name.to_owned(), value)
    });
    Outgoing { headers: renamed.collect::<Headers>(), ..wake }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::future::BoxFuture;
    use protocol::entry::{Entry, Event, Origin};
    use protocol::id::{NodeName, Owner, Skill, TaskId};
    use protocol::submission::{ParentRef, Queue, Source};
    use protocol::{Timestamp, consequence};
    use runtime::bus::StoredMessage;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::ledger::MemoryLedger;

    /// A ledger whose answers are held back, one permit each.
    struct Slow(MemoryLedger, Semaphore);

    impl Ledger for Slow {
        fn append(&self, messages: Vec<Outgoing>) -> BoxFuture<'_, Result<u64, AppendError>> {
            Box::pin(async {
                let stored = self.0.append(messages).await;
                self.1.acquire().await.expect("open").forget();
                stored
            })
        }
        fn read<'a>(
            &'a self,
            subject: &'a str,
        ) -> BoxFuture<'a, Result<Vec<StoredMessage>, AppendError>> {
            self.0.read(subject)
        }
        fn input(
            &self,
            source: Source,
        ) -> BoxFuture<'_, Result<Option<StoredMessage>, AppendError>> {
            self.0.input(source)
        }
        fn last_of<'a>(
            &'a self,
            subjects: &'a [String],
        ) -> BoxFuture<'a, Result<Vec<StoredMessage>, AppendError>> {
            self.0.last_of(subjects)
        }
        fn put_object(&self, bytes: Bytes) -> BoxFuture<'_, Result<String, AppendError>> {
            self.0.put_object(bytes)
        }
        fn get_object<'a>(
            &'a self,
            name: &'a str,
        ) -> BoxFuture<'a, Result<Option<Bytes>, AppendError>> {
            self.0.get_object(name)
        }
    }

    /// What follows from the end of a child.
    fn end_of(subjects: &Subjects, child: u64, parent: u64) -> (TaskLog, Publication) {
        let task = TaskId::from_sequence(child);
        let skill = Skill::parse("s").expect("a skill");
        let source = Source { queue: Queue::Run, sequence: child };
        let parent = Some(ParentRef { task: TaskId::from_sequence(parent) });
        let origin = Origin { parent, ..Origin::bare(skill, source, Timestamp::default()) };
        let entry = Entry {
            generation: 1,
            at: Timestamp::default(),
            by: NodeName::parse("n").expect("a name"),
            attempt: 1,
            origin: Some(Box::new(origin)),
            agent: None,
            spent: None,
            raised: None,
            driver: None,
            event: Event::Completed { output: Vec::new() },
        };
        let log = TaskLog::fold([(1, entry)]).expect("a log");
        let wake = consequence::of(subjects, &task, &log).pop().expect("a wake");
        (log, wake)
    }

    #[tokio::test]
    async fn ends_behind_a_wake_on_its_way_share_the_next_one() {
        let (wakes, subjects) = (Wakes::default(), Subjects::default());
        let ledger = Slow(MemoryLedger::default(), Semaphore::new(0));
        let ends: Vec<_> = [(1, 100), (2, 100), (3, 100), (4, 100), (5, 200)]
            .map(|(child, parent)| end_of(&subjects, child, parent))
            .into();
        let stores = ends.into_iter().map(|(log, wake)| {
            let (wakes, ledger, subjects) = (&wakes, &ledger, &subjects);
            async move { wakes.store(ledger, subjects, &log, wake).await }
        });
        let answers = async {
            let stored = || ledger.0.messages().len();
            tokio::task::yield_now().await;
            assert_eq!(stored(), 2, "the first of each parent has left, nobody else");
            ledger.1.add_permits(3);
        };
        let (stored, ()) = tokio::join!(biased; futures_util::future::join_all(stores), answers);
        assert!(stored.iter().all(Result::is_ok));
        let messages = ledger.0.messages();
        let of = |parent: &str| {
            let ids = messages.iter().filter(|one| one.subject.ends_with(parent));
            ids.filter_map(|one| one.headers.get(header::MSG_ID)).collect::<Vec<_>>()
        };
        assert_eq!(of(".s200").len(), 1);
        let [first, second] = of(".s100")[..] else { panic!("{:?}", of(".s100")) };
        assert!(first.ends_with("-s1"), "{first}");
        assert!(
            second.contains("-s2-") && second.starts_with("end-"),
            "an id of its own, for {second} may have been stored before the others ended"
        );
        let named = consequence::ended_child(&Owner::default(), second).expect("the end of some");
        assert!((1..=5).all(|child| named != TaskId::from_sequence(child)), "{named}");
    }
}
