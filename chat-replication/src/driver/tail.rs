//! The newest entries of the log in memory, so that sending and applying them does not read the disk.

use std::collections::VecDeque;

use crate::store::{Persist, Store, StoreError};
use crate::types::{Entry, Index};

/// The end of the log: an unbroken row of entries up to the last one. What is not on disk yet is always among them.
pub(super) struct Tail {
    entries: VecDeque<Entry>,
    bytes: usize,
    max_bytes: usize,
}

impl Tail {
    pub(super) fn new(max_bytes: usize) -> Tail {
        Tail {
            entries: VecDeque::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// Follows the log through a batch, before that is written.
    pub(super) fn record(&mut self, batch: &Persist) {
        if let Some(keep) = batch.truncate {
            while self
                .entries
                .back()
                .is_some_and(|entry| entry.position.index > keep)
            {
                let cut = self.entries.pop_back();
                self.bytes -= cut.map_or(0, |entry| entry.payload.len());
            }
        }
        if batch.reset.is_some() {
            self.entries.clear();
            self.bytes = 0;
        }
        for entry in &batch.append {
            let last = self.entries.back().map(|entry| entry.position.index);
            assert!(
                last.is_none_or(|last| last + 1 == entry.position.index),
                "the log has no gaps"
            );
            self.bytes += entry.payload.len();
            self.entries.push_back(entry.clone());
        }
    }

    /// Lets go of the oldest entries, once all of them are on disk.
    pub(super) fn evict(&mut self) {
        while self.bytes > self.max_bytes {
            let Some(oldest) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= oldest.payload.len();
        }
    }

    /// Entries from `from` on, at most up to `through`, from memory or disk: at least one where there is one, and no more
    /// once `max_bytes` are reached.
    pub(super) fn read(
        &self,
        store: &impl Store,
        from: Index,
        through: Index,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let Some(first) = self.entries.front().map(|entry| entry.position.index) else {
            return store.entries(from, through, max_bytes);
        };
        if from < first {
            return store.entries(from, through.min(first - 1), max_bytes);
        }
        let mut bytes = 0;
        let within = |entry: &&Entry| {
            let begins = bytes == 0;
            bytes += entry.payload.len().max(1);
            entry.position.index <= through && (begins || bytes <= max_bytes)
        };
        let skip = usize::try_from(from - first).unwrap_or(usize::MAX);
        Ok(self
            .entries
            .iter()
            .skip(skip)
            .take_while(within)
            .cloned()
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::memory_store::MemoryStore;
    use crate::store::Identity;
    use crate::types::{
        ClusterId, Configuration, Epoch, Payload, Position, ReplicaId, StoreUuid, ViewStart,
    };

    fn entry(index: Index, number: u64, payload: Option<usize>) -> Entry {
        let epoch = Epoch {
            number,
            ..Epoch::default()
        };
        let start = ViewStart {
            members: Vec::new(),
            configuration: Configuration::default(),
            forced: false,
            apply_version: 1,
        };
        Entry {
            position: Position { epoch, index },
            payload: payload.map_or(Payload::ViewStart(start), |bytes| {
                Payload::Command(Bytes::from(vec![7; bytes]))
            }),
        }
    }

    fn write(tail: &mut Tail, store: &mut MemoryStore, batch: Persist) {
        tail.record(&batch);
        store.persist(&batch).expect("memory does not fail");
        tail.evict();
    }

    /// Read in steps of any size, the log is the same whether it lies in memory or on disk, and behind a cut as well.
    #[test]
    fn the_log_is_one_across_memory_and_disk() {
        let mut store = MemoryStore::new(Identity {
            cluster: ClusterId::default(),
            replica: ReplicaId(0),
            store: StoreUuid::default(),
        });
        let mut tail = Tail::new(300);
        let mut first: Vec<Entry> = vec![entry(1, 1, None)];
        first.extend((2..=40).map(|index| entry(index, 1, Some(index as usize % 30))));
        for piece in first.chunks(7) {
            write(
                &mut tail,
                &mut store,
                Persist {
                    append: piece.to_vec(),
                    ..Persist::default()
                },
            );
        }
        let second = vec![entry(36, 2, None), entry(37, 2, Some(1000))];
        write(
            &mut tail,
            &mut store,
            Persist {
                truncate: Some(35),
                append: second.clone(),
                ..Persist::default()
            },
        );
        assert_eq!(
            tail.entries.len(),
            0,
            "the last entry alone is over the limit"
        );
        let third = vec![entry(38, 2, Some(10)), entry(39, 2, Some(0))];
        write(
            &mut tail,
            &mut store,
            Persist {
                append: third.clone(),
                ..Persist::default()
            },
        );
        let expected = [&first[..35], &second, &third].concat();
        for max_bytes in [0, 1, 50, 299, usize::MAX] {
            for through in 1..=39 {
                let mut read = Vec::new();
                while read.len() < through {
                    let entries = tail
                        .read(&store, read.len() as u64 + 1, through as u64, max_bytes)
                        .expect("the range is there");
                    assert!(!entries.is_empty());
                    read.extend(entries);
                }
                assert_eq!(read, expected[..through]);
            }
        }
    }
}
