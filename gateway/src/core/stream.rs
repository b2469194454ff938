//! Streams of events: `SubscribeToTask`, and what a streamed send goes on with.
//!
//! A stream is pulled by the door that writes it. A client that takes its events slowly pulls slowly, and what comes in
//! the meantime is read from the log later.

use async_stream::try_stream;
use protocol::task::Task;

use crate::a2a::error::Error;
use crate::a2a::request::SubscribeToTaskRequest;
use crate::a2a::response::StreamResponse;
use crate::core::call::{Call, Operation};
use crate::core::events::{Cursor, Narrator};
use crate::core::follower::Follower;
use crate::core::{Core, EventStream, StreamEvent};

impl Core {
    /// `SubscribeToTask`, from `after` on if the client gives the cursor of the last event that it saw.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn subscribe(
        &self,
        call: &Call,
        request: SubscribeToTaskRequest,
        after: Option<&str>,
    ) -> Result<EventStream, Error> {
        call.about(&request.id);
        call.may(Operation::Read, None)?;
        let owner = call.owner()?;
        let after = after.map(cursor).transpose()?;
        let (standing, narrator, mut follower) = self.find(call, &owner, &request.id).await?;
        let Some(after) = after else {
            if standing.log.is_ended() {
                let (id, state) = (&request.id, standing.log.state.word());
                let what = format!("task {id} has already ended: {state}; GetTask shows it");
                return Err(Error::UnsupportedOperation(what));
            }
            follower.skip_to(standing.log.generation, standing.log.last_sequence);
            let events = behind_snapshot(standing.view(None), narrator, follower);
            return Ok(self.files.stream(call.viewer()?, events));
        };
        if after.generation > standing.log.generation {
            let what = format!("task {} is at generation {}", request.id, standing.log.generation);
            return Err(Error::field("Last-Event-ID", what));
        }
        follower.look_first();
        let narrator = Narrator::new(&standing.task, standing.context());
        Ok(self.files.stream(call.viewer()?, behind(after, narrator, follower)))
    }
}

fn cursor(text: &str) -> Result<Cursor, Error> {
    Cursor::parse(text.trim()).ok_or_else(|| {
        Error::field("Last-Event-ID", "a cursor is <generation>.<index>, as event ids are")
    })
}

/// The task as it stands, then everything behind that.
pub(super) fn behind_snapshot(task: Task, narrator: Narrator, follower: Follower) -> EventStream {
    let after = narrator.cursor();
    let first = StreamEvent { cursor: after.to_string(), response: StreamResponse::Task(task) };
    let rest = behind(after, narrator, follower);
    Box::pin(try_stream! {
        yield first;
        for await event in rest {
            yield event?;
        }
    })
}

/// Everything behind a cursor, as the narrator tells what the follower brings.
fn behind(after: Cursor, mut narrator: Narrator, mut follower: Follower) -> EventStream {
    Box::pin(try_stream! {
        while let Some((_, entry)) = follower.next().await? {
            let generation = entry.generation;
            for (event, index) in narrator.tell(&entry).into_iter().zip(0..) {
                if (Cursor { generation, index }) > after {
                    yield event;
                }
            }
        }
    })
}
