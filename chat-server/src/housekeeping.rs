//! What the leader does now and then: forgetting what retries no longer need.

use std::sync::Arc;
use std::time::Duration;

use chat_core::{Command, CommandBody, Outcome, Progress};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

use crate::clock;
use crate::error::Failure;
use crate::node::Node;

const EVERY: Duration = Duration::from_secs(600);
/// Rows that one command visits.
const ROWS: u32 = 1_000;

/// Runs until the replica goes away.
pub(crate) async fn run(node: Arc<Node>) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut draining = node.draining.clone();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = draining.wait_for(|draining| *draining) => return,
        }
        if let Err(failure) = clean_up(&node).await {
            // Whoever leads next does it.
            debug!(?failure, "cleaning up ended early");
        }
    }
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
