//! Both stores, the one on disk and the one in memory, against the promises of the `Store` trait.
#![allow(clippy::unwrap_used)]

mod conformance;
mod crash;
mod faults;
mod model;
mod support;
