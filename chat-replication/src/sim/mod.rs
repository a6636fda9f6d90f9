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
//! What a seed does not happen upon, `tests/model` tries: real replicas in a model checker, all schedules within small
//! bounds, beginning with a view that has started, unless another beginning is named. Both modes have about as many
//! states; where there is one number it is of `available`, or of the mode named.
//!
//! | what may happen, in any order | timers | states | steps |
//! |---|---|---|---|
//! | three empty disks and a command | 2 | 44,698 | 51 |
//! | one of three crashes and comes back, and a command | each life's first | 33,745; consistent: 34,301 | 37 |
//! | two of three crash in any order, and a command | none | 1,693 | 21 |
//! | two replicas, two crashes and starts, and a command | 2 | 94,766; consistent: 69,536 | 45 |
//! | two replicas, one cut that heals, two commands | 4 | 35,065; consistent: 28,029 | 39 |
//! | three replicas, the leader cut off and back, and a command | none | 6,891; consistent: 6,819 | 52 |
//! | three replicas, the first comes back and leads again, and a command | 6 | 72,882 | 92 |
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
