//! The archive: entries that some replica has not matched yet, in a file of their own.
//!
//! It is written before the log forgets what it is given, so a crash in between leaves entries in both, and the log's own
//! rows count. What lies beyond the log's bounds is left over from such a crash, or from a cut; it is overwritten or
//! dropped when the archive is written next.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, StorageBackend, TableDefinition, WriteTransaction};

use super::explain;
use super::file::{DataFile, Fault, contain};
use super::load::meta;
use super::rows::{LOG, META, STORE, Table, seal};
use crate::store::{Bounds, StoreError};
use crate::types::{Index, StoreUuid};

/// Name of the file within the data folder.
pub const ARCHIVE_FILE: &str = "archive.redb";

/// It is read from one end to the other, if at all.
const CACHE_BYTES: usize = 4 << 20;

/// Entries by index, as the log has them.
const ENTRIES: TableDefinition<'_, u64, &[u8]> = LOG;

/// The file, once it is needed.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    store: StoreUuid,
    file: Option<DataFile>,
    /// What of it is of use.
    bounds: Bounds,
}

impl Archive {
    /// The archive of a log in this folder. It is opened now only if the log needs it.
    pub(super) fn in_folder(
        folder: &Path,
        store: StoreUuid,
        bounds: Bounds,
    ) -> Result<Archive, StoreError> {
        let mut archive = Archive {
            path: folder.join(ARCHIVE_FILE),
            store,
            file: None,
            bounds,
        };
        let there = archive.path.exists();
        if !archive.holds_something() && there {
            // Whoever was away is back, and the disk has better uses.
            archive.explained(|archive| Ok(fs::remove_file(&archive.path)?))?;
        } else if archive.holds_something() {
            archive.explained(|archive| match there {
                true => archive.open(),
                false => Err(Fault::Damaged(
                    "it is missing, and the log beside it needs it".to_owned(),
                )),
            })?;
        }
        Ok(archive)
    }

    /// The same over a storage of the caller's.
    pub(super) fn on_backend(
        backend: impl StorageBackend,
        label: &str,
        store: StoreUuid,
        bounds: Bounds,
    ) -> Result<Archive, StoreError> {
        let mut archive = Archive {
            path: PathBuf::from(format!("{label} (archive)")),
            store,
            file: None,
            bounds,
        };
        archive.explained(|archive| {
            let label = archive.path.display().to_string();
            let file = DataFile::open_with_backend(backend, &label, CACHE_BYTES, |database| {
                initialise(database, store)
            })?;
            archive.take(file)
        })?;
        Ok(archive)
    }

    /// Whether some entries are nowhere else.
    fn holds_something(&self) -> bool {
        self.bounds.archived > self.bounds.compacted
    }

    fn open(&mut self) -> Result<(), Fault> {
        if self.file.is_some() {
            return Ok(());
        }
        let store = self.store;
        let file = DataFile::open(&self.path, CACHE_BYTES, |database| {
            initialise(database, store)
        })?;
        self.take(file)
    }

    fn take(&mut self, file: DataFile) -> Result<(), Fault> {
        let owner = contain(|| {
            let meta_rows = file.database().begin_read()?.open_table(META)?;
            meta::<16>(&meta_rows, STORE)
        })?;
        if owner != *self.store.0.as_bytes() {
            return Err(Fault::Damaged(
                "it is the archive of another log".to_owned(),
            ));
        }
        self.file = Some(file);
        Ok(())
    }

    /// Takes entries over from the log. Durable when it returns.
    pub(super) fn write(
        &mut self,
        log: &Database,
        entries: RangeInclusive<Index>,
    ) -> Result<(), Fault> {
        self.open().map_err(named)?;
        let rows = log.begin_read()?.open_table(LOG)?;
        self.change(|transaction| {
            let mut table = transaction.open_table(ENTRIES)?;
            for row in rows.range(entries)? {
                let (index, payload) = row?;
                table.insert(index.value(), payload.value())?;
            }
            Ok(())
        })
    }

    /// The stored value of an entry.
    pub(super) fn value(&self, index: Index) -> Result<Vec<u8>, Fault> {
        let table = self.database()?.begin_read()?.open_table(ENTRIES)?;
        let value = table.get(index)?.ok_or_else(|| super::missing(index))?;
        Ok(value.value().to_vec())
    }

    /// Visits stored values in order for as long as `visit` says so.
    pub(super) fn values(
        &self,
        entries: RangeInclusive<Index>,
        mut visit: impl FnMut(Index, &[u8]) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let table = self.database()?.begin_read()?.open_table(ENTRIES)?;
        let mut next = *entries.start();
        for row in table.range(entries.clone())? {
            let (index, value) = row?;
            if index.value() != next {
                return Err(named(super::missing(next)));
            }
            next += 1;
            if !visit(index.value(), value.value())? {
                return Ok(());
            }
        }
        match next > *entries.end() {
            true => Ok(()),
            false => Err(named(super::missing(next))),
        }
    }

    /// The log's bounds have changed: entries below them are dropped. All of them, where nothing is left of use.
    pub(super) fn keep(&mut self, bounds: Bounds) -> Result<(), Fault> {
        let before = std::mem::replace(&mut self.bounds, bounds);
        if before.archived <= before.compacted || before.compacted == bounds.compacted {
            return Ok(());
        }
        self.change(|transaction| {
            if bounds.archived > bounds.compacted {
                let mut table = transaction.open_table(ENTRIES)?;
                table.retain_in(..=bounds.compacted, |_, _| false)?;
            } else {
                transaction.delete_table(ENTRIES)?;
                transaction.open_table(ENTRIES)?;
            }
            Ok(())
        })
    }

    /// Gives space that is not used back to the file system.
    pub(super) fn compact(&mut self) -> Result<(), StoreError> {
        let compacted = self.file.as_mut().map_or(Ok(()), DataFile::compact);
        compacted.map_err(|fault| explain(fault, &self.path))
    }

    fn change(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let transaction = begin(self.database()?)?;
        work(&transaction).map_err(named)?;
        transaction.commit().map_err(|error| named(error.into()))
    }

    fn database(&self) -> Result<&Database, Fault> {
        let file = self.file.as_ref();
        file.map(DataFile::database)
            .ok_or_else(|| Fault::Damaged("its archive is missing".to_owned()))
    }

    fn explained(
        &mut self,
        work: impl FnOnce(&mut Archive) -> Result<(), Fault>,
    ) -> Result<(), StoreError> {
        work(self).map_err(|fault| explain(fault, &self.path))
    }
}

/// A fault of this file, told as one of the log.
fn named(fault: Fault) -> Fault {
    let named = |reason| format!("{ARCHIVE_FILE} beside it: {reason}");
    match fault {
        Fault::Io(reason) => Fault::Io(named(reason)),
        Fault::Damaged(reason) => Fault::Damaged(named(reason)),
        Fault::InUse => Fault::InUse,
    }
}

/// It is written seldom, so each commit saves the walk that a repair would take.
fn begin(database: &Database) -> Result<WriteTransaction, Fault> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn initialise(database: &Database, store: StoreUuid) -> Result<(), Fault> {
    let transaction = begin(database)?;
    {
        let owner = seal(Table::Meta, STORE.as_bytes(), store.0.as_bytes());
        transaction
            .open_table(META)?
            .insert(STORE, owner.as_slice())?;
        transaction.open_table(ENTRIES)?;
    }
    Ok(transaction.commit()?)
}
