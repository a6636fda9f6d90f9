//! Rows in memory: keys in order, values one behind the other.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use super::key::Key;

/// Rows by key; a value is `None` where the row was deleted.
#[derive(Clone, Debug, Default)]
pub(in crate::state) struct Rows {
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
}

/// What the layers beneath have under a row's key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::state) enum Below {
    /// No row.
    Nothing,
    /// Nobody has looked.
    Perhaps,
}

const DELETED: u32 = u32::MAX;

impl Place {
    fn holds(self, len: usize) -> bool {
        self.len != DELETED && len <= self.len as usize
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
    pub(in crate::state) fn len(&self) -> usize {
        self.places.len()
    }

    /// Memory that the rows take, roughly. What was written over by something longer, or removed, counts on.
    pub(super) fn bytes(&self) -> usize {
        self.places.len() * ROW_BYTES + self.values.bytes
    }

    pub(in crate::state) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let place = self.places.get(&Key::from_slice(key))?;
        Some(self.values.at(*place))
    }

    /// All rows, in order.
    pub(in crate::state) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + Clone {
        let places = self.places.iter();
        places.map(|(key, place)| (key.as_slice(), self.values.at(*place)))
    }

    pub(in crate::state) fn range(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl DoubleEndedIterator<Item = (&[u8], Option<&[u8]>)> {
        let places = self.places.range::<[u8], _>(range);
        places.map(|(key, place)| (key.as_slice(), self.values.at(*place)))
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
        let before = match self.places.entry(key) {
            Entry::Vacant(row) => {
                row.insert(self.values.push(value, below));
                Before::Absent
            }
            Entry::Occupied(mut row) => {
                let place = *row.get();
                match value {
                    // Counters are written with every message: they stay where they are.
                    Some(value) if place.holds(value.len()) => {
                        let held = self.values.at_mut(place);
                        let kept = undo.as_mut().map_or(0, |undo| undo.keep(held));
                        held[..value.len()].copy_from_slice(value);
                        row.get_mut().len = value.len() as u32;
                        Before::WrittenOver(place, kept)
                    }
                    value => {
                        *row.get_mut() = self.values.push(value, place.below);
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
        let place = self.places.get(&Key::from_slice(key));
        place.map_or(Below::Perhaps, |place| place.below)
    }

    /// Forgets a row.
    pub(super) fn remove(&mut self, key: &[u8], undo: Option<&mut Undo>) {
        let removed = self.places.remove_entry(&Key::from_slice(key));
        if let (Some(undo), Some((key, place))) = (undo, removed) {
            undo.writes.push((key, Before::At(place)));
        }
    }

    /// Takes back what is noted.
    pub(super) fn undo(&mut self, undo: &mut Undo) {
        while let Some((key, before)) = undo.writes.pop() {
            match before {
                Before::Absent => {
                    self.places.remove(&key);
                }
                Before::At(place) => {
                    self.places.insert(key, place);
                }
                Before::WrittenOver(place, kept) => {
                    let held = self.values.at_mut(place);
                    held.copy_from_slice(&undo.kept[kept..kept + held.len()]);
                    self.places.insert(key, place);
                }
            }
        }
        undo.clear();
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

impl Values {
    fn push(&mut self, value: Option<&[u8]>, below: Below) -> Place {
        let Some(value) = value else {
            return Place {
                start: 0,
                len: DELETED,
                chunk: 0,
                below,
            };
        };
        let has_room = self
            .chunks
            .last()
            .is_some_and(|chunk| chunk.capacity() - chunk.len() >= value.len());
        if !has_room {
            self.chunks.push(Vec::with_capacity(CHUNK.max(value.len())));
        }
        let number = self.chunks.len() - 1;
        let chunk = &mut self.chunks[number];
        let start = chunk.len();
        chunk.extend_from_slice(value);
        self.bytes += value.len();
        let small = |number| u32::try_from(number).expect("rows are far smaller");
        Place {
            start: small(start),
            len: small(value.len()),
            chunk: u16::try_from(number).expect("memory ends before"),
            below,
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
