//! What the manifest says, and what a transaction changes of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::segments::Segment;
use super::super::trouble::Trouble;
use crate::types::{Epoch, Index, Orphan, Position, StoreUuid, ViewStart};

/// Everything but the entries.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Contents {
    /// What the store is called now.
    pub(in super::super) store: StoreUuid,
    /// The highest epoch promised or accepted.
    pub(in super::super) promised: Epoch,
    /// Entries up to this index are gone.
    pub(in super::super) compacted: Index,
    /// The last epoch in which it was decided to drop entries, and up to which.
    pub(in super::super) dropped: Position,
    /// The epochs of the log, each with the index of its first entry.
    pub(in super::super) epochs: Vec<(Epoch, Index)>,
    /// View starts by index, also some whose entries are gone.
    pub(in super::super) view_starts: BTreeMap<Index, ViewStart>,
    /// The files that hold the entries, by the index of their first.
    pub(in super::super) segments: BTreeMap<Index, Segment>,
    /// Where the orphans are.
    pub(in super::super) orphans: BTreeMap<Position, Place>,
}

/// Where an orphan is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct Place {
    /// Where its frame begins.
    pub(super) at: u64,
    /// Length of its command.
    pub(super) len: u32,
    /// Up to where its branch and the log are the same.
    pub(super) fork: Index,
}

impl Place {
    pub(super) fn of(orphan: &Orphan, at: u64) -> Place {
        Place {
            at,
            len: u32::try_from(orphan.command.len()).unwrap_or(u32::MAX),
            fork: orphan.lineage.fork,
        }
    }
}

/// A part of a transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Record {
    /// Commands that are cut off the log, and orphans whose lineage is another from now on. They count once the change behind
    /// them is there, and in place of what was said of them before.
    Orphans(Vec<Orphan>),
    /// The last part.
    Change(Box<Change>),
}

/// What a transaction changes, in the order of the fields.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(in super::super) struct Change {
    /// What the store is called from now on.
    pub(in super::super) store: StoreUuid,
    /// The promise from now on.
    pub(in super::super) promised: Epoch,
    /// Up to where entries are gone from now on.
    pub(in super::super) compacted: Index,
    /// The last epoch in which it was decided to drop entries, and up to which.
    pub(in super::super) dropped: Position,
    /// How many epochs stay, from the first.
    pub(in super::super) epochs_kept: u64,
    /// Those that follow them.
    pub(in super::super) epochs: Vec<(Epoch, Index)>,
    /// View starts from this index on go.
    pub(in super::super) starts_dropped: Index,
    /// Those that come.
    pub(in super::super) starts: Vec<(Index, ViewStart)>,
    /// Segments that go.
    pub(in super::super) segments_dropped: Vec<Index>,
    /// Segments that come, or are not what they were.
    pub(in super::super) segments: Vec<Segment>,
    /// Orphans that go.
    pub(in super::super) forgotten: Vec<Position>,
}

impl Contents {
    /// Does what a transaction says.
    pub(super) fn apply(&mut self, change: &Change) {
        self.store = change.store;
        self.promised = change.promised;
        self.compacted = change.compacted;
        self.dropped = change.dropped;
        self.epochs
            .truncate(usize::try_from(change.epochs_kept).unwrap_or(usize::MAX));
        self.epochs.extend(&change.epochs);
        self.view_starts.split_off(&change.starts_dropped);
        self.view_starts.extend(change.starts.iter().cloned());
        // Epochs that are forgotten take theirs along.
        let oldest = self.epochs.first().map_or(0, |(_, first)| *first);
        self.view_starts = self.view_starts.split_off(&oldest);
        for first in &change.segments_dropped {
            self.segments.remove(first);
        }
        let segments = change.segments.iter().cloned();
        self.segments
            .extend(segments.map(|segment| (segment.first, segment)));
        for origin in &change.forgotten {
            self.orphans.remove(origin);
        }
    }

    /// What makes these contents of empty ones, but for the orphans.
    pub(super) fn as_change(&self) -> Change {
        Change {
            store: self.store,
            promised: self.promised,
            compacted: self.compacted,
            dropped: self.dropped,
            epochs_kept: 0,
            epochs: self.epochs.clone(),
            starts_dropped: 0,
            starts: self
                .view_starts
                .iter()
                .map(|(at, start)| (*at, start.clone()))
                .collect(),
            segments_dropped: Vec::new(),
            segments: self.segments.values().cloned().collect(),
            forgotten: Vec::new(),
        }
    }
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a record holds nothing that postcard cannot encode")
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Record, Trouble> {
        postcard::from_bytes(bytes)
            .map_err(|error| Trouble::Damaged(format!("a record cannot be read: {error}")))
    }
}
