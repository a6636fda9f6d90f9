//! What is handed to the state machine, and what comes back.

use bytes::Bytes;

use crate::branch::BranchTable;
use crate::handle::{Committed, ProposeError};
use crate::state_machine::{InstallError, SnapshotReader, StateMachine};
use crate::store::Reset;
use crate::types::{Entry, Index, Position};

use super::proposals::Answer;
use super::snapshot::{Reading, TransferId};

/// Runs a state machine beside the driver.
///
/// Pieces of work are done in the order that they were handed in, and each is answered by one [`Finished`] to
/// [`Driver::finished`](super::Driver::finished).
pub trait Applier<R> {
    /// Takes work. Never blocks for longer than a few commands take.
    fn hand(&mut self, work: Work<R>);

    /// Has the next piece of a snapshot read, beside all work, and answered to
    /// [`Driver::read_snapshot`](super::Driver::read_snapshot). Never blocks.
    fn read(&mut self, reading: Reading);
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
    /// The state is damaged: begin anew with the empty one.
    StartOver,
    /// Make durable what was applied: what it stands for in the log is damaged.
    Checkpoint,
    /// Make a snapshot of this index or a later one available.
    Snapshot {
        /// Whom it is for.
        transfer: TransferId,
        /// An older one is of no use.
        at_least: Index,
    },
    /// Take in a snapshot, step by step.
    Install(Install),
}

/// A step of taking in a snapshot.
#[derive(Debug)]
pub enum Install {
    /// One begins.
    Begin(Box<Reset>),
    /// The next piece.
    Chunk(Bytes),
    /// It is whole: let it take the place of the state.
    Finish,
    /// The log knows of it.
    Settle,
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

impl<R> Waiting<R> {
    /// The command is committed; what came of it is not known here.
    fn give_up(self) {
        self.answer.give(Err(ProposeError::Unknown));
    }
}

/// How far a state machine is after a piece of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// The last entry whose effects it shows.
    pub applied: Position,
    /// Its hash there.
    pub state_hash: u128,
    /// Its last durable checkpoint.
    pub durable: Position,
    /// Whether the work was to go back, or to start over.
    pub rolled_back: bool,
}

impl Report {
    /// Where a state machine stands.
    pub fn of<M: StateMachine>(machine: &M) -> Report {
        Report {
            applied: machine.applied(),
            state_hash: machine.state_hash(),
            durable: machine.durable(),
            rolled_back: false,
        }
    }
}

/// A piece of work is done.
pub struct Finished {
    /// Where the state machine stands.
    pub report: Report,
    /// What came of the work.
    pub outcome: Outcome,
}

/// What came of a piece of work.
pub enum Outcome {
    /// Entries were applied, or the state went back.
    Applied,
    /// A snapshot can be read, where there is one.
    Snapshot {
        /// Whom it is for.
        transfer: TransferId,
        /// Reads it.
        reader: Option<Box<dyn SnapshotReader>>,
    },
    /// A step of taking in a snapshot was done, or the reason why it makes no sense.
    Installed(InstallStep, Result<(), String>),
}

/// Which step of taking in a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InstallStep {
    /// [`Install::Begin`]
    Begun,
    /// [`Install::Chunk`], of so many bytes.
    Taken(u64),
    /// [`Install::Finish`]
    Finished,
    /// [`Install::Settle`]
    Settled,
}

/// Does a piece of work and answers those who wait for it. A [damaged](StateMachine::damage) state does nothing but start
/// over: other work is answered as done in vain.
///
/// # Panics
///
/// Where the state machine does not answer each entry, or is not where it must be afterwards.
pub fn perform<M: StateMachine>(
    machine: &mut M,
    work: Work<M::Response>,
) -> Result<Finished, M::Error> {
    if !matches!(work, Work::StartOver) && machine.damage().is_some() {
        let vain = Vain::of(&work);
        if let Work::Apply { waiting, .. } = work {
            waiting.into_iter().for_each(Waiting::give_up);
        }
        return Ok(in_vain(machine, vain));
    }
    let rolled_back = matches!(work, Work::RollBack(_) | Work::StartOver);
    let starts_over = matches!(work, Work::StartOver);
    let vain = Vain::of(&work);
    let outcome = match carry_out(machine, work) {
        Ok(outcome) => outcome,
        Err(_) if machine.damage().is_some() && !starts_over => {
            return Ok(in_vain(machine, vain));
        }
        Err(error) => return Err(error),
    };
    let report = Report {
        rolled_back,
        ..Report::of(machine)
    };
    Ok(Finished { report, outcome })
}

/// What is said of work that a damaged state did not do.
enum Vain {
    Nothing,
    Snapshot(TransferId),
    Install(InstallStep),
}

impl Vain {
    fn of<R>(work: &Work<R>) -> Vain {
        match work {
            Work::Apply { .. } | Work::RollBack(_) | Work::StartOver | Work::Checkpoint => {
                Vain::Nothing
            }
            Work::Snapshot { transfer, .. } => Vain::Snapshot(*transfer),
            Work::Install(step) => Vain::Install(match step {
                Install::Begin(_) => InstallStep::Begun,
                Install::Chunk(bytes) => InstallStep::Taken(bytes.len() as u64),
                Install::Finish => InstallStep::Finished,
                Install::Settle => InstallStep::Settled,
            }),
        }
    }
}

/// Those who waited for the work hear that its outcome is not known here.
fn in_vain<M: StateMachine>(machine: &M, vain: Vain) -> Finished {
    let outcome = match vain {
        Vain::Nothing => Outcome::Applied,
        Vain::Snapshot(transfer) => Outcome::Snapshot {
            transfer,
            reader: None,
        },
        // The log has the snapshot already. What it was to be told of is lost again.
        Vain::Install(InstallStep::Settled) => Outcome::Installed(InstallStep::Settled, Ok(())),
        Vain::Install(step) => {
            let reason = "the state that it was to replace is damaged".to_owned();
            Outcome::Installed(step, Err(reason))
        }
    };
    Finished {
        report: Report::of(machine),
        outcome,
    }
}

fn carry_out<M: StateMachine>(
    machine: &mut M,
    work: Work<M::Response>,
) -> Result<Outcome, M::Error> {
    Ok(match work {
        Work::Apply { entries, waiting } => {
            match machine.apply(&entries) {
                Ok(responses) => answer(machine, &entries, responses, waiting),
                Err(error) => {
                    if machine.damage().is_some() {
                        waiting.into_iter().for_each(Waiting::give_up);
                    }
                    return Err(error);
                }
            }
            Outcome::Applied
        }
        Work::RollBack(branches) => {
            machine.roll_back(&|position| branches.holds(position))?;
            assert!(
                branches.holds(machine.applied()),
                "the state machine went back to what the log holds"
            );
            Outcome::Applied
        }
        Work::StartOver => {
            machine.start_over()?;
            assert_eq!(
                machine.applied(),
                Position::default(),
                "a state that starts over is empty"
            );
            Outcome::Applied
        }
        Work::Checkpoint => {
            machine.checkpoint()?;
            Outcome::Applied
        }
        Work::Snapshot { transfer, at_least } => Outcome::Snapshot {
            transfer,
            reader: snapshot(machine, at_least)?,
        },
        Work::Install(step) => install(machine, step)?,
    })
}

/// Applies entries if that need not wait for anybody else; else the work comes back.
pub(super) fn try_apply<M: StateMachine>(
    machine: &mut M,
    work: Work<M::Response>,
) -> Result<Result<Finished, Work<M::Response>>, M::Error> {
    let Work::Apply { entries, waiting } = work else {
        return Ok(Err(work));
    };
    if machine.damage().is_some() {
        return Ok(Err(Work::Apply { entries, waiting }));
    }
    let Some(responses) = machine.try_apply(&entries) else {
        return Ok(Err(Work::Apply { entries, waiting }));
    };
    match responses {
        Ok(responses) => answer(machine, &entries, responses, waiting),
        Err(_) if machine.damage().is_some() => {
            waiting.into_iter().for_each(Waiting::give_up);
            return Ok(Ok(in_vain(machine, Vain::Nothing)));
        }
        Err(error) => return Err(error),
    }
    Ok(Ok(Finished {
        report: Report::of(machine),
        outcome: Outcome::Applied,
    }))
}

/// Answers those who wait for entries that were applied.
fn answer<M: StateMachine>(
    machine: &M,
    entries: &[Entry],
    mut responses: Vec<Option<M::Response>>,
    waiting: Vec<Waiting<M::Response>>,
) {
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

fn snapshot<M: StateMachine>(
    machine: &mut M,
    at_least: Index,
) -> Result<Option<Box<dyn SnapshotReader>>, M::Error> {
    let durable = machine.durable().index;
    if (durable < at_least || durable == 0) && machine.applied().index > durable {
        machine.checkpoint()?;
    }
    let reader = machine.snapshot()?;
    Ok(reader.filter(|reader| reader.position().index >= at_least))
}

fn install<M: StateMachine>(machine: &mut M, step: Install) -> Result<Outcome, M::Error> {
    let (step, result) = match step {
        Install::Begin(reset) => {
            machine.begin_install(&reset)?;
            (InstallStep::Begun, Ok(()))
        }
        Install::Chunk(bytes) => (
            InstallStep::Taken(bytes.len() as u64),
            machine.install_chunk(&bytes),
        ),
        Install::Finish => (InstallStep::Finished, machine.finish_install()),
        Install::Settle => {
            machine.settle_install()?;
            (InstallStep::Settled, Ok(()))
        }
    };
    match result {
        Ok(()) => Ok(Outcome::Installed(step, Ok(()))),
        Err(InstallError::Unreadable(reason)) => Ok(Outcome::Installed(step, Err(reason))),
        Err(InstallError::Failed(error)) => Err(error),
    }
}
