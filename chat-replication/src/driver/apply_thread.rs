//! The threads of a state machine: one that it runs on, and one that reads its snapshots.
//!
//! A few commands that somebody waits for are applied by the driver itself where the thread has nothing to do: waking it
//! would take longer than they do.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::apply::{Applier, Finished, Outcome, Work, perform, try_apply};
use super::input::Input;
use super::pile::{Pile, Wake};
use super::queue::{self, Nothing};
use super::running::ReplicaError;
use super::snapshot::Reading;
use crate::state_machine::StateMachine;
use crate::types::{Position, ReplicaId};

/// How often an idle state machine may look after itself.
const IDLE: Duration = Duration::from_millis(50);

/// So many commands need not go to the thread.
const FEW: usize = 8;
/// A state machine whose last work took longer keeps to its thread: the driver has peers who wait for a sign of life.
const SHORT: Duration = Duration::from_millis(2);

/// Hands work to the thread.
pub(super) struct ApplyThread<R> {
    machine: Arc<dyn AtOnce<R>>,
    orders: queue::Sender<Order<R>>,
    /// How many pieces of work the thread has before it.
    pending: Arc<AtomicUsize>,
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
    /// The state is damaged; what of it.
    Damaged(String),
}

impl Report {
    /// Whether there is something to do now that nobody but the driver can do.
    fn is_urgent(&self) -> bool {
        match self {
            Report::Finished(finished) => {
                finished.report.rolled_back || !matches!(finished.outcome, Outcome::Applied)
            }
            Report::Checkpoint(_) => false,
            Report::Damaged(_) => true,
        }
    }
}

/// A state machine that the thread may be at.
trait AtOnce<R>: Send + Sync {
    /// Does the work, unless that might take a while: then it comes back.
    fn perform(&self, work: Work<R>) -> Option<Work<R>>;
}

/// A state machine, and where is told what it does.
struct Machine<M> {
    machine: M,
    /// Its last durable checkpoint, as far as was told.
    durable: Position,
    reports: Pile<Report>,
    driver: queue::Sender<Input>,
    /// Whether its last work took no longer than [`SHORT`].
    is_quick: bool,
    /// It is damaged, and the driver was told.
    is_damaged: bool,
    /// It failed, and nothing may be done with it any more.
    is_broken: bool,
}

enum Order<R> {
    Work(Box<Work<R>>),
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
        let pending = Arc::new(AtomicUsize::new(0));
        let machine = Arc::new(Mutex::new(Machine {
            durable: machine.durable(),
            machine,
            reports: reports.clone(),
            driver: driver.clone(),
            is_quick: true,
            is_damaged: false,
            is_broken: false,
        }));
        let (readings, to_read) = mpsc::channel::<Reading>();
        let reads = driver.clone();
        let reader = Builder::new()
            .name(format!("snapshot-{me}"))
            .spawn(move || {
                for reading in to_read {
                    let _ = reads.send(Input::SnapshotRead(Box::new(reading.perform())));
                }
            })?;
        let (here, left) = (Arc::clone(&machine), Arc::clone(&pending));
        let thread = Builder::new().name(format!("apply-{me}")).spawn(move || {
            let ended = caught(|| run(&here, &received, &left));
            if let Err(error) = &ended {
                let _ = driver.send(Input::Failed(error.clone()));
            }
            ended
        })?;
        Ok(ApplyThread {
            machine,
            orders,
            pending,
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
            machine,
            orders,
            thread,
            readings,
            reader,
            ..
        } = self;
        drop((machine, orders, readings));
        let _ = thread.join();
        let _ = reader.join();
    }

    fn join(self) -> Result<(), ReplicaError> {
        let ApplyThread {
            machine,
            thread,
            readings,
            reader,
            ..
        } = self;
        drop((machine, readings));
        // It holds the state's file open.
        let _ = reader.join();
        thread
            .join()
            .unwrap_or_else(|panic| Err(ReplicaError::panicked("the state machine", &*panic)))
    }
}

impl<R> Applier<R> for ApplyThread<R> {
    fn hand(&mut self, work: Work<R>) {
        let is_small = matches!(
            &work,
            Work::Apply { entries, waiting } if !waiting.is_empty() && entries.len() <= FEW
        );
        let left = match is_small && self.pending.load(Ordering::Acquire) == 0 {
            true => self.machine.perform(work),
            false => Some(work),
        };
        if let Some(work) = left {
            self.pending.fetch_add(1, Ordering::AcqRel);
            // A thread that ended has said why, and the driver is about to read it.
            let _ = self.orders.send(Order::Work(Box::new(work)));
        }
    }

    fn read(&mut self, reading: Reading) {
        let _ = self.readings.send(reading);
    }
}

impl<M: StateMachine> AtOnce<M::Response> for Mutex<Machine<M>> {
    fn perform(&self, work: Work<M::Response>) -> Option<Work<M::Response>> {
        // The thread looks after it, or is about to tell why it ended.
        let Ok(mut machine) = self.try_lock() else {
            return Some(work);
        };
        if !machine.is_quick || machine.is_broken {
            return Some(work);
        }
        caught(|| machine.try_apply(work)).unwrap_or_else(|error| {
            let _ = machine.driver.send(Input::Failed(error));
            None
        })
    }
}

impl<M: StateMachine> Machine<M> {
    fn perform(&mut self, work: Work<M::Response>) -> Result<(), ReplicaError> {
        let begun = Instant::now();
        self.is_broken = true;
        let finished = perform(&mut self.machine, work).map_err(failed)?;
        self.finished(finished, begun);
        Ok(())
    }

    /// The work comes back where it would have to wait.
    fn try_apply(
        &mut self,
        work: Work<M::Response>,
    ) -> Result<Option<Work<M::Response>>, ReplicaError> {
        let begun = Instant::now();
        self.is_broken = true;
        match try_apply(&mut self.machine, work).map_err(failed)? {
            Ok(finished) => {
                self.finished(finished, begun);
                Ok(None)
            }
            Err(work) => {
                self.is_broken = false;
                Ok(Some(work))
            }
        }
    }

    fn finished(&mut self, finished: Finished, begun: Instant) {
        self.is_broken = false;
        self.is_quick = begun.elapsed() <= SHORT;
        self.durable = finished.report.durable;
        self.tell(Report::Finished(finished));
        self.look_for_damage();
    }

    fn maintain(&mut self) -> Result<(), ReplicaError> {
        let maintained = self.machine.maintain();
        if self.look_for_damage() {
            return Ok(());
        }
        maintained.map_err(failed)?;
        if self.machine.durable() != self.durable {
            self.durable = self.machine.durable();
            self.tell(Report::Checkpoint(self.durable));
        }
        Ok(())
    }

    /// Whether the state is damaged. The driver hears of it once.
    fn look_for_damage(&mut self) -> bool {
        let damage = self.machine.damage();
        let was_damaged = std::mem::replace(&mut self.is_damaged, damage.is_some());
        if let Some(damage) = damage
            && !was_damaged
        {
            self.tell(Report::Damaged(damage));
        }
        self.is_damaged
    }

    fn tell(&self, report: Report) {
        let is_urgent = report.is_urgent();
        if self.reports.add(report, 0) == Ok(Wake::Now) || is_urgent {
            // A driver that has ended has nothing to do any more.
            let _ = self.driver.send(Input::Look);
        }
    }
}

fn run<M: StateMachine>(
    machine: &Mutex<Machine<M>>,
    orders: &queue::Receiver<Order<M::Response>>,
    pending: &AtomicUsize,
) -> Result<(), ReplicaError> {
    loop {
        let order = orders.recv_timeout(IDLE);
        let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
        if machine.is_broken {
            return Ok(());
        }
        match order {
            Ok(Order::Work(work)) => {
                machine.perform(*work)?;
                pending.fetch_sub(1, Ordering::AcqRel);
            }
            // What is left of a damaged state is of no use to the next start.
            Ok(Order::Finish) if machine.machine.damage().is_some() => {
                return machine.machine.start_over().map_err(failed);
            }
            Ok(Order::Finish) => return machine.machine.checkpoint().map_err(failed),
            Err(Nothing::Timeout) => {}
            Err(Nothing::Disconnected) => return Ok(()),
        }
        machine.maintain()?;
    }
}

/// A panic is why the state machine ended.
fn caught<T>(work: impl FnOnce() -> Result<T, ReplicaError>) -> Result<T, ReplicaError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(ReplicaError::panicked("the state machine", &*panic)))
}

fn failed<E: std::error::Error + Send + Sync + 'static>(error: E) -> ReplicaError {
    ReplicaError::StateMachine(Arc::new(error))
}
