//! Random schedules.

use chat_replication::sim::{Disk, Profile, SimOptions, run_traced};
use chat_replication::types::Mode;

use crate::support::{Total, run_all, variable};

fn passes(count: u64, options: &SimOptions) -> Total {
    let count = variable("CHAT_SIM_SEEDS").unwrap_or(count);
    match run_all(0..count, options) {
        Ok(total) => {
            println!("{} seeds: {:?}", total.seeds, total.counts);
            total
        }
        Err(failure) => panic!("{failure}"),
    }
}

fn mode() -> Option<Mode> {
    let name: Option<String> = variable("CHAT_SIM_MODE");
    name.map(|name| match name.as_str() {
        "available" => Mode::Available,
        "consistent" => Mode::Consistent,
        other => panic!("CHAT_SIM_MODE={other} is neither available nor consistent"),
    })
}

fn profile(profile: Profile) -> SimOptions {
    SimOptions {
        profile: Some(profile),
        mode: mode(),
        ..SimOptions::default()
    }
}

#[test]
fn calm_seeds() {
    let total = passes(30, &profile(Profile::Calm));
    assert!(total.of("acknowledged") > total.seeds);
    // Nobody dies. Leadership is handed over now and then, and nobody who waits for an answer is left without one.
    assert!(total.of("leadership transferred") > total.seeds);
    assert_eq!(total.of("unknown outcomes"), 0);
}

#[test]
fn seeds_with_crashes() {
    let total = passes(300, &profile(Profile::Crashes));
    assert!(total.of("deaths") > total.seeds);
    assert!(total.of("crash amid a write") > 0 && total.of("crash after a send") > 0);
    // The others died with the power of their machine.
    let killed = total.of("processes killed");
    assert!(killed > total.seeds && killed + total.seeds < total.of("deaths"));
}

#[test]
fn seeds_with_outages() {
    let total = passes(150, &profile(Profile::Outages));
    assert!(total.of("outage") > total.seeds);
}

#[test]
fn seeds_with_members_that_come_and_go() {
    let total = passes(200, &profile(Profile::Members));
    assert!(total.of("changes of membership done") > total.seeds);
    assert!(total.of("lost disk") > 0 && total.of("restored disk") > 0);
}

#[test]
fn seeds_with_partitions() {
    let total = passes(250, &profile(Profile::Partitions));
    assert!(total.of("logs cut") > 0 && total.of("cut after a send") > 0);
}

/// One message with the last number of all once ended a cluster, beyond any restart.
#[test]
fn seeds_with_somebody_who_says_anything() {
    let total = passes(300, &profile(Profile::Hostile));
    assert!(total.of("lies") > total.seeds && total.of("replica removed") > 0);
}

#[test]
fn seeds_with_everything() {
    let total = passes(350, &profile(Profile::Everything));
    assert!(total.of("logs cut") > 0 && total.of("stalled write") > 0);
}

/// The log itself, on disks that lose and tear what was not flushed.
#[test]
fn seeds_on_files() {
    passes(
        40,
        &SimOptions {
            disk: Some(Disk::Files),
            ..SimOptions::default()
        },
    );
}

/// A byte of any file, anywhere: what it was is in another file, or it costs entries, which are mended by the others. Never
/// does a log tell of less without a word.
#[test]
fn seeds_on_files_that_rot() {
    let total = passes(
        120,
        &SimOptions {
            disk: Some(Disk::Files),
            ..profile(Profile::Crashes)
        },
    );
    assert!(total.of("rot of entries") > 0 && total.of("rot mended at once") > 0);
}

/// A failure can only be understood if it can be repeated.
#[test]
fn the_same_seed_is_the_same_story() {
    for seed in 0..12 {
        let options = SimOptions {
            disk: Some(Disk::Memory),
            ..SimOptions::default()
        };
        let twice = [(); 2].map(|()| run_traced(seed, &options));
        assert!(twice[0] == twice[1], "seed {seed} has two stories");
    }
}

/// Tells the story of the seed in `CHAT_SIM_SEED`, if there is one: its last 2,000 lines, or `CHAT_SIM_LINES`.
#[test]
fn one_seed() {
    let Some(seed) = variable("CHAT_SIM_SEED") else {
        return;
    };
    let name: Option<String> = variable("CHAT_SIM_PROFILE");
    let mutation: Option<String> = variable("CHAT_SIM_MUTATION");
    let options = SimOptions {
        profile: name.map(|name| {
            let known = Profile::ALL
                .into_iter()
                .find(|profile| profile.to_string() == name);
            known.unwrap_or_else(|| panic!("CHAT_SIM_PROFILE={name} is none of {:?}", Profile::ALL))
        }),
        mode: mode(),
        mutation: mutation.map(|name| crate::mutations::named(&name)),
        trace_lines: variable("CHAT_SIM_LINES").unwrap_or(2000),
        ..SimOptions::default()
    };
    match run_traced(seed, &options) {
        Ok(report) => println!("{report:#?}"),
        Err(failure) => panic!("{failure}"),
    }
}
