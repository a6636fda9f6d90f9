//! The log on disk, in redb files: the only part of this crate that knows redb.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | format version, cluster, replica, store uuid, promised epoch |
//! | `log` | index | payload |
//! | `branches` | index of an epoch's first entry | the epoch |
//! | `view_starts` | index | view starts whose entries are gone |
//! | `orphans` | position that the command was first appended at | the command |
//!
//! Entries do not repeat their epoch, the branch table tells it. Opening reads one row of the log per epoch and the last
//! one, never all. Each commit is durable and costs one flush; after a crash redb walks the file once, which takes time
//! in proportion to the file. So entries that are kept only for a replica that is away for long move to an archive, a
//! second file, where they can still be read.

mod archive;
mod crash_disk;
pub mod file;
mod inspect;
mod load;
mod rows;
mod write;

use std::fs;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, StorageBackend};

pub use self::archive::ARCHIVE_FILE;
use self::archive::Archive;
pub use self::crash_disk::{CrashDisk, Fate};
use self::file::{DataFile, Fault, contain};
use self::load::{initialise, read_bounds, read_durable, read_identity};
#[cfg(fuzzing)]
pub use self::rows::fuzz_entry;
use self::rows::{
    LOG, ORPHANS, POSITION, Table, parse_payload, parse_position, position_bytes, unseal,
};
use self::write::{Shape, write};
use crate::branch::BranchTable;
use crate::store::{
    Bounds, Durable, Identity, Persist, Persisted, Store, StoreError, branches_after,
};
use crate::types::{ClusterId, Entry, Epoch, Index, Orphan, Position, ReplicaId};

/// Name of the file within the data folder.
pub const LOG_FILE: &str = "log.redb";

/// The format that this version writes, and the newest that it reads.
const FORMAT_VERSION: u32 = 1;

/// What of the file may stay in memory: the tail of the log is what is read again.
const CACHE_BYTES: usize = 32 << 20;

/// A [`Store`] in a redb file, or two.
#[derive(Debug)]
pub struct RedbStore {
    file: DataFile,
    archive: Archive,
    identity: Identity,
    promised: Epoch,
    branches: BranchTable,
    bounds: Bounds,
    orphans: u64,
    /// Why nothing is read or written any more: after a failed write nobody knows what is on the disk.
    failed: Option<String>,
}

impl RedbStore {
    /// Opens `log.redb` in a data folder. Folder and file are created where they do not exist, with a store uuid drawn
    /// at random.
    pub fn open(
        folder: &Path,
        cluster: ClusterId,
        replica: ReplicaId,
    ) -> Result<RedbStore, StoreError> {
        let path = folder.join(LOG_FILE);
        fs::create_dir_all(folder).map_err(|error| StoreError::Io {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let file = DataFile::open(&path, CACHE_BYTES, |database| {
            initialise(database, cluster, replica)
        });
        RedbStore::check(file, path, cluster, replica, |identity, bounds| {
            Archive::in_folder(folder, identity.store, bounds)
        })
    }

    /// The same over storages of the caller's, one for each file, which `label` names in messages.
    pub fn open_with_backends(
        log: impl StorageBackend,
        archive: impl StorageBackend,
        label: &str,
        cluster: ClusterId,
        replica: ReplicaId,
    ) -> Result<RedbStore, StoreError> {
        let file = DataFile::open_with_backend(log, label, CACHE_BYTES, |database| {
            initialise(database, cluster, replica)
        });
        let path = PathBuf::from(label);
        RedbStore::check(file, path, cluster, replica, |identity, bounds| {
            Archive::on_backend(archive, label, identity.store, bounds)
        })
    }

    /// Gives space that the log's files do not use back to the file system. A process that is killed meanwhile loses
    /// nothing.
    pub fn compact(&mut self) -> Result<(), StoreError> {
        let compacted = self.file.compact();
        compacted.map_err(|fault| explain(fault, self.file.path()))?;
        self.archive.compact()
    }

    /// Whose store this is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    fn check(
        file: Result<DataFile, Fault>,
        path: PathBuf,
        cluster: ClusterId,
        replica: ReplicaId,
        archive: impl FnOnce(Identity, Bounds) -> Result<Archive, StoreError>,
    ) -> Result<RedbStore, StoreError> {
        let explain = |fault| explain(fault, &path);
        let file = file.map_err(explain)?;
        let (format, identity) = contain(|| read_identity(file.database())).map_err(explain)?;
        let foreign = |reason| {
            Err(StoreError::Foreign {
                path: path.clone(),
                reason,
            })
        };
        if format > FORMAT_VERSION {
            return foreign(format!(
                "was written by a newer version (format {format}, this version reads up to {FORMAT_VERSION}); install \
                 that version again"
            ));
        }
        if identity.cluster != cluster {
            return foreign(format!(
                "belongs to cluster {}, not to {cluster}; point the replica at its own data folder",
                identity.cluster
            ));
        }
        if identity.replica != replica {
            return foreign(format!(
                "belongs to replica {}, not to replica {replica}; point each replica at its own data folder",
                identity.replica
            ));
        }
        let bounds = contain(|| read_bounds(file.database())).map_err(explain)?;
        let archive = archive(identity, bounds)?;
        let durable =
            contain(|| read_durable(file.database(), identity, &archive)).map_err(explain)?;
        Ok(RedbStore {
            file,
            archive,
            identity,
            promised: durable.promised,
            branches: durable.branches,
            bounds,
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
}

impl RedbStore {
    fn write(&mut self, batch: &Persist, new: Shape<'_>) -> Result<u64, Fault> {
        let database = self.file.database();
        if let Some(through) = batch.archive
            && through > self.bounds.archived
        {
            self.archive
                .write(database, self.bounds.archived + 1..=through)?;
        }
        let transaction = database.begin_write()?;
        let old = Shape {
            branches: &self.branches,
            bounds: self.bounds,
        };
        let orphans = write(&transaction, &self.archive, batch, old, new)?;
        transaction.commit()?;
        self.archive.keep(new.bounds)?;
        Ok(orphans)
    }
}

impl Store for RedbStore {
    fn load(&mut self) -> Result<Durable, StoreError> {
        self.read(|database| read_durable(database, self.identity, &self.archive))
    }

    fn persist(&mut self, batch: &Persist) -> Result<Persisted, StoreError> {
        self.read(|_| Ok(()))?;
        if batch.is_empty() {
            return Ok(Persisted {
                orphans: self.orphans,
            });
        }
        let promised = batch.promised.unwrap_or(self.promised);
        assert!(promised >= self.promised, "promises only grow");
        let branches = branches_after(&self.branches, batch);
        let bounds = self.bounds.after(batch, &branches);
        let shape = Shape {
            branches: &branches,
            bounds,
        };
        match contain(|| self.write(batch, shape)) {
            Ok(orphans) => {
                self.promised = promised;
                self.branches = branches;
                self.bounds = bounds;
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
        self.bounds.check(from, through, &self.branches)?;
        if from > through {
            return Ok(Vec::new());
        }
        self.read(|database| {
            let mut entries = Vec::new();
            let mut bytes = 0;
            let mut next = from;
            let mut take = |index: Index, value: &[u8]| -> Result<bool, Fault> {
                if index != next {
                    return Err(missing(next));
                }
                let payload = parse_payload(index, value)?;
                bytes += payload.len();
                if bytes > max_bytes && !entries.is_empty() {
                    return Ok(false);
                }
                let position = self.branches.position_at(index);
                let position = position.ok_or_else(|| missing(index))?;
                entries.push(Entry { position, payload });
                next = index + 1;
                Ok(true)
            };
            let archived = self.bounds.archived;
            let mut more = true;
            if from <= archived {
                self.archive
                    .values(from..=through.min(archived), |index, value| {
                        more = take(index, value)?;
                        Ok(more)
                    })?;
            }
            let log = database.begin_read()?.open_table(LOG)?;
            let first = from.max(archived + 1);
            for row in log.range(first..=through)? {
                let (index, value) = row?;
                more = more && take(index.value(), value.value())?;
                if !more {
                    break;
                }
            }
            match more && next <= through {
                true => Err(missing(next)),
                false => Ok(entries),
            }
        })
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
            let mut bytes = 0;
            for row in table.range::<&[u8; POSITION]>((lower, Unbounded))? {
                let (key, value) = row?;
                let command = unseal(Table::Orphans, key.value(), value.value())?;
                bytes += command.len();
                if bytes > max_bytes && !orphans.is_empty() {
                    break;
                }
                orphans.push(Orphan {
                    origin: parse_position(key.value())?,
                    command: command.to_vec().into(),
                });
            }
            Ok(orphans)
        })
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
