//! Clusters under faults in virtual time, by seeds and by scripted stories.
//!
//! `CHAT_SIM_SEEDS=10000` runs more seeds than usual. `CHAT_SIM_SEED=7` repeats one, in `one_seed`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod deciding;
mod mutations;
mod seeds;
mod stories;
mod support;
mod views;
