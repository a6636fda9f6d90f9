//! Calls that only look, answered by whichever replica is asked.

use chat_core::AccountManager;
use chat_replication::types::Position;

use super::barrier::barrier;
use super::wait::{Place, find, wait_until_serving};
use crate::app::Context;
use crate::app::error::Failure;
use crate::app::node::Node;
use crate::store::state::{StateError, StateStore};

/// Answers from a state at least as new as what the caller has seen. `look` may take a while.
pub(crate) async fn look<T: Send + 'static>(
    node: &Node,
    look: impl FnOnce(&AccountManager<StateStore>) -> Result<T, StateError> + Send + 'static,
) -> Result<(T, Position), Failure> {
    let state = node.state.clone();
    // Off the threads that serve: a long page reads many rows, perhaps from the disk.
    let looked =
        tokio::task::spawn_blocking(move || state.view(|manager, at| Ok((look(manager)?, at))));
    match looked.await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Failure::Internal(error.to_string())),
    }
}

/// Waits until this replica may answer a read of a caller that has seen something.
pub(crate) async fn read(node: &Node, seen: Position, context: &Context) -> Result<(), Failure> {
    node.check_open()?;
    barrier(node, context).await?;
    wait_until_serving(node, context).await?;
    match find(node, seen, context.patience()).await? {
        Place::Held => Ok(()),
        Place::Lost => Err(Failure::HistoryChanged),
    }
}
