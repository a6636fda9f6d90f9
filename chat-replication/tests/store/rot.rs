//! Files that rotted, were cut short, or went: what is read is right, or known to be damaged, or an error that says what to
//! do. It is never older and never less, and no file that may hold what was acknowledged is removed.

use std::collections::BTreeMap;

use chat_replication::disk_store::{CrashDisk, CrashFolder, Fate, MANIFEST_FILES};
use chat_replication::store::{Durable, Persist, Store, StoreError};
use chat_replication::types::{Entry, Position, StoreUuid};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::*;

/// How a log's last process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Closed,
    Killed,
}

/// A log with several views and segments, dropped entries, orphans, and a promise beyond all of them.
fn history(end: End) -> (CrashFolder, Content) {
    let folder = CrashFolder::new();
    let mut store = open(&folder).unwrap();
    let (a, b, c) = (epoch(1, 0), epoch(2, 1), epoch(3, 0));
    let each = |store: &mut dyn Store, entries: Vec<Entry>| {
        for entry in entries {
            let batch = Persist {
                append: vec![entry],
                ..Persist::default()
            };
            store.persist(&batch).unwrap();
        }
    };
    store.persist(&append(vec![view_start(1, a)])).unwrap();
    each(
        &mut store,
        (2..40)
            .map(|index| command(index, a, vec![index as u8; 60]))
            .collect(),
    );
    store.persist(&append(vec![view_start(40, b)])).unwrap();
    each(
        &mut store,
        (41..60)
            .map(|index| command(index, b, vec![index as u8; 30]))
            .collect(),
    );
    store
        .persist(&Persist {
            promised: Some(c),
            truncate: Some(50),
            append: vec![view_start(51, c)],
            compact: Some(20),
            ..Persist::default()
        })
        .unwrap();
    each(
        &mut store,
        (52..80)
            .map(|index| command(index, c, vec![index as u8; 50]))
            .collect(),
    );
    store
        .persist(&Persist {
            forget: vec![position(51, b)],
            promised: Some(epoch(9, 2)),
            ..Persist::default()
        })
        .unwrap();
    each(
        &mut store,
        (80..90)
            .map(|index| command(index, c, vec![0; 50]))
            .collect(),
    );
    let content = content(&mut store);
    assert_eq!((content.durable.orphans, content.entries.len()), (8, 69));
    match end {
        End::Closed => drop(store),
        End::Killed => {
            folder.kill(|_| Fate::Lost);
            drop(store);
        }
    }
    assert_eq!(folder.files().len(), 5, "two manifests and three segments");
    (folder.copy(), content)
}

/// What came of an open.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Found {
    Whole,
    Damaged,
    Refused,
}

/// Opens a log that something has befallen, and sees to it that it says nothing wrong.
fn judge(folder: &CrashFolder, expected: &Content, what: &str) -> Found {
    let before = folder.files();
    let opened = open(folder);
    let after = folder.files();
    for name in before.keys().filter(|name| name.ends_with(".log")) {
        let kept = after.contains_key(name) || after.contains_key(&format!("{name}.kept"));
        assert!(kept, "{what}: {name} is removed");
    }
    let mut store = match opened {
        Ok(store) => store,
        Err(StoreError::Damaged { .. }) => return Found::Refused,
        Err(error) => panic!("{what}: {error}"),
    };
    let durable = store.load().unwrap();
    assert_eq!(
        Durable {
            damaged: Vec::new(),
            ..durable.clone()
        },
        expected.durable,
        "{what}"
    );
    assert_eq!(
        store.orphans(None, usize::MAX).unwrap(),
        expected.orphans,
        "{what}"
    );
    let (first, last) = (durable.compacted.index + 1, durable.branches.last_index());
    let mut next = first;
    let mut mend = Vec::new();
    while next <= last {
        match store.entries(next, last, usize::MAX) {
            Ok(entries) => {
                let begin = (next - first) as usize;
                assert_eq!(
                    entries,
                    expected.entries[begin..begin + entries.len()],
                    "{what}"
                );
                next += entries.len() as u64;
            }
            Err(StoreError::DamagedEntries { entries, .. }) => {
                assert_eq!(*entries.start(), next, "{what}");
                let lost = (entries.start() - first) as usize..=(entries.end() - first) as usize;
                mend.extend_from_slice(&expected.entries[lost]);
                next = entries.end() + 1;
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
    if mend.is_empty() {
        assert_eq!(durable.damaged, [], "{what}");
        return Found::Whole;
    }
    // One by one, as they may come from others.
    for entry in mend {
        let batch = Persist {
            mend: vec![entry],
            ..Persist::default()
        };
        store.persist(&batch).unwrap();
    }
    assert_eq!(content(&mut store), *expected, "{what}: mended");
    folder.crash(|_| Fate::Lost);
    drop(store);
    let mut store = open(folder).unwrap();
    assert_eq!(
        content(&mut store),
        *expected,
        "{what}: mended, and opened again"
    );
    Found::Damaged
}

/// Tries something on each file of a log.
fn on_each_file(
    end: End,
    times: usize,
    mut befall: impl FnMut(&CrashFolder, &str, &CrashDisk, &mut ChaCha8Rng) -> String,
) -> BTreeMap<Found, u32> {
    let (folder, expected) = history(end);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut found = BTreeMap::new();
    for name in folder.files().keys() {
        for _ in 0..times {
            let folder = folder.copy();
            let what = befall(&folder, name, &folder.files()[name], &mut random);
            let came = judge(&folder, &expected, &format!("{end:?}, {name}: {what}"));
            *found.entry(came).or_default() += 1;
        }
    }
    found
}

#[test]
fn rot_is_never_served() {
    for end in [End::Closed, End::Killed] {
        let found = on_each_file(end, 120, |_, _, disk, random| {
            let mut what = String::new();
            disk.rot(|bytes| {
                let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
                let at = match random.random_bool(0.9) {
                    true => random.random_range(0..used),
                    false => random.random_range(0..bytes.len()),
                };
                if random.random_bool(0.8) {
                    let bit = random.random_range(0..8);
                    bytes[at] ^= 1 << bit;
                    what = format!("bit {bit} of byte {at}");
                } else {
                    let to = (at + random.random_range(1..64)).min(bytes.len());
                    random.fill(&mut bytes[at..to]);
                    what = format!("bytes {at} to {to}");
                }
            });
            what
        });
        println!("{end:?}: {found:?}");
        // One of the manifests is enough, and rot of entries is known by its place.
        assert!(found[&Found::Whole] > 150, "{found:?}");
        assert!(found[&Found::Damaged] > 150, "{found:?}");
        assert_eq!(found.get(&Found::Refused), None, "{found:?}");
    }
}

#[test]
fn a_file_that_is_cut_short_is_found_out() {
    for end in [End::Closed, End::Killed] {
        let found = on_each_file(end, 20, |_, _, disk, random| {
            let length = match random.random_bool(0.5) {
                true => random.random_range(0..disk.len()),
                false => random.random_range(0..5000),
            };
            disk.cut(length);
            format!("cut to {length}")
        });
        println!("{end:?}: {found:?}");
        assert!(found[&Found::Refused] > 5, "{found:?}");
    }
}

#[test]
fn a_file_that_is_gone_is_found_out() {
    for end in [End::Closed, End::Killed] {
        let found = on_each_file(end, 1, |folder, name, _, _| {
            folder.lose(name);
            "gone".to_owned()
        });
        // Either manifest is enough; the entries of sealed segments can be mended; what the newest one held nobody knows.
        let expected = [(Found::Whole, 2), (Found::Damaged, 2), (Found::Refused, 1)];
        assert_eq!(found, BTreeMap::from(expected), "{end:?}");
    }
}

/// Without a manifest nobody knows what was promised. That is no new disk.
#[test]
fn entries_without_a_manifest_are_no_new_log() {
    let (folder, _) = history(End::Closed);
    for name in MANIFEST_FILES {
        folder.lose(name);
    }
    let before = folder.files().len();
    let error = open(&folder).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(
        error.to_string().contains("move the data folder away"),
        "{error}"
    );
    assert_eq!(folder.files().len(), before);
}

/// Two manifests of an earlier time agree with each other, and not with the entries.
#[test]
fn a_manifest_that_is_older_than_the_entries_is_refused() {
    let folder = CrashFolder::new();
    let mut store = open(&folder).unwrap();
    let (a, b) = (epoch(1, 0), epoch(2, 1));
    store
        .persist(&append(vec![view_start(1, a), command(2, a, "x")]))
        .unwrap();
    let steps = [
        Persist {
            promised: Some(b),
            ..Persist::default()
        },
        append(vec![view_start(3, b)]),
        Persist {
            truncate: Some(2),
            promised: Some(epoch(3, 0)),
            append: vec![view_start(3, epoch(3, 0))],
            ..Persist::default()
        },
    ];
    for step in steps {
        let before = folder.copy();
        store.persist(&step).unwrap();
        let older = folder.copy();
        for name in MANIFEST_FILES {
            let mut bytes = Vec::new();
            before.files()[name].rot(|image| bytes = image.to_owned());
            older.files()[name].cut(bytes.len());
            older.files()[name].rot(|image| image.copy_from_slice(&bytes));
        }
        let names: Vec<String> = older.files().into_keys().collect();
        let error = open(&older).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        assert_eq!(older.files().into_keys().collect::<Vec<_>>(), names);
    }
}

/// An operator's word: what nobody has any more is cut without it.
#[test]
fn damaged_entries_that_are_given_up_are_cut() {
    let (a, b) = (epoch(1, 0), epoch(2, 1));
    let fill = |store: &mut dyn Store| {
        store.persist(&append(vec![view_start(1, a)])).unwrap();
        for index in 2..=6 {
            let entry = command(index, a, vec![index as u8; 60]);
            store.persist(&append(vec![entry])).unwrap();
        }
    };
    let give_up = |store: &mut dyn Store| {
        assert_eq!(store.load().unwrap().damaged, [4..=4]);
        let cut = |give_up| Persist {
            promised: Some(b),
            truncate: Some(3),
            give_up,
            append: vec![view_start(4, b)],
            ..Persist::default()
        };
        let error = store.persist(&cut(false)).unwrap_err();
        assert!(
            matches!(&error, StoreError::DamagedEntries { entries, .. } if *entries == (4..=4)),
            "{error}"
        );
        assert_eq!(store.persist(&cut(true)).unwrap().orphans, 2);
        let after = content(store);
        assert_eq!(after.durable.damaged, []);
        let origins: Vec<_> = after.orphans.iter().map(|it| it.origin.index).collect();
        assert_eq!(origins, [5, 6]);
        after
    };
    let mut memory = memory_store();
    fill(&mut memory);
    memory.damage(4..=4);
    give_up(&mut memory);
    let folder = CrashFolder::new();
    let mut store = open(&folder).unwrap();
    fill(&mut store);
    drop(store);
    for disk in folder.files().values() {
        disk.rot(|bytes| {
            if let Some(at) = bytes.windows(60).position(|bytes| bytes == [4; 60]) {
                bytes[at] ^= 1;
            }
        });
    }
    let mut store = open(&folder).unwrap();
    let expected = give_up(&mut store);
    folder.crash(|_| Fate::Lost);
    drop(store);
    assert_eq!(content(&mut open(&folder).unwrap()), expected);
}

/// What tells rot of the last frame from an unfinished write was once overwritten with the zeros that the next one begins with.
#[test]
fn rot_of_the_last_frame_is_told_whatever_the_next_write_has_begun() {
    for operations in 0..3 {
        let folder = CrashFolder::new();
        let mut store = open(&folder).unwrap();
        let a = epoch(1, 0);
        store.persist(&append(vec![view_start(1, a)])).unwrap();
        for index in 2..=4 {
            let entry = command(index, a, vec![index as u8; 60]);
            store.persist(&append(vec![entry])).unwrap();
        }
        folder.kill(|_| Fate::Lost);
        drop(store);
        let mut store = open(&folder).unwrap();
        folder.fail_after(operations);
        let unfinished = append(vec![command(5, a, vec![5; 60])]);
        store.persist(&unfinished).unwrap_err();
        folder.kill(|_| Fate::Lost);
        drop(store);
        for disk in folder.files().values() {
            disk.rot(|bytes| {
                if let Some(at) = bytes.windows(60).position(|bytes| bytes == [4; 60]) {
                    bytes[at] ^= 1;
                }
            });
        }
        let durable = open(&folder).unwrap().load().unwrap();
        assert_eq!(durable.damaged, [4..=4], "{operations} operations");
    }
}

/// Its entries are read all the same, and a manifest that is written anew says it too.
#[test]
fn a_store_that_got_another_name_keeps_it_and_its_entries() {
    let folder = CrashFolder::new();
    let mut store = open(&folder).unwrap();
    let (a, b) = (epoch(1, 0), epoch(2, 1));
    store
        .persist(&append(vec![view_start(1, a), command(2, a, "x")]))
        .unwrap();
    let name = StoreUuid(uuid::Uuid::from_u128(7));
    let dropped = Position { epoch: b, index: 3 };
    store
        .persist(&Persist {
            promised: Some(b),
            append: vec![view_start(3, b), command(4, b, "y")],
            compact: Some(3),
            dropped: Some(dropped),
            forget_epochs: Some(3),
            rename: Some(name),
            ..Persist::default()
        })
        .unwrap();
    let expected = content(&mut store);
    assert_eq!(expected.durable.identity.store, name);
    assert_eq!(expected.durable.branches.dropped(), dropped);
    assert_eq!(expected.durable.branches.epochs(), [(b, 3)]);
    assert_eq!(expected.durable.view_starts.len(), 1);
    folder.crash(|_| Fate::Lost);
    drop(store);
    let mut store = open(&folder).unwrap();
    assert_eq!(content(&mut store), expected);
    store.compact().unwrap();
    drop(store);
    assert_eq!(content(&mut open(&folder).unwrap()), expected);
}
