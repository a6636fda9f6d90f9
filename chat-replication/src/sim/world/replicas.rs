//! What replicas do: turn, send, apply, die and come back.

use rand::RngExt;

use super::{Event, Evidence, World, seed_of};
use crate::driver::{Answer, Clock, Due};
use crate::message::Message;
use crate::replica::Note;
use crate::sim::board::Turned;
use crate::sim::check::{Checked, Written};
use crate::sim::describe::Brief;
use crate::sim::disk::Death;
use crate::sim::ledger::command;
use crate::sim::node::{Arrived, Node, Run, TICK, Time};
use crate::sim::options::Profile;
use crate::sim::process::Process;
use crate::state_machine::StateMachine;
use crate::store::Persist;
use crate::types::{Epoch, PeerId, ReplicaId};

impl World {
    /// Puts something into a replica's queue.
    pub(super) fn arrive(&mut self, id: ReplicaId, arrived: Arrived) {
        if let Some(run) = &mut self.node_mut(id).run {
            run.inputs.push_back(arrived);
            self.wake_soon(id);
        }
    }

    /// Has a replica woken as soon as it can.
    pub(super) fn wake_soon(&mut self, id: ReplicaId) {
        let time = self.time;
        self.wake_at(id, time);
    }

    fn wake_at(&mut self, id: ReplicaId, at: Time) {
        let time = self.time;
        let node = self.node_mut(id);
        let number = node.runs;
        let Some(run) = &mut node.run else { return };
        let at = at.max(run.busy_until).max(time);
        if run.wake_at.is_none_or(|planned| planned > at) {
            run.wake_at = Some(at);
            self.schedule(at - time, Event::Wake(id, number));
        }
    }

    pub(super) fn wake(&mut self, id: ReplicaId, number: u32) -> Checked {
        let time = self.time;
        let random: u64 = self.random.random();
        let node = self.node_mut(id);
        let local = node.local(time);
        if node.runs != number {
            return Ok(());
        }
        let Some(run) = &mut node.run else {
            return Ok(());
        };
        if run.wake_at != Some(time) {
            return Ok(());
        }
        run.wake_at = None;
        if run.paused {
            return Ok(());
        }
        let driver = &mut run.process.driver;
        for arrived in run.inputs.drain(..) {
            match arrived {
                Arrived::Message(from, message) => driver.receive(from, *message),
                Arrived::Connected(peer) => driver.connected(peer),
                Arrived::Refused(peer) => driver.refused(peer),
                Arrived::Proposal {
                    command: id,
                    bytes,
                    owed,
                } => driver.propose(command(id, bytes), Answer::new(owed, None)),
                Arrived::Read(answer) => driver.read(answer),
                Arrived::Order(order, answer) => driver.order(order, answer),
            }
        }
        let excused = std::time::Duration::from_micros(std::mem::take(&mut run.wrote_for));
        let mut jumped = false;
        match run.clock.due(local, excused) {
            Due::Ticks(ticks) => {
                run.ticks += ticks;
                (0..ticks).for_each(|tick| driver.tick(random.rotate_left(tick as u32)));
            }
            Due::Jump => {
                jumped = true;
                driver.ticks_jumped();
            }
        }
        self.hear_casts(id)?;
        if jumped {
            self.tell_trace(format_args!("replica {id}: time has jumped"));
        }
        self.turn(id)
    }

    /// Turns a replica, and lets the world know of what it did.
    fn turn(&mut self, id: ReplicaId) -> Checked {
        let node = self.node_mut(id);
        let number = node.runs;
        let Some(run) = &mut node.run else {
            return Ok(());
        };
        let (turned, outcome) = run.process.turn();
        let state = run.process.ledger.durable();
        let (ticks, grace) = (run.ticks, self.setup.settings.recovery_grace);
        if let Ok(notes) = &outcome {
            for note in notes {
                if let Note::Ignored { peer, why, .. } = note
                    && self.profile != Profile::Hostile
                {
                    return Err(format!(
                        "replica {id} ignores what {peer} says, since {why}"
                    ));
                }
                if let Note::Leading { epoch, forced, .. } = note {
                    self.check.leads(id, *epoch, *forced)?;
                }
                self.tell_trace(format_args!("replica {id}: {note}"));
            }
        }
        let isolated = turned.isolated;
        if let Some(broken) = turned.broken.first() {
            return Err(format!("replica {id} {broken}"));
        }
        for batch in &turned.written {
            self.trace_write(id, batch);
            let written = Written {
                id,
                batch,
                ticks,
                grace,
                state,
            };
            let disks = &self.disks;
            self.check.wrote(&written, |member, known, position| {
                let disk = disks.get(&member)?;
                known
                    .votes(member, disk.store())
                    .then(|| disk.holds(position))
            })?;
            for (happened, what) in [
                (batch.truncate.is_some(), "logs cut"),
                (batch.compact.is_some(), "logs compacted"),
                (batch.reset.is_some(), "snapshots installed"),
            ] {
                self.count(what, u64::from(happened));
            }
        }
        for (_, _, message) in &turned.sent {
            self.check.said(id, message)?;
            self.check.announces(id, message);
        }
        self.send(id, number, turned);
        if isolated {
            self.isolate(id);
        }
        let run = self.nodes[id.0 as usize].run.as_ref();
        let run = run.ok_or("a replica that turned is up")?;
        if run.process.board.is_dead() {
            self.check.led(id, number, &run.process, &self.disks)?;
            return self.crash(id);
        }
        if let Err(error) = outcome {
            return Err(format!("replica {id} stopped: {error}"));
        }
        self.after_turn(id, number)
    }

    fn after_turn(&mut self, id: ReplicaId, number: u32) -> Checked {
        let node = &self.nodes[id.0 as usize];
        let run = node.run.as_ref().ok_or("a replica that turned is up")?;
        self.check.turned(id, number, &run.process, &self.disks)?;
        // Who was added a moment ago, by a leader that is gone, may be unknown to others: it is as good as cut off.
        let leading: Vec<_> = self.leaders().collect();
        let knows = |one: &Epoch, other: &Epoch| {
            let known = self
                .replica(one.replica)
                .ok()
                .and_then(|it| it.configuration());
            known.is_some_and(|known| {
                known.member(other.replica).is_some() || known.has_removed(other.store)
            })
        };
        let known = |one: &Epoch| leading.iter().all(|other| knows(other, one));
        self.check.suspects_falsely |= !leading.iter().all(known);
        self.check.leaders(&leading)?;
        self.poll_answers(id)?;
        let pace = self.random.random_range(20..2000);
        let node = self.node_mut(id);
        let tick = node.run.as_ref().map(|run| node.global(run.clock.next()));
        if let Some(run) = &mut node.run
            && run.process.has_work()
            && !run.applying
        {
            run.applying = true;
            let from = run.busy_until;
            let delay = from.saturating_sub(self.time) + pace;
            self.schedule(delay, Event::Apply(id, number));
        }
        if let Some(tick) = tick {
            self.wake_at(id, tick);
        }
        Ok(())
    }

    /// Hands a turn's messages to the network, each when the writes before it are done.
    fn send(&mut self, id: ReplicaId, number: u32, turned: Turned) {
        let mut leaves = vec![self.time];
        for batch in &turned.written {
            let duration = self.write_duration(id, batch);
            leaves.push(leaves[leaves.len() - 1] + duration);
        }
        let time = self.time;
        let done = leaves[turned.written.len()];
        let Some(run) = &mut self.node_mut(id).run else {
            return;
        };
        run.busy_until = run.busy_until.max(done);
        run.wrote_for += done - time;
        let from = run.process.replica().identity().peer_id();
        self.remember(from, &turned.sent);
        for (writes, to, message) in turned.sent {
            let left = leaves[writes.min(leaves.len() - 1)];
            self.trace
                .line(left, format_args!("   {id} → {to} {}", Brief(&message)));
            for arrival in self.network.arrivals((id, to), left, &mut self.random) {
                let event = Event::Deliver {
                    from,
                    run: number,
                    left,
                    to,
                    message: Box::new(message.clone()),
                };
                self.schedule(arrival - time, event);
            }
        }
    }

    fn write_duration(&mut self, id: ReplicaId, batch: &Persist) -> Time {
        let entries = batch.append.len() as u64;
        let usual = self.random.random_range(150..2500) + 10 * entries;
        let node = self.node_mut(id);
        usual * node.slowness + std::mem::take(&mut node.stall)
    }

    pub(super) fn deliver(
        &mut self,
        from: PeerId,
        run: u32,
        left: Time,
        to: ReplicaId,
        message: Box<Message>,
    ) -> Checked {
        // A run that died while it was writing has not sent what was to follow.
        let knows = |at: ReplicaId, peer: ReplicaId| {
            let run = self.node(at).run.as_ref();
            run.is_none_or(|run| run.process.board.knows(peer))
        };
        let id = from.replica;
        let connected = knows(id, to) && knows(to, id);
        if connected && self.node(id).lived(run, left) && self.network.passes((id, to)) {
            self.arrive(to, Arrived::Message(from, message));
        }
        Ok(())
    }

    pub(super) fn tell(&mut self, at: ReplicaId, run: u32, peer: ReplicaId, evidence: Evidence) {
        if self.node(at).runs != run || !self.node(at).is_up() {
            return;
        }
        self.tell_trace(format_args!("   {at} finds {peer} {evidence:?}"));
        let arrived = match evidence {
            Evidence::Connected => Arrived::Connected(peer),
            Evidence::Refused => Arrived::Refused(peer),
        };
        self.arrive(at, arrived);
    }

    /// A replica is to learn about a peer's connection, after what it has learnt before.
    pub(super) fn evidence(&mut self, at: ReplicaId, peer: ReplicaId, evidence: Evidence) {
        if !self.node(at).is_up() || !self.network.connects((at, peer)) {
            return;
        }
        let run = self.node(at).runs;
        let soon = self.time + self.random.random_range(200..2500);
        let last = self.last_evidence.entry((at, peer)).or_default();
        *last = soon.max(*last + 1);
        let delay = *last - self.time;
        self.schedule(
            delay,
            Event::Evidence {
                at,
                run,
                peer,
                evidence,
            },
        );
    }

    pub(super) fn retry_refused(&mut self) {
        for peer in self.ids() {
            if self.node(peer).is_up() || self.node(peer).silent {
                continue;
            }
            for at in self.ids().filter(|at| *at != peer) {
                self.evidence(at, peer, Evidence::Refused);
            }
        }
        self.schedule(10 * TICK, Event::Retry);
    }

    /// The state machine does its next piece of work.
    pub(super) fn apply(&mut self, id: ReplicaId, number: u32) -> Checked {
        let checkpoint = self.random.random_bool(0.1);
        let delay = self.random.random_range(20..3000);
        let node = &mut self.nodes[id.0 as usize];
        let Some(run) = node.run.as_mut().filter(|_| node.runs == number) else {
            return Ok(());
        };
        if run.paused {
            self.schedule(delay, Event::Apply(id, number));
            return Ok(());
        }
        let process = &mut run.process;
        let from = process.ledger.applied();
        let durable = process.ledger.durable();
        let report = process.apply();
        if checkpoint {
            let Ok(()) = process.ledger.checkpoint();
        }
        if process.ledger.durable() != durable {
            node.disk.keep_state(process.ledger.checkpointed());
        }
        run.applying = process.has_work();
        if let Some(report) = report {
            let log = process.replica().branches().clone();
            let ledger = &process.ledger;
            self.check.applied(id, from, report, ledger, &log)?;
            if report.rolled_back {
                self.count("states rolled back", 1);
                self.tell_trace(format_args!(
                    "replica {id}: state goes back to {}",
                    report.applied
                ));
            }
        }
        if self.node(id).run.as_ref().is_some_and(|run| run.applying) {
            self.schedule(delay, Event::Apply(id, number));
        }
        self.poll_answers(id)?;
        self.wake_soon(id);
        Ok(())
    }

    /// A process dies: what it had in memory is gone.
    pub(super) fn crash(&mut self, id: ReplicaId) -> Checked {
        if !self.node(id).is_up() {
            return Ok(());
        }
        // Some machines die with their processes.
        let silent = self.profile.crashes() && self.random.random_bool(0.2);
        let death = match silent {
            true => Death::PowerLoss,
            false => self.node(id).disk.draw_death(),
        };
        self.die(id, death, silent)
    }

    /// A process is killed, and its machine stays.
    pub(super) fn kill(&mut self, id: ReplicaId) -> Checked {
        self.die(id, Death::Killed, false)
    }

    fn die(&mut self, id: ReplicaId, death: Death, silent: bool) -> Checked {
        let time = self.time;
        let Some(run) = self.node_mut(id).run.take() else {
            return Ok(());
        };
        let node = self.node_mut(id);
        node.silent = silent;
        node.deaths.push(time);
        run.process.board.kill();
        // The disk is frozen before the store is dropped, as a store that is dropped writes.
        node.disk.end(death);
        node.ledger = run.process.ledger.clone().crashed();
        node.stall = 0;
        let owed = run.owed;
        drop(run.process);
        self.tell_trace(format_args!("replica {id} dies: {death:?}"));
        self.count("deaths", 1);
        self.count("processes killed", u64::from(death == Death::Killed));
        if !silent {
            for at in self.ids().filter(|at| *at != id) {
                self.evidence(at, id, Evidence::Refused);
            }
        }
        for mut owed in owed {
            let outcome = owed.poll();
            self.answered(
                id,
                &owed,
                outcome.unwrap_or(Err(crate::handle::ProposeError::Stopped)),
            )?;
        }
        Ok(())
    }

    fn upgrade(&mut self, id: ReplicaId) {
        if self.node(id).version == 1 {
            self.node_mut(id).version = 2;
            self.tell_trace(format_args!("replica {id} gets newer software"));
            self.count("upgrades", 1);
        }
    }

    /// Who says that its software is too old gets newer one.
    pub(super) fn upgrade_the_old(&mut self) -> Checked {
        let old = |node: &&Node| {
            let run = node.run.as_ref();
            run.is_some_and(|run| run.process.replica().needs_version().is_some())
        };
        let Some(id) = self.nodes.iter().find(old).map(|node| node.id) else {
            return Ok(());
        };
        self.count("found to be too old", 1);
        self.upgrade(id);
        self.crash(id)?;
        self.restart(id)
    }

    pub(super) fn restart(&mut self, id: ReplicaId) -> Checked {
        if self.node(id).is_up() || self.node(id).held_down {
            return Ok(());
        }
        let time = self.time;
        if self.rolls_out && self.node(id).runs > 0 && self.random.random_bool(0.3) {
            self.upgrade(id);
        }
        let ledger = self.node(id).ledger.clone();
        let ledger = ledger.run_by(self.node(id).version);
        // Whoever starts it has written down all that there are.
        let seeds = (0..self.replicas()).map(seed_of).collect();
        let disk = &self.node(id).disk;
        let process = match Process::start(id, disk, ledger, seeds, &self.setup) {
            Ok(process) => process,
            Err(error) => {
                self.tell_trace(format_args!("replica {id} does not start: {error}"));
                self.count("starts refused by the disk", 1);
                return Ok(());
            }
        };
        self.tell_trace(format_args!(
            "replica {id} starts, at {}",
            process.replica().branches().last()
        ));
        self.check.started(id, &process, &self.disks[&id])?;
        let suspect = self.setup.settings.suspect;
        let node = self.node_mut(id);
        node.runs += 1;
        node.silent = false;
        let clock = Clock::new(
            std::time::Duration::from_micros(TICK),
            suspect,
            node.local(time),
        );
        node.run = Some(Run {
            process,
            clock,
            inputs: Default::default(),
            busy_until: time,
            wrote_for: 0,
            paused: false,
            wake_at: None,
            applying: false,
            owed: Vec::new(),
            reads: Vec::new(),
            orders: Vec::new(),
            ticks: 0,
        });
        self.wake_soon(id);
        for peer in self.ids().filter(|peer| *peer != id) {
            if self.node(peer).is_up() {
                self.evidence(peer, id, Evidence::Connected);
                self.evidence(id, peer, Evidence::Connected);
            } else if !self.node(peer).silent {
                self.evidence(id, peer, Evidence::Refused);
            }
        }
        Ok(())
    }

    fn trace_write(&mut self, id: ReplicaId, batch: &Persist) {
        let promised = batch
            .promised
            .map(|epoch| format!(" promised {epoch}"))
            .unwrap_or_default();
        let cut = batch
            .truncate
            .map(|keep| format!(" cut behind {keep}"))
            .unwrap_or_default();
        let append = match batch.append.as_slice() {
            [] => String::new(),
            [only] => format!(" {}", only.position),
            [first, .., last] => format!(" {}..{}", first.position, last.position),
        };
        let reset = batch
            .reset
            .as_ref()
            .map(|reset| format!(" takes a snapshot of {}", reset.branches.last()))
            .unwrap_or_default();
        let compact = batch
            .compact
            .map(|last| format!(" drops up to {last}"))
            .unwrap_or_default();
        let forget = match batch.forget.len() {
            0 => String::new(),
            orphans => format!(" forgets {orphans} orphans"),
        };
        self.tell_trace(format_args!(
            "   {id} writes{promised}{cut}{reset}{append}{forget}{compact}"
        ));
    }
}
