//! A replica that runs on threads of its own.

use std::any::Any;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use super::apply::Report;
use super::apply_thread::{self, ApplyThread};
use super::clock::{Awake, Clock, Due};
use super::input::{DriverInbox, Input, Proposal};
use super::pile::Pile;
use super::proposals::Room;
use super::queue::{Receiver, queue};
use super::runtime::OwnRuntime;
use super::{Driver, Limits};
use crate::handle::{Handle, ProposeError};
use crate::replica::{Note, Replica, Seed, Settings, check_durable};
use crate::state_machine::StateMachine;
use crate::status::Status;
use crate::store::{Identity, Store, StoreError};
use crate::timed_store::TimedStore;
use crate::transport::{Inbox, Transport};
use crate::types::{PeerId, Position};

/// What is drained from the queue before the log is written: more would make the first in line wait for long.
const DRAIN: usize = 4096;

/// How long a batch waits for others to join it while they come: less than it saves where many come, since what a
/// replica does once for each batch it then does more rarely.
const GATHER: Duration = Duration::from_millis(4);
/// How often it is looked who has come.
const GATHER_STEP: Duration = Duration::from_micros(500);
/// When nobody has come in so many steps, nobody is likely to: they all wait for this batch.
const QUIET: u32 = 2;

/// How often those who follow the status hear that a replica and its peers have come further.
const PROGRESS: Duration = Duration::from_millis(100);

/// How a replica runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The replicas of the cluster, this one included, as the configuration file names them. Once the cluster has begun,
    /// its log knows better.
    pub seeds: Vec<Seed>,
    /// The protocol's times and limits.
    pub settings: Settings,
    /// How long a tick is; 10 ms by default.
    pub tick: Duration,
    /// Sizes that the driver keeps to.
    pub limits: Limits,
    /// Commands that may wait for their answer at once; 65,536 by default. More are refused as overload.
    pub max_waiting: usize,
    /// Bytes of commands that may wait for their answer at once; 64 MiB by default.
    pub max_waiting_bytes: usize,
    /// How long a stopping replica goes on for those who wait for an answer; 1 s by default.
    pub drain: Duration,
}

impl Options {
    /// Default options for a cluster of these replicas.
    pub fn new(seeds: Vec<Seed>) -> Options {
        Options {
            seeds,
            settings: Settings::default(),
            tick: Duration::from_millis(10),
            limits: Limits::default(),
            max_waiting: 65_536,
            max_waiting_bytes: 64 << 20,
            drain: Duration::from_secs(1),
        }
    }
}

/// A replica could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log ends before what the state shows.
    #[error(
        "the log ends at {log}, and the state shows what stood at {state}: entries that may have been acknowledged are missing. \
         Move the data folder away, keep it, and start the replica with an empty one, which takes everything from the other \
         replicas; if none of those is whole, restore a backup"
    )]
    LogBehind {
        /// The log's last entry.
        log: Position,
        /// The state's last durable checkpoint.
        state: Position,
    },
    /// The log holds what no history reaches, and nobody could follow.
    #[error("the log cannot be used: {0}")]
    Beyond(String),
    /// The transport cannot be started.
    #[error(transparent)]
    Transport(Box<dyn Error + Send + Sync>),
    /// The system refused a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// Why a replica has ended on its own.
#[derive(Clone, Debug, Error)]
pub enum ReplicaError {
    /// The log cannot be read or written any more.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The state machine has failed.
    #[error(transparent)]
    StateMachine(Arc<dyn Error + Send + Sync>),
    /// An invariant of the software itself is broken.
    #[error("{part} panicked: {message}; this is a defect, please report it with the log")]
    Panicked {
        /// Which part.
        part: &'static str,
        /// What it said.
        message: String,
    },
}

impl ReplicaError {
    pub(super) fn panicked(part: &'static str, panic: &(dyn Any + Send)) -> ReplicaError {
        let message = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no reason given".to_owned());
        ReplicaError::Panicked { part, message }
    }
}

impl From<StoreError> for ReplicaError {
    fn from(error: StoreError) -> ReplicaError {
        ReplicaError::Store(Arc::new(error))
    }
}

/// Starts a replica.
///
/// `connect` makes the transport from where it shall deliver and whose it is, within the runtime that it may spawn its tasks
/// on (see [`Transport`]). `on_cast` is given what peers'
/// applications send by [`Handle::cast`], with the disk that each says to have: only a replica of the present configuration
/// is heard, but not only with the disk that has its vote. It runs on the driver's thread and must not block.
///
/// The replica runs until [`Running::stop`], or until its disk or state machine fails, which [`Running::ended`] tells.
pub fn start<S, M, T, E>(
    mut store: S,
    machine: M,
    options: Options,
    connect: impl FnOnce(Arc<dyn Inbox>, Identity) -> Result<T, E>,
    on_cast: impl FnMut(PeerId, Bytes) + Send + 'static,
) -> Result<(Handle<M::Response>, Running), StartError>
where
    S: Store + 'static,
    M: StateMachine,
    T: Transport + 'static,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let durable = store.load()?;
    check_durable(&durable).map_err(StartError::Beyond)?;
    let me = durable.identity;
    let state = Report::of(&machine);
    let unsettled = machine.unsettled();
    // A snapshot that came in is ahead of the log, which follows below.
    if unsettled.is_none() && durable.has_lost(state.durable) {
        return Err(StartError::LogBehind {
            log: durable.branches.last(),
            state: state.durable,
        });
    }
    let (sender, inputs) = queue();
    let inbox: Arc<dyn Inbox> = Arc::new(DriverInbox(sender.clone()));
    let runtime = OwnRuntime::new()?;
    let transport = {
        let _context = runtime.enter();
        connect(inbox, me).map_err(|error| StartError::Transport(error.into()))?
    };

    let replica = Replica::new(
        durable,
        options.seeds.clone(),
        machine.apply_version(),
        options.settings.clone(),
    );
    let applier = ApplyThread::start(me.replica, machine, sender.clone())?;
    let writing = Arc::new(Mutex::new(Duration::ZERO));
    let wrote = Arc::clone(&writing);
    let store = TimedStore::new(store, move |took| *lock(&wrote) += took);
    let mut driver = Driver::new(replica, store, transport, applier, options.limits, state);
    if let Some(reset) = unsettled {
        driver.complete_install(reset);
    }

    let (status, progress) = {
        let status = Arc::new(driver.status());
        (
            watch::Sender::new(Arc::clone(&status)),
            watch::Sender::new(status),
        )
    };
    let (ended, has_ended) = watch::channel(None);
    let room = Room::new(options.max_waiting, options.max_waiting_bytes);
    // A batch as large as a message does not wait.
    let proposals = Pile::new(options.limits.message_bytes);
    let begun = Instant::now();
    let awake = Awake::new(begun, options.tick, options.settings.suspect);
    let handle = Handle::new(
        sender.clone(),
        proposals.clone(),
        status.subscribe(),
        progress.subscribe(),
        room,
        awake.clone(),
    );
    let work = Loop {
        driver,
        inputs,
        proposals: Closing(proposals),
        status,
        progress,
        progress_due: Duration::ZERO,
        on_cast,
        writing,
        options,
        begun,
        awake,
        stop_at: None,
    };
    let thread = thread::Builder::new()
        .name(format!("replica-{}", me.replica))
        .spawn(move || {
            let outcome = work.run(runtime);
            if let Err(error) = &outcome {
                error!(%error, "replica {} has ended", me.replica);
            }
            ended.send_replace(Some(outcome));
        })?;
    let control: Control = {
        let sender = sender.clone();
        Box::new(move |end| {
            // A replica that has ended needs no telling.
            let _ = sender.send(match end {
                End::Cleanly => Input::Stop,
                End::AtOnce => Input::Halt,
            });
        })
    };
    let running = Running {
        control,
        ended: has_ended,
        thread: Some(thread),
    };
    Ok((handle, running))
}

type Control = Box<dyn Fn(End) + Send + Sync>;

enum End {
    Cleanly,
    AtOnce,
}

/// A running replica, for its owner. Dropped, it ends the replica at once, as a crash would.
pub struct Running {
    control: Control,
    ended: watch::Receiver<Option<Result<(), ReplicaError>>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Waits until the replica has ended: its files are closed then. `Ok` after a stop.
    pub async fn ended(&self) -> Result<(), ReplicaError> {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
            Err(_) => Err(ReplicaError::Panicked {
                part: "the replica",
                message: "its thread is gone".to_owned(),
            }),
        }
    }

    /// Ends the replica cleanly: answers those who wait, as far as that takes no longer than [`Options::drain`], closes
    /// the transport, and makes the state durable.
    pub async fn stop(mut self) -> Result<(), ReplicaError> {
        (self.control)(End::Cleanly);
        self.join().await
    }

    /// Ends the replica at once and leaves the rest to the next start, as a crash would.
    pub async fn halt(mut self) -> Result<(), ReplicaError> {
        (self.control)(End::AtOnce);
        self.join().await
    }

    async fn join(&mut self) -> Result<(), ReplicaError> {
        let outcome = self.ended().await;
        if let Some(thread) = self.thread.take() {
            // It has said that it is done, so this does not wait.
            let _ = thread.join();
        }
        outcome
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        (self.control)(End::AtOnce);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("ended", &self.ended.borrow())
            .finish_non_exhaustive()
    }
}

/// Those who left something are told that nobody looks any more, whatever ends the thread.
struct Closing<T>(Pile<T>);

impl<T> Drop for Closing<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The thread's own.
struct Loop<S, T, R, C> {
    driver: Driver<TimedStore<S>, T, ApplyThread<R>, R>,
    inputs: Receiver<Input>,
    proposals: Closing<Proposal<R>>,
    status: watch::Sender<Arc<Status>>,
    progress: watch::Sender<Arc<Status>>,
    /// When those who follow the status hear of mere progress again.
    progress_due: Duration,
    on_cast: C,
    /// Time spent on the log's disk since the clock was looked at.
    writing: Arc<Mutex<Duration>>,
    options: Options,
    begun: Instant,
    awake: Awake,
    /// When a replica that is to stop gives up on those who still wait.
    stop_at: Option<Duration>,
}

impl<S, T, R, C> Loop<S, T, R, C>
where
    S: Store,
    T: Transport,
    R: Send + 'static,
    C: FnMut(PeerId, Bytes),
{
    fn run(mut self, runtime: OwnRuntime) -> Result<(), ReplicaError> {
        let turning = || runtime.block_on(self.turn_until_stopped());
        let outcome = catch_unwind(AssertUnwindSafe(turning))
            .unwrap_or_else(|panic| Err(ReplicaError::panicked("the replica", &*panic)));
        let Loop {
            driver,
            inputs,
            proposals,
            ..
        } = self;
        let (store, transport, applier) = driver.into_parts();
        // Peers learn at once that this replica is gone, however long its last checkpoint takes.
        drop(transport);
        drop(runtime);
        let outcome = match outcome {
            Ok(End::Cleanly) => applier.finish(),
            Ok(End::AtOnce) => {
                applier.abandon();
                Ok(())
            }
            Err(error) => {
                applier.abandon();
                Err(error)
            }
        };
        drop(store);
        drop((inputs, proposals));
        outcome
    }

    async fn turn_until_stopped(&mut self) -> Result<End, ReplicaError> {
        let suspect = self.options.settings.suspect;
        let mut clock = Clock::new(self.options.tick, suspect, self.begun.elapsed());
        self.driver.gather(true);
        loop {
            if let Some(end) = self.take_inputs(&clock).await? {
                return Ok(end);
            }
            let excused = std::mem::take(&mut *lock(&self.writing));
            let due = clock.due(self.begun.elapsed(), excused);
            match due {
                Due::Ticks(ticks) => (0..ticks).for_each(|_| self.driver.tick(rand::random())),
                Due::Jump => {
                    warn!("this process was away for a while; its peers may have gone on");
                    self.driver.ticks_jumped();
                }
            }
            self.turn().await?;
            if let Some(end) = self.gather().await? {
                return Ok(end);
            }
            while let Some((from, bytes)) = self.driver.next_cast() {
                (self.on_cast)(from, bytes);
            }
            self.publish(due);
            // Only now: whoever finds it awake finds what it learned.
            self.awake.note(self.begun.elapsed());
            if let Some(at) = self.stop_at
                && (self.driver.is_idle() || self.begun.elapsed() >= at)
            {
                return Ok(End::Cleanly);
            }
        }
    }

    async fn turn(&mut self) -> Result<(), ReplicaError> {
        let mut notes = Vec::new();
        self.driver.begin_turn();
        while let Some(step) = self.driver.begin_step()? {
            if step.overlaps() {
                // The peers write while this replica does: what they wait for leaves first.
                yield_now().await;
            }
            self.driver.end_step(step, &mut notes)?;
        }
        self.driver.end_turn()?;
        notes.iter().for_each(log);
        Ok(())
    }

    /// Lets a batch that is about to begin gather others, as long as they come.
    async fn gather(&mut self) -> Result<Option<End>, ReplicaError> {
        let Some(mut gathered) = self.driver.gathered() else {
            return Ok(None);
        };
        let until = self.begun.elapsed() + GATHER;
        let mut quiet = 0;
        while self.begun.elapsed() < until {
            // Nobody is told when one comes: waking for each would cost more than it brings.
            thread::sleep(GATHER_STEP);
            yield_now().await;
            if let Some(end) = self.take_queued()? {
                return Ok(Some(end));
            }
            match self.driver.gathered() {
                Some(more) if more > gathered => {
                    gathered = more;
                    quiet = 0;
                }
                // Those who were just answered may be about to send again.
                Some(_) if quiet + 1 < QUIET => quiet += 1,
                _ => break,
            }
        }
        self.driver.gather(false);
        self.turn().await?;
        self.driver.gather(true);
        Ok(None)
    }

    /// Waits for an input or the next tick, and takes what else has queued up.
    async fn take_inputs(&mut self, clock: &Clock) -> Result<Option<End>, ReplicaError> {
        if self.take_awaited() {
            // However much there is to do, peers are heard: one that comes back to a lone replica under load, for one.
            yield_now().await;
        } else {
            let wait = clock.next().saturating_sub(self.begun.elapsed());
            if let Ok(Some(input)) = timeout(wait, self.inputs.recv()).await
                && let Some(end) = self.take(input)?
            {
                return Ok(Some(end));
            }
        }
        self.take_queued()
    }

    /// Takes from the piles what there is to do something with at once. Says whether there was any; if not, the next such
    /// thing is an input.
    fn take_awaited(&mut self) -> bool {
        let mut any = false;
        if self.driver.awaits_applied() || self.stop_at.is_some() {
            let reports = self.driver.applier_mut().reports().take_or_await();
            any |= !reports.is_empty();
            self.hear(reports);
        }
        if !self.driver.holds_proposals() {
            let proposals = self.proposals.0.take_or_await();
            any |= !proposals.is_empty();
            self.propose(proposals);
        }
        any
    }

    fn take_piles(&mut self) {
        let reports = self.driver.applier_mut().reports().take();
        self.hear(reports);
        let proposals = self.proposals.0.take();
        self.propose(proposals);
    }

    fn hear(&mut self, reports: Vec<apply_thread::Report>) {
        for report in reports {
            match report {
                apply_thread::Report::Finished(finished) => self.driver.finished(finished),
                apply_thread::Report::Checkpoint(durable) => self.driver.checkpointed(durable),
                apply_thread::Report::Damaged(damage) => self.driver.state_damaged(damage),
            }
        }
    }

    fn propose(&mut self, proposals: Vec<Proposal<R>>) {
        for Proposal { command, answer } in proposals {
            match self.stop_at {
                None => self.driver.propose(command, answer),
                Some(_) => answer.give(Err(ProposeError::Stopped)),
            }
        }
    }

    fn take_queued(&mut self) -> Result<Option<End>, ReplicaError> {
        for _ in 0..DRAIN {
            let Some(input) = self.inputs.try_recv() else {
                break;
            };
            if let Some(end) = self.take(input)? {
                return Ok(Some(end));
            }
        }
        self.take_piles();
        Ok(None)
    }

    fn take(&mut self, input: Input) -> Result<Option<End>, ReplicaError> {
        match input {
            Input::Received { from, message } => self.driver.receive(from, message),
            Input::Connected(peer) => self.driver.connected(peer),
            Input::Refused(peer) => self.driver.refused(peer),
            Input::Read { answer } => self.driver.read(answer),
            Input::Order { order, answer } => self.driver.order(order, answer),
            Input::Cast { to, message } => self.driver.cast(to, message),
            // That is done before the next turn.
            Input::Look => {}
            Input::SnapshotRead(read) => self.driver.read_snapshot(*read),
            Input::Failed(error) => return Err(error),
            Input::Stop => self.stop_at = Some(self.begun.elapsed() + self.options.drain),
            Input::Halt => return Ok(Some(End::AtOnce)),
        }
        Ok(None)
    }

    /// Publishes a change of the status: at once where it is more than progress, else with the next tick for those who wait
    /// for it, and now and then for the others, so that these are not woken for nothing.
    fn publish(&mut self, due: Due) {
        let differs = self.driver.replica().differs_from(&self.status.borrow());
        if due == Due::Ticks(0) && !differs {
            return;
        }
        let now = self.begun.elapsed();
        let status = Arc::new(self.driver.status());
        if *self.progress.borrow() != status {
            self.progress.send_replace(Arc::clone(&status));
        }
        if differs || now >= self.progress_due {
            self.progress_due = now + PROGRESS;
            if *self.status.borrow() != status {
                self.status.send_replace(status);
            }
        }
    }
}

fn log(note: &Note) {
    match note {
        Note::Suspected { .. }
        | Note::LeaderLost { .. }
        | Note::SteppedDown { .. }
        | Note::Reconciled { .. }
        | Note::AwayTooLong { .. }
        | Note::Renewed
        | Note::Ignored { .. }
        | Note::EntriesDamaged { .. }
        | Note::EntriesGivenUp { .. }
        | Note::StateLost => {
            warn!("{note}");
        }
        Note::StateDamaged { .. } => error!("{note}"),
        Note::Abandoned { .. } => debug!("{note}"),
        _ => info!("{note}"),
    }
}

fn lock(duration: &Mutex<Duration>) -> std::sync::MutexGuard<'_, Duration> {
    duration.lock().unwrap_or_else(PoisonError::into_inner)
}
