//! Running replicas: threads, disks and sockets, with a key-value map as state machine.
#![allow(clippy::unwrap_used)]

mod applying;
mod cluster;
mod errors;
mod kv;
mod networks;
mod snapshots;
