//! The payloads of entries, as bytes.

use bytes::Bytes;
use uuid::Uuid;

use super::trouble::Trouble;
use crate::types::{Epoch, Index, Lineage, Payload, Position, ReplicaId, StoreUuid, ViewStart};

/// Length of a position's bytes.
const POSITION: usize = 36;

/// Big-endian, so that the bytes order as positions do.
fn position_bytes(position: Position) -> [u8; POSITION] {
    let mut bytes = [0; POSITION];
    bytes[..8].copy_from_slice(&position.epoch.number.to_be_bytes());
    bytes[8..12].copy_from_slice(&position.epoch.replica.0.to_be_bytes());
    bytes[12..28].copy_from_slice(position.epoch.store.0.as_bytes());
    bytes[28..].copy_from_slice(&position.index.to_be_bytes());
    bytes
}

fn parse_position(bytes: &[u8; POSITION]) -> Result<Position, Trouble> {
    let (number, rest) = bytes.split_first_chunk().ok_or_else(short)?;
    let (replica, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (store, index) = rest.split_first_chunk().ok_or_else(short)?;
    Ok(Position {
        epoch: Epoch {
            number: u64::from_be_bytes(*number),
            replica: ReplicaId(u32::from_be_bytes(*replica)),
            store: StoreUuid(Uuid::from_bytes(*store)),
        },
        index: u64::from_be_bytes(index.try_into().map_err(|_| short())?),
    })
}

fn short() -> Trouble {
    Trouble::Damaged("an entry is too short".to_owned())
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
fn parse_lineage(bytes: &[u8]) -> Result<(Lineage, usize), Trouble> {
    let (fork, rest) = bytes.split_first_chunk().ok_or_else(short)?;
    let (count, rest) = rest.split_first().ok_or_else(short)?;
    let length = usize::from(*count) * POSITION;
    let epochs = rest.get(..length).ok_or_else(short)?;
    let epochs = epochs.chunks_exact(POSITION).map(|first| {
        let first = first.first_chunk().ok_or_else(short)?;
        let Position { epoch, index } = parse_position(first)?;
        Ok((epoch, index))
    });
    let lineage = Lineage {
        fork: u64::from_be_bytes(*fork),
        epochs: epochs.collect::<Result<_, Trouble>>()?,
    };
    Ok((lineage, 8 + 1 + length))
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
pub(super) fn parse_payload(index: Index, bytes: &Bytes) -> Result<Payload, Trouble> {
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
        kind => Err(Trouble::Damaged(format!(
            "the entry at {index} is of an unknown kind ({kind})"
        ))),
    }
}

/// A view start without the byte that tells what it is.
fn parse_view_start(index: Index, bytes: &[u8]) -> Result<ViewStart, Trouble> {
    postcard::from_bytes(bytes).map_err(|error| {
        Trouble::Damaged(format!("the view start at {index} cannot be read: {error}"))
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
