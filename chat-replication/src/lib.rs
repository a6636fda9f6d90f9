//! An ordered, durable, replicated log of opaque commands.

pub mod branch;
pub mod message;
pub mod state_machine;
pub mod store;
pub mod transport;
pub mod types;
