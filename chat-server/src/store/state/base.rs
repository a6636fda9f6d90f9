//! The file's rows at one checkpoint, and what makes them quicker to look up.

use std::ops::Bound;

use super::error::StateError;
use super::file::{Rows, StateFile};
use super::lately::Lately;
use super::newest::Newest;

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

    /// Learns what the base before has learned of rows that the checkpoint between them did not write.
    pub(super) fn take_over(&mut self, before: &Base, is_written: impl Fn(u8) -> bool) {
        self.lately = before.lately.hand_over(is_written);
    }

    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Whether the key is certainly not here, which takes no search.
    pub(super) fn is_before(&self, key: &[u8]) -> bool {
        self.newest.is_before(key)
    }

    /// What is known of a row without a look at the file: that it is not there, or what it was lately.
    pub(super) fn recall(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        if self.is_before(key) {
            return Some(None);
        }
        let value = self.lately.recall(key)?;
        Some(value.map(|value| value.to_vec()))
    }

    /// The row of a key, from the file. What is likely to be asked for again is to be learned.
    pub(super) fn read(
        &self,
        file: &StateFile,
        key: &[u8],
        learns: bool,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let value = file.read(&self.rows, key)?;
        if learns {
            self.lately.learn(key, value.as_deref());
        }
        Ok(value)
    }
}
