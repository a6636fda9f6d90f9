//! Messages as bytes, and back.
//!
//! A message's commands are taken out and travel beside it, so that they are handed on as they are. Whether what comes from
//! a peer makes sense is for the replica to see, at its gate.

use bytes::Bytes;
use thiserror::Error;

use super::proto::PeerMessage;
use crate::message::Message;
use crate::types::Payload;

/// What a peer sent is no message of this version.
#[derive(Debug, Error)]
pub(super) enum Malformed {
    #[error("it cannot be decoded ({0})")]
    Encoding(#[from] postcard::Error),
    #[error("it has {found} commands beside it, and room for {expected}")]
    Commands { found: usize, expected: usize },
}

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
    Ok(message)
}

/// Where a message holds commands, in order.
fn commands(message: &mut Message) -> Vec<&mut Bytes> {
    match message {
        Message::Append { entries, .. }
        | Message::Fetched { entries, .. }
        | Message::Mended { entries, .. } => entries
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
        | Message::Mend { .. }
        | Message::AppendAck { .. }
        | Message::Mismatch { .. }
        | Message::Heartbeat { .. }
        | Message::HeartbeatAck { .. }
        | Message::HandOver { .. }
        | Message::SnapshotAck { .. } => Vec::new(),
    }
}

/// What a peer sends, for the fuzzer.
#[cfg(fuzzing)]
pub fn fuzz_message(bytes: &[u8]) -> Option<Message> {
    use prost::Message as _;

    let message = unpack(PeerMessage::decode(bytes).ok()?).ok()?;
    let again = unpack(pack(message.clone())).expect("what is written is read");
    assert_eq!(again, message);
    Some(message)
}
