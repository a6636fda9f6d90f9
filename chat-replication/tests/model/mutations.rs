//! Rules broken on purpose: a model that does not notice proves nothing.

use chat_replication::replica::Mutation;
use chat_replication::types::Mode;

use crate::bounds::{Begin, Bounds};
use crate::scenarios::shows;

/// Bounds within which a broken rule shows.
fn shows_within(mutation: Mutation) -> Option<Bounds> {
    let two = Bounds {
        crashes: 2,
        restarts: 2,
        ticks: 2,
        ..Bounds::new(2, Mode::Available)
    };
    match mutation {
        Mutation::AcknowledgeBeforeSync | Mutation::HalfIsCommitted => Some(Bounds {
            crashes: 1,
            ..Bounds::new(3, Mode::Available)
        }),
        Mutation::PromiseBeforeSync
        | Mutation::PrepareBeforeSync
        | Mutation::RestartStaysInView
        | Mutation::NeverWaits => Some(two),
        Mutation::DonorByPromise => Some(Bounds {
            begin: Begin::SecondLeads,
            crashes: 1,
            ticks: 4,
            ..Bounds::new(3, Mode::Consistent)
        }),
        Mutation::DropsOrphans => Some(Bounds {
            cuts: 1,
            cut_at: &[0],
            commands: 2,
            ticks: 4,
            ..Bounds::new(2, Mode::Available)
        }),
        // What they break takes more replicas, more deaths, messages that come twice or late, or reads: the simulator
        // finds those.
        _ => None,
    }
}

#[test]
fn broken_rules_are_noticed() {
    let mut survived = Vec::new();
    for mutation in Mutation::ALL {
        let Some(bounds) = shows_within(mutation) else {
            continue;
        };
        match shows(mutation, bounds) {
            Some((steps, rule)) => println!("{mutation:?}: {steps} steps: {rule}"),
            None => survived.push(mutation),
        }
    }
    assert!(survived.is_empty(), "nobody noticed {survived:?}");
}
