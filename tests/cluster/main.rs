//! Whole clusters: real processes, real sockets, real files, real `kill -9`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops where something does not hold, and tells what it measured"
)]

mod faults;
mod gap;
mod inbox;
mod kills;
mod load;
mod merge;
mod outage;
mod streams;
mod world;
