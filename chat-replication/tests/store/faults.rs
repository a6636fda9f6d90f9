//! Files that must not be served: of others, in use, damaged. Each names the file and says what to do.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chat_replication::disk_store::{
    CrashDisk, CrashFolder, DiskStore, Fate, LOG_FILE, SEGMENT_FOLDER,
};
use chat_replication::store::{Persist, Store, StoreError};
use chat_replication::types::{ClusterId, ReplicaId};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use crate::support::*;

fn refused(folder: &Path) -> StoreError {
    let error = DiskStore::open(folder, CLUSTER, REPLICA).unwrap_err();
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

#[test]
fn a_file_that_is_no_log_is_refused_and_left_alone() {
    let truncated = {
        let folder = tempfile::tempdir().unwrap();
        drop(DiskStore::open(folder.path(), CLUSTER, REPLICA).unwrap());
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
    DiskStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
    assert!(!folder.path().join("log.redb.new").exists());
}

#[test]
fn another_format_is_refused() {
    for (format, what) in [(4u32, "newer version"), (1, "before the first release")] {
        let disks = Disks::default();
        drop(disks.open().unwrap());
        // Another version's file is like this one, but for the number in its `format` row.
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
            let body = format.to_be_bytes();
            table
                .insert("format", [&sum(&body)[..], &body].concat().as_slice())
                .unwrap();
        }
        transaction.commit().unwrap();
        drop(database);
        let error = disks.open().unwrap_err();
        assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
        assert!(error.to_string().contains(what), "{error}");
    }
}

/// Rot anywhere in the files of a log that was closed: what is read is right, or an error.
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
            .persist(&Persist {
                truncate: Some(590),
                ..Persist::default()
            })
            .unwrap();
        store
            .persist(&Persist {
                compact: Some(20),
                ..Persist::default()
            })
            .unwrap();
        let c = epoch(3, 0);
        store.persist(&append(vec![view_start(591, c)])).unwrap();
        for index in 592..700 {
            let append = vec![command(index, c, vec![index as u8; 50])];
            store
                .persist(&Persist {
                    append,
                    ..Persist::default()
                })
                .unwrap();
        }
        content(&mut store)
    };
    let image = |disk: &CrashDisk| {
        let mut image = Vec::new();
        disk.rot(|bytes| image = bytes.to_owned());
        image
    };
    let log = image(&original.log);
    let segments: Vec<(String, Vec<u8>)> = original
        .segments
        .files()
        .iter()
        .map(|(name, disk)| {
            let mut image = image(disk);
            // Nothing is lost with the zeros ahead.
            let used = image.iter().rposition(|byte| *byte != 0);
            image.truncate(used.unwrap_or(0) + 1);
            (name.clone(), image)
        })
        .collect();
    assert_eq!(segments.len(), 2);
    let (mut noticed, mut harmless) = (0, 0);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for round in 0..600 {
        let disks = Disks {
            log: CrashDisk::with_bytes(log.clone()),
            segments: CrashFolder::with_files(segments.clone()),
        };
        let files = disks.segments.files();
        let disk = match files.values().nth(round % 3) {
            Some(segment) => segment,
            None => &disks.log,
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
    let entries = fs::read_dir(folder.join(SEGMENT_FOLDER)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// What is wrong with a log, whether that shows when it is opened or when it is read.
fn trouble(folder: &Path) -> String {
    let read = DiskStore::open(folder, CLUSTER, REPLICA).and_then(|mut store| {
        let durable = store.load()?;
        store.entries(1, durable.branches.last_index(), usize::MAX)
    });
    let error = read.expect_err("the log is damaged");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(
        error.to_string().contains("move the data folder away"),
        "{error}"
    );
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
    let disks = Disks::default();
    let mut store = disks.open().unwrap();
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
    let four = content(&mut store);
    // The frame is written, and the power fails before the flush.
    disks.segments.fail_after(1);
    write(&mut store, 6).unwrap_err();
    disks.crash(|bytes| Fate::Torn(bytes / 2));
    drop(store);
    let torn: Vec<(String, Vec<u8>)> = disks
        .segments
        .files()
        .into_iter()
        .map(|(name, disk)| {
            let mut image = Vec::new();
            disk.rot(|bytes| image = bytes.to_owned());
            (name, image)
        })
        .collect();
    let used = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).unwrap();
    assert!(used(&torn[0].1) > 4500, "some of the frame is there");

    let mut store = disks.open().unwrap();
    assert_eq!(content(&mut store), four);
    // Nothing of it is left to be taken for something later.
    write(&mut store, 6).unwrap();
    write(&mut store, 7).unwrap();
    let seven = content(&mut store);
    disks.crash(|_| Fate::Lost);
    drop(store);
    let mut store = disks.open().unwrap();
    assert_eq!(content(&mut store), seven);
    drop(store);

    // The same end with a byte of an earlier frame gone.
    for at in [0, 40, 100, 500, 1500, 3000] {
        let mut rotten = torn.clone();
        rotten[0].1[at] ^= 1;
        let disks = Disks {
            log: disks.log.clone(),
            segments: CrashFolder::with_files(rotten),
        };
        let error = disks.open().unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    }
}

/// A process that died before `log.redb` named its segment leaves a file that is nobody's.
#[test]
fn what_an_unfinished_write_left_is_removed() {
    let (folder, expected) = with_two_segments();
    let path = &segments(folder.path())[1];
    let stray = path.with_file_name("00000000000000000021-0123456789abcdef.log");
    fs::copy(path, &stray).unwrap();
    let mut store = DiskStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
    assert!(!stray.exists());
    assert_eq!(content(&mut store), expected);
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
