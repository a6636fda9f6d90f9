//! The client and the program against replicas in this process that fail on command.
#![allow(clippy::unwrap_used)]

mod addresses;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod command_line;
mod failover;
mod fake;
mod outbox;
#[cfg(feature = "cli")]
mod program;
#[cfg(feature = "cli")]
mod repl;
mod sending;
mod subscription;
