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
use super::file::{Rows, StateFile, checked_value};
use super::overlay::{Below, Checkpoint, Frozen, Overlay};

/// The rows of the state: an overlay in memory, over one that is being written, over the file.
pub struct StateStore {
    overlay: Overlay,
    frozen: Option<Arc<Frozen>>,
    base: Arc<Base>,
    queries: Queries,
    /// Last, so that nothing reads the file any more when it is closed.
    file: Arc<StateFile>,
}

/// What queries may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Queries {
    /// Look at whatever there is.
    Anything,
    /// Look at what is in memory: for as long as they take, nothing can be applied.
    InMemory,
}

impl StateStore {
    pub(super) fn new(file: Arc<StateFile>) -> Result<StateStore, StateError> {
        let base = file.base()?;
        StateStore::over(file, base)
    }

    /// Over rows of the file that are not the state's yet.
    pub(super) fn over(file: Arc<StateFile>, rows: Rows) -> Result<StateStore, StateError> {
        Ok(StateStore {
            base: Arc::new(Base::of(&file, rows)?),
            file,
            overlay: Overlay::default(),
            frozen: None,
            queries: Queries::Anything,
        })
    }

    /// From here on commands are applied under a lock that queries share. Those that would have to read the file fail with
    /// [`StateError::NotInMemory`], and are to be made of a [view](StateStore::view).
    pub(super) fn share(&mut self) {
        self.queries = Queries::InMemory;
    }

    /// The rows as they are now, which later writes do not change, and which do not hold up later writes.
    pub(super) fn view(&mut self) -> StateStore {
        StateStore {
            overlay: self.overlay.set_aside(),
            frozen: self.frozen.clone(),
            base: Arc::clone(&self.base),
            file: Arc::clone(&self.file),
            queries: Queries::Anything,
        }
    }

    /// Between two commands: puts together what was kept apart for views.
    pub(super) fn tidy(&mut self) {
        self.overlay.tidy();
    }

    /// How many rows there are at most: one that was written over since the last checkpoint counts again.
    pub(super) fn rows_at_most(&self) -> Result<u64, StateError> {
        let in_file = self.file.run(|_| Ok(self.base.rows().len()?))?;
        let frozen = self.frozen.as_ref().map_or(0, |frozen| frozen.len());
        Ok(in_file + (frozen + self.overlay.len()) as u64)
    }

    /// Memory that the rows which no checkpoint holds take, roughly, in bytes.
    pub(super) fn overlay_bytes(&self) -> usize {
        self.overlay.bytes()
    }

    /// Fails once anybody has met a fault of the file.
    pub(super) fn check_faultless(&self) -> Result<(), StateError> {
        self.file.check_faultless()
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
        self.overlay.get(key).or_else(frozen)
    }

    /// Whether the file may be read now. A command that is being applied has the lock to itself.
    fn check_file(&self) -> Result<(), StateError> {
        match self.queries == Queries::Anything || self.overlay.is_open() {
            true => Ok(()),
            false => Err(StateError::NotInMemory),
        }
    }

    fn find(&self, key: &[u8], learns: bool) -> Result<Option<Vec<u8>>, StateError> {
        if let Some(value) = self.in_memory(key) {
            return Ok(value.map(<[u8]>::to_vec));
        }
        if let Some(value) = self.base.recall(key) {
            return Ok(value);
        }
        self.check_file()?;
        self.base.read(&self.file, key, learns)
    }

    /// Sets the overlay aside to be written. The one before must have been [thawed](StateStore::thaw).
    pub(super) fn freeze(&mut self, checkpoint: Checkpoint) -> Arc<Frozen> {
        assert!(self.frozen.is_none(), "one checkpoint at a time");
        let frozen = Arc::new(Frozen::of(self.overlay.take(), checkpoint));
        self.frozen = Some(Arc::clone(&frozen));
        frozen
    }

    /// The file's rows as they are now, for [`StateStore::thaw`]. Reads the file.
    pub(super) fn base_of(file: &StateFile) -> Result<Base, StateError> {
        Base::of(file, file.base()?)
    }

    /// The frozen overlay is in the file now, whose rows these are: reads go there. The overlay is returned, since freeing it
    /// takes a while.
    pub(super) fn thaw(&mut self, mut base: Base) -> Option<Arc<Frozen>> {
        let frozen = self.frozen.take();
        base.take_over(&self.base, |kind| {
            frozen.as_ref().is_some_and(|frozen| frozen.has_kind(kind))
        });
        self.base = Arc::new(base);
        frozen
    }
}

impl KeyValue for StateStore {
    type Error = StateError;

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        // What a command reads it writes, or knows from then on.
        self.find(key, !self.overlay.is_open())
    }

    fn read_once(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.find(key, false)
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
        self.check_file()?;
        let file = &*self.file;
        let mut base = file.run(|_| self.base.rows().range::<&[u8]>(range).map_err(Fault::from))?;
        let mut next_in_file = || file.next(&mut base, order);
        let frozen = self.frozen.iter().flat_map(|frozen| frozen.layers());
        let layers = self.overlay.layers().chain(frozen);
        let mut in_memory = InMemory::of(layers.map(|rows| rows.range(range)), order);
        let mut in_file = next_in_file()?;
        loop {
            let above = in_memory.first();
            // Where the row in the file stands, seen from the one above it.
            let below = match (above, &in_file) {
                (None, None) => return Ok(()),
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
                (Some((key, _)), Some((other, _))) => compare(order, other.value(), key),
            };
            let flow = match (above, &in_file) {
                (Some((key, Some(value))), _) if below != Ordering::Less => visit(key, value),
                (_, Some(row)) if below == Ordering::Less => {
                    visit(row.0.value(), checked_value(row))
                }
                _ => ControlFlow::Continue(()),
            };
            if flow.is_break() {
                return Ok(());
            }
            // Of the same key, the row in the file is shadowed.
            if below != Ordering::Greater {
                in_file = next_in_file()?;
            }
            if let Some((key, _)) = above
                && below != Ordering::Less
            {
                in_memory.pass(key);
            }
        }
    }

    fn corrupt(&self, row: CorruptRow) -> StateError {
        self.file.failed(Fault::Damaged(row.to_string()))
    }
}

/// A row of a layer in memory.
type MemoryRow<'a> = (&'a [u8], Option<&'a [u8]>);

/// The next row of each layer in memory, newest layer first.
struct InMemory<'a, I> {
    order: Order,
    layers: Vec<(I, Option<MemoryRow<'a>>)>,
}

impl<'a, I: DoubleEndedIterator<Item = MemoryRow<'a>>> InMemory<'a, I> {
    fn of(layers: impl Iterator<Item = I>, order: Order) -> InMemory<'a, I> {
        let layers = layers.map(|mut rows| {
            let first = next(&mut rows, order);
            (rows, first)
        });
        InMemory {
            order,
            layers: layers.collect(),
        }
    }

    /// The row that comes next; of several with the same key, the newest.
    fn first(&self) -> Option<MemoryRow<'a>> {
        let rows = self.layers.iter().filter_map(|(_, row)| *row);
        rows.reduce(|first, row| match compare(self.order, row.0, first.0) {
            Ordering::Less => row,
            Ordering::Equal | Ordering::Greater => first,
        })
    }

    /// Goes on behind the row of a key, in all layers that have one.
    fn pass(&mut self, key: &[u8]) {
        for (rows, row) in &mut self.layers {
            if row.is_some_and(|(other, _)| other == key) {
                *row = next(rows, self.order);
            }
        }
    }
}

fn next<T>(rows: &mut impl DoubleEndedIterator<Item = T>, order: Order) -> Option<T> {
    match order {
        Order::Ascending => rows.next(),
        Order::Descending => rows.next_back(),
    }
}

/// Which of two keys comes first in an order.
fn compare(order: Order, one: &[u8], other: &[u8]) -> Ordering {
    match order {
        Order::Ascending => one.cmp(other),
        Order::Descending => other.cmp(one),
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
                &self.frozen.as_ref().map(|frozen| frozen.len()),
            )
            .finish_non_exhaustive()
    }
}
