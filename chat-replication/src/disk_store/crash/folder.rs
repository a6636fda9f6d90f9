//! A folder whose files and names can be lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::{CrashDisk, Fate};
use crate::disk_store::folder::{LogFile, LogFolder};

/// A folder for simulated crashes: each of its files is a [`CrashDisk`], and which files there are may be lost, too, until
/// the folder is flushed. A process that is killed loses neither.
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
    /// A write that fails is the one amid which the process dies, unless another was.
    dying: bool,
    /// Flushes do nothing, and say nothing of it.
    unflushed: bool,
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

    /// Another folder with what a process finds in this one.
    pub fn copy(&self) -> CrashFolder {
        let live = self.files();
        let live = live.into_iter().map(|(name, disk)| (name, disk.copy()));
        let live: BTreeMap<_, _> = live.collect();
        let folder = CrashFolder::new();
        folder.names().durable.clone_from(&live);
        folder.names().live = live;
        folder
    }

    /// Takes a file away behind everybody's back.
    pub fn lose(&self, name: &str) {
        let mut names = self.names();
        names.live.remove(name);
        names.durable.remove(name);
    }

    /// The files that there are.
    pub fn files(&self) -> BTreeMap<String, CrashDisk> {
        self.names().live.clone()
    }

    /// Connects a process to the folder. Processes connected earlier fail from now on.
    pub fn connect(&self) -> impl LogFolder + use<> {
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

    /// Does something whose flushes do nothing, as if the process had forgotten them.
    pub fn without_flushes<T>(&self, act: impl FnOnce() -> T) -> T {
        self.names().unflushed = true;
        let done = act();
        self.names().unflushed = false;
        done
    }

    /// Takes the power away: ends the connected process and forgets what was not flushed, but for what `fate` lets through.
    pub fn crash(&self, mut fate: impl FnMut(usize) -> Fate) {
        let mut names = self.names();
        names.end();
        let Names { durable, live, .. } = &mut *names;
        for disk in durable.values().chain(live.values()) {
            disk.crash(&mut fate);
        }
        let all: BTreeSet<&String> = durable.keys().chain(live.keys()).collect();
        let mut after = BTreeMap::new();
        for name in all {
            let (old, new) = (durable.get(name), live.get(name));
            let is_same = matches!((old, new), (Some(old), Some(new)) if old.is(new));
            let disk = match is_same || fate(0) == Fate::Kept {
                true => new,
                false => old,
            };
            after.extend(disk.map(|disk| (name.clone(), disk.clone())));
        }
        live.clone_from(&after);
        *durable = after;
    }

    /// Kills the connected process. What it wrote is there for the next one, flushed or not; `fate` decides about the write
    /// amid which it died, if any.
    pub fn kill(&self, mut fate: impl FnMut(usize) -> Fate) {
        let mut names = self.names();
        names.end();
        for disk in names.live.values() {
            disk.kill(&mut fate);
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    /// The connected process ends.
    fn end(&mut self) {
        self.generation += 1;
        self.countdown = None;
        self.dying = false;
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

    fn file(&self, disk: &CrashDisk) -> LogFile {
        Box::new(File {
            process: self.clone(),
            backend: Box::new(disk.backend()),
            disk: disk.clone(),
        })
    }
}

impl LogFolder for Process {
    fn create(&self, name: &str) -> io::Result<LogFile> {
        let mut names = self.step()?;
        if names.live.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let disk = CrashDisk::new();
        names.live.insert(name.to_owned(), disk.clone());
        Ok(self.file(&disk))
    }

    fn open(&self, name: &str) -> io::Result<LogFile> {
        let names = self.names()?;
        let disk = names.live.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(disk))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.step()?;
        let disk = names.live.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.live.insert(to.to_owned(), disk);
        Ok(())
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
        if !names.unflushed {
            names.durable = names.live.clone();
        }
        Ok(())
    }
}

/// A file that fails with its folder.
#[derive(Debug)]
struct File {
    process: Process,
    backend: Box<dyn StorageBackend>,
    disk: CrashDisk,
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        drop(self.process.names()?);
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        drop(self.process.names()?);
        self.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        drop(self.process.step()?);
        self.backend.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let unflushed = self.process.step()?.unflushed;
        match unflushed {
            true => Ok(()),
            false => self.backend.sync_data(),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if let Err(error) = self.process.step().map(drop) {
            let mut names = self.process.folder.names();
            if names.generation == self.process.generation && !names.dying {
                names.dying = true;
                self.disk.die_amid(offset, data);
            }
            return Err(error);
        }
        self.backend.write(offset, data)
    }
}
