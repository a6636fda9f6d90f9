//! Rules broken on purpose: a simulator that does not notice proves nothing.

use chat_replication::replica::Mutation;
use chat_replication::sim::SimOptions;

use crate::support::run_all;

/// Seeds within which a broken rule must show.
const SEEDS: u64 = 2000;

pub(crate) fn named(name: &str) -> Mutation {
    let known = Mutation::ALL
        .iter()
        .copied()
        .find(|mutation| format!("{mutation:?}") == name);
    known.unwrap_or_else(|| panic!("CHAT_SIM_MUTATION={name} is none of {:?}", Mutation::ALL))
}

#[test]
fn every_broken_rule_is_noticed() {
    let mut survived = Vec::new();
    for mutation in Mutation::ALL {
        let options = SimOptions {
            trace_lines: 1,
            ..SimOptions::against(mutation)
        };
        match run_all(0..SEEDS, &options) {
            Err(failure) => println!("{mutation:?}: seed {}: {}", failure.seed, failure.violation),
            Ok(_) => survived.push(mutation),
        }
    }
    assert!(survived.is_empty(), "nobody noticed {survived:?}");
}
