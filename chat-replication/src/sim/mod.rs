//! Clusters in virtual time, for finding out what the protocol does when everything goes wrong.
//!
//! [`run`] builds a cluster of real replicas, drivers and logs over simulated disks, network and clocks, lets clients
//! propose commands, injects faults, heals everything, and checks the rules after every step. One seed decides all of it:
//! the same seed is the same story.
//!
//! What is checked:
//!
//! | | rule | when |
//! |---|---|---|
//! | D | what was acknowledged took effect everywhere; before that it is on the disk of every member of the view | at the end; each answer |
//! | X | each command took effect once, and nothing else than what was sent did | at the end, each piece of work |
//! | F | an epoch has one leader, in one life of it; promises, promised logs and acknowledgements speak of what is on the disk; who promises a view without itself is in none any more; a view is applied by a version that all its members know, and never by an older one than before; a committed entry is on the disk of every member of its view; two logs with an entry of the same position are equal up to there; only what is committed is applied, and equal positions have equal states; a view goes on without those that may know more only after the grace; nothing committed is cut while histories must not part | each message, turn, write and piece of work |
//! | M | a view's members and its leader's disk have votes; one change at a time; a majority of the configuration and half of the one before it, where majorities are needed; a removed disk never leads; what an operator was told is so | each write, each order |
//! | L | a read sees all that was done before it began and all that reads before it saw; what was done before a command was sent stands before it | each answer, unless histories may part |
//! | K | entries are dropped only below the state's durable checkpoint, once committed, and where one replica is enough only once all of the configuration have them | each write |
//! | C | one leader, the preferred one, all in the view, no orphans, equal states, served clients and operators, and no change after that | once healed |
//!
//! Histories may part in the available mode where somebody is suspected without cause (profiles `partitions` and
//! `everything`), and after a view that was forced, in either mode. That subscribers see every message once and in order (S) is a matter of
//! the server, which has tests of its own for it: `events` and `failover` in `chat-server/tests/it`.
//!
//! | fault | rules it is there for | test, in `tests/sim` unless another is named |
//! |---|---|---|
//! | crash between, before, amid and after writes, or right after a message; two at once | D X F L C | `seeds_with_crashes` |
//! | a process killed before it flushed, whose writes the next one reads, and the power lost then or later | D X F | `seeds_with_crashes`, `seeds_on_files`; `tests/store` |
//! | torn and lost writes, on the files of the log | D F | `seeds_on_files`; `tests/store` |
//! | failed flush, failed read, full disk | D F C | `seeds_with_crashes` |
//! | slow disk, stalled flush | F L C | `seeds_with_everything` |
//! | rotten or lost disk; wiped, swapped, restored from an old copy, or from before the cluster was restored | D X M C | `seeds_with_members_that_come_and_go` |
//! | rot of a byte of any file of a log, anywhere, while no process has it open | D X F C, and that the log tells of it | `seeds_on_files_that_rot`; each byte in `tests/store` |
//! | loss, repetition, reordering, delay of messages | X F | all; alone in `calm_seeds` |
//! | partition; one-way and partial cut; isolation right after a message | D X L C | `seeds_with_partitions` |
//! | false suspicion: slow links, pauses noticed and not, a clock set forward | D X L | `seeds_with_everything` |
//! | outage of everybody, and return in any order | D F C | `seeds_with_outages` |
//! | crash, or another fork, while logs are cut | D X F K | `seeds_with_everything` |
//! | a member that is away past a limit; sides of a partition that remove each other | D X C | `seeds_with_partitions`, `seeds_with_members_that_come_and_go` |
//! | so many views that branch tables are cut | D F C | all, in half of the seeds |
//! | replicas added, removed alive, dead and cut off; leadership transferred; views forced, also of the last one alone | D M C | `seeds_with_members_that_come_and_go`, `seeds_with_everything` |
//! | short logs: entries dropped, snapshots taken, with any of the above | D F K | all, in half of the seeds |
//! | newer software on one replica after the other, older software that comes back to a log which needs newer | F C | `seeds_with_crashes`, `seeds_with_everything` |
//! | a client that asks again after a failover | X | all |
//! | somebody who says anything: numbers without end, lists and logs that contradict themselves, what was said long ago, epochs that nobody leads; and any lie at all in the name of those who were removed, of nobody, or of the receiver | D X F C, and that nobody panics, promises what others cannot follow, or hears a removed disk | `seeds_with_somebody_who_says_anything` |
//! | every order of messages, deaths and one partition, in small bounds | D F | `tests/model` |
//! | rules broken on purpose | that the above would be noticed | `every_broken_rule_is_noticed` |
//!
//! A member that lies within these bounds is believed: it may say that it has written down what it has not, and a leader may
//! say anything of its log. What is promised all the same is that no replica ends by it.
//!
//! Messages of a later version of the protocol are not simulated, as there is one version so far; what greets and says more
//! than this one knows is in the tests of [`grpc`](crate::grpc).
//!
//! What a seed does not happen upon, `tests/model` tries: real replicas in a model checker, all schedules within small
//! bounds, beginning with a view that has started, unless another beginning is named. Both modes have about as many
//! states; where there is one number it is of `available`, or of the mode named.
//!
//! | what may happen, in any order | timers | states | steps |
//! |---|---|---|---|
//! | three empty disks and a command | 2 | 49,604 | 49 |
//! | one of three crashes and comes back, and a command | each life's first | 34,039; consistent: 39,376 | 35 |
//! | two of three crash in any order, and a command | none | 1,633 | 20 |
//! | two replicas, two crashes and starts, and a command | 2 | 105,201; consistent: 68,862 | 45 |
//! | two replicas, one cut that heals, two commands | 4 | 52,813; consistent: 26,726 | 37 |
//! | three replicas, the leader cut off and back, and a command | none | 6,874; consistent: 8,433 | 52 |
//! | three replicas, the first comes back and leads again, and a command | 6 | 103,191 | 90 |
//!
//! [`story`] is the same cluster led by hand, for telling single stories.

mod board;
mod check;
mod client;
mod describe;
mod disk;
mod faults;
mod hostile;
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
