//! What is written to disks.

use super::{Check, Checked, digest, ensure};
use crate::branch::BranchTable;
use crate::sim::ledger::payload_id;
use crate::store::Persist;
use crate::types::{
    Configuration, Entry, Epoch, Index, Lineage, Mode, Payload, Position, ReplicaId, ViewStart,
};

/// What a replica has written, and what stood around it.
pub(in crate::sim) struct Written<'a> {
    pub(in crate::sim) id: ReplicaId,
    pub(in crate::sim) batch: &'a Persist,
    /// For how many ticks the process has run, and how many are the grace.
    pub(in crate::sim) ticks: u64,
    pub(in crate::sim) grace: u64,
    /// The last durable checkpoint of its state.
    pub(in crate::sim) state: Position,
}

impl Check {
    /// A replica has written to its disk. `holds` tells whether the disk of another has a position; `None` where that
    /// one is not the disk that the configuration names.
    pub(in crate::sim) fn wrote(
        &mut self,
        written: &Written<'_>,
        holds: impl Fn(ReplicaId, &Configuration, Position) -> Option<bool>,
    ) -> Checked {
        let Written { id, batch, .. } = written;
        let before = self.logs.remove(id).unwrap_or_default();
        let mut log = before.clone();
        log.truncate(batch.truncate.unwrap_or(Index::MAX));
        if let Some(reset) = &batch.reset {
            log.clone_from(&reset.branches);
        }
        if batch.truncate.is_some() || batch.reset.is_some() {
            self.cut(*id, &before, &log)?;
        }
        for entry in &batch.append {
            self.appended(written, &mut log, entry)?;
        }
        if let Some(dropped) = batch.dropped {
            log.note_drop(dropped);
        }
        if let Some(index) = batch.forget_epochs {
            log.forget_before(index);
        }
        self.shortened(written, &log, holds)?;
        self.logs.insert(*id, log);
        Ok(())
    }

    fn cut(&self, id: ReplicaId, before: &BranchTable, after: &BranchTable) -> Checked {
        // Who was told to do without what is damaged of its log cuts that, and takes it anew as a snapshot.
        if !self.one_history() || self.overridden {
            return Ok(());
        }
        let common = before.common_ancestor(after).index;
        let lost = (common + 1..=before.last_index())
            .filter_map(|index| before.position_at(index))
            .filter(|position| self.committed.contains_key(position))
            // Of a log from long ago the table does not tell any more that it is of the same history.
            .find(|position| !self.is_behind(*position, after.last()));
        ensure(lost.is_none(), || {
            format!(
                "replica {id} cuts {}, which was committed: a needless fork",
                lost.unwrap_or_default()
            )
        })
    }

    /// Whether an entry stands in the history that ends with another.
    pub(in crate::sim) fn is_behind(&self, position: Position, last: Position) -> bool {
        let mut at = last;
        while at.index > position.index {
            at = self
                .entries
                .get(&at)
                .map_or(Position::default(), |(before, _)| *before);
        }
        at == position
    }

    fn appended(&mut self, written: &Written<'_>, log: &mut BranchTable, entry: &Entry) -> Checked {
        let before = log.last();
        let known = *self
            .entries
            .entry(entry.position)
            .or_insert_with(|| (before, digest(&entry.payload)));
        ensure(known == (before, digest(&entry.payload)), || {
            format!(
                "replica {} has another entry at {} than others had",
                written.id, entry.position
            )
        })?;
        if let Payload::ViewStart(start) = &entry.payload {
            self.view_start(written, entry.position, before.epoch, start)?;
        }
        if let Some(command) = payload_id(&entry.payload) {
            self.commands.insert(entry.position, command);
        }
        if let Payload::Reproposed {
            origin, lineage, ..
        } = &entry.payload
        {
            self.stood(log, *origin, lineage)?;
        }
        log.append(entry.position);
        Ok(())
    }

    /// What is said of where a command stood is true: up to the fork the log is the same as its branch, and behind it the
    /// branch had these epochs.
    fn stood(&self, log: &BranchTable, origin: Position, lineage: &Lineage) -> Checked {
        let lie = |what: &str, at: Position| {
            Err(format!("{origin} stood behind {what} {at}: {lineage:?}"))
        };
        let mut at = origin;
        while at.index > lineage.fork {
            let among = lineage.epochs.iter().rev();
            let stretch = { among }.find(|(_, first)| *first <= at.index);
            if stretch.is_some_and(|(epoch, _)| *epoch != at.epoch) {
                return lie("another epoch at", at);
            }
            let Some((before, _)) = self.entries.get(&at) else {
                return Ok(());
            };
            at = *before;
        }
        // Of a log whose oldest epochs were dropped it is not known what stood there.
        let oldest = log.epochs().first();
        match log.holds(at) || oldest.is_some_and(|(_, first)| at.index < *first) {
            true => Ok(()),
            false => lie("what is not in this log,", at),
        }
    }

    fn view_start(
        &mut self,
        written: &Written<'_>,
        position: Position,
        before: Epoch,
        start: &ViewStart,
    ) -> Checked {
        let epoch = position.epoch;
        let new = !self.views.contains_key(&epoch);
        if new && epoch.replica == written.id && start.forced && !self.overridden {
            ensure(self.mode == Mode::Available, || {
                format!("epoch {epoch} is forced, though nobody has said so")
            })?;
            let (ticks, grace) = (written.ticks, written.grace);
            ensure(ticks >= grace, || {
                format!(
                    "replica {} goes on without others after {ticks} ticks, before the grace of {grace} is over",
                    written.id
                )
            })?;
        }
        self.forced |= start.forced;
        let told = self.announced.remove(&epoch).unwrap_or_default();
        ensure(self.is_behind(told, position), || {
            format!(
                "epoch {epoch} begins without {told}, which its leader told others to be committed"
            )
        })?;
        if !self.views.contains_key(&epoch) {
            let before = self.views.get(&before).map(|(_, start)| start);
            let version = before.map_or(0, |before| before.apply_version);
            ensure(start.apply_version >= version, || {
                format!(
                    "epoch {epoch} applies by version {}, and the one before it by {version}",
                    start.apply_version
                )
            })?;
            is_in_order(epoch, before.map(|start| &start.configuration), start)?;
        }
        let known = self
            .views
            .entry(epoch)
            .or_insert_with(|| (position, start.clone()));
        ensure(*known == (position, start.clone()), || {
            format!("epoch {epoch} starts twice")
        })
    }

    /// Entries are dropped only where the state has what they did, and where nobody needs them any more.
    fn shortened(
        &mut self,
        written: &Written<'_>,
        log: &BranchTable,
        holds: impl Fn(ReplicaId, &Configuration, Position) -> Option<bool>,
    ) -> Checked {
        let (id, batch) = (written.id, written.batch);
        let reset = batch.reset.as_ref().map(|reset| reset.branches.last());
        let dropped = batch.compact.and_then(|index| log.position_at(index));
        let Some(last) = dropped.or(reset) else {
            return Ok(());
        };
        ensure(
            log.holds(written.state) && written.state.index >= last.index,
            || {
                format!(
                    "replica {id} drops entries up to {last}, and its state on disk is of {}",
                    written.state
                )
            },
        )?;
        self.compacted.insert(id, last);
        let newest = self.views.get(&log.last().epoch);
        let Some((_, start)) = newest.filter(|_| dropped.is_some()) else {
            return Ok(());
        };
        if self.mode == Mode::Consistent {
            return Ok(());
        }
        let needs = start
            .configuration
            .members
            .iter()
            // One that was removed since, which the log here may not say yet, is not waited for.
            .filter(|member| {
                self.configuration()
                    .is_none_or(|known| known.votes(member.id, member.store))
            })
            .find(|member| holds(member.id, &start.configuration, last) == Some(false));
        ensure(needs.is_none(), || {
            format!(
                "replica {id} drops entries up to {last}, which replica {} does not have",
                needs.map_or(id, |member| member.id)
            )
        })
    }
}

/// A view is one of replicas that have a vote, its leader among them; and it changes at most one of them.
fn is_in_order(epoch: Epoch, before: Option<&Configuration>, start: &ViewStart) -> Checked {
    let configuration = &start.configuration;
    let strangers = |id: &&ReplicaId| configuration.member(**id).is_none();
    ensure(!start.members.iter().any(|id| strangers(&id)), || {
        format!("the view {epoch} has members that its configuration does not know")
    })?;
    ensure(configuration.votes(epoch.replica, epoch.store), || {
        format!("the view {epoch} is led by a disk that has no vote in it")
    })?;
    let majority =
        |of: &Configuration| start.forced || of.is_majority(start.members.iter().copied());
    ensure(
        configuration.mode == Mode::Available || majority(configuration),
        || format!("the view {epoch} has no majority"),
    )?;
    let Some(before) = before else {
        return Ok(());
    };
    let ids = before.members.iter().chain(&configuration.members);
    let changed: std::collections::BTreeSet<ReplicaId> = ids
        .map(|member| member.id)
        .filter(|id| before.member(*id) != configuration.member(*id))
        .collect();
    ensure(changed.len() <= 1, || {
        format!("the view {epoch} changes replicas {changed:?} at once")
    })?;
    ensure(
        configuration.mode == Mode::Available
            || start.forced
            || before.is_half(start.members.iter().copied()),
        || format!("the view {epoch} does not have half of those before it"),
    )?;
    let back = configuration
        .members
        .iter()
        .find(|member| before.has_removed(member.store));
    ensure(back.is_none(), || {
        format!("the view {epoch} gives a removed disk its vote back")
    })
}
