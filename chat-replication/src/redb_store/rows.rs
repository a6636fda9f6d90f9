//! The rows of the log file, as bytes.
//!
//! Each value begins with a checksum over its table, its key and the rest. redb verifies its pages only when it repairs
//! a file after a crash, and a rotten command must never be handed to a peer.

use std::borrow::Cow;

use bytes::Bytes;
use redb::TableDefinition;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::file::Fault;
use crate::types::{Epoch, Payload, Position, ReplicaId, StoreUuid};

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Entries by index.
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Epochs by the index of their first entry.
pub(super) const BRANCHES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("branches");
/// View starts whose entries are gone, by index; as [`LOG`] has them.
pub(super) const VIEW_STARTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("view_starts");
/// Commands by the position that they were first appended at.
pub(super) const ORPHANS: TableDefinition<'_, &[u8; POSITION], &[u8]> =
    TableDefinition::new("orphans");

/// Rows of [`META`].
pub(super) const FORMAT: &str = "format";
pub(super) const CLUSTER: &str = "cluster";
pub(super) const REPLICA: &str = "replica";
pub(super) const STORE: &str = "store";
pub(super) const PROMISED: &str = "promised";
/// Entries up to this index are gone.
pub(super) const COMPACTED: &str = "compacted";
/// Entries up to this index are gone or in the archive.
pub(super) const ARCHIVED: &str = "archived";

/// Length of an epoch's bytes.
pub(super) const EPOCH: usize = 28;
/// Length of a position's bytes.
pub(super) const POSITION: usize = EPOCH + 8;
/// Length of the checksum that a value begins with.
const CHECKSUM: usize = 8;

/// Which table a row is of: part of its checksum.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Meta = 1,
    Log = 2,
    Branches = 3,
    Orphans = 4,
}

fn checksum(table: Table, key: &[u8], body: &[u8]) -> [u8; CHECKSUM] {
    xxh3_64_with_seed(body, xxh3_64_with_seed(key, table as u64)).to_le_bytes()
}

/// A value with its checksum.
pub(super) fn seal(table: Table, key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(CHECKSUM + body.len());
    value.extend_from_slice(&checksum(table, key, body));
    value.extend_from_slice(body);
    value
}

/// The body of a value whose checksum fits.
pub(super) fn unseal<'a>(table: Table, key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Fault> {
    match value.split_at_checked(CHECKSUM) {
        Some((stored, body)) if stored == checksum(table, key, body) => Ok(body),
        _ => Err(Fault::Damaged(
            "the checksum of a row does not fit".to_owned(),
        )),
    }
}

/// Big-endian, so that the bytes order as epochs do.
pub(super) fn epoch_bytes(epoch: Epoch) -> [u8; EPOCH] {
    let mut bytes = [0; EPOCH];
    bytes[..8].copy_from_slice(&epoch.number.to_be_bytes());
    bytes[8..12].copy_from_slice(&epoch.replica.0.to_be_bytes());
    bytes[12..].copy_from_slice(epoch.store.0.as_bytes());
    bytes
}

pub(super) fn parse_epoch(bytes: &[u8]) -> Result<Epoch, Fault> {
    let bytes: &[u8; EPOCH] = exactly(bytes)?;
    let (number, rest) = bytes.split_first_chunk().ok_or_else(short)?;
    let (replica, store) = rest.split_first_chunk().ok_or_else(short)?;
    Ok(Epoch {
        number: u64::from_be_bytes(*number),
        replica: ReplicaId(u32::from_be_bytes(*replica)),
        store: StoreUuid(Uuid::from_bytes(*exactly(store)?)),
    })
}

/// Big-endian, so that the bytes order as positions do.
pub(super) fn position_bytes(position: Position) -> [u8; POSITION] {
    let mut bytes = [0; POSITION];
    bytes[..EPOCH].copy_from_slice(&epoch_bytes(position.epoch));
    bytes[EPOCH..].copy_from_slice(&position.index.to_be_bytes());
    bytes
}

pub(super) fn parse_position(bytes: &[u8; POSITION]) -> Result<Position, Fault> {
    let (epoch, index) = bytes.split_at(EPOCH);
    Ok(Position {
        epoch: parse_epoch(epoch)?,
        index: u64::from_be_bytes(*exactly(index)?),
    })
}

/// A body of a known length.
pub(super) fn exactly<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], Fault> {
    bytes.try_into().map_err(|_| short())
}

fn short() -> Fault {
    Fault::Damaged("a row has the wrong length".to_owned())
}

const COMMAND: u8 = 1;
const REPROPOSED: u8 = 2;
const VIEW_START: u8 = 3;

/// A payload in two parts, so that a command is copied once, into its page.
pub(super) struct EncodedPayload<'a> {
    head: [u8; 1 + POSITION],
    head_len: usize,
    tail: Cow<'a, [u8]>,
}

impl<'a> EncodedPayload<'a> {
    pub(super) fn new(payload: &'a Payload) -> EncodedPayload<'a> {
        let mut head = [0; 1 + POSITION];
        let (kind, head_len, tail) = match payload {
            Payload::Command(command) => (COMMAND, 1, Cow::Borrowed(&command[..])),
            Payload::Reproposed { origin, command } => {
                head[1..].copy_from_slice(&position_bytes(*origin));
                (REPROPOSED, head.len(), Cow::Borrowed(&command[..]))
            }
            Payload::ViewStart(start) => {
                let bytes = postcard::to_stdvec(start)
                    .expect("a view start holds nothing that postcard cannot encode");
                (VIEW_START, 1, Cow::Owned(bytes))
            }
        };
        head[0] = kind;
        EncodedPayload {
            head,
            head_len,
            tail,
        }
    }

    /// Bytes that [`EncodedPayload::write`] needs.
    pub(super) fn sealed_len(&self) -> usize {
        CHECKSUM + self.head_len + self.tail.len()
    }

    /// Fills a value of exactly the length asked for.
    pub(super) fn write(&self, index: u64, value: &mut [u8]) {
        let (sum, body) = value.split_at_mut(CHECKSUM);
        let (head, tail) = body.split_at_mut(self.head_len);
        head.copy_from_slice(&self.head[..self.head_len]);
        tail.copy_from_slice(&self.tail);
        sum.copy_from_slice(&checksum(Table::Log, &index.to_be_bytes(), body));
    }
}

/// The payload of a stored entry.
pub(super) fn parse_payload(index: u64, value: &[u8]) -> Result<Payload, Fault> {
    let body = unseal(Table::Log, &index.to_be_bytes(), value)?;
    let (kind, rest) = body.split_first().ok_or_else(short)?;
    match *kind {
        COMMAND => Ok(Payload::Command(Bytes::copy_from_slice(rest))),
        REPROPOSED => {
            let (origin, command) = rest.split_first_chunk().ok_or_else(short)?;
            Ok(Payload::Reproposed {
                origin: parse_position(origin)?,
                command: Bytes::copy_from_slice(command),
            })
        }
        VIEW_START => postcard::from_bytes(rest)
            .map(Payload::ViewStart)
            .map_err(|error| {
                Fault::Damaged(format!("the view start at {index} cannot be read: {error}"))
            }),
        kind => Err(Fault::Damaged(format!(
            "the entry at {index} is of an unknown kind ({kind})"
        ))),
    }
}

/// A row of the log whose checksum fits, for the fuzzer.
#[cfg(fuzzing)]
pub fn fuzz_entry(bytes: &[u8]) {
    let index = 7;
    if let Ok(payload) = parse_payload(index, &seal(Table::Log, &u64::to_be_bytes(index), bytes)) {
        let encoded = EncodedPayload::new(&payload);
        let mut value = vec![0; encoded.sealed_len()];
        encoded.write(index, &mut value);
        assert_eq!(parse_payload(index, &value), Ok(payload));
    }
    let _ = parse_payload(index, bytes);
    if let Some(position) = bytes.first_chunk::<POSITION>() {
        let parsed = parse_position(position).expect("every position means something");
        assert_eq!(position_bytes(parsed), *position);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position() -> impl Strategy<Value = Position> {
        (any::<u64>(), any::<u32>(), any::<u128>(), any::<u64>()).prop_map(
            |(number, replica, store, index)| Position {
                epoch: Epoch {
                    number,
                    replica: ReplicaId(replica),
                    store: StoreUuid(Uuid::from_u128(store)),
                },
                index,
            },
        )
    }

    proptest! {
        #[test]
        fn positions_order_as_their_bytes_do(a in position(), b in position()) {
            prop_assert_eq!(a.cmp(&b), position_bytes(a).cmp(&position_bytes(b)));
            prop_assert_eq!(parse_position(&position_bytes(a)), Ok(a));
        }

        #[test]
        fn any_bytes_are_an_error_or_a_payload(index: u64, value: Vec<u8>) {
            let _ = parse_payload(index, &value);
            let _ = parse_payload(index, &seal(Table::Log, &index.to_be_bytes(), &value));
        }
    }
}
