//! Writing a batch.

use redb::{ReadableTable, ReadableTableMetadata, Table as RedbTable, WriteTransaction};

use super::file::Fault;
use super::rows::{
    ARCHIVED, BRANCHES, COMPACTED, EncodedPayload, LOG, META, ORPHANS, POSITION, PROMISED, Table,
    VIEW_STARTS, epoch_bytes, parse_payload, position_bytes, seal,
};
use super::{Archive, missing};
use crate::branch::BranchTable;
use crate::store::{Bounds, Persist, Reset};
use crate::types::{Index, Payload};

/// The log before or after a batch.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    pub(super) branches: &'a BranchTable,
    pub(super) bounds: Bounds,
}

/// Writes a batch into an open transaction; the number of orphans afterwards. Entries that move to the archive are there
/// already.
pub(super) fn write(
    transaction: &WriteTransaction,
    archive: &Archive,
    batch: &Persist,
    old: Shape<'_>,
    new: Shape<'_>,
) -> Result<u64, Fault> {
    if let Some(promised) = batch.promised {
        put_meta(transaction, PROMISED, &epoch_bytes(promised))?;
    }
    let mut orphans = transaction.open_table(ORPHANS)?;
    if let Some(keep) = batch.truncate {
        cut(transaction, archive, &mut orphans, old, keep)?;
    }
    if let Some(reset) = &batch.reset {
        begin_anew(transaction, reset)?;
    }
    let mut log = transaction.open_table(LOG)?;
    for entry in &batch.append {
        let index = entry.position.index;
        let payload = EncodedPayload::new(&entry.payload);
        payload.write(
            index,
            log.insert_reserve(index, payload.sealed_len())?.as_mut(),
        );
    }
    for origin in &batch.forget {
        orphans.remove(&position_bytes(*origin))?;
    }
    drop(log);
    let gone_before = batch
        .reset
        .as_ref()
        .map_or(old.bounds.compacted, |reset| reset.branches.last_index());
    if new.bounds.compacted > gone_before {
        keep_view_starts(transaction, archive, gone_before, new)?;
    }
    if new.bounds != old.bounds {
        // Those in the archive only are dropped there once this is durable.
        let mut log = transaction.open_table(LOG)?;
        log.retain_in(..=new.bounds.archived, |_, _| false)?;
        put_meta(transaction, COMPACTED, &new.bounds.compacted.to_be_bytes())?;
        put_meta(transaction, ARCHIVED, &new.bounds.archived.to_be_bytes())?;
    }
    write_branches(transaction, old.branches, new.branches)?;
    Ok(orphans.len()?)
}

fn put_meta(transaction: &WriteTransaction, name: &str, body: &[u8]) -> Result<(), Fault> {
    let value = seal(Table::Meta, name.as_bytes(), body);
    transaction
        .open_table(META)?
        .insert(name, value.as_slice())?;
    Ok(())
}

/// Moves the commands behind an index to the orphans.
fn cut(
    transaction: &WriteTransaction,
    archive: &Archive,
    orphans: &mut RedbTable<'_, &'static [u8; POSITION], &'static [u8]>,
    old: Shape<'_>,
    keep: Index,
) -> Result<(), Fault> {
    let last = old.branches.last_index();
    let Bounds {
        compacted,
        archived,
    } = old.bounds;
    let mut orphan = |index: Index, value: &[u8]| -> Result<(), Fault> {
        let (origin, command) = match parse_payload(index, value)? {
            Payload::Command(command) => {
                let origin = old.branches.position_at(index);
                (origin.ok_or_else(|| missing(index))?, command)
            }
            Payload::Reproposed { origin, command } => (origin, command),
            Payload::ViewStart(_) => return Ok(()),
        };
        let key = position_bytes(origin);
        orphans.insert(&key, seal(Table::Orphans, &key, &command).as_slice())?;
        Ok(())
    };
    let in_archive = keep.max(compacted) + 1..=archived.min(last);
    if !in_archive.is_empty() {
        archive.values(in_archive, |index, value| {
            orphan(index, value).map(|()| true)
        })?;
    }
    let mut log = transaction.open_table(LOG)?;
    for index in keep.max(archived) + 1..=last {
        let value = log.remove(index)?.ok_or_else(|| missing(index))?;
        orphan(index, value.value())?;
    }
    transaction
        .open_table(VIEW_STARTS)?
        .retain_in(keep.saturating_add(1).., |_, _| false)?;
    Ok(())
}

/// Drops what is left of the log.
fn begin_anew(transaction: &WriteTransaction, reset: &Reset) -> Result<(), Fault> {
    for table in [LOG, VIEW_STARTS] {
        // Far less work than dropping row by row.
        transaction.delete_table(table)?;
        transaction.open_table(table)?;
    }
    let (index, start) = &reset.newest;
    let start = Payload::ViewStart(start.clone());
    let payload = EncodedPayload::new(&start);
    let mut table = transaction.open_table(VIEW_STARTS)?;
    let mut value = table.insert_reserve(*index, payload.sealed_len())?;
    payload.write(*index, value.as_mut());
    Ok(())
}

/// Copies the view starts among the entries that are about to go.
fn keep_view_starts(
    transaction: &WriteTransaction,
    archive: &Archive,
    gone_before: Index,
    new: Shape<'_>,
) -> Result<(), Fault> {
    let mut kept = transaction.open_table(VIEW_STARTS)?;
    let log = transaction.open_table(LOG)?;
    let gone = gone_before + 1..=new.bounds.compacted;
    let firsts = new.branches.epochs().iter().map(|(_, first)| *first);
    for index in firsts.filter(|first| gone.contains(first)) {
        match log.get(index)? {
            Some(value) => kept.insert(index, value.value())?,
            None => kept.insert(index, archive.value(index)?.as_slice())?,
        };
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
