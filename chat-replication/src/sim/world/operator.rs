//! What operators do: replicas come and go, and so do disks.

use std::collections::BTreeSet;

use rand::RngExt;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::{Alone, Event, Replacement, World, node, seed_of};
use crate::driver::Order;
use crate::replica::{MembershipChange, Mutation, Settings};
use crate::sim::check::Checked;
use crate::sim::client::{OwedOrder, Wanted};
use crate::sim::disk::{Disk, Rotted};
use crate::sim::faults::{Fault, Two, Who};
use crate::sim::ledger::Ledger;
use crate::sim::node::{Arrived, Node};
use crate::sim::options;
use crate::state_machine::StateMachine;
use crate::types::{Configuration, Mode, Position, ReplicaId};

/// Replicas that ever are.
const MOST: u32 = 7;

/// How often the last one is forced again, so that its epoch is beyond those of the others.
const FORCED_AGAIN: u32 = 5;

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Operator {
    /// Machines that somebody has opened.
    works_on: BTreeSet<ReplicaId>,
    /// Replicas whose disk is gone, and whose new one has no vote yet as far as is known.
    lost: BTreeSet<ReplicaId>,
}

impl Operator {
    pub(super) fn works_on(&self, id: ReplicaId) -> bool {
        self.works_on.contains(&id)
    }
}

impl World {
    /// Whether a disk may be destroyed: nothing that anybody relies on is on it alone, and no other one is missing.
    fn may_lose(&mut self, id: ReplicaId) -> bool {
        let Some(known) = self.check.configuration().cloned() else {
            return false;
        };
        let disks = &self.disks;
        self.operator
            .lost
            .retain(|id| known.member(*id).is_some() && !known.votes(*id, disks[id].store()));
        let voters = known.members.len();
        let enough = match self.mode {
            Mode::Available => voters >= 2,
            Mode::Consistent => voters >= 3,
        };
        let busy = !self.operator.works_on.is_empty() || !self.operator.lost.is_empty();
        if busy || self.check.has_unfinished_view() || !self.sides_agree() {
            return false;
        }
        if known.member(id).is_some() && !(enough && known.votes(id, disks[&id].store())) {
            return false;
        }
        let others = self.others_with_votes(&known, id);
        // One that is a member since a moment ago, and has not heard of it, could not go on alone.
        let goes_on = |id: ReplicaId| self.is_whole(id) && disks[&id].has_vote_of(id);
        if !others.iter().any(|other| goes_on(*other)) {
            return false;
        }
        let mut relied_upon = self.check.relied_upon();
        for other in others {
            let there = disks[&other].hands_over();
            relied_upon.retain(|command| !there.contains(command));
        }
        let there = disks[&id].commands();
        relied_upon.is_disjoint(&there)
    }

    /// Whether all sides of a partition know of the same members. Where one loses what it has while another has removed it,
    /// or it the other, an operator has to say which of them is to go on.
    fn sides_agree(&self) -> bool {
        let logs: Vec<_> = self.nodes.iter().map(|node| node.disk.history()).collect();
        let mut pairs = logs
            .iter()
            .flat_map(|one| logs.iter().map(move |other| (one, other)));
        pairs.all(|((one, known), (other, known_there))| {
            one.holds(other.last()) || other.holds(one.last()) || known == known_there
        })
    }

    /// Whether a replica can rebuild its state from its own disk.
    fn is_whole(&self, id: ReplicaId) -> bool {
        let node = self.node(id);
        let durable = match &node.run {
            Some(run) => run.process.ledger.durable(),
            None => node.ledger.durable(),
        };
        node.disk.holds(durable) && durable.index >= node.disk.compacted()
    }

    pub(super) fn change_disk(&mut self, fault: &Fault, who: Who) -> Result<bool, String> {
        let mut id = self.meant(who);
        if let Fault::Backup(_) = fault {
            return Ok(self.back_up(id));
        }
        if let Fault::Restore(_) = fault {
            let copied = |node: &&Node| node.backup.is_some();
            let Some(node) = self.nodes.iter().find(copied) else {
                return Ok(false);
            };
            id = node.id;
        }
        if !self.may_lose(id) {
            return Ok(false);
        }
        let replacement = match fault {
            Fault::Restore(_) => Replacement::Backup,
            _ => Replacement::Empty,
        };
        self.crash(id)?;
        self.operator.lost.insert(id);
        self.operator.works_on.insert(id);
        if let Fault::Rot(_) = fault {
            self.node(id).disk.rot();
            let soon = self.random.random_range(1_000..50_000);
            self.schedule(soon, Event::Restart(id));
        } else {
            self.node_mut(id).held_down = true;
        }
        let delay = self.random.random_range(50_000..900_000);
        self.schedule(delay, Event::Replace(id, replacement));
        Ok(true)
    }

    /// Entries of one log or of two rot, each of which others have whole.
    pub(super) fn decay(&mut self, who: Who, two: Two) -> Result<bool, String> {
        let Some(known) = self.check.configuration().cloned() else {
            return Ok(false);
        };
        if !self.operator.works_on.is_empty() {
            return Ok(false);
        }
        let first = self.meant(who);
        let second = self.meant(Who::Any(ReplicaId(first.0 + 1)));
        let mut rots = vec![first];
        if two == Two::Yes && second != first {
            rots.push(second);
        }
        let mut happens = false;
        for id in rots {
            if self.disk == options::Disk::Files {
                happens |= self.rot_byte(id, &known)?;
                continue;
            }
            let log = self.disks[&id].look(|store| store.branches().clone());
            let compacted = self.disks[&id].compacted();
            if compacted == log.last_index() {
                continue;
            }
            let from = self.random.random_range(compacted + 1..=log.last_index());
            let through = (from + self.random.random_range(0..24)).min(log.last_index());
            for position in (from..=through).filter_map(|index| log.position_at(index)) {
                let is_kept = self.can_read_elsewhere(id, &known, position);
                if is_kept && self.disks[&id].can_read(position) {
                    self.disks[&id].damage(position.index..=position.index);
                    happens = true;
                }
            }
            if self.random.random_bool(0.6) {
                self.crash(id)?;
                let delay = self.random.random_range(20_000..900_000);
                self.schedule(delay, Event::Restart(id));
            }
        }
        Ok(happens)
    }

    /// Whether enough others with a vote have the entry of a position whole: one, or as many as may lose nobody else's word
    /// where a majority decides what is dropped.
    fn can_read_elsewhere(&self, id: ReplicaId, known: &Configuration, position: Position) -> bool {
        let others = self.others_with_votes(known, id).into_iter();
        let mut whole = others.filter(|other| self.disks[other].can_read(position));
        match self.mode {
            Mode::Available => whole.next().is_some(),
            Mode::Consistent => known.is_majority(whole),
        }
    }

    /// A byte of one of the files of a log rots while no process has them open. Nobody can do without entries that only this
    /// log has; one that is refused for it is replaced like any lost disk.
    fn rot_byte(&mut self, id: ReplicaId, known: &Configuration) -> Result<bool, String> {
        self.kill(id)?;
        let delay = self.random.random_range(20_000..900_000);
        self.schedule(delay, Event::Restart(id));
        let may_lose = self.may_lose(id);
        let may = |rotted: &Rotted| match rotted {
            Rotted::Log(_) => may_lose,
            Rotted::Entries(damaged) => damaged
                .iter()
                .all(|position| self.can_read_elsewhere(id, known, *position)),
        };
        let disk = self.disks[&id].clone();
        let Some(rotted) = disk.rot_byte(may) else {
            return Ok(false);
        };
        self.tell_trace(format_args!("replica {id} rots: {rotted:?}"));
        match rotted {
            Rotted::Entries(damaged) if damaged.is_empty() => self.count("rot mended at once", 1),
            Rotted::Entries(_) => self.count("rot of entries", 1),
            Rotted::Log(_) => {
                self.count("rot of a log", 1);
                self.operator.lost.insert(id);
                self.operator.works_on.insert(id);
                let later = self.random.random_range(50_000..900_000);
                self.schedule(delay + later, Event::Replace(id, Replacement::Empty));
            }
        }
        Ok(true)
    }

    /// Whoever cannot be helped, since what is damaged stood on a branch that lost, and is an orphan elsewhere by now, is
    /// told to do without.
    pub(super) fn give_up_the_damaged(&mut self) {
        let is_stuck = |node: &Node| {
            let run = node.run.as_ref();
            run.is_some_and(|run| run.process.replica().is_stuck_by_damage())
        };
        // An order elsewhere may wait for just this.
        let waits = |node: &Node| node.run.as_ref().is_some_and(|run| !run.orders.is_empty());
        let stuck = self.nodes.iter().find(|node| is_stuck(node));
        let Some(id) = stuck.filter(|node| !waits(node)).map(|node| node.id) else {
            return;
        };
        self.check.overridden = true;
        self.count("damaged entries given up", 1);
        self.order(Order::ForceView, id, None);
    }

    /// Who else is a member, on the disk that has the vote.
    fn others_with_votes(&self, known: &Configuration, id: ReplicaId) -> Vec<ReplicaId> {
        let members = known.members.iter();
        let others = members
            .filter(|member| member.id != id && self.disks[&member.id].store() == member.store);
        others.map(|member| member.id).collect()
    }

    /// Rot is found in a state, unless nobody could give it another one: what it showed is in a log or in the state of
    /// somebody else.
    pub(super) fn spoil(&mut self, who: Who) -> bool {
        let id = self.meant(who);
        let Some(known) = self.check.configuration().cloned() else {
            return false;
        };
        let disks = &self.disks;
        let others = self.others_with_votes(&known, id);
        let log_is_whole = disks[&id].compacted() == 0;
        let node = self.node(id);
        let run = node.run.as_ref();
        let ledger = run.map_or(&node.ledger, |run| &run.process.ledger);
        // Between the two halves of taking a snapshot the log counts on the state.
        let busy = !self.operator.works_on.is_empty()
            || !self.operator.lost.is_empty()
            || ledger.unsettled().is_some();
        let without_state = |id: &ReplicaId| {
            let run = self.node(*id).run.as_ref();
            run.is_some_and(|run| run.process.driver.status().state_lost)
        };
        if busy
            || !self.sides_agree()
            || self.ids().any(|id| without_state(&id))
            || !(log_is_whole || others.iter().any(|other| self.is_whole(*other)))
        {
            return false;
        }
        let mut relied_upon = self.check.relied_upon();
        for other in others {
            let there = disks[&other].hands_over();
            relied_upon.retain(|command| !there.contains(command));
        }
        let state = disks[&id].replace_state(BTreeSet::new());
        let lost = relied_upon
            .iter()
            .any(|command| !disks[&id].has_command(*command));
        if lost && relied_upon.iter().any(|command| state.contains(command)) {
            disks[&id].replace_state(state);
            return false;
        }
        let node = self.node_mut(id);
        match &mut node.run {
            Some(run) => {
                run.process.ledger.spoil();
                run.process.driver.state_damaged("rot".to_owned());
            }
            None => node.ledger.spoil(),
        }
        self.wake_soon(id);
        true
    }

    fn back_up(&mut self, id: ReplicaId) -> bool {
        let seed = self.random.random();
        let own = self.disks[&id].store();
        let node = self.node_mut(id);
        // While disks are swapped, another's is in the machine.
        if !node.disk.is_plain() || node.disk.store() != own {
            return false;
        }
        let ledger = match &node.run {
            Some(run) => run.process.ledger.clone().crashed(),
            None => node.ledger.clone(),
        };
        node.backup = Some((node.disk.copy(seed), ledger));
        true
    }

    /// A disk from before a restore comes into a machine, and is refused until its own is back.
    pub(super) fn put_in_old_disk(&mut self, who: Who) -> Result<bool, String> {
        let id = self.meant(who);
        if !self.back_up(id) {
            return Ok(false);
        }
        let Some((copy, ledger)) = self.node_mut(id).backup.take() else {
            return Ok(false);
        };
        let is_taken = self.setup.mutation == Some(Mutation::TakesOldDisks);
        if !self.operator.works_on.is_empty() || is_taken && !self.may_lose(id) {
            return Ok(false);
        }
        let old = copy.of_another_cluster(self.random.random());
        self.crash(id)?;
        if is_taken {
            // As any other disk that comes in the place of one that was lost.
            self.check.lost_disk(id);
            self.operator.lost.insert(id);
            self.disks.insert(id, old.clone());
            self.node_mut(id).ledger = ledger;
        } else {
            self.operator.works_on.insert(id);
            let delay = self.random.random_range(100_000..900_000);
            self.schedule(delay, Event::Replace(id, Replacement::Own));
        }
        self.node_mut(id).disk = old;
        let soon = self.random.random_range(1_000..50_000);
        self.schedule(soon, Event::Restart(id));
        Ok(true)
    }

    pub(super) fn swap(&mut self, who: Who) -> Result<bool, String> {
        let a = self.meant(who);
        let b = self.meant(Who::Any(ReplicaId(a.0 + 1)));
        if a == b || !self.operator.works_on.is_empty() {
            return Ok(false);
        }
        for id in [a, b] {
            self.crash(id)?;
            self.operator.works_on.insert(id);
            let soon = self.random.random_range(1_000..50_000);
            self.schedule(soon, Event::Restart(id));
            let delay = self.random.random_range(100_000..900_000);
            self.schedule(delay, Event::Replace(id, Replacement::Own));
        }
        self.node_mut(a).disk = self.disks[&b].clone();
        self.node_mut(b).disk = self.disks[&a].clone();
        Ok(true)
    }

    /// Another disk is put into a machine.
    pub(super) fn replace(&mut self, id: ReplicaId, replacement: Replacement) -> Checked {
        let seed = self.random.random();
        let backup = self.node(id).backup.clone();
        let (disk, ledger) = match (replacement, backup) {
            (Replacement::Own, _) => (self.disks[&id].clone(), self.node(id).ledger.clone()),
            (Replacement::Backup, Some((copy, ledger))) => (copy.copy(seed), ledger),
            _ => (
                Disk::new(self.disk, self.cluster, id, seed),
                Ledger::default(),
            ),
        };
        if replacement != Replacement::Own {
            self.check.lost_disk(id);
            self.operator.lost.insert(id);
        }
        self.tell_trace(format_args!(
            "replica {id} gets another disk: {replacement:?}"
        ));
        self.disks.insert(id, disk.clone());
        if replacement == Replacement::Own {
            // A disk is in one machine at a time.
            for node in &mut self.nodes {
                node.disk = self.disks[&node.id].clone();
            }
        }
        let node = self.node_mut(id);
        node.disk = disk;
        node.ledger = ledger;
        node.held_down = false;
        self.operator.works_on.remove(&id);
        self.restart(id)
    }

    fn order(&mut self, order: Order, at: ReplicaId, about: Option<(Wanted, ReplicaId)>) -> bool {
        self.tell_trace(format_args!("   an operator wants of {at}: {order:?}"));
        let (sender, answer) = oneshot::channel();
        let Some(run) = &mut self.node_mut(at).run else {
            return false;
        };
        run.orders.push(OwedOrder { about, answer });
        self.arrive(at, Arrived::Order(order, sender));
        true
    }

    pub(super) fn poll_orders(&mut self, id: ReplicaId) -> Checked {
        let Some(run) = &mut self.node_mut(id).run else {
            return Ok(());
        };
        let mut orders = std::mem::take(&mut run.orders);
        let mut done = Vec::new();
        let mut refused = Vec::new();
        orders.retain_mut(|order| match order.answer.try_recv() {
            Ok(Ok(())) => {
                done.extend(order.about);
                false
            }
            Ok(Err(error)) => {
                refused.push(error);
                false
            }
            Err(TryRecvError::Closed) => false,
            Err(TryRecvError::Empty) => true,
        });
        run.orders = orders;
        for error in refused {
            self.tell_trace(format_args!("   an order is not done: {error}"));
        }
        for (wanted, about) in done {
            self.tell_trace(format_args!("   done: replica {about} is to be {wanted:?}"));
            self.count("changes of membership done", 1);
            self.check.changed(wanted, about)?;
        }
        Ok(())
    }

    fn known(&self) -> Option<(Configuration, ReplicaId)> {
        let leader = self.leaders().max()?.replica;
        Some((self.check.configuration()?.clone(), leader))
    }

    pub(super) fn add_replica(&mut self) -> Result<bool, String> {
        let Some((known, leader)) = self.known() else {
            return Ok(false);
        };
        let removed: Vec<ReplicaId> = self
            .ids()
            .filter(|id| known.member(*id).is_none() && !self.operator.works_on(*id))
            .collect();
        let returning = removed.first().copied();
        let id = match returning {
            // It comes back with an empty disk, once nothing on its old one is needed.
            Some(id) if self.random.random_bool(0.7) => {
                if !self.may_lose(id) {
                    return Ok(false);
                }
                self.crash(id)?;
                self.replace(id, Replacement::Empty)?;
                id
            }
            _ if self.replicas() < MOST => self.found_replica()?,
            _ => return Ok(false),
        };
        let seed = seed_of(id.0);
        let order = Order::Change(MembershipChange::Add(seed));
        Ok(self.order(order, leader, Some((Wanted::Member, id))))
    }

    /// Adds again who was added on a branch that lost: it may hold what nobody else has.
    pub(super) fn add_lost(&mut self) {
        let Some((known, leader)) = self.known() else {
            return;
        };
        let waits = |node: &Node| node.run.as_ref().is_some_and(|run| !run.orders.is_empty());
        if self.nodes.iter().any(waits) {
            return;
        }
        let lost = self.ids().find(|id| {
            let disk = &self.disks[id];
            known.member(*id).is_none()
                && !known.has_removed(disk.store())
                && disk.look(|store| store.branches().last_index() > 0)
                && self.node(*id).is_up()
        });
        if let Some(id) = lost {
            let order = Order::Change(MembershipChange::Add(seed_of(id.0)));
            self.order(order, leader, Some((Wanted::Member, id)));
        }
    }

    fn found_replica(&mut self) -> Result<ReplicaId, String> {
        let id = ReplicaId(self.replicas());
        let new = node(id, self.disk, self.cluster, &mut self.random);
        self.disks.insert(id, new.disk.clone());
        self.nodes.push(new);
        self.restart(id)?;
        Ok(id)
    }

    pub(super) fn remove_replica(&mut self, fault: &Fault, who: Who) -> Result<bool, String> {
        let Some((known, leader)) = self.known() else {
            return Ok(false);
        };
        let id = match who {
            Who::Leader => known.members[0].id,
            Who::Any(id) => known.members[id.0 as usize % known.members.len()].id,
        };
        if known.members.len() < 2 || id == leader {
            return Ok(false);
        }
        match fault {
            Fault::RemoveDead(_) => {
                self.crash(id)?;
                self.node_mut(id).held_down = true;
            }
            Fault::RemoveParted(_) => self.isolate(id),
            _ => {}
        }
        let order = Order::Change(MembershipChange::Remove(id));
        Ok(self.order(order, leader, Some((Wanted::NoMember, id))))
    }

    /// Whoever leads is told to remove somebody who is not in its view.
    pub(super) fn remove_estranged(&mut self) {
        let orders: Vec<(ReplicaId, ReplicaId)> = self
            .nodes
            .iter()
            .filter_map(|node| {
                let replica = node.run.as_ref()?.process.replica();
                let view = &replica.view_start(replica.leads()?)?.members;
                let known = &replica.configuration()?.members;
                let gone = known.iter().find(|member| !view.contains(&member.id))?;
                Some((node.id, gone.id))
            })
            .collect();
        for (leader, gone) in orders {
            let order = Order::Change(MembershipChange::Remove(gone));
            self.order(order, leader, None);
        }
    }

    pub(super) fn transfer(&mut self, who: Who) -> bool {
        let Some((_, leader)) = self.known() else {
            return false;
        };
        let to = self.meant(who);
        self.order(Order::Transfer(to), leader, None)
    }

    /// Whether views may be forced. Where a majority is needed, who is away beyond the cap is not waited for: what the others
    /// dropped from their logs meanwhile cannot be kept if that one is forced.
    fn may_force(&self) -> bool {
        let cap = self.setup.settings.log_cap;
        self.mode == Mode::Available || cap >= Settings::default().log_cap
    }

    /// Whether nothing is lost for good if this one goes on as it is. Where a majority is needed, the others do not wait for
    /// what it lacks before they drop that from their logs.
    fn may_go_on(&self, id: ReplicaId) -> bool {
        let own = self.disks[&id].look(|store| store.branches().clone());
        let has_all = |other: &Disk| {
            let kept = other.look(|store| store.branches().common_ancestor(&own).index);
            other.compacted() <= kept
        };
        let is_whole = self.disks[&id].look(|store| store.readable().count())
            == self.disks[&id].look(|store| store.payloads().count());
        self.mode == Mode::Available || is_whole && self.disks.values().all(has_all)
    }

    pub(super) fn force(&mut self, who: Who) -> bool {
        let at = self.meant(who);
        if !self.may_force() || !self.may_go_on(at) {
            return false;
        }
        self.check.overridden = true;
        self.order(Order::ForceView, at, None)
    }

    pub(super) fn begin_alone(&mut self, who: Who) -> Result<bool, String> {
        if !self.may_force() || !self.operator.works_on.is_empty() {
            return Ok(false);
        }
        let alone = self.meant(who);
        self.crash(alone)?;
        // Nobody else opens these machines meanwhile.
        for id in self.ids() {
            self.operator.works_on.insert(id);
        }
        self.node_mut(alone).held_down = true;
        self.next_of_alone(alone, Alone::Starts);
        Ok(true)
    }

    fn next_of_alone(&mut self, id: ReplicaId, step: Alone) {
        let delay = self.random.random_range(50_000..350_000);
        self.schedule(delay, Event::ForceAlone(id, step));
    }

    pub(super) fn force_alone(&mut self, alone: ReplicaId, step: Alone) -> Checked {
        self.tell_trace(format_args!("replica {alone} is to go on alone: {step:?}"));
        let others = || {
            (0..self.replicas())
                .map(ReplicaId)
                .filter(|id| *id != alone)
        };
        let others: Vec<ReplicaId> = others().collect();
        match step {
            Alone::Starts => {
                for id in others {
                    self.crash(id)?;
                    self.node_mut(id).held_down = true;
                }
                self.node_mut(alone).held_down = false;
                self.restart(alone)?;
                self.next_of_alone(alone, Alone::Forced(FORCED_AGAIN));
            }
            Alone::Forced(again) => {
                self.force(Who::Any(alone));
                self.next_of_alone(
                    alone,
                    match again {
                        0 => Alone::Over,
                        _ => Alone::StartsAgain(again),
                    },
                );
            }
            Alone::StartsAgain(times) => {
                self.crash(alone)?;
                self.restart(alone)?;
                self.next_of_alone(alone, Alone::Forced(times - 1));
            }
            Alone::Over => {
                for id in self.ids() {
                    self.operator.works_on.remove(&id);
                    self.node_mut(id).held_down = false;
                    self.restart(id)?;
                }
            }
        }
        Ok(())
    }
}
