//! The side of the leader.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tracing::{info, warn};
use xxhash_rust::xxh3::Xxh3Default;

use super::{AT_ONCE, REST, Read, Reading, TransferId, WINDOW};
use crate::driver::{Applier, Driver, Work};
use crate::message::{Message, SnapshotChunk};
use crate::state_machine::SnapshotReader;
use crate::store::{Reset, Store};
use crate::transport::Transport;
use crate::types::{Epoch, Index, Position, ReplicaId};

/// The snapshots on their way, by whom they are for.
#[derive(Default)]
pub(in crate::driver) struct Servings {
    all: BTreeMap<ReplicaId, Serving>,
    next: u64,
}

/// One snapshot on its way.
struct Serving {
    id: u64,
    /// Known once it can be read.
    reset: Option<Reset>,
    /// The log is kept from here on.
    pin: Index,
    source: Source,
    /// Read, and not sent yet since it may be the last.
    held: Option<Bytes>,
    /// Bytes read.
    read: u64,
    checksum: Xxh3Default,
    /// Sent or to be sent, and not acknowledged.
    flight: VecDeque<Piece>,
    acknowledged: u64,
    /// The ticks when something was acknowledged, and when something was sent, last.
    moved_at: u64,
    sent_at: u64,
    /// Nothing is read before this tick.
    rests_until: u64,
}

enum Source {
    /// It is being opened, or the next piece read.
    Busy,
    Ready(Box<dyn SnapshotReader>),
    /// All of it is read.
    Exhausted,
    /// The receiver has all of it.
    Done,
}

struct Piece {
    offset: u64,
    bytes: Bytes,
    checksum: Option<u128>,
    sent: bool,
}

impl Servings {
    /// No entry behind this index may be dropped.
    pub(in crate::driver) fn pin(&self) -> Index {
        self.all
            .values()
            .map(|serving| serving.pin)
            .min()
            .unwrap_or(Index::MAX)
    }

    /// Nothing is sent any more of what was on its way.
    pub(in crate::driver) fn give_up(&mut self) {
        self.all.clear();
    }

    fn find(&mut self, transfer: TransferId) -> Option<&mut Serving> {
        let serving = self.all.get_mut(&transfer.to)?;
        (serving.id == transfer.id).then_some(serving)
    }
}

impl Serving {
    fn position(&self) -> Option<Position> {
        self.reset.as_ref().map(|reset| reset.branches.last())
    }

    /// A piece was read, or the end was reached.
    fn take(&mut self, chunk: Option<Bytes>) {
        let piece = std::mem::replace(&mut self.held, chunk);
        if let Some(bytes) = &self.held {
            self.checksum.update(bytes);
        } else {
            self.source = Source::Exhausted;
        }
        if let Some(bytes) = piece {
            let offset = self.read;
            self.read += bytes.len() as u64;
            let last = self.held.is_none();
            self.flight.push_back(Piece {
                offset,
                bytes,
                checksum: last.then(|| self.checksum.digest128()),
                sent: false,
            });
        }
    }
}

impl<S: Store, T: Transport, A: Applier<R>, R> Driver<S, T, A, R> {
    /// The replica wants a snapshot on its way.
    pub(in crate::driver) fn serve_snapshot(&mut self, to: ReplicaId, at_least: Index) {
        let patience = 2 * self.suspect;
        if let Some(serving) = self.servings.all.get(&to) {
            let useful = serving
                .position()
                .is_none_or(|position| position.index >= at_least);
            let stale =
                matches!(serving.source, Source::Done) && self.now - serving.moved_at > patience;
            if useful && !stale {
                return;
            }
        } else if self.servings.all.len() >= AT_ONCE {
            // It is asked for again.
            return;
        }
        self.servings.next += 1;
        // No other life of this replica leads this epoch, so the receiver cannot take one snapshot for a part of another.
        let epoch = self.replica.leading_or_about_to().unwrap_or_default();
        let id = (epoch.number << 24) ^ self.servings.next;
        self.servings.all.insert(
            to,
            Serving {
                id,
                reset: None,
                pin: self.durable.index,
                source: Source::Busy,
                held: None,
                read: 0,
                checksum: Xxh3Default::new(),
                flight: VecDeque::new(),
                acknowledged: 0,
                moved_at: self.now,
                sent_at: self.now,
                rests_until: self.now,
            },
        );
        let transfer = TransferId { to, id };
        self.applier.hand(Work::Snapshot { transfer, at_least });
    }

    /// The state machine has made a snapshot available.
    pub(in crate::driver) fn opened_snapshot(
        &mut self,
        transfer: TransferId,
        reader: Option<Box<dyn SnapshotReader>>,
    ) {
        let Some(serving) = self.servings.find(transfer) else {
            return;
        };
        let reset = reader
            .as_ref()
            .and_then(|reader| self.replica.reset_at(reader.position()));
        let (Some(reader), Some(reset)) = (reader, reset) else {
            // There is none yet, or it is of a branch that was left. It is asked for again.
            self.servings.all.remove(&transfer.to);
            return;
        };
        let position = reset.branches.last();
        info!(
            "sending a snapshot of {position} to replica {}",
            transfer.to
        );
        serving.pin = position.index;
        serving.reset = Some(reset);
        serving.source = Source::Ready(reader);
        self.send_snapshot(transfer.to);
    }

    /// A piece was read.
    pub fn read_snapshot(&mut self, read: Read) {
        let Reading { transfer, reader } = read.reading;
        let Some(serving) = self.servings.find(transfer) else {
            return;
        };
        match read.chunk {
            Ok(None) if serving.held.is_none() && serving.read == 0 => {
                warn!("the snapshot for replica {} is empty", transfer.to);
                self.servings.all.remove(&transfer.to);
            }
            Ok(chunk) => {
                serving.source = Source::Ready(reader);
                serving.take(chunk);
                self.send_snapshot(transfer.to);
            }
            Err(error) => {
                // The state machine finds out for itself whether its disk can be used.
                warn!(%error, "the snapshot for replica {} cannot be read", transfer.to);
                self.servings.all.remove(&transfer.to);
            }
        }
    }

    /// Sends what the window allows, and has more read.
    fn send_snapshot(&mut self, to: ReplicaId) {
        let (Some(serving), Some(epoch)) = (
            self.servings.all.get_mut(&to),
            self.replica.leading_or_about_to(),
        ) else {
            return;
        };
        for piece in &mut serving.flight {
            if !piece.sent {
                piece.sent = true;
                serving.sent_at = self.now;
                let chunk = chunk(epoch, serving.id, serving.reset.as_ref(), piece);
                self.transport.send(to, chunk);
            }
        }
        if serving.flight.len() >= WINDOW || self.now < serving.rests_until {
            return;
        }
        match std::mem::replace(&mut serving.source, Source::Busy) {
            Source::Ready(reader) => {
                if !self.proposals.is_empty() {
                    serving.rests_until = self.now + REST;
                }
                let transfer = TransferId { to, id: serving.id };
                self.applier.read(Reading { transfer, reader });
            }
            other => serving.source = other,
        }
    }

    /// The receiver has written down so much.
    pub(in crate::driver) fn snapshot_acknowledged(
        &mut self,
        from: ReplicaId,
        id: u64,
        received: u64,
    ) {
        let transfer = TransferId { to: from, id };
        let Some(serving) = self.servings.find(transfer) else {
            return;
        };
        if received == 0 && serving.acknowledged > 0 {
            // It knows nothing of it any more: begun anew once it is asked for again.
            self.servings.all.remove(&from);
            return;
        }
        if received <= serving.acknowledged {
            return;
        }
        serving.acknowledged = received;
        serving.moved_at = self.now;
        while serving
            .flight
            .front()
            .is_some_and(|piece| piece.offset + piece.bytes.len() as u64 <= received)
        {
            serving.flight.pop_front();
        }
        let exhausted = matches!(serving.source, Source::Exhausted);
        if exhausted && serving.flight.is_empty() {
            info!(
                "replica {from} has taken the snapshot, {} bytes",
                serving.read
            );
            serving.source = Source::Done;
        }
        self.replica.snapshot_moved(from);
        self.send_snapshot(from);
    }

    /// Repeats what was lost, goes on with what has rested, and lets go of what is done or in vain.
    pub(in crate::driver) fn tick_servings(&mut self) {
        let (now, suspect) = (self.now, self.suspect);
        let replica = &self.replica;
        let leads = replica.followed().is_none();
        self.servings.all.retain(|to, serving| {
            let position = serving.position();
            let on_branch = position.is_none_or(|position| replica.branches().holds(position));
            // Reading and installing may take a while.
            let alive = now - serving.moved_at <= 20 * suspect;
            leads && on_branch && replica.awaits_snapshot(*to) && alive
        });
        for serving in self.servings.all.values_mut() {
            if now - serving.sent_at >= (suspect / 2).max(1) {
                for piece in &mut serving.flight {
                    piece.sent = false;
                }
            }
        }
        let served: Vec<ReplicaId> = self.servings.all.keys().copied().collect();
        for to in served {
            self.send_snapshot(to);
        }
    }
}

fn chunk(epoch: Epoch, id: u64, reset: Option<&Reset>, piece: &Piece) -> Message {
    Message::SnapshotChunk(Box::new(SnapshotChunk {
        epoch,
        id,
        reset: reset.filter(|_| piece.offset == 0).cloned(),
        offset: piece.offset,
        bytes: piece.bytes.clone(),
        checksum: piece.checksum,
    }))
}
