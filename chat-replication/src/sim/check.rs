//! The rules that hold in every schedule, checked after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::disk::Disk;
use super::ledger::{CommandId, Ledger, command_id, payload_id};
use super::process::Process;
use crate::branch::BranchTable;
use crate::driver::Report;
use crate::handle::Committed;
use crate::memory_store::MemoryStore;
use crate::message::Message;
use crate::store::Persist;
use crate::types::{Epoch, Index, Payload, Position, ReplicaId, ViewStart};

/// What was seen so far, of all replicas.
#[derive(Debug)]
pub(super) struct Check {
    /// Nobody is suspected without cause, so histories never part.
    strict: bool,
    /// A view was started without replicas that the rules wait for: histories may part.
    pub(super) forced: bool,
    /// For each entry ever written, the one before it, and a digest of what it says.
    entries: BTreeMap<Position, (Position, u64)>,
    /// Each view ever written, and where it starts.
    views: BTreeMap<Epoch, (Position, ViewStart)>,
    /// Which run of which replica led an epoch.
    leaders: BTreeMap<Epoch, (ReplicaId, u32)>,
    /// Whom the candidate of an epoch named.
    named: BTreeMap<Epoch, BTreeSet<ReplicaId>>,
    /// Who led after its last turn.
    led: BTreeMap<ReplicaId, Epoch>,
    /// Entries that a leader has taken for committed, and in which view.
    committed: BTreeMap<Position, Epoch>,
    /// Which command an entry has.
    commands: BTreeMap<Position, CommandId>,
    hashes: BTreeMap<Position, u128>,
    /// The logs on the disks.
    logs: BTreeMap<ReplicaId, BranchTable>,
    sent: BTreeSet<CommandId>,
    /// What clients were told, with the place that they were told.
    acknowledged: BTreeMap<CommandId, u64>,
}

/// A broken rule, in words.
pub(super) type Checked = Result<(), String>;

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    match holds {
        true => Ok(()),
        false => Err(otherwise()),
    }
}

fn digest(payload: &Payload) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    hasher.finish()
}

impl Check {
    pub(super) fn new(strict: bool) -> Check {
        Check {
            strict,
            forced: false,
            entries: BTreeMap::new(),
            views: BTreeMap::new(),
            leaders: BTreeMap::new(),
            named: BTreeMap::new(),
            led: BTreeMap::new(),
            committed: BTreeMap::new(),
            commands: BTreeMap::new(),
            hashes: BTreeMap::new(),
            logs: BTreeMap::new(),
            sent: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
        }
    }

    /// Whether histories must not part.
    fn one_history(&self) -> bool {
        self.strict && !self.forced
    }

    pub(super) fn sent(&mut self, id: CommandId) {
        self.sent.insert(id);
    }

    pub(super) fn acknowledgements(&self) -> usize {
        self.acknowledged.len()
    }

    pub(super) fn views(&self) -> usize {
        self.views.len()
    }

    /// A process has started from its disk.
    pub(super) fn started(&mut self, id: ReplicaId, process: &Process, disk: &Disk) -> Checked {
        let replica = process.replica();
        let (promised, branches) = disk.look(|store| (store.promised(), store.branches().clone()));
        ensure(replica.promised() == promised, || {
            format!(
                "replica {id} starts with the promise {}, and its disk says {promised}",
                replica.promised()
            )
        })?;
        ensure(*replica.branches() == branches, || {
            format!("replica {id} starts with another log than its disk holds")
        })?;
        ensure(
            replica.in_view().is_none() && replica.leads().is_none(),
            || format!("replica {id} is in a view right after its start"),
        )?;
        self.led.remove(&id);
        self.found(&branches, disk)?;
        self.logs.insert(id, branches);
        Ok(())
    }

    /// A write that a crash cut short may be there all the same: what nobody has seen yet is noted now.
    fn found(&mut self, log: &BranchTable, disk: &Disk) -> Checked {
        let mut before = Position::default();
        let positions = (1..=log.last_index()).filter_map(|index| log.position_at(index));
        let positions: Vec<Position> = positions.collect();
        let payloads: Vec<Payload> = match positions.iter().all(|at| self.entries.contains_key(at))
        {
            true => return Ok(()),
            false => disk.look(|store| store.payloads().cloned().collect()),
        };
        for (position, payload) in positions.into_iter().zip(payloads) {
            if let Payload::ViewStart(start) = &payload {
                self.forced |= start.forced;
                self.views
                    .entry(position.epoch)
                    .or_insert_with(|| (position, start.clone()));
            }
            if let Some(command) = payload_id(&payload) {
                self.commands.insert(position, command);
            }
            let digest = digest(&payload);
            let known = *self.entries.entry(position).or_insert((before, digest));
            ensure(known == (before, digest), || {
                format!("there is another entry at {position} than others had")
            })?;
            before = position;
        }
        Ok(())
    }

    /// A replica has written to its disk.
    pub(super) fn wrote(
        &mut self,
        id: ReplicaId,
        batch: &Persist,
        ticks: u64,
        grace: u64,
    ) -> Checked {
        let mut log = self.logs.remove(&id).unwrap_or_default();
        if let Some(keep) = batch.truncate
            && self.one_history()
        {
            let lost = (keep + 1..=log.last_index())
                .filter_map(|index| log.position_at(index))
                .find(|position| self.committed.contains_key(position));
            ensure(lost.is_none(), || {
                format!(
                    "replica {id} cuts {}, which was committed: a needless fork",
                    lost.unwrap_or_default()
                )
            })?;
        }
        log.truncate(batch.truncate.unwrap_or(Index::MAX));
        for entry in &batch.append {
            let before = log.last();
            let known = *self
                .entries
                .entry(entry.position)
                .or_insert_with(|| (before, digest(&entry.payload)));
            ensure(known == (before, digest(&entry.payload)), || {
                format!(
                    "replica {id} has another entry at {} than others had",
                    entry.position
                )
            })?;
            if let Payload::ViewStart(start) = &entry.payload {
                self.view_start(id, entry.position, start, ticks, grace)?;
            }
            if let Some(command) = payload_id(&entry.payload) {
                self.commands.insert(entry.position, command);
            }
            log.append(entry.position);
        }
        self.logs.insert(id, log);
        Ok(())
    }

    fn view_start(
        &mut self,
        id: ReplicaId,
        position: Position,
        start: &ViewStart,
        ticks: u64,
        grace: u64,
    ) -> Checked {
        let epoch = position.epoch;
        if epoch.replica == id && start.forced {
            ensure(ticks >= grace, || {
                format!(
                    "replica {id} goes on without others after {ticks} ticks, before the grace of {grace} is over"
                )
            })?;
        }
        self.forced |= start.forced;
        let known = self
            .views
            .entry(epoch)
            .or_insert_with(|| (position, start.clone()));
        ensure(*known == (position, start.clone()), || {
            format!("epoch {epoch} starts twice")
        })
    }

    /// A replica has sent a message.
    pub(super) fn said(&mut self, from: ReplicaId, message: &Message) -> Checked {
        match message {
            Message::Prepare { epoch, members, .. } => {
                let members: BTreeSet<ReplicaId> = members.iter().copied().collect();
                let known = self.named.entry(*epoch).or_insert_with(|| members.clone());
                ensure(*known == members, || {
                    format!("replica {from} names other members of {epoch} than before")
                })
            }
            Message::Promise { epoch, standing } => {
                let named = self.named.get(epoch);
                let stays = named.is_some_and(|members| members.contains(&from));
                ensure(stays || standing.in_view.is_none(), || {
                    format!(
                        "replica {from} promises {epoch}, which does not name it, and believes to be in {:?}",
                        standing.in_view
                    )
                })
            }
            _ => Ok(()),
        }
    }

    /// A replica says that it leads, though maybe not for the whole turn.
    pub(super) fn leads(&mut self, id: ReplicaId, epoch: Epoch) {
        self.led.insert(id, epoch);
    }

    /// A replica has turned.
    pub(super) fn turned(
        &mut self,
        id: ReplicaId,
        run: u32,
        process: &Process,
        disks: &BTreeMap<ReplicaId, Disk>,
    ) -> Checked {
        let replica = process.replica();
        if let Some(epoch) = replica.in_view() {
            let written = self.logs[&id].first_of(epoch).is_some();
            ensure(written, || {
                format!("replica {id} is in view {epoch} without its start on disk")
            })?;
        }
        self.led(id, run, process, disks)
    }

    /// A replica has turned, or has died while it did: what it had committed until then it may have told others.
    pub(super) fn led(
        &mut self,
        id: ReplicaId,
        run: u32,
        process: &Process,
        disks: &BTreeMap<ReplicaId, Disk>,
    ) -> Checked {
        let replica = process.replica();
        // One that ceased to lead in this turn may have committed something in it before.
        let led = self.led.remove(&id);
        let Some(epoch) = replica.leads().or(led) else {
            return Ok(());
        };
        if replica.leads().is_some() {
            self.led.insert(id, epoch);
        }
        ensure(epoch.replica == id, || {
            format!("replica {id} leads {epoch}, which is not its own")
        })?;
        let leader = *self.leaders.entry(epoch).or_insert((id, run));
        ensure(leader == (id, run), || {
            format!("epoch {epoch} is led twice")
        })?;
        let commit = replica.branches().position_at(replica.commit());
        let Some(commit) = commit.filter(|commit| commit.index > 0) else {
            return ensure(commit.is_some(), || {
                format!("replica {id} has committed what it does not hold")
            });
        };
        if self.committed.contains_key(&commit) {
            return Ok(());
        }
        let branches = replica.branches();
        let fresh: Vec<Position> = (1..=commit.index)
            .rev()
            .filter_map(|index| branches.position_at(index))
            .take_while(|position| !self.committed.contains_key(position))
            .collect();
        let members = match self.views.get(&epoch) {
            Some((_, start)) => start.members.clone(),
            None => {
                return Err(format!(
                    "replica {id} leads {epoch} without having started it"
                ));
            }
        };
        for member in members {
            disks[&member].look(|store| self.is_durable(store, member, commit, &fresh))?;
        }
        self.committed
            .extend(fresh.into_iter().map(|position| (position, epoch)));
        Ok(())
    }

    /// A member of the view has these entries, the newest first, on its disk.
    fn is_durable(
        &self,
        store: &MemoryStore,
        member: ReplicaId,
        commit: Position,
        fresh: &[Position],
    ) -> Checked {
        if store.branches().holds(commit) {
            return Ok(());
        }
        let broken = || {
            format!(
                "{commit} is committed, and replica {member} of its view does not have it on disk"
            )
        };
        ensure(!self.one_history(), broken)?;
        // The member may have joined another branch after it acknowledged: then the command is an orphan, or is
        // committed again.
        let lost = fresh
            .iter()
            .filter(|position| !store.branches().holds(**position))
            .filter_map(|position| self.commands.get(position))
            .any(|id| !has_command(store, *id));
        ensure(!lost, broken)
    }

    /// A client was told that its command is done.
    pub(super) fn acknowledge(
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
        let has = |disk: &Disk| {
            disk.look(|store| {
                store.branches().holds(told.position)
                    || !self.one_history() && has_command(store, id)
            })
        };
        for member in &self.views[view].1.members {
            ensure(has(&disks[member]), || {
                format!(
                    "command {id} is acknowledged at {}, and replica {member} does not have it on disk",
                    told.position
                )
            })?;
        }
        let copies = disks.values().filter(|disk| has(disk)).count();
        ensure(told.durable_on as usize <= copies, || {
            format!(
                "command {id} is said to be durable on {}, and is on {copies} disks",
                told.durable_on
            )
        })?;
        let place = *self.acknowledged.entry(id).or_insert(told.response);
        ensure(!self.one_history() || place == told.response, || {
            format!(
                "command {id} took effect as number {place}, and again as number {}",
                told.response
            )
        })
    }

    /// A state machine has done a piece of work that began behind `from`.
    pub(super) fn applied(
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
            .find(|id| !self.sent.contains(id))
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
    pub(super) fn at_the_end(&self, id: ReplicaId, ledger: &Ledger) -> Checked {
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
            once.iter().all(|command| self.sent.contains(command)),
            || format!("replica {id} applied a command that nobody sent"),
        )
    }

    /// At most one of these leads at a time, unless somebody was suspected falsely.
    pub(super) fn leaders(&self, leading: &[Epoch]) -> Checked {
        ensure(!self.one_history() || leading.len() <= 1, || {
            format!(
                "{} and {} lead at the same time: a needless fork",
                leading[0], leading[1]
            )
        })
    }
}

fn has_command(store: &MemoryStore, id: CommandId) -> bool {
    store
        .payloads()
        .any(|payload| payload_id(payload) == Some(id))
        || store
            .orphaned()
            .any(|command| command_id(command) == Some(id))
}
