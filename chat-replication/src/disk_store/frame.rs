//! A frame: bytes with checksums, of which all files of a log are made.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | checksum over the rest of the head |
//! | 8 | checksum over the body |
//! | 4 | length of the body |
//! | 4 | number of things in it |
//! | 8 | number of the first |
//! | 8 | sequence number of the manifest when the frame was written |
//! | … | the body |
//!
//! Numbers are little-endian. The checksums are seeded with what only this file has, so bytes of another one, or bytes that
//! a client made up, are no frame here.

use redb::StorageBackend;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::trouble::Trouble;

/// Length of the head.
pub(super) const HEAD: usize = 40;

/// Files are searched for zeros in pieces of this length.
const PIECE: usize = 16 << 10;
static ZEROS: [u8; PIECE] = [0; PIECE];

/// The head of a frame whose own checksum fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    body_sum: u64,
    body: u32,
    /// How many things are in the frame.
    pub(super) count: u32,
    /// Number of the first.
    pub(super) first: u64,
    /// The sequence number of the manifest when the frame was written.
    pub(super) sequence: u64,
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
        let (count, rest) = rest.split_first_chunk()?;
        let (first, sequence) = rest.split_first_chunk()?;
        Some(Head {
            body_sum: u64::from_le_bytes(*body_sum),
            body: u32::from_le_bytes(*body),
            count: u32::from_le_bytes(*count),
            first: u64::from_le_bytes(*first),
            sequence: u64::from_le_bytes(sequence.try_into().ok()?),
        })
    }

    /// Length of the whole frame.
    pub(super) fn frame_len(&self) -> usize {
        HEAD + self.body as usize
    }

    /// Number of what is expected next.
    pub(super) fn next(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }

    /// Whether this is the body.
    pub(super) fn fits(&self, body: &[u8], seed: u64) -> bool {
        body.len() == self.body as usize && xxh3_64_with_seed(body, seed) == self.body_sum
    }
}

/// What stands in the head of a frame that is made.
#[derive(Clone, Copy)]
pub(super) struct Label {
    pub(super) count: u32,
    pub(super) first: u64,
    pub(super) sequence: u64,
    pub(super) seed: u64,
}

/// Appends a frame, whose body `write` appends.
///
/// # Panics
///
/// Where that has 4 GiB or more, which no message carries.
pub(super) fn encode(frames: &mut Vec<u8>, label: Label, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = frames.len();
    frames.resize(begin + HEAD, 0);
    write(frames);
    let (head, body) = frames[begin..].split_at_mut(HEAD);
    head[8..16].copy_from_slice(&xxh3_64_with_seed(body, label.seed).to_le_bytes());
    head[16..20].copy_from_slice(&narrow(body.len()));
    head[20..24].copy_from_slice(&label.count.to_le_bytes());
    head[24..32].copy_from_slice(&label.first.to_le_bytes());
    head[32..].copy_from_slice(&label.sequence.to_le_bytes());
    let sum = xxh3_64_with_seed(&head[8..], label.seed).to_le_bytes();
    head[..8].copy_from_slice(&sum);
}

/// The whole frame that stands at a place of a file; `None` where none does.
pub(super) fn read(
    file: &dyn StorageBackend,
    at: u64,
    seed: u64,
) -> Result<Option<(Head, Vec<u8>)>, Trouble> {
    let length = file.len()?;
    let mut head = [0; HEAD];
    if length.saturating_sub(at) < HEAD as u64 {
        return Ok(None);
    }
    file.read(at, &mut head)?;
    let Some(head) = Head::parse(&head, seed) else {
        return Ok(None);
    };
    if length - at < head.frame_len() as u64 {
        return Ok(None);
    }
    let mut body = vec![0; head.body as usize];
    file.read(at + HEAD as u64, &mut body)?;
    Ok(head.fits(&body, seed).then_some((head, body)))
}

/// The first head that begins at or behind a place, and where. What lies before it may be anything.
pub(super) fn find(bytes: &[u8], from: usize, seed: u64) -> Option<(usize, Head)> {
    let last = used(bytes.get(from..)?) + from;
    (from..last).find_map(|at| Some((at, Head::parse(&bytes[at..], seed)?)))
}

/// How many bytes there are before the zeros at the end.
pub(super) fn used(bytes: &[u8]) -> usize {
    let mut end = bytes.len();
    while end >= PIECE && bytes[end - PIECE..end] == ZEROS {
        end -= PIECE;
    }
    let last = bytes[..end].iter().rposition(|byte| *byte != 0);
    last.map_or(0, |last| last + 1)
}

/// The bytes of a file but for most of the zeros at its end, and its whole length.
pub(super) fn read_used(file: &dyn StorageBackend) -> Result<(Vec<u8>, usize), Trouble> {
    let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    let mut piece = vec![0; PIECE];
    let mut end = length;
    while end > 0 {
        let begin = end.saturating_sub(PIECE);
        let piece = &mut piece[..end - begin];
        file.read(begin as u64, piece)?;
        if *piece != ZEROS[..piece.len()] {
            break;
        }
        end = begin;
    }
    let mut bytes = vec![0; end];
    if end > 0 {
        file.read(0, &mut bytes)?;
    }
    // A head that ends with zeros is read whole.
    let used = used(&bytes) + HEAD;
    bytes.resize(used.min(length), 0);
    Ok((bytes, length))
}

pub(super) fn narrow(length: usize) -> [u8; 4] {
    let length = u32::try_from(length).expect("a frame has less than 4 GiB");
    length.to_le_bytes()
}
