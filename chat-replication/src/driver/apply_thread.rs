//! The threads of a state machine: one that it runs on, and one that reads its snapshots.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::apply::{Applier, Finished, Outcome, Work, perform};
use super::input::Input;
use super::pile::{Pile, Wake};
use super::queue::{self, Nothing};
use super::running::ReplicaError;
use super::snapshot::Reading;
use crate::state_machine::StateMachine;
use crate::types::{Position, ReplicaId};

/// How often an idle state machine may look after itself.
const IDLE: Duration = Duration::from_millis(50);

/// Hands work to the thread.
pub(super) struct ApplyThread<R> {
    orders: queue::Sender<Order<R>>,
    thread: JoinHandle<Result<(), ReplicaError>>,
    readings: mpsc::Sender<Reading>,
    reader: JoinHandle<()>,
    reports: Pile<Report>,
}

/// What the thread says of its work.
pub(super) enum Report {
    /// A piece of work is done.
    Finished(Finished),
    /// A checkpoint has become durable.
    Checkpoint(Position),
}

impl Report {
    /// Whether there is something to do now that nobody but the driver can do.
    fn is_urgent(&self) -> bool {
        match self {
            Report::Finished(finished) => {
                finished.report.rolled_back || !matches!(finished.outcome, Outcome::Applied)
            }
            Report::Checkpoint(_) => false,
        }
    }
}

enum Order<R> {
    Work(Work<R>),
    /// Make everything durable and end.
    Finish,
}

impl<R: Send + 'static> ApplyThread<R> {
    pub(super) fn start<M: StateMachine<Response = R>>(
        me: ReplicaId,
        machine: M,
        driver: queue::Sender<Input>,
    ) -> io::Result<ApplyThread<R>> {
        let (orders, received) = queue::queue();
        let reports = Pile::new(usize::MAX);
        let told = reports.clone();
        let (readings, to_read) = mpsc::channel::<Reading>();
        let reads = driver.clone();
        let reader = Builder::new()
            .name(format!("snapshot-{me}"))
            .spawn(move || {
                for reading in to_read {
                    let _ = reads.send(Input::SnapshotRead(Box::new(reading.perform())));
                }
            })?;
        let thread = Builder::new().name(format!("apply-{me}")).spawn(move || {
            let ended = catch_unwind(AssertUnwindSafe(|| run(machine, &received, &told, &driver)))
                .unwrap_or_else(|panic| Err(ReplicaError::panicked("the state machine", &*panic)));
            if let Err(error) = &ended {
                let _ = driver.send(Input::Failed(error.clone()));
            }
            ended
        })?;
        Ok(ApplyThread {
            orders,
            thread,
            readings,
            reader,
            reports,
        })
    }

    /// What it has to say. [`Input::Look`] comes where that is waited for.
    pub(super) fn reports(&self) -> &Pile<Report> {
        &self.reports
    }

    /// Waits until everything handed in is applied and durable.
    pub(super) fn finish(self) -> Result<(), ReplicaError> {
        let _ = self.orders.send(Order::Finish);
        self.join()
    }

    /// Waits until the thread has ended, which leaves what it did not do yet to the next start.
    pub(super) fn abandon(self) {
        let ApplyThread {
            orders,
            thread,
            readings,
            reader,
            ..
        } = self;
        drop((orders, readings));
        let _ = thread.join();
        let _ = reader.join();
    }

    fn join(self) -> Result<(), ReplicaError> {
        let ApplyThread {
            thread,
            readings,
            reader,
            ..
        } = self;
        drop(readings);
        // It holds the state's file open.
        let _ = reader.join();
        thread
            .join()
            .unwrap_or_else(|panic| Err(ReplicaError::panicked("the state machine", &*panic)))
    }
}

impl<R> Applier<R> for ApplyThread<R> {
    fn hand(&mut self, work: Work<R>) {
        // A thread that ended has said why, and the driver is about to read it.
        let _ = self.orders.send(Order::Work(work));
    }

    fn read(&mut self, reading: Reading) {
        let _ = self.readings.send(reading);
    }
}

fn run<M: StateMachine>(
    mut machine: M,
    orders: &queue::Receiver<Order<M::Response>>,
    reports: &Pile<Report>,
    driver: &queue::Sender<Input>,
) -> Result<(), ReplicaError> {
    let failed = |error: M::Error| ReplicaError::StateMachine(Arc::new(error));
    let report = |report: Report| {
        let is_urgent = report.is_urgent();
        if reports.add(report, 0) == Ok(Wake::Now) || is_urgent {
            // A driver that has ended has nothing to do any more.
            let _ = driver.send(Input::Look);
        }
    };
    let mut durable = machine.durable();
    loop {
        match orders.recv_timeout(IDLE) {
            Ok(Order::Work(work)) => {
                let finished = perform(&mut machine, work).map_err(failed)?;
                durable = finished.report.durable;
                report(Report::Finished(finished));
            }
            Ok(Order::Finish) => return machine.checkpoint().map_err(failed),
            Err(Nothing::Timeout) => {}
            Err(Nothing::Disconnected) => return Ok(()),
        }
        machine.maintain().map_err(failed)?;
        if machine.durable() != durable {
            durable = machine.durable();
            report(Report::Checkpoint(durable));
        }
    }
}
