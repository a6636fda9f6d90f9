//! What every store does, case by case.

use chat_replication::redb_store::{CrashDisk, RedbStore};
use chat_replication::store::{Persist, Store, StoreError};
use chat_replication::types::{Epoch, Orphan};

use crate::support::*;

/// Runs a case over each store.
fn with_each(case: impl Fn(&mut dyn Store)) {
    case(&mut memory_store());
    let disk = CrashDisk::new();
    case(
        &mut RedbStore::open_with_backend(disk.backend(), "simulated disk", CLUSTER, REPLICA)
            .unwrap(),
    );
    let folder = tempfile::tempdir().unwrap();
    case(&mut RedbStore::open(&folder.path().join("data"), CLUSTER, REPLICA).unwrap());
}

#[test]
fn a_new_store_is_empty() {
    with_each(|store| {
        let durable = store.load().unwrap();
        assert_eq!(durable.identity.cluster, CLUSTER);
        assert_eq!(durable.identity.replica, REPLICA);
        assert_eq!(durable.promised, Epoch::default());
        assert_eq!(durable.branches.last_index(), 0);
        assert_eq!(durable.view_starts, []);
        assert_eq!(durable.orphans, 0);
        assert_eq!(store.orphans(None, 1000).unwrap(), []);
    });
}

#[test]
fn what_is_appended_can_be_read() {
    with_each(|store| {
        let (a, b) = (epoch(1, 0), epoch(2, 1));
        let entries = vec![
            view_start(1, a),
            command(2, a, "x"),
            view_start(3, b),
            command(4, b, ""),
        ];
        let persisted = store.persist(&append(entries.clone())).unwrap();
        assert_eq!(persisted.orphans, 0);

        let durable = store.load().unwrap();
        assert_eq!(durable.promised, b);
        assert_eq!(durable.branches.epochs(), [(a, 1), (b, 3)]);
        assert_eq!(durable.branches.last(), position(4, b));
        assert_eq!(
            durable
                .view_starts
                .iter()
                .map(|(index, _)| *index)
                .collect::<Vec<_>>(),
            [1, 3]
        );
        assert_eq!(store.entries(1, 4, usize::MAX).unwrap(), entries);
        assert_eq!(store.entries(2, 3, usize::MAX).unwrap(), entries[1..3]);
        assert_eq!(store.entries(3, 2, usize::MAX).unwrap(), []);
    });
}

#[test]
fn entries_are_cut_off_by_their_bytes_but_never_before_the_first() {
    with_each(|store| {
        let a = epoch(1, 0);
        let long = |index| command(index, a, vec![9; 100]);
        store
            .persist(&append(vec![view_start(1, a), long(2), long(3), long(4)]))
            .unwrap();
        for (max_bytes, expected) in [
            (0, 1),
            (100, 1),
            (199, 1),
            (200, 2),
            (299, 2),
            (300, 3),
            (9999, 3),
        ] {
            assert_eq!(
                store.entries(2, 4, max_bytes).unwrap().len(),
                expected,
                "{max_bytes}"
            );
        }
    });
}

#[test]
fn entries_that_are_not_there_are_an_error() {
    with_each(|store| {
        let a = epoch(1, 0);
        store.persist(&append(vec![view_start(1, a)])).unwrap();
        for (from, through) in [(0, 1), (1, 2), (2, 2), (5, 9)] {
            let error = store.entries(from, through, 10).unwrap_err();
            assert!(
                matches!(error, StoreError::OutOfRange { last: 1, .. }),
                "{error}"
            );
        }
    });
}

#[test]
fn what_is_cut_becomes_orphans_but_for_view_starts() {
    with_each(|store| {
        let (a, b, c) = (epoch(1, 0), epoch(2, 1), epoch(3, 2));
        let origin = position(77, epoch(1, 2));
        let entries = vec![
            view_start(1, a),
            command(2, a, "kept"),
            command(3, a, "cut"),
            view_start(4, b),
            reproposed(5, b, origin, "cut twice"),
        ];
        store.persist(&append(entries)).unwrap();
        let fork = Persist {
            promised: Some(c),
            truncate: Some(2),
            append: vec![view_start(3, c), command(4, c, "new")],
            forget: Vec::new(),
        };
        assert_eq!(store.persist(&fork).unwrap().orphans, 2);

        let orphan = |origin, command: &str| Orphan {
            origin,
            command: command.to_owned().into(),
        };
        let expected = [orphan(position(3, a), "cut"), orphan(origin, "cut twice")];
        assert_eq!(store.orphans(None, usize::MAX).unwrap(), expected);
        assert_eq!(store.orphans(None, 5).unwrap(), expected[..1]);
        assert_eq!(
            store.orphans(Some(position(3, a)), 5).unwrap(),
            expected[1..]
        );
        assert_eq!(store.orphans(Some(origin), 5).unwrap(), []);

        let durable = store.load().unwrap();
        assert_eq!(durable.branches.epochs(), [(a, 1), (c, 3)]);
        assert_eq!(durable.branches.last_index(), 4);

        let forget = Persist {
            forget: vec![position(3, a), position(9, a)],
            ..Persist::default()
        };
        assert_eq!(store.persist(&forget).unwrap().orphans, 1);
        assert_eq!(store.orphans(None, usize::MAX).unwrap(), expected[1..]);
    });
}

#[test]
fn a_log_can_be_cut_down_to_nothing() {
    with_each(|store| {
        let a = epoch(1, 0);
        store
            .persist(&append(vec![view_start(1, a), command(2, a, "x")]))
            .unwrap();
        store
            .persist(&Persist {
                truncate: Some(0),
                ..Persist::default()
            })
            .unwrap();
        let durable = store.load().unwrap();
        assert_eq!(durable.branches.last_index(), 0);
        assert_eq!(durable.view_starts, []);
        assert_eq!(durable.orphans, 1);
        assert_eq!(durable.promised, a);
    });
}

#[test]
fn cutting_behind_the_end_cuts_nothing() {
    with_each(|store| {
        let a = epoch(1, 0);
        store
            .persist(&append(vec![view_start(1, a), command(2, a, "x")]))
            .unwrap();
        let batch = Persist {
            truncate: Some(9),
            append: vec![command(3, a, "y")],
            ..Persist::default()
        };
        assert_eq!(store.persist(&batch).unwrap().orphans, 0);
        assert_eq!(store.load().unwrap().branches.last_index(), 3);
    });
}

/// A gap would make the log say something else than what was acknowledged.
#[test]
fn a_gap_is_a_broken_invariant() {
    with_each(|store| {
        let a = epoch(1, 0);
        let gap = append(vec![view_start(1, a), command(3, a, "x")]);
        let no_view = append(vec![command(1, a, "x")]);
        for batch in [gap, no_view] {
            let outcome =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.persist(&batch)));
            assert!(outcome.is_err());
        }
        assert_eq!(store.load().unwrap().branches.last_index(), 0);
    });
}
