//! Rows that were read lately.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::overlay::{Key, kind_of};

/// Rows that were read lately: sessions, names and accounts are asked for with every call, and a search of the file costs
/// many times as much as one of a map.
#[derive(Debug, Default)]
pub(super) struct Lately {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

/// So that those who read at the same time rarely meet.
const SHARDS: usize = 8;
/// Memory that the rows of a shard may take; 32 MiB in all.
const MOST_BYTES: usize = 4 << 20;
/// Larger values are texts, which are rarely read twice.
const LARGEST: usize = 256;
/// What a row costs beside its value, roughly.
const ROW_BYTES: usize = 100;

#[derive(Debug, Default)]
struct Shard {
    /// By the kind of row.
    kinds: Vec<Kind>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Kind {
    /// Values by key; `None` where the file has no such row.
    rows: HashMap<Key, Option<Arc<[u8]>>>,
    bytes: usize,
}

impl Lately {
    /// What was learned of a row.
    pub(super) fn recall(&self, key: &[u8]) -> Option<Option<Arc<[u8]>>> {
        let shard = self.shard(key);
        shard.kinds.get(kind_of(key))?.rows.get(key).cloned()
    }

    pub(super) fn learn(&self, key: &[u8], value: Option<&[u8]>) {
        if value.is_some_and(|value| value.len() > LARGEST) {
            return;
        }
        self.shard(key).learn(key, value);
    }

    /// What was learned of rows that are the same in the file's next checkpoint, for that one: those of kinds of which
    /// nothing was written. Nothing is left here.
    pub(super) fn hand_over(&self, is_written: impl Fn(u8) -> bool) -> Lately {
        let next = Lately {
            shards: Default::default(),
            hasher: self.hasher.clone(),
        };
        for (from, to) in self.shards.iter().zip(&next.shards) {
            let mut shard = std::mem::take(&mut *lock(from));
            for (kind, learned) in (0..=u8::MAX).zip(&mut shard.kinds) {
                if is_written(kind) {
                    shard.bytes -= learned.bytes;
                    *learned = Kind::default();
                }
            }
            *lock(to) = shard;
        }
        next
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.hasher.hash_one(key) as usize % SHARDS])
    }
}

impl Shard {
    fn learn(&mut self, key: &[u8], value: Option<&[u8]>) {
        let bytes = ROW_BYTES + value.map_or(0, <[u8]>::len);
        if self.bytes + bytes > MOST_BYTES {
            self.forget_most();
        }
        let kind = kind_of(key);
        if self.kinds.len() <= kind {
            self.kinds.resize_with(kind + 1, Kind::default);
        }
        let learned = &mut self.kinds[kind];
        // Two who have read the same learn it twice.
        let before = learned
            .rows
            .insert(Key::from_slice(key), value.map(Arc::from));
        if before.is_none() {
            learned.bytes += bytes;
            self.bytes += bytes;
        }
    }

    /// Forgets the kind that takes most, which costs less than knowing what was used last. Somebody who reads histories
    /// does not make everybody's sessions be looked up anew.
    fn forget_most(&mut self) {
        if let Some(most) = self.kinds.iter_mut().max_by_key(|kind| kind.bytes) {
            self.bytes -= most.bytes;
            *most = Kind::default();
        }
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: u8, number: u32) -> Vec<u8> {
        [&[kind][..], &number.to_be_bytes()].concat()
    }

    fn bytes_of(lately: &Lately) -> usize {
        let shards = lately.shards.iter();
        shards
            .map(|shard| {
                let shard = lock(shard);
                let sum: usize = shard.kinds.iter().map(|kind| kind.bytes).sum();
                assert_eq!(shard.bytes, sum);
                sum
            })
            .sum()
    }

    #[test]
    fn what_was_learned_is_recalled_and_large_values_are_not_learned() {
        let lately = Lately::default();
        lately.learn(&key(1, 1), Some(b"one"));
        lately.learn(&key(1, 2), None);
        lately.learn(&key(1, 3), Some(&[0; LARGEST + 1]));
        assert_eq!(
            lately.recall(&key(1, 1)),
            Some(Some(Arc::from(&b"one"[..])))
        );
        assert_eq!(lately.recall(&key(1, 2)), Some(None));
        assert_eq!(lately.recall(&key(1, 3)), None);
        assert_eq!(lately.recall(&key(9, 1)), None);
    }

    #[test]
    fn kinds_that_were_written_are_not_handed_over() {
        let lately = Lately::default();
        for number in 0..100 {
            lately.learn(&key(1, number), Some(b"stays"));
            lately.learn(&key(2, number), Some(b"goes"));
        }
        let next = lately.hand_over(|kind| kind == 2);
        for number in 0..100 {
            assert!(next.recall(&key(1, number)).is_some());
            assert_eq!(next.recall(&key(2, number)), None);
            assert_eq!(lately.recall(&key(1, number)), None, "it was taken along");
        }
        assert_eq!(bytes_of(&next), 100 * (ROW_BYTES + 5));
        assert_eq!(bytes_of(&lately), 0);
    }

    #[test]
    fn memory_is_bounded_and_a_flood_of_one_kind_does_not_wash_others_away() {
        let lately = Lately::default();
        for number in 0..1000 {
            lately.learn(&key(1, number), Some(&[1; 50]));
        }
        for number in 0..1_000_000 {
            lately.learn(&key(2, number), Some(&[2; 50]));
        }
        assert!(bytes_of(&lately) <= SHARDS * MOST_BYTES);
        for number in 0..1000 {
            assert!(lately.recall(&key(1, number)).is_some());
        }
    }
}
