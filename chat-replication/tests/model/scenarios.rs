//! The bounds that are explored, and how that is told.

use std::env;
use std::time::Instant;

use chat_replication::replica::Mutation;
use chat_replication::types::Mode;
use stateright::{Checker, HasDiscoveries, Model};

use crate::bounds::{Begin, Bounds};
use crate::cluster::Checked;

/// Explores everything within the bounds, and fails with the story of a broken rule, if there is one.
fn explore(bounds: Bounds) {
    let begun = Instant::now();
    let told = format!("{bounds:?}");
    let checker = Checked::new(bounds).checker().threads(2).spawn_bfs().join();
    println!(
        "{told}\n  {} states, reached in {} ways, depth {}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64(),
    );
    let missing: Vec<&str> = checker
        .model()
        .properties()
        .iter()
        .filter(|property| property.expectation == stateright::Expectation::Sometimes)
        .map(|property| property.name)
        .filter(|name| checker.discovery(name).is_none())
        .collect();
    for (rule, path) in checker.discoveries() {
        let steps = path.clone().into_actions().len();
        println!("  {rule}: {steps} steps");
        if checker.model().property(rule).expectation == stateright::Expectation::Always {
            for (cluster, action) in path.into_vec() {
                println!("{cluster}");
                action.inspect(|action| println!("    {action:?}"));
            }
            panic!("broken: {rule}");
        }
    }
    assert!(missing.is_empty(), "nothing shows that {missing:?}");
}

/// In how many steps a broken rule shows itself, and by which rule that no longer holds.
pub(crate) fn shows(mutation: Mutation, bounds: Bounds) -> Option<(usize, &'static str)> {
    let checked = Checked::new(Bounds {
        mutation: Some(mutation),
        ..bounds
    });
    let checker = checked.checker().threads(2);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let model = checker.model();
    let broken = checker
        .discoveries()
        .into_iter()
        .find(|(rule, _)| model.property(rule).expectation == stateright::Expectation::Always);
    let tell = env::var("CHAT_MODEL_TRACE").is_ok();
    broken.map(|(rule, path)| {
        let steps = path.clone().into_actions().len();
        for (cluster, action) in path.into_vec().into_iter().filter(|_| tell) {
            println!("{cluster}");
            action.inspect(|action| println!("    {action:?}"));
        }
        (steps, rule)
    })
}

/// `CHAT_MODEL="replicas=3 mode=available crashes=1 ..."`, for bounds of one's own.
fn bounds_of_ones_own(text: &str) -> Bounds {
    let mut bounds = Bounds::new(3, Mode::Available);
    for word in text.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap();
        let number = || value.parse::<u8>().unwrap();
        match key {
            "replicas" => bounds.replicas = number().into(),
            "mode" if value == "consistent" => bounds.mode = Mode::Consistent,
            "mode" => bounds.mode = Mode::Available,
            "begin" if value == "empty" => bounds.begin = Begin::Empty,
            "begin" if value == "second" => bounds.begin = Begin::SecondLeads,
            "crashes" => bounds.crashes = number(),
            "restarts" => bounds.restarts = number(),
            "ticks" => bounds.ticks = number(),
            "commands" => bounds.commands = number(),
            "cuts" => bounds.cuts = number(),
            "cut" => bounds.cut_at = [&[0][..], &[1], &[2]][usize::from(number())],
            "flight" => bounds.flight = Some(number().into()),
            "late" => bounds.late = number() > 0,
            "back" => bounds.hands_back = number() > 0,
            "mutation" => {
                let mut all = Mutation::ALL.into_iter();
                bounds.mutation = all.find(|mutation| format!("{mutation:?}") == value);
            }
            _ => panic!("CHAT_MODEL knows no {key}"),
        }
    }
    bounds
}

/// Whether `CHAT_MODEL_LARGE` asks for bounds that take minutes.
fn large() -> bool {
    env::var("CHAT_MODEL_LARGE").is_ok()
}

#[test]
fn a_new_cluster() {
    for mode in [Mode::Available, Mode::Consistent] {
        explore(Bounds {
            begin: Begin::Empty,
            ticks: if large() { 4 } else { 2 },
            ..Bounds::new(3, mode)
        });
    }
}

#[test]
fn one_of_three_dies_and_comes_back() {
    for mode in [Mode::Available, Mode::Consistent] {
        explore(Bounds {
            crashes: 1,
            restarts: 1,
            ticks: if large() { 2 } else { 0 },
            late: large(),
            ..Bounds::new(3, mode)
        });
    }
}

#[test]
fn two_of_three_die() {
    explore(Bounds {
        crashes: 2,
        restarts: u8::from(large()),
        ..Bounds::new(3, Mode::Available)
    });
}

#[test]
fn two_die_in_turn() {
    for mode in [Mode::Available, Mode::Consistent] {
        explore(Bounds {
            crashes: if large() { 3 } else { 2 },
            restarts: 2,
            ticks: 2,
            ..Bounds::new(2, mode)
        });
    }
}

#[test]
fn two_are_parted_and_meet() {
    for mode in [Mode::Available, Mode::Consistent] {
        explore(Bounds {
            cuts: 1,
            cut_at: &[0],
            commands: 2,
            ticks: if large() { 6 } else { 4 },
            crashes: u8::from(large()),
            ..Bounds::new(2, mode)
        });
    }
}

#[test]
fn the_leader_of_three_is_cut_off() {
    for mode in [Mode::Available, Mode::Consistent] {
        explore(Bounds {
            cuts: 1,
            cut_at: if large() { &[0, 1, 2] } else { &[0] },
            commands: if large() { 2 } else { 1 },
            ticks: u8::from(large()),
            ..Bounds::new(3, mode)
        });
    }
}

#[test]
fn leadership_is_handed_back() {
    let modes = [Mode::Available, Mode::Consistent];
    for mode in modes.into_iter().take(if large() { 2 } else { 1 }) {
        explore(Bounds {
            begin: Begin::SecondLeads,
            hands_back: true,
            ticks: if large() { 7 } else { 6 },
            ..Bounds::new(3, mode)
        });
    }
}

#[test]
fn bounds_from_the_environment() {
    let Ok(text) = env::var("CHAT_MODEL") else {
        return;
    };
    let bounds = bounds_of_ones_own(&text);
    match bounds.mutation {
        None => explore(bounds),
        Some(mutation) => println!("{mutation:?}: {:?}", shows(mutation, bounds)),
    }
}
