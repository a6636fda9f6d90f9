//! `state.redb`: the state at the last checkpoint.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | format version, owner, checkpoint |
//! | `rows` | chat-core's | a checksum, then chat-core's |
//! | `incoming` | the same | the same, of a snapshot that is coming in |
//!
//! redb verifies its pages only when it repairs a file, and every checkpoint is written so that it need not. So each row
//! has a checksum of its own.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use chat_core::store::Order;
use chat_replication::disk_store::file::{DataFile, Fault, contain};
use chat_replication::types::{ClusterId, ReplicaId};
use redb::{
    AccessGuard, Database, Range, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageBackend,
    TableDefinition, WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::StateError;
use super::overlay::{Checkpoint, Frozen};
use super::sealed::{CHECKSUM, seal, unseal};
use super::writing::write_rows;

/// Name of the file within the data folder.
pub const STATE_FILE: &str = "state.redb";

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

/// Rows of [`META`]. Newer formats must keep the first two.
const FORMAT: &str = "format";
const OWNER: &str = "owner";
pub(super) const CHECKPOINT: &str = "checkpoint";
/// Only where the rows came as a snapshot that the log may not know of.
pub(super) const UNSETTLED: &str = "unsettled";

/// The format that this version writes, and the newest that it reads.
const FORMAT_VERSION: u32 = 1;

/// How a file begins whose blocks have no checksums.
const OLD_MAGIC: &[u8] = b"redb";

/// What of the file may stay in memory while it is made smaller.
const COMPACT_CACHE_BYTES: usize = 64 << 20;

/// The open file.
#[derive(Debug)]
pub(super) struct StateFile {
    file: DataFile,
    cache_bytes: usize,
    /// The first fault that anybody met: from then on nothing is answered from it.
    fault: OnceLock<Fault>,
}

/// The file's rows at one checkpoint. Stays the same while a later one is written.
pub(super) type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;
/// Two guards of a row in the file.
pub(super) type BaseRow = (
    AccessGuard<'static, &'static [u8]>,
    AccessGuard<'static, &'static [u8]>,
);

impl StateFile {
    pub(super) fn open(
        folder: &Path,
        cache_bytes: usize,
        cluster: ClusterId,
        replica: ReplicaId,
    ) -> Result<StateFile, StateError> {
        let path = folder.join(STATE_FILE);
        fs::create_dir_all(folder).map_err(|error| StateError::Io {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        if starts_with(&path, OLD_MAGIC) {
            return Err(StateError::Foreign {
                path,
                reason: "was written by an older version, without checksums of its blocks; install that version again, or \
                         move the data folder away and let this replica take everything from the others"
                    .to_owned(),
            });
        }
        let file = DataFile::open(&path, cache_bytes, |database| {
            initialise(database, (cluster, replica))
        });
        StateFile::check(file, cache_bytes, path, (cluster, replica))
    }

    /// Another, empty one in the place of this one, which is set aside.
    pub(super) fn replace(
        &self,
        cluster: ClusterId,
        replica: ReplicaId,
    ) -> Result<StateFile, StateError> {
        let owner = (cluster, replica);
        let initialise = |database: &Database| initialise(database, owner);
        let file = self.file.replace(self.cache_bytes, initialise);
        StateFile::check(file, self.cache_bytes, self.path().to_owned(), owner)
    }

    /// The same over a storage of the caller's, which `label` names in messages.
    pub(super) fn open_with_backend(
        backend: impl StorageBackend,
        label: &str,
        cache_bytes: usize,
        cluster: ClusterId,
        replica: ReplicaId,
    ) -> Result<StateFile, StateError> {
        let file = DataFile::open_with_backend(backend, label, cache_bytes, |database| {
            initialise(database, (cluster, replica))
        });
        let path = PathBuf::from(label);
        StateFile::check(file, cache_bytes, path, (cluster, replica))
    }

    fn check(
        file: Result<DataFile, Fault>,
        cache_bytes: usize,
        path: PathBuf,
        me: (ClusterId, ReplicaId),
    ) -> Result<StateFile, StateError> {
        let file = StateFile {
            file: file.map_err(|fault| StateError::explain(fault, &path))?,
            cache_bytes,
            fault: OnceLock::new(),
        };
        let (format, owner) = file.run(|database| {
            let meta = database.begin_read()?.open_table(META)?;
            Ok((
                read_meta::<u32>(&meta, FORMAT)?,
                read_meta::<(ClusterId, ReplicaId)>(&meta, OWNER)?,
            ))
        })?;
        let foreign = |reason| Err(StateError::Foreign { path, reason });
        if format > FORMAT_VERSION {
            return foreign(format!(
                "was written by a newer version (format {format}, this version reads up to {FORMAT_VERSION}); install \
                 that version again"
            ));
        }
        if owner != me {
            return foreign(format!(
                "belongs to replica {} of cluster {}, not to replica {} of cluster {}; point each replica at its own \
                 data folder",
                owner.1, owner.0, me.1, me.0
            ));
        }
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Runs something on the database. A panic of redb over a damaged file is an error of the file, not of the command
    /// that happened to read it.
    pub(super) fn run<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Fault>,
    ) -> Result<T, StateError> {
        contain(|| work(self.file.database())).map_err(|fault| self.failed(fault))
    }

    /// Notes a fault: whoever met it, no one is answered from this file any more.
    pub(super) fn failed(&self, fault: Fault) -> StateError {
        let fault = match fault {
            Fault::Io(reason) if self.file.is_rotten() => Fault::Damaged(reason),
            fault => fault,
        };
        let _ = self.fault.set(fault.clone());
        StateError::explain(fault, self.path())
    }

    /// The first fault that anybody met.
    pub(super) fn fault(&self) -> Option<&Fault> {
        self.fault.get()
    }

    /// Fails once anybody has met a fault.
    pub(super) fn check_faultless(&self) -> Result<(), StateError> {
        match self.fault() {
            Some(fault) => Err(StateError::explain(fault.clone(), self.path())),
            None => Ok(()),
        }
    }

    /// What the rows stand for.
    pub(super) fn checkpoint(&self) -> Result<Checkpoint, StateError> {
        self.run(|database| read_meta(&database.begin_read()?.open_table(META)?, CHECKPOINT))
    }

    /// The rows as they are now.
    pub(super) fn base(&self) -> Result<Rows, StateError> {
        self.run(|database| Ok(database.begin_read()?.open_table(ROWS)?))
    }

    /// The rows as they are now, and what they stand for.
    pub(super) fn checkpoint_and_base(&self) -> Result<(Checkpoint, Rows), StateError> {
        self.run(|database| {
            let transaction = database.begin_read()?;
            let checkpoint = read_meta(&transaction.open_table(META)?, CHECKPOINT)?;
            Ok((checkpoint, transaction.open_table(ROWS)?))
        })
    }

    /// A row of a base.
    pub(super) fn read(&self, base: &Rows, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.run(|_| {
            let Some(value) = base.get(key)? else {
                return Ok(None);
            };
            Ok(Some(unseal(key, value.value())?.to_vec()))
        })
    }

    /// Takes the next row of a range.
    pub(super) fn next(
        &self,
        range: &mut Range<'static, &'static [u8], &'static [u8]>,
        order: Order,
    ) -> Result<Option<BaseRow>, StateError> {
        self.run(|_| {
            let row = match order {
                Order::Ascending => range.next(),
                Order::Descending => range.next_back(),
            };
            let Some((key, value)) = row.transpose()? else {
                return Ok(None);
            };
            unseal(key.value(), value.value())?;
            Ok(Some((key, value)))
        })
    }

    /// Writes a frozen overlay as one durable transaction.
    pub(super) fn write(&self, frozen: &Frozen) -> Result<(), StateError> {
        self.run(|database| {
            let transaction = begin(database)?;
            {
                let mut rows = transaction.open_table(ROWS)?;
                write_rows(&mut rows, &frozen.whole())?;
            }
            put_meta(&transaction, CHECKPOINT, &frozen.checkpoint)?;
            Ok(transaction.commit()?)
        })
    }

    /// Gives space that no row takes back to the file system.
    fn compact(&mut self) -> Result<(), StateError> {
        let compacted = self.file.compact();
        compacted.map_err(|fault| self.failed(fault))
    }

    /// Back to the empty state.
    pub(super) fn clear(&self) -> Result<(), StateError> {
        self.run(|database| {
            let transaction = begin(database)?;
            transaction.delete_table(ROWS)?;
            transaction.open_table(ROWS)?;
            put_meta(&transaction, CHECKPOINT, &Checkpoint::default())?;
            transaction.open_table(META)?.remove(UNSETTLED)?;
            Ok(transaction.commit()?)
        })
    }
}

/// Gives space that the state in a data folder does not use back to the file system, if there is a state. Nobody else may be
/// using it. A process that is killed meanwhile loses nothing.
pub fn compact(folder: &Path, cluster: ClusterId, replica: ReplicaId) -> Result<(), StateError> {
    if !folder.join(STATE_FILE).exists() {
        return Ok(());
    }
    // Reading is all in order, and done once.
    let mut file = StateFile::open(folder, COMPACT_CACHE_BYTES, cluster, replica)?;
    file.discard_incoming()?;
    file.compact()
}

fn starts_with(path: &Path, letters: &[u8]) -> bool {
    let mut found = vec![0; letters.len()];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut found));
    read.is_ok() && found == letters
}

/// Every commit saves what a repair would have to find out by walking the file.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, Fault> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn initialise(database: &Database, owner: (ClusterId, ReplicaId)) -> Result<(), Fault> {
    let transaction = begin(database)?;
    put_meta(&transaction, FORMAT, &FORMAT_VERSION)?;
    put_meta(&transaction, OWNER, &owner)?;
    put_meta(&transaction, CHECKPOINT, &Checkpoint::default())?;
    transaction.open_table(ROWS)?;
    Ok(transaction.commit()?)
}

pub(super) fn put_meta(
    transaction: &WriteTransaction,
    name: &str,
    value: &impl Serialize,
) -> Result<(), Fault> {
    let bytes =
        postcard::to_stdvec(value).expect("meta rows hold nothing that postcard cannot encode");
    let mut sealed = Vec::new();
    transaction
        .open_table(META)?
        .insert(name, seal(name.as_bytes(), &bytes, &mut sealed))?;
    Ok(())
}

pub(super) fn read_meta<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<T, Fault> {
    let value = table
        .get(name)?
        .ok_or_else(|| Fault::Damaged(format!("it lacks its {name}")))?;
    let bytes = unseal(name.as_bytes(), value.value())?;
    postcard::from_bytes(bytes)
        .map_err(|error| Fault::Damaged(format!("its {name} cannot be read ({error})")))
}

/// The value within a row that [`StateFile::next`] has checked.
pub(super) fn checked_value(row: &BaseRow) -> &[u8] {
    &row.1.value()[CHECKSUM..]
}
