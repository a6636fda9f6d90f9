//! Writing what a batch changes beside the entries.

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::file::Fault;
use super::rows::{
    BRANCHES, COMPACTED, DROPPED_IN, META, ORPHANS, PROMISED, SEGMENTS, STORE, Table, VIEW_STARTS,
    epoch_bytes, position_bytes, seal, seal_orphan, seal_segment, seal_view_start, unseal_orphan,
};
use super::segments::Segment;
use crate::branch::BranchTable;
use crate::store::Persist;
use crate::types::{Index, Orphan, Payload};

/// The log before or after a batch.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    pub(super) branches: &'a BranchTable,
    pub(super) compacted: Index,
    pub(super) segments: &'a [Segment],
}

/// Writes a batch into an open transaction, which cuts these commands off the log; the number of orphans afterwards.
pub(super) fn write(
    transaction: &WriteTransaction,
    batch: &Persist,
    cut: &[Orphan],
    old: Shape<'_>,
    new: Shape<'_>,
) -> Result<u64, Fault> {
    if let Some(promised) = batch.promised {
        put_meta(transaction, PROMISED, &epoch_bytes(promised))?;
    }
    if let Some(keep) = batch.truncate {
        cut_orphans(transaction, old.branches, keep)?;
    }
    let mut orphans = transaction.open_table(ORPHANS)?;
    for orphan in cut {
        let (key, value) = seal_orphan(orphan);
        orphans.insert(&key, value.as_slice())?;
    }
    for origin in &batch.forget {
        orphans.remove(&position_bytes(*origin))?;
    }
    if let Some(store) = batch.rename {
        put_meta(transaction, STORE, store.0.as_bytes())?;
    }
    write_view_starts(transaction, batch, new.branches)?;
    if new.compacted != old.compacted {
        put_meta(transaction, COMPACTED, &new.compacted.to_be_bytes())?;
    }
    if new.branches.dropped_in() != old.branches.dropped_in() {
        let epoch = epoch_bytes(new.branches.dropped_in());
        put_meta(transaction, DROPPED_IN, &epoch)?;
    }
    write_branches(transaction, old.branches, new.branches)?;
    write_segments(transaction, old.segments, new.segments)?;
    Ok(orphans.len()?)
}

/// The log that the orphans were to be proposed again in has lost as well.
fn cut_orphans(
    transaction: &WriteTransaction,
    log: &BranchTable,
    keep: Index,
) -> Result<(), Fault> {
    let mut table = transaction.open_table(ORPHANS)?;
    let mut changed = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        let mut orphan = unseal_orphan(key.value(), value.value())?;
        if keep < orphan.lineage.fork {
            orphan.lineage.cut(log, keep);
            changed.push(seal_orphan(&orphan));
        }
    }
    for (key, value) in changed {
        table.insert(&key, value.as_slice())?;
    }
    Ok(())
}

fn put_meta(transaction: &WriteTransaction, name: &str, body: &[u8]) -> Result<(), Fault> {
    let value = seal(Table::Meta, name.as_bytes(), body);
    transaction
        .open_table(META)?
        .insert(name, value.as_slice())?;
    Ok(())
}

fn write_view_starts(
    transaction: &WriteTransaction,
    batch: &Persist,
    branches: &BranchTable,
) -> Result<(), Fault> {
    let mut starts = transaction.open_table(VIEW_STARTS)?;
    if let Some(keep) = batch.truncate {
        starts.retain_in(keep.saturating_add(1).., |_, _| false)?;
    }
    if let Some(reset) = &batch.reset {
        let (index, start) = &reset.newest;
        starts.retain(|_, _| false)?;
        starts.insert(index, seal_view_start(*index, start).as_slice())?;
    }
    for entry in &batch.append {
        if let Payload::ViewStart(start) = &entry.payload {
            let index = entry.position.index;
            starts.insert(index, seal_view_start(index, start).as_slice())?;
        }
    }
    if batch.forget_epochs.is_some() {
        let oldest = branches.epochs().first().map_or(0, |(_, first)| *first);
        starts.retain_in(..oldest, |_, _| false)?;
    }
    Ok(())
}

fn write_branches(
    transaction: &WriteTransaction,
    old: &BranchTable,
    new: &BranchTable,
) -> Result<(), Fault> {
    let same = old.epochs().iter().zip(new.epochs());
    let shared = same.take_while(|(old, new)| old == new).count();
    if old.epochs().len() > shared || new.epochs().len() > shared {
        let mut table = transaction.open_table(BRANCHES)?;
        for (_, first) in &old.epochs()[shared..] {
            table.remove(first)?;
        }
        for (epoch, first) in &new.epochs()[shared..] {
            let value = seal(Table::Branches, &first.to_be_bytes(), &epoch_bytes(*epoch));
            table.insert(first, value.as_slice())?;
        }
    }
    Ok(())
}

fn write_segments(
    transaction: &WriteTransaction,
    old: &[Segment],
    new: &[Segment],
) -> Result<(), Fault> {
    let holds =
        |list: &[Segment], segment: &Segment| Segment::at(list, segment.first) == Some(segment);
    let mut table = transaction.open_table(SEGMENTS)?;
    for segment in old.iter().filter(|segment| !holds(new, segment)) {
        table.remove(segment.first)?;
    }
    for segment in new.iter().filter(|segment| !holds(old, segment)) {
        table.insert(segment.first, seal_segment(segment).as_slice())?;
    }
    Ok(())
}
