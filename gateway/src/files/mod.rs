//! Files beside messages: what is over the inline limit lies in the object store and has an address at the doors.
//!
//! Inside, a part refers to an object by the mesh's own scheme; no client ever sees that, nor may one use it. Whatever
//! leaves the core has addresses in its place, and whatever comes in has references again: see [`link`].

pub mod link;

use std::sync::Arc;

use async_stream::try_stream;
use bytes::Bytes;
use futures_util::StreamExt as _;
use protocol::Owner;
use protocol::message::{Content, Part};
use protocol::task::{Artifact, Task};
use runtime::bus::{Bus, StoreError};
use tokio::sync::OnceCell;

use self::link::Links;
use crate::a2a::error::{Error, Violation};
use crate::a2a::response::StreamResponse;
use crate::cards::base::Base;
use crate::core::call::Call;
use crate::core::{EventStream, StreamEvent};

/// The key of the secret in the bucket of webhooks: two tokens, where webhooks have three.
const SECRET: &str = "gateway.file-key";
const SECRET_BYTES: usize = 32;

/// Makes and reads addresses of files. Cheap to clone.
#[derive(Clone)]
pub struct Files(Arc<Inner>);

struct Inner {
    bus: Bus,
    base: Base,
    links: OnceCell<Links>,
}

/// For whom something is shown, and where they find files.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// Whose files they see.
    pub owner: Owner,
    /// The address of the doors as they know it; the usual one without it.
    pub base: Option<Base>,
}

impl Files {
    /// Files of this mesh. `base` is the address of the doors where a client's own is not known.
    #[must_use]
    pub fn new(bus: Bus, base: Base) -> Self {
        Self(Arc::new(Inner { bus, base, links: OnceCell::new() }))
    }

    /// The addresses of files. All gateways of a mesh sign them alike.
    ///
    /// # Errors
    /// When the secret can neither be read nor made.
    pub async fn links(&self) -> Result<&Links, Error> {
        let open = || async { secret(&self.0.bus).await.map(|secret| Links::new(&secret)) };
        self.0.links.get_or_try_init(open).await
    }

    /// The address of the doors as a viewer knows it.
    #[must_use]
    pub fn base<'a>(&'a self, viewer: &'a Viewer) -> &'a str {
        viewer.base.as_ref().unwrap_or(&self.0.base).as_str()
    }

    /// A task as clients may see it.
    ///
    /// # Errors
    /// When it refers to files and their addresses cannot be made.
    pub async fn task(&self, viewer: &Viewer, mut task: Task) -> Result<Task, Error> {
        if parts_of_task(&mut task).any(|part| part.object().is_some()) {
            let links = self.links().await?;
            let base = self.base(viewer);
            parts_of_task(&mut task).for_each(|part| links.let_out(base, &viewer.owner, part));
        }
        Ok(task)
    }

    /// An event as clients may see it.
    ///
    /// # Errors
    /// As [`Files::task`].
    pub async fn event(
        &self,
        viewer: &Viewer,
        mut event: StreamResponse,
    ) -> Result<StreamResponse, Error> {
        if parts_of_event(&mut event).any(|part| part.object().is_some()) {
            let links = self.links().await?;
            let base = self.base(viewer);
            parts_of_event(&mut event).for_each(|part| links.let_out(base, &viewer.owner, part));
        }
        Ok(event)
    }

    /// Events as clients may see them.
    #[must_use]
    pub fn stream(&self, viewer: Viewer, mut events: EventStream) -> EventStream {
        let files = self.clone();
        Box::pin(try_stream! {
            while let Some(event) = events.next().await {
                let StreamEvent { cursor, response } = event?;
                yield StreamEvent { cursor, response: files.event(&viewer, response).await? };
            }
        })
    }

    /// Lets the parts of a client's message in: addresses of files become references again, and the files stay for
    /// another while, in which the message has to be stored.
    ///
    /// # Errors
    /// When one refers to a file that the caller was never shown, or that is gone; when the store does not answer.
    pub async fn let_in(&self, owner: &Owner, parts: &mut [Part]) -> Result<(), Error> {
        if !parts.iter().any(|part| matches!(part.content, Content::Url(_))) {
            return Ok(());
        }
        let links = self.links().await?;
        let mut wrong = Vec::new();
        for (part, at) in parts.iter_mut().zip(0..) {
            let description = match links.let_in(owner, part) {
                Err(error) => error.to_string(),
                Ok(()) if self.is_gone(part).await? => "names a file that is gone".to_owned(),
                Ok(()) => continue,
            };
            wrong.push(Violation { field: format!("message.parts[{at}].url"), description });
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::InvalidParams(wrong)) }
    }

    /// Whether a part refers to a file that is not there any more; one that is stays for another while.
    async fn is_gone(&self, part: &Part) -> Result<bool, Error> {
        let Some(object) = part.object() else { return Ok(false) };
        let renewed = self.0.bus.renew_file(object).await;
        renewed.map(|found| found.is_none()).map_err(|error| Error::Unavailable(error.to_string()))
    }
}

impl Call {
    /// Whoever asks, as somebody who is shown something.
    ///
    /// # Errors
    /// As [`Call::owner`].
    pub fn viewer(&self) -> Result<Viewer, Error> {
        Ok(Viewer { owner: self.owner()?, base: self.base.clone() })
    }
}

fn parts_of_task(task: &mut Task) -> impl Iterator<Item = &mut Part> {
    let status = task.status.message.as_mut().into_iter().flat_map(|message| &mut message.parts);
    let artifacts =
        task.artifacts.iter_mut().flat_map(|artifact: &mut Artifact| &mut artifact.parts);
    let history = task.history.iter_mut().flat_map(|message| &mut message.parts);
    status.chain(artifacts).chain(history)
}

fn parts_of_event(event: &mut StreamResponse) -> Box<dyn Iterator<Item = &mut Part> + Send + '_> {
    match event {
        StreamResponse::Task(task) => Box::new(parts_of_task(task)),
        StreamResponse::Message(message) => Box::new(message.parts.iter_mut()),
        StreamResponse::StatusUpdate(update) => {
            Box::new(update.status.message.iter_mut().flat_map(|message| &mut message.parts))
        }
        StreamResponse::ArtifactUpdate(update) => Box::new(update.artifact.parts.iter_mut()),
    }
}

/// The secret that all gateways of the mesh share: whoever needs it first makes it.
async fn secret(bus: &Bus) -> Result<Bytes, Error> {
    let bucket = &bus.names().push;
    let unavailable = |reason: String| Error::Unavailable(reason);
    loop {
        let found =
            bus.key(bucket, SECRET).await.map_err(|error| unavailable(error.to_string()))?;
        if let Some(found) = found {
            return Ok(found.value);
        }
        let made: [u8; SECRET_BYTES] = rand::random();
        match bus.set_key(bucket, SECRET, Bytes::copy_from_slice(&made), 0).await {
            Ok(_) => return Ok(Bytes::copy_from_slice(&made)),
            // Another gateway was faster.
            Err(StoreError::Fenced) => {}
            Err(error) => return Err(unavailable(error.to_string())),
        }
    }
}
