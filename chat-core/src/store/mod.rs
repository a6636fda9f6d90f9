//! The ordered key-value store beneath the state.

pub mod conformance;
mod memory;

use std::ops::{Bound, ControlFlow};

pub use self::memory::MemoryStore;

/// An ordered map from bytes to bytes, as large as its owner likes.
///
/// Everything that [`AccountManager`](crate::AccountManager) knows is in here; it keeps nothing else but a few counters
/// that it reads at the start. [`conformance::check`] tests an implementation.
pub trait KeyValue {
    /// Why the store failed. It is not retried: whoever applies commands stops.
    type Error;

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;

    /// The same of a row that is hardly read again soon, such as one message of a page. A store that keeps rows at hand
    /// need not keep this one.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn read_once(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error> {
        self.read(key)
    }

    /// Sets the value of a key, new or not.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Self::Error>;

    /// Sets the value of a key that has none, as [`put`](KeyValue::put) does. A store of several layers may note that it
    /// need not look for the key below.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<(), Self::Error> {
        self.put(key, value)
    }

    /// Removes a key, present or not.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn delete(&mut self, key: &[u8]) -> Result<(), Self::Error>;

    /// Shows each pair of the range to `visit`, in order, until it breaks. A range whose start is beyond its end is
    /// empty.
    ///
    /// # Errors
    ///
    /// The store failed.
    #[expect(
        clippy::type_complexity,
        reason = "an alias would hide what implementations must write anyway"
    )]
    fn scan(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        order: Order,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Self::Error>;

    /// The error for a row that holds what no version ever wrote: the store was damaged, or something else wrote to it.
    fn corrupt(&self, row: CorruptRow) -> Self::Error;
}

/// Which way to go through a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The least key first.
    Ascending,
    /// The greatest key first.
    Descending,
}

/// A row that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "row {key:02x?} of the state cannot be read ({reason}): restore this replica's state from another replica"
)]
pub struct CorruptRow {
    /// Its key.
    pub key: Vec<u8>,
    /// What is wrong with it.
    pub reason: String,
}
