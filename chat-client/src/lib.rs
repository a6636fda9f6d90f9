//! The public API of the chat service and a client for it.

pub mod api;
