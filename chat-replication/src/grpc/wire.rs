//! Messages as bytes, and back.
//!
//! A message's commands are taken out and travel beside it, so that they are handed on as they are. What comes from a
//! peer is checked for what the protocol takes for granted: that branch tables grow, that entries follow each other.

use bytes::Bytes;
use thiserror::Error;

use super::proto::PeerMessage;
use crate::branch::BranchTable;
use crate::message::{Message, SnapshotChunk};
use crate::types::{Entry, Index, Orphan, Payload, Position};

/// What a peer sent is no message of this version.
#[derive(Debug, Error)]
pub(super) enum Malformed {
    #[error("it cannot be decoded ({0})")]
    Encoding(#[from] postcard::Error),
    #[error("it has {found} commands beside it, and room for {expected}")]
    Commands { found: usize, expected: usize },
    #[error("its branch table contradicts itself")]
    BranchTable,
    #[error("its entries do not follow each other")]
    Entries,
    #[error("what stood before a command contradicts where it stood")]
    Lineage,
    #[error("its snapshot contradicts itself")]
    Snapshot,
}

/// Far beyond any log, so that arithmetic on a peer's indexes cannot overflow.
const MAX_INDEX: Index = 1 << 62;

pub(super) fn pack(mut message: Message) -> PeerMessage {
    let commands = commands(&mut message)
        .into_iter()
        .map(std::mem::take)
        .collect();
    let body =
        postcard::to_stdvec(&message).expect("a message holds nothing that postcard cannot encode");
    PeerMessage {
        body: body.into(),
        commands,
    }
}

/// Bytes that a message takes on the wire, roughly.
pub(super) fn size(message: &PeerMessage) -> usize {
    message.body.len()
        + message
            .commands
            .iter()
            .map(|command| command.len() + 5)
            .sum::<usize>()
        + 16
}

pub(super) fn unpack(packed: PeerMessage) -> Result<Message, Malformed> {
    let mut message: Message = postcard::from_bytes(&packed.body)?;
    let slots = commands(&mut message);
    if slots.len() != packed.commands.len() {
        return Err(Malformed::Commands {
            found: packed.commands.len(),
            expected: slots.len(),
        });
    }
    for (slot, command) in slots.into_iter().zip(packed.commands) {
        *slot = command;
    }
    check(&message)?;
    Ok(message)
}

/// Where a message holds commands, in order.
fn commands(message: &mut Message) -> Vec<&mut Bytes> {
    match message {
        Message::Append { entries, .. } | Message::Fetched { entries, .. } => entries
            .iter_mut()
            .filter_map(|entry| match &mut entry.payload {
                Payload::Command(command) | Payload::Reproposed { command, .. } => Some(command),
                Payload::ViewStart(_) => None,
            })
            .collect(),
        Message::Orphans { orphans, .. } => orphans
            .iter_mut()
            .map(|orphan| &mut orphan.command)
            .collect(),
        Message::Cast(bytes) => vec![bytes],
        Message::SnapshotChunk(chunk) => vec![&mut chunk.bytes],
        Message::PreBallot { .. }
        | Message::PreBallotAnswer { .. }
        | Message::Prepare { .. }
        | Message::Promise { .. }
        | Message::Refuse { .. }
        | Message::Fetch { .. }
        | Message::AppendAck { .. }
        | Message::Mismatch { .. }
        | Message::Heartbeat { .. }
        | Message::HeartbeatAck { .. }
        | Message::HandOver { .. }
        | Message::SnapshotAck { .. } => Vec::new(),
    }
}

fn check(message: &Message) -> Result<(), Malformed> {
    match message {
        Message::PreBallotAnswer { standing, .. } | Message::Promise { standing, .. } => {
            check_table(&standing.branches)
        }
        Message::Mismatch { branches, .. }
        | Message::HeartbeatAck {
            branches: Some(branches),
            ..
        } => check_table(branches),
        Message::Append {
            previous, entries, ..
        }
        | Message::Fetched {
            previous, entries, ..
        } => check_entries(*previous, entries),
        Message::SnapshotChunk(chunk) => check_chunk(chunk),
        Message::Orphans { orphans, .. } => {
            let fits = |orphan: &Orphan| orphan.lineage.fits(orphan.origin);
            orphans
                .iter()
                .all(fits)
                .then_some(())
                .ok_or(Malformed::Lineage)
        }
        _ => Ok(()),
    }
}

fn check_chunk(chunk: &SnapshotChunk) -> Result<(), Malformed> {
    let whole = chunk.offset < MAX_INDEX && chunk.reset.is_some() == (chunk.offset == 0);
    if let Some(reset) = &chunk.reset {
        check_table(&reset.branches)?;
        let newest = reset.branches.epochs().last();
        let begins =
            newest.is_some_and(|(epoch, first)| *first == reset.newest.0 && *epoch <= chunk.epoch);
        if !begins {
            return Err(Malformed::Snapshot);
        }
    }
    whole.then_some(()).ok_or(Malformed::Snapshot)
}

fn check_table(table: &BranchTable) -> Result<(), Malformed> {
    let sound = table.last_index() < MAX_INDEX
        && BranchTable::from_parts(table.epochs().to_vec(), table.last_index()).is_some();
    if sound {
        Ok(())
    } else {
        Err(Malformed::BranchTable)
    }
}

fn check_entries(previous: Position, entries: &[Entry]) -> Result<(), Malformed> {
    let mut last = previous;
    if last.index >= MAX_INDEX {
        return Err(Malformed::Entries);
    }
    for entry in entries {
        let next = entry.position;
        let follows = next.index == last.index + 1 && next.epoch >= last.epoch;
        let begins_well =
            next.epoch == last.epoch || matches!(entry.payload, Payload::ViewStart(_));
        if !follows || !begins_well {
            return Err(Malformed::Entries);
        }
        if let Payload::Reproposed {
            origin, lineage, ..
        } = &entry.payload
            && !lineage.fits(*origin)
        {
            return Err(Malformed::Lineage);
        }
        last = next;
    }
    Ok(())
}

/// What a peer sends, for the fuzzer.
#[cfg(fuzzing)]
pub fn fuzz_message(bytes: &[u8]) {
    use prost::Message as _;

    let Ok(packed) = PeerMessage::decode(bytes) else {
        return;
    };
    if let Ok(message) = unpack(packed) {
        let again = unpack(pack(message.clone())).expect("what is written is read");
        assert_eq!(again, message);
    }
}
