//! Rows that are newer than the file.

mod key;
mod rows;

use std::borrow::Cow;
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::Arc;

use chat_replication::types::Position;

pub(super) use self::key::Key;
use self::rows::Undo;
pub(super) use self::rows::{Below, Rows, kind_of};
use super::newest::Newest;

/// Rows that were written since the last checkpoint began, and how to take the last command back.
///
/// Whoever wants to look at them for long has them [set aside](Overlay::set_aside): from then on writes go into rows above,
/// and leave what was set aside as it is. Once nobody looks any more, it is written into again. So a reader never waits for
/// the writer, nor the writer for a reader, and where nobody reads for long there is one layer and nothing is copied.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// What is written into.
    rows: Rows,
    /// What was set aside, the oldest first.
    aside: Vec<Arc<Rows>>,
    /// What the rows written since [`Overlay::begin`] were before.
    undo: Undo,
    /// Whether they are noted.
    notes: bool,
}

/// Layers that have grown so large are left as they are: putting them together would take milliseconds.
const LARGE: usize = 4 << 20;

/// An overlay on its way to the file, and what it stands for.
#[derive(Debug)]
pub(super) struct Frozen {
    /// The newest first.
    layers: Vec<Arc<Rows>>,
    pub(super) checkpoint: Checkpoint,
    newest: Newest,
}

impl Frozen {
    pub(super) fn of(layers: Vec<Arc<Rows>>, checkpoint: Checkpoint) -> Frozen {
        let Ok(newest) = Newest::find(|bound| {
            let last = |rows: &'_ Arc<Rows>| {
                let last = rows.range((Bound::Unbounded, bound)).next_back();
                last.map(|(key, _)| key.to_vec())
            };
            Ok::<_, Infallible>(layers.iter().filter_map(last).max())
        });
        Frozen {
            layers,
            checkpoint,
            newest,
        }
    }

    /// The row of a key, if it is one of these.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        match self.newest.is_before(key) {
            true => None,
            false => self.layers.iter().find_map(|rows| rows.get(key)),
        }
    }

    /// The newest first.
    pub(super) fn layers(&self) -> impl Iterator<Item = &Rows> {
        self.layers.iter().map(|rows| &**rows)
    }

    /// How many rows there are at most: one that was written over in another layer counts again.
    pub(super) fn len(&self) -> usize {
        self.layers().map(Rows::len).sum()
    }

    /// Whether there are rows whose keys begin with this byte.
    pub(super) fn has_kind(&self, kind: u8) -> bool {
        self.layers().any(|rows| rows.has_kind(kind))
    }

    /// All of them in one layer.
    pub(super) fn whole(&self) -> Cow<'_, Rows> {
        let (oldest, newer) = self.layers.split_last().expect("there is one at least");
        let mut whole = Cow::Borrowed(&**oldest);
        for layer in newer.iter().rev() {
            whole.to_mut().take_in(layer);
        }
        whole
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
    /// The row of a key, if it is one of these.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let aside = || self.aside.iter().rev().find_map(|rows| rows.get(key));
        self.rows.get(key).or_else(aside)
    }

    /// The newest first.
    pub(super) fn layers(&self) -> impl Iterator<Item = &Rows> {
        let aside = self.aside.iter().rev().map(|rows| &**rows);
        std::iter::once(&self.rows).chain(aside)
    }

    /// How many rows there are at most: one that was written over in another layer counts again.
    pub(super) fn len(&self) -> usize {
        self.layers().map(Rows::len).sum()
    }

    /// Memory that the rows take, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.layers().map(Rows::bytes).sum()
    }

    /// The rows as they are now, which later writes leave as they are.
    pub(super) fn set_aside(&mut self) -> Overlay {
        assert!(!self.notes, "nobody looks at half a command");
        if !self.rows.is_empty() {
            self.aside.push(Arc::new(std::mem::take(&mut self.rows)));
        }
        Overlay {
            aside: self.aside.clone(),
            ..Overlay::default()
        }
    }

    /// Puts layers together, so that there are few. What nobody looks at any more is written into again. Of what somebody
    /// does, a layer that is not much larger than the one above it is copied: so a row is copied a few times at most, and
    /// only as long as there is always somebody who looks.
    pub(super) fn tidy(&mut self) {
        assert!(!self.notes, "a command is taken back whole");
        while self.rows.bytes() < LARGE
            && let Some(below) = self.aside.last_mut().and_then(Arc::get_mut)
        {
            let above = std::mem::replace(&mut self.rows, std::mem::take(below));
            self.rows.take_in(&above);
            self.aside.pop();
        }
        while let [.., below, above] = &self.aside[..]
            && below.bytes() <= 2 * above.bytes()
            && below.bytes() + above.bytes() < LARGE
        {
            let mut both = Rows::clone(below);
            both.take_in(above);
            self.aside.truncate(self.aside.len() - 2);
            self.aside.push(Arc::new(both));
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
        let is_new = self.rows.beneath(key) == Below::Nothing
            || (self.aside.iter().all(|rows| rows.get(key).is_none())
                && beneath() == Below::Nothing);
        if !is_new {
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

    /// Takes everything out, the newest layer first.
    pub(super) fn take(&mut self) -> Vec<Arc<Rows>> {
        assert!(!self.notes, "a checkpoint stands between two commands");
        let rows = Arc::new(std::mem::take(&mut self.rows));
        let aside = std::mem::take(&mut self.aside).into_iter().rev();
        std::iter::once(rows).chain(aside).collect()
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
            assert_eq!(overlay.get(key.as_bytes()), Some(value.map(str::as_bytes)));
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

    /// Rows that somebody looks at stay as they are, however many layers that makes; once nobody does there is one again.
    #[test]
    fn what_was_set_aside_does_not_change() {
        let mut overlay = Overlay::default();
        let mut looks = Vec::new();
        for round in 0..200_u32 {
            overlay.tidy();
            overlay.begin();
            overlay.set(b"counter", Some(&round.to_be_bytes()));
            overlay.insert(&round.to_be_bytes(), b"new");
            if let Some(before) = round.checked_sub(3) {
                overlay.delete(&before.to_be_bytes(), || Below::Nothing);
            }
            overlay.commit();
            looks.push((round, overlay.set_aside()));
            assert!(overlay.aside.len() < 12, "{}", overlay.aside.len());
        }
        let check = |overlay: &Overlay, round: u32| {
            assert_eq!(
                overlay.get(b"counter"),
                Some(Some(&round.to_be_bytes()[..]))
            );
            for other in 0..=round {
                let found = overlay.get(&other.to_be_bytes()).flatten();
                assert_eq!(found.is_some(), other + 3 > round, "{other} at {round}");
            }
            let later = overlay.get(&(round + 1).to_be_bytes()).flatten();
            assert_eq!(later, None);
        };
        for (round, look) in &looks {
            check(look, *round);
        }
        drop(looks);
        overlay.tidy();
        assert!(overlay.aside.is_empty());
        check(&overlay, 199);
        assert_eq!(overlay.len(), 4, "what came and went has left no trace");
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
        assert_eq!(overlay.len(), 2);
        overlay.take();
        assert_eq!(overlay.bytes(), 0);
    }
}
