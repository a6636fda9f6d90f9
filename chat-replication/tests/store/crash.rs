//! The power fails at random points. What was returned is there afterwards; what was in flight is there whole, or not at
//! all.

use chat_replication::disk_store::{CrashFolder, DiskStore, Fate};
use chat_replication::store::{Persist, Store};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::*;

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// It is killed: what it wrote is read by the next one, flushed or not.
    Killed,
    /// The power fails: what was not flushed may be gone, also what was written by a process that was killed before.
    PowerLoss,
}

fn end(folder: &CrashFolder, random: &mut ChaCha8Rng) -> End {
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
    let end = match random.random_bool(0.5) {
        true => End::Killed,
        false => End::PowerLoss,
    };
    let fate = |bytes: usize| match random.random_range(0.0..1.0) {
        roll if roll < lost => Fate::Lost,
        roll if roll < lost + torn => Fate::Torn(random.random_range(0..=bytes / 512) * 512),
        _ => Fate::Kept,
    };
    match end {
        End::Killed => folder.kill(fate),
        End::PowerLoss => folder.crash(fate),
    }
    end
}

/// Opens the store, and lets its process end meanwhile now and then.
fn reopen(folder: &CrashFolder, random: &mut ChaCha8Rng) -> DiskStore {
    loop {
        let fails = random.random_bool(0.3);
        if fails {
            folder.fail_after(random.random_range(0..8));
        }
        match open(folder) {
            Err(_) if fails => drop(end(folder, random)),
            Ok(store) if fails => {
                end(folder, random);
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
    /// The process was killed, and later the power failed.
    killed_first: u32,
}

fn story(seed: u64, in_flight: &mut Found) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let draws = TestRng::from_seed(RngAlgorithm::ChaCha, &random.random::<[u8; 32]>());
    let mut runner = TestRunner::new_with_rng(Config::default(), draws);
    let folder = CrashFolder::new();
    let mut store = open(&folder).unwrap();
    let mut model = model_of(&store);
    let mut last = End::PowerLoss;
    for _ in 0..random.random_range(5..40) {
        let steps: Vec<Step> = (0..random.random_range(1..4))
            .map(|_| step().new_tree(&mut runner).unwrap().current())
            .collect();
        for step in steps {
            let batch = step.batch(&content(&mut model));
            if random.random_bool(0.3) {
                folder.fail_after(random.random_range(0..16));
            }
            let before = model.clone();
            model.persist(&batch).unwrap();
            let returned = store.persist(&batch).is_ok();
            if returned && random.random_bool(0.9) {
                continue;
            }
            let before_that = std::mem::replace(&mut last, end(&folder, &mut random));
            in_flight.killed_first +=
                u32::from((before_that, last) == (End::Killed, End::PowerLoss));
            drop(store);
            store = reopen(&folder, &mut random);
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
    for seed in 0..200 {
        story(seed, &mut in_flight);
    }
    // Else the power did not fail where it matters.
    assert!(in_flight.whole > 20, "{}", in_flight.whole);
    assert!(in_flight.absent > 20, "{}", in_flight.absent);
    assert!(in_flight.killed_first > 20, "{}", in_flight.killed_first);
}

/// A failed write leaves nobody knowing what is on the disk.
#[test]
fn after_a_failed_write_nothing_is_served() {
    let folder = CrashFolder::new();
    let mut store = open(&folder).unwrap();
    let a = epoch(1, 0);
    store.persist(&append(vec![view_start(1, a)])).unwrap();
    folder.fail_after(0);
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

/// A process was killed between write and flush; the next one read what it had written, acknowledged it, and went on in
/// another file. Then the power failed, and what nobody had flushed was gone from below what was acknowledged.
#[test]
fn what_a_start_finds_is_durable_before_it_is_told() {
    let folder = CrashFolder::new();
    let mut store = open(&folder).unwrap();
    let (a, b) = (epoch(1, 0), epoch(2, 1));
    store.persist(&append(vec![view_start(1, a)])).unwrap();
    // The frame is written, and its flush fails.
    folder.fail_after(1);
    let unflushed = append(vec![command(2, a, "unflushed")]);
    store.persist(&unflushed).unwrap_err();
    folder.kill(|_| Fate::Lost);
    drop(store);

    let mut store = open(&folder).unwrap();
    assert_eq!(store.load().unwrap().branches.last_index(), 2);
    store.persist(&append(vec![view_start(3, b)])).unwrap();
    let told = content(&mut store);
    folder.crash(|_| Fate::Lost);
    drop(store);
    let mut store = open(&folder).unwrap();
    assert_eq!(content(&mut store), told);
}

/// The same of a transaction of the manifest, whose promise the next process repeats to others.
#[test]
fn a_promise_that_a_start_finds_is_durable_before_it_is_told() {
    for operations in 0..4 {
        let folder = CrashFolder::new();
        let mut store = open(&folder).unwrap();
        let promise = Persist {
            promised: Some(epoch(7, 2)),
            ..Persist::default()
        };
        folder.fail_after(operations);
        store.persist(&promise).unwrap_err();
        folder.kill(|_| Fate::Kept);
        drop(store);
        let mut store = open(&folder).unwrap();
        let told = content(&mut store);
        folder.crash(|_| Fate::Lost);
        drop(store);
        assert_eq!(content(&mut open(&folder).unwrap()), told, "{operations}");
    }
}
