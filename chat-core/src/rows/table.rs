//! Typed access to the store, and the sum over its rows.

use std::ops::ControlFlow;

use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    RowKey, Span,
    message::{MessageEntry, MessageKey, Stored},
};
use crate::{
    store::{CorruptRow, KeyValue, Order},
    values::id::MessageId,
};

/// The store, and the wrapping sum of the hashes of all its rows.
///
/// The sum is kept up without reading: whoever changes a row says what it held before.
#[derive(Clone, Debug)]
pub(crate) struct Rows<S> {
    store: S,
    sum: u128,
    /// Rows that are being written, so that each need not be allocated anew.
    written: Row,
    /// What they held.
    held: Row,
}

impl<S> Rows<S> {
    pub(crate) fn new(store: S, sum: u128) -> Self {
        Self {
            store,
            sum,
            written: Row::default(),
            held: Row::default(),
        }
    }

    pub(crate) fn sum(&self) -> u128 {
        self.sum
    }

    pub(crate) fn store(&self) -> &S {
        &self.store
    }

    pub(crate) fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    pub(crate) fn into_store(self) -> S {
        self.store
    }
}

impl<S: KeyValue> Rows<S> {
    /// The row of a key.
    pub(crate) fn read<K: RowKey>(&self, key: &K) -> Result<Option<K::Value>, S::Error> {
        let key = key.encode();
        match self.store.read(&key)? {
            Some(value) => self.decode(&key, &value).map(Some),
            None => Ok(None),
        }
    }

    /// The same of a row that is hardly read again soon.
    pub(crate) fn read_once<K: RowKey>(&self, key: &K) -> Result<Option<K::Value>, S::Error> {
        let key = key.encode();
        match self.store.read_once(&key)? {
            Some(value) => self.decode(&key, &value).map(Some),
            None => Ok(None),
        }
    }

    /// Writes a row that was not there.
    pub(crate) fn insert<K: RowKey>(&mut self, key: &K, value: &K::Value) -> Result<(), S::Error> {
        let row = &mut self.written;
        row.set(key, value);
        debug_assert!(
            matches!(self.store.read(row.key()), Ok(None) | Err(_)),
            "{:02x?} was there already",
            row.key()
        );
        self.sum = self.sum.wrapping_add(row.hash());
        self.store.insert(row.key(), row.value())
    }

    /// Writes a row over `old`, which it held.
    pub(crate) fn replace<K: RowKey>(
        &mut self,
        key: &K,
        old: &K::Value,
        new: &K::Value,
    ) -> Result<(), S::Error> {
        self.held.set(key, old);
        self.written.set(key, new);
        if self.held.value() == self.written.value() {
            return Ok(());
        }
        self.check_held();
        self.sum = self
            .sum
            .wrapping_sub(self.held.hash())
            .wrapping_add(self.written.hash());
        self.store.put(self.written.key(), self.written.value())
    }

    /// Removes a row, which held `old`.
    pub(crate) fn remove<K: RowKey>(&mut self, key: &K, old: &K::Value) -> Result<(), S::Error> {
        self.held.set(key, old);
        self.check_held();
        self.sum = self.sum.wrapping_sub(self.held.hash());
        self.store.delete(self.held.key())
    }

    /// Removes a row that may not be there, and says what it held.
    pub(crate) fn take<K: RowKey>(&mut self, key: &K) -> Result<Option<K::Value>, S::Error> {
        let old = self.read(key)?;
        if let Some(old) = &old {
            self.remove(key, old)?;
        }
        Ok(old)
    }

    /// Writes a row over `old` if there was one, else a new one.
    pub(crate) fn set<K: RowKey>(
        &mut self,
        key: &K,
        old: Option<&K::Value>,
        new: &K::Value,
    ) -> Result<(), S::Error> {
        match old {
            Some(old) => self.replace(key, old, new),
            None => self.insert(key, new),
        }
    }

    /// The rows of a span, at most `most`.
    pub(crate) fn list<K: RowKey>(
        &self,
        span: &Span,
        order: Order,
        most: usize,
    ) -> Result<Vec<(K, K::Value)>, S::Error> {
        let mut rows = Vec::new();
        if most == 0 {
            return Ok(rows);
        }
        self.visit::<K>(span, order, |key, value| {
            rows.push((key, value));
            if rows.len() >= most {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok(rows)
    }

    /// Shows the rows of a span until `visit` breaks.
    pub(crate) fn visit<K: RowKey>(
        &self,
        span: &Span,
        order: Order,
        mut visit: impl FnMut(K, K::Value) -> ControlFlow<()>,
    ) -> Result<(), S::Error> {
        let mut corrupt = None;
        self.store.scan(span.bounds(), order, &mut |key, value| {
            let row = K::decode(key)
                .ok_or_else(|| "its key is malformed".to_owned())
                .and_then(|key| decode_value(value).map(|value| (key, value)));
            match row {
                Ok((key, value)) => visit(key, value),
                Err(reason) => {
                    corrupt = Some(CorruptRow {
                        key: key.to_vec(),
                        reason,
                    });
                    ControlFlow::Break(())
                }
            }
        })?;
        match corrupt {
            Some(row) => Err(self.store.corrupt(row)),
            None => Ok(()),
        }
    }

    /// Writes the one row that is not part of the sum.
    pub(crate) fn put_unsummed<K: RowKey>(
        &mut self,
        key: &K,
        value: &K::Value,
    ) -> Result<(), S::Error> {
        self.written.set(key, value);
        self.store.put(self.written.key(), self.written.value())
    }

    /// The sum, computed from all rows that do not belong to table `K`.
    pub(crate) fn recompute_sum_without<K: RowKey>(&self) -> Result<u128, S::Error> {
        let mut sum = 0_u128;
        let mut row = Row::default();
        self.store.scan(
            (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded),
            Order::Ascending,
            &mut |key, value| {
                if key.first() != Some(&K::TABLE) {
                    row.set_key(key);
                    row.bytes.extend_from_slice(value);
                    sum = sum.wrapping_add(row.hash());
                }
                ControlFlow::Continue(())
            },
        )?;
        Ok(sum)
    }

    /// The error for a row that another row points to and that is not there.
    pub(crate) fn missing<K: RowKey>(&self, key: &K) -> S::Error {
        self.store.corrupt(CorruptRow {
            key: key.encode().to_vec(),
            reason: "another row needs it and it is missing".to_owned(),
        })
    }

    /// The row of a key that another row points to.
    pub(crate) fn require<K: RowKey>(&self, key: &K) -> Result<K::Value, S::Error> {
        self.read(key)?.ok_or_else(|| self.missing(key))
    }

    /// A message that another row points to.
    pub(crate) fn require_stored(&self, id: MessageId) -> Result<Stored, S::Error> {
        let key = MessageKey(id);
        match self.read_once(&key)? {
            Some(MessageEntry::Stored(stored)) => Ok(stored),
            Some(MessageEntry::Deleted { .. } | MessageEntry::Awaited(_)) | None => {
                Err(self.missing(&key))
            }
        }
    }

    fn decode<T: DeserializeOwned>(&self, key: &[u8], value: &[u8]) -> Result<T, S::Error> {
        decode_value(value).map_err(|reason| {
            self.store.corrupt(CorruptRow {
                key: key.to_vec(),
                reason,
            })
        })
    }

    /// A wrong sum would only show when replicas are compared: in tests, it shows where it is made.
    fn check_held(&self) {
        if cfg!(debug_assertions)
            && let Ok(held) = self.store.read(self.held.key())
        {
            assert_eq!(
                held.as_deref(),
                Some(self.held.value()),
                "row {:02x?} held something else",
                self.held.key()
            );
        }
    }
}

/// A row as one stretch of bytes: the key's length, the key, the value.
///
/// The length in front keeps a key's last bytes apart from a value's first. Most rows are small, and hashing one stretch
/// of bytes is much cheaper than feeding a hasher.
#[derive(Clone, Debug, Default)]
struct Row {
    bytes: Vec<u8>,
    value_at: usize,
}

/// Bytes of the key's length.
const LENGTH: usize = 4;

impl Row {
    fn set<K: RowKey>(&mut self, key: &K, value: &K::Value) {
        self.set_key(&key.encode());
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = postcard::to_extend(value, bytes).expect("a row can always be encoded");
    }

    fn set_key(&mut self, key: &[u8]) {
        self.bytes.clear();
        self.bytes
            .extend_from_slice(&(key.len() as u32).to_be_bytes());
        self.bytes.extend_from_slice(key);
        self.value_at = self.bytes.len();
    }

    fn key(&self) -> &[u8] {
        &self.bytes[LENGTH..self.value_at]
    }

    fn value(&self) -> &[u8] {
        &self.bytes[self.value_at..]
    }

    fn hash(&self) -> u128 {
        xxh3_128(&self.bytes)
    }
}

fn decode_value<T: DeserializeOwned>(value: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(value) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err("bytes follow its end".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
