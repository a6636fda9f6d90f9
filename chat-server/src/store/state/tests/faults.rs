//! Files that must not be served. Each error names the file and says what to do.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use chat_core::store::KeyValue;
use chat_replication::disk_store::CrashDisk;
use chat_replication::state_machine::StateMachine;
use chat_replication::types::{ClusterId, Position, ReplicaId};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use super::support::*;
use crate::store::state::file::StateFile;
use crate::store::state::key_value::StateStore;
use crate::store::state::{ChatStateMachine, STATE_FILE, StateError};

fn refused(folder: &Path) -> StateError {
    let error = open(folder).unwrap_err();
    assert!(
        error
            .to_string()
            .contains(folder.join(STATE_FILE).to_str().unwrap()),
        "{error}"
    );
    error
}

#[test]
fn the_state_of_another_cluster_or_replica_is_refused() {
    for (cluster, replica) in [
        (ClusterId(Uuid::from_u128(9)), REPLICA),
        (CLUSTER, ReplicaId(8)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        drop(ChatStateMachine::open(folder.path(), cluster, replica, SMALL, quiet()).unwrap());
        let error = refused(folder.path());
        assert!(matches!(error, StateError::Foreign { .. }));
        assert!(
            error.to_string().contains(&format!(
                "belongs to replica {replica} of cluster {cluster}"
            )),
            "{error}"
        );
    }
}

#[test]
fn a_state_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let machine = open(folder.path()).unwrap();
    assert!(matches!(refused(folder.path()), StateError::InUse { .. }));
    drop(machine);
    open(folder.path()).unwrap();
}

#[test]
fn a_file_that_is_no_state_is_refused() {
    for content in [Vec::new(), b"a diary".to_vec(), vec![0; 1 << 20]] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(STATE_FILE), content).unwrap();
        let error = refused(folder.path());
        assert!(matches!(error, StateError::Damaged { .. }));
        assert!(
            error.to_string().contains("sets that file aside"),
            "{error}"
        );
    }
}

fn open_anew(folder: &Path) -> ChatStateMachine {
    ChatStateMachine::open_or_begin_anew(folder, CLUSTER, REPLICA, SMALL, quiet()).unwrap()
}

/// A replica ended for good over one byte, though its peers and its log had everything.
#[test]
fn a_file_that_is_found_damaged_is_set_aside_for_an_empty_one() {
    let log = Commands::new(1).log(Position::default(), 300);
    for content in [Vec::new(), b"a diary".to_vec(), vec![0; 1 << 20]] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE_FILE);
        fs::write(&path, &content).unwrap();
        let mut machine = open_anew(folder.path());
        assert!(machine.damage().is_some());
        assert_eq!(machine.applied(), Position::default());
        machine.start_over().unwrap();
        assert_eq!(machine.damage(), None);
        let aside = folder.path().join(format!("{STATE_FILE}.damaged"));
        assert_eq!(fs::read(&aside).unwrap(), content);
        machine.apply(&log).unwrap();
        machine.checkpoint().unwrap();
        drop(machine);
        assert_eq!(open(folder.path()).unwrap().applied(), log[299].position);
    }
}

/// Rot that is met while the replica runs: nothing more is answered, and nothing older or less, until the state is what it was.
#[test]
fn a_state_that_is_found_damaged_while_it_runs_answers_nothing_until_it_is_whole_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(STATE_FILE);
    let aside = folder.path().join(format!("{STATE_FILE}.damaged"));
    let log = Commands::new(1).log(Position::default(), 600);
    let mut machine = open(folder.path()).unwrap();
    machine.apply(&log).unwrap();
    machine.checkpoint().unwrap();
    let expected = machine.state_hash();
    drop(machine);
    let good = fs::read(&path).unwrap();
    let recomputed = |machine: &ChatStateMachine| {
        let query =
            |manager: &chat_core::AccountManager<StateStore>, _| manager.recompute_state_hash();
        machine.reader().query(query)
    };
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut met = 0;
    while met < 10 {
        let mut bytes = good.clone();
        let at = random.random_range(8192..bytes.len());
        bytes[at] ^= 1 << random.random_range(0..8);
        fs::write(&path, bytes).unwrap();
        let mut machine = open_anew(folder.path());
        if machine.damage().is_none() {
            match recomputed(&machine) {
                Ok(found) => assert_eq!(found.as_u128(), expected),
                Err(error) => assert!(matches!(error, StateError::Damaged { .. }), "{error}"),
            }
        }
        if machine.damage().is_some() {
            met += 1;
            let was_shown = machine.applied();
            recomputed(&machine).unwrap_err();
            machine.start_over().unwrap();
            assert_eq!(machine.damage(), None);
            assert!(aside.exists());
            for entry in &log {
                if machine.applied() < was_shown {
                    let refused = recomputed(&machine).unwrap_err();
                    assert!(matches!(refused, StateError::GoneBack { .. }));
                }
                machine.apply(std::slice::from_ref(entry)).unwrap();
            }
            assert_eq!(recomputed(&machine).unwrap().as_u128(), expected);
            machine.checkpoint().unwrap();
            // How much that showed which was found damaged at the start nobody knows.
            assert!(was_shown == Position::default() || !aside.exists());
        }
        drop(machine);
        let _ = fs::remove_file(&aside);
    }
}

#[test]
fn a_newer_format_is_refused() {
    let disk = CrashDisk::new();
    drop(open_on(&disk).unwrap());
    {
        let database = redb::Database::builder()
            .create_with_backend(disk.backend())
            .unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut table = transaction
                .open_table(redb::TableDefinition::<&str, &[u8]>::new("meta"))
                .unwrap();
            let hash = xxhash_rust::xxh3::xxh3_64_with_seed;
            // Format 2, in postcard's encoding.
            let sum = (hash(&[2], hash(b"format", 0)) as u32).to_le_bytes();
            table
                .insert("format", [&sum[..], &[2]].concat().as_slice())
                .unwrap();
        }
        transaction.commit().unwrap();
    }
    let error = open_on(&disk).unwrap_err();
    assert!(matches!(error, StateError::Foreign { .. }), "{error:?}");
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[test]
fn rows_of_another_format_are_refused() {
    for (format, words) in [(1, "older version"), (99, "newer version")] {
        let folder = tempfile::tempdir().unwrap();
        let mut machine = open(folder.path()).unwrap();
        let log = Commands::new(1).log(Position::default(), 10);
        machine.apply(&log).unwrap();
        machine.checkpoint().unwrap();
        drop(machine);
        let file = StateFile::open(folder.path(), 1 << 20, CLUSTER, REPLICA).unwrap();
        let file = Arc::new(file);
        let mut store = StateStore::new(Arc::clone(&file)).unwrap();
        // The row of the counters, which begins with the format.
        let mut counters = store.read(&[0]).unwrap().unwrap();
        counters[0] = format;
        store.put(&[0], &counters).unwrap();
        let frozen = store.freeze(file.checkpoint().unwrap());
        file.write(&frozen).unwrap();
        drop((frozen, store, file));
        let error = refused(folder.path());
        assert!(matches!(error, StateError::Foreign { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Rot anywhere in the file: what is read is right, or an error. It is never taken for a defect of a command.
#[test]
fn rot_is_never_served() {
    let original = CrashDisk::new();
    let log = Commands::new(1).log(Position::default(), 600);
    let expected = {
        let mut machine = open_on(&original).unwrap();
        machine.apply(&log).unwrap();
        machine.checkpoint().unwrap();
        machine.state_hash()
    };
    let mut image = Vec::new();
    original.rot(|bytes| image = bytes.to_owned());
    let (mut noticed, mut harmless) = (0, 0);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..200 {
        let disk = CrashDisk::with_bytes(image.clone());
        disk.rot(|bytes| {
            let at = random.random_range(0..bytes.len());
            let to = (at + random.random_range(1..64)).min(bytes.len());
            random.fill(&mut bytes[at..to]);
        });
        let recomputed = open_on(&disk).and_then(|machine| {
            machine
                .reader()
                .query(|manager, _| Ok(manager.recompute_state_hash()?.as_u128()))
        });
        match recomputed {
            Ok(found) => {
                assert_eq!(found, expected);
                harmless += 1;
            }
            Err(StateError::Damaged { .. } | StateError::Io { .. }) => noticed += 1,
            Err(error) => panic!("rot was taken for something else: {error}"),
        }
    }
    assert!(
        noticed > 20 && harmless > 20,
        "noticed {noticed}, harmless {harmless}"
    );
}
