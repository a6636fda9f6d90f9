//! What a starting replica reads, and the first rows of a new file.

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use uuid::Uuid;

use super::FORMAT_VERSION;
use super::file::Fault;
use super::rows::{
    self, BRANCHES, CLUSTER, COMPACTED, CREATED, DROPPED_IN, FORMAT, META, ORPHANS, PROMISED,
    REPLICA, SEGMENTS, STORE, Table, VIEW_STARTS, epoch_bytes, exactly, parse_epoch, seal, unseal,
    unseal_segment, unseal_view_start,
};
use super::segments::Segment;
use crate::branch::BranchTable;
use crate::store::{Durable, Identity};
use crate::types::{ClusterId, Epoch, Index, ReplicaId, StoreUuid, ViewStart};

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
        let created = Uuid::new_v4();
        put(STORE, created.as_bytes())?;
        put(CREATED, created.as_bytes())?;
        put(PROMISED, &epoch_bytes(Epoch::default()))?;
        put(COMPACTED, &Index::default().to_be_bytes())?;
        put(DROPPED_IN, &epoch_bytes(Epoch::default()))?;
        transaction.open_table(SEGMENTS)?;
        transaction.open_table(BRANCHES)?;
        transaction.open_table(VIEW_STARTS)?;
        transaction.open_table(ORPHANS)?;
    }
    Ok(transaction.commit()?)
}

fn meta<const N: usize>(
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

/// The store uuid that the disk was created with.
pub(super) fn read_created(database: &Database) -> Result<StoreUuid, Fault> {
    let table = database.begin_read()?.open_table(META)?;
    Ok(StoreUuid(Uuid::from_bytes(meta(&table, CREATED)?)))
}

/// Up to where entries are gone, and the segments that hold the others.
pub(super) fn read_segments(database: &Database) -> Result<(Index, Vec<Segment>), Fault> {
    let transaction = database.begin_read()?;
    let meta_rows = transaction.open_table(META)?;
    let compacted = Index::from_be_bytes(meta(&meta_rows, COMPACTED)?);
    let mut segments: Vec<Segment> = Vec::new();
    for row in transaction.open_table(SEGMENTS)?.iter()? {
        let (first, segment) = row?;
        segments.push(unseal_segment(first.value(), segment.value())?);
    }
    let begin = segments.first().is_none_or(|segment| {
        segment.first > 0 && segment.first <= compacted + 1 && segment.through > compacted
    });
    let gapless = segments
        .windows(2)
        .all(|pair| pair[0].sealed && pair[0].through + 1 == pair[1].first);
    if !begin || !gapless {
        return Err(Fault::Damaged(format!(
            "its segments do not follow each other from {compacted} on"
        )));
    }
    Ok((compacted, segments))
}

/// Everything but the entries, the last of which is given, checked against each other.
pub(super) fn read_durable(
    database: &Database,
    identity: Identity,
    compacted: Index,
    last: Index,
) -> Result<Durable, Fault> {
    let transaction = database.begin_read()?;
    let meta_rows = transaction.open_table(META)?;
    let promised = parse_epoch(&meta::<{ rows::EPOCH }>(&meta_rows, PROMISED)?)?;
    let dropped_in = parse_epoch(&meta::<{ rows::EPOCH }>(&meta_rows, DROPPED_IN)?)?;
    let mut epochs = Vec::new();
    let mut view_starts: Vec<(Index, ViewStart)> = Vec::new();
    let starts = transaction.open_table(VIEW_STARTS)?;
    for row in transaction.open_table(BRANCHES)?.iter()? {
        let (first, epoch) = row?;
        let first = first.value();
        let epoch = unseal(Table::Branches, &first.to_be_bytes(), epoch.value())?;
        epochs.push((parse_epoch(epoch)?, first));
        match starts.get(first)? {
            Some(value) => view_starts.push((first, unseal_view_start(first, value.value())?)),
            None if first > compacted => {
                return Err(Fault::Damaged(format!(
                    "no view start stands at {first}, where an epoch begins"
                )));
            }
            None => {}
        }
    }
    let newest = epochs.last().map(|(_, first)| *first);
    if newest != view_starts.last().map(|(index, _)| *index) {
        return Err(Fault::Damaged(
            "its newest view start is missing".to_owned(),
        ));
    }
    let mut branches = BranchTable::from_parts(epochs, last)
        .ok_or_else(|| Fault::Damaged("its branch table does not fit its log".to_owned()))?;
    branches.note_drop(dropped_in);
    if branches.last().epoch > promised {
        return Err(Fault::Damaged(
            "its log is newer than its promise".to_owned(),
        ));
    }
    let compacted = branches
        .position_at(compacted)
        .ok_or_else(|| Fault::Damaged("its log ends before it begins".to_owned()))?;
    let orphans = transaction.open_table(ORPHANS)?.len()?;
    Ok(Durable {
        identity,
        promised,
        branches,
        compacted,
        view_starts,
        orphans,
        damaged: Vec::new(),
    })
}
