//! The rows of `log.redb` and the payloads of entries, as bytes.
//!
//! Each value begins with a checksum over its table, its key and the rest. redb verifies its pages only when it repairs
//! a file after a crash, and a rotten command must never be handed to a peer.

use bytes::Bytes;
use redb::TableDefinition;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::file::Fault;
use super::segments::Segment;
use crate::types::{
    Epoch, Index, Lineage, Orphan, Payload, Position, ReplicaId, StoreUuid, ViewStart,
};

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Segments by the index of their first entry.
pub(super) const SEGMENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("segments");
/// Epochs by the index of their first entry.
pub(super) const BRANCHES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("branches");
/// View starts by index.
pub(super) const VIEW_STARTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("view_starts");
/// Commands and their lineages by the position that they were first appended at.
pub(super) const ORPHANS: TableDefinition<'_, &[u8; POSITION], &[u8]> =
    TableDefinition::new("orphans");

/// Rows of [`META`].
pub(super) const FORMAT: &str = "format";
pub(super) const CLUSTER: &str = "cluster";
pub(super) const REPLICA: &str = "replica";
pub(super) const STORE: &str = "store";
/// The store uuid that the disk was created with: what its segments are of, whatever it is called now.
pub(super) const CREATED: &str = "created";
pub(super) const PROMISED: &str = "promised";
/// Entries up to this index are gone.
pub(super) const COMPACTED: &str = "compacted";
/// The last epoch in which entries were dropped.
pub(super) const DROPPED_IN: &str = "dropped_in";

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
    Branches = 2,
    Orphans = 3,
    ViewStarts = 4,
    Segments = 5,
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

/// Bytes of an encoded command, at most.
pub(super) fn payload_len(payload: &Payload) -> usize {
    1 + POSITION + payload.len()
}

/// Appends a lineage: the fork, how many epochs there are, and each with its first index.
fn encode_lineage(lineage: &Lineage, bytes: &mut Vec<u8>) {
    let count = u8::try_from(lineage.epochs.len()).expect("a lineage has few epochs");
    bytes.extend_from_slice(&lineage.fork.to_be_bytes());
    bytes.push(count);
    for (epoch, index) in &lineage.epochs {
        let first = Position {
            epoch: *epoch,
            index: *index,
        };
        bytes.extend_from_slice(&position_bytes(first));
    }
}

/// The lineage of a command, and how many bytes it takes.
fn parse_lineage(bytes: &[u8]) -> Result<(Lineage, usize), Fault> {
    let (fork, rest) = bytes.split_first_chunk().ok_or_else(short)?;
    let (count, rest) = rest.split_first().ok_or_else(short)?;
    let length = usize::from(*count) * POSITION;
    let epochs = rest.get(..length).ok_or_else(short)?;
    let epochs = epochs.chunks_exact(POSITION).map(|first| {
        let Position { epoch, index } = parse_position(exactly(first)?)?;
        Ok((epoch, index))
    });
    let lineage = Lineage {
        fork: u64::from_be_bytes(*fork),
        epochs: epochs.collect::<Result<_, Fault>>()?,
    };
    Ok((lineage, 8 + 1 + length))
}

/// The row of an orphan: its key and its value.
pub(super) fn seal_orphan(orphan: &Orphan) -> ([u8; POSITION], Vec<u8>) {
    let key = position_bytes(orphan.origin);
    let mut body = Vec::with_capacity(orphan.command.len() + 64);
    encode_lineage(&orphan.lineage, &mut body);
    body.extend_from_slice(&orphan.command);
    (key, seal(Table::Orphans, &key, &body))
}

pub(super) fn unseal_orphan(key: &[u8; POSITION], value: &[u8]) -> Result<Orphan, Fault> {
    let body = unseal(Table::Orphans, key, value)?;
    let (lineage, length) = parse_lineage(body)?;
    Ok(Orphan {
        origin: parse_position(key)?,
        lineage,
        command: body[length..].to_vec().into(),
    })
}

/// Appends a payload.
pub(super) fn encode_payload(payload: &Payload, bytes: &mut Vec<u8>) {
    match payload {
        Payload::Command(command) => {
            bytes.push(COMMAND);
            bytes.extend_from_slice(command);
        }
        Payload::Reproposed {
            origin,
            lineage,
            command,
        } => {
            bytes.push(REPROPOSED);
            bytes.extend_from_slice(&position_bytes(*origin));
            encode_lineage(lineage, bytes);
            bytes.extend_from_slice(command);
        }
        Payload::ViewStart(start) => {
            bytes.push(VIEW_START);
            bytes.extend(
                postcard::to_stdvec(start)
                    .expect("a view start holds nothing that postcard cannot encode"),
            );
        }
    }
}

/// The payload of an entry. A command shares the bytes.
pub(super) fn parse_payload(index: Index, bytes: &Bytes) -> Result<Payload, Fault> {
    match *bytes.first().ok_or_else(short)? {
        COMMAND => Ok(Payload::Command(bytes.slice(1..))),
        REPROPOSED => {
            let (origin, rest) = bytes[1..].split_first_chunk().ok_or_else(short)?;
            let (lineage, length) = parse_lineage(rest)?;
            Ok(Payload::Reproposed {
                origin: parse_position(origin)?,
                lineage,
                command: bytes.slice(1 + POSITION + length..),
            })
        }
        VIEW_START => parse_view_start(index, &bytes[1..]).map(Payload::ViewStart),
        kind => Err(Fault::Damaged(format!(
            "the entry at {index} is of an unknown kind ({kind})"
        ))),
    }
}

/// A view start without the byte that tells what it is.
fn parse_view_start(index: Index, bytes: &[u8]) -> Result<ViewStart, Fault> {
    postcard::from_bytes(bytes).map_err(|error| {
        Fault::Damaged(format!("the view start at {index} cannot be read: {error}"))
    })
}

/// The row of a view start.
pub(super) fn seal_view_start(index: Index, start: &ViewStart) -> Vec<u8> {
    let bytes =
        postcard::to_stdvec(start).expect("a view start holds nothing that postcard cannot encode");
    seal(Table::ViewStarts, &index.to_be_bytes(), &bytes)
}

pub(super) fn unseal_view_start(index: Index, value: &[u8]) -> Result<ViewStart, Fault> {
    parse_view_start(
        index,
        unseal(Table::ViewStarts, &index.to_be_bytes(), value)?,
    )
}

/// The row of a segment.
pub(super) fn seal_segment(segment: &Segment) -> Vec<u8> {
    let mut body = [0; 17];
    body[..8].copy_from_slice(&segment.id.to_be_bytes());
    body[8..16].copy_from_slice(&segment.through.to_be_bytes());
    body[16] = u8::from(segment.sealed);
    seal(Table::Segments, &segment.first.to_be_bytes(), &body)
}

pub(super) fn unseal_segment(first: Index, value: &[u8]) -> Result<Segment, Fault> {
    let body: &[u8; 17] = exactly(unseal(Table::Segments, &first.to_be_bytes(), value)?)?;
    let (id, rest) = body.split_first_chunk().ok_or_else(short)?;
    let (through, sealed) = rest.split_first_chunk().ok_or_else(short)?;
    Ok(Segment {
        first,
        id: u64::from_be_bytes(*id),
        through: u64::from_be_bytes(*through),
        sealed: sealed != [0],
    })
}

/// A payload of the log, for the fuzzer.
#[cfg(fuzzing)]
pub fn fuzz_entry(bytes: &[u8]) {
    let index = 7;
    if let Ok(payload) = parse_payload(index, &Bytes::copy_from_slice(bytes)) {
        let mut encoded = Vec::new();
        encode_payload(&payload, &mut encoded);
        assert_eq!(parse_payload(index, &encoded.into()), Ok(payload));
    }
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
        fn any_bytes_are_an_error_or_a_payload(index: u64, bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            if let Ok(payload) = parse_payload(index, &bytes) {
                let mut encoded = Vec::new();
                encode_payload(&payload, &mut encoded);
                prop_assert_eq!(parse_payload(index, &encoded.into()), Ok(payload));
            }
        }
    }
}
