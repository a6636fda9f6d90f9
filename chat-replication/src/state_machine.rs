//! What is replicated: the application's state.

use std::error::Error;

use bytes::Bytes;
use thiserror::Error;

use crate::store::Reset;
use crate::types::{Entry, Position};

/// Reads a snapshot, on a thread of its own, while the state goes on.
pub trait SnapshotReader: Send {
    /// What the snapshot shows.
    fn position(&self) -> Position;

    /// The next bytes, about `max_bytes` at most and never none; `None` at the end. There is at least one piece.
    fn next_chunk(
        &mut self,
        max_bytes: usize,
    ) -> Result<Option<Bytes>, Box<dyn Error + Send + Sync>>;
}

/// Why a snapshot is not installed.
#[derive(Debug, Error)]
pub enum InstallError<E> {
    /// Its bytes make no sense to this version. The state is what it was; another snapshot may be tried.
    #[error("the snapshot cannot be read: {0}")]
    Unreadable(String),
    /// The disk failed; the replica stops.
    #[error(transparent)]
    Failed(#[from] E),
}

/// What applying entries came to: one response per entry, `None` for one that is no command; or how the disk failed.
pub type Responses<R, E> = Result<Vec<Option<R>>, E>;

/// The application's state. It owns its files; the log replays whatever they do not hold yet.
///
/// It runs on a thread of its own, beside the disk of the log. Where that has nothing to do, a few commands that somebody
/// waits for are applied on the replica's thread ([`StateMachine::try_apply`]), as long as the last ones took no more than
/// 2 ms.
pub trait StateMachine: Send + 'static {
    /// What a command's proposer gets back.
    type Response: Send + 'static;

    /// The disk failed; the replica stops, unless the state is [damaged](StateMachine::damage).
    type Error: Error + Send + Sync + 'static;

    /// The newest version of the rules of `apply` that this software knows; 1 by default.
    ///
    /// Each view start carries the lowest among the view's members, and entries behind it must have the effects that
    /// version has, whoever applies them: so a rule changes only once all members know it. Along a log the version never
    /// goes back. A replica that does not know it keeps the log, applies nothing of it, and is no member of a view until a
    /// newer program is started.
    fn apply_version(&self) -> u32 {
        1
    }

    /// The position of the last entry whose effects the state shows.
    fn applied(&self) -> Position;

    /// Applies committed entries in order; the first stands right behind [`StateMachine::applied`]. One response per
    /// entry; view starts have effects only in that they move `applied`, and their response is ignored, so it is
    /// `None`. Must be deterministic.
    fn apply(&mut self, entries: &[Entry]) -> Responses<Self::Response, Self::Error>;

    /// The same where that takes no longer than the work itself. `None`, with nothing done, where it would have to wait: for
    /// somebody who reads the state under a lock, say. The replica's own thread, which has peers to see to, applies by this.
    fn try_apply(&mut self, entries: &[Entry]) -> Option<Responses<Self::Response, Self::Error>> {
        Some(self.apply(entries))
    }

    /// Called when there is nothing to apply right now, and between batches: the moment to write a checkpoint if one is
    /// due. Must not take long; a checkpoint is written in slices or on another thread.
    fn maintain(&mut self) -> Result<(), Self::Error>;

    /// Goes back to the last durable checkpoint if `keep` says yes to its position, else to the empty state. Called when
    /// the log was cut below `applied`, and at the start when `applied` is not on the log's branch.
    fn roll_back(&mut self, keep: &dyn Fn(Position) -> bool) -> Result<(), Self::Error>;

    /// What of the state is damaged, if that is known: an operation found rows that are not what was written, or whoever
    /// reads the state on another thread did. Asked after each operation and each time that it
    /// [looks after itself](StateMachine::maintain), so it must cost next to nothing.
    ///
    /// A damaged state is no failure of the replica: it leaves the view, [starts over](StateMachine::start_over), and takes
    /// what it needs from its own log or from another replica. An error that an operation returned is taken for a
    /// consequence then. Nothing more is to be answered from the state.
    fn damage(&self) -> Option<String> {
        None
    }

    /// Gives a damaged state up for the empty one, durably: a start that follows must not find the damaged one.
    fn start_over(&mut self) -> Result<(), Self::Error> {
        self.roll_back(&|_| false)
    }

    /// A hash of the whole state, equal on all replicas that have applied the same entries. Must not cost more than a
    /// constant.
    fn state_hash(&self) -> u128;

    /// Makes everything applied durable. Called at a clean stop.
    fn checkpoint(&mut self) -> Result<(), Self::Error>;

    /// The position of the last durable checkpoint: what a crash leaves. The log is kept from there on.
    fn durable(&self) -> Position;

    /// The last durable checkpoint as it is now, to be read while the state goes on; `None` where there is none yet.
    fn snapshot(&self) -> Result<Option<Box<dyn SnapshotReader>>, Self::Error>;

    /// Begins to take in the snapshot of another replica, beside the state, and gives up one that was begun before. The
    /// snapshot is of the last position of `reset`.
    fn begin_install(&mut self, reset: &Reset) -> Result<(), Self::Error>;

    /// Takes the next piece of the snapshot.
    fn install_chunk(&mut self, chunk: &[u8]) -> Result<(), InstallError<Self::Error>>;

    /// The snapshot is whole: it takes the place of the state, all of it or nothing, also across a power loss, and
    /// durably together with `reset`, which [`StateMachine::unsettled`] tells until it is settled.
    fn finish_install(&mut self) -> Result<(), InstallError<Self::Error>>;

    /// A snapshot has taken the place of the state, and the log may not know yet.
    fn unsettled(&self) -> Option<Reset>;

    /// The log knows of the snapshot.
    fn settle_install(&mut self) -> Result<(), Self::Error>;
}
