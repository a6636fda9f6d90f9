//! The file's rows at one checkpoint, and what makes them quicker to look up.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::StateError;
use super::file::{Rows, StateFile};
use super::newest::Newest;
use super::overlay::Key;

/// The file's rows at one checkpoint. They never change: a later checkpoint is another base.
pub(super) struct Base {
    rows: Rows,
    newest: Newest,
    lately: Lately,
}

impl Base {
    pub(super) fn of(file: &StateFile, rows: Rows) -> Result<Base, StateError> {
        Ok(Base {
            newest: Newest::find(|bound| {
                file.run(|_| {
                    let last = rows.range::<&[u8]>((Bound::Unbounded, bound))?.next_back();
                    Ok(last.transpose()?.map(|row| row.0.value().to_vec()))
                })
            })?,
            rows,
            lately: Lately::default(),
        })
    }

    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Whether the key is certainly not here, which takes no search.
    pub(super) fn is_before(&self, key: &[u8]) -> bool {
        self.newest.is_before(key)
    }

    pub(super) fn read(&self, file: &StateFile, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        if self.is_before(key) {
            return Ok(None);
        }
        if let Some(value) = self.lately.recall(key) {
            return Ok(value.map(|value| value.to_vec()));
        }
        let value = file.read(&self.rows, key)?;
        self.lately.learn(key, value.as_deref());
        Ok(value)
    }
}

/// Rows that were read lately: sessions, names and accounts are asked for with every call, and a search of the file costs
/// many times as much as one of a map.
#[derive(Debug, Default)]
struct Lately {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

/// Values by key; `None` where the file has no such row.
type Shard = HashMap<Key, Option<Arc<[u8]>>>;

/// So that those who read at the same time rarely meet.
const SHARDS: usize = 8;
/// Rows in a shard. Beyond that it starts anew, which costs less than knowing what was used last.
const MOST: usize = 4096;
/// Larger values are texts, which are rarely read twice. Together with [`MOST`] this is 10 MiB at the very most.
const LARGEST: usize = 256;

impl Lately {
    fn recall(&self, key: &[u8]) -> Option<Option<Arc<[u8]>>> {
        self.shard(key).get(key).cloned()
    }

    fn learn(&self, key: &[u8], value: Option<&[u8]>) {
        if value.is_some_and(|value| value.len() > LARGEST) {
            return;
        }
        let mut shard = self.shard(key);
        if shard.len() >= MOST {
            shard.clear();
        }
        shard.insert(Key::from_slice(key), value.map(Arc::from));
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let shard = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
