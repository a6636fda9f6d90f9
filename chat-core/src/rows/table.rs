//! Typed access to the store, and the sum over its rows.

use std::ops::ControlFlow;

use serde::{Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::xxh3_128;

use super::{RowKey, Span};
use crate::store::{CorruptRow, KeyValue, Order};

/// The store, and the wrapping sum of the hashes of all its rows.
///
/// The sum is kept up without reading: whoever changes a row says what it held before.
#[derive(Clone, Debug)]
pub(crate) struct Rows<S> {
    store: S,
    sum: u128,
}

impl<S> Rows<S> {
    pub(crate) fn new(store: S, sum: u128) -> Self {
        Self { store, sum }
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

    /// Writes a row that was not there.
    pub(crate) fn insert<K: RowKey>(&mut self, key: &K, value: &K::Value) -> Result<(), S::Error> {
        let (key, value) = (key.encode(), encode(value));
        debug_assert!(
            matches!(self.store.read(&key), Ok(None) | Err(_)),
            "{key:02x?} was there already"
        );
        self.sum = self.sum.wrapping_add(row_hash(&key, &value));
        self.store.put(&key, &value)
    }

    /// Writes a row over `old`, which it held.
    pub(crate) fn replace<K: RowKey>(
        &mut self,
        key: &K,
        old: &K::Value,
        new: &K::Value,
    ) -> Result<(), S::Error> {
        let (key, old, new) = (key.encode(), encode(old), encode(new));
        if old == new {
            return Ok(());
        }
        self.check_held(&key, &old);
        self.sum = self
            .sum
            .wrapping_sub(row_hash(&key, &old))
            .wrapping_add(row_hash(&key, &new));
        self.store.put(&key, &new)
    }

    /// Removes a row, which held `old`.
    pub(crate) fn remove<K: RowKey>(&mut self, key: &K, old: &K::Value) -> Result<(), S::Error> {
        let (key, old) = (key.encode(), encode(old));
        self.check_held(&key, &old);
        self.sum = self.sum.wrapping_sub(row_hash(&key, &old));
        self.store.delete(&key)
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
        self.store.put(&key.encode(), &encode(value))
    }

    /// The sum, computed from all rows that do not belong to table `K`.
    pub(crate) fn recompute_sum_without<K: RowKey>(&self) -> Result<u128, S::Error> {
        let mut sum = 0_u128;
        self.store.scan(
            (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded),
            Order::Ascending,
            &mut |key, value| {
                if key.first() != Some(&K::TABLE) {
                    sum = sum.wrapping_add(row_hash(key, value));
                }
                ControlFlow::Continue(())
            },
        )?;
        Ok(sum)
    }

    /// The error for a row that another row points to and that is not there.
    pub(crate) fn missing<K: RowKey>(&self, key: &K) -> S::Error {
        self.store.corrupt(CorruptRow {
            key: key.encode(),
            reason: "another row needs it and it is missing".to_owned(),
        })
    }

    /// The row of a key that another row points to.
    pub(crate) fn require<K: RowKey>(&self, key: &K) -> Result<K::Value, S::Error> {
        self.read(key)?.ok_or_else(|| self.missing(key))
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
    fn check_held(&self, key: &[u8], old: &[u8]) {
        if cfg!(debug_assertions)
            && let Ok(held) = self.store.read(key)
        {
            assert_eq!(
                held.as_deref(),
                Some(old),
                "row {key:02x?} held something else"
            );
        }
    }
}

/// The hash of one row.
fn row_hash(key: &[u8], value: &[u8]) -> u128 {
    // The length in front keeps a key's last bytes apart from a value's first. Most rows are small, and hashing one
    // stretch of bytes is much cheaper than feeding a hasher.
    let mut row = Vec::with_capacity(4 + key.len() + value.len());
    row.extend_from_slice(&(key.len() as u32).to_be_bytes());
    row.extend_from_slice(key);
    row.extend_from_slice(value);
    xxh3_128(&row)
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("a row can always be encoded")
}

fn decode_value<T: DeserializeOwned>(value: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(value) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err("bytes follow its end".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
