//! Reads that show everything that anybody was told before.

use chat_client::api;
use chat_client::api::cluster_service_client::ClusterServiceClient;
use chat_replication::handle::{LeaderHint, ProposeError};
use chat_replication::types::Position;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Request;
use tonic::metadata::MetadataValue;

use super::context::{Context, LINEARIZABLE, NO_PROXY, Proxying, Reading};
use super::read::{Place, find};
use super::write::PAUSE;
use crate::error::Failure;
use crate::leadership::Destination;
use crate::node::Node;
use crate::wire;

/// If the caller wants a linearizable read, waits until the state here shows everything that was acknowledged before the
/// call. Only the leader can tell how far that is; any replica that has come there may answer then.
pub(crate) async fn barrier(node: &Node, context: &Context) -> Result<(), Failure> {
    if context.reading == Reading::Local {
        return Ok(());
    }
    let until = context.last_moment();
    let mut leadership = node.leadership.clone();
    loop {
        let destination = leadership.borrow_and_update().destination();
        let setback = match pass(node, context, &destination, until).await {
            Ok(()) => return Ok(()),
            Err(failure @ (Failure::NotLeader(_) | Failure::NoLeader(_)))
                if context.proxying == Proxying::Wanted =>
            {
                failure
            }
            Err(failure) => return Err(failure),
        };
        node.check_open()?;
        let pause = match destination {
            Destination::Nowhere(_) => until,
            _ => until.min(Instant::now() + PAUSE),
        };
        tokio::select! {
            changed = leadership.changed() => {
                if changed.is_err() {
                    return Err(Failure::ShuttingDown);
                }
            }
            () = sleep_until(pause) => {}
        }
        if Instant::now() >= until {
            return Err(setback);
        }
    }
}

async fn pass(
    node: &Node,
    context: &Context,
    destination: &Destination,
    until: Instant,
) -> Result<(), Failure> {
    match destination {
        Destination::Here => match timeout_at(until, node.handle.read_barrier()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ProposeError::Stopped)) => Err(Failure::ShuttingDown),
            Ok(Err(_)) => Err(Failure::NoLeader(String::new())),
            Err(_) => Err(Failure::NoLeader(
                "the others do not confirm that this replica still leads".to_owned(),
            )),
        },
        Destination::There(leader) if context.proxying == Proxying::Declined => {
            Err(Failure::NotLeader(leader.clone()))
        }
        Destination::There(leader) => {
            let known = ask(node, leader, until).await?;
            match find(node, known, until).await? {
                Place::Held => Ok(()),
                // The history that the leader spoke of is gone, and so are its answers.
                Place::Lost => Err(Failure::NoLeader(String::new())),
            }
        }
        Destination::Nowhere(why) => Err(Failure::NoLeader(why.clone())),
    }
}

/// How far the leader is, which has made sure that it still leads.
async fn ask(node: &Node, leader: &LeaderHint, until: Instant) -> Result<Position, Failure> {
    let channel = node.proxy.channel(leader)?;
    let mut request = Request::new(api::GetClusterStatusRequest {});
    request.set_timeout(until.saturating_duration_since(Instant::now()));
    let metadata = request.metadata_mut();
    metadata.insert(LINEARIZABLE, MetadataValue::from_static("1"));
    metadata.insert(NO_PROXY, MetadataValue::from_static("1"));
    let mut client = ClusterServiceClient::new(channel);
    match timeout_at(until, client.get_cluster_status(request)).await {
        Ok(Ok(answer)) => wire::seen(answer.into_inner().read_token.as_ref(), None),
        // It leads no more, or is gone: whoever does in its place is asked then.
        Ok(Err(_)) | Err(_) => Err(Failure::NoLeader(format!(
            "replica {} did not say how far it is",
            leader.id
        ))),
    }
}
