//! Whole clusters: real processes, real sockets, real files, real `kill -9`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops where something does not hold, and tells what it measured"
)]

mod consistent;
mod deploy;
mod faults;
mod gap;
mod inbox;
mod kills;
mod load;
mod membership;
mod merge;
mod network;
mod outage;
mod partition;
mod pause;
mod rolling;
mod streams;
mod world;
