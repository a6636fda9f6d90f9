//! Rows in memory: for each kind the keys in order, and the values one behind the other.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use super::key::Key;

/// Rows by key; a value is `None` where the row was deleted.
#[derive(Clone, Debug, Default)]
pub(in crate::store::state) struct Rows {
    /// By the first byte of the key, which is the kind of row. Among the few of its own kind a row that every message needs
    /// is found at once, and those that are written to the file one after the other lie near each other.
    kinds: Vec<Kind>,
}

/// Rows whose keys begin alike.
#[derive(Clone, Debug, Default)]
struct Kind {
    places: BTreeMap<Key, Place>,
    values: Values,
}

/// Where the value of a row lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    /// [`DELETED`], or how long it is.
    len: u32,
    chunk: u16,
    below: Below,
    /// How much longer it may become there.
    spare: u8,
}

/// What the layers beneath have under a row's key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store::state) enum Below {
    /// No row.
    Nothing,
    /// Nobody has looked.
    Perhaps,
}

const DELETED: u32 = u32::MAX;

impl Place {
    fn holds(self, len: usize) -> bool {
        self.len != DELETED && len <= self.room()
    }

    fn room(self) -> usize {
        self.len as usize + usize::from(self.spare)
    }

    /// The same place, of a value that fits there.
    fn of_length(self, len: usize) -> Place {
        Place {
            len: len as u32,
            spare: u8::try_from(self.room() - len).unwrap_or(u8::MAX),
            ..self
        }
    }
}

/// How to take writes back.
#[derive(Debug, Default)]
pub(super) struct Undo {
    /// Oldest first.
    writes: Vec<(Key, Before)>,
    /// Values that were written over in their places.
    kept: Vec<u8>,
}

/// What a row was before it was written.
#[derive(Clone, Copy, Debug)]
enum Before {
    Absent,
    /// Its value is still there.
    At(Place),
    /// Its value was written over, and kept from here on.
    WrittenOver(Place, usize),
}

impl Undo {
    pub(super) fn clear(&mut self) {
        self.writes.clear();
        self.kept.clear();
    }

    fn keep(&mut self, value: &[u8]) -> usize {
        self.kept.extend_from_slice(value);
        self.kept.len() - value.len()
    }
}

/// What a row costs in memory beside its value, roughly: nodes of the map are two thirds full.
const ROW_BYTES: usize = 72;

impl Rows {
    pub(in crate::store::state) fn len(&self) -> usize {
        self.kinds.iter().map(|kind| kind.places.len()).sum()
    }

    pub(in crate::store::state) fn is_empty(&self) -> bool {
        self.kinds.iter().all(|kind| kind.places.is_empty())
    }

    /// Memory that the rows take, roughly. What was written over by something longer, or removed, counts on.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |kind: &Kind| kind.places.len() * ROW_BYTES + kind.values.bytes;
        self.kinds.iter().map(bytes).sum()
    }

    /// Whether there are rows whose keys begin with this byte.
    pub(in crate::store::state) fn has_kind(&self, kind: u8) -> bool {
        let kind = self.kinds.get(usize::from(kind));
        kind.is_some_and(|kind| !kind.places.is_empty())
    }

    pub(in crate::store::state) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let kind = self.kinds.get(kind_of(key))?;
        Some(kind.values.at(kind.place(key)?))
    }

    /// All rows, in order.
    pub(in crate::store::state) fn iter(
        &self,
    ) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + Clone {
        self.kinds.iter().flat_map(|kind| {
            let rows = kind.places.iter();
            rows.map(|(key, place)| (key.as_slice(), kind.values.at(*place)))
        })
    }

    pub(in crate::store::state) fn range(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl DoubleEndedIterator<Item = (&[u8], Option<&[u8]>)> {
        let first = kind_of_bound(range.0).unwrap_or(0);
        let last = kind_of_bound(range.1).unwrap_or(usize::MAX);
        let kinds = self.kinds.iter().take(last.saturating_add(1)).skip(first);
        kinds.flat_map(move |kind| {
            let rows = kind.places.range::<[u8], _>(range);
            rows.map(|(key, place)| (key.as_slice(), kind.values.at(*place)))
        })
    }

    /// Writes a row. What is known to be beneath counts where there was none.
    pub(super) fn set(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        below: Below,
        mut undo: Option<&mut Undo>,
    ) {
        let key = Key::from_slice(key);
        let noted = undo.is_some().then(|| key.clone());
        let Kind { places, values } = self.kind_mut(kind_of(key.as_slice()));
        let before = match places.entry(key) {
            Entry::Vacant(row) => {
                row.insert(values.push(value, below, 0));
                Before::Absent
            }
            Entry::Occupied(mut row) => {
                let place = *row.get();
                match value {
                    // Counters are written with every message: they stay where they are.
                    Some(value) if place.holds(value.len()) => {
                        let kept = undo
                            .as_mut()
                            .map_or(0, |undo| undo.keep(values.at_mut(place)));
                        let place_now = place.of_length(value.len());
                        values.at_mut(place_now).copy_from_slice(value);
                        *row.get_mut() = place_now;
                        Before::WrittenOver(place, kept)
                    }
                    // What grew is likely to grow again.
                    value => {
                        let spare = value.map_or(0, <[u8]>::len);
                        *row.get_mut() = values.push(value, place.below, spare);
                        Before::At(place)
                    }
                }
            }
        };
        if let (Some(undo), Some(key)) = (undo, noted) {
            undo.writes.push((key, before));
        }
    }

    /// What is beneath a row.
    pub(super) fn beneath(&self, key: &[u8]) -> Below {
        let kind = self.kinds.get(kind_of(key));
        let place = kind.and_then(|kind| kind.place(key));
        place.map_or(Below::Perhaps, |place| place.below)
    }

    /// Forgets a row.
    pub(super) fn remove(&mut self, key: &[u8], undo: Option<&mut Undo>) {
        let kind = self.kinds.get_mut(kind_of(key));
        let removed = kind.and_then(|kind| kind.places.remove_entry(&Key::from_slice(key)));
        if let (Some(undo), Some((key, place))) = (undo, removed) {
            undo.writes.push((key, Before::At(place)));
        }
    }

    /// Takes in rows of a layer above, which write over these.
    pub(super) fn take_in(&mut self, above: &Rows) {
        for (number, kind) in above.kinds.iter().enumerate() {
            for (key, place) in &kind.places {
                let value = kind.values.at(*place);
                let mine = self.kinds.get(number).and_then(|kind| kind.places.get(key));
                match (mine, value) {
                    // Nothing is beneath, so that no trace need be left.
                    (Some(mine), None) if mine.below == Below::Nothing => {
                        self.remove(key.as_slice(), None);
                    }
                    _ => self.set(key.as_slice(), value, place.below, None),
                }
            }
        }
    }

    /// Takes back what is noted.
    pub(super) fn undo(&mut self, undo: &mut Undo) {
        while let Some((key, before)) = undo.writes.pop() {
            let Kind { places, values } = self.kind_mut(kind_of(key.as_slice()));
            match before {
                Before::Absent => {
                    places.remove(&key);
                }
                Before::At(place) => {
                    places.insert(key, place);
                }
                Before::WrittenOver(place, kept) => {
                    let held = values.at_mut(place);
                    held.copy_from_slice(&undo.kept[kept..kept + held.len()]);
                    places.insert(key, place);
                }
            }
        }
        undo.clear();
    }

    fn kind_mut(&mut self, kind: usize) -> &mut Kind {
        if kind >= self.kinds.len() {
            self.kinds.resize_with(kind + 1, Kind::default);
        }
        &mut self.kinds[kind]
    }
}

impl Kind {
    fn place(&self, key: &[u8]) -> Option<Place> {
        self.places.get(&Key::from_slice(key)).copied()
    }
}

/// The empty key, which is before all others, stands with those that begin with zero.
/// The kind of row that a key is of.
pub(in crate::store::state) fn kind_of(key: &[u8]) -> usize {
    key.first().copied().unwrap_or(0).into()
}

fn kind_of_bound(bound: Bound<&[u8]>) -> Option<usize> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(kind_of(key)),
        Bound::Unbounded => None,
    }
}

/// Values one behind the other. An allocation for each would cost as much as the rest of writing a row, and freeing a
/// hundred thousand of them as much again.
#[derive(Clone, Debug, Default)]
struct Values {
    /// None is ever moved: growing copies nothing.
    chunks: Vec<Vec<u8>>,
    bytes: usize,
}

/// So large is a chunk, unless a value is larger.
const CHUNK: usize = 256 << 10;
/// The first is smaller, and each that follows twice as large: of some layers there are few rows.
const FIRST_CHUNK: usize = 4 << 10;

impl Values {
    /// Appends a value, and leaves it at most so much room to grow.
    fn push(&mut self, value: Option<&[u8]>, below: Below, spare: usize) -> Place {
        let Some(value) = value else {
            return Place {
                start: 0,
                len: DELETED,
                chunk: 0,
                below,
                spare: 0,
            };
        };
        let spare = spare.min(u8::MAX.into()) as u8;
        let room = value.len() + usize::from(spare);
        let has_room = self
            .chunks
            .last()
            .is_some_and(|chunk| chunk.capacity() - chunk.len() >= room);
        if !has_room {
            let size = FIRST_CHUNK << self.chunks.len().min(8);
            self.chunks
                .push(Vec::with_capacity(size.min(CHUNK).max(room)));
        }
        let number = self.chunks.len() - 1;
        let chunk = &mut self.chunks[number];
        let start = chunk.len();
        chunk.extend_from_slice(value);
        chunk.resize(start + room, 0);
        self.bytes += room;
        let small = |number| u32::try_from(number).expect("rows are far smaller");
        Place {
            start: small(start),
            len: small(value.len()),
            chunk: u16::try_from(number).expect("memory ends before"),
            below,
            spare,
        }
    }

    fn at(&self, place: Place) -> Option<&[u8]> {
        if place.len == DELETED {
            return None;
        }
        let start = place.start as usize;
        Some(&self.chunks[usize::from(place.chunk)][start..start + place.len as usize])
    }

    /// A value that is not deleted.
    fn at_mut(&mut self, place: Place) -> &mut [u8] {
        let start = place.start as usize;
        &mut self.chunks[usize::from(place.chunk)][start..start + place.len as usize]
    }
}
