//! A frame: the entries of one write.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | checksum over the rest of the head |
//! | 8 | checksum over the body |
//! | 4 | length of the body |
//! | 4 | number of entries |
//! | 8 | index of the first |
//! | … | the body: each entry's length in 4 bytes, and its payload |
//!
//! Numbers are little-endian. The checksums are seeded with what only this segment has, so bytes of another one, or bytes
//! that a client made up, are no frame here.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::file::Fault;
use super::super::rows::{encode_payload, parse_payload, payload_len};
use crate::types::{Entry, Index, Payload};

/// Length of the head.
pub(super) const HEAD: usize = 32;
/// Length of what stands before each payload.
const LENGTH: usize = 4;

/// The head of a frame whose own checksum fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    body_sum: u64,
    body: u32,
    /// Entries in the frame; at least one.
    pub(super) entries: u32,
    /// Index of the first.
    pub(super) first: Index,
}

impl Head {
    /// The head that these bytes begin with, if they do.
    pub(super) fn parse(bytes: &[u8], seed: u64) -> Option<Head> {
        let (sum, rest) = bytes.get(..HEAD)?.split_first_chunk::<8>()?;
        // Most of what is not a frame is zeros.
        if *sum == [0; 8] || u64::from_le_bytes(*sum) != xxh3_64_with_seed(rest, seed) {
            return None;
        }
        let (body_sum, rest) = rest.split_first_chunk()?;
        let (body, rest) = rest.split_first_chunk()?;
        let (entries, first) = rest.split_first_chunk()?;
        let head = Head {
            body_sum: u64::from_le_bytes(*body_sum),
            body: u32::from_le_bytes(*body),
            entries: u32::from_le_bytes(*entries),
            first: u64::from_le_bytes(first.try_into().ok()?),
        };
        (head.entries > 0).then_some(head)
    }

    /// Length of the whole frame.
    pub(super) fn frame_len(&self) -> usize {
        HEAD + self.body as usize
    }

    /// Index of the last entry.
    pub(super) fn last(&self) -> Index {
        self.first + u64::from(self.entries) - 1
    }

    /// Whether this is the body.
    pub(super) fn fits(&self, body: &[u8], seed: u64) -> bool {
        xxh3_64_with_seed(body, seed) == self.body_sum
    }
}

/// Bytes of the frame of these entries.
pub(super) fn frame_len(entries: &[Entry]) -> usize {
    let payloads = entries.iter();
    HEAD + payloads
        .map(|entry| LENGTH + payload_len(&entry.payload))
        .sum::<usize>()
}

/// Appends the frame of entries, each right behind the last.
///
/// # Panics
///
/// Where they have 4 GiB or more, which no message carries.
pub(super) fn encode(entries: &[Entry], seed: u64, frame: &mut Vec<u8>) {
    let begin = frame.len();
    frame.resize(begin + HEAD, 0);
    for entry in entries {
        let at = frame.len();
        frame.extend_from_slice(&[0; LENGTH]);
        encode_payload(&entry.payload, frame);
        let length = narrow(frame.len() - at - LENGTH);
        frame[at..at + LENGTH].copy_from_slice(&length);
    }
    let (head, body) = frame[begin..].split_at_mut(HEAD);
    head[8..16].copy_from_slice(&xxh3_64_with_seed(body, seed).to_le_bytes());
    head[16..20].copy_from_slice(&narrow(body.len()));
    head[20..24].copy_from_slice(&narrow(entries.len()));
    let first = entries.first().map_or(0, |entry| entry.position.index);
    head[24..].copy_from_slice(&first.to_le_bytes());
    let sum = xxh3_64_with_seed(&head[8..], seed).to_le_bytes();
    head[..8].copy_from_slice(&sum);
}

/// The payloads of a frame, as long as `take` wants more; whether it does at the end.
pub(super) fn decode(
    frame: Vec<u8>,
    seed: u64,
    first: Index,
    mut take: impl FnMut(Index, Payload) -> Result<bool, Fault>,
) -> Result<bool, Fault> {
    let head = Head::parse(&frame, seed).filter(|head| {
        head.first == first && head.frame_len() == frame.len() && head.fits(&frame[HEAD..], seed)
    });
    let Some(head) = head else {
        return Err(Fault::Damaged(format!(
            "the checksum of the entries from {first} does not fit"
        )));
    };
    let mut body = Bytes::from(frame).slice(HEAD..);
    for index in head.first..=head.last() {
        let length = body.get(..LENGTH).and_then(|length| {
            let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
            (length <= body.len() - LENGTH).then_some(length)
        });
        let Some(length) = length else {
            return Err(Fault::Damaged(format!(
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

fn narrow(length: usize) -> [u8; 4] {
    let length = u32::try_from(length).expect("a frame has less than 4 GiB");
    length.to_le_bytes()
}
