//! Clusters in virtual time, for finding out what the protocol does when everything goes wrong.
//!
//! [`run`] builds a cluster of real replicas, drivers and logs over simulated disks, network and clocks, lets clients
//! propose commands, injects faults, heals everything, and checks the rules after every step. One seed decides all of it:
//! the same seed is the same story.
//!
//! What is checked:
//!
//! | rule | when |
//! |---|---|
//! | an epoch has one leader, in one life of it | each turn |
//! | promises, promised logs and acknowledgements speak of what is on the disk | each message |
//! | who promises a view without itself is in none any more | each message |
//! | a committed entry is on the disk of every member of its view | each turn of a leader |
//! | an acknowledged command is on the disk of every member of the view that acknowledged it | each answer |
//! | two logs with an entry of the same position are equal up to there | each write |
//! | a view goes on without those that may know more only after the grace | each write |
//! | only what is committed is applied, and equal positions have equal states | each piece of work |
//! | nothing committed is ever cut, and there is one leader at a time, while nobody is suspected falsely | each turn and write |
//! | one leader, all in the view, no orphans, equal states, served clients, and no change after that | once healed |
//! | what was acknowledged took effect once everywhere; nothing else than what was sent did | at the end |
//!
//! [`story`] is the same cluster led by hand, for telling single stories.

mod board;
mod check;
mod client;
mod describe;
mod disk;
mod faults;
mod ledger;
mod network;
mod node;
mod options;
mod process;
mod report;
pub mod story;
mod trace;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::options::{Disk, Profile, SimOptions};
pub use self::report::{Failure, Report};
use self::world::World;

/// Runs the schedule of a seed.
pub fn run(seed: u64, options: &SimOptions) -> Result<Report, Box<Failure>> {
    // A story costs more than the schedule itself, so it is only told of those that fail.
    match attempt(&mut World::new(seed, options, 0)) {
        Ok(report) => Ok(report),
        Err(_) => run_traced(seed, options),
    }
}

/// The same, with a hash of the trace in the report.
pub fn run_traced(seed: u64, options: &SimOptions) -> Result<Report, Box<Failure>> {
    let mut world = World::new(seed, options, options.trace_lines.max(1));
    attempt(&mut world).map_err(|violation| {
        Box::new(Failure {
            seed,
            options: options.clone(),
            profile: world.profile(),
            mode: world.mode(),
            violation,
            trace: world.trace(),
        })
    })
}

fn attempt(world: &mut World) -> Result<Report, String> {
    catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|panic| Err(message(&*panic)))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("a panic: {}", text.unwrap_or_default())
}
