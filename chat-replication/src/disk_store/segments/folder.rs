//! Where segments lie.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

/// A file of a [`SegmentFolder`].
pub type SegmentFile = Box<dyn StorageBackend>;

/// A folder that holds segments and nothing else.
pub trait SegmentFolder: Debug + Send {
    /// Makes an empty file of a name that no file has.
    fn create(&self, name: &str) -> io::Result<SegmentFile>;

    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<SegmentFile>;

    /// Removes a file. It may be back after a loss of power, until the next [`SegmentFolder::sync`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of the files.
    fn names(&self) -> io::Result<Vec<String>>;

    /// When it returns, the names that there are survive a loss of power.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the file system.
#[derive(Debug)]
pub(in super::super) struct DiskFolder {
    path: PathBuf,
}

impl DiskFolder {
    /// The folder, which is created where there is none.
    pub(in super::super) fn new(path: PathBuf) -> io::Result<DiskFolder> {
        if !path.is_dir() {
            fs::create_dir_all(&path)?;
            if let Some(parent) = path.parent() {
                sync(parent)?;
            }
        }
        Ok(DiskFolder { path })
    }

    fn file(&self, name: &str, options: &mut OpenOptions) -> io::Result<SegmentFile> {
        let file = options.read(true).write(true).open(self.path.join(name))?;
        let backend =
            FileBackend::new(file).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Box::new(backend))
    }
}

impl SegmentFolder for DiskFolder {
    fn create(&self, name: &str) -> io::Result<SegmentFile> {
        self.file(name, OpenOptions::new().create_new(true))
    }

    fn open(&self, name: &str) -> io::Result<SegmentFile> {
        self.file(name, &mut OpenOptions::new())
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
