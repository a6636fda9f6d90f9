//! What is replicated: the application's state.

use std::error::Error;

use crate::types::{Entry, Position};

/// The application's state. It owns its files; the log replays whatever they do not hold yet.
///
/// It runs on a thread of its own, beside the disk of the log.
pub trait StateMachine: Send + 'static {
    /// What a command's proposer gets back.
    type Response: Send + 'static;

    /// The disk failed; the replica stops.
    type Error: Error + Send + Sync + 'static;

    /// The version of `apply`, for view starts. A cluster applies by the lowest among its members.
    fn apply_version(&self) -> u32 {
        1
    }

    /// The position of the last entry whose effects the state shows.
    fn applied(&self) -> Position;

    /// Applies committed entries in order; the first stands right behind [`StateMachine::applied`]. One response per
    /// entry; view starts have effects only in that they move `applied`, and their response is ignored, so it is
    /// `None`. Must be deterministic.
    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Option<Self::Response>>, Self::Error>;

    /// Called when there is nothing to apply right now, and between batches: the moment to write a checkpoint if one is
    /// due. Must not take long; a checkpoint is written in slices or on another thread.
    fn maintain(&mut self) -> Result<(), Self::Error>;

    /// Goes back to the last durable checkpoint if `keep` says yes to its position, else to the empty state. Called when
    /// the log was cut below `applied`, and at the start when `applied` is not on the log's branch.
    fn roll_back(&mut self, keep: &dyn Fn(Position) -> bool) -> Result<(), Self::Error>;

    /// A hash of the whole state, equal on all replicas that have applied the same entries. Must not cost more than a
    /// constant.
    fn state_hash(&self) -> u128;

    /// Makes everything applied durable. Called at a clean stop.
    fn checkpoint(&mut self) -> Result<(), Self::Error>;
}
