//! The entries of the log, in files that are only appended to.
//!
//! A write is one frame at the end of the newest segment, and one flush. Whatever else a batch does goes with a transaction
//! of `log.redb`, and what that batch appends then begins a segment of its own: the transaction that names the segment is
//! what makes both durable, so a crash leaves all of the batch or nothing. For the same reason a cut does not touch the
//! file that it cuts: the transaction says how far that one counts.
//!
//! A crash amid a frame leaves a part of it at the end of the newest segment, where nothing was acknowledged. Each frame
//! is written when the one before is flushed, so what does not fit *before* a whole frame is rot, and is told.
//!
//! Files grow by zeros ahead of what is written: a flush that changes a file's length takes the file system half as long
//! again.

mod folder;
mod frame;
mod recover;

use std::cell::RefCell;
use std::collections::BTreeSet;

pub(super) use self::folder::DiskFolder;
pub use self::folder::{SegmentFile, SegmentFolder};
use self::frame::{decode, encode, frame_len};
use self::recover::{Frame, recover, walk};
use super::file::Fault;
use crate::store::Persist;
use crate::types::{Entry, Index, Payload, StoreUuid};

/// Beyond this length a segment gets a successor.
const SEGMENT_BYTES: usize = 8 << 20;

/// Zeros that are written at once, ahead of the frames.
const GROWTH: usize = 256 << 10;

/// Payload bytes of a frame where several are written.
const FRAME_BYTES: usize = 1 << 20;

/// What `log.redb` says of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Segment {
    /// Index of its first entry.
    pub(super) first: Index,
    /// Drawn at random, so that no two files have the same name, and no frame is valid in two files.
    pub(super) id: u64,
    /// Its last entry, or, as long as it is not sealed, one that it is known to hold.
    pub(super) through: Index,
    /// Nothing is appended to it any more, and what it may hold beyond `through` does not count.
    pub(super) sealed: bool,
}

impl Segment {
    /// The one of a list in order that begins with an entry.
    pub(super) fn at(list: &[Segment], first: Index) -> Option<&Segment> {
        let at = list.binary_search_by_key(&first, |segment| segment.first);
        at.ok().map(|at| &list[at])
    }

    fn name(&self) -> String {
        format!("{:020}-{:016x}.log", self.first, self.id)
    }
}

/// The segments of a log, in order and without gaps.
#[derive(Debug)]
pub(super) struct Segments {
    folder: Box<dyn SegmentFolder>,
    store: StoreUuid,
    list: Vec<Segment>,
    /// The file of the last one, unless that is sealed.
    open: Option<Open>,
    /// Where the frames of the sealed one are that was read last.
    read: RefCell<Option<(u64, Vec<Frame>)>>,
    frame: Vec<u8>,
}

/// A segment that is appended to.
#[derive(Debug)]
struct Open {
    file: SegmentFile,
    seed: u64,
    frames: Vec<Frame>,
    /// Where the next frame goes.
    end: usize,
    /// Up to where the file is made of frames and zeros.
    grown: usize,
    last: Index,
}

/// What the segments are once a transaction is durable.
pub(super) struct Change {
    pub(super) list: Vec<Segment>,
    open: Next,
}

/// Where the next frame goes.
enum Next {
    Same,
    New(Option<Open>),
}

impl Segments {
    /// The segments that `log.redb` names. What a crash left of an unfinished write is removed.
    pub(super) fn open(
        folder: Box<dyn SegmentFolder>,
        store: StoreUuid,
        list: Vec<Segment>,
    ) -> Result<Segments, Fault> {
        let mut segments = Segments {
            folder,
            store,
            list,
            open: None,
            read: RefCell::new(None),
            frame: Vec::new(),
        };
        let names: BTreeSet<String> = segments.list.iter().map(Segment::name).collect();
        let found: BTreeSet<String> = segments.folder.names()?.into_iter().collect();
        if let Some(missing) = names.difference(&found).next() {
            return Err(Fault::Damaged(format!("{missing} is missing")));
        }
        for name in found.difference(&names) {
            segments.folder.remove(name)?;
        }
        let unsealed = segments.list.last().filter(|segment| !segment.sealed);
        if let Some(segment) = unsealed {
            let file = segments.folder.open(&segment.name())?;
            let seed = segments.seed(segment);
            let found = recover(&*file, seed, segment).map_err(|fault| named(segment, fault))?;
            segments.open = Some(Open {
                file,
                seed,
                frames: found.frames,
                end: found.end,
                grown: found.end,
                last: found.last,
            });
        }
        Ok(segments)
    }

    /// The segments, as `log.redb` has them.
    pub(super) fn list(&self) -> &[Segment] {
        &self.list
    }

    /// How long the files are that hold entries behind an index.
    pub(super) fn bytes_behind(&self, index: Index) -> Result<u64, Fault> {
        let held = self.named().into_iter();
        held.filter(|segment| segment.through > index)
            .map(|segment| Ok(self.folder.open(&segment.name())?.len()?))
            .sum()
    }

    /// The last entry; `None` where there is none.
    pub(super) fn last(&self) -> Option<Index> {
        let open = self.open.as_ref().map(|open| open.last);
        open.or_else(|| self.list.last().map(|segment| segment.through))
    }

    /// Appends entries with one flush, if the newest segment takes them; whether it does.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<bool, Fault> {
        let Some(open) = &mut self.open else {
            return Ok(false);
        };
        if open.end + frame_len(entries) > SEGMENT_BYTES {
            return Ok(false);
        }
        self.frame.clear();
        open.write(entries, &mut self.frame)?;
        open.file.sync_data()?;
        Ok(true)
    }

    /// Makes what the segments are to be after a batch, which leaves entries behind `compacted`. As long as `log.redb`
    /// does not say the same, it does not count.
    pub(super) fn prepare(&mut self, batch: &Persist, compacted: Index) -> Result<Change, Fault> {
        let mut list = self.named();
        let mut open = Next::Same;
        if let Some(keep) = batch.truncate
            && self.last().is_some_and(|last| last > keep)
        {
            list.retain(|segment| segment.first <= keep);
            if let Some(last) = list.last_mut() {
                last.through = last.through.min(keep);
                last.sealed = true;
            }
            open = Next::New(None);
        }
        if batch.reset.is_some() {
            list.clear();
            open = Next::New(None);
        }
        if let (Some(first), Some(last)) = (batch.append.first(), batch.append.last()) {
            if let Some(before) = list.last_mut() {
                before.sealed = true;
            }
            let segment = Segment {
                first: first.position.index,
                id: uuid::Uuid::new_v4().as_u64_pair().0,
                through: last.position.index,
                sealed: false,
            };
            open = Next::New(Some(self.create(&segment, &batch.append)?));
            list.push(segment);
        }
        list.retain(|segment| segment.through > compacted);
        if list.last().is_none_or(|segment| segment.sealed) {
            open = Next::New(None);
        }
        Ok(Change { list, open })
    }

    /// `log.redb` says the same now.
    pub(super) fn commit(&mut self, change: Change) -> Result<(), Fault> {
        let before = std::mem::replace(&mut self.list, change.list);
        if let Next::New(open) = change.open {
            self.open = open;
        }
        for segment in before {
            if Segment::at(&self.list, segment.first).is_none_or(|kept| kept.id != segment.id) {
                self.folder.remove(&segment.name())?;
            }
        }
        Ok(())
    }

    /// The segments, with how far the newest goes now.
    pub(super) fn named(&self) -> Vec<Segment> {
        let mut list = self.list.clone();
        if let (Some(newest), Some(open)) = (list.last_mut(), &self.open) {
            newest.through = open.last;
        }
        list
    }

    /// Visits the payloads of entries that are there, in order, for as long as `take` wants more.
    pub(super) fn read(
        &self,
        from: Index,
        through: Index,
        mut take: impl FnMut(Index, Payload) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let begin = self.list.partition_point(|segment| segment.first <= from);
        let mut next = from;
        let mut wanted = true;
        for (at, segment) in self.list.iter().enumerate().skip(begin.saturating_sub(1)) {
            let open = self.open.as_ref().filter(|_| at + 1 == self.list.len());
            let last = open.map_or(segment.through, |open| open.last);
            let visit = |index, payload| match index {
                early if early < from => Ok(true),
                late if late > through.min(last) => Ok(false),
                index => {
                    wanted = take(index, payload)?;
                    Ok(wanted)
                }
            };
            let read = match open {
                Some(open) => open.read(next, visit),
                None => self.read_sealed(segment, next, visit),
            };
            read.map_err(|fault| named(segment, fault))?;
            next = last + 1;
            if !wanted || next > through {
                break;
            }
        }
        Ok(())
    }

    fn read_sealed(
        &self,
        segment: &Segment,
        from: Index,
        take: impl FnMut(Index, Payload) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let file = self.folder.open(&segment.name())?;
        let seed = self.seed(segment);
        let mut read = self.read.borrow_mut();
        let known = read.as_ref().is_some_and(|(id, _)| *id == segment.id);
        if !known {
            let bytes = whole(&*file)?;
            let found = walk(&bytes, seed, segment.first, segment.through);
            if found.last < segment.through {
                return Err(Fault::Damaged(format!(
                    "the entries from {} to {} cannot be read",
                    found.last + 1,
                    segment.through
                )));
            }
            *read = Some((segment.id, found.frames));
        }
        match &*read {
            Some((_, frames)) => read_frames(&*file, seed, frames, from, take),
            None => Ok(()),
        }
    }

    fn create(&mut self, segment: &Segment, entries: &[Entry]) -> Result<Open, Fault> {
        let file = self.folder.create(&segment.name())?;
        let mut open = Open {
            file,
            seed: self.seed(segment),
            frames: Vec::new(),
            end: 0,
            grown: 0,
            last: segment.first - 1,
        };
        let mut rest = entries;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |entry: &&Entry| {
                bytes += entry.payload.len();
                bytes <= FRAME_BYTES
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (piece, others) = rest.split_at(count);
            self.frame.clear();
            open.write(piece, &mut self.frame)?;
            rest = others;
        }
        open.file.sync_data()?;
        self.folder.sync()?;
        Ok(open)
    }

    fn seed(&self, segment: &Segment) -> u64 {
        let mut whose = [0; 24];
        whose[..16].copy_from_slice(self.store.0.as_bytes());
        whose[16..].copy_from_slice(&segment.first.to_le_bytes());
        xxhash_rust::xxh3::xxh3_64_with_seed(&whose, segment.id)
    }
}

impl Open {
    /// Writes a frame, which is durable with the next flush.
    fn write(&mut self, entries: &[Entry], frame: &mut Vec<u8>) -> Result<(), Fault> {
        encode(entries, self.seed, frame);
        let end = self.end + frame.len();
        if end > self.grown {
            let grown = end.next_multiple_of(GROWTH);
            let zeros = vec![0; grown - self.grown];
            self.file.write(self.grown as u64, &zeros)?;
            self.grown = grown;
        }
        self.file.write(self.end as u64, frame)?;
        self.frames.push(Frame {
            first: self.last + 1,
            at: self.end,
            len: frame.len(),
        });
        self.end = end;
        self.last += entries.len() as u64;
        Ok(())
    }

    fn read(
        &self,
        from: Index,
        take: impl FnMut(Index, Payload) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        read_frames(&*self.file, self.seed, &self.frames, from, take)
    }
}

/// Visits entries for as long as `take` wants more, beginning with the frame that holds `from`.
fn read_frames(
    file: &dyn redb::StorageBackend,
    seed: u64,
    frames: &[Frame],
    from: Index,
    mut take: impl FnMut(Index, Payload) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    let begin = frames.partition_point(|frame| frame.first <= from);
    for frame in &frames[begin.saturating_sub(1)..] {
        let mut bytes = vec![0; frame.len];
        file.read(frame.at as u64, &mut bytes)?;
        if !decode(bytes, seed, frame.first, &mut take)? {
            break;
        }
    }
    Ok(())
}

fn whole(file: &dyn redb::StorageBackend) -> Result<Vec<u8>, Fault> {
    let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    file.read(0, &mut bytes)?;
    Ok(bytes)
}

/// A fault of a segment, told as one of the log.
fn named(segment: &Segment, fault: Fault) -> Fault {
    let named = |reason| format!("{}: {reason}", segment.name());
    match fault {
        Fault::Io(reason) => Fault::Io(named(reason)),
        Fault::Damaged(reason) => Fault::Damaged(named(reason)),
        Fault::InUse => Fault::InUse,
    }
}
