//! The rules that hold in every schedule, checked after every step.

mod clients;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

pub(super) use self::clients::Glance;
pub(super) use self::writes::Written;
use super::disk::Disk;
use super::ledger::{CommandId, payload_id};
use super::process::Process;
use crate::branch::BranchTable;
use crate::message::Message;
use crate::state_machine::StateMachine;
use crate::types::{Configuration, Epoch, Mode, Payload, Position, ReplicaId, ViewStart};

/// What was seen so far, of all replicas.
#[derive(Debug)]
pub(super) struct Check {
    mode: Mode,
    /// Somebody may be suspected without cause.
    pub(super) suspects_falsely: bool,
    /// A view was started without replicas that the rules wait for: histories may part.
    pub(super) forced: bool,
    /// An operator has said that views may start so.
    pub(super) overridden: bool,
    /// For each entry ever written, the one before it, and a digest of what it says.
    entries: BTreeMap<Position, (Position, u64)>,
    /// Each view ever written, and where it starts.
    views: BTreeMap<Epoch, (Position, ViewStart)>,
    /// Which run of which replica led an epoch.
    leaders: BTreeMap<Epoch, (ReplicaId, u32)>,
    /// Whom the candidate of an epoch named.
    named: BTreeMap<Epoch, BTreeSet<ReplicaId>>,
    /// What the candidate of an epoch has told others to be committed, before the epoch began.
    announced: BTreeMap<Epoch, Position>,
    /// Who led after its last turn.
    led: BTreeMap<ReplicaId, Epoch>,
    /// Entries that a leader has taken for committed, and in which view.
    committed: BTreeMap<Position, Epoch>,
    /// Which command an entry has.
    commands: BTreeMap<Position, CommandId>,
    hashes: BTreeMap<Position, u128>,
    /// The logs on the disks.
    logs: BTreeMap<ReplicaId, BranchTable>,
    /// What clients have sent, and the greatest place that any of them had been told by then.
    sent: BTreeMap<CommandId, Option<u64>>,
    /// What clients were told, with the place that they were told.
    acknowledged: BTreeMap<CommandId, u64>,
    /// The same in the order in which they were told.
    told: Vec<CommandId>,
    greatest_place: Option<u64>,
    /// How much of the history some reader has seen.
    seen: usize,
    /// Replicas whose disk was replaced: of what they acknowledged before, nothing is left.
    replaced: BTreeSet<ReplicaId>,
    /// How far each log was compacted.
    compacted: BTreeMap<ReplicaId, Position>,
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
    pub(super) fn new(mode: Mode, suspects_falsely: bool) -> Check {
        Check {
            mode,
            suspects_falsely,
            forced: false,
            overridden: false,
            entries: BTreeMap::new(),
            views: BTreeMap::new(),
            leaders: BTreeMap::new(),
            named: BTreeMap::new(),
            announced: BTreeMap::new(),
            led: BTreeMap::new(),
            committed: BTreeMap::new(),
            commands: BTreeMap::new(),
            hashes: BTreeMap::new(),
            logs: BTreeMap::new(),
            sent: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            told: Vec::new(),
            greatest_place: None,
            seen: 0,
            replaced: BTreeSet::new(),
            compacted: BTreeMap::new(),
        }
    }

    /// Whether histories must not part.
    pub(super) fn one_history(&self) -> bool {
        (self.mode == Mode::Consistent || !self.suspects_falsely) && !self.forced
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
        // Unless a snapshot came that far before.
        let installs = process.ledger.unsettled().is_some();
        ensure(installs || *replica.branches() == branches, || {
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
        let oldest = log.epochs().first().map_or(1, |(_, first)| *first);
        let all = || (oldest..=log.last_index()).filter_map(|index| log.position_at(index));
        if all().all(|at| self.entries.contains_key(&at)) {
            return Ok(());
        }
        let (compacted, payloads) = disk.look(|store| {
            let payloads: Vec<Payload> = store.payloads().cloned().collect();
            (log.last_index() - payloads.len() as u64, payloads)
        });
        if compacted > 0 {
            before = log.position_at(compacted).unwrap_or_default();
        }
        for (position, payload) in all()
            .skip((compacted + 1 - oldest.min(compacted + 1)) as usize)
            .zip(payloads)
        {
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

    /// A replica has told another up to where its log is committed.
    pub(super) fn announces(&mut self, from: ReplicaId, message: &Message) {
        let Message::Heartbeat {
            epoch,
            commit,
            started,
            ..
        } = message
        else {
            return;
        };
        if *started {
            // One that dies in the turn in which it has begun to lead, and ceased to, tells nothing else.
            self.led.insert(from, *epoch);
        }
        let at = self
            .logs
            .get(&from)
            .and_then(|log| log.position_at(*commit));
        let told = at.filter(|_| !self.views.contains_key(epoch));
        if let Some(told) = told {
            let known = self.announced.entry(*epoch).or_default();
            *known = told.max(*known);
        }
    }

    /// A replica says that it leads, though maybe not for the whole turn. Whoever does not know that it was removed may go
    /// on after the grace, with a view that says so: it is told before what the same turn has written.
    pub(super) fn leads(&mut self, id: ReplicaId, epoch: Epoch, forced: bool) -> Checked {
        self.led.insert(id, epoch);
        self.forced |= forced;
        let before = self.newest_committed_before(epoch);
        let removed = before.is_some_and(|known| known.has_removed(epoch.store));
        ensure(!removed || !self.one_history(), || {
            format!("replica {id} leads {epoch} with a disk that was removed")
        })
    }

    /// A replica goes on with another disk, or none.
    pub(super) fn lost_disk(&mut self, id: ReplicaId) {
        self.logs.remove(&id);
        self.led.remove(&id);
        self.compacted.remove(&id);
        self.replaced.insert(id);
    }

    /// Whether a view was written down that may still count, although nothing is committed in it.
    pub(super) fn has_unfinished_view(&self) -> bool {
        let newest = self.views.values().next_back();
        newest.is_some_and(|(at, _)| !self.committed.contains_key(at))
    }

    /// The newest configuration that has been committed, as far as the view of its leader says.
    pub(super) fn configuration(&self) -> Option<&Configuration> {
        let started =
            |(_, (at, _)): &(&Epoch, &(Position, ViewStart))| self.committed.contains_key(at);
        let (_, (_, start)) = self.views.iter().rev().find(started)?;
        Some(&start.configuration)
    }

    fn newest_committed_before(&self, epoch: Epoch) -> Option<&Configuration> {
        let mut earlier = self.views.range(..epoch).rev();
        let (_, (_, start)) = earlier.find(|(_, (at, _))| self.committed.contains_key(at))?;
        Some(&start.configuration)
    }

    /// The commands that somebody may rely on.
    pub(super) fn relied_upon(&self) -> BTreeSet<CommandId> {
        let committed = self.committed.keys().filter_map(|at| self.commands.get(at));
        let acknowledged = self.acknowledged.keys();
        committed.chain(acknowledged).copied().collect()
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
        let view = replica
            .in_view()
            .and_then(|epoch| replica.view_start(epoch));
        let version = view.map_or(0, |start| start.apply_version);
        ensure(version <= process.ledger.apply_version(), || {
            format!(
                "replica {id} is in a view that applies by version {version}, which it does not know"
            )
        })?;
        if let Some(epoch) = replica.in_view() {
            let written = self.logs[&id].first_of(epoch).is_some();
            ensure(written, || {
                format!("replica {id} is in view {epoch} without its start on disk")
            })?;
        }
        self.led(id, run, process, disks)?;
        match self.compacted.get(&id) {
            Some(last) => ensure(self.committed.contains_key(last), || {
                format!("replica {id} has dropped entries up to {last}, which is not committed")
            }),
            None => Ok(()),
        }
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
        let configuration = self.views[&epoch].1.configuration.clone();
        for member in members {
            let disk = &disks[&member];
            // Whoever lost its disk since it acknowledged has nothing left.
            if configuration.votes(member, disk.store()) {
                self.is_durable(disk, member, commit, &fresh)?;
            }
        }
        self.committed
            .extend(fresh.into_iter().map(|position| (position, epoch)));
        Ok(())
    }

    /// A member of the view has these entries, the newest first, on its disk.
    fn is_durable(
        &self,
        disk: &Disk,
        member: ReplicaId,
        commit: Position,
        fresh: &[Position],
    ) -> Checked {
        if disk.holds(commit) {
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
            .filter(|position| !disk.holds(**position))
            .filter_map(|position| self.commands.get(position))
            .any(|id| !disk.has_command(*id));
        ensure(!lost, broken)
    }

    /// At most one of these leads at a time, unless somebody was suspected falsely.
    pub(super) fn leaders(&self, leading: &[Epoch]) -> Checked {
        // One whose members are gone may not know yet that a majority has gone on without it.
        let alone = !self.suspects_falsely && !self.forced;
        ensure(!alone || leading.len() <= 1, || {
            format!(
                "{} and {} lead at the same time: a needless fork",
                leading[0], leading[1]
            )
        })
    }
}
