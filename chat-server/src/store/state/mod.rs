//! The replicated state on this replica's disk: what chat-core decides, over a file as large as the disk, in memory that
//! stays small.
//!
//! ```text
//! apply ──► overlay ──(16 MiB)──► frozen overlay ──(another thread)──► state.redb
//! query ──► overlay, then frozen overlay, then state.redb
//! ```
//!
//! What is applied goes into an overlay in memory and can be read at once. When the overlay has grown large it is frozen,
//! a new one takes its place, and a thread writes the frozen one in key order as one durable transaction, together with
//! the position that it stands for: a checkpoint. What came after the last checkpoint is in the log, and is applied
//! again at the next start. So a start reads a few rows, however many there are, and no write waits for this file.
//!
//! Nor does a write wait for those who read it. A query that needs the file looks at a view: the layers as they are at that
//! moment, which later writes leave alone by going into a layer above.

mod base;
mod error;
mod file;
mod flusher;
mod incoming;
mod key_value;
mod lately;
mod machine;
mod newest;
mod overlay;
mod reader;
mod sealed;
mod snapshot;
mod writing;

pub use self::error::StateError;
pub use self::file::{STATE_FILE, compact};
#[cfg(fuzzing)]
pub(crate) use self::incoming::fuzz_snapshot;
pub use self::key_value::StateStore;
pub use self::machine::{
    AppliedBatch, ChatStateMachine, Continuity, Publisher, Response, StateSettings,
};
pub use self::reader::StateReader;
pub use self::snapshot::Snapshot;

#[cfg(test)]
mod tests;
