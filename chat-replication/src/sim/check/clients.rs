//! What clients are told, and what states show.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Checked, ensure};
use crate::branch::BranchTable;
use crate::driver::Report;
use crate::handle::Committed;
use crate::sim::client::Wanted;
use crate::sim::disk::Disk;
use crate::sim::ledger::{CommandId, Ledger};
use crate::types::{Position, ReplicaId};

/// What a read must see: what was done, and what others had seen, when it began.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct Glance {
    told: usize,
    seen: usize,
}

impl Check {
    /// A client sends a command for the first time.
    pub(in crate::sim) fn sent(&mut self, id: CommandId) {
        self.sent.insert(id, self.greatest_place);
    }

    pub(in crate::sim) fn acknowledgements(&self) -> usize {
        self.acknowledged.len()
    }

    /// An operator was told that a replica was added or removed.
    pub(in crate::sim) fn changed(&self, wanted: Wanted, id: ReplicaId) -> Checked {
        let member = self.configuration().and_then(|known| known.member(id));
        ensure(
            !self.one_history() || member.is_some() == (wanted == Wanted::Member),
            || format!("replica {id} is said to be {wanted:?} now, and is not"),
        )
    }

    /// A read begins.
    pub(in crate::sim) fn glance(&self) -> Glance {
        Glance {
            told: self.told.len(),
            seen: self.seen,
        }
    }

    /// A read ends with what this state shows.
    pub(in crate::sim) fn has_read(
        &mut self,
        id: ReplicaId,
        glance: Glance,
        ledger: &Ledger,
    ) -> Checked {
        if !self.one_history() {
            return Ok(());
        }
        let missed = self.told[..glance.told]
            .iter()
            .find(|command| ledger.place(**command).is_none());
        ensure(missed.is_none(), || {
            format!(
                "a read at replica {id} does not see command {}, which was done before it began",
                missed.copied().unwrap_or_default()
            )
        })?;
        let sees = ledger.order().len();
        ensure(sees >= glance.seen, || {
            format!(
                "a read at replica {id} sees {sees} commands, and one before it saw {}",
                glance.seen
            )
        })?;
        self.seen = self.seen.max(sees);
        Ok(())
    }

    /// A client was told that its command is done.
    pub(in crate::sim) fn acknowledge(
        &mut self,
        id: CommandId,
        told: &Committed<u64>,
        disks: &BTreeMap<ReplicaId, Disk>,
    ) -> Checked {
        let Some(view) = self.committed.get(&told.position) else {
            return Err(format!(
                "command {id} is acknowledged at {}, which is not committed",
                told.position
            ));
        };
        let start = &self.views[view].1;
        let has = |replica: ReplicaId, disk: &Disk| {
            // Whoever lost its disk since it acknowledged has nothing left.
            start.members.contains(&replica) && !start.configuration.votes(replica, disk.store())
                || disk.holds(told.position)
                || !self.one_history() && disk.has_command(id)
        };
        for member in &start.members {
            ensure(has(*member, &disks[member]), || {
                format!(
                    "command {id} is acknowledged at {}, and replica {member} does not have it on disk",
                    told.position
                )
            })?;
        }
        let copies = disks.iter().filter(|(id, disk)| has(**id, disk)).count();
        ensure(told.durable_on as usize <= copies, || {
            format!(
                "command {id} is said to be durable on {}, and is on {copies} disks",
                told.durable_on
            )
        })?;
        let new = !self.acknowledged.contains_key(&id);
        let place = *self.acknowledged.entry(id).or_insert(told.response);
        if new {
            self.told.push(id);
        }
        // What was done before this one was sent stands before it.
        let behind = self.sent.get(&id).copied().flatten();
        ensure(!self.one_history() || behind < Some(told.response), || {
            format!(
                "command {id} took effect as number {}, before number {behind:?}, which was done when it was sent",
                told.response
            )
        })?;
        self.greatest_place = self.greatest_place.max(Some(told.response));
        ensure(!self.one_history() || place == told.response, || {
            format!(
                "command {id} took effect as number {place}, and again as number {}",
                told.response
            )
        })
    }

    /// A state machine has done a piece of work that began behind `from`.
    pub(in crate::sim) fn applied(
        &mut self,
        id: ReplicaId,
        from: Position,
        report: Report,
        ledger: &Ledger,
        log: &BranchTable,
    ) -> Checked {
        let hash = *self
            .hashes
            .entry(report.applied)
            .or_insert(report.state_hash);
        ensure(hash == report.state_hash, || {
            format!(
                "replica {id} has another state at {} than others had",
                report.applied
            )
        })?;
        if let Some(unknown) = ledger
            .order()
            .iter()
            .rev()
            .take(64)
            .find(|id| !self.sent.contains_key(id))
        {
            return Err(format!(
                "replica {id} applied command {unknown}, which nobody sent"
            ));
        }
        if report.rolled_back || !log.holds(report.applied) {
            return Ok(());
        }
        let early = (from.index + 1..=report.applied.index)
            .filter_map(|index| log.position_at(index))
            .find(|position| !self.committed.contains_key(position));
        ensure(early.is_none(), || {
            format!(
                "replica {id} applied {}, which is not committed",
                early.unwrap_or_default()
            )
        })
    }

    /// Everything is calm again, and all replicas stand at the same place.
    pub(in crate::sim) fn at_the_end(&self, id: ReplicaId, ledger: &Ledger) -> Checked {
        for (command, told) in &self.acknowledged {
            let place = ledger.place(*command);
            ensure(place.is_some(), || {
                format!("command {command} was acknowledged, and never took effect on replica {id}")
            })?;
            ensure(!self.one_history() || place == Some(*told), || {
                format!(
                    "command {command} took effect as number {told}, and is number {place:?} on replica {id}"
                )
            })?;
        }
        let once: BTreeSet<&CommandId> = ledger.order().iter().collect();
        ensure(once.len() == ledger.order().len(), || {
            format!("a command took effect twice on replica {id}")
        })?;
        ensure(
            once.iter().all(|command| self.sent.contains_key(command)),
            || format!("replica {id} applied a command that nobody sent"),
        )
    }
}
