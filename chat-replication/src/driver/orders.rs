//! Those who wait for a read to be confirmed, or for an operator's order.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::handle::{OrderError, ProposeError};
use crate::replica::{ChangeId, ChangeRefusal, MembershipChange, ReadId, TransferRefusal};
use crate::types::{Index, ReplicaId};

/// What an operator wants of a replica.
#[derive(Debug)]
pub enum Order {
    /// A replica is added or removed.
    Change(MembershipChange),
    /// Another member leads.
    Transfer(ReplicaId),
    /// The next view starts with whoever is there.
    ForceView,
}

pub(crate) type ReadAnswer = oneshot::Sender<Result<(), ProposeError>>;
pub(crate) type OrderAnswer = oneshot::Sender<Result<(), OrderError>>;

/// Reads on their way.
#[derive(Default)]
pub(super) struct Reads {
    next: u64,
    asked: BTreeMap<ReadId, ReadAnswer>,
    /// Confirmed, and waiting for the state to be applied up to an index.
    confirmed: BTreeMap<(Index, ReadId), ReadAnswer>,
}

impl Reads {
    pub(super) fn add(&mut self, answer: ReadAnswer) -> ReadId {
        let id = ReadId(self.next);
        self.next += 1;
        self.asked.insert(id, answer);
        id
    }

    pub(super) fn confirm(&mut self, id: ReadId, index: Index) {
        if let Some(answer) = self.asked.remove(&id) {
            self.confirmed.insert((index, id), answer);
        }
    }

    pub(super) fn refuse(&mut self, id: ReadId, error: ProposeError) {
        if let Some(answer) = self.asked.remove(&id) {
            // Whoever no longer waits has decided so.
            let _ = answer.send(Err(error));
        }
    }

    /// Whether one waits for nothing but the state.
    pub(super) fn await_applied(&self) -> bool {
        !self.confirmed.is_empty()
    }

    /// The state shows everything up to here.
    pub(super) fn applied(&mut self, index: Index) {
        let later = self.confirmed.split_off(&(index + 1, ReadId(0)));
        for answer in std::mem::replace(&mut self.confirmed, later).into_values() {
            let _ = answer.send(Ok(()));
        }
    }
}

/// Orders on their way.
#[derive(Default)]
pub(super) struct Orders {
    next: u64,
    changes: BTreeMap<ChangeId, OrderAnswer>,
    /// Those who want a view forced.
    forces: Vec<OrderAnswer>,
}

impl Orders {
    pub(super) fn add(&mut self, answer: OrderAnswer) -> ChangeId {
        let id = ChangeId(self.next);
        self.next += 1;
        self.changes.insert(id, answer);
        id
    }

    pub(super) fn force(&mut self, answer: OrderAnswer) {
        self.forces.push(answer);
    }

    pub(super) fn settle_force(&mut self, fate: Result<(), OrderError>) {
        for answer in self.forces.drain(..) {
            let _ = answer.send(fate.clone());
        }
    }

    pub(super) fn settle(&mut self, id: ChangeId, fate: Result<(), OrderError>) {
        if let Some(answer) = self.changes.remove(&id) {
            let _ = answer.send(fate);
        }
    }
}

pub(super) fn refused_change(
    refusal: ChangeRefusal,
    not_leader: impl FnOnce() -> OrderError,
) -> OrderError {
    match refusal {
        ChangeRefusal::NotLeader => not_leader(),
        ChangeRefusal::Busy => OrderError::Busy,
        ChangeRefusal::Unknown => OrderError::Unknown,
        ChangeRefusal::Taken => OrderError::Taken,
        ChangeRefusal::Leads => OrderError::Leads,
        ChangeRefusal::Last => OrderError::Last,
        ChangeRefusal::Beyond => OrderError::Beyond,
        ChangeRefusal::Unreachable => OrderError::Unreachable,
        ChangeRefusal::TooFew => OrderError::TooFew,
    }
}

pub(super) fn refused_transfer(
    refusal: TransferRefusal,
    not_leader: impl FnOnce() -> OrderError,
) -> OrderError {
    match refusal {
        TransferRefusal::NotLeader => not_leader(),
        TransferRefusal::NoMember => OrderError::NotInView,
    }
}
