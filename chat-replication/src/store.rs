//! The durable side of a replica: its log and what it has promised.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::branch::BranchTable;
use crate::types::{
    ClusterId, Entry, Epoch, Index, Orphan, Payload, PeerId, Position, ReplicaId, StoreUuid,
    ViewStart,
};

/// Whose store this is. Written once, when it is created.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The replica.
    pub replica: ReplicaId,
    /// The disk.
    pub store: StoreUuid,
}

impl Identity {
    /// The replica as its peers know it.
    pub fn peer_id(&self) -> PeerId {
        PeerId {
            replica: self.replica,
            store: self.store,
        }
    }
}

/// What a store holds when a replica starts, without the entries themselves.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Durable {
    /// Whose store it is.
    pub identity: Identity,
    /// The highest epoch promised or accepted: nothing below it is acknowledged any more.
    pub promised: Epoch,
    /// The log's epochs and length.
    pub branches: BranchTable,
    /// The last position whose entry is gone: what it and those before it did is in the state. The default position where
    /// the log is whole.
    pub compacted: Position,
    /// The view starts that are still known, with their indexes, oldest first: those of all epochs that begin behind
    /// `compacted`, and at least the newest of the others.
    pub view_starts: Vec<(Index, ViewStart)>,
    /// How many orphans wait to be committed again.
    pub orphans: u64,
    /// Entries that the log is known to have held and whose bytes have rotted, in order: where they stand and of which epochs
    /// they are is known, what they say is not. Only the end of the log is read at a start, so others may show when they are
    /// read ([`StoreError::DamagedEntries`]).
    pub damaged: Vec<RangeInclusive<Index>>,
}

impl Durable {
    /// Whether the log certainly lost entries that a durable checkpoint of the state shows. One that merely was cut back goes
    /// on in an epoch above the checkpoint's, or has promised such a one and is still taking in what comes before it.
    pub fn has_lost(&self, checkpoint: Position) -> bool {
        let last = self.branches.last();
        last < checkpoint && (last.epoch == checkpoint.epoch || self.promised <= checkpoint.epoch)
    }
}

/// What a log is once a snapshot of the state has taken the place of its entries.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Reset {
    /// The epochs up to the snapshot, whose position is the last one.
    pub branches: BranchTable,
    /// The newest view start at or below the snapshot, and where it stands.
    pub newest: (Index, ViewStart),
}

/// One durable transaction: all of it or none of it, also across a power loss. Its parts are done in the order of the
/// fields.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Persist {
    /// Entries that take the place of damaged ones: the same entries, as another replica holds them. In order; they may
    /// repeat entries beside them that are whole.
    pub mend: Vec<Entry>,
    /// Raises `promised`.
    pub promised: Option<Epoch>,
    /// Cuts the log behind this index, before anything is appended. Commands behind it move to the orphans: those of a
    /// `Payload::Command` under their position, those of a `Payload::Reproposed` under their origin. View starts are
    /// dropped. Below what is compacted, only together with `reset`. Where one of the commands is damaged the batch fails
    /// with [`StoreError::DamagedEntries`] and changes nothing: it may have been acknowledged, so it is mended first.
    pub truncate: Option<Index>,
    /// Damaged commands that are cut are given up, by an operator's word, and nothing fails for them.
    pub give_up: bool,
    /// Drops all entries that are left and begins anew behind a snapshot. The promise and the orphans stay.
    pub reset: Option<Reset>,
    /// Entries to append, each right behind the last.
    pub append: Vec<Entry>,
    /// Orphans that are committed again.
    pub forget: Vec<Position>,
    /// Drops the entries up to this index. The branch table and the view starts among them stay, but for `forget_epochs`.
    pub compact: Option<Index>,
    /// The epoch in which that or another drop was decided, and of which entries.
    pub dropped: Option<Position>,
    /// Forgets the epochs that end before this index, and their view starts.
    pub forget_epochs: Option<Index>,
    /// Gives the disk another name: to the others it is a new one.
    pub rename: Option<StoreUuid>,
}

impl Persist {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.mend.is_empty()
            && self.promised.is_none()
            && self.truncate.is_none()
            && self.reset.is_none()
            && self.append.is_empty()
            && self.forget.is_empty()
            && self.compact.is_none()
            && self.dropped.is_none()
            && self.forget_epochs.is_none()
            && self.rename.is_none()
    }
}

/// What is true once a [`Persist`] is durable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Persisted {
    /// How many orphans wait to be committed again.
    pub orphans: u64,
}

/// The log of one replica. `persist` is the only write; when it returns, everything in it survives a loss of power.
///
/// All methods block: the driver owns a thread. None of them is retried after an error, as a failed fsync leaves nobody
/// knowing what is on the disk, but for [`StoreError::DamagedEntries`]: then the rest of the log can be read and written, and
/// what is damaged be mended.
pub trait Store: Send {
    /// Reads what a starting replica must know.
    fn load(&mut self) -> Result<Durable, StoreError>;

    /// Writes one transaction with one flush.
    fn persist(&mut self, batch: &Persist) -> Result<Persisted, StoreError>;

    /// Entries from `from` up to and including `through`, cut off once `max_bytes` of payload are reached but never
    /// before the first entry. Fails where the log does not hold the range, and with [`StoreError::DamagedEntries`] where the
    /// first of them is damaged; what stands before damaged ones is returned.
    fn entries(
        &self,
        from: Index,
        through: Index,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError>;

    /// Bytes that the entries behind an index take, roughly: what would be given back if they were dropped.
    fn bytes_behind(&self, index: Index) -> Result<u64, StoreError>;

    /// Orphans in the order of their origins, behind `after` if given, cut off like entries are.
    fn orphans(&self, after: Option<Position>, max_bytes: usize)
    -> Result<Vec<Orphan>, StoreError>;
}

/// The branch table once a batch is written.
///
/// # Panics
///
/// Where an appended entry does not follow the one before it, or an epoch does not begin with its view start: the
/// protocol has verified both.
pub(crate) fn branches_after(branches: &BranchTable, batch: &Persist) -> BranchTable {
    let mut after = branches.clone();
    if let Some(keep) = batch.truncate {
        after.truncate(keep);
    }
    if let Some(reset) = &batch.reset {
        let newest = reset.branches.epochs().last().map(|(_, first)| *first);
        assert_eq!(
            newest,
            Some(reset.newest.0),
            "the newest epoch begins with the newest view start"
        );
        after.clone_from(&reset.branches);
    }
    for entry in &batch.append {
        let epochs = after.epochs().len();
        after.append(entry.position);
        let begins = after.epochs().len() > epochs;
        assert!(
            !begins || matches!(entry.payload, Payload::ViewStart(_)),
            "an epoch begins with its view start"
        );
    }
    if let Some(dropped) = batch.dropped {
        after.note_drop(dropped);
    }
    if let Some(index) = batch.forget_epochs {
        after.forget_before(index);
    }
    after
}

/// Up to where entries are gone once a batch is written, which leaves these branches.
///
/// # Panics
///
/// Where the batch cuts below what is compacted without a reset, or drops entries that are not there.
pub(crate) fn compacted_after(compacted: Index, batch: &Persist, branches: &BranchTable) -> Index {
    assert!(
        batch.reset.is_some() || batch.truncate.is_none_or(|keep| keep >= compacted),
        "what is compacted is not cut"
    );
    let reset = batch.reset.as_ref();
    let compacted = reset.map_or(compacted, |reset| reset.branches.last_index());
    let compacted = compacted.max(batch.compact.unwrap_or(0));
    assert!(
        compacted <= branches.last_index(),
        "only entries of the log are dropped"
    );
    compacted
}

/// What fits into one answer: so many bytes, and the first thing however large it is.
pub(crate) struct Piece {
    bytes: usize,
    max_bytes: usize,
    is_empty: bool,
}

impl Piece {
    pub(crate) fn new(max_bytes: usize) -> Piece {
        Piece {
            bytes: 0,
            max_bytes,
            is_empty: true,
        }
    }

    /// Whether the next thing fits.
    pub(crate) fn takes(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        std::mem::take(&mut self.is_empty) || self.bytes <= self.max_bytes
    }
}

/// Whether entries can be read of a log of which this much is gone.
pub(crate) fn check_range(
    from: Index,
    through: Index,
    compacted: Index,
    branches: &BranchTable,
) -> Result<(), StoreError> {
    let last = branches.last_index();
    if from <= compacted || through > last {
        return Err(StoreError::OutOfRange {
            from,
            through,
            first: compacted + 1,
            last,
        });
    }
    Ok(())
}

/// The disk failed, or what is on it cannot be trusted. The replica stops.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A read, a write or a flush failed.
    #[error("the log in {} cannot be read or written: {reason}; check the disk, then start the replica again", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is damaged.
    #[error(
        "the log in {} is damaged: {reason}; move the data folder away, keep it, and start the replica with an empty one, which \
         takes everything from the other replicas; if none of those is whole, restore a backup",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// Entries are damaged, and nothing else: they can be mended with what other replicas hold.
    #[error(
        "the entries {} to {} of the log in {} are damaged: {reason}; start the replica beside the others, from which they are \
         fetched; if none of those holds them, restore a backup",
        entries.start(),
        entries.end(),
        path.display()
    )]
    DamagedEntries {
        /// The file.
        path: PathBuf,
        /// The entries that cannot be read.
        entries: RangeInclusive<Index>,
        /// What does not fit.
        reason: String,
    },
    /// The folder belongs to another cluster.
    #[error(
        "{} belongs to cluster {found}, not to {wanted}; point the replica at its own data folder",
        path.display()
    )]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Whose it was to be.
        wanted: ClusterId,
    },
    /// The folder belongs to another replica, or to another version.
    #[error("{} {reason}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is, and what to do.
        reason: String,
    },
    /// Another process has the file open.
    #[error("{} is in use by another process; stop that one first", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The caller asked for entries that the log does not hold.
    #[error("entries {from} to {through} were asked for, and the log holds {first} to {last}")]
    OutOfRange {
        /// The first entry asked for.
        from: Index,
        /// The last entry asked for.
        through: Index,
        /// The first entry of the log.
        first: Index,
        /// The last entry of the log.
        last: Index,
    },
}
