//! Taking a backup of a running replica.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use chat_core::APPLY_VERSION;
use chat_replication::branch::BranchTable;
use chat_replication::state_machine::SnapshotReader;
use chat_replication::status::Status;
use chat_replication::types::Position;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::proto::BackupResponse;
use crate::app::Context;
use crate::app::barrier;
use crate::app::error::Failure;
use crate::app::node::Node;
use crate::clock;
use crate::store::backup::Head;
use crate::store::backup::format::Sealer;
use crate::store::state::{Snapshot, StateError};

/// Bytes in one piece, about.
const PIECE: usize = 512 << 10;
/// Pieces that wait for whoever writes them down.
const AHEAD: usize = 2;
/// How long the log's outline may take to come as far as the state is.
const OUTLINE: Duration = Duration::from_secs(2);
/// How often the state may become another while a backup begins.
const ATTEMPTS: usize = 5;

/// What to do where no leader can vouch for what is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Without {
    /// Nothing is taken.
    Refuse,
    /// What this replica has is.
    Anyway,
}

/// The pieces of a backup that holds everything acknowledged before the call.
pub(crate) async fn take(
    node: &Node,
    without: Without,
) -> Result<mpsc::Receiver<Result<BackupResponse, StateError>>, Failure> {
    let is_current = match barrier(node, &Context::linearizable()).await {
        Ok(()) => true,
        Err(Failure::ShuttingDown) => return Err(Failure::ShuttingDown),
        Err(_) if without == Without::Anyway => false,
        Err(_) => {
            return Err(Failure::NoLeader(format!(
                "no leader vouches that this replica has everything ({}); ask another one, wait until one leads, or take \
                 what this one has with --anyway",
                node.handle.status().waiting_for
            )));
        }
    };
    let (snapshot, status) = begin(node).await?;
    let head = Head {
        cluster: node.cluster,
        replica: node.me,
        taken_at: clock::now(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        position: snapshot.position(),
        state_hash: snapshot.state_hash(),
        branches: outline(&status, snapshot.position()),
        configuration: status.configuration.clone(),
        apply_version: APPLY_VERSION,
        is_current,
        orphans: status.orphans,
    };
    let (pieces, receiver) = mpsc::channel(AHEAD);
    spawn_blocking(move || {
        if let Err(error) = send(snapshot, &head, &pieces) {
            // Nobody listens any more, or is told.
            let _ = pieces.blocking_send(Err(error));
        }
    });
    Ok(receiver)
}

/// The state of now, and the log's outline as far as that at least.
async fn begin(node: &Node) -> Result<(Snapshot, Arc<Status>), Failure> {
    let mut changes = node.handle.progress();
    for _ in 0..ATTEMPTS {
        let state = node.state.clone();
        let snapshot = spawn_blocking(move || state.snapshot()).await;
        let snapshot = snapshot.map_err(|error| Failure::Internal(error.to_string()))??;
        let position = snapshot.position();
        if position.index == 0 {
            return Err(Failure::NoLeader(
                "this replica has applied nothing yet, so that there is nothing to back up; ask one that serves".to_owned(),
            ));
        }
        let outlined = changes.wait_for(|status| {
            status.last.index >= position.index && status.is_on_branch(position)
        });
        match timeout(OUTLINE, outlined).await {
            Ok(Ok(status)) => return Ok((snapshot, Arc::clone(&status))),
            Ok(Err(_)) => return Err(Failure::ShuttingDown),
            // The state was of a history that another one has taken the place of.
            Err(_) => {}
        }
    }
    Err(Failure::NoLeader(
        "the replica goes over to another history at this moment; try again".to_owned(),
    ))
}

/// The history up to a position that it holds.
fn outline(status: &Status, position: Position) -> BranchTable {
    let epochs = status.epochs.iter().copied();
    let epochs = epochs
        .filter(|(_, first)| *first <= position.index)
        .collect();
    BranchTable::from_parts(epochs, position.index).expect("a part of an outline is one")
}

fn send(
    mut snapshot: Snapshot,
    head: &Head,
    pieces: &mpsc::Sender<Result<BackupResponse, StateError>>,
) -> Result<(), StateError> {
    let rows = snapshot.rows_at_most()?;
    let mut warnings = Vec::new();
    if !head.is_current {
        warnings.push(
            "no leader vouched for this replica: what only others have is missing; take another backup once one leads"
                .to_owned(),
        );
    }
    if head.orphans > 0 {
        warnings.push(format!(
            "{} commands of a lost history are not committed again yet and are missing; take another backup once \
             `chat-server status` shows none",
            head.orphans
        ));
    }
    let hand_over = |bytes: Vec<u8>, read: u64, warnings: Vec<String>| {
        let response = BackupResponse {
            bytes,
            rows_read: read,
            rows,
            warnings,
        };
        pieces.blocking_send(Ok(response)).is_ok()
    };
    let (mut sealer, first) = Sealer::begin(head);
    let mut is_heard = hand_over(first, 0, warnings);
    while let (true, Some(piece)) = (is_heard, snapshot.next_piece(PIECE)?) {
        is_heard = hand_over(sealer.piece(&piece), snapshot.rows_read(), Vec::new());
    }
    if is_heard {
        hand_over(sealer.end(), rows, Vec::new());
    }
    Ok(())
}
