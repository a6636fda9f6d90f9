//! A log as text.

use std::ops::ControlFlow;
use std::path::Path;

use chat_replication::disk_store::DiskStore;
use chat_replication::store::{Durable, Store};
use chat_replication::types::Index;

use super::InspectError;
use super::copy::FolderCopy;
use super::describe::{self, Bodies};

/// Entries are read in pieces of about so many bytes.
pub(super) const PIECE: usize = 4 << 20;

/// Which entries are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogRange {
    /// The first; entries that are not there any more are skipped.
    pub from: Index,
    /// How many at most.
    pub limit: u64,
}

/// The first entry that is still there.
pub(super) fn first_entry(durable: &Durable) -> Index {
    durable.compacted.index + 1
}

/// Writes the log of a replica that does not run, line by line, until `write` breaks.
///
/// # Errors
///
/// The replica runs, or its log cannot be read.
pub fn show_log(
    folder: &Path,
    range: LogRange,
    bodies: Bodies,
    mut write: impl FnMut(String) -> ControlFlow<()>,
) -> Result<(), InspectError> {
    let copy = FolderCopy::of(folder)?;
    let mut store = DiskStore::open_existing(copy.path())?;
    let mut lines = |line| write(line).is_break();
    let durable = store.load()?;
    let me = durable.identity;
    let last = durable.branches.last().index;
    let first = first_entry(&durable);
    let entries = match last {
        0 => "no entry".to_owned(),
        last if first > last => format!("no entry, all up to {last} are compacted"),
        last => format!("entries {first} to {last}"),
    };
    if lines(format!(
        "log of replica {} of cluster {}, disk {}",
        me.replica, me.cluster, me.store.0
    )) || lines(format!(
        "{entries}, {} epochs, promised epoch {}, {} orphans",
        durable.branches.epochs().len(),
        durable.promised,
        durable.orphans
    )) {
        return Ok(());
    }
    let mut next = range.from.max(first);
    let through = last.min(next.saturating_add(range.limit).saturating_sub(1));
    while next <= through {
        for entry in store.entries(next, through, PIECE)? {
            let what = describe::payload(&entry.payload, bodies);
            if lines(format!("{}  {what}", entry.position)) {
                return Ok(());
            }
            next = entry.position.index + 1;
        }
    }
    if through < last && lines(format!("... {} more entries", last - through)) {
        return Ok(());
    }
    let mut after = None;
    loop {
        let orphans = store.orphans(after, PIECE)?;
        let Some(newest) = orphans.last() else {
            return Ok(());
        };
        after = Some(newest.origin);
        for orphan in orphans {
            let what = describe::command(&orphan.command, bodies);
            if lines(format!("orphan, first at {}: {what}", orphan.origin)) {
                return Ok(());
            }
        }
    }
}
