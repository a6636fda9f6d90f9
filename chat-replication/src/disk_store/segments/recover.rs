//! Finding the frames of a segment, what of them is damaged, and where they end after a crash.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use redb::StorageBackend;

use super::super::frame::{self, HEAD, Head, read_used};
use super::super::trouble::Trouble;
use super::entries::is_hole;
use super::{SEGMENT_BYTES, Segment};
use crate::types::Index;

/// Where a frame lies in its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    pub(super) first: Index,
    pub(super) through: Index,
    pub(super) at: usize,
    pub(super) len: usize,
}

/// The frames of a segment.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) frames: Vec<Frame>,
    /// Entries that were there and cannot be read, in order.
    pub(super) damaged: Vec<RangeInclusive<Index>>,
    /// Where the last of the frames ends.
    pub(super) end: usize,
    /// The last entry that is known to have been there; one before the segment's first where there is none.
    pub(super) last: Index,
    /// The last entry is known to have been flushed, and nothing behind it to have been.
    marked: bool,
    /// The newest transaction of the manifest that a frame tells of.
    pub(super) sequence: u64,
}

/// The frames of a file. A stretch that does not fit, and has frames or a mark behind it, is damaged: each frame was
/// written when the one before was flushed. What does not fit at the end may be what a crash left. Of the bytes those may be
/// missing that are zeros up to the length of the file.
pub(super) fn walk((bytes, length): (&[u8], usize), seed: u64, first: Index) -> Found {
    let mut found = Found {
        frames: Vec::new(),
        damaged: Vec::new(),
        end: 0,
        last: first - 1,
        marked: false,
        sequence: 0,
    };
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= HEAD) {
        let head = Head::parse(rest, seed).filter(|head| head.first == found.last + 1);
        let whole = head.filter(|head| {
            let body = body(rest, head, length - at);
            head.count > 0 && body.is_some_and(|body| head.fits(&body, seed))
        });
        if let Some(head) = whole {
            found.take(&head, at);
            at += head.frame_len();
            continue;
        }
        let beyond = head.map_or(at, |_| at + HEAD);
        let Some((next_at, next)) = found.look_beyond(bytes, beyond, seed) else {
            break;
        };
        found.lose(next.first - 1);
        found.sequence = found.sequence.max(next.sequence);
        found.marked |= next.count == 0;
        at = next_at;
    }
    found
}

/// The body that follows a head, if the file goes that far.
fn body<'a>(frame: &'a [u8], head: &Head, length: usize) -> Option<Cow<'a, [u8]>> {
    match frame.get(HEAD..head.frame_len()) {
        Some(body) => Some(body.into()),
        None if head.frame_len() <= length => {
            let mut body = frame[HEAD..].to_vec();
            body.resize(head.frame_len() - HEAD, 0);
            Some(body.into())
        }
        None => None,
    }
}

impl Found {
    /// The next head that tells of more entries.
    fn look_beyond(&mut self, bytes: &[u8], from: usize, seed: u64) -> Option<(usize, Head)> {
        let mut from = from;
        loop {
            let (at, head) = frame::find(bytes, from, seed)?;
            if head.first > self.last + 1 {
                return Some((at, head));
            }
            if head.first == self.last + 1 && head.count == 0 {
                self.marked = true;
                self.sequence = self.sequence.max(head.sequence);
            }
            from = at + 1;
        }
    }

    /// What is found of a file that is not there.
    pub(super) fn nothing(segment: &Segment) -> Found {
        walk((&[], 0), 0, segment.first).through(segment.through)
    }

    fn take(&mut self, head: &Head, at: usize) {
        let through = head.next() - 1;
        self.sequence = self.sequence.max(head.sequence);
        match is_hole(head) {
            true => self.lose(through),
            false => self.frames.push(Frame {
                first: head.first,
                through,
                at,
                len: head.frame_len(),
            }),
        }
        self.end = at + head.frame_len();
        self.last = through;
        self.marked = false;
    }

    /// The entries up to this one cannot be read.
    fn lose(&mut self, through: Index) {
        let first = self.last + 1;
        match self.damaged.last_mut() {
            Some(before) if *before.end() == self.last => *before = *before.start()..=through,
            _ => self.damaged.push(first..=through),
        }
        self.last = through;
    }

    /// The same, of a segment that counts to an entry and no further.
    pub(super) fn through(mut self, through: Index) -> Found {
        if self.last < through {
            self.lose(through);
        }
        self.last = through;
        let ranges = self.damaged.into_iter();
        self.damaged = ranges
            .map(|range| *range.start()..=through.min(*range.end()))
            .filter(|range| !range.is_empty())
            .collect();
        self
    }
}

/// The frames of a segment that was appended to when its process ended, however it did. What a crash left of a frame is
/// taken away, so that it is never taken for one, and what is left is flushed: the process may have died before it did.
///
/// # Errors
///
/// It cannot be told how far the entries went.
pub(super) fn recover(
    file: &dyn StorageBackend,
    seed: u64,
    segment: &Segment,
) -> Result<Found, Trouble> {
    let (bytes, length) = read_used(file)?;
    let found = walk((&bytes, length), seed, segment.first);
    if found.last < segment.through || length < SEGMENT_BYTES && !found.marked {
        return Err(Trouble::Damaged(format!(
            "it is cut short or overwritten, and what stood behind the entry at {} is gone",
            found.last
        )));
    }
    // Nothing is appended to a damaged one, so that it stays as it is.
    if found.damaged.is_empty() {
        let junk = frame::used(bytes.get(found.end..).unwrap_or_default());
        if junk > 0 {
            file.write(found.end as u64, &vec![0; junk])?;
        }
        if length < SEGMENT_BYTES {
            file.set_len(SEGMENT_BYTES as u64)?;
        }
    }
    file.sync_data()?;
    Ok(found)
}
