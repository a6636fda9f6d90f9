//! An ordered, durable, replicated log of opaque commands.

pub mod branch;
pub mod grpc;
pub mod memory_store;
pub mod message;
pub mod redb_store;
pub mod replica;
pub mod state_machine;
pub mod status;
pub mod store;
pub mod transport;
pub mod types;
