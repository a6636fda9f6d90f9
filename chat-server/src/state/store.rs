//! The layers as one key-value store.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use chat_core::store::{CorruptRow, KeyValue, Order};
use chat_replication::disk_store::file::Fault;
use redb::ReadableTableMetadata;

use super::base::Base;
use super::error::StateError;
use super::file::{BaseRow, Rows, StateFile, checked_value};
use super::lately::Lately;
use super::overlay::{Below, Checkpoint, Frozen, Overlay};

/// The rows of the state: an overlay in memory, over one that is being written, over the file.
pub struct StateStore {
    overlay: Overlay,
    frozen: Option<Arc<Frozen>>,
    base: Arc<Base>,
    /// Last, so that nothing reads the file any more when it is closed.
    file: Arc<StateFile>,
}

impl StateStore {
    pub(super) fn new(file: Arc<StateFile>) -> Result<StateStore, StateError> {
        let base = file.base()?;
        StateStore::over(file, base)
    }

    /// Over rows of the file that are not the state's yet.
    pub(super) fn over(file: Arc<StateFile>, rows: Rows) -> Result<StateStore, StateError> {
        Ok(StateStore {
            base: Arc::new(Base::of(&file, rows, Lately::default())?),
            file,
            overlay: Overlay::default(),
            frozen: None,
        })
    }

    /// The rows as they are now, which later writes do not change. Copies those that no checkpoint holds.
    pub(super) fn copy(&self) -> StateStore {
        StateStore {
            overlay: self.overlay.copy(),
            frozen: self.frozen.clone(),
            base: Arc::clone(&self.base),
            file: Arc::clone(&self.file),
        }
    }

    /// How many rows there are at most: one that was written over since the last checkpoint counts again.
    pub(super) fn rows_at_most(&self) -> Result<u64, StateError> {
        let in_file = self.file.run(|_| Ok(self.base.rows().len()?))?;
        let frozen = self.frozen.as_ref().map_or(0, |frozen| frozen.rows.len());
        Ok(in_file + (frozen + self.overlay.rows().len()) as u64)
    }

    /// Memory that the rows which no checkpoint holds take, roughly, in bytes.
    pub(super) fn overlay_bytes(&self) -> usize {
        self.overlay.bytes()
    }

    /// From here on, writes can be taken back.
    pub(super) fn begin(&mut self) {
        self.overlay.begin();
    }

    /// The writes since [`StateStore::begin`] stay.
    pub(super) fn commit(&mut self) {
        self.overlay.commit();
    }

    /// Takes back the writes since [`StateStore::begin`].
    pub(super) fn roll_back(&mut self) {
        self.overlay.roll_back();
    }

    /// A row that is not in the file yet, or is written over or removed there.
    fn in_memory(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.get(key));
        self.overlay.rows().get(key).or_else(frozen)
    }

    /// Sets the overlay aside to be written. The one before must have been [thawed](StateStore::thaw).
    pub(super) fn freeze(&mut self, checkpoint: Checkpoint) -> Arc<Frozen> {
        assert!(self.frozen.is_none(), "one checkpoint at a time");
        let frozen = Arc::new(Frozen::of(self.overlay.take(), checkpoint));
        self.frozen = Some(Arc::clone(&frozen));
        frozen
    }

    /// The frozen overlay is in the file now: reads go there. The overlay is returned, since freeing it takes a while.
    pub(super) fn thaw(&mut self) -> Result<Option<Arc<Frozen>>, StateError> {
        let frozen = self.frozen.take();
        let is_written = |kind| {
            let rows = frozen.as_ref().map(|frozen| &frozen.rows);
            rows.is_some_and(|rows| rows.has_kind(kind))
        };
        let lately = self.base.hand_over(is_written);
        self.base = Arc::new(Base::of(&self.file, self.file.base()?, lately)?);
        Ok(frozen)
    }
}

impl KeyValue for StateStore {
    type Error = StateError;

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        match self.in_memory(key) {
            Some(value) => Ok(value.map(<[u8]>::to_vec)),
            // What a command reads it writes, or knows from then on.
            None => self.base.read(&self.file, key, !self.overlay.is_open()),
        }
    }

    fn read_once(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        match self.in_memory(key) {
            Some(value) => Ok(value.map(<[u8]>::to_vec)),
            None => self.base.read(&self.file, key, false),
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.overlay.set(key, Some(value));
        Ok(())
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.overlay.insert(key, value);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), StateError> {
        let frozen = self.frozen.as_ref();
        self.overlay.delete(key, || {
            let is_frozen = frozen.is_some_and(|frozen| frozen.get(key).is_some());
            match self.base.is_before(key) && !is_frozen {
                // The file need never hear of it.
                true => Below::Nothing,
                false => Below::Perhaps,
            }
        });
        Ok(())
    }

    fn scan(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        order: Order,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        if is_backwards(range) {
            return Ok(());
        }
        let file = &*self.file;
        let mut base = file.run(|_| self.base.rows().range::<&[u8]>(range).map_err(Fault::from))?;
        let mut next_in_file = || file.next(&mut base, order);
        let mut rows = [
            Some(self.overlay.rows()),
            self.frozen.as_ref().map(|frozen| &frozen.rows),
        ]
        .map(|rows| rows.map(|rows| rows.range(range)));
        let mut next_in_memory = |layer: usize| {
            let rows = rows[layer].as_mut()?;
            match order {
                Order::Ascending => rows.next(),
                Order::Descending => rows.next_back(),
            }
        };
        let mut heads = Heads {
            order,
            in_memory: [next_in_memory(0), next_in_memory(1)],
            in_file: next_in_file()?,
        };
        while let Some(first) = heads.first() {
            let flow = match heads.value_of(first) {
                Some((key, Some(value))) => visit(key, value),
                _ => ControlFlow::Continue(()),
            };
            if flow.is_break() {
                return Ok(());
            }
            // Layers below that hold the same key are shadowed.
            let shadowed = heads.layers_at_key_of(first);
            for (layer, head) in heads.in_memory.iter_mut().enumerate() {
                if shadowed[layer] {
                    *head = next_in_memory(layer);
                }
            }
            if shadowed[IN_FILE] {
                heads.in_file = next_in_file()?;
            }
        }
        Ok(())
    }

    fn corrupt(&self, row: CorruptRow) -> StateError {
        StateError::damaged(self.file.path(), row)
    }
}

/// The layer of the file; 0 and 1 are in memory.
const IN_FILE: usize = 2;

/// A row of a layer in memory.
type MemoryRow<'a> = (&'a [u8], Option<&'a [u8]>);

/// The next row of each layer, newest layer first.
struct Heads<'a> {
    order: Order,
    in_memory: [Option<MemoryRow<'a>>; 2],
    in_file: Option<BaseRow>,
}

impl Heads<'_> {
    fn key(&self, layer: usize) -> Option<&[u8]> {
        match layer {
            IN_FILE => self.in_file.as_ref().map(|(key, _)| key.value()),
            layer => self.in_memory[layer].map(|(key, _)| key),
        }
    }

    /// The layer whose row comes next; of several with the same key, the newest.
    fn first(&self) -> Option<usize> {
        let mut first: Option<(usize, &[u8])> = None;
        for layer in 0..=IN_FILE {
            let Some(key) = self.key(layer) else { continue };
            let comes_before = match first {
                None => true,
                Some((_, best)) => match self.order {
                    Order::Ascending => key.cmp(best) == Ordering::Less,
                    Order::Descending => key.cmp(best) == Ordering::Greater,
                },
            };
            if comes_before {
                first = Some((layer, key));
            }
        }
        first.map(|(layer, _)| layer)
    }

    fn value_of(&self, layer: usize) -> Option<(&[u8], Option<&[u8]>)> {
        match layer {
            IN_FILE => self
                .in_file
                .as_ref()
                .map(|row| (row.0.value(), Some(checked_value(row)))),
            layer => self.in_memory[layer],
        }
    }

    /// Which layers stand at the same key as this one.
    fn layers_at_key_of(&self, layer: usize) -> [bool; 3] {
        let key = self.key(layer);
        [0, 1, IN_FILE].map(|other| self.key(other) == key)
    }
}

/// Both maps panic on such a range.
fn is_backwards(range: (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match range {
        (Bound::Excluded(start), Bound::Excluded(end)) => start >= end,
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) => start > end,
        _ => false,
    }
}

impl fmt::Debug for StateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateStore")
            .field("file", &self.file.path())
            .field("overlay_bytes", &self.overlay.bytes())
            .field(
                "frozen_rows",
                &self.frozen.as_ref().map(|frozen| frozen.rows.len()),
            )
            .finish_non_exhaustive()
    }
}
