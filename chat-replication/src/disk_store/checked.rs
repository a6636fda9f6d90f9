//! A storage that notices rot: whatever is read is what was written, or an error.
//!
//! redb looks at the checksums of its pages only when it repairs a file. Between two repairs a byte that rots in a page can
//! lead a search past a row, and what is there is taken for missing. So each block of 4 KiB has a checksum here, and is
//! checked each time that it is read.
//!
//! ```text
//! | checksums of 512 blocks | 512 blocks | checksums of 512 blocks | 512 blocks | …
//! ```
//!
//! The first block of the file is redb's own header, which is written in place and checked by redb itself: in the place of
//! its checksum stand the letters that tell such a file. Blocks that were never written have none.
//!
//! Checksums reach the disk with the flush that makes their blocks count. A loss of power leaves each as it was before or as
//! it was to become. Only blocks that nothing refers to can end up with the wrong one, as redb never writes to a block that
//! counts.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::StorageBackend;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes that one checksum is of.
const BLOCK: u64 = 4096;
/// Bytes of a checksum.
const SUM: u64 = 8;
/// Blocks whose checksums fill one block.
const GROUP: u64 = BLOCK / SUM;

/// In the place of the first block's checksum.
const MARK: [u8; SUM as usize] = *b"checked1";

/// A storage within another one, each of whose blocks is checked when it is read.
#[derive(Debug)]
pub(super) struct Checked<B> {
    inner: B,
    sums: RwLock<Sums>,
    rotten: Rotten,
}

/// Whether rot was met in a storage.
#[derive(Clone, Debug, Default)]
pub(super) struct Rotten(Arc<AtomicBool>);

impl Rotten {
    pub(super) fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Sums {
    /// Those of each group, once they were read.
    groups: Vec<Option<Box<[u64]>>>,
    /// Groups that changed since the last flush.
    changed: BTreeSet<usize>,
    /// Length of the storage, in blocks.
    blocks: u64,
}

impl<B: StorageBackend> Checked<B> {
    /// Over a storage that is empty, or was one of these before.
    pub(super) fn over(inner: B) -> io::Result<Checked<B>> {
        let length = inner.len()?;
        let (groups, rest) = (
            length / (BLOCK * (GROUP + 1)),
            length % (BLOCK * (GROUP + 1)),
        );
        let blocks = groups * GROUP + (rest / BLOCK).saturating_sub(1);
        let rotten = Rotten::default();
        if length > 0 {
            let mut mark = MARK;
            if length >= BLOCK {
                inner.read(0, &mut mark)?;
            }
            if mark != MARK || !length.is_multiple_of(BLOCK) {
                return Err(rot("it does not begin, or end, as it should"));
            }
        }
        Ok(Checked {
            inner,
            sums: RwLock::new(Sums {
                groups: vec![None; groups_of(blocks)],
                changed: BTreeSet::new(),
                blocks,
            }),
            rotten,
        })
    }

    /// Tells later whether rot was met.
    pub(super) fn rotten(&self) -> Rotten {
        self.rotten.clone()
    }

    fn read_sums(&self) -> RwLockReadGuard<'_, Sums> {
        self.sums.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_sums(&self) -> RwLockWriteGuard<'_, Sums> {
        self.sums.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the checksums of a group in memory.
    fn load(&self, group: usize) -> io::Result<()> {
        let mut sums = self.write_sums();
        if sums.groups.get(group).is_some_and(Option::is_some) {
            return Ok(());
        }
        let mut bytes = vec![0; BLOCK as usize];
        self.inner.read(place_of_sums(group), &mut bytes)?;
        let (numbers, _) = bytes.as_chunks::<{ SUM as usize }>();
        let numbers = numbers.iter().copied().map(u64::from_le_bytes).collect();
        match sums.groups.get_mut(group) {
            Some(known) => *known = Some(numbers),
            None => return Err(beyond()),
        }
        Ok(())
    }

    /// The checksum that a block is to have; 0 for one that was never written.
    fn sum_of(&self, block: u64) -> io::Result<u64> {
        let (group, at) = (group_of(block), (block % GROUP) as usize);
        if let Some(Some(sums)) = self.read_sums().groups.get(group) {
            return Ok(sums[at]);
        }
        self.load(group)?;
        let sums = self.read_sums();
        let known = sums.groups.get(group).and_then(Option::as_ref);
        known.map(|sums| sums[at]).ok_or_else(beyond)
    }

    fn check(&self, block: u64, bytes: &[u8]) -> io::Result<()> {
        if block == 0 {
            return Ok(());
        }
        let expected = self.sum_of(block)?;
        if expected == 0 || expected == sum(block, bytes) {
            return Ok(());
        }
        self.rotten.0.store(true, Ordering::Relaxed);
        Err(rot(&format!(
            "the checksum of its bytes from {} on does not fit",
            place_of(block)
        )))
    }

    /// Reads whole blocks, and checks them.
    fn read_blocks(&self, first: u64, out: &mut [u8]) -> io::Result<()> {
        let mut rest = out;
        let mut block = first;
        while !rest.is_empty() {
            let together = GROUP - block % GROUP;
            let bytes = rest.len().min((together * BLOCK) as usize);
            let (here, others) = rest.split_at_mut(bytes);
            self.inner.read(place_of(block), here)?;
            for (at, bytes) in (block..).zip(here.chunks(BLOCK as usize)) {
                self.check(at, bytes)?;
            }
            block += here.len() as u64 / BLOCK;
            rest = others;
        }
        Ok(())
    }

    /// Writes whole blocks, and notes their checksums.
    fn write_blocks(&self, first: u64, data: &[u8]) -> io::Result<()> {
        let mut rest = data;
        let mut block = first;
        while !rest.is_empty() {
            let together = GROUP - block % GROUP;
            let bytes = rest.len().min((together * BLOCK) as usize);
            let (here, others) = rest.split_at(bytes);
            self.load(group_of(block))?;
            {
                let mut sums = self.write_sums();
                let group = group_of(block);
                let known = sums.groups.get_mut(group).and_then(Option::as_mut);
                let known = known.ok_or_else(beyond)?;
                for (at, bytes) in (block..).zip(here.chunks(BLOCK as usize)) {
                    if at > 0 {
                        known[(at % GROUP) as usize] = sum(at, bytes);
                    }
                }
                sums.changed.insert(group);
            }
            self.inner.write(place_of(block), here)?;
            block += here.len() as u64 / BLOCK;
            rest = others;
        }
        Ok(())
    }

    fn check_within(&self, offset: u64, bytes: usize) -> io::Result<()> {
        let end = offset.checked_add(bytes as u64).ok_or_else(beyond)?;
        match end <= self.read_sums().blocks * BLOCK {
            true => Ok(()),
            false => Err(beyond()),
        }
    }
}

impl<B: StorageBackend> StorageBackend for Checked<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.read_sums().blocks * BLOCK)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check_within(offset, out.len())?;
        if is_whole(offset, out.len()) {
            return self.read_blocks(offset / BLOCK, out);
        }
        let (first, begin) = (offset / BLOCK, (offset % BLOCK) as usize);
        let blocks = (begin + out.len()).div_ceil(BLOCK as usize);
        let mut around = vec![0; blocks * BLOCK as usize];
        self.read_blocks(first, &mut around)?;
        out.copy_from_slice(&around[begin..begin + out.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_within(offset, data.len())?;
        if is_whole(offset, data.len()) {
            return self.write_blocks(offset / BLOCK, data);
        }
        let (first, begin) = (offset / BLOCK, (offset % BLOCK) as usize);
        if first == 0 && begin + data.len() <= BLOCK as usize {
            // The header, which is written in place: what is beside it must not be written again.
            return self.inner.write(place_of(0) + begin as u64, data);
        }
        let blocks = (begin + data.len()).div_ceil(BLOCK as usize);
        let mut around = vec![0; blocks * BLOCK as usize];
        self.read_blocks(first, &mut around)?;
        around[begin..begin + data.len()].copy_from_slice(data);
        self.write_blocks(first, &around)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let blocks = len.div_ceil(BLOCK);
        let mut sums = self.write_sums();
        let groups = groups_of(blocks);
        let before = sums.blocks;
        if blocks < before {
            // What is cut off is zeros if it comes again.
            drop(sums);
            if !blocks.is_multiple_of(GROUP) {
                self.load(group_of(blocks))?;
            }
            sums = self.write_sums();
            if let Some(Some(last)) = sums.groups.get_mut(group_of(blocks)) {
                last[(blocks % GROUP) as usize..].fill(0);
            }
            sums.changed.split_off(&groups);
            if !blocks.is_multiple_of(GROUP) {
                sums.changed.insert(group_of(blocks));
            }
        }
        self.inner.set_len((blocks + groups as u64) * BLOCK)?;
        sums.groups.resize_with(groups, || {
            // Zeros, which is what the storage has there.
            Some(vec![0; GROUP as usize].into_boxed_slice())
        });
        if before == 0
            && let Some(Some(first)) = sums.groups.first_mut()
        {
            first[0] = u64::from_le_bytes(MARK);
            sums.changed.insert(0);
        }
        sums.blocks = blocks;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let changed: Vec<(usize, Vec<u8>)> = {
            let mut sums = self.write_sums();
            let changed = std::mem::take(&mut sums.changed);
            let known = |group: &usize| sums.groups.get(*group).and_then(Option::as_ref);
            changed
                .iter()
                .filter_map(|group| {
                    let sums = known(group)?.iter();
                    Some((*group, sums.copied().flat_map(u64::to_le_bytes).collect()))
                })
                .collect()
        };
        for (group, bytes) in changed {
            self.inner.write(place_of_sums(group), &bytes)?;
        }
        self.inner.sync_data()
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}

fn is_whole(offset: u64, bytes: usize) -> bool {
    offset.is_multiple_of(BLOCK) && (bytes as u64).is_multiple_of(BLOCK)
}

fn group_of(block: u64) -> usize {
    usize::try_from(block / GROUP).unwrap_or(usize::MAX)
}

fn groups_of(blocks: u64) -> usize {
    usize::try_from(blocks.div_ceil(GROUP)).unwrap_or(usize::MAX)
}

fn place_of_sums(group: usize) -> u64 {
    group as u64 * (GROUP + 1) * BLOCK
}

fn place_of(block: u64) -> u64 {
    (block + block / GROUP + 1) * BLOCK
}

/// Never 0. Of another block the same bytes have another one.
fn sum(block: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, block).max(1)
}

fn rot(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}

fn beyond() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ends too early")
}
