//! A hold on the world: how whoever acts in it waits, and sends messages that may be lost.
//!
//! Whoever acts does so in turns, and between any two turns anything can happen to it: its process is killed, is
//! frozen for longer than a lease, or is slow.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use runtime::bus::Outgoing;

use super::bus::Fenced;
use super::world::World;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Stored(u64),
    Fenced,
    NoAnswer,
}

/// A hold on the world.
#[derive(Clone)]
pub(super) struct Hold(Arc<Mutex<World>>);

impl Hold {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// Does something to the world, in one piece.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets the others go on for a moment.
    pub(super) fn turn(&self) -> Until {
        let at = self.with(|world| {
            let slow = world.mishap(world.faults.slow);
            world.now + if slow { world.dice.ms(1, 8_000) } else { world.dice.ms(0, 3) }
        });
        Until { hold: self.clone(), at, called: false }
    }

    /// Waits.
    pub(super) fn sleep(&self, wait: Duration) -> Until {
        let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let at = self.with(|world| world.now + wait);
        Until { hold: self.clone(), at, called: false }
    }

    /// Sends messages to the server and waits for its answer, either of which may be lost.
    pub(super) async fn publish(&self, messages: &[Outgoing]) -> Sent {
        self.turn().await;
        let stored = self.with(|world| {
            if world.mishap(world.faults.lost) {
                world.note(|| "a publish is lost".to_owned());
                return None;
            }
            Some(world.store(messages))
        });
        self.turn().await;
        let silent = self.with(|world| {
            let lost = world.mishap(world.faults.lost);
            if lost {
                world.note(|| "an answer is lost".to_owned());
            }
            lost
        });
        match stored {
            None => Sent::NoAnswer,
            Some(_) if silent => Sent::NoAnswer,
            Some(Ok(sequence)) => Sent::Stored(sequence),
            Some(Err(Fenced)) => Sent::Fenced,
        }
    }
}

/// Ready once it is time.
pub(super) struct Until {
    hold: Hold,
    at: i64,
    called: bool,
}

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let (at, called) = (self.at, self.called);
        let ready = self.hold.with(|world| {
            if world.now >= at && called {
                return true;
            }
            if !called {
                world.wake(world.current, at);
            }
            false
        });
        self.called = true;
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }
}
