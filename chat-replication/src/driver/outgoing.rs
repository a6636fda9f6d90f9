//! Messages that carry entries, completed from the log.

use crate::branch::BranchTable;
use crate::message::Message;
use crate::replica::Outgoing;
use crate::store::{Store, StoreError};
use crate::types::{Entry, Epoch, Index, Position};

use super::tail::Tail;

/// Turns what the replica wants sent into messages of limited size, and tells which entries an append came to. Snapshots go
/// another way.
///
/// A range that the log no longer holds is not sent: the replica cut its log after it had asked, and follows another
/// leader now, or has dropped what somebody asked for.
pub(super) fn complete(
    outgoing: Outgoing,
    branches: &BranchTable,
    compacted: Index,
    tail: &Tail,
    store: &impl Store,
    max_bytes: usize,
    mut send: impl FnMut(Message),
) -> Result<Option<Sent>, StoreError> {
    let range = |epoch, previous, through| Range {
        epoch,
        previous,
        through,
        branches,
        compacted,
        tail,
        max_bytes,
    };
    match outgoing {
        Outgoing::Message(message) => send(message),
        Outgoing::Append {
            epoch,
            previous,
            through,
            room,
            commit,
            forced,
        } => {
            let range = range(epoch, previous, through);
            return range.pieces(store, room, |previous, entries| {
                send(Message::Append {
                    epoch,
                    previous,
                    entries,
                    commit,
                    forced,
                });
            });
        }
        Outgoing::Fetched {
            epoch,
            previous,
            through,
            forced,
        } => {
            let range = range(epoch, previous, through);
            range.pieces(store, 1, |previous, entries| {
                send(Message::Fetched {
                    epoch,
                    previous,
                    entries,
                    forced,
                });
            })?;
        }
        Outgoing::Mended {
            from,
            through,
            compacted: gone,
        } => {
            let is_held = branches.holds(from) && through <= branches.last_index();
            let entries = match is_held && from.index > compacted && through >= from.index {
                true => tail.read(store, from.index, through, max_bytes)?,
                false => Vec::new(),
            };
            send(Message::Mended {
                from,
                entries,
                compacted: gone,
            });
        }
        Outgoing::Snapshot { .. } => {}
        Outgoing::Orphans { epoch } => {
            let orphans = store.orphans(None, max_bytes)?;
            if !orphans.is_empty() {
                send(Message::Orphans { epoch, orphans });
            }
        }
    }
    Ok(None)
}

/// Entries that were sent.
pub(super) struct Sent {
    /// The last of them.
    pub(super) through: Index,
    /// What they came to.
    pub(super) bytes: usize,
}

struct Range<'a> {
    epoch: Epoch,
    previous: Position,
    through: Index,
    branches: &'a BranchTable,
    compacted: Index,
    tail: &'a Tail,
    max_bytes: usize,
}

impl Range<'_> {
    /// Sends pieces until their entries come to `room` bytes; the last piece may go past it.
    fn pieces(
        self,
        store: &impl Store,
        room: usize,
        mut send: impl FnMut(Position, Vec<Entry>),
    ) -> Result<Option<Sent>, StoreError> {
        let held = self.branches.holds(self.previous) && self.through <= self.branches.last_index();
        let newest = self.branches.epoch_at(self.through).unwrap_or_default();
        let gone = self.previous.index < self.compacted;
        if !held || gone || newest > self.epoch {
            return Ok(None);
        }
        let mut previous = self.previous;
        if previous.index >= self.through {
            send(previous, Vec::new());
            return Ok(None);
        }
        let mut bytes = 0;
        while previous.index < self.through && bytes < room {
            let entries =
                self.tail
                    .read(store, previous.index + 1, self.through, self.max_bytes)?;
            let Some(last) = entries.last().map(|entry| entry.position) else {
                break;
            };
            bytes += entries
                .iter()
                .map(|entry| entry.payload.len())
                .sum::<usize>();
            send(previous, entries);
            previous = last;
        }
        Ok(Some(Sent {
            through: previous.index,
            bytes,
        }))
    }
}
