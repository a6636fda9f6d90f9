//! The state against plain maps, crashes, strangers' files, and a million rows.
#![allow(clippy::unwrap_used)]

mod crash;
mod faults;
mod machine;
mod million;
mod readers;
mod snapshot;
mod store;
mod support;
