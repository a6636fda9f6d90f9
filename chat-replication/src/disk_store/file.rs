//! Opening a redb file so that each way it can fail has its own clear reason.
//!
//! Public because an application that keeps its state in redb, too, wants the same: a file that is created whole or not
//! at all, one lock for one process, and damage that is reported instead of a panic.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, StorageBackend};

/// Why a file cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The system refused a read, a write or a flush.
    Io(String),
    /// What the file holds does not fit together.
    Damaged(String),
    /// Another process holds the file.
    InUse,
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Fault {
        use redb::Error as E;
        match error {
            E::DatabaseAlreadyOpen => Fault::InUse,
            E::Io(error) => error.into(),
            E::PreviousIo => Fault::Io("an earlier read or write failed".to_owned()),
            E::UpgradeRequired(version) => Fault::Damaged(format!(
                "it has version {version} of the database format, which cannot be read"
            )),
            E::Corrupted(reason) => Fault::Damaged(reason),
            E::TableDoesNotExist(table) => Fault::Damaged(format!("the table {table} is missing")),
            error @ (E::TableTypeMismatch { .. }
            | E::TableIsMultimap(_)
            | E::TableIsNotMultimap(_)
            | E::TypeDefinitionChanged { .. }
            | E::RepairAborted
            | E::UnorderedKey
            | E::LockPoisoned(_)) => Fault::Damaged(error.to_string()),
            error => Fault::Io(error.to_string()),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::InvalidData => Fault::Damaged("it is not a database file".to_owned()),
            io::ErrorKind::UnexpectedEof => Fault::Damaged("it ends too early".to_owned()),
            _ => Fault::Io(error.to_string()),
        }
    }
}

/// `?` for each of redb's error types, all of which become a [`redb::Error`] first.
macro_rules! fault_from {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for Fault {
            fn from(error: redb::$error) -> Fault {
                Fault::from(redb::Error::from(error))
            }
        }
    )*};
}
fault_from!(
    CommitError,
    CompactionError,
    CursorError,
    DatabaseError,
    StorageError,
    TableError,
    TransactionError
);

/// An open database file. Dropped, it is closed in such a way that the next opening is quick.
#[derive(Debug)]
pub struct DataFile {
    /// Always there until drop.
    database: Option<Database>,
    path: PathBuf,
    /// Held for as long as the database is open. redb's own lock would do, were it not for the moment of creation.
    _lock: Option<File>,
}

impl DataFile {
    /// Opens the file, or creates it where there is none; `initialise` then writes its first rows. A file that was
    /// created only in part, because the power went, is never found under this name.
    ///
    /// At most about `cache_bytes` of the file are kept in memory.
    pub fn open(
        path: &Path,
        cache_bytes: usize,
        initialise: impl FnOnce(&Database) -> Result<(), Fault>,
    ) -> Result<DataFile, Fault> {
        let lock = lock(path)?;
        let database = match fs::metadata(path) {
            Ok(metadata) if metadata.len() == 0 => {
                return Err(Fault::Damaged("it is empty".to_owned()));
            }
            Ok(_) => contain(|| Ok(builder(cache_bytes).open(path)?))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path, cache_bytes, initialise)?
            }
            Err(error) => return Err(error.into()),
        };
        Ok(DataFile {
            database: Some(database),
            path: path.to_owned(),
            _lock: Some(lock),
        })
    }

    /// The same over a storage of the caller's, which `label` names in messages. Empty storage is initialised.
    pub fn open_with_backend(
        backend: impl StorageBackend,
        label: &str,
        cache_bytes: usize,
        initialise: impl FnOnce(&Database) -> Result<(), Fault>,
    ) -> Result<DataFile, Fault> {
        let database = contain(|| {
            let database = builder(cache_bytes).create_with_backend(backend)?;
            let transaction = database.begin_write()?;
            let fresh = transaction.list_tables()?.next().is_none();
            transaction.abort()?;
            if fresh {
                initialise(&database)?;
            }
            Ok(database)
        })?;
        Ok(DataFile {
            database: Some(database),
            path: PathBuf::from(label),
            _lock: None,
        })
    }

    /// The open database.
    pub fn database(&self) -> &Database {
        self.database
            .as_ref()
            .expect("a database is taken out only by drop")
    }

    /// Moves what the file holds together and gives the rest of it back to the file system. May take as long as writing all
    /// of it.
    ///
    /// It goes in transactions: a process that is killed meanwhile leaves the same rows. The next opening then walks the
    /// whole file.
    pub fn compact(&mut self) -> Result<(), Fault> {
        let database = self
            .database
            .as_mut()
            .expect("a database is taken out only by drop");
        contain(|| Ok(database.compact().map(drop)?))
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DataFile {
    fn drop(&mut self) {
        let database = self.database.take();
        // Closing a damaged file may panic inside redb; there is nobody left to tell.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

/// Runs something over a file that may be damaged: a panic of the storage engine becomes a fault.
pub fn contain<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let reason = panic
            .downcast_ref::<&str>()
            .map(|reason| (*reason).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Err(Fault::Damaged(format!(
            "the storage engine gave up on it ({reason})"
        )))
    })
}

fn builder(cache_bytes: usize) -> redb::Builder {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(cache_bytes);
    builder
}

fn lock(path: &Path) -> Result<File, Fault> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(beside(path, "lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Fault::InUse),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Creates the file under another name and renames it once it is whole.
fn create(
    path: &Path,
    cache_bytes: usize,
    initialise: impl FnOnce(&Database) -> Result<(), Fault>,
) -> Result<Database, Fault> {
    let unfinished = beside(path, "new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let database = builder(cache_bytes).create(&unfinished)?;
    initialise(&database)?;
    fs::rename(&unfinished, path)?;
    // Until its folder is flushed, the name may be lost.
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(database)
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}
