//! What is handed to the state machine, and what comes back.

use crate::branch::BranchTable;
use crate::handle::{Committed, ProposeError};
use crate::state_machine::StateMachine;
use crate::types::{Entry, Position};

use super::proposals::Answer;

/// Runs a state machine beside the driver.
///
/// Pieces of work are done in the order that they were handed in, and each is answered by one [`Report`] to
/// [`Driver::applied`](super::Driver::applied).
pub trait Applier<R> {
    /// Takes work. Never blocks.
    fn hand(&mut self, work: Work<R>);
}

/// A piece of work for a state machine.
#[derive(Debug)]
pub enum Work<R> {
    /// Committed entries, right behind those handed before.
    Apply {
        /// The entries, never none.
        entries: Vec<Entry>,
        /// Who waits for them.
        waiting: Vec<Waiting<R>>,
    },
    /// The log was cut below what the state shows: go back to what this log holds.
    RollBack(BranchTable),
}

/// A proposer who waits for one of the entries.
#[derive(Debug)]
pub struct Waiting<R> {
    /// Which one.
    pub(super) at: usize,
    pub(super) durable_on: u32,
    pub(super) replicas: u32,
    pub(super) answer: Answer<R>,
}

/// How far a state machine is after a piece of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// The last entry whose effects it shows.
    pub applied: Position,
    /// Its hash there.
    pub state_hash: u128,
    /// Whether the work was to go back.
    pub rolled_back: bool,
}

/// Does a piece of work and answers those who wait for it.
///
/// # Panics
///
/// Where the state machine does not answer each entry, or is not where it must be afterwards.
pub fn perform<M: StateMachine>(
    machine: &mut M,
    work: Work<M::Response>,
) -> Result<Report, M::Error> {
    let rolled_back = matches!(work, Work::RollBack(_));
    match work {
        Work::Apply { entries, waiting } => {
            let mut responses = machine.apply(&entries)?;
            assert_eq!(
                responses.len(),
                entries.len(),
                "the state machine answers each entry"
            );
            let last = entries.last().map(|entry| entry.position);
            assert_eq!(
                Some(machine.applied()),
                last,
                "the state machine has applied what it was given"
            );
            for waiting in waiting {
                let outcome = match responses[waiting.at].take() {
                    Some(response) => Ok(Committed {
                        position: entries[waiting.at].position,
                        durable_on: waiting.durable_on,
                        replicas: waiting.replicas,
                        response,
                    }),
                    None => Err(ProposeError::Unknown),
                };
                waiting.answer.give(outcome);
            }
        }
        Work::RollBack(branches) => {
            machine.roll_back(&|position| branches.holds(position))?;
            assert!(
                branches.holds(machine.applied()),
                "the state machine went back to what the log holds"
            );
        }
    }
    Ok(Report {
        applied: machine.applied(),
        state_hash: machine.state_hash(),
        rolled_back,
    })
}
