//! The state as a stream of bytes, for a replica that the log does not bring forward.
//!
//! A snapshot is the rows of one checkpoint in key order. It comes in beside the state, into a table of its own in the same
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
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use chat_core::store::Order;
use chat_replication::redb_store::file::Fault;
use chat_replication::state_machine::SnapshotReader;
use chat_replication::types::Position;

use super::error::StateError;
use super::file::{Base, StateFile, checked_value};
use super::overlay::Checkpoint;

/// The format that this version writes, and the only one that it reads.
pub(super) const FORMAT: u32 = 1;

/// Reads a checkpoint's rows. Later checkpoints do not change what it sees.
pub(super) struct Snapshot {
    rows: Base,
    checkpoint: Checkpoint,
    /// The last row that was read.
    last: Option<Vec<u8>>,
    begun: bool,
    ended: bool,
    /// Last, so that nothing reads the file any more when it is closed.
    file: Arc<StateFile>,
}

impl Snapshot {
    /// Of the last checkpoint; `None` where there is none.
    pub(super) fn of(file: &Arc<StateFile>) -> Result<Option<Snapshot>, StateError> {
        let (checkpoint, rows) = file.checkpoint_and_base()?;
        Ok((checkpoint != Checkpoint::default()).then(|| Snapshot {
            rows,
            checkpoint,
            last: None,
            begun: false,
            ended: false,
            file: Arc::clone(file),
        }))
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
        self.last = self
            .file
            .visit(&self.rows, (behind, Bound::Unbounded), |key, value| {
                put_row(&mut piece, key, value);
                piece.len() < max_bytes
            })?;
        self.ended = self.last.is_none();
        Ok((!piece.is_empty()).then(|| Bytes::from(piece)))
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

impl StateFile {
    /// Visits rows of a base in order for as long as `visit` says so. The key of the row where it stopped, if it did.
    fn visit(
        &self,
        base: &Base,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        mut visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let mut rows = self.run(|_| base.range::<&[u8]>(range).map_err(Fault::from))?;
        while let Some(row) = self.next(&mut rows, Order::Ascending)? {
            let key = row.0.value();
            if !visit(key, checked_value(&row)) {
                return Ok(Some(key.to_vec()));
            }
        }
        Ok(None)
    }
}
