//! Entries, batches, and a description of batches that fits any log.

use chat_replication::branch::BranchTable;
use chat_replication::disk_store::{CrashFolder, DiskStore};
use chat_replication::memory_store::MemoryStore;
use chat_replication::store::{Durable, Identity, Persist, Reset, Store, StoreError};
use chat_replication::types::{
    ClusterId, Configuration, Entry, Epoch, Index, Lineage, Orphan, Payload, Position, ReplicaId,
    StoreUuid, ViewStart,
};
use proptest::prelude::*;
use uuid::Uuid;

pub(crate) const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(7));
pub(crate) const REPLICA: ReplicaId = ReplicaId(1);

/// An epoch of a leader whose disk has the same number.
pub(crate) fn epoch(number: u64, replica: u32) -> Epoch {
    Epoch {
        number,
        replica: ReplicaId(replica),
        store: StoreUuid(Uuid::from_u128(u128::from(replica))),
    }
}

pub(crate) fn position(index: Index, epoch: Epoch) -> Position {
    Position { epoch, index }
}

pub(crate) fn view_start(index: Index, epoch: Epoch) -> Entry {
    let start = ViewStart {
        members: vec![epoch.replica],
        configuration: Configuration::default(),
        forced: index.is_multiple_of(2),
        apply_version: 1,
    };
    Entry {
        position: position(index, epoch),
        payload: Payload::ViewStart(start),
    }
}

pub(crate) fn command(index: Index, epoch: Epoch, command: impl Into<Vec<u8>>) -> Entry {
    Entry {
        position: position(index, epoch),
        payload: Payload::Command(command.into().into()),
    }
}

pub(crate) fn reproposed(
    index: Index,
    epoch: Epoch,
    origin: Position,
    lineage: Lineage,
    command: impl Into<Vec<u8>>,
) -> Entry {
    let payload = Payload::Reproposed {
        origin,
        lineage,
        command: command.into().into(),
    };
    Entry {
        position: position(index, epoch),
        payload,
    }
}

pub(crate) fn append(entries: Vec<Entry>) -> Persist {
    let promised = entries.last().map(|entry| entry.position.epoch);
    Persist {
        promised,
        append: entries,
        ..Persist::default()
    }
}

/// Opens the log in a folder that can lose power.
pub(crate) fn open(folder: &CrashFolder) -> Result<DiskStore, StoreError> {
    DiskStore::open_in(folder.connect(), "simulated disk", CLUSTER, REPLICA)
}

/// A view start as a snapshot brings it, with the branches that lead to it.
pub(crate) fn reset(epochs: &[(Epoch, Index)], last: Index) -> Reset {
    let branches = BranchTable::from_parts(epochs.to_vec(), last).expect("the epochs grow");
    let (epoch, first) = epochs[epochs.len() - 1];
    let Payload::ViewStart(start) = view_start(first, epoch).payload else {
        unreachable!("it was made as one");
    };
    Reset {
        branches,
        newest: (first, start),
    }
}

/// Everything that a store can be asked for.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Content {
    pub(crate) durable: Durable,
    pub(crate) entries: Vec<Entry>,
    pub(crate) orphans: Vec<Orphan>,
}

pub(crate) fn content(store: &mut dyn Store) -> Content {
    let durable = store.load().expect("the store can be loaded");
    let last = durable.branches.last_index();
    let entries = store
        .entries(durable.compacted.index + 1, last, usize::MAX)
        .expect("all entries can be read");
    let orphans = store
        .orphans(None, usize::MAX)
        .expect("the orphans can be read");
    assert_eq!(durable.orphans, orphans.len() as u64);
    Content {
        durable,
        entries,
        orphans,
    }
}

/// A memory store of the same identity.
pub(crate) fn model_of(store: &DiskStore) -> MemoryStore {
    MemoryStore::new(store.identity())
}

pub(crate) fn memory_store() -> MemoryStore {
    MemoryStore::new(Identity {
        cluster: CLUSTER,
        replica: REPLICA,
        store: StoreUuid(Uuid::from_u128(1)),
    })
}

/// A batch that means something whatever the store holds.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Cuts this many entries off the end.
    pub(crate) cut: Option<u64>,
    /// Starts a view of this replica.
    pub(crate) view: Option<u32>,
    pub(crate) promise: bool,
    pub(crate) commands: Vec<Vec<u8>>,
    /// Proposes the first of the orphans again.
    pub(crate) reproposed: usize,
    /// Forgets the first of the orphans.
    pub(crate) forget: usize,
    /// Begins anew behind a snapshot so far ahead.
    pub(crate) snapshot: Option<u64>,
    /// Drops these thousandths of what is left.
    pub(crate) compact: Option<u64>,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let command = prop_oneof![8 => prop::collection::vec(any::<u8>(), 0..40), 1 => prop::collection::vec(any::<u8>(), 3000..9000)];
    (
        prop::option::weighted(0.2, 0..12u64),
        prop::option::weighted(0.2, 0..3u32),
        any::<bool>(),
        prop::collection::vec(command, 0..8),
        0..3usize,
        0..3usize,
        prop::option::weighted(0.05, 0..20u64),
        prop::option::weighted(0.15, 0..1000u64),
    )
        .prop_map(
            |(cut, view, promise, commands, reproposed, forget, snapshot, compact)| Step {
                cut,
                view,
                promise,
                commands,
                reproposed,
                forget,
                snapshot,
                compact,
            },
        )
}

impl Step {
    /// The batch that this step is for a store of this content.
    pub(crate) fn batch(&self, content: &Content) -> Persist {
        let mut branches = content.durable.branches.clone();
        let mut compacted = content.durable.compacted.index;
        let least = if self.snapshot.is_some() {
            0
        } else {
            compacted
        };
        let truncate = self
            .cut
            .map(|cut| branches.last_index().saturating_sub(cut).max(least));
        if let Some(keep) = truncate {
            branches.truncate(keep);
        }
        let mut append = Vec::new();
        let mut promised = content.durable.promised;
        let reset = self.snapshot.map(|ahead| {
            promised = epoch(promised.number + 1, 0);
            let start = branches.last_index() + 1;
            let epochs = [branches.epochs(), &[(promised, start)]].concat();
            reset(&epochs, start + ahead)
        });
        if let Some(reset) = &reset {
            branches.clone_from(&reset.branches);
            compacted = branches.last_index();
        }
        // Within an epoch no index is appended twice, so behind a cut a new one begins.
        let must_start = reset.is_none() && (truncate.is_some() || branches.last_index() == 0);
        let starts = self.view.or(must_start.then_some(0));
        if let Some(replica) = starts {
            promised = epoch(promised.number + 1, replica);
            append.push(view_start(branches.last_index() + 1, promised));
            branches.append(append[0].position);
        }
        let current = branches.last().epoch;
        for bytes in &self.commands {
            append.push(command(branches.last_index() + 1, current, bytes.clone()));
            branches.append(position(branches.last_index() + 1, current));
        }
        for orphan in content.orphans.iter().take(self.reproposed) {
            append.push(reproposed(
                branches.last_index() + 1,
                current,
                orphan.origin,
                orphan.lineage.clone(),
                orphan.command.to_vec(),
            ));
            branches.append(position(branches.last_index() + 1, current));
        }
        if self.promise {
            promised.number += 1;
        }
        let last = branches.last_index();
        let share = |thousandths: Option<u64>, last: u64| {
            thousandths.map(|share| compacted + (last - compacted) * share / 1000)
        };
        Persist {
            mend: Vec::new(),
            promised: (promised != content.durable.promised).then_some(promised),
            truncate,
            reset,
            append,
            compact: share(self.compact, last),
            forget: content
                .orphans
                .iter()
                .take(self.forget)
                .map(|orphan| orphan.origin)
                .collect(),
            ..Persist::default()
        }
    }
}
