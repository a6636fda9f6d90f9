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
use crate::state::file::StateFile;
use crate::state::store::StateStore;
use crate::state::{ChatStateMachine, STATE_FILE, StateError};

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
        assert!(error.to_string().contains("move that file away"), "{error}");
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
