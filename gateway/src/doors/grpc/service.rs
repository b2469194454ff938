//! The eleven operations: each reads its request, asks the core, and writes the answer.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use serde_json::Value;
use tonic::{Request, Response, Status};

use super::pb::a2a_service_server::A2aService;
use super::read::{Reader, read};
use super::status::status;
use super::{card, pb};
use crate::a2a::error::Error;
use crate::a2a::request::PushConfigRequest;
use crate::a2a::response::StreamResponse;
use crate::cards::extensions::RESUME;
use crate::core::call::Call;
use crate::core::{Core, EventStream, StreamEvent};

/// Where a client that resumes says what it saw last, as HTTP's event streams do.
const LAST_EVENT: &str = "last-event-id";
/// Where an event says its place, for clients that named the extension.
const CURSOR: &str = "weft/cursor";

/// The operations.
pub(super) struct Service {
    pub(super) core: Arc<Core>,
}

type Answer<T> = Result<Response<T>, Status>;
type Events = Pin<Box<dyn Stream<Item = Result<pb::StreamResponse, Status>> + Send>>;

/// The call that the entrance has made of the request.
fn call<W>(request: &Request<W>) -> Result<Call, Error> {
    let call = request.extensions().get::<Call>().cloned();
    call.ok_or_else(|| Error::Internal("the request has not come in by the entrance".to_owned()))
}

/// The call and the request that was read off the wire. The tenant that the request names is the call's: the binding's
/// addresses have no room for one.
fn asked<W, T>(
    request: Request<W>,
    tenant: fn(&W) -> &str,
    reading: fn(&mut Reader, W) -> T,
) -> Result<(Call, T), Status> {
    let mut call = call(&request).map_err(|error| status(&error))?;
    let wire = request.into_inner();
    if call.tenant.is_none() && !tenant(&wire).is_empty() {
        call.tenant = Some(tenant(&wire).to_owned());
    }
    let read = read(wire, reading).map_err(|error| status(&error))?;
    Ok((call, read))
}

fn answer<T, W: From<T>>(result: Result<T, Error>) -> Answer<W> {
    result.map(|answer| Response::new(answer.into())).map_err(|error| status(&error))
}

/// The events as an answer. It ends with the task, with an error, or with the gateway.
fn events(core: &Core, call: &Call, followed: Result<EventStream, Error>) -> Answer<Events> {
    let with_cursor = call.speaks(RESUME);
    let closing = core.jobs.shutdown_token();
    let mut followed = followed.map_err(|error| status(&error))?;
    let events = async_stream::stream! {
        loop {
            let next = tokio::select! {
                biased;
                next = followed.next() => next,
                () = closing.cancelled() => Some(Err(stopping())),
            };
            match next {
                Some(Ok(event)) if with_cursor => yield Ok(marked(event).into()),
                Some(Ok(event)) => yield Ok(event.response.into()),
                Some(Err(error)) => {
                    yield Err(status(&error));
                    return;
                }
                None => return,
            }
        }
    };
    Ok(Response::new(Box::pin(events)))
}

fn stopping() -> Error {
    Error::Unavailable("this gateway is stopping; subscribe again".to_owned())
}

/// The event with its cursor among its metadata.
fn marked(event: StreamEvent) -> StreamResponse {
    let StreamEvent { cursor, mut response } = event;
    let metadata = match &mut response {
        StreamResponse::Task(task) => &mut task.metadata,
        StreamResponse::Message(message) => &mut message.metadata,
        StreamResponse::StatusUpdate(update) => &mut update.metadata,
        StreamResponse::ArtifactUpdate(update) => &mut update.metadata,
    };
    metadata.get_or_insert_default().insert(CURSOR.to_owned(), Value::String(cursor));
    response
}

#[tonic::async_trait]
impl A2aService for Service {
    async fn send_message(
        &self,
        request: Request<pb::SendMessageRequest>,
    ) -> Answer<pb::SendMessageResponse> {
        let (call, request) = asked(request, |wire| &wire.tenant, Reader::send)?;
        answer(self.core.send(&call, request).await)
    }

    type SendStreamingMessageStream = Events;

    async fn send_streaming_message(
        &self,
        request: Request<pb::SendMessageRequest>,
    ) -> Answer<Events> {
        let (call, request) = asked(request, |wire| &wire.tenant, Reader::send)?;
        events(&self.core, &call, self.core.stream(&call, request).await)
    }

    async fn get_task(&self, request: Request<pb::GetTaskRequest>) -> Answer<pb::Task> {
        let (call, request) = asked(request, |wire| &wire.tenant, Reader::get)?;
        answer(self.core.get(&call, request).await)
    }

    async fn list_tasks(
        &self,
        request: Request<pb::ListTasksRequest>,
    ) -> Answer<pb::ListTasksResponse> {
        let (call, request) = asked(request, |wire| &wire.tenant, Reader::list)?;
        answer(self.core.list(&call, request).await)
    }

    async fn cancel_task(&self, request: Request<pb::CancelTaskRequest>) -> Answer<pb::Task> {
        let (call, request) = asked(request, |wire| &wire.tenant, Reader::cancel)?;
        answer(self.core.cancel(&call, request).await)
    }

    type SubscribeToTaskStream = Events;

    async fn subscribe_to_task(
        &self,
        request: Request<pb::SubscribeToTaskRequest>,
    ) -> Answer<Events> {
        let last = request.metadata().get(LAST_EVENT).and_then(|value| value.to_str().ok());
        let last = last.map(str::to_owned);
        let (call, request) = asked(request, |wire| &wire.tenant, Reader::subscribe)?;
        let after = last.as_deref().filter(|_| call.speaks(RESUME));
        events(&self.core, &call, self.core.subscribe(&call, request, after).await)
    }

    async fn create_task_push_notification_config(
        &self,
        request: Request<pb::TaskPushNotificationConfig>,
    ) -> Answer<pb::TaskPushNotificationConfig> {
        let (call, request) = asked(request, |wire| &wire.tenant, Reader::create_push)?;
        answer(self.core.create_push(&call, request).await)
    }

    async fn get_task_push_notification_config(
        &self,
        request: Request<pb::GetTaskPushNotificationConfigRequest>,
    ) -> Answer<pb::TaskPushNotificationConfig> {
        let (call, request): (_, PushConfigRequest) =
            asked(request, |wire| &wire.tenant, Reader::get_push)?;
        answer(self.core.get_push(&call, request).await)
    }

    async fn list_task_push_notification_configs(
        &self,
        request: Request<pb::ListTaskPushNotificationConfigsRequest>,
    ) -> Answer<pb::ListTaskPushNotificationConfigsResponse> {
        let (call, request) = asked(request, |wire| &wire.tenant, Reader::list_push)?;
        answer(self.core.list_push(&call, request).await)
    }

    async fn get_extended_agent_card(
        &self,
        request: Request<pb::GetExtendedAgentCardRequest>,
    ) -> Answer<pb::AgentCard> {
        let (call, request) = asked(request, |wire| &wire.tenant, Reader::extended_card)?;
        let shown = self.core.extended_card(&call, request).await;
        let shown = shown.and_then(|shown| {
            serde_json::to_value(shown).map_err(|error| Error::Internal(error.to_string()))
        });
        answer(shown.map(|json| card::card(&json)))
    }

    async fn delete_task_push_notification_config(
        &self,
        request: Request<pb::DeleteTaskPushNotificationConfigRequest>,
    ) -> Answer<()> {
        let (call, request) = asked(request, |wire| &wire.tenant, Reader::delete_push)?;
        answer(self.core.delete_push(&call, request).await)
    }
}
