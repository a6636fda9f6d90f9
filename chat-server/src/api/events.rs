//! What happens, as it happens.

use std::sync::Arc;
use std::time::Duration;

use chat_client::Reason;
use chat_client::api;
use chat_client::api::event_service_server::EventService;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Services;
use crate::call::{Caller, Context, Place, find, read};
use crate::error::Failure;
use crate::hub::{Begin, Stream};
use crate::node::Node;
use crate::wire::ResumePoint;

/// Responses on their way to one connection; more wait among the subscriber's events.
const BUFFER: usize = 16;
/// A stream whose reader has gone without a word is noticed within this time.
const RETRY_SUBSCRIPTION: Duration = Duration::from_secs(15);

#[tonic::async_trait]
impl EventService for Services {
    type SubscribeStream = ReceiverStream<Result<api::SubscribeResponse, Status>>;

    async fn subscribe(
        &self,
        request: Request<api::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let context = Context::of(&request);
        read(&self.node, &context, None).await?;
        let caller = Caller::counted(&self.node, &context).await?;
        let begin = begin(&self.node, &context, &request.get_ref().resume_token).await?;
        let from = match begin {
            Begin::Behind(point) => Some(point),
            Begin::Inbox | Begin::Reset => None,
        };
        let most = self.node.limits().subscriptions_per_account;
        let Some(place) = self.node.subscriptions.take(caller.account(), most) else {
            let problem = format!(
                "this account has {most} subscriptions, as many as it may have: end one of them"
            );
            return Err(Failure::Limited {
                reason: Reason::TooManySubscriptions,
                problem,
                wait: RETRY_SUBSCRIPTION,
            }
            .into());
        };
        let (out, stream) = mpsc::channel(BUFFER);
        let subscriber = Stream::new(Arc::clone(&self.node), (caller, place), from, out);
        // A session that was closed before this one was listening would never hear of it.
        Caller::of(&self.node, &context).await?;
        tokio::spawn(subscriber.run(begin));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Where a stream with this token begins.
async fn begin(node: &Node, context: &Context, token: &[u8]) -> Result<Begin, Failure> {
    if token.is_empty() {
        return Ok(Begin::Inbox);
    }
    let Some(point) = ResumePoint::read(token, node.cluster) else {
        return Ok(Begin::Reset);
    };
    match find(node, point.position, context.patience()).await {
        Ok(Place::Held) => Ok(Begin::Behind(point)),
        Ok(Place::Lost) => Ok(Begin::Reset),
        // Everything there is has been applied, and the event is not among it: its branch of history is gone.
        Err(Failure::StaleRead) if node.handle.status().commit <= node.state.applied().index => {
            Ok(Begin::Reset)
        }
        Err(failure) => Err(failure),
    }
}
