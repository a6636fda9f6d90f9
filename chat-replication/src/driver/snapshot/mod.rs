//! Snapshots on their way, to whom the log does not bring forward.
//!
//! The leader reads its last checkpoint piece by piece, beside everything else, and sends a few pieces ahead of what is
//! acknowledged. The receiver writes them down beside its state. When all are there it lets nothing else happen until
//! the snapshot has taken the place of the state, then of the log: nobody may learn in between where it stands.

mod serving;
mod taking;

use std::error::Error;

use bytes::Bytes;

pub(super) use self::serving::Servings;
pub(super) use self::taking::Taking;
use crate::state_machine::SnapshotReader;
use crate::types::ReplicaId;

/// Bytes in one piece, about.
const CHUNK: usize = 512 << 10;

/// Pieces that are on their way at once.
const WINDOW: usize = 4;

/// Ticks between two pieces while proposers wait: the processors are theirs first. With ticks of 10 ms that is 25 MiB/s at
/// least, and 50 at most.
const REST: u64 = 2;

/// Snapshots that are served at once.
const AT_ONCE: usize = 2;

/// Names one snapshot on its way to one replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransferId {
    /// Whom it is for.
    pub to: ReplicaId,
    /// Another one each time.
    pub id: u64,
}

/// A piece of a snapshot that is to be read.
pub struct Reading {
    transfer: TransferId,
    reader: Box<dyn SnapshotReader>,
}

impl Reading {
    /// Reads it. Takes as long as the disk takes.
    pub fn perform(mut self) -> Read {
        Read {
            chunk: self.reader.next_chunk(CHUNK),
            reading: self,
        }
    }
}

/// A piece of a snapshot, or why there is none.
pub struct Read {
    reading: Reading,
    chunk: Result<Option<Bytes>, Box<dyn Error + Send + Sync>>,
}
