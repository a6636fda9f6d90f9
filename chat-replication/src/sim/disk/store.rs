//! A disk that a process has open.

use std::path::PathBuf;

use rand::RngExt;

use super::{Disk, unreadable};
use crate::disk_store::DiskStore;
use crate::sim::board::{Board, CrashPoint};
use crate::store::{Durable, Persist, Persisted, Store, StoreError};
use crate::types::{Entry, Index, Orphan, Position};

/// A disk that a process has open.
#[derive(Debug)]
pub(in crate::sim) struct SimStore {
    pub(super) disk: Disk,
    pub(super) store: Option<Box<DiskStore>>,
    pub(super) board: Board,
    pub(super) lowers_lineages: bool,
}

impl SimStore {
    fn power_is_gone() -> StoreError {
        StoreError::Io {
            path: PathBuf::from("simulated disk"),
            reason: "the power is gone".to_owned(),
        }
    }

    /// The batch reaches the disk, or does not, and nobody hears of it.
    fn fail_amid(&mut self, batch: &Persist) {
        let content = &mut *self.disk.content();
        if let (Some(store), Some(files)) = (&mut self.store, &content.files) {
            files.fail_after(content.random.random_range(0..12));
            // Even one that returned in time is undecided to the dead process.
            let _ = store.persist(batch);
        }
        content.undecided = Some(batch.clone());
    }

    fn write(&mut self, batch: &Persist) -> Result<Persisted, StoreError> {
        let content = &mut *self.disk.content();
        let told = match &mut self.store {
            Some(store) => Some(store.persist(batch)?),
            None => None,
        };
        let before = (!self.lowers_lineages && batch.truncate.is_some() && self.store.is_none())
            .then(|| content.known.clone());
        let persisted = content.known.persist(batch)?;
        assert!(
            told.is_none_or(|told| told.orphans == persisted.orphans),
            "the log keeps the orphans that it should: {told:?}, {persisted:?}"
        );
        if let Some(before) = before {
            content.known.restore_lineages(&before);
        }
        // The flush took along what had been written before.
        content.flushed = None;
        let durable = content.known.load()?;
        self.board.durable(durable.promised, &durable.branches);
        self.board.wrote(batch.clone());
        Ok(persisted)
    }
}

impl Store for SimStore {
    fn load(&mut self) -> Result<Durable, StoreError> {
        match &mut self.store {
            Some(store) => store.load(),
            None => self.disk.content().known.load(),
        }
    }

    fn persist(&mut self, batch: &Persist) -> Result<Persisted, StoreError> {
        if self.board.is_dead() {
            return Err(SimStore::power_is_gone());
        }
        if self.disk.content().full {
            self.board.kill();
            return Err(StoreError::Io {
                path: PathBuf::from("simulated disk"),
                reason: "no space is left".to_owned(),
            });
        }
        match self.board.take_crash_point() {
            Some(CrashPoint::Before) => {}
            Some(CrashPoint::Amid) => self.fail_amid(batch),
            Some(CrashPoint::After) => {
                self.write(batch)?;
            }
            // What a failed fsync leaves on the disk is anybody's guess, and nobody asks twice.
            Some(CrashPoint::Fsync) => {
                self.fail_amid(batch);
                self.board.kill();
                return Err(StoreError::Io {
                    path: PathBuf::from("simulated disk"),
                    reason: "the flush failed".to_owned(),
                });
            }
            Some(CrashPoint::Cut) if batch.truncate.is_some() || batch.reset.is_some() => {
                self.fail_amid(batch);
            }
            Some(point @ (CrashPoint::Cut | CrashPoint::Read)) => {
                self.board.plan_crash(point);
                return self.write(batch);
            }
            None => return self.write(batch),
        }
        self.board.kill();
        Err(SimStore::power_is_gone())
    }

    fn entries(
        &self,
        from: Index,
        through: Index,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        if self.disk.content().rotten || self.board.fails_to_read() {
            self.board.kill();
            return Err(unreadable());
        }
        match &self.store {
            Some(store) => store.entries(from, through, max_bytes),
            None => self.disk.content().known.entries(from, through, max_bytes),
        }
    }

    fn bytes_behind(&self, index: Index) -> Result<u64, StoreError> {
        self.disk.content().known.bytes_behind(index)
    }

    fn orphans(
        &self,
        after: Option<Position>,
        max_bytes: usize,
    ) -> Result<Vec<Orphan>, StoreError> {
        match &self.store {
            Some(store) => store.orphans(after, max_bytes),
            None => self.disk.content().known.orphans(after, max_bytes),
        }
    }
}
