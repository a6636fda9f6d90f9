//! The file: sealed record by record, and read back.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use chat_core::APPLY_VERSION;
use chat_replication::branch::BranchTable;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64_with_seed};

use super::{BackupError, Head};

const MAGIC: &[u8; 8] = b"chatback";

/// The format that this version writes, and the only one that it reads.
const FORMAT: u32 = 1;

const HEAD: u8 = 1;
const PIECE: u8 = 2;
const END: u8 = 3;

/// No record is longer: what says so is damaged.
const LONGEST: u32 = 64 << 20;

/// The last record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct End {
    pieces: u64,
    /// Of all bytes before this record.
    checksum: u128,
}

/// Makes the bytes of a backup, from first to last.
pub(crate) struct Sealer {
    records: u64,
    checksum: Xxh3Default,
}

impl Sealer {
    /// The first bytes.
    pub(crate) fn begin(head: &Head) -> (Sealer, Vec<u8>) {
        let mut sealer = Sealer {
            records: 0,
            checksum: Xxh3Default::new(),
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        sealer.checksum.update(&bytes);
        bytes.extend(sealer.record(HEAD, &encode(head)));
        (sealer, bytes)
    }

    /// The bytes of the next piece.
    pub(crate) fn piece(&mut self, piece: &[u8]) -> Vec<u8> {
        self.record(PIECE, piece)
    }

    /// The last bytes.
    pub(crate) fn end(mut self) -> Vec<u8> {
        let end = End {
            pieces: self.records - 1,
            checksum: self.checksum.digest128(),
        };
        self.record(END, &encode(&end))
    }

    fn record(&mut self, kind: u8, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len()).expect("pieces are far smaller");
        let mut record = Vec::with_capacity(13 + body.len());
        record.push(kind);
        record.extend_from_slice(&len.to_le_bytes());
        record.extend_from_slice(&checksum(kind, self.records, body).to_le_bytes());
        record.extend_from_slice(body);
        self.checksum.update(&record);
        self.records += 1;
        record
    }
}

/// Its place is part of a record's checksum, so that none can be left out or change places.
fn checksum(kind: u8, number: u64, body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, number << 8 | u64::from(kind))
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("heads and ends hold nothing that cannot be encoded")
}

/// Reads a backup from first to last. Each piece is checked before it is handed out; that nothing is missing is known once
/// there are no more.
#[derive(Debug)]
pub struct Reader<R = BufReader<File>> {
    input: R,
    path: PathBuf,
    head: Head,
    records: u64,
    checksum: Checksum,
    bytes: u64,
}

/// Shows nothing of itself.
struct Checksum(Xxh3Default);

impl std::fmt::Debug for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Checksum")
    }
}

impl Reader {
    /// Opens a file, and reads what it is of.
    ///
    /// # Errors
    ///
    /// It cannot be read, is no backup, or one of a newer version.
    pub fn open(path: &Path) -> Result<Reader, BackupError> {
        let file = File::open(path).map_err(|error| BackupError::io(path, &error))?;
        Reader::over(BufReader::with_capacity(1 << 20, file), path)
    }
}

impl<R: Read> Reader<R> {
    /// The same over bytes from elsewhere, which `path` names in messages.
    ///
    /// # Errors
    ///
    /// As [`Reader::open`].
    pub fn over(mut input: R, path: &Path) -> Result<Reader<R>, BackupError> {
        let mut start = [0; 12];
        let damaged = |reason: &str| Err(BackupError::damaged(path, reason));
        match input.read_exact(&mut start) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(BackupError::io(path, &error));
            }
            Err(_) => return damaged("it ends too early"),
            Ok(()) => {}
        }
        if !start.starts_with(MAGIC) {
            return Err(BackupError::foreign(
                path,
                "is no backup; name a file that `chat-server backup` wrote",
            ));
        }
        let format = u32::from_le_bytes([start[8], start[9], start[10], start[11]]);
        if format != FORMAT {
            return Err(BackupError::foreign(
                path,
                format!(
                    "has format {format}, and this version reads format {FORMAT}; install the version that wrote it"
                ),
            ));
        }
        let mut checksum = Xxh3Default::new();
        checksum.update(&start);
        let mut records = Records {
            input: &mut input,
            path,
            number: 0,
            checksum: &mut checksum,
            bytes: 12,
        };
        let (kind, body) = records.next()?;
        let bytes = records.bytes;
        if kind != HEAD {
            return damaged("it does not begin with its head");
        }
        let Ok(head) = postcard::from_bytes::<Head>(&body) else {
            return damaged("its head cannot be read");
        };
        let branches = &head.branches;
        let is_sound = BranchTable::from_parts(branches.epochs().to_vec(), branches.last_index());
        if is_sound.is_none() || branches.last() != head.position || head.position.index == 0 {
            return damaged("its head contradicts itself");
        }
        if head.apply_version > APPLY_VERSION {
            return Err(BackupError::foreign(
                path,
                format!(
                    "was written by a newer version ({}) that applies commands in another way; install that version",
                    head.program
                ),
            ));
        }
        Ok(Reader {
            input,
            path: path.to_owned(),
            head,
            records: 1,
            checksum: Checksum(checksum),
            bytes,
        })
    }

    /// What the backup is of.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes were read.
    pub fn bytes_read(&self) -> u64 {
        self.bytes
    }

    /// The next piece of the snapshot; `None` at the end of a backup that is whole.
    ///
    /// # Errors
    ///
    /// It is damaged or ends too early.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, BackupError> {
        let before = self.checksum.0.digest128();
        let mut records = Records {
            input: &mut self.input,
            path: &self.path,
            number: self.records,
            checksum: &mut self.checksum.0,
            bytes: self.bytes,
        };
        let (kind, body) = records.next()?;
        self.bytes = records.bytes;
        let damaged = |reason: &str| Err(BackupError::damaged(&self.path, reason));
        match kind {
            PIECE => {
                self.records += 1;
                Ok(Some(body))
            }
            END => {
                let expected = End {
                    pieces: self.records - 1,
                    checksum: before,
                };
                if postcard::from_bytes(&body) != Ok(expected) {
                    return damaged("its checksum does not fit");
                }
                let mut more = [0];
                match self.input.read(&mut more) {
                    Ok(0) => Ok(None),
                    Ok(_) => damaged("something follows its end"),
                    Err(error) => Err(BackupError::io(&self.path, &error)),
                }
            }
            _ => damaged("it holds something that no version of its format writes"),
        }
    }
}

/// Records as they come.
struct Records<'a, R> {
    input: &'a mut R,
    path: &'a Path,
    number: u64,
    checksum: &'a mut Xxh3Default,
    bytes: u64,
}

impl<R: Read> Records<'_, R> {
    fn next(&mut self) -> Result<(u8, Vec<u8>), BackupError> {
        let mut front = [0; 13];
        self.fill(&mut front)?;
        let [kind, len @ .., _, _, _, _, _, _, _, _] = front;
        let len = u32::from_le_bytes(len);
        let mut stored = [0; 8];
        stored.copy_from_slice(&front[5..]);
        if len > LONGEST {
            return Err(BackupError::damaged(
                self.path,
                format!("a record at byte {} is too long", self.bytes),
            ));
        }
        // Grows with what is there, not with what is claimed.
        let mut body = Vec::new();
        let read = self
            .input
            .by_ref()
            .take(u64::from(len))
            .read_to_end(&mut body);
        let read = read.map_err(|error| BackupError::io(self.path, &error))?;
        if read as u64 != u64::from(len) {
            return Err(BackupError::damaged(self.path, "it ends too early"));
        }
        if checksum(kind, self.number, &body).to_le_bytes() != stored {
            return Err(BackupError::damaged(
                self.path,
                format!(
                    "the checksum of the record at byte {} does not fit",
                    self.bytes
                ),
            ));
        }
        self.checksum.update(&front);
        self.checksum.update(&body);
        self.bytes += 13 + u64::from(len);
        Ok((kind, body))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        match self.input.read_exact(bytes) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(BackupError::damaged(self.path, "it ends too early"))
            }
            Err(error) => Err(BackupError::io(self.path, &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use chat_core::Timestamp;
    use chat_replication::types::{ClusterId, Configuration, Epoch, Position, ReplicaId};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn head() -> Head {
        let epoch = Epoch {
            number: 3,
            ..Epoch::default()
        };
        let branches = BranchTable::from_parts(vec![(epoch, 1)], 9).unwrap();
        Head {
            cluster: ClusterId(Uuid::from_u128(1)),
            replica: ReplicaId(2),
            taken_at: Timestamp::from_millis(5),
            program: "0".into(),
            position: Position { epoch, index: 9 },
            state_hash: 7,
            branches,
            configuration: Configuration::default(),
            apply_version: APPLY_VERSION,
            is_current: true,
            orphans: 0,
        }
    }

    fn written(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut sealer, mut bytes) = Sealer::begin(&head());
        for piece in pieces {
            bytes.extend(sealer.piece(piece));
        }
        bytes.extend(sealer.end());
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, BackupError> {
        let mut reader = Reader::over(bytes, Path::new("b"))?;
        assert_eq!(reader.head(), &head());
        let mut pieces = Vec::new();
        while let Some(piece) = reader.next_piece()? {
            pieces.push(piece);
        }
        assert_eq!(reader.bytes_read(), bytes.len() as u64);
        Ok(pieces)
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(&written(&[b"one", b"two"])).unwrap(), [b"one", b"two"]);
    }

    #[test]
    fn a_file_that_was_cut_anywhere_is_not_whole() {
        let bytes = written(&[b"one", b"two"]);
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "cut at {len}");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert!(
            read(&longer)
                .unwrap_err()
                .to_string()
                .contains("follows its end")
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = written(&[b"one", b"two"]);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn pieces_keep_their_places() {
        let (_, begun) = Sealer::begin(&head());
        let piece = 13 + 3;
        let mut swapped = written(&[b"one", b"two"]);
        let (first, rest) = swapped[begun.len()..].split_at_mut(piece);
        first.swap_with_slice(&mut rest[..piece]);
        let error = read(&swapped).unwrap_err().to_string();
        assert!(error.contains("checksum"), "{error}");
    }

    #[test]
    fn another_format_and_another_file_are_told_apart() {
        let mut newer = written(&[b"one"]);
        newer[8] = 2;
        let error = Reader::over(&newer[..], Path::new("b"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("format 2") && error.contains("install"),
            "{error}"
        );
        let error = Reader::over(&b"something else"[..], Path::new("b"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("is no backup"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_error_or_a_backup(tail: Vec<u8>, record: Vec<u8>) {
            let (mut sealer, mut bytes) = Sealer::begin(&head());
            bytes.extend(sealer.record(END, &record));
            bytes.extend(&tail);
            prop_assert!(read(&bytes).is_err());
            let mut bytes = MAGIC.to_vec();
            bytes.extend(FORMAT.to_le_bytes());
            bytes.extend(&tail);
            prop_assert!(Reader::over(&bytes[..], Path::new("b")).is_err());
        }
    }
}
