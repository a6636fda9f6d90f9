//! The client and the program against replicas in this process that fail on command.
#![allow(clippy::unwrap_used)]

mod addresses;
mod failover;
mod fake;
mod subscription;
