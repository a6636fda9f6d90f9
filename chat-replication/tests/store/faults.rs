//! Files that must not be served: of others, in use, damaged. Each names the file and says what to do.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chat_replication::disk_store::{CrashFolder, DiskStore, Fate, LOG_FOLDER, MANIFEST_FILES};
use chat_replication::store::{Persist, Store, StoreError};
use chat_replication::types::{ClusterId, ReplicaId};
use uuid::Uuid;

use crate::support::*;

fn refused(folder: &Path) -> StoreError {
    let error = DiskStore::open(folder, CLUSTER, REPLICA).unwrap_err();
    assert!(
        error
            .to_string()
            .contains(folder.join(LOG_FOLDER).to_str().unwrap()),
        "{error}"
    );
    error
}

#[test]
fn the_uuid_is_drawn_once() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let identity = |folder: &Path| {
        DiskStore::open(folder, CLUSTER, REPLICA)
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
    drop(DiskStore::open(folder.path(), theirs, REPLICA).unwrap());
    let error = refused(folder.path());
    assert!(matches!(error, StoreError::OtherCluster { .. }));
    assert!(error.to_string().contains(&theirs.to_string()), "{error}");

    let folder = tempfile::tempdir().unwrap();
    drop(DiskStore::open(folder.path(), CLUSTER, other).unwrap());
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
    let store = DiskStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
    assert!(matches!(refused(folder.path()), StoreError::InUse { .. }));
    drop(store);
    DiskStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
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
    DiskStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
}

/// The child process of the test above.
#[test]
#[ignore = "not a test of its own"]
#[allow(clippy::print_stdout)]
fn holds_a_log() {
    let Some(folder) = std::env::var_os("HELD_LOG") else {
        return;
    };
    let _store = DiskStore::open(Path::new(&folder), CLUSTER, REPLICA).unwrap();
    println!("the log is held");
    let _ = std::io::stdin().lines().count();
}

/// Puts the same into both files of a log's manifest.
fn put(folder: &Path, content: &[u8]) {
    for name in MANIFEST_FILES {
        fs::write(folder.join(LOG_FOLDER).join(name), content).unwrap();
    }
}

fn manifest(folder: &Path) -> Vec<u8> {
    fs::read(folder.join(LOG_FOLDER).join(MANIFEST_FILES[0])).unwrap()
}

#[test]
fn a_file_that_is_no_log_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(DiskStore::open(folder.path(), CLUSTER, REPLICA).unwrap());
    let header = manifest(folder.path())[..60].to_owned();
    for content in [
        Vec::new(),
        b"my holiday photographs".to_vec(),
        vec![0; 1 << 20],
        header,
    ] {
        put(folder.path(), &content);
        let error = refused(folder.path());
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        assert!(
            error.to_string().contains("move the data folder away"),
            "{error}"
        );
        assert_eq!(manifest(folder.path()), content);
    }
}

#[test]
fn an_unfinished_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join(LOG_FOLDER);
    fs::create_dir(&log).unwrap();
    fs::write(log.join("manifest.new"), b"the power went here").unwrap();
    DiskStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
    assert!(!log.join("manifest.new").exists());
}

#[test]
fn another_format_is_refused() {
    use xxhash_rust::xxh3::xxh3_64_with_seed;
    let folder = tempfile::tempdir().unwrap();
    drop(DiskStore::open(folder.path(), CLUSTER, REPLICA).unwrap());
    for (format, what) in [(5u32, "newer version"), (1, "before the first release")] {
        // Another version's file begins like this one, but for the number.
        let mut file = manifest(folder.path());
        let seed = u64::from_le_bytes(*b"manifest");
        file[40..44].copy_from_slice(&format.to_le_bytes());
        let sum = xxh3_64_with_seed(&file[40..88], seed);
        file[8..16].copy_from_slice(&sum.to_le_bytes());
        let sum = xxh3_64_with_seed(&file[8..40], seed);
        file[..8].copy_from_slice(&sum.to_le_bytes());
        put(folder.path(), &file);
        let error = refused(folder.path());
        assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
        assert!(error.to_string().contains(what), "{error}");
    }
    // The last format had another file.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("log.redb"), "").unwrap();
    let error = refused(folder.path());
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
    assert!(!folder.path().join(LOG_FOLDER).exists());
}

/// A folder with a log of two segments, the first of which is sealed, and what it holds. Each entry was a write of its own.
fn with_two_segments() -> (tempfile::TempDir, Content) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = DiskStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
    for number in [1, 2] {
        let epoch = epoch(number, 0);
        let first = (number - 1) * 10 + 1;
        store
            .persist(&append(vec![view_start(first, epoch)]))
            .unwrap();
        for index in first + 1..first + 10 {
            let append = vec![command(index, epoch, vec![index as u8; 100])];
            store
                .persist(&Persist {
                    append,
                    ..Persist::default()
                })
                .unwrap();
        }
    }
    let content = content(&mut store);
    (folder, content)
}

/// The files of the segments, in order.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join(LOG_FOLDER)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "log"))
        .collect();
    paths.sort();
    paths
}

/// What is wrong with a log, whether that shows when it is opened or when it is read.
fn trouble(folder: &Path) -> String {
    let read = DiskStore::open(folder, CLUSTER, REPLICA).and_then(|mut store| {
        let durable = store.load()?;
        let mut next = 1;
        while next <= durable.branches.last_index() {
            let entries = store.entries(next, durable.branches.last_index(), usize::MAX)?;
            next += entries.len() as u64;
        }
        Ok(())
    });
    let error = read.expect_err("the log is damaged");
    match &error {
        StoreError::Damaged { .. } => {
            assert!(error.to_string().contains("move the data folder away"))
        }
        StoreError::DamagedEntries { .. } => {
            assert!(
                error
                    .to_string()
                    .contains("start the replica beside the others")
            )
        }
        other => panic!("{other:?}"),
    }
    error.to_string()
}

/// Entries that are in a segment only are not taken for lost, nor another log's segment for this one's.
#[test]
fn a_segment_that_is_missing_foreign_or_cut_off_is_told() {
    for at in [0, 1] {
        let (folder, expected) = with_two_segments();
        let (other, _) = with_two_segments();
        let path = &segments(folder.path())[at];
        let name = path.file_name().unwrap().to_str().unwrap();
        let good = fs::read(path).unwrap();
        let wrong: [Option<Vec<u8>>; 5] = [
            None,
            Some(Vec::new()),
            Some(vec![0; good.len()]),
            Some(fs::read(&segments(other.path())[at]).unwrap()),
            Some(good[..400].to_owned()),
        ];
        for content in wrong {
            match &content {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
            let trouble = trouble(folder.path());
            assert!(trouble.contains(name), "{trouble}");
            assert_eq!(fs::read(path).ok(), content, "it is left alone");
            fs::write(path, &good).unwrap();
        }
        let mut store = DiskStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
        assert_eq!(content(&mut store), expected);
    }
}

/// What a crash leaves of the last write was not acknowledged; anything else that does not fit is rot.
#[test]
fn a_torn_end_is_not_taken_for_rot_nor_rot_for_a_torn_end() {
    let folder = CrashFolder::new();
    let mut store = open(&folder).unwrap();
    let a = epoch(1, 0);
    let write = |store: &mut DiskStore, index| {
        store.persist(&Persist {
            append: vec![command(index, a, vec![index as u8; 1000])],
            ..Persist::default()
        })
    };
    store.persist(&append(vec![view_start(1, a)])).unwrap();
    for index in 2..6 {
        write(&mut store, index).unwrap();
    }
    let five = content(&mut store);
    // The frame is written, and the power fails before the flush.
    folder.fail_after(1);
    write(&mut store, 6).unwrap_err();
    folder.crash(|bytes| Fate::Torn(bytes / 2));
    drop(store);
    let torn = folder.copy();

    let mut store = open(&folder).unwrap();
    assert_eq!(content(&mut store), five);
    // Nothing of it is left to be taken for something later.
    write(&mut store, 6).unwrap();
    write(&mut store, 7).unwrap();
    let seven = content(&mut store);
    folder.crash(|_| Fate::Lost);
    drop(store);
    let mut store = open(&folder).unwrap();
    assert_eq!(content(&mut store), seven);
    drop(store);

    // The same end with a byte of an earlier frame gone.
    for at in [0, 45, 150, 500, 1500, 3000] {
        let folder = torn.copy();
        let segment = folder.files().pop_first().unwrap().1;
        segment.rot(|bytes| bytes[at] ^= 1);
        match open(&folder) {
            Ok(mut store) => {
                let durable = store.load().unwrap();
                assert_eq!(durable.branches, five.durable.branches, "{at}");
                assert_ne!(durable.damaged, [], "{at}");
            }
            Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}"),
        }
    }
}

/// A process that died before the manifest named its segment leaves a file that is nobody's.
#[test]
fn what_an_unfinished_write_left_is_removed() {
    let folder = CrashFolder::new();
    let mut store = open(&folder).unwrap();
    let (a, b) = (epoch(1, 0), epoch(2, 1));
    store.persist(&append(vec![view_start(1, a)])).unwrap();
    let before = content(&mut store);
    // The segment is made, written and flushed, its name as well; then the process is killed.
    folder.fail_after(5);
    store.persist(&append(vec![view_start(2, b)])).unwrap_err();
    folder.kill(|_| Fate::Lost);
    drop(store);
    assert_eq!(folder.files().len(), 4);
    let mut store = open(&folder).unwrap();
    assert_eq!(folder.files().len(), 3);
    assert_eq!(content(&mut store), before);
}

/// A log of many MiB lies in several files, and gives them back.
#[test]
fn a_long_log_is_many_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = DiskStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
    let a = epoch(1, 0);
    let mut entries = vec![view_start(1, a)];
    store.persist(&append(entries.clone())).unwrap();
    for batch in 0..60u64 {
        let first = entries.len() as u64 + 1;
        let more = (first..first + 4).map(|index| command(index, a, vec![batch as u8; 100_000]));
        let more: Vec<_> = more.collect();
        store
            .persist(&Persist {
                append: more.clone(),
                ..Persist::default()
            })
            .unwrap();
        entries.extend(more);
    }
    assert!(segments(folder.path()).len() >= 3);
    drop(store);
    let mut store = DiskStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
    assert_eq!(content(&mut store).entries, entries);
    for (from, max_bytes) in [(1, 0), (2, 50_000), (60, 10_000_000), (201, 30_000_000)] {
        let read = store.entries(from, 241, max_bytes).unwrap();
        let begin = from as usize - 1;
        assert_eq!(read, entries[begin..begin + read.len()]);
        assert!(read.len() == 1 || read.len() * 100_000 <= max_bytes);
        assert!(read.len() + begin == 241 || (read.len() + 1) * 100_000 > max_bytes);
    }
    store
        .persist(&Persist {
            compact: Some(230),
            ..Persist::default()
        })
        .unwrap();
    assert_eq!(segments(folder.path()).len(), 1);
    assert_eq!(store.entries(231, 241, usize::MAX).unwrap(), entries[230..]);
    assert!(store.entries(230, 241, usize::MAX).is_err());
}
