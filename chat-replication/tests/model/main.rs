//! The protocol in small bounds, exhaustively.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod bounds;
mod canon;
mod cluster;
mod node;
mod rules;

use std::time::Instant;

use chat_replication::types::Mode;
use stateright::{Checker, Model};

use crate::bounds::{Begin, Bounds};
use crate::cluster::Checked;

fn check(bounds: Bounds) {
    let begun = Instant::now();
    let name = bounds.name;
    let checker = Checked::new(bounds).checker().threads(2).timeout(std::time::Duration::from_secs(60)).spawn_bfs().join();
    println!(
        "{name}: {} states of {} seen, depth {}, {:.1} s, done {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64(),
        checker.is_done(),
    );
    for (property, path) in checker.discoveries() {
        println!("  {property}: {} steps", path.clone().into_actions().len());
        if std::env::var("TRACE").is_ok() {
            for (state, action) in path.into_vec() {
                println!("   {state}\n    {action:?}");
            }
        }
    }
}

#[test]
fn probe() {
    for mode in [Mode::Available, Mode::Consistent] {
        for crashes in 0..3 {
            for ticks in 0..3 {
                let mut bounds = Bounds::new("probe", 3, mode);
                bounds.crashes = crashes;
                bounds.restarts = crashes.min(1);
                bounds.ticks = ticks;
                println!("{mode} {crashes} {ticks}");
                check(bounds);
            }
        }
    }
    let _ = Begin::Empty;
}
