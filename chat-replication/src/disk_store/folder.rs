//! Where the files of a log lie.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

/// A file of a [`LogFolder`].
pub type LogFile = Box<dyn StorageBackend>;

/// A folder that holds a log and nothing else.
pub trait LogFolder: Debug + Send {
    /// Makes an empty file of a name that no file has.
    fn create(&self, name: &str) -> io::Result<LogFile>;

    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<LogFile>;

    /// Gives a file another name, in place of the file that has it. It may have the old one after a loss of power, until
    /// the next [`LogFolder::sync`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. It may be back after a loss of power, until the next [`LogFolder::sync`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of the files.
    fn names(&self) -> io::Result<Vec<String>>;

    /// When it returns, the names that there are survive a loss of power.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the file system.
#[derive(Debug)]
pub(super) struct DiskFolder {
    path: PathBuf,
}

impl DiskFolder {
    /// A folder that is there.
    pub(super) fn at(path: PathBuf) -> DiskFolder {
        DiskFolder { path }
    }

    /// The folder, which is created where there is none.
    pub(super) fn new(path: PathBuf) -> io::Result<DiskFolder> {
        fs::create_dir_all(&path)?;
        // Also where it was there: the process that made it may have died before this.
        if let Some(parent) = path.parent() {
            sync(parent)?;
        }
        Ok(DiskFolder::at(path))
    }

    fn file(&self, name: &str, options: &mut OpenOptions) -> io::Result<LogFile> {
        let file = options.read(true).write(true).open(self.path.join(name))?;
        let backend =
            FileBackend::new(file).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Box::new(backend))
    }
}

impl LogFolder for DiskFolder {
    fn create(&self, name: &str) -> io::Result<LogFile> {
        self.file(name, OpenOptions::new().create_new(true))
    }

    fn open(&self, name: &str) -> io::Result<LogFile> {
        self.file(name, &mut OpenOptions::new())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.path)?;
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn sync(&self) -> io::Result<()> {
        sync(&self.path)
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
