//! Placeholder.

pub mod state;
