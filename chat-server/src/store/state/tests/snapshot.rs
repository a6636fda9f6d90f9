//! A snapshot of one replica becomes the state of another, whole or not at all.

use chat_replication::branch::BranchTable;
use chat_replication::disk_store::CrashDisk;
use chat_replication::state_machine::{InstallError, SnapshotReader, StateMachine};
use chat_replication::store::Reset;
use chat_replication::types::{Entry, Payload, Position};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::crash::{crash, reopen};
use super::support::*;
use crate::store::state::incoming::Incoming;
use crate::store::state::{ChatStateMachine, Continuity, StateError};

/// What a log is behind a snapshot of this position.
fn reset(log: &[Entry], position: Position) -> Reset {
    let mut branches = BranchTable::default();
    let mut newest = None;
    for entry in log.iter().take(position.index as usize) {
        branches.append(entry.position);
        if let Payload::ViewStart(start) = &entry.payload {
            newest = Some((entry.position.index, start.clone()));
        }
    }
    assert_eq!(branches.last(), position);
    let newest = newest.expect("a log begins with a view start");
    Reset { branches, newest }
}

/// Two logs' worth of entries, one behind the other, in two epochs.
fn long_log(seed: u64) -> Vec<Entry> {
    let mut commands = Commands::new(seed);
    let mut log = commands.log(Position::default(), 300);
    let last = log[log.len() - 1].position;
    log.extend(commands.log(last, 300));
    log
}

struct Taken {
    reset: Reset,
    pieces: Vec<Vec<u8>>,
}

/// A snapshot of a machine's last checkpoint, in small pieces; something is done between any two.
fn take(
    machine: &mut ChatStateMachine,
    log: &[Entry],
    between: &mut dyn FnMut(&mut ChatStateMachine),
) -> Taken {
    let mut reader = machine.snapshot().unwrap().expect("there is a checkpoint");
    assert_eq!(reader.position(), machine.durable());
    let mut pieces = Vec::new();
    while let Some(piece) = reader.next_chunk(400).unwrap() {
        assert!(!piece.is_empty());
        pieces.push(piece.to_vec());
        between(machine);
    }
    Taken {
        reset: reset(log, reader.position()),
        pieces,
    }
}

fn install(machine: &mut ChatStateMachine, taken: &Taken) -> Result<(), InstallError<StateError>> {
    machine.begin_install(&taken.reset)?;
    for piece in &taken.pieces {
        machine.install_chunk(piece)?;
    }
    machine.finish_install()
}

#[test]
fn a_snapshot_becomes_the_state_of_another_replica() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let log = long_log(1);
    let mut source = open(folders[0].path()).unwrap();
    assert!(
        source.snapshot().unwrap().is_none(),
        "nothing is durable yet"
    );
    source.apply(&log[..400]).unwrap();
    source.checkpoint().unwrap();
    // It goes on meanwhile, and writes other checkpoints; the snapshot shows none of it.
    let taken = take(&mut source, &log, &mut |source| {
        let from = source.applied().index as usize;
        source.apply(&log[from..(from + 5).min(log.len())]).unwrap();
        source.checkpoint().unwrap();
    });
    let (pieces, durable) = (taken.pieces.len(), source.durable().index);
    assert!(
        pieces > 10 && durable > 400,
        "{pieces} pieces, durable at {durable}"
    );

    // The other has another branch, a checkpoint under way, and a reader.
    let (publish, told) = recorder();
    let mut target =
        ChatStateMachine::open(folders[1].path(), CLUSTER, REPLICA, SMALL, publish).unwrap();
    target
        .apply(&Commands::new(2).log(Position::default(), 200))
        .unwrap();
    target.maintain().unwrap();
    let before = target.state_hash();
    let reader = target.reader();
    target.begin_install(&taken.reset).unwrap();
    for piece in &taken.pieces {
        target.install_chunk(piece).unwrap();
        assert_eq!((target.state_hash(), target.unsettled()), (before, None));
    }
    target.finish_install().unwrap();
    let position = taken.reset.branches.last();
    assert_eq!((target.applied(), target.durable()), (position, position));
    assert_eq!(reader.applied(), position);
    assert_eq!(target.state_hash(), hash_in_memory(&log[..400]));
    assert_eq!(target.unsettled().as_ref(), Some(&taken.reset));
    assert_sound(&target);
    let last = told.lock().unwrap().pop().unwrap();
    assert_eq!(
        (last.applied, last.continuity),
        (position, Continuity::Skipped)
    );

    // A crash before the log knows.
    drop((target, reader));
    let mut target = open(folders[1].path()).unwrap();
    assert_eq!(target.unsettled().as_ref(), Some(&taken.reset));
    target.settle_install().unwrap();
    catch_up(&mut target, &log);
    catch_up(&mut source, &log);
    assert_eq!(target.state_hash(), source.state_hash());
    assert_sound(&target);
    target.checkpoint().unwrap();
    drop(target);
    let target = open(folders[1].path()).unwrap();
    assert_eq!(
        (target.unsettled(), target.applied()),
        (None, log[599].position)
    );
    assert_eq!(target.state_hash(), hash_in_memory(&log));
}

/// The power fails at each write and flush of an install: what is left is the old state or the new one, whole.
#[test]
fn a_crash_during_an_install_leaves_one_state_or_the_other() {
    let log = long_log(3);
    let folder = tempfile::tempdir().unwrap();
    let mut source = open(folder.path()).unwrap();
    source.apply(&log[..500]).unwrap();
    source.checkpoint().unwrap();
    let taken = take(&mut source, &log, &mut |_| {});
    let old = Commands::new(4).log(Position::default(), 150);
    let hashes = [hash_in_memory(&old), hash_in_memory(&log[..500])];
    let (mut failed, mut unsettled) = (0, 0);
    for seed in 0..200 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let disk = CrashDisk::new();
        let mut machine = open_on(&disk).unwrap();
        machine.apply(&old).unwrap();
        machine.checkpoint().unwrap();
        disk.fail_after(seed % 100);
        let finished = install(&mut machine, &taken).is_ok();
        let settled = finished && machine.settle_install().is_ok();
        failed += u32::from(!settled);
        crash(&disk, &mut random);
        drop(machine);
        let mut machine = reopen(&disk, &mut random);
        assert_sound(&machine);
        let is_new = machine.state_hash() == hashes[1];
        assert!(
            is_new || (!finished && machine.state_hash() == hashes[0]),
            "seed {seed}"
        );
        match machine.unsettled() {
            Some(reset) => {
                unsettled += 1;
                assert!(is_new && !settled, "seed {seed}");
                assert_eq!(reset, taken.reset);
            }
            None => assert!(settled || !finished || is_new, "seed {seed}"),
        }
        // What was cut off leaves nothing behind.
        install(&mut machine, &taken).unwrap();
        machine.settle_install().unwrap();
        catch_up(&mut machine, &log);
        assert_eq!(machine.state_hash(), hash_in_memory(&log));
        assert_sound(&machine);
    }
    assert!(
        failed > 40 && unsettled > 3,
        "failed {failed}, unsettled {unsettled}"
    );
}

#[test]
fn what_is_no_snapshot_leaves_the_state_as_it_is() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let log = long_log(5);
    let mut source = open(folders[0].path()).unwrap();
    source.apply(&log[..300]).unwrap();
    source.checkpoint().unwrap();
    let taken = take(&mut source, &log, &mut |_| {});
    let mut target = open(folders[1].path()).unwrap();
    target.apply(&log[..100]).unwrap();
    let before = target.state_hash();
    let garble: [fn(&mut Vec<Vec<u8>>); 4] = [
        // Another format.
        |pieces| pieces[0][0] += 1,
        // Another hash.
        |pieces| pieces[0][5] ^= 1,
        |pieces| pieces.swap(2, 3),
        |pieces| pieces[4].truncate(7),
    ];
    for (number, garble) in garble.iter().enumerate() {
        let mut pieces = taken.pieces.clone();
        garble(&mut pieces);
        let garbled = Taken {
            reset: taken.reset.clone(),
            pieces,
        };
        let result = install(&mut target, &garbled);
        assert!(
            matches!(result, Err(InstallError::Unreadable(_))),
            "{number}: {result:?}"
        );
        assert_eq!((target.state_hash(), target.unsettled()), (before, None));
        target.reader().query(|_, _| Ok(())).unwrap();
    }
    install(&mut target, &taken).unwrap();
    assert_eq!(target.state_hash(), hash_in_memory(&log[..300]));
    let never_begun = target.install_chunk(&taken.pieces[0]);
    assert!(matches!(never_begun, Err(InstallError::Unreadable(_))));
}

proptest! {
    #[test]
    fn any_bytes_are_rows_or_unreadable(pieces: Vec<Vec<u8>>) {
        let log = Commands::new(6).log(Position::default(), 1);
        let mut incoming = Incoming::new(reset(&log, log[0].position));
        for piece in pieces {
            if incoming.take(&[&1u32.to_le_bytes()[..], &piece].concat()).is_err() {
                break;
            }
        }
    }
}

/// Random sizes of pieces, as a reader may ask for them.
#[test]
fn pieces_of_any_size_make_the_same_rows() {
    let log = long_log(7);
    let folder = tempfile::tempdir().unwrap();
    let mut source = open(folder.path()).unwrap();
    source.apply(&log).unwrap();
    source.checkpoint().unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let rows = |sizes: &mut dyn FnMut() -> usize| {
        let mut incoming = Incoming::new(reset(&log, source.durable()));
        let mut reader = source.snapshot().unwrap().unwrap();
        while let Some(piece) = reader.next_chunk(sizes()).unwrap() {
            incoming.take(&piece).unwrap();
        }
        incoming.rest()
    };
    let expected = rows(&mut || usize::MAX >> 40);
    assert!(expected.iter().count() > 100, "{expected:?}");
    assert_eq!(rows(&mut || 1), expected);
    assert_eq!(rows(&mut || random.random_range(1..3000)), expected);
}

#[test]
fn what_no_checkpoint_holds_yet_is_in_a_snapshot_of_now() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let log = long_log(7);
    let mut source = open(folders[0].path()).unwrap();
    let (first, rest) = log.split_at(log.len() / 2);
    source.apply(first).unwrap();
    source.checkpoint().unwrap();
    // Rows of the checkpoint are written over, deleted and added to.
    let (second, third) = rest.split_at(rest.len() / 2);
    source.apply(second).unwrap();
    let now = second[second.len() - 1].position;
    let hash = source.state_hash();

    let mut snapshot = source.reader().snapshot().unwrap();
    assert!(source.durable() < snapshot.position());
    assert_eq!((snapshot.position(), snapshot.state_hash()), (now, hash));
    let mut pieces = Vec::new();
    let mut third = third.iter();
    while let Some(piece) = snapshot.next_chunk(400).unwrap() {
        pieces.push(piece.to_vec());
        if let Some(entry) = third.next() {
            source.apply(std::slice::from_ref(entry)).unwrap();
        }
        if pieces.len() == 3 {
            source.checkpoint().unwrap();
        }
    }
    assert!(pieces.len() > 3);
    assert!(snapshot.rows_read() <= snapshot.rows_at_most().unwrap());

    let mut other = open(folders[1].path()).unwrap();
    let taken = Taken {
        reset: reset(&log, now),
        pieces,
    };
    install(&mut other, &taken).unwrap();
    assert_eq!((other.applied(), other.state_hash()), (now, hash));
}
