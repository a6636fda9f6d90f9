//! Opening a redb file so that each way it can fail has its own clear reason.
//!
//! Public because an application that keeps its state in redb, too, wants the same: a file that is created whole or not
//! at all, one lock for one process, and damage that is reported instead of a panic.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Database, StorageBackend};

use super::checked::{Checked, Rotten};

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
            // Some say no more than that the file is none of theirs.
            io::ErrorKind::InvalidData => Fault::Damaged(match error.get_ref() {
                Some(reason) => reason.to_string(),
                None => "it is not a database file".to_owned(),
            }),
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
    lock: Option<Arc<File>>,
    rotten: Rotten,
}

/// What a damaged file is set aside as, behind its own name.
pub const DAMAGED: &str = "damaged";

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
            Ok(_) => contain(|| {
                let file = OpenOptions::new().read(true).write(true).open(path)?;
                checked(file, cache_bytes)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path, cache_bytes, initialise)?
            }
            Err(error) => return Err(error.into()),
        };
        let (database, rotten) = database;
        Ok(DataFile {
            database: Some(database),
            path: path.to_owned(),
            lock: Some(Arc::new(lock)),
            rotten,
        })
    }

    /// Sets the file [aside](set_aside) and creates another one in its place, under the same lock. Whoever still reads the
    /// old one reads on there. Fails over a storage of the caller's.
    pub fn replace(
        &self,
        cache_bytes: usize,
        initialise: impl FnOnce(&Database) -> Result<(), Fault>,
    ) -> Result<DataFile, Fault> {
        let Some(lock) = &self.lock else {
            return Err(Fault::Io("it is no file that can be replaced".to_owned()));
        };
        put_aside(&self.path)?;
        let (database, rotten) = create(&self.path, cache_bytes, initialise)?;
        Ok(DataFile {
            database: Some(database),
            path: self.path.clone(),
            lock: Some(Arc::clone(lock)),
            rotten,
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
            lock: None,
            rotten: Rotten::default(),
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

    /// Whether bytes were read that are not what was written. redb calls that an error of the system at first, and then says
    /// no more than that there was one.
    pub fn is_rotten(&self) -> bool {
        self.rotten.is_so()
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

/// Sets a file that is damaged aside, durably, so that another one can be made under its name: nothing of it is lost to
/// whoever may want to look at it. One that was set aside before, and is still there, was not replaced by a whole one
/// since: it is worth more, and stays.
pub fn set_aside(path: &Path) -> Result<(), Fault> {
    let _lock = lock(path)?;
    put_aside(path)
}

/// Removes what was set aside, if anything was: a whole file has taken its place.
pub fn forget_aside(path: &Path) -> Result<(), Fault> {
    match fs::remove_file(beside(path, DAMAGED)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn put_aside(path: &Path) -> Result<(), Fault> {
    let aside = beside(path, DAMAGED);
    match aside.try_exists()? {
        true => fs::remove_file(path)?,
        false => fs::rename(path, &aside)?,
    }
    sync_folder_of(path)
}

fn builder(cache_bytes: usize) -> redb::Builder {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(cache_bytes);
    builder
}

/// Holds the lock of a file, or of a folder, for as long as what is returned lives.
pub(super) fn lock(path: &Path) -> Result<File, Fault> {
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
) -> Result<(Database, Rotten), Fault> {
    let unfinished = beside(path, "new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&unfinished)?;
    let (database, rotten) = checked(file, cache_bytes)?;
    initialise(&database)?;
    fs::rename(&unfinished, path)?;
    sync_folder_of(path)?;
    Ok((database, rotten))
}

/// A database in a file of [checked](super::checked) blocks.
fn checked(file: File, cache_bytes: usize) -> Result<(Database, Rotten), Fault> {
    let storage = Checked::over(FileBackend::new(file)?)?;
    let rotten = storage.rotten();
    Ok((builder(cache_bytes).create_with_backend(storage)?, rotten))
}

/// Until its folder is flushed, a file's name may be lost.
fn sync_folder_of(path: &Path) -> Result<(), Fault> {
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}
