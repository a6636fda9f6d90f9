//! A folder whose files and names can be lost.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::{CrashDisk, Fate};
use crate::disk_store::segments::{SegmentFile, SegmentFolder};

/// A folder for simulated crashes: each of its files is a [`CrashDisk`], and which files there are may be lost, too, until
/// the folder is flushed.
///
/// Clones are handles of the same folder.
#[derive(Clone, Debug, Default)]
pub struct CrashFolder {
    names: Arc<Mutex<Names>>,
}

#[derive(Debug, Default)]
struct Names {
    /// What survives.
    durable: BTreeMap<String, CrashDisk>,
    /// What is seen.
    live: BTreeMap<String, CrashDisk>,
    /// Only the newest process may touch it.
    generation: u64,
    /// Writes and flushes, of files and names, until the power fails.
    countdown: Option<u64>,
}

impl CrashFolder {
    /// An empty folder.
    pub fn new() -> CrashFolder {
        CrashFolder::default()
    }

    /// A folder that holds these files.
    pub fn with_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> CrashFolder {
        let folder = CrashFolder::new();
        let disks = files.into_iter();
        let disks = disks.map(|(name, bytes)| (name, CrashDisk::with_bytes(bytes)));
        let live: BTreeMap<_, _> = disks.collect();
        folder.names().durable.clone_from(&live);
        folder.names().live = live;
        folder
    }

    /// The files that there are.
    pub fn files(&self) -> BTreeMap<String, CrashDisk> {
        self.names().live.clone()
    }

    /// Connects a process to the folder. Processes connected earlier fail from now on.
    pub fn connect(&self) -> impl SegmentFolder + use<> {
        let mut names = self.names();
        names.generation += 1;
        Process {
            folder: self.clone(),
            generation: names.generation,
        }
    }

    /// Lets the power fail after so many more writes and flushes: the one after them fails, and all that follow.
    pub fn fail_after(&self, operations: u64) {
        self.names().countdown = Some(operations);
    }

    /// Ends the connected process and forgets what was not flushed, but for what `fate` lets through.
    pub fn crash(&self, mut fate: impl FnMut(usize) -> Fate) {
        let mut names = self.names();
        names.generation += 1;
        names.countdown = None;
        let Names { durable, live, .. } = &mut *names;
        let mut disks = durable.clone();
        disks.extend(live.clone());
        for disk in disks.values() {
            disk.crash(&mut fate);
        }
        let mut after = live.clone();
        after.retain(|name, _| durable.contains_key(name) || fate(0) == Fate::Kept);
        for (name, disk) in durable.iter() {
            if !live.contains_key(name) && fate(0) != Fate::Kept {
                after.insert(name.clone(), disk.clone());
            }
        }
        live.clone_from(&after);
        *durable = after;
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Debug)]
struct Process {
    folder: CrashFolder,
    generation: u64,
}

impl Process {
    /// The folder, while this process lives.
    fn names(&self) -> io::Result<MutexGuard<'_, Names>> {
        let names = self.folder.names();
        match names.generation == self.generation && names.countdown != Some(0) {
            true => Ok(names),
            false => Err(io::Error::other("the power is gone")),
        }
    }

    /// The folder for one operation that counts.
    fn step(&self) -> io::Result<MutexGuard<'_, Names>> {
        let mut names = self.names()?;
        names.countdown = names.countdown.map(|left| left - 1);
        Ok(names)
    }

    fn file(&self, disk: &CrashDisk) -> SegmentFile {
        Box::new(File {
            process: self.clone(),
            disk: Box::new(disk.backend()),
        })
    }
}

impl SegmentFolder for Process {
    fn create(&self, name: &str) -> io::Result<SegmentFile> {
        let mut names = self.step()?;
        if names.live.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let disk = CrashDisk::new();
        names.live.insert(name.to_owned(), disk.clone());
        Ok(self.file(&disk))
    }

    fn open(&self, name: &str) -> io::Result<SegmentFile> {
        let names = self.names()?;
        let disk = names.live.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(disk))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.step()?.live.remove(name);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(Process::names(self)?.live.keys().cloned().collect())
    }

    fn sync(&self) -> io::Result<()> {
        let mut names = self.step()?;
        names.durable = names.live.clone();
        Ok(())
    }
}

/// A file that fails with its folder.
#[derive(Debug)]
struct File {
    process: Process,
    disk: Box<dyn StorageBackend>,
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        drop(self.process.names()?);
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        drop(self.process.names()?);
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        drop(self.process.step()?);
        self.disk.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        drop(self.process.step()?);
        self.disk.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        drop(self.process.step()?);
        self.disk.write(offset, data)
    }
}
