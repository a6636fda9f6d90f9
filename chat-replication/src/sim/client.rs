//! Clients: each has one command at a time, and proposes it until it is told that it is done.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::sync::oneshot;

use super::check::Glance;
use super::ledger::CommandId;
use crate::handle::{Committed, OrderError, ProposeError};
use crate::types::ReplicaId;

/// Names a client.
pub(super) type ClientId = usize;

#[derive(Debug)]
pub(super) struct Client {
    /// The command that it wants done.
    pub(super) command: Option<CommandId>,
    /// The replica that it turns to.
    pub(super) target: ReplicaId,
    /// Grows with each attempt, so that what belongs to an earlier one is recognised.
    pub(super) attempt: u64,
}

/// An attempt that a replica owes an answer to.
#[derive(Debug)]
pub(super) struct Owed {
    pub(super) client: ClientId,
    pub(super) attempt: u64,
    pub(super) command: CommandId,
    pub(super) answer: oneshot::Receiver<Result<Committed<u64>, ProposeError>>,
}

/// A read that a replica owes an answer to.
#[derive(Debug)]
pub(super) struct OwedRead {
    /// What it must see.
    pub(super) glance: Glance,
    pub(super) answer: oneshot::Receiver<Result<(), ProposeError>>,
}

/// An order that a replica owes an answer to.
#[derive(Debug)]
pub(super) struct OwedOrder {
    /// The replica that was to be added or removed.
    pub(super) about: Option<(Wanted, ReplicaId)>,
    pub(super) answer: oneshot::Receiver<Result<(), OrderError>>,
}

/// What is to become of a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    Member,
    NoMember,
}

impl Owed {
    /// The answer, once there is one. A replica that died owes none any more.
    pub(super) fn poll(&mut self) -> Option<Result<Committed<u64>, ProposeError>> {
        match self.answer.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(ProposeError::Stopped)),
        }
    }
}

impl Client {
    /// Turns to where the leader is said to be, or else to the next replica.
    pub(super) fn turn_to(&mut self, hint: Option<ReplicaId>, replicas: u32) {
        let next = ReplicaId((self.target.0 + 1) % replicas);
        self.target = hint.unwrap_or(next);
    }
}

/// How long a client thinks before its next command, in microseconds.
pub(super) fn think(random: &mut ChaCha8Rng) -> u64 {
    match random.random_range(0..4) {
        0 => random.random_range(0..500),
        1 => random.random_range(500..10_000),
        _ => random.random_range(10_000..120_000),
    }
}

/// How long it waits for an answer.
pub(super) fn patience(random: &mut ChaCha8Rng) -> u64 {
    random.random_range(60_000..500_000)
}
