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
    /// `lately` is what is known of these rows already.
    pub(super) fn of(file: &StateFile, rows: Rows, lately: Lately) -> Result<Base, StateError> {
        Ok(Base {
            newest: Newest::find(|bound| {
                file.run(|_| {
                    let last = rows.range::<&[u8]>((Bound::Unbounded, bound))?.next_back();
                    Ok(last.transpose()?.map(|row| row.0.value().to_vec()))
                })
            })?,
            rows,
            lately,
        })
    }

    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Whether the key is certainly not here, which takes no search.
    pub(super) fn is_before(&self, key: &[u8]) -> bool {
        self.newest.is_before(key)
    }

    /// What was learned of rows that a checkpoint does not write, for the base behind it.
    pub(super) fn hand_over(&self, is_written: impl Fn(u8) -> bool) -> Lately {
        self.lately.hand_over(is_written)
    }

    /// The row of a key. What is likely to be asked for again is to be learned.
    pub(super) fn read(
        &self,
        file: &StateFile,
        key: &[u8],
        learns: bool,
    ) -> Result<Option<Vec<u8>>, StateError> {
        if self.is_before(key) {
            return Ok(None);
        }
        if let Some(value) = self.lately.recall(key) {
            return Ok(value.map(|value| value.to_vec()));
        }
        let value = file.read(&self.rows, key)?;
        if learns {
            self.lately.learn(key, value.as_deref());
        }
        Ok(value)
    }
}
