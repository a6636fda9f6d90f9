//! The power fails while checkpoints are written. What the file holds afterwards is one of them, whole.

use chat_replication::disk_store::{CrashDisk, Fate};
use chat_replication::state_machine::StateMachine;
use chat_replication::types::{Entry, Position};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::support::*;
use crate::store::state::ChatStateMachine;

pub(super) fn crash(disk: &CrashDisk, random: &mut ChaCha8Rng) {
    let lost = if random.random_bool(0.3) {
        0.0
    } else {
        random.random_range(0.0..1.2)
    };
    let torn = if lost == 0.0 { 0.0 } else { 0.2 };
    disk.crash(|bytes| match random.random_range(0.0..1.0) {
        roll if roll < lost => Fate::Lost,
        roll if roll < lost + torn => Fate::Torn(random.random_range(0..=bytes / 512) * 512),
        _ => Fate::Kept,
    });
}

/// Opens the state, and lets the power fail meanwhile now and then.
pub(super) fn reopen(disk: &CrashDisk, random: &mut ChaCha8Rng) -> ChatStateMachine {
    loop {
        let fails = random.random_bool(0.3);
        if fails {
            disk.fail_after(random.random_range(0..6));
        }
        match open_on(disk) {
            Ok(machine) if !fails => return machine,
            Err(error) if !fails => panic!("the state does not open after a crash: {error}"),
            opened => {
                crash(disk, random);
                drop(opened);
            }
        }
    }
}

#[test]
fn a_crash_leaves_a_whole_checkpoint() {
    let mut failed = 0;
    for seed in 0..60 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let disk = CrashDisk::new();
        let mut machine = open_on(&disk).unwrap();
        let log: Vec<Entry> = Commands::new(seed).log(Position::default(), 400);
        let mut durable = 0;
        while machine.applied().index < log.len() as u64 {
            if random.random_bool(0.3) {
                disk.fail_after(random.random_range(0..40));
            }
            let from = machine.applied().index as usize;
            let to = (from + random.random_range(1..60)).min(log.len());
            let result =
                machine
                    .apply(&log[from..to])
                    .and_then(|_| match random.random_bool(0.5) {
                        true => machine.maintain(),
                        false => machine.checkpoint(),
                    });
            if result.is_ok() {
                // Only a checkpoint that was asked for is known to be there.
                if !machine.is_writing_checkpoint()
                    && machine
                        .file
                        .checkpoint()
                        .is_ok_and(|it| it.applied.index > durable)
                {
                    durable = machine.file.checkpoint().unwrap().applied.index;
                }
                if random.random_bool(0.9) {
                    continue;
                }
            } else {
                failed += 1;
                assert!(
                    machine.reader().query(|_, _| Ok(())).is_err(),
                    "what is left is not served"
                );
            }
            crash(&disk, &mut random);
            drop(machine);
            machine = reopen(&disk, &mut random);
            let applied = machine.applied().index;
            assert!(
                applied >= durable,
                "seed {seed}: at {applied}, though {durable} was durable"
            );
            assert_eq!(
                machine.state_hash(),
                hash_in_memory(&log[..applied as usize]),
                "seed {seed}"
            );
            assert_sound(&machine);
            durable = applied;
        }
        catch_up(&mut machine, &log);
        assert_eq!(machine.state_hash(), hash_in_memory(&log));
    }
    assert!(
        failed > 20,
        "the power never failed where it matters: {failed}"
    );
}
