//! Reads that show everything that anybody was told before.

use std::sync::atomic::{AtomicU64, Ordering};

use chat_client::api;
use chat_client::api::cluster_service_client::ClusterServiceClient;
use chat_replication::handle::{LeaderHint, ProposeError};
use chat_replication::types::Position;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Request;
use tonic::metadata::MetadataValue;

use super::wait::{PAUSE, Place, find};
use crate::app::context::{Context, LINEARIZABLE, NO_PROXY, Proxying, Reading};
use crate::app::error::Failure;
use crate::app::node::Node;
use crate::app::token;
use crate::engine::leadership::Destination;

/// If the caller wants a linearizable read, waits until the state here shows everything that was acknowledged before the
/// call. Only the leader can tell how far that is; any replica that has come there may answer then.
pub(crate) async fn barrier(node: &Node, context: &Context) -> Result<(), Failure> {
    match context.reading {
        Reading::Local => Ok(()),
        Reading::Linearizable => wait(node, context.proxying, context.last_moment()).await,
    }
}

/// Waits for the same before a caller is told no: that there is no such session or account, say. A state that is behind says
/// so of what was made a moment ago, and nobody asks again after such an answer.
pub(crate) async fn make_sure(node: &Node, context: &Context) -> Result<(), Failure> {
    let until = context.patience();
    let barrier = wait(node, Proxying::Wanted, until);
    node.barriers.share(until, barrier).await
}

/// Barriers that calls wait for together: however many ask at once, and with whatever they make up, the leader is asked once.
#[derive(Debug, Default)]
pub(crate) struct Barriers {
    /// How many have begun.
    begun: AtomicU64,
    /// The last one that was passed. Held while one is under way.
    passed: Mutex<u64>,
}

impl Barriers {
    /// Waits until a barrier is passed that begins from now on.
    async fn share(
        &self,
        until: Instant,
        barrier: impl Future<Output = Result<(), Failure>> + Send,
    ) -> Result<(), Failure> {
        let next = self.begun.load(Ordering::SeqCst) + 1;
        let Ok(mut passed) = timeout_at(until, self.passed.lock()).await else {
            return Err(Failure::StaleRead);
        };
        if *passed < next {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            barrier.await?;
            *passed = number;
        }
        Ok(())
    }
}

async fn wait(node: &Node, proxying: Proxying, until: Instant) -> Result<(), Failure> {
    let mut leadership = node.leadership.clone();
    loop {
        let destination = leadership.borrow_and_update().destination();
        let setback = match pass(node, proxying, &destination, until).await {
            Ok(()) => return Ok(()),
            Err(failure @ (Failure::NotLeader(_) | Failure::NoLeader(_)))
                if proxying == Proxying::Wanted =>
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
    proxying: Proxying,
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
        Destination::There(leader) if proxying == Proxying::Declined => {
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
        Ok(Ok(answer)) => token::seen(answer.into_inner().read_token.as_ref(), None),
        // It leads no more, or is gone: whoever does in its place is asked then.
        Ok(Err(_)) | Err(_) => Err(Failure::NoLeader(format!(
            "replica {} did not say how far it is",
            leader.id
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    /// A flood of made-up sessions must not become a flood of questions to the leader. Nor may a barrier that began before a
    /// call stand for what was acknowledged since.
    #[tokio::test]
    async fn calls_share_a_barrier_that_begins_after_them() {
        let (barriers, answers) = (Barriers::default(), Semaphore::new(0));
        let begun = AtomicU64::new(0);
        let until = Instant::now() + Duration::from_secs(60);
        let call = async || {
            let before = begun.load(Ordering::SeqCst);
            let barrier = async {
                begun.fetch_add(1, Ordering::SeqCst);
                answers.acquire().await.expect("it stays open").forget();
                Ok(())
            };
            barriers.share(until, barrier).await.expect("it is passed");
            let since = begun.load(Ordering::SeqCst) - before;
            assert!(since >= 1, "one began after the call");
        };
        // The first begins one, and all others come while the leader is being asked.
        let calls = join_all((0..100).map(|_| call()));
        tokio::join!(calls, async { answers.add_permits(100) });
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn whoever_waits_too_long_is_told_so_and_a_failure_is_not_shared() {
        let barriers = Barriers::default();
        let until = Instant::now() + Duration::from_millis(20);
        let failing = barriers.share(until, async {
            sleep_until(until + Duration::from_millis(50)).await;
            Err(Failure::NoLeader(String::new()))
        });
        let late = barriers.share(until, async { Ok(()) });
        let (failing, late) = tokio::join!(failing, late);
        assert!(matches!(failing, Err(Failure::NoLeader(_))));
        assert!(matches!(late, Err(Failure::StaleRead)));
        let until = Instant::now() + Duration::from_secs(60);
        assert!(barriers.share(until, async { Ok(()) }).await.is_ok());
    }
}
