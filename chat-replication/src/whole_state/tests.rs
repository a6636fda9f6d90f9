use std::collections::BTreeMap;
use std::fs;

use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::branch::BranchTable;
use crate::types::{Configuration, Epoch, ReplicaId, StoreUuid, ViewStart};

/// Counts words; the word `panic` is counted and then panics.
#[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
struct Words(BTreeMap<String, u32>);

impl Application for Words {
    type Response = u32;

    fn apply(&mut self, command: &[u8]) -> u32 {
        let word = String::from_utf8_lossy(command).into_owned();
        let count = self.0.entry(word).or_default();
        *count += 1;
        assert!(command != b"panic", "as asked");
        *count
    }
}

fn epoch(number: u64) -> Epoch {
    Epoch {
        number,
        replica: ReplicaId(0),
        store: StoreUuid(Uuid::nil()),
    }
}

fn entry(index: u64, word: &'static str) -> Entry {
    Entry {
        position: Position {
            epoch: epoch(1),
            index,
        },
        payload: Payload::Command(Bytes::from_static(word.as_bytes())),
    }
}

fn apply(state: &mut WholeState<Words>, words: &[&'static str]) -> Vec<Result<u32, Quarantined>> {
    let from = state.applied().index + 1;
    let entries: Vec<Entry> = (from..)
        .zip(words)
        .map(|(index, word)| entry(index, word))
        .collect();
    let responses = state.apply(&entries).unwrap();
    responses.into_iter().map(Option::unwrap).collect()
}

fn words(state: &WholeState<Words>) -> Vec<(&str, u32)> {
    let words = &state.application().0;
    words.iter().map(|(word, n)| (word.as_str(), *n)).collect()
}

fn reset_at(index: u64) -> Reset {
    let start = ViewStart {
        members: vec![ReplicaId(0)],
        configuration: Configuration::default(),
        apply_version: 1,
        forced: false,
    };
    Reset {
        branches: BranchTable::from_parts(vec![(epoch(1), 1)], index).unwrap(),
        newest: (1, start),
    }
}

fn read_all(state: &WholeState<Words>, max: usize) -> Vec<Bytes> {
    let mut reader = state.snapshot().unwrap().unwrap();
    std::iter::from_fn(|| reader.next_chunk(max).unwrap()).collect()
}

#[test]
fn a_crash_leaves_what_was_saved() {
    let folder = TempDir::new().unwrap();
    let mut state = WholeState::open(folder.path()).unwrap();
    apply(&mut state, &["a", "b"]);
    state.checkpoint().unwrap();
    let hash = state.state_hash();
    apply(&mut state, &["a"]);
    assert_ne!(state.state_hash(), hash);

    let state = WholeState::<Words>::open(folder.path()).unwrap();
    assert_eq!(words(&state), [("a", 1), ("b", 1)]);
    assert_eq!((state.applied().index, state.durable().index), (2, 2));
    assert_eq!(state.state_hash(), hash);
}

#[test]
fn it_saves_by_itself() {
    let mut state = WholeState::<Words>::in_memory().save_every(2);
    apply(&mut state, &["a"]);
    state.maintain().unwrap();
    assert_eq!(state.durable().index, 0);
    apply(&mut state, &["b"]);
    state.maintain().unwrap();
    assert_eq!(state.durable().index, 2);
}

#[test]
fn half_a_command_is_none() {
    let mut state = WholeState::in_memory();
    apply(&mut state, &["a"]);
    state.checkpoint().unwrap();
    let answers = apply(&mut state, &["b", "panic", "b"]);
    assert_eq!(answers, [Ok(1), Err(Quarantined), Ok(2)]);
    assert_eq!(words(&state), [("a", 1), ("b", 2)]);
    assert_eq!(state.applied().index, 4);
}

#[test]
fn it_goes_back_to_what_was_saved_or_to_nothing() {
    let mut state = WholeState::in_memory();
    apply(&mut state, &["a"]);
    state.checkpoint().unwrap();
    apply(&mut state, &["b"]);
    state.roll_back(&|position| position.index <= 1).unwrap();
    assert_eq!((words(&state), state.applied().index), (vec![("a", 1)], 1));
    state.roll_back(&|position| position.index == 0).unwrap();
    assert_eq!((words(&state), state.applied().index), (vec![], 0));
    assert_eq!(state.state_hash(), 0);
}

#[test]
fn a_snapshot_makes_an_equal_of_another() {
    let mut state = WholeState::in_memory();
    assert!(state.snapshot().unwrap().is_none());
    apply(&mut state, &["a", "b", "a"]);
    state.checkpoint().unwrap();

    let folder = TempDir::new().unwrap();
    let mut other = WholeState::open(folder.path()).unwrap();
    apply(&mut other, &["c"]);
    let reset = reset_at(3);
    other.begin_install(&reset).unwrap();
    for chunk in read_all(&state, 3) {
        assert!(chunk.len() <= 3);
        other.install_chunk(&chunk).unwrap();
    }
    assert_eq!(words(&other), [("c", 1)], "not before it is whole");
    other.finish_install().unwrap();
    assert_eq!(words(&other), words(&state));
    assert_eq!(other.state_hash(), state.state_hash());

    // The log may not know yet, also after a crash.
    let mut other = WholeState::<Words>::open(folder.path()).unwrap();
    assert_eq!(other.unsettled(), Some(reset));
    other.settle_install().unwrap();
    let other = WholeState::<Words>::open(folder.path()).unwrap();
    assert_eq!(other.unsettled(), None);
    assert_eq!(words(&other), [("a", 2), ("b", 1)]);
}

#[test]
fn a_snapshot_that_makes_no_sense_leaves_the_state() {
    let mut state = WholeState::in_memory();
    apply(&mut state, &["a"]);
    for noise in [&b""[..], &[0; 7], &[0xff; 40]] {
        state.begin_install(&reset_at(9)).unwrap();
        state.install_chunk(noise).unwrap();
        let refused = state.finish_install();
        assert!(matches!(refused, Err(InstallError::Unreadable(_))));
    }
    assert_eq!((words(&state), state.applied().index), (vec![("a", 1)], 1));
    state
        .install_chunk(b"x")
        .expect_err("none has begun since the last");
}

#[test]
fn a_damaged_file_is_named() {
    let folder = TempDir::new().unwrap();
    let mut state = WholeState::open(folder.path()).unwrap();
    apply(&mut state, &["a"]);
    state.checkpoint().unwrap();
    let path = folder.path().join(file::NAME);
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        let error = WholeState::<Words>::open(folder.path()).err().unwrap();
        assert!(error.to_string().contains("state is damaged"), "{error}");
        fs::write(&path, &good[..at]).unwrap();
        WholeState::<Words>::open(folder.path()).err().unwrap();
    }
}
