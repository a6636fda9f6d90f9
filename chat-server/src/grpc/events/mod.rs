//! What happens, as it happens.

mod subscription;

use std::sync::Arc;
use std::time::Duration;

use chat_client::Reason;
use chat_client::api;
use chat_client::api::event_service_server::EventService;
use chat_core::AccountId;
use chat_replication::types::Position;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use self::subscription::{Begin, Stream};
use super::Services;
use crate::app::Context;
use crate::app::error::Failure;
use crate::app::node::Node;
use crate::app::{Caller, Place, find, make_sure, read};
use crate::grpc;
use crate::grpc::seen;
use crate::live::hub::Subscription;
use crate::live::place::ResumePoint;

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
        let node = &self.node;
        let context = grpc::context(&request);
        let request = request.into_inner();
        read(node, seen(&context, request.read_token.as_ref())?, &context).await?;
        let caller = Caller::counted(node, &context).await?;
        let most = node.limits().subscriptions_per_account;
        let Some(place) = node.subscriptions.take(caller.account(), most) else {
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
        let (begin, subscription) =
            subscribe(node, &context, caller.account(), &request.resume_token).await?;
        let (out, stream) = mpsc::channel(BUFFER);
        let subscriber = Stream::new(Arc::clone(node), (caller, place), subscription, out);
        // A session that was closed before this one was listening would never hear of it.
        Caller::of(node, &context).await?;
        tokio::spawn(subscriber.run(begin));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Begins to listen for an account, behind a resume token if there is one.
async fn subscribe(
    node: &Node,
    context: &Context,
    account: AccountId,
    token: &[u8],
) -> Result<(Begin, Subscription), Failure> {
    let most = node.limits().events_per_subscriber;
    let anew = |begin| Ok((begin, node.hub.subscribe(account, most)));
    if token.is_empty() {
        return anew(Begin::Inbox);
    }
    let Some(point) = ResumePoint::read(token, node.cluster) else {
        return anew(Begin::Reset);
    };
    let until = context.patience();
    loop {
        // What is found out about the point's place holds for this history alone.
        let history = node.hub.history();
        if place_of(node, context, point.position, until).await? == Place::Lost {
            return anew(Begin::Reset);
        }
        let mut published = node.hub.applied();
        if let Some(subscription) = node.hub.resume(account, (point, history), most) {
            return Ok((Begin::Behind, subscription));
        }
        // The state shows the point, so its events are told in a moment.
        match timeout_at(until, published.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Failure::ShuttingDown),
            Err(_) => return Err(Failure::StaleRead),
        }
    }
}

/// What became of the place of a resume token.
async fn place_of(
    node: &Node,
    context: &Context,
    seen: Position,
    until: Instant,
) -> Result<Place, Failure> {
    match find(node, seen, until).await {
        // If this replica lags behind, it may come yet. If it shows all that its leader has acknowledged, the branch of
        // history that the place was on is gone, or is not to be had at this side of a partition.
        Err(Failure::StaleRead) => {
            make_sure(node, context).await?;
            match find(node, seen, until).await {
                Err(Failure::StaleRead) => Ok(Place::Lost),
                found => found,
            }
        }
        found => found,
    }
}
