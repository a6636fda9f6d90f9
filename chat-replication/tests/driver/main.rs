//! Running replicas: threads, disks and sockets, with a key-value map as state machine.
#![allow(clippy::unwrap_used)]

mod absence;
mod applying;
mod catch_up;
mod cluster;
mod errors;
mod kv;
mod networks;
mod snapshots;
