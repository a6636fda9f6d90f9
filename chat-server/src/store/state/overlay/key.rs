//! Keys that are compared as numbers.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

/// A row's key, within the map's own nodes unless it is longer than most: a search need not follow it elsewhere.
#[derive(Clone)]
pub(in crate::store::state) enum Key {
    Short(Short),
    Long(Box<[u8]>),
}

/// The bytes, zeros behind them, and their number in the last place: the order of the whole, as two great numbers, is that
/// of the bytes, since of two that are only told apart by zeros the shorter comes first.
#[derive(Clone, Copy)]
pub(in crate::store::state) struct Short([u8; SIZE]);

/// With the byte that tells the two kinds apart, a key is half a cache line.
const SIZE: usize = 31;
const LENGTH: usize = SIZE - 1;

impl Short {
    fn first(&self) -> u128 {
        let (bytes, _) = self.0.split_first_chunk().expect("it is longer than that");
        u128::from_be_bytes(*bytes)
    }

    /// One byte is in both, which does no harm: it is looked at where the first is equal.
    fn second(&self) -> u128 {
        let (_, bytes) = self.0.split_last_chunk().expect("it is longer than that");
        u128::from_be_bytes(*bytes)
    }
}

impl Key {
    pub(in crate::store::state) fn from_slice(key: &[u8]) -> Key {
        if key.len() > LENGTH {
            return Key::Long(key.into());
        }
        let mut bytes = [0; SIZE];
        bytes[..key.len()].copy_from_slice(key);
        bytes[LENGTH] = key.len() as u8;
        Key::Short(Short(bytes))
    }

    pub(in crate::store::state) fn as_slice(&self) -> &[u8] {
        match self {
            Key::Short(Short(bytes)) => &bytes[..usize::from(bytes[LENGTH])],
            Key::Long(bytes) => bytes,
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Short(one), Key::Short(other)) => one
                .first()
                .cmp(&other.first())
                .then_with(|| one.second().cmp(&other.second())),
            _ => self.as_slice().cmp(other.as_slice()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

/// Ordered, equal and hashed as its bytes.
impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x?}", self.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        // Few different bytes, so that many keys begin alike; about as long as keys may be within a node.
        prop_oneof![
            vec(0_u8..3, 0..6),
            vec(0_u8..2, LENGTH - 2..LENGTH + 3),
            vec(any::<u8>(), 0..40),
        ]
    }

    proptest! {
        #[test]
        fn keys_are_ordered_as_their_bytes(one in bytes(), other in bytes(), shared in bytes()) {
            let both = [&shared, &one].map(|tail| [&shared[..], tail].concat());
            for (one, other) in [(&one, &other), (&both[0], &both[1])] {
                let keys = [one, other].map(|bytes| Key::from_slice(bytes));
                prop_assert_eq!(keys[0].as_slice(), &one[..]);
                prop_assert_eq!(keys[0].cmp(&keys[1]), one.cmp(other));
            }
        }
    }

    #[test]
    fn a_key_is_half_a_cache_line() {
        assert_eq!(size_of::<Key>(), 32);
    }
}
