//! Finding the frames of a segment, and where they end after a crash.

use redb::StorageBackend;

use super::super::file::Fault;
use super::frame::{HEAD, Head};
use super::{Segment, whole};
use crate::types::Index;

/// Where a frame lies in its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    pub(super) first: Index,
    pub(super) at: usize,
    pub(super) len: usize,
}

/// The frames of a segment.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) frames: Vec<Frame>,
    /// Where the last of them ends.
    pub(super) end: usize,
    /// Its last entry; one before the segment's first where there is none.
    pub(super) last: Index,
}

/// The whole frames that a file begins with, up to the one that holds `through`.
pub(super) fn walk(bytes: &[u8], seed: u64, first: Index, through: Index) -> Found {
    let mut found = Found {
        frames: Vec::new(),
        end: 0,
        last: first - 1,
    };
    while found.last < through {
        let rest = &bytes[found.end..];
        let head = Head::parse(rest, seed).filter(|head| {
            head.first == found.last + 1
                && rest
                    .get(HEAD..head.frame_len())
                    .is_some_and(|body| head.fits(body, seed))
        });
        let Some(head) = head else {
            break;
        };
        found.frames.push(Frame {
            first: head.first,
            at: found.end,
            len: head.frame_len(),
        });
        found.end += head.frame_len();
        found.last = head.last();
    }
    found
}

/// The frames of a segment that was appended to when its process ended, however it did. What a crash left of a frame is
/// taken away, so that it is never taken for one.
pub(super) fn recover(
    file: &dyn StorageBackend,
    seed: u64,
    segment: &Segment,
) -> Result<Found, Fault> {
    let bytes = whole(file)?;
    let found = walk(&bytes, seed, segment.first, Index::MAX);
    if found.last < segment.through {
        return Err(Fault::Damaged(format!(
            "the entries from {} to {} cannot be read",
            found.last + 1,
            segment.through
        )));
    }
    let rest = &bytes[found.end..];
    if holds_a_frame(rest, seed) {
        return Err(Fault::Damaged(format!(
            "the entries from {} on cannot be read, and others behind them can",
            found.last + 1
        )));
    }
    if rest.iter().any(|byte| *byte != 0) {
        file.set_len(found.end as u64)?;
        file.sync_data()?;
    }
    Ok(found)
}

/// Whether the head of a frame begins anywhere behind the first byte. At the first a torn frame may have its head.
fn holds_a_frame(bytes: &[u8], seed: u64) -> bool {
    let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else {
        return false;
    };
    (1..=last).any(|at| Head::parse(&bytes[at..], seed).is_some())
}
