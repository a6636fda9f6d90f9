//! The state on disk: its state machine, backups of it, compaction, inspection.

pub mod backup;
pub mod compact;
pub(crate) mod folder;
pub mod inspect;
pub mod state;
