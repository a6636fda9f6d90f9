//! The side of whom the snapshot is for.

use tracing::{info, warn};
use xxhash_rust::xxh3::Xxh3Default;

use crate::driver::apply::{Install, InstallStep};
use crate::driver::{Applier, Driver, Work};
use crate::message::{Message, SnapshotChunk};
use crate::store::{Reset, Store};
use crate::transport::Transport;
use crate::types::ReplicaId;

/// Bytes that may wait to be written down: far more than a leader sends ahead.
const ROOM: u64 = 16 << 20;

/// A snapshot that is coming in.
pub(in crate::driver) struct Taking {
    from: ReplicaId,
    id: u64,
    reset: Reset,
    checksum: Xxh3Default,
    /// Bytes that came, in order.
    received: u64,
    /// Bytes that are written down.
    written: u64,
    /// All of them came.
    whole: bool,
}

impl<S: Store, T: Transport, A: Applier<R>, R> Driver<S, T, A, R> {
    /// A piece came.
    pub(in crate::driver) fn take_chunk(&mut self, from: ReplicaId, chunk: SnapshotChunk) {
        let expected = self.replica.takes_snapshots_of() == Some(chunk.epoch);
        if !expected || chunk.epoch.replica != from || self.swapping {
            return;
        }
        let known = |taking: &Taking| (taking.from, taking.id) == (from, chunk.id);
        if !self.taking.as_ref().is_some_and(known) {
            let Some(reset) = &chunk.reset else {
                return self.acknowledge_chunk(from, chunk.id, 0);
            };
            let position = reset.branches.last();
            let wanted = self.replica.needs_snapshot(reset) && self.replica.may_adopt(reset);
            if position.epoch > chunk.epoch || !wanted {
                return;
            }
            if !self.replica.knows_version(reset.newest.1.apply_version) {
                return;
            }
            info!("taking a snapshot of {position} from replica {from}");
            self.taking = Some(Taking {
                from,
                id: chunk.id,
                reset: reset.clone(),
                checksum: Xxh3Default::new(),
                received: 0,
                written: 0,
                whole: false,
            });
            self.begins += 1;
            self.applier
                .hand(Work::Install(Install::Begin(Box::new(reset.clone()))));
        }
        let Some(taking) = &mut self.taking else {
            return;
        };
        if chunk.offset != taking.received || taking.whole {
            // One that was lost is sent again, and so is this one. What is written down is said again, too.
            let written = taking.written;
            if written > 0 && chunk.offset < written && !taking.whole {
                self.acknowledge_chunk(from, chunk.id, written);
            }
            return;
        }
        if taking.received - taking.written > ROOM {
            return;
        }
        taking.checksum.update(&chunk.bytes);
        if let Some(expected) = chunk.checksum {
            if taking.checksum.digest128() != expected {
                warn!("the snapshot from replica {from} arrived garbled; it begins anew");
                self.taking = None;
                return self.acknowledge_chunk(from, chunk.id, 0);
            }
            taking.whole = true;
        }
        taking.received += chunk.bytes.len() as u64;
        self.applier
            .hand(Work::Install(Install::Chunk(chunk.bytes)));
    }

    fn acknowledge_chunk(&mut self, to: ReplicaId, id: u64, received: u64) {
        if let Some(epoch) = self.replica.takes_snapshots_of() {
            let ack = Message::SnapshotAck {
                epoch,
                id,
                received,
            };
            self.transport.send(to, ack);
        }
    }

    /// The state machine has done a step.
    pub(in crate::driver) fn install_step(
        &mut self,
        step: InstallStep,
        result: Result<(), String>,
    ) {
        if step == InstallStep::Begun {
            self.begins -= 1;
        }
        if self.begins > 0 && !self.swapping {
            // Of one that was given up for another.
            return;
        }
        if let Err(reason) = result {
            warn!("a snapshot cannot be used: {reason}");
            self.swapping = false;
            if let Some(taking) = self.taking.take() {
                self.acknowledge_chunk(taking.from, taking.id, 0);
            }
            return;
        }
        match step {
            InstallStep::Begun => {}
            InstallStep::Taken(bytes) => self.taken(bytes),
            InstallStep::Finished => {
                let Some(taking) = &self.taking else { return };
                self.adopt(taking.reset.clone());
            }
            InstallStep::Settled => {
                self.swapping = false;
                if let Some(taking) = self.taking.take() {
                    self.acknowledge_chunk(taking.from, taking.id, taking.received);
                }
            }
        }
    }

    /// A piece is written down; with the last one the snapshot takes the place of the state, if it is still wanted.
    fn taken(&mut self, bytes: u64) {
        let Some(taking) = &mut self.taking else {
            return;
        };
        taking.written += bytes;
        let (from, id, written) = (taking.from, taking.id, taking.written);
        if !taking.whole || written < taking.received {
            return self.acknowledge_chunk(from, id, written);
        }
        let position = taking.reset.branches.last();
        let parts_from = self.replica.parts_from(&taking.reset);
        let of_use =
            self.replica.needs_snapshot(&taking.reset) && self.replica.may_adopt(&taking.reset);
        let wanted = self
            .replica
            .takes_snapshots_of()
            .is_some_and(|epoch| epoch.replica == from && position.epoch <= epoch)
            && of_use
            && (self.replica.branches().holds(position) || self.can_read_behind(parts_from));
        if wanted {
            self.swapping = true;
            self.applier.hand(Work::Install(Install::Finish));
        } else {
            self.taking = None;
        }
    }

    /// The state is that of a snapshot: so is the log, with the next write.
    pub(in crate::driver) fn adopt(&mut self, reset: Reset) {
        let position = reset.branches.last();
        self.swapping = true;
        self.settle_due = true;
        self.handed = position;
        self.rolling_back = false;
        self.proposals.skip(position.index);
        self.replica.installed(reset);
    }

    /// The log is that of the snapshot, durably.
    pub(in crate::driver) fn settle(&mut self) {
        if std::mem::take(&mut self.settle_due) {
            self.applier.hand(Work::Install(Install::Settle));
        }
    }
}
