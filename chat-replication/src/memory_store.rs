//! A log in memory, for tests and simulation.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeInclusive};
use std::path::PathBuf;

use bytes::Bytes;

use crate::branch::BranchTable;
use crate::store::{
    Durable, Identity, Persist, Persisted, Piece, Store, StoreError, branches_after, check_range,
    compacted_after,
};
use crate::types::{
    ClusterId, Entry, Epoch, Index, Lineage, Orphan, Payload, Position, StoreUuid, ViewStart,
};

/// A [`Store`] whose disk is memory. A clone is a second disk with the same content.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MemoryStore {
    identity: Identity,
    promised: Epoch,
    branches: BranchTable,
    log: BTreeMap<Index, Payload>,
    compacted: Index,
    /// View starts whose entries are gone.
    view_starts: BTreeMap<Index, ViewStart>,
    orphans: BTreeMap<Position, (Lineage, Bytes)>,
    /// Entries that cannot be read.
    damaged: BTreeSet<Index>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(identity: Identity) -> MemoryStore {
        MemoryStore {
            identity,
            promised: Epoch::default(),
            branches: BranchTable::default(),
            log: BTreeMap::new(),
            compacted: 0,
            view_starts: BTreeMap::new(),
            orphans: BTreeMap::new(),
            damaged: BTreeSet::new(),
        }
    }

    /// Damages the entries of a range that the log holds: rot.
    pub fn damage(&mut self, entries: RangeInclusive<Index>) {
        let held = self.log.range(entries).map(|(index, _)| *index);
        self.damaged.extend(held);
    }

    /// The payloads that can be read.
    pub fn readable(&self) -> impl Iterator<Item = &Payload> {
        let whole = self
            .log
            .iter()
            .filter(|(index, _)| !self.damaged.contains(index));
        whole.map(|(_, payload)| payload)
    }

    /// The stretch of damaged entries that begins at or behind an index.
    fn damaged_from(&self, from: Index) -> Option<RangeInclusive<Index>> {
        let first = *self.damaged.range(from..).next()?;
        let mut last = first;
        while self.damaged.contains(&(last + 1)) {
            last += 1;
        }
        Some(first..=last)
    }

    fn damaged(entries: RangeInclusive<Index>) -> StoreError {
        StoreError::DamagedEntries {
            path: PathBuf::from("memory"),
            entries,
            reason: "their checksums do not fit".to_owned(),
        }
    }

    /// Whose store it is.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Gives the disk to another cluster.
    pub(crate) fn move_to(&mut self, cluster: ClusterId) {
        self.identity.cluster = cluster;
    }

    /// Gives the disk another name.
    pub(crate) fn rename(&mut self, store: StoreUuid) {
        self.identity.store = store;
    }

    /// The highest epoch promised or accepted.
    pub(crate) fn promised(&self) -> Epoch {
        self.promised
    }

    /// The log in outline.
    pub(crate) fn branches(&self) -> &BranchTable {
        &self.branches
    }

    /// What the log says, in order.
    pub(crate) fn payloads(&self) -> impl Iterator<Item = &Payload> {
        self.log.values()
    }

    /// The newest view start that is known.
    pub(crate) fn newest_start(&self) -> Option<&ViewStart> {
        let mut newest_first = self.log.values().rev();
        let in_log = newest_first.find_map(|payload| match payload {
            Payload::ViewStart(start) => Some(start),
            Payload::Command(_) | Payload::Reproposed { .. } => None,
        });
        in_log.or_else(|| self.view_starts.values().next_back())
    }

    /// The orphans' commands, in the order of their origins.
    pub(crate) fn orphaned(&self) -> impl Iterator<Item = &Bytes> {
        self.orphans.values().map(|(_, command)| command)
    }

    /// Gives orphans back the lineages that they had then: the simulator breaks a rule by it.
    pub(crate) fn restore_lineages(&mut self, then: &MemoryStore) {
        for (origin, (lineage, _)) in &mut self.orphans {
            if let Some((known, _)) = then.orphans.get(origin) {
                lineage.clone_from(known);
            }
        }
    }

    /// Cuts the log behind an index.
    fn cut(&mut self, keep: Index) {
        for (index, payload) in self.log.split_off(&(keep.saturating_add(1))) {
            let position = self
                .branches
                .position_at(index)
                .expect("the log holds what is cut from it");
            let orphan = Entry { position, payload }.orphaned(&self.branches, keep);
            if let Some(orphan) = orphan {
                self.orphans
                    .insert(orphan.origin, (orphan.lineage, orphan.command));
            }
        }
        for (lineage, _) in self.orphans.values_mut() {
            lineage.cut(&self.branches, keep);
        }
    }
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Durable, StoreError> {
        let view_start = |(_, first): &(Epoch, Index)| match self.log.get(first) {
            Some(Payload::ViewStart(start)) => Some((*first, start.clone())),
            _ => self
                .view_starts
                .get(first)
                .map(|start| (*first, start.clone())),
        };
        Ok(Durable {
            identity: self.identity,
            promised: self.promised,
            branches: self.branches.clone(),
            compacted: self
                .branches
                .position_at(self.compacted)
                .expect("the branch table goes back to the beginning"),
            view_starts: self
                .branches
                .epochs()
                .iter()
                .filter_map(view_start)
                .collect(),
            orphans: self.orphans.len() as u64,
            damaged: std::iter::successors(self.damaged_from(0), |before| {
                self.damaged_from(before.end() + 1)
            })
            .collect(),
        })
    }

    fn persist(&mut self, batch: &Persist) -> Result<Persisted, StoreError> {
        let mended = batch.mend.iter().map(|entry| entry.position.index);
        let mut damaged = self.damaged.clone();
        for index in mended {
            damaged.remove(&index);
        }
        let given_up = match batch.truncate {
            Some(keep) if batch.give_up => damaged.split_off(&(keep + 1)),
            _ => BTreeSet::new(),
        };
        if let Some(keep) = batch.truncate
            && let Some(first) = damaged.range(keep.saturating_add(1)..).next()
        {
            return Err(MemoryStore::damaged(*first..=*first));
        }
        self.damaged = damaged;
        for index in given_up {
            self.log.remove(&index);
        }
        for entry in &batch.mend {
            assert!(
                self.branches.holds(entry.position),
                "only entries of the log are mended"
            );
            if let Some(payload) = self.log.get_mut(&entry.position.index) {
                *payload = entry.payload.clone();
            }
        }
        let promised = batch.promised.unwrap_or(self.promised);
        assert!(promised >= self.promised, "promises only grow");
        self.promised = promised;
        let branches = branches_after(&self.branches, batch);
        let compacted = compacted_after(self.compacted, batch, &branches);
        if let Some(keep) = batch.truncate {
            self.cut(keep);
        }
        if let Some(reset) = &batch.reset {
            self.log.clear();
            self.view_starts = BTreeMap::from([reset.newest.clone()]);
        }
        self.identity.store = batch.rename.unwrap_or(self.identity.store);
        self.branches = branches;
        self.log.extend(
            batch
                .append
                .iter()
                .map(|entry| (entry.position.index, entry.payload.clone())),
        );
        for origin in &batch.forget {
            self.orphans.remove(origin);
        }
        self.compacted = compacted;
        self.damaged = self.damaged.split_off(&(compacted + 1));
        let kept = self.log.split_off(&(compacted + 1));
        for (index, payload) in std::mem::replace(&mut self.log, kept) {
            if let Payload::ViewStart(start) = payload {
                self.view_starts.insert(index, start);
            }
        }
        let oldest = self
            .branches
            .epochs()
            .first()
            .map_or(0, |(_, first)| *first);
        self.view_starts = self.view_starts.split_off(&oldest);
        Ok(Persisted {
            orphans: self.orphans.len() as u64,
        })
    }

    fn entries(
        &self,
        from: Index,
        through: Index,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        check_range(from, through, self.compacted, &self.branches)?;
        let damaged = self
            .damaged_from(from)
            .filter(|range| *range.start() <= through);
        let through = match damaged {
            Some(range) if *range.start() == from => return Err(MemoryStore::damaged(range)),
            Some(range) => range.start() - 1,
            None => through,
        };
        let mut entries = Vec::new();
        let mut piece = Piece::new(max_bytes);
        for index in from..=through {
            let payload = self.log[&index].clone();
            if !piece.takes(payload.len()) {
                break;
            }
            let position = self
                .branches
                .position_at(index)
                .expect("the index is within the log");
            entries.push(Entry { position, payload });
        }
        Ok(entries)
    }

    fn bytes_behind(&self, index: Index) -> Result<u64, StoreError> {
        let behind = self.log.range(index + 1..);
        Ok(behind.map(|(_, payload)| payload.len() as u64).sum())
    }

    fn orphans(
        &self,
        after: Option<Position>,
        max_bytes: usize,
    ) -> Result<Vec<Orphan>, StoreError> {
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut orphans = Vec::new();
        let mut piece = Piece::new(max_bytes);
        for (origin, (lineage, command)) in self.orphans.range((lower, Bound::Unbounded)) {
            if !piece.takes(command.len()) {
                break;
            }
            orphans.push(Orphan {
                origin: *origin,
                lineage: lineage.clone(),
                command: command.clone(),
            });
        }
        Ok(orphans)
    }
}
