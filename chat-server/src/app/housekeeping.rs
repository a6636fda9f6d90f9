//! What is done now and then: forgetting what retries no longer need, and whoever has been quiet.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chat_core::{Command, CommandBody, Outcome, Progress};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{debug, warn};

use crate::app::error::Failure;
use crate::app::node::Node;
use crate::app::throttle::network;
use crate::clock;

/// Whether connections tell which replica is at their other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Replicas {
    Proven,
    Unproven,
}

const TIDY: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_secs(600);
/// Rows that one command visits.
const ROWS: u32 = 1_000;

/// What is done again and again until the replica goes away.
struct Rounds {
    tick: Interval,
    draining: watch::Receiver<bool>,
}

impl Rounds {
    fn of(node: &Node, period: Duration) -> Rounds {
        let mut tick = interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Rounds {
            tick,
            draining: node.draining.clone(),
        }
    }

    /// Waits for the next one; `false` if there is none any more.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.tick.tick() => true,
            _ = self.draining.wait_for(|draining| *draining) => false,
        }
    }
}

/// Runs until the replica goes away.
pub(crate) async fn run(node: Arc<Node>) {
    let mut rounds = Rounds::of(&node, EVERY);
    while rounds.next().await {
        if let Err(failure) = clean_up(&node).await {
            // Whoever leads next does it.
            debug!(?failure, "cleaning up ended early");
        }
    }
}

/// Forgets whoever was counted and has been quiet since, now and then, until the replica goes away. Where replicas cannot
/// prove who they are, also looks up where they call from.
pub(crate) async fn tidy(node: Arc<Node>, replicas: Replicas) {
    let mut rounds = Rounds::of(&node, TIDY);
    while rounds.next().await {
        node.throttle.tidy();
        if replicas == Replicas::Unproven {
            node.throttle.know_replicas(addresses(&node).await);
        }
    }
}

/// The addresses of the other replicas' machines.
async fn addresses(node: &Node) -> BTreeSet<IpAddr> {
    let status = node.handle.status();
    let others = status.configuration.members.iter();
    let others = others.filter(|member| member.id != node.me);
    let mut found = BTreeSet::new();
    for address in others.flat_map(|member| [&member.peer_address, &member.client_address]) {
        // One that is not found now may be in a minute.
        if let Ok(resolved) = tokio::net::lookup_host(address.as_str()).await {
            found.extend(resolved.map(|address| network(address.ip())));
        }
    }
    // Everybody on this machine has that address.
    found.retain(|address| !address.is_loopback() && !address.is_unspecified());
    found
}

async fn clean_up(node: &Node) -> Result<(), Failure> {
    loop {
        if !node.leadership.borrow().leads() || node.check_open().is_err() {
            return Ok(());
        }
        let body = CommandBody::Expire {
            before: clock::now().saturating_sub(Command::REQUEST_WINDOW),
            limit: ROWS,
        };
        let done = node.propose(clock::mint_request(), body).await?;
        match done.outcome {
            Outcome::Expired {
                progress: Progress::More,
                ..
            } => {}
            Outcome::Expired { .. } => return Ok(()),
            other => {
                warn!(?other, "cleaning up came to an outcome of another kind");
                return Ok(());
            }
        }
    }
}
