//! The log on disk: entries in files that are only appended to, everything else in a redb file. The only part of this crate
//! that knows redb.
//!
//! `log.redb` holds what changes seldom:
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | format version, cluster, replica, store uuid, the one that it was created with, promised epoch, up to where entries are gone, the epoch that dropped them |
//! | `segments` | index of its first entry | the file, and how far it counts |
//! | `branches` | index of an epoch's first entry | the epoch |
//! | `view_starts` | index | view starts, also those whose entries are gone |
//! | `orphans` | position that the command was first appended at | the command |
//!
//! The folder `log` holds the [`segments`]. Entries do not repeat their epoch, the branch table tells it.
//!
//! A batch that only appends within an epoch, as nearly all do, is one write and one flush of a segment. Any other is a
//! transaction of `log.redb`, which names the segment that it began. Opening reads the newest segment, and no other; entries
//! are dropped by removing files.

mod checked;
mod crash;
pub mod file;
mod inspect;
mod load;
mod rows;
pub mod segments;
mod write;

use std::fs;
use std::path::Path;

use redb::{Database, ReadableDatabase, StorageBackend};

pub use self::crash::{CrashDisk, CrashFolder, Fate};
use self::file::{DataFile, Fault, contain};
use self::load::{initialise, read_created, read_durable, read_identity, read_segments};
#[cfg(fuzzing)]
pub use self::rows::fuzz_entry;
use self::rows::{ORPHANS, POSITION, position_bytes, unseal_orphan};
use self::segments::{DiskFolder, SegmentFolder, Segments};
use self::write::{Shape, write};
use crate::branch::BranchTable;
use crate::store::{
    Durable, Identity, Persist, Persisted, Piece, Store, StoreError, branches_after, check_range,
    compacted_after,
};
use crate::types::{ClusterId, Entry, Epoch, Index, Orphan, Payload, Position, ReplicaId};

/// Name of the file within the data folder.
pub const LOG_FILE: &str = "log.redb";

/// Name of the folder of segments within the data folder.
pub const SEGMENT_FOLDER: &str = "log";

/// The format that this version reads and writes.
const FORMAT_VERSION: u32 = 3;

/// What of `log.redb` may stay in memory. It is small, but for orphans.
const CACHE_BYTES: usize = 4 << 20;

/// A [`Store`] on disk.
#[derive(Debug)]
pub struct DiskStore {
    file: DataFile,
    segments: Segments,
    identity: Identity,
    promised: Epoch,
    branches: BranchTable,
    compacted: Index,
    orphans: u64,
    /// Why nothing is read or written any more: after a failed write nobody knows what is on the disk.
    failed: Option<String>,
}

impl DiskStore {
    /// Opens the log in a data folder. Folder and files are created where they do not exist, with a store uuid drawn at
    /// random.
    pub fn open(
        folder: &Path,
        cluster: ClusterId,
        replica: ReplicaId,
    ) -> Result<DiskStore, StoreError> {
        let path = folder.join(LOG_FILE);
        let io = |error: std::io::Error| StoreError::Io {
            path: path.clone(),
            reason: error.to_string(),
        };
        fs::create_dir_all(folder).map_err(io)?;
        let file = DataFile::open(&path, CACHE_BYTES, |database| {
            initialise(database, cluster, replica)
        });
        let file = file.map_err(|fault| explain(fault, &path))?;
        // Beside a log that is not this replica's nothing is made.
        DiskStore::check(file, cluster, replica, || {
            Ok(Box::new(DiskFolder::new(folder.join(SEGMENT_FOLDER))?))
        })
    }

    /// The same over storage of the caller's, which `label` names in messages.
    pub fn open_with_backends(
        log: impl StorageBackend,
        segments: impl SegmentFolder + 'static,
        label: &str,
        cluster: ClusterId,
        replica: ReplicaId,
    ) -> Result<DiskStore, StoreError> {
        let file = DataFile::open_with_backend(log, label, CACHE_BYTES, |database| {
            initialise(database, cluster, replica)
        });
        let file = file.map_err(|fault| explain(fault, Path::new(label)))?;
        DiskStore::check(file, cluster, replica, || Ok(Box::new(segments)))
    }

    /// Gives space that `log.redb` does not use back to the file system. A process that is killed meanwhile loses nothing.
    pub fn compact(&mut self) -> Result<(), StoreError> {
        let compacted = self.file.compact();
        compacted.map_err(|fault| explain(fault, self.file.path()))
    }

    /// Whose store this is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    fn check(
        file: DataFile,
        cluster: ClusterId,
        replica: ReplicaId,
        folder: impl FnOnce() -> Result<Box<dyn SegmentFolder>, Fault>,
    ) -> Result<DiskStore, StoreError> {
        let explain = |fault| explain(fault, file.path());
        let (format, identity) = contain(|| read_identity(file.database())).map_err(explain)?;
        let path = || file.path().to_owned();
        if let Some(reason) = other_format(format) {
            let path = path();
            return Err(StoreError::Foreign { path, reason });
        }
        if identity.cluster != cluster {
            return Err(StoreError::OtherCluster {
                path: path(),
                found: identity.cluster,
                wanted: cluster,
            });
        }
        if identity.replica != replica {
            let reason = format!(
                "belongs to replica {}, not to replica {replica}; point each replica at its own data folder",
                identity.replica
            );
            let path = path();
            return Err(StoreError::Foreign { path, reason });
        }
        let (compacted, segments, durable) = contain(|| {
            let (compacted, list) = read_segments(file.database())?;
            let created = read_created(file.database())?;
            let segments = Segments::open(folder()?, created, list)?;
            let last = segments.last().unwrap_or(compacted);
            let durable = read_durable(file.database(), identity, compacted, last)?;
            Ok((compacted, segments, durable))
        })
        .map_err(explain)?;
        Ok(DiskStore {
            file,
            segments,
            identity,
            promised: durable.promised,
            branches: durable.branches,
            compacted,
            orphans: durable.orphans,
            failed: None,
        })
    }

    /// Runs a read, unless an earlier operation failed.
    fn read<T>(&self, work: impl FnOnce(&Database) -> Result<T, Fault>) -> Result<T, StoreError> {
        if let Some(reason) = &self.failed {
            return Err(explain(Fault::Io(reason.clone()), self.file.path()));
        }
        contain(|| work(self.file.database())).map_err(|fault| explain(fault, self.file.path()))
    }

    fn write(
        &mut self,
        batch: &Persist,
        branches: &BranchTable,
        compacted: Index,
    ) -> Result<u64, Fault> {
        let promises = batch
            .promised
            .is_some_and(|promised| promised != self.promised);
        if !promises && only_appends(batch) && self.segments.append(&batch.append)? {
            return Ok(self.orphans);
        }
        let cut = match batch.truncate {
            Some(keep) => self.cut(keep)?,
            None => Vec::new(),
        };
        let change = self.segments.prepare(batch, compacted)?;
        let old = Shape {
            branches: &self.branches,
            compacted: self.compacted,
            segments: self.segments.list(),
        };
        let new = Shape {
            branches,
            compacted,
            segments: &change.list,
        };
        let transaction = self.file.database().begin_write()?;
        let orphans = write(&transaction, batch, &cut, old, new)?;
        transaction.commit()?;
        self.segments.commit(change)?;
        Ok(orphans)
    }

    /// The commands behind an index.
    fn cut(&self, keep: Index) -> Result<Vec<Orphan>, Fault> {
        let mut cut = Vec::new();
        let last = self.branches.last_index();
        self.visit(keep.max(self.compacted) + 1, last, |entry| {
            cut.extend(entry.orphaned(&self.branches, keep));
            true
        })?;
        Ok(cut)
    }

    /// Visits entries for as long as `take` wants more. All of them must be there.
    fn visit(
        &self,
        from: Index,
        through: Index,
        mut take: impl FnMut(Entry) -> bool,
    ) -> Result<(), Fault> {
        let mut next = from;
        let mut wanted = true;
        self.segments.read(from, through, |index, payload| {
            if index != next {
                return Err(missing(next));
            }
            let position = self.branches.position_at(index);
            let position = position.ok_or_else(|| missing(index))?;
            next = index + 1;
            wanted = take(Entry { position, payload });
            Ok(wanted)
        })?;
        match wanted && next <= through {
            true => Err(missing(next)),
            false => Ok(()),
        }
    }

    /// Notes how far the newest segment goes, so that whatever befalls its end from now on is told.
    fn note_end(&self) -> Result<(), Fault> {
        let segments = self.segments.named();
        if self.failed.is_some() || segments == self.segments.list() {
            return Ok(());
        }
        let shape = |segments| Shape {
            branches: &self.branches,
            compacted: self.compacted,
            segments,
        };
        let transaction = self.file.database().begin_write()?;
        let (old, new) = (shape(self.segments.list()), shape(&segments));
        write(&transaction, &Persist::default(), &[], old, new)?;
        Ok(transaction.commit()?)
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        // Without it the end is found as after a crash.
        let _ = contain(|| self.note_end());
    }
}

impl Store for DiskStore {
    fn load(&mut self) -> Result<Durable, StoreError> {
        let last = self.branches.last_index();
        self.read(|database| read_durable(database, self.identity, self.compacted, last))
    }

    fn persist(&mut self, batch: &Persist) -> Result<Persisted, StoreError> {
        self.read(|_| Ok(()))?;
        if batch.is_empty() {
            return Ok(Persisted {
                orphans: self.orphans,
            });
        }
        assert!(batch.mend.is_empty(), "nothing is known to be damaged");
        let promised = batch.promised.unwrap_or(self.promised);
        assert!(promised >= self.promised, "promises only grow");
        let branches = branches_after(&self.branches, batch);
        let compacted = compacted_after(self.compacted, batch, &branches);
        match contain(|| self.write(batch, &branches, compacted)) {
            Ok(orphans) => {
                self.promised = promised;
                self.identity.store = batch.rename.unwrap_or(self.identity.store);
                self.branches = branches;
                self.compacted = compacted;
                self.orphans = orphans;
                Ok(Persisted { orphans })
            }
            Err(fault) => {
                self.failed
                    .get_or_insert_with(|| "an earlier write failed".to_owned());
                Err(explain(fault, self.file.path()))
            }
        }
    }

    fn entries(
        &self,
        from: Index,
        through: Index,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        check_range(from, through, self.compacted, &self.branches)?;
        self.read(|_| {
            let mut entries = Vec::new();
            let mut piece = Piece::new(max_bytes);
            self.visit(from, through, |entry| {
                let fits = piece.takes(entry.payload.len());
                if fits {
                    entries.push(entry);
                }
                fits
            })?;
            Ok(entries)
        })
    }

    fn bytes_behind(&self, index: Index) -> Result<u64, StoreError> {
        self.read(|_| self.segments.bytes_behind(index))
    }

    fn orphans(
        &self,
        after: Option<Position>,
        max_bytes: usize,
    ) -> Result<Vec<Orphan>, StoreError> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.read(|database| {
            let table = database.begin_read()?.open_table(ORPHANS)?;
            let after = after.map(position_bytes);
            let lower = after.as_ref().map_or(Unbounded, Excluded);
            let mut orphans = Vec::new();
            let mut piece = Piece::new(max_bytes);
            for row in table.range::<&[u8; POSITION]>((lower, Unbounded))? {
                let (key, value) = row?;
                let orphan = unseal_orphan(key.value(), value.value())?;
                if !piece.takes(orphan.command.len()) {
                    break;
                }
                orphans.push(orphan);
            }
            Ok(orphans)
        })
    }
}

/// Whether a batch does nothing but append within the newest epoch, and perhaps promise.
fn only_appends(batch: &Persist) -> bool {
    let Persist {
        mend: _,
        give_up: _,
        promised: _,
        truncate: None,
        reset: None,
        append,
        forget,
        compact: None,
        dropped_in: None,
        forget_epochs: None,
        rename: None,
    } = batch
    else {
        return false;
    };
    let begins = |entry: &Entry| matches!(entry.payload, Payload::ViewStart(_));
    !append.is_empty() && forget.is_empty() && !append.iter().any(begins)
}

/// Why a log is not for this version.
fn other_format(format: u32) -> Option<String> {
    if format > FORMAT_VERSION {
        Some(format!(
            "was written by a newer version (format {format}, this version reads format {FORMAT_VERSION}); install that \
             version again"
        ))
    } else if format < FORMAT_VERSION {
        Some(format!(
            "was written by a version from before the first release (format {format}, this version reads format \
             {FORMAT_VERSION}); make a backup with that version and restore it with this one, or let the replica rejoin \
             with an empty data folder"
        ))
    } else {
        None
    }
}

fn missing(index: Index) -> Fault {
    Fault::Damaged(format!("the entry at {index} is missing"))
}

fn explain(fault: Fault, path: &Path) -> StoreError {
    let path = path.to_owned();
    match fault {
        Fault::Io(reason) => StoreError::Io { path, reason },
        Fault::Damaged(reason) => StoreError::Damaged { path, reason },
        Fault::InUse => StoreError::InUse { path },
    }
}
