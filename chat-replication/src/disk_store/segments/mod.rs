//! The entries of the log, in files that are only appended to.
//!
//! A write is one frame at the end of the newest segment, and one flush. Whatever else a batch does goes with a transaction
//! of the manifest, and what that batch appends then begins a segment of its own: the transaction that names the segment is
//! what makes both durable, so a crash leaves all of the batch or nothing. For the same reason a cut does not touch the
//! file that it cuts: the transaction says how far that one counts.
//!
//! A crash amid a frame leaves a part of it at the end of the newest segment, where nothing was acknowledged. Rot of the last
//! frame would look the same. So after each flush a *mark* is written some way behind the frame, in another sector, which
//! says that the frame was flushed. It is not flushed itself: it outlives a process that is killed, and after a loss of power
//! it is missing only where the frame after it was never flushed either, or nothing was written since. And a file that can
//! be appended to has its whole length from the beginning, so that one which is cut short is found out.
//!
//! Damage within is told entry by entry: where the frames behind it are whole, or the manifest says how far the file goes,
//! it is known what is missing. What other replicas hold of it takes its place in a new file. To a damaged file nothing is
//! appended, and none is removed that may hold what no transaction has done away with.

mod entries;
mod recover;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;

use redb::StorageBackend;
use serde::{Deserialize, Serialize};

use self::entries::{Stamp, decode, encode, encode_hole, encode_mark, frame_len};
use self::recover::{Found, Frame, recover, walk};
use super::folder::{LogFile, LogFolder};
use super::frame::read_used;
use super::trouble::Trouble;
use crate::store::Persist;
use crate::types::{Entry, Index, Payload, StoreUuid};

/// Beyond this length a segment gets a successor. Until then it has this length.
const SEGMENT_BYTES: usize = 8 << 20;

/// Zeros that are written at once, ahead of the frames: a flush that gives blocks to a file takes half as long again.
const GROWTH: usize = 256 << 10;

/// Payload bytes of a frame where several are written.
const FRAME_BYTES: usize = 1 << 20;

/// A mark stands at the next multiple of this behind the last frame, and so far behind it at least.
const MARK_ALIGNMENT: usize = 4096;
const MARK_DISTANCE: usize = 512;

/// What the name of a segment ends with that no manifest names and that may hold something.
const KEPT: &str = ".kept";

/// What the manifest says of a segment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
    fn new(first: Index, through: Index) -> Segment {
        Segment {
            first,
            id: uuid::Uuid::new_v4().as_u64_pair().0,
            through,
            sealed: false,
        }
    }

    /// The one of a list in order that begins with an entry.
    pub(super) fn at(list: &[Segment], first: Index) -> Option<&Segment> {
        let at = list.binary_search_by_key(&first, |segment| segment.first);
        at.ok().map(|at| &list[at])
    }

    fn name(&self) -> String {
        format!("{:020}-{:016x}.log", self.first, self.id)
    }

    /// The first entry and the number of a segment of this name.
    pub(super) fn parse_name(name: &str) -> Option<(Index, u64)> {
        let (first, id) = name.strip_suffix(".log")?.split_once('-')?;
        Some((first.parse().ok()?, u64::from_str_radix(id, 16).ok()?))
    }
}

/// The segments of a log, in order and without gaps.
#[derive(Debug)]
pub(super) struct Segments {
    store: StoreUuid,
    list: Vec<Segment>,
    /// The file of the last one, unless nothing is appended to it.
    open: Option<Open>,
    /// Where the frames of the one are that was read last, of those to which nothing is appended.
    read: RefCell<Option<(u64, Found)>>,
    /// Entries that are known to be damaged, by the segment's number.
    damaged: RefCell<BTreeMap<u64, Vec<RangeInclusive<Index>>>>,
    frame: Vec<u8>,
}

/// A segment that is appended to.
#[derive(Debug)]
struct Open {
    file: LogFile,
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

/// The manifest that the segments belong to.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub(super) store: StoreUuid,
    /// Number of its last transaction.
    pub(super) sequence: u64,
    /// Neither of its files had lost anything.
    pub(super) was_whole: bool,
}

impl Segments {
    /// The segments that a manifest names. What a crash left of an unfinished write is removed.
    pub(super) fn open(
        folder: &dyn LogFolder,
        origin: Origin,
        list: Vec<Segment>,
    ) -> Result<Segments, Trouble> {
        let mut segments = Segments {
            store: origin.store,
            list,
            open: None,
            read: RefCell::new(None),
            damaged: RefCell::default(),
            frame: Vec::new(),
        };
        let names: BTreeSet<String> = folder.names()?.into_iter().collect();
        let sealed = segments.list.iter().filter(|segment| segment.sealed);
        for segment in sealed.filter(|segment| !names.contains(&segment.name())) {
            segments.tell(segment.id, Found::nothing(segment).damaged);
        }
        segments.open_newest(folder, origin)?;
        segments.clear(folder, origin, &names)?;
        folder.sync()?;
        Ok(segments)
    }

    fn open_newest(&mut self, folder: &dyn LogFolder, origin: Origin) -> Result<(), Trouble> {
        let Some(segment) = self.list.last_mut().filter(|segment| !segment.sealed) else {
            return Ok(());
        };
        let name = segment.name();
        let file = match folder.open(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Trouble::Damaged(format!("{name} is missing")));
            }
            file => file?,
        };
        let seed = seed_of(origin.store, segment.first, segment.id);
        let found = recover(&*file, seed, segment).map_err(|trouble| trouble.in_file(&name))?;
        check_sequence(&found, &name, origin)?;
        if found.damaged.is_empty() {
            let open = Open {
                file,
                seed,
                frames: found.frames,
                end: found.end,
                grown: found.end,
                last: found.last,
            };
            open.mark(origin.sequence)?;
            self.open = Some(open);
        } else {
            segment.through = found.last;
            segment.sealed = true;
            let id = segment.id;
            self.tell(id, found.damaged.clone());
            self.read.replace(Some((id, found)));
        }
        Ok(())
    }

    /// Removes files that are named no more, or never were.
    fn clear(
        &self,
        folder: &dyn LogFolder,
        origin: Origin,
        names: &BTreeSet<String>,
    ) -> Result<(), Trouble> {
        let listed: BTreeSet<String> = self.list.iter().map(Segment::name).collect();
        for name in names.difference(&listed) {
            let Some((first, id)) = Segment::parse_name(name) else {
                continue;
            };
            let (bytes, length) = read_used(&*folder.open(name)?)?;
            let found = walk(
                (&bytes, length),
                seed_of(origin.store, first, id),
                first.max(1),
            );
            check_sequence(&found, name, origin)?;
            match origin.was_whole {
                true => folder.remove(name)?,
                false => folder.rename(name, &format!("{name}{KEPT}"))?,
            }
        }
        Ok(())
    }

    /// How long the files are that hold entries behind an index.
    pub(super) fn bytes_behind(
        &self,
        folder: &dyn LogFolder,
        index: Index,
    ) -> Result<u64, Trouble> {
        let mut bytes = 0;
        let open = self.open.as_ref().filter(|open| open.last > index);
        if let Some(open) = open {
            // The rest of it is a hole.
            bytes += open.end as u64;
        }
        let sealed = self.list.iter().filter(|segment| segment.sealed);
        for segment in sealed.filter(|segment| segment.through > index) {
            match folder.open(&segment.name()).and_then(|file| file.len()) {
                Ok(length) => bytes += length,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(bytes)
    }

    /// The last entry; `None` where there is none.
    pub(super) fn last(&self) -> Option<Index> {
        let open = self.open.as_ref().map(|open| open.last);
        open.or_else(|| self.list.last().map(|segment| segment.through))
    }

    /// Entries that are known to be damaged, in order.
    pub(super) fn damaged(&self) -> Vec<RangeInclusive<Index>> {
        let damaged = self.damaged.borrow();
        let lists = self.list.iter().filter_map(|segment| {
            let ranges = damaged.get(&segment.id)?.iter();
            // What was cut off does not count, damaged or not.
            let counts =
                |range: &RangeInclusive<Index>| *range.start()..=segment.through.min(*range.end());
            Some(ranges.map(counts).filter(|range| !range.is_empty()))
        });
        lists.flatten().collect()
    }

    fn tell(&self, id: u64, ranges: Vec<RangeInclusive<Index>>) {
        if !ranges.is_empty() {
            self.damaged.borrow_mut().insert(id, ranges);
        }
    }

    /// Appends entries with one flush, if the newest segment takes them; whether it does.
    pub(super) fn append(&mut self, entries: &[Entry], sequence: u64) -> Result<bool, Trouble> {
        let Some(open) = &mut self.open else {
            return Ok(false);
        };
        if open.end + frame_len(entries) > SEGMENT_BYTES {
            return Ok(false);
        }
        self.frame.clear();
        open.write(entries, sequence, &mut self.frame)?;
        open.file.sync_data()?;
        open.mark(sequence)?;
        Ok(true)
    }

    /// Makes what the segments are to be after a batch, which leaves entries behind `compacted`. As long as the manifest
    /// does not say the same, it does not count.
    pub(super) fn prepare(
        &mut self,
        folder: &dyn LogFolder,
        batch: &Persist,
        compacted: Index,
        sequence: u64,
    ) -> Result<Change, Trouble> {
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
            let segment = Segment::new(first.position.index, last.position.index);
            let mut made = self.create(folder, &segment)?;
            for piece in pieces(&batch.append) {
                self.frame.clear();
                made.write(piece, sequence, &mut self.frame)?;
            }
            made.file.sync_data()?;
            folder.sync()?;
            open = Next::New(Some(made));
            list.push(segment);
        }
        list.retain(|segment| segment.through > compacted);
        if list.last().is_none_or(|segment| segment.sealed) {
            open = Next::New(None);
        }
        Ok(Change { list, open })
    }

    /// Makes new segments in place of damaged ones that these entries mend, whole or in part; `None` where they mend none.
    pub(super) fn prepare_mend(
        &mut self,
        folder: &dyn LogFolder,
        entries: &[Entry],
        sequence: u64,
    ) -> Result<Option<Change>, Trouble> {
        let mut list = self.named();
        let mut open = Next::Same;
        let mut mends = false;
        for (at, segment) in self.list.clone().into_iter().enumerate() {
            let through = list[at].through;
            let known = entries
                .iter()
                .map(|entry| (entry.position.index, &entry.payload));
            let known: BTreeMap<Index, &Payload> = known
                .filter(|(index, _)| (segment.first..=through).contains(index))
                .collect();
            if known.is_empty() {
                continue;
            }
            let mut held = self.held(folder, at, &segment)?;
            let before = held.len();
            for (index, payload) in known {
                held.entry(index).or_insert_with(|| payload.clone());
            }
            if held.len() == before {
                continue;
            }
            mends = true;
            let mended = Segment {
                sealed: true,
                ..Segment::new(segment.first, through)
            };
            self.copy(folder, &mended, held, sequence)?;
            list[at] = mended;
            if at + 1 == list.len() {
                open = Next::New(None);
            }
        }
        if mends {
            folder.sync()?;
        }
        Ok(mends.then_some(Change { list, open }))
    }

    /// The entries of a segment that can be read.
    fn held(
        &self,
        folder: &dyn LogFolder,
        at: usize,
        segment: &Segment,
    ) -> Result<BTreeMap<Index, Payload>, Trouble> {
        let mut held = BTreeMap::new();
        let mut next = segment.first;
        let through = self.open.as_ref().filter(|_| at + 1 == self.list.len());
        let through = through.map_or(segment.through, |open| open.last);
        while next <= through {
            let read = self.read(folder, next, through, |index, payload| {
                held.insert(index, payload);
                Ok(true)
            });
            next = match read {
                Ok(()) => break,
                Err(Trouble::Entries(damaged, _)) => damaged.end() + 1,
                Err(trouble) => return Err(trouble),
            };
        }
        Ok(held)
    }

    /// Writes a segment of these entries, with holes for those that are missing.
    fn copy(
        &mut self,
        folder: &dyn LogFolder,
        segment: &Segment,
        held: BTreeMap<Index, Payload>,
        sequence: u64,
    ) -> Result<(), Trouble> {
        let mut made = self.create(folder, segment)?;
        let mut holes = Vec::new();
        let mut next = segment.first;
        let mut run: Vec<Entry> = Vec::new();
        let mut held = held.into_iter().peekable();
        while let Some((index, payload)) = held.next() {
            if index > next {
                holes.push(next..=index - 1);
                made.hole(next, index - 1, sequence)?;
            }
            next = index + 1;
            run.push(Entry {
                position: crate::types::Position {
                    index,
                    ..crate::types::Position::default()
                },
                payload,
            });
            if held.peek().is_none_or(|(following, _)| *following != next) {
                for piece in pieces(&run) {
                    self.frame.clear();
                    made.write(piece, sequence, &mut self.frame)?;
                }
                run.clear();
            }
        }
        if next <= segment.through {
            holes.push(next..=segment.through);
            made.hole(next, segment.through, sequence)?;
        }
        made.file.set_len(made.end as u64)?;
        made.file.sync_data()?;
        self.tell(segment.id, holes);
        Ok(())
    }

    /// The manifest says the same now, in its transaction of a number.
    pub(super) fn commit(
        &mut self,
        folder: &dyn LogFolder,
        change: Change,
        sequence: u64,
    ) -> Result<(), Trouble> {
        let before = std::mem::replace(&mut self.list, change.list);
        if let Next::New(open) = change.open {
            let sealed = std::mem::replace(&mut self.open, open);
            // It is not needed for as long as it could be appended to.
            if let Some(sealed) = sealed {
                sealed.file.set_len(sealed.end as u64)?;
            }
        }
        let ids: BTreeSet<u64> = self.list.iter().map(|segment| segment.id).collect();
        for segment in before.iter().filter(|segment| !ids.contains(&segment.id)) {
            match folder.remove(&segment.name()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        self.damaged.borrow_mut().retain(|id, _| ids.contains(id));
        self.mark(sequence)
    }

    /// Notes beside the newest entries which transaction the manifest has come to.
    pub(super) fn mark(&self, sequence: u64) -> Result<(), Trouble> {
        match &self.open {
            Some(open) => open.mark(sequence),
            None => Ok(()),
        }
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
    ///
    /// # Errors
    ///
    /// [`Trouble::Entries`] where the next of them cannot be read.
    pub(super) fn read(
        &self,
        folder: &dyn LogFolder,
        from: Index,
        through: Index,
        mut take: impl FnMut(Index, Payload) -> Result<bool, Trouble>,
    ) -> Result<(), Trouble> {
        let begin = self.list.partition_point(|segment| segment.first <= from);
        let mut next = from;
        let mut wanted = true;
        for (at, segment) in self.list.iter().enumerate().skip(begin.saturating_sub(1)) {
            let open = self.open.as_ref().filter(|_| at + 1 == self.list.len());
            let last = through.min(open.map_or(segment.through, |open| open.last));
            let take = |index, payload| {
                wanted = take(index, payload)?;
                Ok(wanted)
            };
            let read = match open {
                Some(open) => {
                    self.read_frames(segment, &*open.file, &open.frames, next..=last, take)
                }
                None => self.read_sealed(folder, segment, next..=last, take),
            };
            read.map_err(|trouble| trouble.in_file(&segment.name()))?;
            next = last + 1;
            if !wanted || next > through {
                break;
            }
        }
        Ok(())
    }

    fn read_sealed(
        &self,
        folder: &dyn LogFolder,
        segment: &Segment,
        range: RangeInclusive<Index>,
        take: impl FnMut(Index, Payload) -> Result<bool, Trouble>,
    ) -> Result<(), Trouble> {
        let file = match folder.open(&segment.name()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Trouble::Entries(
                    *range.start()..=segment.through,
                    "it is missing".to_owned(),
                ));
            }
            Err(error) => return Err(error.into()),
        };
        let mut read = self.read.borrow_mut();
        let known = read.as_ref().is_some_and(|(id, _)| *id == segment.id);
        if !known {
            let (bytes, length) = read_used(&*file)?;
            let found =
                walk((&bytes, length), self.seed(segment), segment.first).through(segment.through);
            self.tell(segment.id, found.damaged.clone());
            *read = Some((segment.id, found));
        }
        match &*read {
            Some((_, found)) => self.read_frames(segment, &*file, &found.frames, range, take),
            None => Ok(()),
        }
    }

    /// Visits the entries of a range for as long as `take` wants more.
    fn read_frames(
        &self,
        segment: &Segment,
        file: &dyn StorageBackend,
        frames: &[Frame],
        range: RangeInclusive<Index>,
        mut take: impl FnMut(Index, Payload) -> Result<bool, Trouble>,
    ) -> Result<(), Trouble> {
        let (mut next, through) = range.into_inner();
        let begin = frames.partition_point(|frame| frame.through < next);
        let mut frames = frames[begin..].iter();
        while next <= through {
            let frame = frames.next();
            let first = frame.map_or(Index::MAX, |frame| frame.first);
            let Some(frame) = frame.filter(|_| first <= next) else {
                let lost = next..=segment.through.max(next).min(first - 1);
                return Err(Trouble::Entries(lost, "they cannot be read".to_owned()));
            };
            let mut bytes = vec![0; frame.len];
            let read = file
                .read(frame.at as u64, &mut bytes)
                .map_err(Trouble::from);
            let visited = read.and_then(|()| {
                decode(
                    bytes,
                    self.seed(segment),
                    frame.first,
                    |index, payload| match index {
                        early if early < next => Ok(true),
                        late if late > through => Ok(false),
                        index => take(index, payload),
                    },
                )
            });
            match visited {
                Ok(true) => next = frame.through + 1,
                Ok(false) => return Ok(()),
                Err(trouble) => {
                    let lost = frame.first..=frame.through;
                    self.damaged
                        .borrow_mut()
                        .entry(segment.id)
                        .or_default()
                        .push(lost.clone());
                    return Err(match trouble {
                        Trouble::Io(reason) | Trouble::Damaged(reason) => {
                            Trouble::Entries(next..=*lost.end(), reason)
                        }
                        other => other,
                    });
                }
            }
        }
        Ok(())
    }

    /// Makes the file of a segment, without entries.
    fn create(&self, folder: &dyn LogFolder, segment: &Segment) -> Result<Open, Trouble> {
        let file = folder.create(&segment.name())?;
        // All of it from the beginning, so that a file that is cut short is found out.
        file.set_len(SEGMENT_BYTES as u64)?;
        Ok(Open {
            file,
            seed: self.seed(segment),
            frames: Vec::new(),
            end: 0,
            grown: 0,
            last: segment.first - 1,
        })
    }

    fn seed(&self, segment: &Segment) -> u64 {
        seed_of(self.store, segment.first, segment.id)
    }
}

impl Open {
    /// Writes a frame, which is durable with the next flush.
    fn write(
        &mut self,
        entries: &[Entry],
        sequence: u64,
        frame: &mut Vec<u8>,
    ) -> Result<(), Trouble> {
        encode(entries, self.stamp(sequence), frame);
        self.put(frame)?;
        self.frames.push(Frame {
            first: self.last + 1,
            through: self.last + entries.len() as u64,
            at: self.end,
            len: frame.len(),
        });
        self.end += frame.len();
        self.last += entries.len() as u64;
        Ok(())
    }

    fn hole(&mut self, first: Index, through: Index, sequence: u64) -> Result<(), Trouble> {
        let mut frame = Vec::new();
        encode_hole(first, through, self.stamp(sequence), &mut frame);
        self.put(&frame)?;
        self.end += frame.len();
        self.last = through;
        Ok(())
    }

    fn put(&mut self, frame: &[u8]) -> Result<(), Trouble> {
        let end = self.end + frame.len();
        if end <= self.grown {
            self.file.write(self.end as u64, frame)?;
            return Ok(());
        }
        // One write, whose beginning is the frame: zeros that came first would take the last frame's mark away.
        self.grown = end.next_multiple_of(GROWTH);
        let mut bytes = frame.to_vec();
        bytes.resize(self.grown - self.end, 0);
        self.file.write(self.end as u64, &bytes)?;
        Ok(())
    }

    /// Notes that everything up to here is flushed.
    fn mark(&self, sequence: u64) -> Result<(), Trouble> {
        let mut mark = Vec::new();
        encode_mark(self.last + 1, self.stamp(sequence), &mut mark);
        let at = (self.end + MARK_DISTANCE).next_multiple_of(MARK_ALIGNMENT);
        self.file.write(at as u64, &mark)?;
        Ok(())
    }

    fn stamp(&self, sequence: u64) -> Stamp {
        Stamp {
            seed: self.seed,
            sequence,
        }
    }
}

/// The entries of one frame each.
fn pieces(entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    let mut rest = entries;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.payload.len();
            bytes <= FRAME_BYTES
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (piece, others) = rest.split_at_checked(count)?;
        rest = others;
        Some(piece)
    })
}

/// No frame tells of a transaction that the manifest does not know.
fn check_sequence(found: &Found, name: &str, origin: Origin) -> Result<(), Trouble> {
    match found.sequence > origin.sequence {
        true => Err(Trouble::Damaged(format!(
            "its manifests are older than its entries: {name} was written after transaction {}, and they end with \
             transaction {}",
            found.sequence, origin.sequence
        ))),
        false => Ok(()),
    }
}

fn seed_of(store: StoreUuid, first: Index, id: u64) -> u64 {
    let mut whose = [0; 24];
    whose[..16].copy_from_slice(store.0.as_bytes());
    whose[16..].copy_from_slice(&first.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64_with_seed(&whose, id)
}
