//! Both stores, the one on disk and the one in memory, against the promises of the `Store` trait.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod conformance;
mod crash;
mod faults;
mod model;
mod rot;
mod support;
