//! The power fails at random points. What was returned is there afterwards; what was in flight is there whole, or not at
//! all.

use chat_replication::disk_store::{DiskStore, Fate};
use chat_replication::store::Store;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::*;

fn crash(disks: &Disks, random: &mut ChaCha8Rng) {
    // Each crash has its own temper: some keep everything, some nothing.
    let lost = if random.random_bool(0.3) {
        0.0
    } else {
        random.random_range(0.0..1.2)
    };
    let torn = if lost == 0.0 {
        0.0
    } else {
        random.random_range(0.0..0.4)
    };
    disks.crash(|bytes| match random.random_range(0.0..1.0) {
        roll if roll < lost => Fate::Lost,
        roll if roll < lost + torn => Fate::Torn(random.random_range(0..=bytes / 512) * 512),
        _ => Fate::Kept,
    });
}

/// Whichever of them fails, the store is of no use any more.
fn one_fails(disks: &Disks, random: &mut ChaCha8Rng, within: u64) {
    let operations = random.random_range(0..within);
    match random.random_bool(0.5) {
        true => disks.segments.fail_after(operations),
        false => disks.log.fail_after(operations),
    }
}

/// Opens the store, and lets the power fail meanwhile now and then.
fn reopen(disks: &Disks, random: &mut ChaCha8Rng) -> DiskStore {
    loop {
        let fails = random.random_bool(0.3);
        if fails {
            one_fails(disks, random, 6);
        }
        match disks.open() {
            Err(_) if fails => crash(disks, random),
            Ok(store) if fails => {
                crash(disks, random);
                drop(store);
            }
            opened => return opened.expect("a store opens after a crash"),
        }
    }
}

/// How often a batch in flight was found whole, and how often not at all.
#[derive(Default)]
struct Found {
    whole: u32,
    absent: u32,
}

fn story(seed: u64, in_flight: &mut Found) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let draws = TestRng::from_seed(RngAlgorithm::ChaCha, &random.random::<[u8; 32]>());
    let mut runner = TestRunner::new_with_rng(Config::default(), draws);
    let disks = Disks::default();
    let mut store = disks.open().unwrap();
    let mut model = model_of(&store);
    for _ in 0..random.random_range(5..40) {
        let steps: Vec<Step> = (0..random.random_range(1..4))
            .map(|_| step().new_tree(&mut runner).unwrap().current())
            .collect();
        for step in steps {
            let batch = step.batch(&content(&mut model));
            if random.random_bool(0.3) {
                one_fails(&disks, &mut random, 12);
            }
            let before = model.clone();
            model.persist(&batch).unwrap();
            let returned = store.persist(&batch).is_ok();
            if returned && random.random_bool(0.9) {
                continue;
            }
            crash(&disks, &mut random);
            drop(store);
            store = reopen(&disks, &mut random);
            let found = content(&mut store);
            if !returned && found == content(&mut before.clone()) {
                model = before;
                in_flight.absent += 1;
            } else if !returned {
                in_flight.whole += 1;
            }
            assert_eq!(
                found,
                content(&mut model),
                "seed {seed}, returned: {returned}"
            );
        }
    }
}

#[test]
fn a_crash_loses_nothing_that_was_returned() {
    let mut in_flight = Found::default();
    for seed in 0..400 {
        story(seed, &mut in_flight);
    }
    // Else the power did not fail where it matters.
    assert!(in_flight.whole > 20, "{}", in_flight.whole);
    assert!(in_flight.absent > 20, "{}", in_flight.absent);
}

/// A failed write leaves nobody knowing what is on the disk.
#[test]
fn after_a_failed_write_nothing_is_served() {
    let disks = Disks::default();
    let mut store = disks.open().unwrap();
    let a = epoch(1, 0);
    store.persist(&append(vec![view_start(1, a)])).unwrap();
    disks.segments.fail_after(0);
    let error = store
        .persist(&append(vec![command(2, a, "x")]))
        .unwrap_err();
    assert!(error.to_string().contains("simulated disk"), "{error}");
    for error in [
        store
            .persist(&append(vec![command(2, a, "x")]))
            .unwrap_err(),
        store.load().unwrap_err(),
        store.entries(1, 1, 9).unwrap_err(),
        store.orphans(None, 9).unwrap_err(),
    ] {
        assert!(
            error.to_string().contains("an earlier write failed"),
            "{error}"
        );
    }
}
