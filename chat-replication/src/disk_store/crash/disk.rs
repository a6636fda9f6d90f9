//! A disk in memory that can lose power.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// A disk for simulated crashes. What was written and not flushed may be lost by a loss of power, wholly or in part, in any
/// combination; what was flushed is kept. A process that is killed loses nothing that it wrote: the next one reads it, and
/// whatever of it that one does not flush can still be lost.
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
    durable: Bytes,
    /// What is read.
    live: Bytes,
    /// How the two differ, in order.
    unflushed: Vec<Change>,
    /// The write amid which the process died.
    in_flight: Option<Change>,
    /// Only the newest backend may touch the image: one from before a crash belongs to a dead process.
    generation: u64,
    /// Writes and flushes until the power fails.
    countdown: Option<u64>,
}

/// What a file holds: these bytes, and then zeros.
#[derive(Clone, Debug, Default)]
struct Bytes {
    written: Vec<u8>,
    len: usize,
}

impl From<Vec<u8>> for Bytes {
    fn from(written: Vec<u8>) -> Bytes {
        let len = written.len();
        Bytes { written, len }
    }
}

#[derive(Clone, Debug)]
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
        disk.image().live = bytes.clone().into();
        disk.image().durable = bytes.into();
        disk
    }

    /// Another disk that holds what a process reads from this one.
    pub fn copy(&self) -> CrashDisk {
        let live = self.image().live.clone();
        let copy = CrashDisk::new();
        copy.image().durable = live.clone();
        copy.image().live = live;
        copy
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

    /// Takes the power away. It ends the connected process and forgets what was not flushed, but for what `fate` lets
    /// through. It is asked once for each unflushed change, in order, with the number of its bytes.
    ///
    /// Call this before the database is dropped: dropping it writes.
    pub fn crash(&self, mut fate: impl FnMut(usize) -> Fate) {
        let mut image = self.image();
        image.generation += 1;
        image.countdown = None;
        let image = &mut *image;
        let in_flight = image.in_flight.take();
        for change in image.unflushed.drain(..).chain(in_flight) {
            if let Some(change) = change.after(&mut fate) {
                change.apply(&mut image.durable);
            }
        }
        image.live = image.durable.clone();
    }

    /// Kills the connected process. What it wrote is there for the next one, flushed or not; `fate` decides about the write
    /// amid which it died, if any.
    ///
    /// Call this before the database is dropped: dropping it writes.
    pub fn kill(&self, mut fate: impl FnMut(usize) -> Fate) {
        let mut image = self.image();
        image.generation += 1;
        image.countdown = None;
        let image = &mut *image;
        let change = image.in_flight.take();
        if let Some(change) = change.and_then(|change| change.after(&mut fate)) {
            change.clone().apply(&mut image.live);
            image.unflushed.push(change);
        }
    }

    /// The process dies amid this write.
    pub(super) fn die_amid(&self, offset: u64, data: &[u8]) {
        let data = data.to_owned();
        self.image().in_flight = Some(Change::Write { offset, data });
    }

    /// Whether it is another handle of the same disk.
    pub(super) fn is(&self, other: &CrashDisk) -> bool {
        Arc::ptr_eq(&self.image, &other.image)
    }

    /// Bytes on the disk.
    pub fn len(&self) -> usize {
        self.image().live.len
    }

    /// Whether the disk holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes bytes behind the back of whoever wrote them: rot. The zeros behind what was written stay.
    pub fn rot(&self, change: impl FnOnce(&mut [u8])) {
        let mut image = self.image();
        change(&mut image.live.written);
        image.durable = image.live.clone();
        image.unflushed.clear();
    }

    /// Changes the length behind the back of whoever wrote to it.
    pub fn cut(&self, len: usize) {
        let mut image = self.image();
        Change::SetLen(len as u64).apply(&mut image.live);
        image.durable = image.live.clone();
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

    /// What is left of it.
    fn after(self, fate: &mut impl FnMut(usize) -> Fate) -> Option<Change> {
        let decided = fate(self.len());
        match (self, decided) {
            (_, Fate::Lost) | (Change::SetLen(_), Fate::Torn(_)) => None,
            (change, Fate::Kept) => Some(change),
            (Change::Write { offset, mut data }, Fate::Torn(bytes)) => {
                data.truncate(bytes);
                Some(Change::Write { offset, data })
            }
        }
    }

    fn apply(self, bytes: &mut Bytes) {
        match self {
            Change::SetLen(len) => {
                bytes.len = len as usize;
                bytes.written.truncate(bytes.len);
            }
            Change::Write { offset, data } => {
                let range = offset as usize..offset as usize + data.len();
                if bytes.written.len() < range.end {
                    bytes.written.resize(range.end, 0);
                }
                bytes.written[range.clone()].copy_from_slice(&data);
                bytes.len = bytes.len.max(range.end);
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
        Ok(self.image()?.live.len as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.image()?;
        let (begin, end) = (offset as usize, offset as usize + out.len());
        let bytes = &image.live;
        if end > bytes.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let written = bytes.written.len();
        let some = &bytes.written[begin.min(written)..end.min(written)];
        out[..some.len()].copy_from_slice(some);
        out[some.len()..].fill(0);
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
        let mut image = match self.step() {
            Ok(image) => image,
            Err(error) => {
                let image = self.disk.image();
                let dies = image.generation == self.generation && image.in_flight.is_none();
                drop(image);
                if dies {
                    self.disk.die_amid(offset, data);
                }
                return Err(error);
            }
        };
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
