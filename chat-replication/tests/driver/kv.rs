//! A map of strings. A command is `id key value`; one that was proposed twice takes effect once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chat_replication::state_machine::StateMachine;
use chat_replication::types::{Entry, Payload, Position};
use thiserror::Error;

/// What the map holds at one position.
#[derive(Clone, Default, Debug)]
pub(crate) struct State {
    pub(crate) applied: Position,
    pub(crate) map: BTreeMap<String, String>,
    pub(crate) ids: BTreeSet<String>,
}

/// The machine. Its checkpoint survives it in `checkpoint`, as a file would.
#[derive(Clone, Default)]
pub(crate) struct Kv {
    pub(crate) state: State,
    pub(crate) checkpoint: Arc<Mutex<State>>,
}

#[derive(Debug, Error)]
#[error("the map is full")]
pub(crate) struct Full;

impl Kv {
    pub(crate) fn open(checkpoint: &Arc<Mutex<State>>) -> Kv {
        Kv {
            state: checkpoint.lock().unwrap().clone(),
            checkpoint: Arc::clone(checkpoint),
        }
    }
}

pub(crate) fn put(id: &str, key: &str, value: &str) -> Bytes {
    Bytes::from(format!("{id} {key} {value}"))
}

impl StateMachine for Kv {
    /// The value before.
    type Response = Option<String>;
    type Error = Full;

    fn applied(&self) -> Position {
        self.state.applied
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Option<Option<String>>>, Full> {
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
            let before = match state.ids.insert(id) {
                true => state.map.insert(key, value),
                false => None,
            };
            responses.push(Some(before));
        }
        Ok(responses)
    }

    fn maintain(&mut self) -> Result<(), Full> {
        Ok(())
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
        self.state
            .map
            .iter()
            .flat_map(|(key, value)| [key, value])
            .flat_map(|text| text.bytes())
            .fold(0, |hash: u128, byte| {
                hash.wrapping_mul(0x0100_0193).wrapping_add(byte.into())
            })
    }

    fn checkpoint(&mut self) -> Result<(), Full> {
        *self.checkpoint.lock().unwrap() = self.state.clone();
        Ok(())
    }
}
