//! The state as a stream of bytes, for a replica that the log does not bring forward.
//!
//! A snapshot is the rows of one moment in key order: of a checkpoint, or for a backup of now. It comes in beside the state, into a table of its own in the same
//! file; once it is whole, one transaction lets that table take the place of the state's. So a crash leaves the one or the
//! other, and whoever reads the old rows meanwhile goes on reading them.
//!
//! ```text
//! piece     = [head, in the first piece] row*
//! head      = format (4 bytes) state hash (16)
//! row       = length of the key (4) length of the value (4) key value
//! ```
//!
//! Numbers are little-endian. A piece ends with a row.

use std::error::Error;
use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;
use chat_core::store::{KeyValue, Order};
use chat_replication::state_machine::SnapshotReader;
use chat_replication::types::Position;

use super::error::StateError;
use super::file::StateFile;
use super::key_value::StateStore;
use super::overlay::Checkpoint;

/// The format that this version writes, and the only one that it reads.
pub(super) const FORMAT: u32 = 1;

/// Reads the rows of one moment. What is applied later does not change what it sees.
pub struct Snapshot {
    rows: StateStore,
    checkpoint: Checkpoint,
    /// The last row that was read.
    last: Option<Vec<u8>>,
    /// How many were read.
    read: u64,
    begun: bool,
    ended: bool,
}

impl Snapshot {
    /// Of the last checkpoint; `None` where there is none.
    pub(super) fn of(file: &Arc<StateFile>) -> Result<Option<Snapshot>, StateError> {
        let (checkpoint, base) = file.checkpoint_and_base()?;
        let rows = StateStore::over(Arc::clone(file), base)?;
        Ok((checkpoint != Checkpoint::default()).then(|| Snapshot::over(rows, checkpoint)))
    }

    pub(super) fn over(rows: StateStore, checkpoint: Checkpoint) -> Snapshot {
        Snapshot {
            rows,
            checkpoint,
            last: None,
            read: 0,
            begun: false,
            ended: false,
        }
    }

    /// The hash of the state that it shows.
    pub fn state_hash(&self) -> u128 {
        self.checkpoint.state_hash
    }

    /// How many rows it has read.
    pub fn rows_read(&self) -> u64 {
        self.read
    }

    /// How many rows it has at most.
    pub fn rows_at_most(&self) -> Result<u64, StateError> {
        self.rows.rows_at_most()
    }

    /// The next bytes, about `max_bytes` at most and never none; `None` at the end.
    pub(crate) fn next_piece(&mut self, max_bytes: usize) -> Result<Option<Bytes>, StateError> {
        if self.ended {
            return Ok(None);
        }
        let mut piece = Vec::with_capacity(max_bytes);
        if !std::mem::replace(&mut self.begun, true) {
            piece.extend_from_slice(&FORMAT.to_le_bytes());
            piece.extend_from_slice(&self.checkpoint.state_hash.to_le_bytes());
        }
        let from = self.last.take();
        let behind = from.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let (last, read) = (&mut self.last, &mut self.read);
        self.rows.scan(
            (behind, Bound::Unbounded),
            Order::Ascending,
            &mut |key, value| {
                put_row(&mut piece, key, value);
                *read += 1;
                if piece.len() < max_bytes {
                    return ControlFlow::Continue(());
                }
                *last = Some(key.to_vec());
                ControlFlow::Break(())
            },
        )?;
        self.ended = self.last.is_none();
        Ok((!piece.is_empty()).then(|| Bytes::from(piece)))
    }
}

impl SnapshotReader for Snapshot {
    fn position(&self) -> Position {
        self.checkpoint.applied
    }

    fn next_chunk(
        &mut self,
        max_bytes: usize,
    ) -> Result<Option<Bytes>, Box<dyn Error + Send + Sync>> {
        Ok(self.next_piece(max_bytes)?)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("checkpoint", &self.checkpoint)
            .field("read", &self.read)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

fn put_row(piece: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    for part in [key, value] {
        let len = u32::try_from(part.len()).expect("rows are far smaller");
        piece.extend_from_slice(&len.to_le_bytes());
    }
    piece.extend_from_slice(key);
    piece.extend_from_slice(value);
}
