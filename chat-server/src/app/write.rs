//! Calls that change the state, carried out by the leader, whichever replica is asked.

use chat_client::{ERROR_DOMAIN, Reason};
use chat_replication::handle::LeaderHint;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::metadata::{KeyAndValueRef, MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Extensions, Request, Response, Status};
use tonic_types::StatusExt;

use super::barrier::make_sure;
use super::caller::Caller;
use super::wait::{PAUSE, wait_until_serving};
use crate::app::context::{Context, NO_PROXY, Proxying};
use crate::app::error::Failure;
use crate::app::node::Node;
use crate::engine::leadership::Destination;

/// A request that changes the state. It may be carried out more than once: its request id sees to it that it takes
/// effect once.
pub(crate) trait Write: Clone + Send + Sync + 'static {
    /// The response.
    type Answer: Send;

    /// Carries the call out. Only the leader gets here; if it no longer leads, it says so.
    fn execute(
        &self,
        node: &Node,
        context: &Context,
    ) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;

    /// Sends the call to another replica.
    fn pass_on(
        request: Request<Self>,
        leader: Channel,
    ) -> impl Future<Output = Result<Response<Self::Answer>, Status>> + Send;
}

/// Carries a write out, here or at the leader. While the leadership changes it waits a little, then says what is missing.
pub(crate) async fn write<W: Write>(
    node: &Node,
    context: Context,
    request: Request<W>,
) -> Result<Response<W::Answer>, Status> {
    let (metadata, _, message) = request.into_parts();
    if Caller::count(node, &context)?.is_some() {
        context.checked.note_just_now();
    }
    let answer = write_as(node, &context, &metadata, &message).await?;
    Ok(Response::new(answer))
}

/// Carries out a write of a caller whose metadata are known already.
pub(crate) async fn write_as<W: Write>(
    node: &Node,
    context: &Context,
    metadata: &MetadataMap,
    message: &W,
) -> Result<W::Answer, Status> {
    let _under_way = node.enter()?;
    let mut leadership = node.leadership.clone();
    let mut give_up: Option<Instant> = None;
    loop {
        let destination = leadership.borrow_and_update().destination();
        let setback = match attempt(node, context, metadata, message, &destination).await {
            Ok(answer) => return Ok(answer),
            Err(Attempt::Final(failure)) => return Err(failure.into()),
            Err(Attempt::Setback(failure)) => failure,
        };
        let until = *give_up.get_or_insert_with(|| context.patience());
        node.check_open()?;
        if context.proxying == Proxying::Declined || Instant::now() >= until {
            return Err(setback.into());
        }
        tokio::select! {
            changed = leadership.changed() => {
                if changed.is_err() {
                    return Err(Failure::ShuttingDown.into());
                }
            }
            // Without a leader only word of one helps; otherwise the change may have been heard of before the attempt.
            () = sleep_until(match destination {
                Destination::Nowhere(_) => until,
                _ => until.min(Instant::now() + PAUSE),
            }) => {}
        }
    }
}

/// How an attempt failed.
enum Attempt {
    /// Another leader may carry the call out.
    Setback(Failure),
    /// Nobody would answer differently.
    Final(Failure),
}

async fn attempt<W: Write>(
    node: &Node,
    context: &Context,
    metadata: &MetadataMap,
    message: &W,
    destination: &Destination,
) -> Result<W::Answer, Attempt> {
    match destination {
        Destination::Here => execute(node, context, message).await,
        Destination::There(leader) if context.proxying == Proxying::Declined => {
            Err(Attempt::Final(Failure::NotLeader(leader.clone())))
        }
        Destination::There(leader) => {
            let request = Request::from_parts(
                forwarded(metadata, context),
                Extensions::default(),
                message.clone(),
            );
            pass_on(node, request, leader).await
        }
        Destination::Nowhere(why) => Err(Attempt::Setback(Failure::NoLeader(why.clone()))),
    }
}

/// Carries a call out here.
async fn execute<W: Write>(
    node: &Node,
    context: &Context,
    message: &W,
) -> Result<W::Answer, Attempt> {
    node.check_room().map_err(Attempt::Final)?;
    // A new leader looks names and passwords up in what the one before it has acknowledged.
    // One that hangs at this moment cannot commit anything, and whoever is told no waits until it is sure.
    let has_caught_up = node.leadership.borrow().has_caught_up();
    if !has_caught_up {
        wait_until_serving(node, context)
            .await
            .map_err(Attempt::Setback)?;
    }
    // Without a member of the view that must not be missing nothing is committed, and nobody knows for how long.
    let executed = timeout_at(context.last_moment(), message.execute(node, context));
    match executed.await {
        Ok(Ok(answer)) => Ok(answer),
        // Somebody else may lead by now, and know better.
        Ok(Err(failure)) if failure.says_no() => match make_sure(node, context).await {
            Ok(()) => Err(Attempt::Final(failure)),
            Err(unsure) => Err(Attempt::Setback(unsure)),
        },
        Ok(Err(
            failure @ (Failure::NotLeader(_) | Failure::NoLeader(_) | Failure::OutcomeUnknown),
        )) => Err(Attempt::Setback(failure)),
        Ok(Err(failure)) => Err(Attempt::Final(failure)),
        Err(_) => Err(Attempt::Final(Failure::OutcomeUnknown)),
    }
}

/// Passes a call on, and lets go of it when somebody else leads.
async fn pass_on<W: Write>(
    node: &Node,
    request: Request<W>,
    leader: &LeaderHint,
) -> Result<W::Answer, Attempt> {
    let channel = node.proxy.channel(leader).map_err(Attempt::Final)?;
    let mut leadership = node.leadership.clone();
    let there = Destination::There(leader.clone());
    let answered = tokio::select! {
        answered = W::pass_on(request, channel) => answered,
        _ = leadership.wait_for(|leadership| leadership.destination() != there) => {
            return Err(Attempt::Setback(Failure::OutcomeUnknown));
        }
    };
    match answered {
        Ok(response) => Ok(response.into_inner()),
        Err(status) if is_answer(&status) => Err(Attempt::Final(Failure::Relayed(status))),
        Err(_) => Err(Attempt::Setback(Failure::OutcomeUnknown)),
    }
}

/// Whether a status is the leader's answer, rather than word that it does not lead or is gone.
fn is_answer(status: &Status) -> bool {
    let info = status.get_details_error_info();
    match info.filter(|info| info.domain == ERROR_DOMAIN) {
        Some(info) => !matches!(
            info.reason.parse(),
            Ok(Reason::NotLeader | Reason::NoLeader | Reason::ShuttingDown)
        ),
        None => false,
    }
}

/// The caller's metadata, for the leader.
fn forwarded(metadata: &MetadataMap, context: &Context) -> MetadataMap {
    let mut forwarded = MetadataMap::new();
    for pair in metadata.iter() {
        match pair {
            // Those of the connection itself.
            KeyAndValueRef::Ascii(key, _) if is_of_connection(key.as_str()) => {}
            KeyAndValueRef::Ascii(key, value) => {
                forwarded.append(key, value.clone());
            }
            KeyAndValueRef::Binary(key, value) => {
                forwarded.append_bin(key, value.clone());
            }
        }
    }
    forwarded.insert(NO_PROXY, MetadataValue::from_static("1"));
    let mut request = Request::from_parts(forwarded, Extensions::default(), ());
    if let Some(deadline) = context.deadline {
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    }
    request.into_parts().0
}

fn is_of_connection(key: &str) -> bool {
    key.starts_with("grpc-") || matches!(key, "content-type" | "te" | "user-agent")
}
