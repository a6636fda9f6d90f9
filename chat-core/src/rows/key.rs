//! Keys as bytes whose order is the order of what they mean.

use std::ops::Bound;

use serde::{Serialize, de::DeserializeOwned};
use smallvec::SmallVec;
use uuid::Uuid;

/// The bytes of a key. All but those that end with a name are shorter than this.
pub(crate) type KeyBytes = SmallVec<[u8; 40]>;

/// The key of one kind of row.
pub(crate) trait RowKey: Sized {
    /// The first byte of every key of this kind, different from that of all others.
    const TABLE: u8;

    /// What the row holds.
    type Value: Serialize + DeserializeOwned;

    /// Writes what follows the table's byte.
    fn write(&self, key: &mut KeyWriter);

    /// Reads what [`RowKey::write`] wrote; the caller checks that nothing is left.
    fn read(key: &mut KeyReader<'_>) -> Option<Self>;

    /// The whole key.
    fn encode(&self) -> KeyBytes {
        let mut key = KeyWriter::of::<Self>();
        self.write(&mut key);
        key.0
    }

    /// The key that these bytes are, if they are one of this kind.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (table, rest) = bytes.split_first()?;
        let mut reader = KeyReader(rest);
        let key = Self::read(&mut reader)?;
        (*table == Self::TABLE && reader.0.is_empty()).then_some(key)
    }
}

/// Writes the parts of a key.
pub(crate) struct KeyWriter(KeyBytes);

impl KeyWriter {
    fn of<K: RowKey>() -> Self {
        let mut key = KeyBytes::new();
        key.push(K::TABLE);
        Self(key)
    }

    pub(crate) fn number(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub(crate) fn long(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub(crate) fn uuid(&mut self, uuid: &Uuid) {
        self.0.extend_from_slice(uuid.as_bytes());
    }

    /// Goes last: nothing marks its end.
    pub(crate) fn text(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }
}

/// Reads the parts of a key.
pub(crate) struct KeyReader<'a>(&'a [u8]);

impl<'a> KeyReader<'a> {
    pub(crate) fn number(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_be_bytes)
    }

    pub(crate) fn long(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self) -> Option<Uuid> {
        self.bytes().map(Uuid::from_bytes)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(std::mem::take(&mut self.0)).ok()
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }
}

/// A stretch of keys of one table.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    start: Bound<KeyBytes>,
    end: Bound<KeyBytes>,
}

impl Span {
    /// All rows of a table.
    pub(crate) fn table<K: RowKey>() -> Self {
        Self::starting_with(KeyWriter::of::<K>().0)
    }

    /// The rows of a table whose keys start with these parts.
    pub(crate) fn prefix<K: RowKey>(parts: impl FnOnce(&mut KeyWriter)) -> Self {
        let mut key = KeyWriter::of::<K>();
        parts(&mut key);
        Self::starting_with(key.0)
    }

    /// Only what stands behind this key.
    pub(crate) fn after<K: RowKey>(mut self, key: &K) -> Self {
        self.start = Bound::Excluded(key.encode());
        self
    }

    /// Only what stands at this key or behind it.
    pub(crate) fn at_or_after<K: RowKey>(mut self, key: &K) -> Self {
        self.start = Bound::Included(key.encode());
        self
    }

    /// Only what stands before this key.
    pub(crate) fn before<K: RowKey>(mut self, key: &K) -> Self {
        self.end = Bound::Excluded(key.encode());
        self
    }

    /// Only what stands before every key that starts with these parts.
    pub(crate) fn before_parts<K: RowKey>(mut self, parts: impl FnOnce(&mut KeyWriter)) -> Self {
        let mut key = KeyWriter::of::<K>();
        parts(&mut key);
        self.end = Bound::Excluded(key.0);
        self
    }

    /// Only what stands at this key or before it.
    pub(crate) fn up_to<K: RowKey>(mut self, key: &K) -> Self {
        self.end = Bound::Included(key.encode());
        self
    }

    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (as_slice(&self.start), as_slice(&self.end))
    }

    fn starting_with(prefix: KeyBytes) -> Self {
        let mut end = prefix.clone();
        while end.last() == Some(&0xff) {
            end.pop();
        }
        let end = match end.last_mut() {
            Some(last) => {
                *last += 1;
                Bound::Excluded(end)
            }
            None => Bound::Unbounded,
        };
        Self {
            start: Bound::Included(prefix),
            end,
        }
    }
}

fn as_slice(bound: &Bound<KeyBytes>) -> Bound<&[u8]> {
    bound.as_ref().map(KeyBytes::as_slice)
}

/// What the tests of every kind of row share.
#[cfg(test)]
pub(crate) mod testing {
    use std::fmt::Debug;

    use super::RowKey;

    /// The key survives the way to bytes and back, and longer or shorter bytes are no key.
    pub(crate) fn check_key<K: RowKey + PartialEq + Debug>(key: &K) {
        let bytes = key.encode();
        assert_eq!(K::decode(&bytes).as_ref(), Some(key));
        assert!(bytes[0] == K::TABLE);
    }

    /// Bytes are ordered as keys are.
    pub(crate) fn check_order<K: RowKey + Ord>(one: &K, other: &K) {
        assert_eq!(one.encode().cmp(&other.encode()), one.cmp(other));
    }

    /// The value survives the way to bytes and back.
    pub(crate) fn check_value<K: RowKey>(value: &K::Value)
    where
        K::Value: PartialEq + Debug,
    {
        let bytes = postcard::to_stdvec(value).expect("values can be encoded");
        assert_eq!(postcard::from_bytes::<K::Value>(&bytes).as_ref(), Ok(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Last(u64);

    impl RowKey for Last {
        const TABLE: u8 = 0xff;
        type Value = ();

        fn write(&self, key: &mut KeyWriter) {
            key.long(self.0);
        }

        fn read(key: &mut KeyReader<'_>) -> Option<Self> {
            key.long().map(Self)
        }
    }

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        let span = Span::prefix::<Last>(|key| key.number(7));
        assert_eq!(
            span.bounds(),
            (
                Bound::Included(&[0xff, 0, 0, 0, 7][..]),
                Bound::Excluded(&[0xff, 0, 0, 0, 8][..])
            )
        );
        let span = Span::prefix::<Last>(|key| key.number(0x00ff_ffff));
        assert_eq!(span.bounds().1, Bound::Excluded(&[0xff, 1][..]));
        assert_eq!(Span::table::<Last>().bounds().1, Bound::Unbounded);
    }

    #[test]
    fn bytes_of_other_lengths_or_tables_are_no_key() {
        let key = Last(5).encode();
        assert!(Last::decode(&key).is_some());
        assert!(Last::decode(&key[..8]).is_none());
        assert!(Last::decode(&[&key[..], &[0]].concat()).is_none());
        assert!(Last::decode(&[&[1], &key[1..]].concat()).is_none());
        assert!(Last::decode(&[]).is_none());
    }
}
