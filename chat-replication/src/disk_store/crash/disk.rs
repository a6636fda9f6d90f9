//! A disk in memory that can lose power.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// A disk for simulated crashes. What was written and not flushed may be lost by a crash, wholly or in part, in any
/// combination; what was flushed is kept.
///
/// Clones are handles of the same disk.
#[derive(Clone, Debug, Default)]
pub struct CrashDisk {
    image: Arc<Mutex<Image>>,
}

/// What a crash does to one unflushed change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It reached the disk.
    Kept,
    /// It did not.
    Lost,
    /// Of a write, only so many bytes did. A change of length is lost.
    Torn(usize),
}

#[derive(Debug, Default)]
struct Image {
    /// What survives.
    durable: Vec<u8>,
    /// What is read.
    live: Vec<u8>,
    /// How the two differ, in order.
    unflushed: Vec<Change>,
    /// Only the newest backend may touch the image: one from before a crash belongs to a dead process.
    generation: u64,
    /// Writes and flushes until the power fails.
    countdown: Option<u64>,
}

#[derive(Debug)]
enum Change {
    Write { offset: u64, data: Vec<u8> },
    SetLen(u64),
}

impl CrashDisk {
    /// An empty disk.
    pub fn new() -> CrashDisk {
        CrashDisk::default()
    }

    /// A disk that holds these bytes.
    pub fn with_bytes(bytes: Vec<u8>) -> CrashDisk {
        let disk = CrashDisk::new();
        disk.image().live.clone_from(&bytes);
        disk.image().durable = bytes;
        disk
    }

    /// Connects a process to the disk. Backends connected earlier fail from now on.
    pub fn backend(&self) -> impl StorageBackend + use<> {
        let mut image = self.image();
        image.generation += 1;
        Backend {
            disk: self.clone(),
            generation: image.generation,
        }
    }

    /// Lets the power fail after so many more writes and flushes: the one after them fails, and all that follow.
    pub fn fail_after(&self, operations: u64) {
        self.image().countdown = Some(operations);
    }

    /// Ends the connected process and forgets what was not flushed, but for what `fate` lets through. It is asked once
    /// for each unflushed change, in order, with the number of its bytes.
    ///
    /// Call this before the database is dropped: dropping it writes.
    pub fn crash(&self, mut fate: impl FnMut(usize) -> Fate) {
        let mut image = self.image();
        image.generation += 1;
        image.countdown = None;
        let image = &mut *image;
        for change in image.unflushed.drain(..) {
            let decided = fate(change.len());
            match (change, decided) {
                (_, Fate::Lost) | (Change::SetLen(_), Fate::Torn(_)) => {}
                (change, Fate::Kept) => change.apply(&mut image.durable),
                (Change::Write { offset, mut data }, Fate::Torn(bytes)) => {
                    data.truncate(bytes);
                    Change::Write { offset, data }.apply(&mut image.durable);
                }
            }
        }
        image.live.clone_from(&image.durable);
    }

    /// Bytes on the disk.
    pub fn len(&self) -> usize {
        self.image().live.len()
    }

    /// Whether the disk holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes bytes behind the back of whoever wrote them: rot.
    pub fn rot(&self, change: impl FnOnce(&mut [u8])) {
        let mut image = self.image();
        change(&mut image.durable);
        let durable = image.durable.clone();
        image.live = durable;
        image.unflushed.clear();
    }

    fn image(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Change {
    fn len(&self) -> usize {
        match self {
            Change::Write { data, .. } => data.len(),
            Change::SetLen(_) => 0,
        }
    }

    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Change::SetLen(len) => bytes.resize(len as usize, 0),
            Change::Write { offset, data } => {
                let range = offset as usize..offset as usize + data.len();
                if bytes.len() < range.end {
                    bytes.resize(range.end, 0);
                }
                bytes[range].copy_from_slice(&data);
            }
        }
    }
}

#[derive(Debug)]
struct Backend {
    disk: CrashDisk,
    generation: u64,
}

impl Backend {
    /// The image, while this process lives.
    fn image(&self) -> io::Result<MutexGuard<'_, Image>> {
        let image = self.disk.image();
        if image.generation == self.generation && image.countdown != Some(0) {
            Ok(image)
        } else {
            Err(io::Error::other("the power is gone"))
        }
    }

    /// The image for one operation that counts.
    fn step(&self) -> io::Result<MutexGuard<'_, Image>> {
        let mut image = self.image()?;
        image.countdown = image.countdown.map(|left| left - 1);
        Ok(image)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.image()?.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.image()?;
        let range = offset as usize..offset as usize + out.len();
        let bytes = image.live.get(range).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut image = self.step()?;
        Change::SetLen(len).apply(&mut image.live);
        image.unflushed.push(Change::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut image = self.step()?;
        let image = &mut *image;
        for change in image.unflushed.drain(..) {
            change.apply(&mut image.durable);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut image = self.step()?;
        let image = &mut *image;
        let change = || Change::Write {
            offset,
            data: data.to_owned(),
        };
        change().apply(&mut image.live);
        image.unflushed.push(change());
        Ok(())
    }
}
