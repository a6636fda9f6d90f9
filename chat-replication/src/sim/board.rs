//! What a simulated process shows of itself to the simulation while it turns.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::describe::{Kind, kind};
use crate::branch::BranchTable;
use crate::message::Message;
use crate::store::Persist;
use crate::transport::Transport;
use crate::types::{Epoch, Index, Member, ReplicaId, StoreUuid};

/// Shared by a process's disk, its network and the simulation.
#[derive(Clone, Debug, Default)]
pub(super) struct Board(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    dead: bool,
    crash_point: Option<CrashPoint>,
    trap: Option<Trap>,
    /// What is on the disk, as far as promises and acknowledgements can speak of it.
    promised: Epoch,
    branches: BranchTable,
    /// Whom it connects to, and whose connections it takes; everybody until it was told.
    peers: Option<BTreeSet<ReplicaId>>,
    turned: Turned,
}

/// When a process dies around its next write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CrashPoint {
    Before,
    Amid,
    After,
    /// The write fails and says so.
    Fsync,
    /// A read fails and says so.
    Read,
    /// Amid the next one that cuts the log, or puts a snapshot in its place.
    Cut,
}

/// Trouble that begins right after a message of some kind was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Trap {
    pub(super) after: Kind,
    pub(super) trouble: Trouble,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// The process dies.
    Crash,
    /// It is cut off from everybody else.
    Isolation,
}

/// What a process did in one turn.
#[derive(Debug, Default)]
pub(super) struct Turned {
    /// Messages, each with the number of writes that went before it.
    pub(super) sent: Vec<(usize, ReplicaId, Message)>,
    /// Writes.
    pub(super) written: Vec<Persist>,
    /// Rules broken.
    pub(super) broken: Vec<String>,
    pub(super) isolated: bool,
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Whether there are connections to a peer.
    pub(super) fn knows(&self, peer: ReplicaId) -> bool {
        let state = self.state();
        state
            .peers
            .as_ref()
            .is_none_or(|known| known.contains(&peer))
    }

    /// From now on nothing is written or sent.
    pub(super) fn kill(&self) {
        self.state().dead = true;
    }

    pub(super) fn plan_crash(&self, point: CrashPoint) {
        self.state().crash_point = Some(point);
    }

    pub(super) fn take_crash_point(&self) -> Option<CrashPoint> {
        self.state().crash_point.take()
    }

    pub(super) fn fails_to_read(&self) -> bool {
        let planned = &mut self.state().crash_point;
        planned
            .take_if(|point| *point == CrashPoint::Read)
            .is_some()
    }

    pub(super) fn set_trap(&self, trap: Trap) {
        self.state().trap = Some(trap);
    }

    /// Nothing planned happens any more.
    pub(super) fn disarm(&self) {
        let mut state = self.state();
        state.trap = None;
        state.crash_point = None;
    }

    pub(super) fn durable(&self, promised: Epoch, branches: &BranchTable) {
        let mut state = self.state();
        state.promised = promised;
        state.branches.clone_from(branches);
    }

    pub(super) fn wrote(&self, batch: Persist) {
        self.state().turned.written.push(batch);
    }

    pub(super) fn take_turned(&self) -> Turned {
        std::mem::take(&mut self.state().turned)
    }
}

/// The near end of the simulated network.
#[derive(Debug)]
pub(super) struct SimTransport(pub(super) Board);

impl Transport for SimTransport {
    fn send(&mut self, to: ReplicaId, message: Message) {
        let state = &mut *self.0.state();
        if state.dead {
            return;
        }
        if let Some(broken) = state.breach(&message) {
            state.turned.broken.push(broken);
        }
        let sprung = state.trap.take_if(|trap| trap.after == kind(&message));
        match sprung.map(|trap| trap.trouble) {
            Some(Trouble::Crash) => state.dead = true,
            Some(Trouble::Isolation) => state.turned.isolated = true,
            None => {}
        }
        let writes = state.turned.written.len();
        state.turned.sent.push((writes, to, message));
    }

    fn peers_changed(&mut self, peers: &[Member]) {
        self.0.state().peers = Some(peers.iter().map(|peer| peer.id).collect());
    }

    /// The simulation asks the replica itself.
    fn renamed(&mut self, _: StoreUuid) {}
}

impl State {
    /// What a message claims that is not so: promises and acknowledgements speak of what is on the disk.
    fn breach(&self, message: &Message) -> Option<String> {
        let verified = |epoch: Epoch, verified: Index| {
            let last = self.branches.last_index();
            (verified > last || epoch > self.promised).then(|| {
                format!(
                    "acknowledges {verified} in {epoch} with a disk that ends at {last} and promised {}",
                    self.promised
                )
            })
        };
        match message {
            Message::Promise { epoch, standing } => {
                // The same write may have brought entries of that epoch, or of one promised later: then the answer is
                // just late.
                let durable = self.promised > *epoch
                    || self.promised == *epoch && self.branches.holds(standing.branches.last());
                (!durable).then(|| {
                    format!(
                        "promises {epoch} and a log that ends at {}, with {} and {} on disk",
                        standing.branches.last(),
                        self.promised,
                        self.branches.last()
                    )
                })
            }
            Message::Prepare { epoch, .. } => (self.promised < *epoch)
                .then(|| format!("asks for promises of {epoch} before its own is on disk")),
            Message::AppendAck {
                epoch,
                verified: index,
                ..
            } => verified(*epoch, *index),
            Message::HeartbeatAck {
                epoch,
                verified: Some(index),
                ..
            } => verified(*epoch, *index),
            _ => None,
        }
    }
}
