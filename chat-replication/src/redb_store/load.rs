//! What a starting replica reads, and the first rows of a new file.

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use uuid::Uuid;

use super::file::Fault;
use super::rows::{
    self, ARCHIVED, BRANCHES, CLUSTER, COMPACTED, FORMAT, LOG, META, ORPHANS, PROMISED, REPLICA,
    STORE, Table, VIEW_STARTS, epoch_bytes, exactly, parse_epoch, parse_payload, seal, unseal,
};
use super::{Archive, FORMAT_VERSION};
use crate::branch::BranchTable;
use crate::store::{Bounds, Durable, Identity};
use crate::types::{ClusterId, Epoch, Index, Payload, ReplicaId, StoreUuid, ViewStart};

/// Writes the first rows of a new file.
pub(super) fn initialise(
    database: &Database,
    cluster: ClusterId,
    replica: ReplicaId,
) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        let mut put = |name: &str, body: &[u8]| {
            meta.insert(name, seal(Table::Meta, name.as_bytes(), body).as_slice())
                .map(|_| ())
        };
        put(FORMAT, &FORMAT_VERSION.to_be_bytes())?;
        put(CLUSTER, cluster.0.as_bytes())?;
        put(REPLICA, &replica.0.to_be_bytes())?;
        put(STORE, Uuid::new_v4().as_bytes())?;
        put(PROMISED, &epoch_bytes(Epoch::default()))?;
        transaction.open_table(LOG)?;
        transaction.open_table(BRANCHES)?;
        transaction.open_table(VIEW_STARTS)?;
        transaction.open_table(ORPHANS)?;
    }
    Ok(transaction.commit()?)
}

pub(super) fn meta<const N: usize>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<[u8; N], Fault> {
    let value = table
        .get(name)?
        .ok_or_else(|| Fault::Damaged(format!("it lacks its {name}")))?;
    Ok(*exactly(unseal(
        Table::Meta,
        name.as_bytes(),
        value.value(),
    )?)?)
}

/// The format version, and whose file it is. Newer formats must keep these rows.
pub(super) fn read_identity(database: &Database) -> Result<(u32, Identity), Fault> {
    let table = database.begin_read()?.open_table(META)?;
    let identity = Identity {
        cluster: ClusterId(Uuid::from_bytes(meta(&table, CLUSTER)?)),
        replica: ReplicaId(u32::from_be_bytes(meta(&table, REPLICA)?)),
        store: StoreUuid(Uuid::from_bytes(meta(&table, STORE)?)),
    };
    Ok((u32::from_be_bytes(meta(&table, FORMAT)?), identity))
}

/// Which entries are gone, and which in the archive.
pub(super) fn read_bounds(database: &Database) -> Result<Bounds, Fault> {
    let table = database.begin_read()?.open_table(META)?;
    // Files of the first days have no such rows.
    let bound = |name| match table.get(name)? {
        Some(_) => meta(&table, name).map(Index::from_be_bytes),
        None => Ok(0),
    };
    Ok(Bounds {
        compacted: bound(COMPACTED)?,
        archived: bound(ARCHIVED)?,
    })
}

/// Everything but the entries, checked against each other.
pub(super) fn read_durable(
    database: &Database,
    identity: Identity,
    archive: &Archive,
) -> Result<Durable, Fault> {
    let bounds = read_bounds(database)?;
    let transaction = database.begin_read()?;
    let promised = parse_epoch(&meta::<{ rows::EPOCH }>(
        &transaction.open_table(META)?,
        PROMISED,
    )?)?;
    let log = transaction.open_table(LOG)?;
    let last = log
        .last()?
        .map_or(bounds.archived, |(index, _)| index.value());
    let gapless = last.checked_sub(log.len()?) == Some(bounds.archived);
    if !gapless || bounds.archived < bounds.compacted {
        return Err(Fault::Damaged(format!(
            "the log begins behind {}, ends at {last} and has {} entries",
            bounds.archived,
            log.len()?
        )));
    }
    let view_start = |index: Index| -> Result<Option<ViewStart>, Fault> {
        let payload = if index > bounds.archived {
            let value = log.get(index)?.ok_or_else(|| super::missing(index))?;
            parse_payload(index, value.value())?
        } else if index > bounds.compacted {
            parse_payload(index, &archive.value(index)?)?
        } else {
            let table = transaction.open_table(VIEW_STARTS)?;
            let Some(value) = table.get(index)? else {
                return Ok(None);
            };
            parse_payload(index, value.value())?
        };
        match payload {
            Payload::ViewStart(start) => Ok(Some(start)),
            Payload::Command(_) | Payload::Reproposed { .. } => Err(Fault::Damaged(format!(
                "no view start stands at {index}, where an epoch begins"
            ))),
        }
    };
    let mut epochs = Vec::new();
    let mut view_starts: Vec<(Index, ViewStart)> = Vec::new();
    for row in transaction.open_table(BRANCHES)?.iter()? {
        let (first, epoch) = row?;
        let first = first.value();
        let epoch = unseal(Table::Branches, &first.to_be_bytes(), epoch.value())?;
        epochs.push((parse_epoch(epoch)?, first));
        view_starts.extend(view_start(first)?.map(|start| (first, start)));
    }
    let newest = epochs.last().map(|(_, first)| *first);
    if newest != view_starts.last().map(|(index, _)| *index) {
        return Err(Fault::Damaged(
            "its newest view start is missing".to_owned(),
        ));
    }
    let branches = BranchTable::from_parts(epochs, last)
        .ok_or_else(|| Fault::Damaged("its branch table does not fit its log".to_owned()))?;
    if branches.last().epoch > promised {
        return Err(Fault::Damaged(
            "its log is newer than its promise".to_owned(),
        ));
    }
    let compacted = branches
        .position_at(bounds.compacted)
        .ok_or_else(|| Fault::Damaged("its log ends before it begins".to_owned()))?;
    let orphans = transaction.open_table(ORPHANS)?.len()?;
    Ok(Durable {
        identity,
        promised,
        branches,
        compacted,
        archived: bounds.archived,
        view_starts,
        orphans,
    })
}
