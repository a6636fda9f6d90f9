//! A map of strings. A command is `id key value`; one that was proposed twice takes effect once.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::thread::{current, sleep};
use std::time::Duration;

use bytes::Bytes;
use chat_replication::state_machine::{InstallError, Responses, SnapshotReader, StateMachine};
use chat_replication::store::Reset;
use chat_replication::types::{Entry, Payload, Position};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

/// Entries between two checkpoints.
const CHECKPOINT: u64 = 500;

/// What the map holds at one position.
#[derive(Clone, Default, Debug)]
pub(crate) struct State {
    pub(crate) applied: Position,
    pub(crate) map: BTreeMap<String, String>,
    pub(crate) ids: BTreeSet<String>,
    hash: u128,
    /// It came as a snapshot, and the log may not know yet.
    pub(crate) unsettled: Option<Reset>,
    /// Snapshots that it came from, one after the other.
    pub(crate) installs: u32,
}

/// The machine. Its checkpoint survives it in `checkpoint`, as a file would.
#[derive(Clone, Default)]
pub(crate) struct Kv {
    pub(crate) state: State,
    pub(crate) checkpoint: Arc<Mutex<State>>,
    /// Held by whoever reads the state, for as long as that takes.
    pub(crate) readers: Arc<Mutex<()>>,
    installing: Option<(Reset, Vec<u8>)>,
}

#[derive(Debug, Error)]
#[error("the map is full")]
pub(crate) struct Full;

/// A checkpoint as bytes.
struct Pieces {
    position: Position,
    bytes: Bytes,
}

impl SnapshotReader for Pieces {
    fn position(&self) -> Position {
        self.position
    }

    fn next_chunk(&mut self, max: usize) -> Result<Option<Bytes>, Box<dyn Error + Send + Sync>> {
        let piece = self.bytes.split_to(max.min(self.bytes.len()));
        Ok((!piece.is_empty()).then_some(piece))
    }
}

impl Kv {
    pub(crate) fn open(checkpoint: &Arc<Mutex<State>>) -> Kv {
        Kv {
            state: checkpoint.lock().unwrap().clone(),
            checkpoint: Arc::clone(checkpoint),
            readers: Arc::default(),
            installing: None,
        }
    }
}

impl State {
    fn put(&mut self, key: String, value: String) -> Option<String> {
        let row = |value: &str| xxh3_128(format!("{key} {value}").as_bytes());
        self.hash = self.hash.wrapping_add(row(&value));
        let before = self.map.insert(key.clone(), value);
        if let Some(before) = &before {
            self.hash = self.hash.wrapping_sub(row(before));
        }
        before
    }
}

pub(crate) fn put(id: &str, key: &str, value: &str) -> Bytes {
    Bytes::from(format!("{id} {key} {value}"))
}

impl StateMachine for Kv {
    /// The value before; of `where`, the thread that applies.
    type Response = Option<String>;
    type Error = Full;

    fn applied(&self) -> Position {
        self.state.applied
    }

    fn try_apply(&mut self, entries: &[Entry]) -> Option<Responses<Self::Response, Full>> {
        let readers = Arc::clone(&self.readers);
        drop(readers.try_lock().ok()?);
        Some(self.apply(entries))
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Option<Option<String>>>, Full> {
        let _locked = self.readers.lock().unwrap();
        let state = &mut self.state;
        let mut responses = Vec::new();
        for entry in entries {
            assert_eq!(entry.position.index, state.applied.index + 1);
            state.applied = entry.position;
            let (Payload::Command(command) | Payload::Reproposed { command, .. }) = &entry.payload
            else {
                responses.push(None);
                continue;
            };
            let text = String::from_utf8(command.to_vec()).unwrap();
            let mut words = text.splitn(3, ' ').map(str::to_owned);
            let mut word = || words.next().unwrap();
            let (id, key, value) = (word(), word(), word());
            if key == "full" {
                return Err(Full);
            }
            assert_ne!(key, "panic", "as asked");
            if key == "slow" {
                sleep(Duration::from_millis(20));
            }
            if key == "where" {
                responses.push(Some(current().name().map(str::to_owned)));
                continue;
            }
            let before = match state.ids.insert(id) {
                true => state.put(key, value),
                false => None,
            };
            responses.push(Some(before));
        }
        Ok(responses)
    }

    fn maintain(&mut self) -> Result<(), Full> {
        match self.state.applied.index >= self.durable().index + CHECKPOINT {
            true => self.checkpoint(),
            false => Ok(()),
        }
    }

    fn roll_back(&mut self, keep: &dyn Fn(Position) -> bool) -> Result<(), Full> {
        let mut checkpoint = self.checkpoint.lock().unwrap();
        if !keep(checkpoint.applied) {
            *checkpoint = State::default();
        }
        self.state = checkpoint.clone();
        Ok(())
    }

    fn state_hash(&self) -> u128 {
        self.state.hash
    }

    fn checkpoint(&mut self) -> Result<(), Full> {
        *self.checkpoint.lock().unwrap() = self.state.clone();
        Ok(())
    }

    fn durable(&self) -> Position {
        self.checkpoint.lock().unwrap().applied
    }

    fn snapshot(&self) -> Result<Option<Box<dyn SnapshotReader>>, Full> {
        let state = self.checkpoint.lock().unwrap().clone();
        if state.applied.index == 0 {
            return Ok(None);
        }
        let bytes = postcard::to_stdvec(&(state.map, state.ids)).unwrap().into();
        let position = state.applied;
        Ok(Some(Box::new(Pieces { position, bytes })))
    }

    fn begin_install(&mut self, reset: &Reset) -> Result<(), Full> {
        self.installing = Some((reset.clone(), Vec::new()));
        Ok(())
    }

    fn install_chunk(&mut self, chunk: &[u8]) -> Result<(), InstallError<Full>> {
        let (_, bytes) = self.installing.as_mut().expect("one was begun");
        bytes.extend_from_slice(chunk);
        Ok(())
    }

    fn finish_install(&mut self) -> Result<(), InstallError<Full>> {
        let (reset, bytes) = self.installing.take().expect("one was begun");
        let (map, ids): (BTreeMap<String, String>, _) = postcard::from_bytes(&bytes)
            .map_err(|error| InstallError::Unreadable(error.to_string()))?;
        self.state = State {
            applied: reset.branches.last(),
            ids,
            unsettled: Some(reset),
            installs: self.state.installs + 1,
            ..State::default()
        };
        for (key, value) in map {
            self.state.put(key, value);
        }
        self.checkpoint().map_err(InstallError::Failed)
    }

    fn unsettled(&self) -> Option<Reset> {
        self.state.unsettled.clone()
    }

    fn settle_install(&mut self) -> Result<(), Full> {
        self.state.unsettled = None;
        self.checkpoint.lock().unwrap().unsettled = None;
        Ok(())
    }
}
