//! The state of a cluster in one file, taken while it runs, and a cluster made from such a file.
//!
//! ```text
//! file   = magic (8 bytes) format (4) record*
//! record = kind (1) length of the body (4) checksum (8) body
//! kinds  = head, once: what it is; piece, of a snapshot; end, once: how much it is, and a checksum over all before it
//! ```
//!
//! Numbers are little-endian. A file without its end is not whole, whatever happened to it, and what follows an end makes
//! it no backup. The pieces are those of a [snapshot](crate::store::state), so that a backup is taken in by what takes in the
//! snapshots of other replicas.
//!
//! A backup holds the state, not the log. What stands in the log alone has not been acknowledged, but for the orphans of
//! a lost history, which are about to be committed again; whoever takes a backup is told of them.

mod error;
pub(crate) mod format;
mod restore;

use chat_core::Timestamp;
use chat_replication::branch::BranchTable;
use chat_replication::types::{ClusterId, Configuration, Position, ReplicaId};
use serde::{Deserialize, Serialize};

pub use self::error::BackupError;
pub use self::format::Reader;
pub use self::restore::{Restored, Target, restore};
pub(crate) use self::restore::{build, whole};

/// What a backup is of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// The cluster.
    pub cluster: ClusterId,
    /// The replica that it was taken from.
    pub replica: ReplicaId,
    /// When, by the clock of that replica's machine.
    pub taken_at: Timestamp,
    /// The version of the program that took it.
    pub program: String,
    /// The last entry whose effects it shows.
    pub position: Position,
    /// The hash of the state there.
    pub state_hash: u128,
    /// The history up to there.
    pub branches: BranchTable,
    /// The replicas of the cluster, as they were.
    pub configuration: Configuration,
    /// The version of what applying commands does.
    pub apply_version: u32,
    /// Whether a leader vouched that everything acknowledged before is in it.
    pub is_current: bool,
    /// Commands of a lost history that the replica held and that were not committed again yet.
    pub orphans: u64,
}
