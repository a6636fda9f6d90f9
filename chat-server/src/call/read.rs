//! Calls that only look, answered by whichever replica is asked.

use std::sync::Arc;

use chat_client::api;
use chat_core::AccountManager;
use chat_replication::types::Position;
use tokio::time::{Instant, timeout_at};

use super::barrier::barrier;
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
    barrier(node, context).await?;
    wait_until_serving(node, context).await?;
    match find(node, seen, context.patience()).await? {
        Place::Held => Ok(()),
        Place::Lost => Err(Failure::HistoryChanged),
    }
}

/// Where a place that somebody has seen is in the history that the state shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// The state shows it.
    Held,
    /// It was in a history that another one took the place of.
    Lost,
}

/// Waits until the state is so far that it can be told what became of a place.
///
/// # Errors
///
/// [`Failure::StaleRead`] when it is not so far in time: another replica may be, or this one later.
pub(crate) async fn find(node: &Node, seen: Position, until: Instant) -> Result<Place, Failure> {
    watch(node, until, || place(node, seen)).await
}

/// Looks again whenever the state or the log has moved, until there is something to say.
async fn watch<T>(node: &Node, until: Instant, look: impl Fn() -> Option<T>) -> Result<T, Failure> {
    if let Some(found) = look() {
        return Ok(found);
    }
    let mut applied = node.hub.applied();
    let mut status = node.handle.progress();
    loop {
        applied.mark_unchanged();
        status.mark_unchanged();
        if let Some(found) = look() {
            return Ok(found);
        }
        let moved = async {
            tokio::select! {
                changed = applied.changed() => changed,
                changed = status.changed() => changed,
            }
        };
        match timeout_at(until, moved).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Failure::ShuttingDown),
            Err(_) => return Err(Failure::StaleRead),
        }
    }
}

/// Of two places in one history, that of the later epoch stands behind. So what the state has come past, and does not
/// have, it will never have. `None` where it has not come past it.
fn place(node: &Node, seen: Position) -> Option<Place> {
    let applied = node.state.applied();
    let log = node.handle.status();
    // While the state goes over from one history to another it says nothing about either.
    if seen > applied || !log.is_on_branch(applied) {
        return None;
    }
    Some(
        match seen.index <= applied.index && log.is_on_branch(seen) {
            true => Place::Held,
            false => Place::Lost,
        },
    )
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
    let leadership = Arc::clone(&node.leadership.borrow());
    if leadership.has_caught_up() {
        return Ok(());
    }
    // What the session was looked up in may have been older.
    context.checked.was_long_ago();
    let inherited = leadership.inherited();
    // Another history may be longer: it does not count.
    watch(node, context.patience(), || {
        let applied = node.state.applied();
        let shown = applied.index >= inherited && node.handle.status().is_on_branch(applied);
        shown.then_some(())
    })
    .await?;
    leadership.note_caught_up();
    Ok(())
}

/// Waits until the applied state has come somewhere.
pub(super) async fn wait_for(
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
