//! The log on disk, in one redb file: the only part of this crate that knows redb.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | format version, cluster, replica, store uuid, promised epoch |
//! | `log` | index | payload |
//! | `branches` | index of an epoch's first entry | the epoch |
//! | `orphans` | position that the command was first appended at | the command |
//!
//! Entries do not repeat their epoch, the branch table tells it. Opening reads one row of the log per epoch and the last
//! one, never all. Each commit is durable and costs one flush; after a crash redb walks the file once, which takes time
//! in proportion to the file.

mod crash_disk;
pub mod file;
mod inspect;
mod rows;

use std::fs;
use std::path::{Path, PathBuf};

use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend,
    WriteTransaction,
};
use uuid::Uuid;

pub use self::crash_disk::{CrashDisk, Fate};
use self::file::{DataFile, Fault, contain};
use self::rows::{
    BRANCHES, CLUSTER, EncodedPayload, FORMAT, LOG, META, ORPHANS, PROMISED, REPLICA, STORE, Table,
    epoch_bytes, exactly, parse_epoch, parse_payload, parse_position, position_bytes, seal, unseal,
};
use crate::branch::BranchTable;
use crate::store::{Durable, Identity, Persist, Persisted, Store, StoreError, branches_after};
use crate::types::{
    ClusterId, Entry, Epoch, Index, Orphan, Payload, Position, ReplicaId, StoreUuid, ViewStart,
};

/// Name of the file within the data folder.
pub const LOG_FILE: &str = "log.redb";

/// The format that this version writes, and the newest that it reads.
const FORMAT_VERSION: u32 = 1;

/// What of the file may stay in memory: the tail of the log is what is read again.
const CACHE_BYTES: usize = 32 << 20;

/// A [`Store`] in a redb file.
#[derive(Debug)]
pub struct RedbStore {
    file: DataFile,
    identity: Identity,
    promised: Epoch,
    branches: BranchTable,
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
        RedbStore::check(file, path, cluster, replica)
    }

    /// The same over a storage of the caller's, which `label` names in messages.
    pub fn open_with_backend(
        backend: impl StorageBackend,
        label: &str,
        cluster: ClusterId,
        replica: ReplicaId,
    ) -> Result<RedbStore, StoreError> {
        let file = DataFile::open_with_backend(backend, label, CACHE_BYTES, |database| {
            initialise(database, cluster, replica)
        });
        RedbStore::check(file, PathBuf::from(label), cluster, replica)
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
        let durable = contain(|| read_durable(file.database(), identity)).map_err(explain)?;
        Ok(RedbStore {
            file,
            identity,
            promised: durable.promised,
            branches: durable.branches,
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

impl Store for RedbStore {
    fn load(&mut self) -> Result<Durable, StoreError> {
        self.read(|database| read_durable(database, self.identity))
    }

    fn persist(&mut self, batch: &Persist) -> Result<Persisted, StoreError> {
        if batch.is_empty() {
            return Ok(Persisted {
                orphans: self.orphans,
            });
        }
        let promised = batch.promised.unwrap_or(self.promised);
        assert!(promised >= self.promised, "promises only grow");
        let branches = branches_after(&self.branches, batch);
        let written = self.read(|database| {
            let transaction = database.begin_write()?;
            let orphans = write(&transaction, batch, &self.branches, &branches)?;
            transaction.commit()?;
            Ok(orphans)
        });
        match written {
            Ok(orphans) => {
                self.promised = promised;
                self.branches = branches;
                self.orphans = orphans;
                Ok(Persisted { orphans })
            }
            Err(error) => {
                self.failed
                    .get_or_insert_with(|| "an earlier write failed".to_owned());
                Err(error)
            }
        }
    }

    fn entries(
        &self,
        from: Index,
        through: Index,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let last = self.branches.last_index();
        if from == 0 || through > last {
            return Err(StoreError::OutOfRange {
                from,
                through,
                last,
            });
        }
        if from > through {
            return Ok(Vec::new());
        }
        self.read(|database| {
            let log = database.begin_read()?.open_table(LOG)?;
            let mut entries = Vec::new();
            let mut bytes = 0;
            for (row, index) in log.range(from..=through)?.zip(from..) {
                let (key, value) = row?;
                if key.value() != index {
                    return Err(missing(index));
                }
                let payload = parse_payload(index, value.value())?;
                bytes += payload.len();
                if bytes > max_bytes && !entries.is_empty() {
                    return Ok(entries);
                }
                let position = self
                    .branches
                    .position_at(index)
                    .ok_or_else(|| missing(index))?;
                entries.push(Entry { position, payload });
            }
            match from + entries.len() as u64 {
                next if next <= through => Err(missing(next)),
                _ => Ok(entries),
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
            for row in table.range::<&[u8; rows::POSITION]>((lower, Unbounded))? {
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

/// Writes the first rows of a new file.
fn initialise(database: &Database, cluster: ClusterId, replica: ReplicaId) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        let mut put = |name: &str, body: &[u8]| {
            meta.insert(name, seal(Table::Meta, name.as_bytes(), body).as_slice())
                .map(|_| ())
        };
        put(FORMAT, &FORMAT_VERSION.to_be_bytes())?;
        put(CLUSTER, cluster.0.as_bytes())?;
        put(REPLICA, &replica.0.to_be_bytes())?;
        put(STORE, Uuid::new_v4().as_bytes())?;
        put(PROMISED, &epoch_bytes(Epoch::default()))?;
        transaction.open_table(LOG)?;
        transaction.open_table(BRANCHES)?;
        transaction.open_table(ORPHANS)?;
    }
    Ok(transaction.commit()?)
}

fn meta<const N: usize>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<[u8; N], Fault> {
    let value = table
        .get(name)?
        .ok_or_else(|| Fault::Damaged(format!("it lacks its {name}")))?;
    Ok(*exactly(unseal(
        Table::Meta,
        name.as_bytes(),
        value.value(),
    )?)?)
}

/// The format version, and whose file it is. Newer formats must keep these rows.
fn read_identity(database: &Database) -> Result<(u32, Identity), Fault> {
    let table = database.begin_read()?.open_table(META)?;
    let identity = Identity {
        cluster: ClusterId(Uuid::from_bytes(meta(&table, CLUSTER)?)),
        replica: ReplicaId(u32::from_be_bytes(meta(&table, REPLICA)?)),
        store: StoreUuid(Uuid::from_bytes(meta(&table, STORE)?)),
    };
    Ok((u32::from_be_bytes(meta(&table, FORMAT)?), identity))
}

/// Everything but the entries, checked against each other.
fn read_durable(database: &Database, identity: Identity) -> Result<Durable, Fault> {
    let transaction = database.begin_read()?;
    let promised = parse_epoch(&meta::<{ rows::EPOCH }>(
        &transaction.open_table(META)?,
        PROMISED,
    )?)?;
    let log = transaction.open_table(LOG)?;
    let last = log.last()?.map_or(0, |(index, _)| index.value());
    if log.len()? != last {
        return Err(Fault::Damaged(format!(
            "the log ends at {last} and has {} entries",
            log.len()?
        )));
    }
    let mut epochs = Vec::new();
    let mut view_starts: Vec<(Index, ViewStart)> = Vec::new();
    for row in transaction.open_table(BRANCHES)?.iter()? {
        let (first, epoch) = row?;
        let first = first.value();
        epochs.push((
            parse_epoch(unseal(
                Table::Branches,
                &first.to_be_bytes(),
                epoch.value(),
            )?)?,
            first,
        ));
        match log
            .get(first)?
            .map(|value| parse_payload(first, value.value()))
            .transpose()?
        {
            Some(Payload::ViewStart(start)) => view_starts.push((first, start)),
            _ => {
                return Err(Fault::Damaged(format!(
                    "no view start stands at {first}, where an epoch begins"
                )));
            }
        }
    }
    let branches = BranchTable::from_parts(epochs, last)
        .ok_or_else(|| Fault::Damaged("its branch table does not fit its log".to_owned()))?;
    if branches.last().epoch > promised {
        return Err(Fault::Damaged(
            "its log is newer than its promise".to_owned(),
        ));
    }
    let orphans = transaction.open_table(ORPHANS)?.len()?;
    Ok(Durable {
        identity,
        promised,
        branches,
        view_starts,
        orphans,
    })
}

/// Writes a batch into an open transaction; the number of orphans afterwards.
fn write(
    transaction: &WriteTransaction,
    batch: &Persist,
    old: &BranchTable,
    new: &BranchTable,
) -> Result<u64, Fault> {
    if let Some(promised) = batch.promised {
        let value = seal(Table::Meta, PROMISED.as_bytes(), &epoch_bytes(promised));
        transaction
            .open_table(META)?
            .insert(PROMISED, value.as_slice())?;
    }
    let mut log = transaction.open_table(LOG)?;
    let mut orphans = transaction.open_table(ORPHANS)?;
    let kept = batch
        .truncate
        .map_or(old.last_index(), |keep| keep.min(old.last_index()));
    for index in kept + 1..=old.last_index() {
        let value = log.remove(index)?.ok_or_else(|| missing(index))?;
        let (origin, command) = match parse_payload(index, value.value())? {
            Payload::Command(command) => (
                old.position_at(index).ok_or_else(|| missing(index))?,
                command,
            ),
            Payload::Reproposed { origin, command } => (origin, command),
            Payload::ViewStart(_) => continue,
        };
        let key = position_bytes(origin);
        orphans.insert(&key, seal(Table::Orphans, &key, &command).as_slice())?;
    }
    for entry in &batch.append {
        let index = entry.position.index;
        let payload = EncodedPayload::new(&entry.payload);
        payload.write(
            index,
            log.insert_reserve(index, payload.sealed_len())?.as_mut(),
        );
    }
    for origin in &batch.forget {
        orphans.remove(&position_bytes(*origin))?;
    }
    // Both lists are in index order, and share all epochs that began at or below `kept`.
    let shared = old.epochs().partition_point(|(_, first)| *first <= kept);
    if old.epochs().len() > shared || new.epochs().len() > shared {
        let mut table = transaction.open_table(BRANCHES)?;
        for (_, first) in &old.epochs()[shared..] {
            table.remove(first)?;
        }
        for (epoch, first) in &new.epochs()[shared..] {
            let value = seal(Table::Branches, &first.to_be_bytes(), &epoch_bytes(*epoch));
            table.insert(first, value.as_slice())?;
        }
    }
    Ok(orphans.len()?)
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
