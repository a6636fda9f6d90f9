//! Waiting until this replica's state shows what it has to.

use std::sync::Arc;
use std::time::Duration;

use chat_replication::types::Position;
use tokio::time::{Instant, sleep, timeout_at};

use super::context::Context;
use super::error::Failure;
use super::node::Node;

/// Between two attempts while nothing is heard of a change.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

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
                // Some of what is looked at changes without a word.
                () = sleep(PAUSE) => Ok(()),
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

/// Waits until this replica is a member of a view, and shows what was acknowledged before that view began: any other may be
/// far behind.
pub(super) async fn wait_until_serving(node: &Node, context: &Context) -> Result<(), Failure> {
    if node.leadership.borrow().has_lost_state() {
        // That takes longer than anybody wants to wait.
        return Err(Failure::StateDamaged);
    }
    if node.leadership.borrow().has_caught_up() && node.handle.is_awake() {
        return Ok(());
    }
    // What the session was looked up in may have been older.
    context.checked.was_long_ago();
    match watch(node, context.patience(), || shows_its_view(node)).await {
        Err(Failure::StaleRead) if !node.handle.status().serves() => {
            Err(Failure::NoLeader(node.handle.status().waiting_for.clone()))
        }
        shown => shown,
    }
}

/// Everything before the start of the view that this replica is in is committed, so its state must show it. How much of it
/// the replica knows to be committed says nothing: one that was restarted knows of less at first. `None` as long as it does
/// not.
fn shows_its_view(node: &Node) -> Option<()> {
    let leadership = Arc::clone(&node.leadership.borrow());
    // The state first: it may go back, and if it has, the status says so.
    let applied = node.state.applied();
    let status = node.handle.status();
    // Another history may be longer: it does not count.
    let shows = status.serves()
        && node.handle.is_awake()
        && applied.index >= status.view_start
        && status.is_on_branch(applied);
    if !shows {
        return None;
    }
    if leadership.is_of(&status) {
        leadership.note_caught_up();
    }
    Some(())
}
