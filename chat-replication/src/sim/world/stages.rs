//! First trouble, then none: everything must become well again.

use super::{Event, World};
use crate::sim::check::Checked;
use crate::sim::node::{Node, Run, TICK, Time};
use crate::store::Store;
use crate::types::{Epoch, ReplicaId};

/// How far a schedule is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Faults are injected.
    Faults,
    /// Replicas find together, and clients end what they have begun.
    Healing {
        until: Time,
    },
    /// Clients begin new commands.
    Serving {
        until: Time,
    },
    /// The last of them are done.
    Finishing {
        until: Time,
    },
    /// Nothing happens any more, and so nothing may change.
    Resting {
        until: Time,
        epoch: Epoch,
    },
    Over,
}

impl World {
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    pub(super) fn begin_healing(&mut self) {
        let until = self.time + self.patience();
        self.stage = Stage::Healing { until };
    }

    /// How long it may take until all is well: waiting for the grace, catching up, joining, handing back, each more than
    /// once.
    fn patience(&self) -> Time {
        let settings = &self.setup.settings;
        let ticks = 2 * settings.recovery_grace
            + 8 * (settings.rejoin + settings.hand_back)
            + 20 * settings.suspect;
        ticks * TICK
    }

    pub(super) fn look(&mut self) -> Checked {
        self.schedule(2 * TICK, Event::Look);
        if let Stage::Healing { .. } | Stage::Serving { .. } | Stage::Finishing { .. } = self.stage
        {
            self.upgrade_the_old()?;
        }
        if let Stage::Healing { .. } | Stage::Finishing { .. } = self.stage {
            self.add_lost();
        }
        if let Stage::Healing { until } = self.stage
            && self.time + self.patience() / 2 > until
        {
            self.give_up_the_damaged();
        }
        let late = |until: Time| self.time > until;
        // A leader whose table has forgotten where a removed replica stands cannot tell, and may hand it everything anew.
        let forgets = match self.stage {
            Stage::Healing { until } | Stage::Finishing { until } => late(until),
            Stage::Faults | Stage::Serving { .. } | Stage::Resting { .. } | Stage::Over => true,
        };
        let well = || self.is_well(forgets);
        match self.stage {
            Stage::Faults | Stage::Over => {}
            Stage::Healing { until } => match well() {
                Ok(_) => {
                    self.stage = Stage::Serving {
                        until: self.time + 10 * TICK,
                    };
                    for client in 0..self.clients.len() {
                        let attempt = self.clients[client].attempt;
                        self.schedule(0, Event::Attempt(client, attempt));
                    }
                }
                Err(why) if late(until) => {
                    let all = self.standings();
                    return Err(format!("does not become well again: {why}{all}"));
                }
                Err(_) => {}
            },
            Stage::Serving { until } if late(until) => {
                let until = self.time + self.patience();
                self.stage = Stage::Finishing { until };
            }
            Stage::Serving { .. } => {}
            Stage::Finishing { until } => match well() {
                Ok(epoch) => {
                    let until = self.time + 3 * self.setup.settings.suspect * TICK;
                    self.stage = Stage::Resting { until, epoch };
                }
                Err(why) if late(until) => return Err(format!("does not serve: {why}")),
                Err(_) => {}
            },
            Stage::Resting { until, epoch } => {
                let now = well().map_err(|why| format!("does not stay well: {why}"))?;
                if now != epoch {
                    return Err(format!(
                        "leadership changes from {epoch} to {now} without cause"
                    ));
                }
                if late(until) {
                    let known = self.check.configuration().cloned().unwrap_or_default();
                    for id in known.members.iter().map(|member| member.id) {
                        let run = self.node(id).run.as_ref();
                        let ledger = &run.ok_or("a replica is down at the end")?.process.ledger;
                        self.check.at_the_end(id, ledger)?;
                    }
                    if self.check.forced {
                        self.count("forced schedules", 1);
                    }
                    self.stage = Stage::Over;
                }
            }
        }
        Ok(())
    }

    /// One leader, the preferred one, in a view of all, who stand at the same place with the same state; and nobody waits
    /// for anything. Otherwise, what is missing. The leader `forgets` where those stand who are members no more.
    fn is_well(&self, forgets: bool) -> Result<Epoch, String> {
        let known = self.check.configuration().ok_or("there was no view yet")?;
        let all: Vec<ReplicaId> = known.members.iter().map(|member| member.id).collect();
        let preferred = self.replica(all[0])?;
        let Some(epoch) = preferred.leads() else {
            return Err(format!("replica {} does not lead", all[0]));
        };
        if let Some(other) = self.leaders().find(|other| *other != epoch) {
            return Err(format!("{other} leads besides {epoch}"));
        }
        let configured = preferred.configuration();
        if configured != Some(known) {
            return Err(format!(
                "the leader knows of {configured:?}, not of {known:?}"
            ));
        }
        if let Some(absent) = known.absent.iter().find(|absent| absent.returns) {
            return Err(format!("replica {} is not back", absent.replica));
        }
        let members = preferred.view_start(epoch).map(|start| &start.members);
        if members != Some(&all) {
            return Err(format!("the view {epoch} has members {members:?}"));
        }
        let last = preferred.branches().last();
        let hash = preferred.status().state_hash;
        for id in &all {
            let replica = self.replica(*id)?;
            let status = replica.status();
            let well = replica.in_view() == Some(epoch)
                && status.last == last
                && status.commit == last.index
                && status.applied == last.index
                && status.state_hash == hash
                && status.serves();
            if !well {
                return Err(format!("replica {id} is not at the leader's {last}"));
            }
            let orphans = self.disks[id].look(|store| store.orphans(None, 1));
            if orphans.map_err(|error| error.to_string())?.is_empty() == (status.orphans > 0) {
                return Err(format!(
                    "replica {id} miscounts its orphans: {}",
                    status.orphans
                ));
            }
            if status.orphans > 0 {
                return Err(format!("replica {id} has {} orphans", status.orphans));
            }
        }
        for id in self.ids().filter(|id| known.member(*id).is_none()) {
            let status = self.replica(id)?.status();
            let store = self.disks[&id].store();
            // To one that was never a member there is nothing to tell.
            let told = status.configuration.has_removed(store) || !known.has_removed(store);
            // What the leader does not have is of a branch that lost, and will be cut.
            let shared = preferred.branches().holds(status.last)
                || forgets && self.check.is_behind(status.last, last);
            if status.orphans > 0 || !shared || status.last.index > 0 && !told {
                return Err(format!("replica {id}, that is no member, is not drained"));
            }
        }
        let orders = |run: &Run| !run.orders.is_empty();
        if self
            .nodes
            .iter()
            .any(|node| node.run.as_ref().is_some_and(orders))
        {
            return Err("an operator still waits".to_owned());
        }
        if self.ids().any(|id| self.operator.works_on(id)) {
            return Err("an operator still works on a machine".to_owned());
        }
        match self.is_quiet() {
            true => Ok(epoch),
            false => Err(format!("clients still wait: {:?}", self.clients)),
        }
    }

    /// Where everybody is, a line for each.
    fn standings(&self) -> String {
        let line = |node: &Node| {
            let Some(run) = &node.run else {
                return format!("\n  replica {} is down", node.id);
            };
            let replica = run.process.replica();
            let status = replica.status();
            format!(
                "\n  replica {} is {:?} in {} at {}, commit {}, applied {}, {} orphans, waiting: {:?}",
                node.id,
                status.role,
                status.epoch,
                status.last,
                status.commit,
                status.applied,
                status.orphans,
                replica.waiting(),
            )
        };
        self.nodes.iter().map(line).collect()
    }

    pub(super) fn replica(&self, id: ReplicaId) -> Result<&crate::replica::Replica, String> {
        let run = self.node(id).run.as_ref();
        run.map(|run| run.process.replica())
            .ok_or_else(|| format!("replica {id} is down"))
    }
}
