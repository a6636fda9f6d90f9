//! The state machine against the same commands in memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chat_core::{CommandBody, EventKind, Outcome, Rejection};
use chat_replication::state_machine::StateMachine;
use chat_replication::types::{Entry, Lineage, Payload, Position};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::support::*;
use crate::store::state::machine::isolated;
use crate::store::state::reader::write;
use crate::store::state::{ChatStateMachine, Response, StateError, StateSettings};

fn command(index: u64, command: &chat_core::Command) -> Entry {
    Entry {
        position: Position {
            epoch: epoch(1),
            index,
        },
        payload: Payload::Command(command.encode().into()),
    }
}

/// Waits for the checkpoint under way, without a clock in the assertion.
fn settle(machine: &mut ChatStateMachine) {
    while machine.is_writing_checkpoint() {
        std::thread::sleep(Duration::from_millis(1));
        machine.maintain().unwrap();
    }
}

#[test]
fn any_mix_of_batches_checkpoints_restarts_and_forks_gives_the_same_state() {
    for seed in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut commands = Commands::new(seed);
        let mut machine = open(folder.path()).unwrap();
        let mut log: Vec<Entry> = Vec::new();
        for _ in 0..12 {
            let last = log.last().map(|entry| entry.position).unwrap_or_default();
            log.extend(commands.log(last, random.random_range(1..120)));
            while machine.applied().index < log.len() as u64 {
                let from = machine.applied().index as usize;
                let to = random.random_range(from + 1..=log.len());
                machine.apply(&log[from..to]).unwrap();
                machine.maintain().unwrap();
            }
            match random.random_range(0..5) {
                0 => {
                    drop(machine);
                    machine = open(folder.path()).unwrap();
                }
                1 => {
                    machine.checkpoint().unwrap();
                    let applied = machine.applied();
                    drop(machine);
                    machine = open(folder.path()).unwrap();
                    assert_eq!(machine.applied(), applied);
                }
                2 => {
                    // Another branch won from some entry on.
                    let ancestor = random.random_range(log.len() / 2..=log.len());
                    log.truncate(ancestor);
                    machine
                        .roll_back(&|position| position.index <= ancestor as u64)
                        .unwrap();
                    assert!(machine.applied().index <= ancestor as u64);
                }
                3 => settle(&mut machine),
                _ => {}
            }
            assert_eq!(
                machine.state_hash(),
                hash_in_memory(&log[..machine.applied().index as usize]),
                "seed {seed}"
            );
            assert_sound(&machine);
        }
    }
}

#[test]
fn responses_and_events_tell_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let (publish, told) = recorder();
    let mut machine =
        ChatStateMachine::open(folder.path(), CLUSTER, REPLICA, SMALL, publish).unwrap();
    let mut commands = Commands::new(1);
    let (ada, register_ada) = commands.register("ada");
    let (bob, register_bob) = commands.register("bob");
    let send = commands.send(ada, bob, "hello");
    let (other, again) = commands.register("ada");
    let position = |index| Position {
        epoch: epoch(1),
        index,
    };
    let mut entries = vec![
        command(1, &register_ada),
        command(2, &register_bob),
        command(3, &send),
        command(4, &send),
        command(5, &again),
    ];
    entries.push(Entry {
        position: position(6),
        payload: Payload::Command(b"no command".to_vec().into()),
    });
    let origin = Position {
        epoch: epoch(1),
        index: 99,
    };
    entries.push(Entry {
        position: position(7),
        payload: Payload::Reproposed {
            origin,
            lineage: Lineage::default(),
            command: again.encode().into(),
        },
    });
    let responses = machine.apply(&entries).unwrap();
    let result = |index: usize| match &responses[index] {
        Some(Response::Applied(applied)) => applied.result.clone(),
        other => panic!("{other:?}"),
    };
    assert!(matches!(result(2), Ok(Outcome::MessageSent { .. })));
    assert_eq!(result(2), result(3));
    assert!(matches!(result(4), Err(Rejection::NameTaken { .. })));
    assert!(matches!(&responses[5], Some(Response::Undecodable { .. })));
    // It was acknowledged on another branch, so it is not refused on this one.
    assert!(matches!(result(6), Ok(Outcome::AccountCreated { account, .. }) if account == other));

    let told = told.lock().unwrap();
    assert_eq!(told.last().unwrap().applied, position(7));
    let received: Vec<_> = told
        .iter()
        .flat_map(|batch| &batch.events)
        .filter(|(_, event)| {
            event.account == bob && matches!(event.kind, EventKind::MessageReceived { .. })
        })
        .map(|(position, _)| position.index)
        .collect();
    assert_eq!(received, [3], "a retry is not told twice");
}

/// A checkpoint is in the file, and a restart goes on from there.
#[test]
fn a_restart_goes_on_from_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut commands = Commands::new(2);
    let log = commands.log(Position::default(), 400);
    let mut machine = open(folder.path()).unwrap();
    for chunk in log[..300].chunks(50) {
        machine.apply(chunk).unwrap();
        machine.maintain().unwrap();
        settle(&mut machine);
    }
    drop(machine);
    let mut machine = open(folder.path()).unwrap();
    let checkpoint = machine.applied().index;
    assert!((100..=300).contains(&checkpoint), "{checkpoint}");
    assert_eq!(
        machine.state_hash(),
        hash_in_memory(&log[..checkpoint as usize])
    );
    catch_up(&mut machine, &log);
    assert_eq!(machine.state_hash(), hash_in_memory(&log));
    assert_sound(&machine);
}

#[test]
fn rolling_back_keeps_the_checkpoint_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = Commands::new(3).log(Position::default(), 200);
    let mut machine = open(folder.path()).unwrap();
    machine.apply(&log[..100]).unwrap();
    machine.checkpoint().unwrap();
    machine.apply(&log[100..]).unwrap();
    machine
        .roll_back(&|position| position == log[99].position)
        .unwrap();
    assert_eq!(machine.applied(), log[99].position);
    assert_eq!(machine.state_hash(), hash_in_memory(&log[..100]));
    machine.roll_back(&|_| false).unwrap();
    assert_eq!(machine.applied(), Position::default());
    assert_eq!(machine.state_hash(), hash_in_memory(&[]));
    catch_up(&mut machine, &log);
    assert_eq!(machine.state_hash(), hash_in_memory(&log));
    assert_sound(&machine);
}

/// A defect in apply must not keep all replicas from ever starting again.
#[test]
fn a_command_that_panics_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let mut commands = Commands::new(4);
    let log = commands.log(Position::default(), 50);
    let mut machine = open(folder.path()).unwrap();
    machine.apply(&log).unwrap();
    let before = machine.state_hash();
    let (_, register) = commands.register("carol");
    let panics = |manager: &mut chat_core::AccountManager<_>| -> Result<_, StateError> {
        let applied = manager.apply(register.clone())?;
        assert!(
            applied.result.is_err(),
            "this command makes apply panic, after it has written"
        );
        Ok(applied)
    };
    let outcome = isolated(&mut write(&machine.shared), panics).unwrap();
    assert!(outcome.is_none());
    assert_eq!(machine.state_hash(), before);
    assert_sound(&machine);
    // The next one is applied as if nothing had been.
    let next = Position {
        index: log.len() as u64 + 1,
        ..log[0].position
    };
    let entry = Entry {
        position: next,
        payload: Payload::Command(register.encode().into()),
    };
    machine.apply(std::slice::from_ref(&entry)).unwrap();
    let whole: Vec<_> = log.iter().cloned().chain([entry]).collect();
    assert_eq!(machine.state_hash(), hash_in_memory(&whole));
}

/// Readers see whole batches, and never wait for a checkpoint.
#[test]
fn queries_see_the_state_at_one_position() {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = open(folder.path()).unwrap();
    let mut commands = Commands::new(5);
    let (ada, register) = commands.register("ada");
    machine.apply(&[command(1, &register)]).unwrap();
    let reader = machine.reader();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::Relaxed) {
                let (messages, applied) = reader
                    .query(|manager, applied| {
                        let newest =
                            manager.history(ada, ada, chat_core::HistoryFrom::Newest, 1)?;
                        assert_eq!(newest.items.len(), usize::from(applied.index > 1));
                        Ok((manager.stats().messages, applied.index))
                    })
                    .unwrap();
                assert_eq!(messages, applied - 1);
                assert!(applied >= last);
                last = applied;
            }
        });
        for index in 2..2000 {
            let send = commands.send(ada, ada, "a note to myself");
            machine.apply(&[command(index, &send)]).unwrap();
            machine.maintain().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// While a large checkpoint is written, apply goes on.
#[test]
#[allow(clippy::print_stdout)]
fn a_checkpoint_does_not_hold_up_apply() {
    let folder = tempfile::tempdir().unwrap();
    let settings = StateSettings {
        checkpoint_bytes: usize::MAX,
        ..StateSettings::default()
    };
    let mut machine =
        ChatStateMachine::open(folder.path(), CLUSTER, REPLICA, settings, quiet()).unwrap();
    let mut commands = Commands::new(6);
    let (ada, register) = commands.register("ada");
    machine.apply(&[command(1, &register)]).unwrap();
    let mut index = 1;
    let mut apply = |machine: &mut ChatStateMachine| {
        index += 1;
        let send = commands.send(ada, ada, "a note to myself");
        machine.apply(&[command(index, &send)]).unwrap();
    };
    for _ in 0..20_000 {
        apply(&mut machine);
    }
    machine.settings.checkpoint_bytes = machine.overlay_bytes().unwrap();
    machine.maintain().unwrap();
    assert!(machine.is_writing_checkpoint());
    let (mut during, mut longest) = (0, Duration::ZERO);
    let begun = Instant::now();
    while machine.is_writing_checkpoint() {
        let now = Instant::now();
        apply(&mut machine);
        machine.maintain().unwrap();
        longest = longest.max(now.elapsed());
        during += 1;
    }
    println!(
        "{during} commands during a checkpoint of {:?}, the longest took {longest:?}",
        begun.elapsed()
    );
    assert!(during > 10, "{during}");
    assert_sound(&machine);
}

#[test]
fn housekeeping_is_a_command_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = open(folder.path()).unwrap();
    let mut commands = Commands::new(7);
    let (ada, register) = commands.register("ada");
    let delete = commands.command(|_| CommandBody::DeleteAccount { account: ada });
    machine
        .apply(&[command(1, &register), command(2, &delete)])
        .unwrap();
    machine.checkpoint().unwrap();
    let (_, again) = commands.register("ada");
    let responses = machine.apply(&[command(3, &again)]).unwrap();
    assert!(matches!(&responses[0], Some(Response::Applied(applied)) if applied.result.is_ok()));
    assert_sound(&machine);
}
