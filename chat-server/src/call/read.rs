//! Calls that only look, answered by whichever replica is asked.

use chat_client::api;
use chat_core::AccountManager;
use chat_replication::types::Position;
use tokio::time::{Instant, timeout_at};

use super::context::Context;
use crate::error::Failure;
use crate::node::Node;
use crate::state::{StateError, StateStore};
use crate::wire;

/// Answers from a state at least as new as what the caller has seen. `look` may take a while.
pub(crate) async fn look<T: Send + 'static>(
    node: &Node,
    look: impl FnOnce(&AccountManager<StateStore>) -> Result<T, StateError> + Send + 'static,
) -> Result<(T, Position), Failure> {
    let state = node.state.clone();
    // Off the threads that serve: a long page reads many rows, perhaps from the disk.
    let looked =
        tokio::task::spawn_blocking(move || state.query(|manager, at| Ok((look(manager)?, at))));
    match looked.await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Failure::Internal(error.to_string())),
    }
}

/// Waits until this replica may answer a read of a caller that has seen something.
pub(crate) async fn read(
    node: &Node,
    context: &Context,
    token: Option<&api::ReadToken>,
) -> Result<(), Failure> {
    node.check_open()?;
    let seen = wire::seen(token, context.read_token.as_deref())?;
    wait_until_serving(node, context).await?;
    if node.state.applied() >= seen {
        return Ok(());
    }
    // Of two places in one history, that of the later epoch stands behind. A place that was cut from the history is
    // passed when the next epoch begins.
    wait_for(node, |at| at >= seen, context.patience()).await
}

/// Waits until this replica is a member of a view, and shows what was committed when it became one: any other may be far
/// behind.
async fn wait_until_serving(node: &Node, context: &Context) -> Result<(), Failure> {
    let mut leadership = node.leadership.clone();
    if !leadership.borrow().serves() {
        let serving = leadership.wait_for(|leadership| leadership.serves());
        match timeout_at(context.patience(), serving).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(Failure::ShuttingDown),
            Err(_) => {
                let waiting_for = node.leadership.borrow().waiting_for().to_owned();
                return Err(Failure::NoLeader(waiting_for));
            }
        }
    }
    wait_for_inherited(node, context).await
}

/// Waits until the state shows what was committed when the present leadership began.
pub(super) async fn wait_for_inherited(node: &Node, context: &Context) -> Result<(), Failure> {
    let inherited = node.leadership.borrow().inherited();
    if node.state.applied().index >= inherited {
        return Ok(());
    }
    wait_for(node, |at| at.index >= inherited, context.patience()).await
}

/// Waits until the applied state has come somewhere.
pub(crate) async fn wait_for(
    node: &Node,
    there: impl Fn(Position) -> bool,
    until: Instant,
) -> Result<(), Failure> {
    let mut applied = node.hub.applied();
    let waiting = applied.wait_for(|at| there(*at));
    match timeout_at(until, waiting).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(Failure::ShuttingDown),
        Err(_) => Err(Failure::StaleRead),
    }
}
