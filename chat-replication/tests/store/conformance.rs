//! What every store does, case by case.

use chat_replication::disk_store::{CrashFolder, DiskStore};
use chat_replication::store::{Persist, Store, StoreError};
use chat_replication::types::{Epoch, Index, Lineage, Orphan};

use crate::support::*;

/// Runs a case over each store.
fn with_each(case: impl Fn(&mut dyn Store)) {
    case(&mut memory_store());
    case(&mut open(&CrashFolder::new()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    case(&mut DiskStore::open(&folder.path().join("data"), CLUSTER, REPLICA).unwrap());
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
        let other = epoch(1, 2);
        let origin = position(77, other);
        let behind = |fork, epochs: &[(Epoch, Index)]| Lineage {
            fork,
            epochs: epochs.to_vec(),
        };
        let entries = vec![
            view_start(1, a),
            command(2, a, "kept"),
            command(3, a, "cut"),
            view_start(4, b),
            reproposed(5, b, origin, behind(3, &[(other, 4)]), "cut twice"),
        ];
        store.persist(&append(entries)).unwrap();
        let fork = Persist {
            promised: Some(c),
            truncate: Some(2),
            append: vec![view_start(3, c), command(4, c, "new")],
            ..Persist::default()
        };
        assert_eq!(store.persist(&fork).unwrap().orphans, 2);

        let orphan = |origin, lineage, command: &str| Orphan {
            origin,
            lineage,
            command: command.to_owned().into(),
        };
        let expected = [
            orphan(position(3, a), behind(2, &[(a, 3)]), "cut"),
            orphan(origin, behind(2, &[(a, 3), (other, 4)]), "cut twice"),
        ];
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

        // The log that it was to be proposed again in loses as well: less is common to its branch and the next.
        let another = Persist {
            truncate: Some(1),
            ..Persist::default()
        };
        assert_eq!(store.persist(&another).unwrap().orphans, 3);
        let orphans = store.orphans(None, usize::MAX).unwrap();
        let again = orphan(origin, behind(1, &[(a, 2), (other, 4)]), "cut twice");
        let new = orphan(position(4, c), behind(1, &[(a, 2), (c, 3)]), "new");
        let kept = orphan(position(2, a), behind(1, &[(a, 2)]), "kept");
        assert_eq!(orphans, [kept, again, new]);
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

fn log_of_two_epochs() -> Vec<chat_replication::types::Entry> {
    let (a, b) = (epoch(1, 0), epoch(2, 1));
    vec![
        view_start(1, a),
        command(2, a, "two"),
        view_start(3, b),
        command(4, b, "four"),
        command(5, b, "five"),
        command(6, b, "six"),
    ]
}

#[test]
fn what_is_compacted_is_gone_but_for_the_outline() {
    with_each(|store| {
        let entries = log_of_two_epochs();
        store.persist(&append(entries.clone())).unwrap();
        let before = store.load().unwrap();
        for through in [1, 4, 2] {
            store
                .persist(&Persist {
                    compact: Some(through),
                    ..Persist::default()
                })
                .unwrap();
        }
        let durable = store.load().unwrap();
        assert_eq!(durable.compacted, position(4, epoch(2, 1)));
        assert_eq!(durable.branches, before.branches);
        assert_eq!(durable.view_starts, before.view_starts);
        assert_eq!(store.entries(5, 6, usize::MAX).unwrap(), entries[4..]);
        for from in [1, 3, 4] {
            let error = store.entries(from, 6, 99).unwrap_err();
            assert!(
                matches!(error, StoreError::OutOfRange { first: 5, .. }),
                "{error}"
            );
        }
        // The log goes on, and its end can still be cut.
        let c = epoch(3, 0);
        let fork = Persist {
            promised: Some(c),
            truncate: Some(4),
            append: vec![view_start(5, c)],
            ..Persist::default()
        };
        assert_eq!(store.persist(&fork).unwrap().orphans, 2);
        assert_eq!(store.load().unwrap().view_starts.len(), 3);
        let everything = Persist {
            compact: Some(5),
            ..Persist::default()
        };
        store.persist(&everything).unwrap();
        assert_eq!(store.load().unwrap().view_starts.len(), 3);
        assert_eq!(store.entries(6, 5, 99).unwrap(), []);
    });
}

#[test]
fn a_snapshot_takes_the_place_of_the_log() {
    with_each(|store| {
        store.persist(&append(log_of_two_epochs())).unwrap();
        let (a, c, d) = (epoch(1, 0), epoch(3, 2), epoch(4, 2));
        let snapshot = Persist {
            promised: Some(d),
            truncate: Some(2),
            reset: Some(reset(&[(a, 1), (c, 3), (d, 7)], 9)),
            append: vec![command(10, d, "ten")],
            ..Persist::default()
        };
        // What was cut may have been acknowledged; what both histories have needs no keeping.
        assert_eq!(store.persist(&snapshot).unwrap().orphans, 3);
        let durable = store.load().unwrap();
        assert_eq!(durable.compacted, position(9, d));
        assert_eq!(durable.branches.epochs(), [(a, 1), (c, 3), (d, 7)]);
        let newest: Vec<_> = durable.view_starts.iter().map(|(at, _)| *at).collect();
        assert_eq!(newest, [7]);
        assert_eq!(store.entries(10, 10, 99).unwrap(), [command(10, d, "ten")]);
        assert!(store.entries(9, 10, 99).is_err());
        // An older promise is not brought back, nor is an orphan lost, by another snapshot.
        let e = epoch(5, 1);
        let again = Persist {
            promised: Some(e),
            truncate: Some(0),
            reset: Some(reset(&[(e, 1)], 1)),
            ..Persist::default()
        };
        assert_eq!(store.persist(&again).unwrap().orphans, 4);
        let durable = store.load().unwrap();
        assert_eq!((durable.promised, durable.branches.last_index()), (e, 1));
    });
}

/// Nobody could say any more what was cut.
#[test]
fn a_cut_below_what_is_compacted_is_a_broken_invariant() {
    with_each(|store| {
        store.persist(&append(log_of_two_epochs())).unwrap();
        let compact = Persist {
            compact: Some(4),
            ..Persist::default()
        };
        store.persist(&compact).unwrap();
        let cut = Persist {
            truncate: Some(3),
            ..Persist::default()
        };
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.persist(&cut)));
        assert!(outcome.is_err());
        assert_eq!(store.load().unwrap().branches.last_index(), 6);
    });
}

/// What has rotted is told by its place, does not hide what is whole, and is mended with what others hold.
#[test]
fn damaged_entries_are_told_and_mended() {
    let mut store = memory_store();
    let entries = log_of_two_epochs();
    store.persist(&append(entries.clone())).unwrap();
    store.damage(3..=4);
    store.damage(6..=6);
    assert_eq!(store.load().unwrap().damaged, [3..=4, 6..=6]);
    assert_eq!(store.entries(1, 6, usize::MAX).unwrap(), entries[..2]);
    assert_eq!(store.entries(5, 6, usize::MAX).unwrap(), entries[4..5]);
    let error = store.entries(3, 6, usize::MAX).unwrap_err();
    assert!(
        matches!(&error, StoreError::DamagedEntries { entries, .. } if *entries == (3..=4)),
        "{error}"
    );
    // What is cut becomes orphans, and nobody knows what these say.
    let cut = Persist {
        truncate: Some(2),
        ..Persist::default()
    };
    assert!(store.persist(&cut).is_err());
    let mend = Persist {
        mend: entries[2..4].to_vec(),
        ..Persist::default()
    };
    store.persist(&mend).unwrap();
    assert_eq!(store.entries(1, 6, usize::MAX).unwrap(), entries[..5]);
    let compact = Persist {
        compact: Some(6),
        ..Persist::default()
    };
    store.persist(&compact).unwrap();
    assert_eq!(store.load().unwrap().damaged, []);
}
