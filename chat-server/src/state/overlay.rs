//! Rows that are newer than the file.

use std::collections::BTreeMap;

use chat_replication::types::Position;
use smallvec::SmallVec;

/// Rows by key.
pub(super) type Rows = BTreeMap<Key, Value>;
/// A row's key, within the map's own nodes unless it is longer than most: a search need not follow it elsewhere.
pub(super) type Key = SmallVec<[u8; 40]>;
/// A row's value; `None` where it was deleted.
pub(super) type Value = Option<Vec<u8>>;

/// What a row costs in memory beside its bytes, roughly.
const ROW_OVERHEAD: usize = 96;

/// Rows that were written since the last checkpoint began, and how to take the last command back.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    rows: Rows,
    bytes: usize,
    /// What the rows written since [`Overlay::begin`] were before, oldest first.
    undo: Vec<(Key, Option<Value>)>,
    /// Whether they are noted.
    notes: bool,
}

/// An overlay on its way to the file, and what it stands for.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) rows: Rows,
    pub(super) checkpoint: Checkpoint,
}

/// What a file's rows are the effect of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Checkpoint {
    /// The last entry whose effects they show.
    pub(super) applied: Position,
    /// The state's hash there.
    pub(super) state_hash: u128,
}

impl Overlay {
    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Memory that the rows take, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The same rows, with nothing to take back.
    pub(super) fn copy(&self) -> Overlay {
        Overlay {
            rows: self.rows.clone(),
            bytes: self.bytes,
            undo: Vec::new(),
            notes: false,
        }
    }

    pub(super) fn set(&mut self, key: &[u8], value: Option<&[u8]>) {
        let size = |value: Option<&[u8]>| ROW_OVERHEAD + key.len() + value.map_or(0, <[u8]>::len);
        let value = value.map(<[u8]>::to_vec);
        self.bytes += size(value.as_deref());
        let before = match self.rows.get_mut(key) {
            Some(row) => Some(std::mem::replace(row, value)),
            None => {
                self.rows.insert(Key::from_slice(key), value);
                None
            }
        };
        if let Some(before) = &before {
            self.bytes -= size(before.as_deref());
        }
        if self.notes {
            self.undo.push((Key::from_slice(key), before));
        }
    }

    /// Forgets a row that is nowhere else.
    pub(super) fn remove(&mut self, key: &[u8]) {
        let Some((key, before)) = self.rows.remove_entry(key) else {
            return;
        };
        self.bytes -= ROW_OVERHEAD + key.len() + before.as_ref().map_or(0, Vec::len);
        if self.notes {
            self.undo.push((key, Some(before)));
        }
    }

    /// From here on, writes can be taken back.
    pub(super) fn begin(&mut self) {
        self.undo.clear();
        self.notes = true;
    }

    /// The writes since [`Overlay::begin`] stay.
    pub(super) fn commit(&mut self) {
        self.undo.clear();
        self.notes = false;
    }

    /// Takes back the writes since [`Overlay::begin`].
    pub(super) fn roll_back(&mut self) {
        self.notes = false;
        for (key, before) in std::mem::take(&mut self.undo).into_iter().rev() {
            match before {
                Some(value) => self.set(&key, value.as_deref()),
                None => {
                    let value = self.rows.remove(&key).flatten();
                    self.bytes -= ROW_OVERHEAD + key.len() + value.map_or(0, |value| value.len());
                }
            }
        }
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> Rows {
        assert!(!self.notes, "a checkpoint stands between two commands");
        self.bytes = 0;
        std::mem::take(&mut self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_was_never_there() {
        let mut overlay = Overlay::default();
        overlay.set(b"a", Some(b"kept"));
        overlay.set(b"b", None);
        let (rows, bytes) = (overlay.rows.clone(), overlay.bytes);
        overlay.begin();
        for (key, value) in [
            ("a", Some("x")),
            ("c", Some("y")),
            ("b", Some("z")),
            ("a", None),
            ("c", None),
            ("c", Some("w")),
        ] {
            overlay.set(key.as_bytes(), value.map(str::as_bytes));
        }
        overlay.set(b"d", Some(b"new"));
        for key in ["d", "a", "nowhere"] {
            overlay.remove(key.as_bytes());
        }
        overlay.roll_back();
        assert_eq!((&overlay.rows, overlay.bytes), (&rows, bytes));

        overlay.begin();
        overlay.set(b"a", None);
        overlay.commit();
        overlay.roll_back();
        assert_eq!(overlay.rows[&b"a"[..]], None);
        assert_eq!(
            overlay.bytes,
            overlay
                .rows
                .keys()
                .map(|key| key.len() + ROW_OVERHEAD)
                .sum::<usize>()
        );
    }
}
