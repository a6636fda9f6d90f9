//! The frames of a segment: entries, marks and holes.
//!
//! The body of a frame is each entry's length in 4 bytes, and its payload. A *mark* has no entries: it says that the one
//! before the index that it names was flushed. A *hole* has no body: it stands for entries that are lost.

use bytes::Bytes;

use super::super::frame::{self, HEAD, Head, Label, narrow};
use super::super::payload::{encode_payload, parse_payload, payload_len};
use super::super::trouble::Trouble;
use crate::types::{Entry, Index, Payload};

/// Length of what stands before each payload.
const LENGTH: usize = 4;

/// What all frames of a file that are written at a time have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) seed: u64,
    /// The number of the manifest's last transaction.
    pub(super) sequence: u64,
}

impl Stamp {
    fn label(self, first: Index, count: u32) -> Label {
        Label {
            count,
            first,
            sequence: self.sequence,
            seed: self.seed,
        }
    }
}

/// Bytes of the frame of these entries, at most.
pub(super) fn frame_len(entries: &[Entry]) -> usize {
    let payloads = entries.iter();
    HEAD + payloads
        .map(|entry| LENGTH + payload_len(&entry.payload))
        .sum::<usize>()
}

/// Appends the frame of entries, each right behind the last.
pub(super) fn encode(entries: &[Entry], stamp: Stamp, frames: &mut Vec<u8>) {
    let first = entries.first().map_or(0, |entry| entry.position.index);
    let count = u32::from_le_bytes(narrow(entries.len()));
    frame::encode(frames, stamp.label(first, count), |body| {
        for entry in entries {
            let at = body.len();
            body.extend_from_slice(&[0; LENGTH]);
            encode_payload(&entry.payload, body);
            let length = narrow(body.len() - at - LENGTH);
            body[at..at + LENGTH].copy_from_slice(&length);
        }
    });
}

/// Appends a mark: the entry before an index is flushed.
pub(super) fn encode_mark(next: Index, stamp: Stamp, frames: &mut Vec<u8>) {
    frame::encode(frames, stamp.label(next, 0), |_| {});
}

/// Appends holes that stand for entries.
pub(super) fn encode_hole(first: Index, through: Index, stamp: Stamp, frames: &mut Vec<u8>) {
    let mut first = first;
    while first <= through {
        let count = u32::try_from(through - first + 1).unwrap_or(u32::MAX);
        frame::encode(frames, stamp.label(first, count), |_| {});
        first += u64::from(count);
    }
}

/// Whether a frame stands for entries that are lost.
pub(super) fn is_hole(head: &Head) -> bool {
    head.count > 0 && head.frame_len() == HEAD
}

/// The payloads of a frame, as long as `take` wants more; whether it does at the end.
pub(super) fn decode(
    frame: Vec<u8>,
    seed: u64,
    first: Index,
    mut take: impl FnMut(Index, Payload) -> Result<bool, Trouble>,
) -> Result<bool, Trouble> {
    let head = Head::parse(&frame, seed).filter(|head| {
        head.first == first && head.frame_len() == frame.len() && head.fits(&frame[HEAD..], seed)
    });
    let Some(head) = head else {
        return Err(Trouble::Damaged("a checksum does not fit".to_owned()));
    };
    let mut body = Bytes::from(frame).slice(HEAD..);
    for index in head.first..head.next() {
        let length = body.get(..LENGTH).and_then(|length| {
            let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
            (length <= body.len() - LENGTH).then_some(length)
        });
        let Some(length) = length else {
            return Err(Trouble::Damaged(format!(
                "the entry at {index} has the wrong length"
            )));
        };
        let payload = body.split_to(LENGTH + length).slice(LENGTH..);
        if !take(index, parse_payload(index, &payload)?)? {
            return Ok(false);
        }
    }
    Ok(true)
}
