//! One run of a simulated replica, from its start to its death.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::PathBuf;

use super::board::{Board, SimTransport, Turned};
use super::disk::{Disk, SimStore};
use super::ledger::Ledger;
use crate::driver::{Applier, Driver, Limits, Reading, Report, Work, perform};
use crate::memory_store::MemoryStore;
use crate::replica::{Mutation, Note, Replica, Seed, Settings};
use crate::state_machine::StateMachine;
use crate::store::{Store, StoreError};
use crate::types::{ClusterId, ReplicaId};

/// What all replicas of a cluster are started with.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) cluster: ClusterId,
    pub(super) settings: Settings,
    pub(super) limits: Limits,
    pub(super) mutation: Option<Mutation>,
}

/// Keeps work until the schedule lets the state machine do it.
#[derive(Default)]
pub(super) struct SimApplier {
    queue: VecDeque<Work<u64>>,
    readings: VecDeque<Reading>,
}

impl Applier<u64> for SimApplier {
    fn hand(&mut self, work: Work<u64>) {
        self.queue.push_back(work);
    }

    fn read(&mut self, reading: Reading) {
        self.readings.push_back(reading);
    }
}

/// A driver with a disk, a network and a state machine that the simulation holds in its hands.
pub(super) struct Process {
    pub(super) driver: Driver<SimStore, SimTransport, SimApplier, u64>,
    pub(super) board: Board,
    pub(super) ledger: Ledger,
}

impl Process {
    /// Starts a replica from what a disk and a state machine kept, unless the disk cannot be used.
    pub(super) fn start(
        id: ReplicaId,
        disk: &Disk,
        ledger: Ledger,
        seeds: Vec<Seed>,
        setup: &Setup,
    ) -> Result<Process, StoreError> {
        let identity = disk.look(MemoryStore::identity);
        if identity.cluster != setup.cluster && setup.mutation != Some(Mutation::TakesOldDisks) {
            return Err(StoreError::OtherCluster {
                path: PathBuf::from("simulated disk"),
                found: identity.cluster,
                wanted: setup.cluster,
            });
        }
        let board = Board::default();
        let mut store = disk.open(board.clone(), id, setup.mutation)?;
        let durable = store.load()?;
        let state = Report::of(&ledger);
        let unsettled = ledger.unsettled();
        assert!(
            unsettled.is_some() || !durable.has_lost(state.durable),
            "replica {id} has a log that ends before its state, {}",
            state.durable
        );
        let mut replica = Replica::new(
            durable,
            seeds,
            ledger.apply_version(),
            setup.settings.clone(),
        );
        if let Some(mutation) = setup.mutation {
            replica.break_rule(mutation);
        }
        let transport = SimTransport(board.clone());
        let applier = SimApplier::default();
        let mut driver = Driver::new(replica, store, transport, applier, setup.limits, state);
        if let Some(reset) = unsettled {
            driver.complete_install(reset);
        }
        if let Some(damage) = ledger.damage() {
            driver.state_damaged(damage);
        }
        Ok(Process {
            driver,
            board,
            ledger,
        })
    }

    pub(super) fn replica(&self) -> &Replica {
        self.driver.replica()
    }

    /// Turns the driver; also tells what it did before it failed.
    pub(super) fn turn(&mut self) -> (Turned, Result<Vec<Note>, StoreError>) {
        let outcome = self.driver.turn();
        (self.board.take_turned(), outcome)
    }

    /// Whether the state machine has something to do.
    pub(super) fn has_work(&mut self) -> bool {
        let applier = self.driver.applier_mut();
        !applier.queue.is_empty() || !applier.readings.is_empty()
    }

    /// Lets the state machine do one piece of work. The driver knows, but has not turned yet.
    pub(super) fn apply(&mut self) -> Option<Report> {
        if let Some(reading) = self.driver.applier_mut().readings.pop_front() {
            self.driver.read_snapshot(reading.perform());
            return None;
        }
        let work = self.driver.applier_mut().queue.pop_front()?;
        let finished =
            perform(&mut self.ledger, work).unwrap_or_else(|error: Infallible| match error {});
        let report = finished.report;
        self.driver.finished(finished);
        Some(report)
    }
}
