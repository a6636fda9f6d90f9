//! Rows that are newer than the file.

mod key;
mod rows;

use std::convert::Infallible;
use std::ops::Bound;

use chat_replication::types::Position;

use self::rows::Undo;
pub(super) use self::{
    key::Key,
    rows::{Below, Rows, kind_of},
};
use super::newest::Newest;

/// Rows that were written since the last checkpoint began, and how to take the last command back.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    rows: Rows,
    /// What the rows written since [`Overlay::begin`] were before.
    undo: Undo,
    /// Whether they are noted.
    notes: bool,
}

/// An overlay on its way to the file, and what it stands for.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) rows: Rows,
    pub(super) checkpoint: Checkpoint,
    newest: Newest,
}

impl Frozen {
    pub(super) fn of(rows: Rows, checkpoint: Checkpoint) -> Frozen {
        let Ok(newest) = Newest::find(|bound| {
            let last = rows.range((Bound::Unbounded, bound)).next_back();
            Ok::<_, Infallible>(last.map(|(key, _)| key.to_vec()))
        });
        Frozen {
            rows,
            checkpoint,
            newest,
        }
    }

    /// The row of a key, if it is one of these.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        match self.newest.is_before(key) {
            true => None,
            false => self.rows.get(key),
        }
    }
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
        self.rows.bytes()
    }

    /// The same rows, with nothing to take back.
    pub(super) fn copy(&self) -> Overlay {
        Overlay {
            rows: self.rows.clone(),
            undo: Undo::default(),
            notes: false,
        }
    }

    pub(super) fn set(&mut self, key: &[u8], value: Option<&[u8]>) {
        let undo = self.notes.then_some(&mut self.undo);
        self.rows.set(key, value, Below::Perhaps, undo);
    }

    /// Writes a row that is not there.
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        let undo = self.notes.then_some(&mut self.undo);
        self.rows.set(key, Some(value), Below::Nothing, undo);
    }

    /// Removes a row. If there can be none beneath, no trace of it is left.
    pub(super) fn delete(&mut self, key: &[u8], beneath: impl FnOnce() -> Below) {
        if self.rows.beneath(key) == Below::Perhaps && beneath() == Below::Perhaps {
            return self.set(key, None);
        }
        let undo = self.notes.then_some(&mut self.undo);
        self.rows.remove(key, undo);
    }

    /// From here on, writes can be taken back.
    pub(super) fn begin(&mut self) {
        self.undo.clear();
        self.notes = true;
    }

    /// Whether writes can be taken back: a command is being applied.
    pub(super) fn is_open(&self) -> bool {
        self.notes
    }

    /// The writes since [`Overlay::begin`] stay.
    pub(super) fn commit(&mut self) {
        self.undo.clear();
        self.notes = false;
    }

    /// Takes back the writes since [`Overlay::begin`].
    pub(super) fn roll_back(&mut self) {
        self.notes = false;
        self.rows.undo(&mut self.undo);
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> Rows {
        assert!(!self.notes, "a checkpoint stands between two commands");
        std::mem::take(&mut self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(overlay: &Overlay) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let rows = overlay.rows.iter();
        rows.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
            .collect()
    }

    #[test]
    fn what_is_taken_back_was_never_there() {
        let mut overlay = Overlay::default();
        overlay.set(b"a", Some(b"kept"));
        overlay.set(b"b", None);
        let before = rows(&overlay);
        overlay.begin();
        for (key, value) in [
            ("a", Some("x")),
            ("a", Some("longer")),
            ("a", Some("longer by more than it was")),
            ("a", Some("longer by more than it was, and a bit")),
            ("a", Some("y")),
            ("a", Some("as long as it may be without")),
            ("c", Some("y")),
            ("b", Some("z")),
            ("a", None),
            ("c", None),
            ("c", Some("w")),
        ] {
            overlay.set(key.as_bytes(), value.map(str::as_bytes));
            assert_eq!(
                overlay.rows.get(key.as_bytes()),
                Some(value.map(str::as_bytes))
            );
        }
        overlay.set(b"d", Some(b"new"));
        for key in ["d", "a", "nowhere"] {
            overlay.delete(key.as_bytes(), || Below::Nothing);
        }
        assert_eq!(overlay.rows.get(b"a"), None);
        overlay.roll_back();
        assert_eq!(rows(&overlay), before);

        overlay.begin();
        overlay.set(b"a", None);
        overlay.commit();
        overlay.roll_back();
        assert_eq!(overlay.rows.get(b"a"), Some(None));
    }

    #[test]
    fn what_came_and_went_leaves_no_trace() {
        let mut overlay = Overlay::default();
        let somewhere = || Below::Perhaps;
        overlay.insert(b"new", b"1");
        overlay.set(b"new", Some(b"longer"));
        overlay.delete(b"new", somewhere);
        assert_eq!(overlay.rows.get(b"new"), None);
        overlay.set(b"old", Some(b"1"));
        overlay.delete(b"old", somewhere);
        assert_eq!(overlay.rows.get(b"old"), Some(None));
        overlay.insert(b"old", b"1");
        overlay.delete(b"old", somewhere);
        assert_eq!(overlay.rows.get(b"old"), Some(None), "it is beneath");
    }

    #[test]
    fn what_is_written_again_and_again_takes_no_more_room() {
        let mut overlay = Overlay::default();
        let large = vec![7; 1 << 20];
        overlay.set(b"large", Some(&large));
        overlay.set(b"counter", Some(b"0000"));
        let before = overlay.bytes();
        for _ in 0..1000 {
            overlay.begin();
            overlay.set(b"counter", Some(b"1111"));
            overlay.commit();
        }
        assert_eq!(overlay.bytes(), before);
        assert_eq!(overlay.rows.get(b"large"), Some(Some(&large[..])));
        assert_eq!(overlay.take().len(), 2);
        assert_eq!(overlay.bytes(), 0);
    }
}
