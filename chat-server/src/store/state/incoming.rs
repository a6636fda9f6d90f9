//! A snapshot that comes in, as the [snapshot module](super::snapshot) lays it out.

use std::ops::Bound;

use chat_replication::store::Reset;
use redb::{ReadableDatabase, TableDefinition};

use super::error::StateError;
use super::file::{CHECKPOINT, META, ROWS, Rows, StateFile, UNSETTLED, begin, put_meta, read_meta};
use super::overlay::Checkpoint;
use super::sealed::append_sealed;
use super::snapshot::FORMAT;

/// Rows of a snapshot that is coming in.
const INCOMING: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("incoming");

/// Bytes of rows that are written in one transaction.
const BATCH: usize = 4 << 20;

/// A snapshot that is coming in.
#[derive(Debug)]
pub(super) struct Incoming {
    reset: Reset,
    state_hash: Option<u128>,
    /// Rows that are not in the file yet.
    rows: SealedRows,
    last: Vec<u8>,
}

/// What came is no snapshot of this version.
#[derive(Debug)]
pub(super) struct Unreadable(pub(super) &'static str);

impl Incoming {
    pub(super) fn new(reset: Reset) -> Incoming {
        Incoming {
            reset,
            state_hash: None,
            rows: SealedRows::default(),
            last: Vec::new(),
        }
    }

    /// Takes the next piece apart.
    pub(super) fn take(&mut self, mut piece: &[u8]) -> Result<(), Unreadable> {
        if self.state_hash.is_none() {
            let format = number(&mut piece)?;
            if format != FORMAT {
                return Err(Unreadable(
                    "it has another format; install the same version on all replicas",
                ));
            }
            let (hash, rest) = piece.split_first_chunk().ok_or(CUT_OFF)?;
            self.state_hash = Some(u128::from_le_bytes(*hash));
            piece = rest;
        }
        while !piece.is_empty() {
            let (key, value) = (number(&mut piece)?, number(&mut piece)?);
            let key = bytes(&mut piece, key)?;
            let value = bytes(&mut piece, value)?;
            if !self.last.is_empty() && key <= self.last.as_slice() {
                return Err(Unreadable("its rows are not in order"));
            }
            self.last.clear();
            self.last.extend_from_slice(key);
            self.rows.push(key, value);
        }
        Ok(())
    }

    /// Rows to be written, once there are enough of them.
    pub(super) fn batch(&mut self) -> Option<SealedRows> {
        (self.rows.bytes.len() >= BATCH).then(|| self.rest())
    }

    /// The rows that are not written yet.
    pub(super) fn rest(&mut self) -> SealedRows {
        std::mem::take(&mut self.rows)
    }

    /// What the rows stand for, and what the log is with them.
    pub(super) fn finish(self) -> Result<(Checkpoint, Reset), Unreadable> {
        let checkpoint = Checkpoint {
            applied: self.reset.branches.last(),
            state_hash: self.state_hash.ok_or(CUT_OFF)?,
        };
        Ok((checkpoint, self.reset))
    }
}

/// Rows in key order as the file has them, one behind the other: an allocation for each would cost as much as writing it.
#[derive(PartialEq, Debug, Default)]
pub(super) struct SealedRows {
    bytes: Vec<u8>,
    /// Where each row's key ends, and where the row does.
    ends: Vec<(usize, usize)>,
}

impl SealedRows {
    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        append_sealed(key, value, &mut self.bytes);
        self.ends.push((key_end, self.bytes.len()));
    }

    /// Keys, and values with their checksums.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut begin = 0;
        self.ends.iter().map(move |&(key_end, end)| {
            let row = (&self.bytes[begin..key_end], &self.bytes[key_end..end]);
            begin = end;
            row
        })
    }
}

const CUT_OFF: Unreadable = Unreadable("it ends too early");

fn number(piece: &mut &[u8]) -> Result<u32, Unreadable> {
    let (number, rest) = piece.split_first_chunk().ok_or(CUT_OFF)?;
    *piece = rest;
    Ok(u32::from_le_bytes(*number))
}

fn bytes<'a>(piece: &mut &'a [u8], len: u32) -> Result<&'a [u8], Unreadable> {
    let len = usize::try_from(len).map_err(|_| CUT_OFF)?;
    let (bytes, rest) = piece.split_at_checked(len).ok_or(CUT_OFF)?;
    *piece = rest;
    Ok(bytes)
}

impl StateFile {
    /// Makes room for a snapshot, and drops what is left of an earlier one.
    pub(super) fn discard_incoming(&self) -> Result<(), StateError> {
        self.run(|database| {
            let transaction = begin(database)?;
            if transaction.delete_table(INCOMING)? {
                transaction.commit()?;
            } else {
                transaction.abort()?;
            }
            Ok(())
        })
    }

    /// Writes rows of the snapshot beside the state's, durably, so that the last transaction has little to do. Their keys
    /// are greater than those written before.
    pub(super) fn write_incoming(&self, rows: &SealedRows) -> Result<(), StateError> {
        self.run(|database| {
            let transaction = begin(database)?;
            {
                let mut table = transaction.open_table(INCOMING)?;
                // In order behind the last row, a third of the work, and pages are filled to the end.
                let mut end = table.upper_bound_mut(Bound::<&[u8]>::Unbounded)?;
                for (key, sealed) in rows.iter() {
                    end.insert_before(key, sealed)?;
                }
                end.close()?;
            }
            Ok(transaction.commit()?)
        })
    }

    /// The rows that have come in.
    pub(super) fn incoming(&self) -> Result<Rows, StateError> {
        self.run(|database| Ok(database.begin_read()?.open_table(INCOMING)?))
    }

    /// The rows that have come in are the state's from now on, durably.
    pub(super) fn adopt_incoming(
        &self,
        checkpoint: &Checkpoint,
        reset: &Reset,
    ) -> Result<(), StateError> {
        self.run(|database| {
            let transaction = begin(database)?;
            transaction.delete_table(ROWS)?;
            transaction.rename_table(INCOMING, ROWS)?;
            put_meta(&transaction, CHECKPOINT, checkpoint)?;
            put_meta(&transaction, UNSETTLED, reset)?;
            Ok(transaction.commit()?)
        })
    }

    /// What the log is to be, where the rows came as a snapshot and the log may not know.
    pub(super) fn unsettled(&self) -> Result<Option<Reset>, StateError> {
        self.run(|database| {
            let meta = database.begin_read()?.open_table(META)?;
            match meta.get(UNSETTLED)? {
                Some(_) => read_meta(&meta, UNSETTLED).map(Some),
                None => Ok(None),
            }
        })
    }

    /// The log knows.
    pub(super) fn settle(&self) -> Result<(), StateError> {
        self.run(|database| {
            let transaction = begin(database)?;
            transaction.open_table(META)?.remove(UNSETTLED)?;
            Ok(transaction.commit()?)
        })
    }
}

/// Pieces that nobody wrote, for the fuzzer.
#[cfg(fuzzing)]
pub(crate) fn fuzz_snapshot(pieces: &[Vec<u8>]) {
    use chat_replication::types::{Configuration, ViewStart};

    let reset = Reset {
        branches: chat_replication::branch::BranchTable::default(),
        newest: (
            0,
            ViewStart {
                members: Vec::new(),
                configuration: Configuration::default(),
                forced: false,
                apply_version: 1,
            },
        ),
    };
    let mut incoming = Incoming::new(reset);
    for piece in pieces {
        if incoming.take(piece).is_err() {
            return;
        }
        let rows = incoming.batch().unwrap_or_default();
        assert!(rows.iter().is_sorted_by(|a, b| a.0 < b.0));
    }
    let rows = incoming.rest();
    assert!(rows.iter().is_sorted_by(|a, b| a.0 < b.0));
    let _ = incoming.finish();
}
