//! Files that must not be served: of others, in use, damaged. Each names the file and says what to do.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use chat_replication::redb_store::{ARCHIVE_FILE, CrashDisk, Fate, LOG_FILE, RedbStore};
use chat_replication::store::{Store, StoreError};
use chat_replication::types::{ClusterId, ReplicaId};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use crate::support::*;

fn refused(folder: &Path) -> StoreError {
    let error = RedbStore::open(folder, CLUSTER, REPLICA).unwrap_err();
    assert!(
        error
            .to_string()
            .contains(folder.join(LOG_FILE).to_str().unwrap()),
        "{error}"
    );
    error
}

#[test]
fn the_uuid_is_drawn_once() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let identity = |folder: &Path| {
        RedbStore::open(folder, CLUSTER, REPLICA)
            .unwrap()
            .identity()
    };
    assert_eq!(identity(one.path()), identity(one.path()));
    assert_ne!(identity(one.path()).store, identity(two.path()).store);
}

#[test]
fn the_log_of_another_cluster_or_replica_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (theirs, other) = (ClusterId(Uuid::from_u128(99)), ReplicaId(5));
    drop(RedbStore::open(folder.path(), theirs, REPLICA).unwrap());
    let error = refused(folder.path());
    assert!(matches!(error, StoreError::Foreign { .. }));
    assert!(error.to_string().contains(&theirs.to_string()), "{error}");

    let folder = tempfile::tempdir().unwrap();
    drop(RedbStore::open(folder.path(), CLUSTER, other).unwrap());
    let error = refused(folder.path());
    assert!(matches!(error, StoreError::Foreign { .. }));
    assert!(
        error.to_string().contains("belongs to replica 5"),
        "{error}"
    );
}

#[test]
fn a_log_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
    assert!(matches!(refused(folder.path()), StoreError::InUse { .. }));
    drop(store);
    RedbStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
}

#[test]
fn a_log_in_use_by_another_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "faults::holds_a_log", "--nocapture"])
        .env("HELD_LOG", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("the log is held")));
    assert!(matches!(refused(folder.path()), StoreError::InUse { .. }));
    // A killed process lets go.
    child.kill().unwrap();
    child.wait().unwrap();
    RedbStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
}

/// The child process of the test above.
#[test]
#[ignore = "not a test of its own"]
#[allow(clippy::print_stdout)]
fn holds_a_log() {
    let Some(folder) = std::env::var_os("HELD_LOG") else {
        return;
    };
    let _store = RedbStore::open(Path::new(&folder), CLUSTER, REPLICA).unwrap();
    println!("the log is held");
    let _ = std::io::stdin().lines().count();
}

#[test]
fn a_file_that_is_no_log_is_refused_and_left_alone() {
    let truncated = {
        let folder = tempfile::tempdir().unwrap();
        drop(RedbStore::open(folder.path(), CLUSTER, REPLICA).unwrap());
        let whole = fs::read(folder.path().join(LOG_FILE)).unwrap();
        whole[..whole.len() / 3].to_owned()
    };
    for content in [
        Vec::new(),
        b"my holiday photographs".to_vec(),
        vec![0; 1 << 20],
        truncated,
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(LOG_FILE), &content).unwrap();
        let error = refused(folder.path());
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        assert!(
            error.to_string().contains("move the data folder away"),
            "{error}"
        );
        assert_eq!(fs::read(folder.path().join(LOG_FILE)).unwrap(), content);
    }
}

#[test]
fn an_unfinished_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("log.redb.new"), b"the power went here").unwrap();
    RedbStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
    assert!(!folder.path().join("log.redb.new").exists());
}

#[test]
fn a_newer_format_is_refused() {
    let disks = Disks::default();
    drop(disks.open().unwrap());
    // A newer version's file is like this one, but for the number in its `format` row.
    {
        let database = redb::Database::builder()
            .create_with_backend(disks.log.backend())
            .unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut table = transaction
                .open_table(redb::TableDefinition::<&str, &[u8]>::new("meta"))
                .unwrap();
            let sum = |body: &[u8]| {
                xxhash_rust::xxh3::xxh3_64_with_seed(
                    body,
                    xxhash_rust::xxh3::xxh3_64_with_seed(b"format", 1),
                )
                .to_le_bytes()
            };
            let body = 2u32.to_be_bytes();
            table
                .insert("format", [&sum(&body)[..], &body].concat().as_slice())
                .unwrap();
        }
        transaction.commit().unwrap();
    }
    let error = disks.open().unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
    assert!(error.to_string().contains("newer version"), "{error}");
}

/// Rot anywhere in the file: what is read is right, or an error.
#[test]
fn rot_is_never_served() {
    let original = Disks::default();
    let expected = {
        let mut store = original.open().unwrap();
        let (a, b) = (epoch(1, 0), epoch(2, 1));
        let mut entries = vec![view_start(1, a)];
        entries.extend((2..300).map(|index| command(index, a, vec![index as u8; 200])));
        entries.push(view_start(300, b));
        entries.extend((301..600).map(|index| command(index, b, vec![index as u8; 20])));
        store.persist(&append(entries)).unwrap();
        store
            .persist(&chat_replication::store::Persist {
                truncate: Some(590),
                ..Default::default()
            })
            .unwrap();
        store
            .persist(&chat_replication::store::Persist {
                archive: Some(200),
                compact: Some(20),
                ..Default::default()
            })
            .unwrap();
        content(&mut store)
    };
    let mut images = [Vec::new(), Vec::new()];
    original.log.rot(|bytes| images[0] = bytes.to_owned());
    original.archive.rot(|bytes| images[1] = bytes.to_owned());
    let (mut noticed, mut harmless) = (0, 0);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for round in 0..600 {
        let disks = Disks {
            log: CrashDisk::with_bytes(images[0].clone()),
            archive: CrashDisk::with_bytes(images[1].clone()),
        };
        let disk = if round % 3 == 0 {
            &disks.archive
        } else {
            &disks.log
        };
        disk.rot(|bytes| {
            let at = random.random_range(0..bytes.len());
            let to = (at + random.random_range(1..64)).min(bytes.len());
            random.fill(&mut bytes[at..to]);
        });
        match read_all(&disks) {
            Ok(found) => {
                assert_eq!(found, expected);
                harmless += 1;
            }
            Err(StoreError::Damaged { .. } | StoreError::Io { .. }) => noticed += 1,
            Err(error) => panic!("rot was taken for something else: {error}"),
        }
    }
    assert!(
        noticed > 20 && harmless > 20,
        "noticed {noticed}, harmless {harmless}"
    );
}

fn read_all(disks: &Disks) -> Result<Content, StoreError> {
    let mut store = disks.open()?;
    let durable = store.load()?;
    let entries = store.entries(
        durable.compacted.index + 1,
        durable.branches.last_index(),
        usize::MAX,
    )?;
    let orphans = store.orphans(None, usize::MAX)?;
    // Closing writes what the file's free pages are; where that has rotted unread, redb may abort the process.
    disks.crash(|_| Fate::Lost);
    Ok(Content {
        durable,
        entries,
        orphans,
    })
}

/// Entries that are only in the archive are not taken for lost, nor another log's archive for this one's.
#[test]
fn an_archive_that_is_missing_or_foreign_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let a = epoch(1, 0);
    let fill = |folder: &Path| {
        let mut store = RedbStore::open(folder, CLUSTER, REPLICA).unwrap();
        let entries = vec![view_start(1, a), command(2, a, "x"), command(3, a, "y")];
        store.persist(&append(entries)).unwrap();
        assert!(!folder.join(ARCHIVE_FILE).exists());
        let archive = chat_replication::store::Persist {
            archive: Some(2),
            ..Default::default()
        };
        store.persist(&archive).unwrap();
        content(&mut store)
    };
    let expected = fill(folder.path());
    let mut store = RedbStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
    assert_eq!(content(&mut store), expected);
    drop(store);
    let archive = folder.path().join(ARCHIVE_FILE);
    fs::remove_file(&archive).unwrap();
    for reason in ["it is missing", "of another log"] {
        let error = RedbStore::open(folder.path(), CLUSTER, REPLICA).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.to_string().contains(ARCHIVE_FILE), "{error}");
        let other = tempfile::tempdir().unwrap();
        fill(other.path());
        fs::copy(other.path().join(ARCHIVE_FILE), &archive).unwrap();
    }
}
