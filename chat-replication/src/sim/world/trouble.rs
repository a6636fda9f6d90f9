//! What goes wrong.

use rand::RngExt;

use super::{Event, Evidence, World};
use crate::driver::Clock;
use crate::sim::check::Checked;
use crate::sim::faults::{Fault, Notices, Who, draw, links_of};
use crate::sim::network::Link;
use crate::sim::node::{TICK, Time};
use crate::types::ReplicaId;

impl World {
    /// Injects the next fault, unless there were enough.
    pub(super) fn next_fault(&mut self) -> Checked {
        if self.faults_left == 0 {
            return self.heal();
        }
        self.faults_left -= 1;
        let suspect = self.setup.settings.suspect * TICK;
        let replicas = self.replicas();
        if let Some(fault) = draw(self.profile, replicas, suspect, &mut self.random) {
            self.inject(fault)?;
        }
        let pause = match self.random.random_bool(0.6) {
            true => self.random.random_range(10_000..300_000),
            // Long enough for replicas to be taken back, and for leadership to be handed back.
            false => self.random.random_range(300_000..1_500_000),
        };
        self.schedule(pause, Event::Fault);
        Ok(())
    }

    fn inject(&mut self, fault: Fault) -> Checked {
        self.tell_trace(format_args!("fault: {fault:?}"));
        let name = fault.name();
        let happens = match fault {
            Fault::Wipe(who) | Fault::Rot(who) | Fault::Restore(who) | Fault::Backup(who) => {
                self.change_disk(&fault, who)?
            }
            Fault::OldDisk(who) => self.put_in_old_disk(who)?,
            Fault::Decay(who, two) => self.decay(who, two)?,
            Fault::Spoil(who) => self.spoil(who),
            Fault::Swap(who) => self.swap(who)?,
            Fault::Add => self.add_replica()?,
            Fault::Remove(who) | Fault::RemoveDead(who) | Fault::RemoveParted(who) => {
                self.remove_replica(&fault, who)?
            }
            Fault::Transfer(who) => self.transfer(who),
            Fault::Force(who) => self.force(who),
            Fault::ForceAlone(who) => self.begin_alone(who)?,
            Fault::Lies(who) => self.tell_lies(who)?,
            _ => {
                self.disturb(fault)?;
                true
            }
        };
        if happens {
            self.count(name, 1);
        }
        Ok(())
    }

    fn disturb(&mut self, fault: Fault) -> Checked {
        match fault {
            Fault::Crash(who) => {
                let id = self.meant(who);
                self.crash(id)?;
                self.restart_later(id);
            }
            Fault::CrashAtWrite(who, point) => {
                let id = self.meant(who);
                if let Some(run) = &self.node(id).run {
                    run.process.board.plan_crash(point);
                }
                self.restart_later(id);
            }
            Fault::Trap(who, trap) => {
                let id = self.meant(who);
                if let Some(run) = &self.node(id).run {
                    run.process.board.set_trap(trap);
                }
                self.restart_later(id);
            }
            Fault::TwoCrashes(pause) => {
                let first = self.meant(Who::Leader);
                self.crash(first)?;
                self.restart_later(first);
                let second = self.meant(Who::Any(ReplicaId(first.0 + 1)));
                let run = self.node(second).runs;
                self.schedule(pause, Event::Crash(second, run));
                self.restart_later(second);
            }
            Fault::Outage => {
                for id in self.ids() {
                    self.crash(id)?;
                    self.restart_later(id);
                }
            }
            Fault::Cut(_, links) => {
                self.network.cut(&links);
                self.mend_later(links);
            }
            Fault::Estrange(links) => {
                self.network.cut(&links);
                let suspect = self.setup.settings.suspect * TICK;
                for times in 2..7 {
                    self.schedule(times * suspect, Event::Estranged);
                }
                let delay = self.random.random_range(4 * suspect..20 * suspect);
                self.schedule(delay, Event::Mend(links));
            }
            Fault::Slow(links, most) => {
                self.network.slow_down(&links, most);
                self.mend_later(links);
            }
            Fault::Pause(who, time, notices) => {
                let id = self.meant(who);
                let number = self.node(id).runs;
                if let Some(run) = &mut self.node_mut(id).run {
                    run.paused = true;
                    self.schedule(time, Event::Resume(id, number, notices));
                }
            }
            Fault::SlowDisk(who, factor) => {
                let id = self.meant(who);
                self.node_mut(id).slowness = factor;
                let time = self.random.random_range(100_000..1_500_000);
                self.schedule(time, Event::Quicken(id));
            }
            Fault::Stall(who, time) => {
                let id = self.meant(who);
                self.node_mut(id).stall = time;
            }
            Fault::ClockJump(who, time) => {
                let id = self.meant(who);
                self.node_mut(id).ahead += time;
                self.wake_soon(id);
            }
            Fault::DiskFull(who, time) => {
                let id = self.meant(who);
                let disk = self.node(id).disk.clone();
                disk.fill(true);
                self.schedule(time, Event::Room(disk));
                self.restart_later(id);
            }
            Fault::Wipe(_)
            | Fault::Rot(_)
            | Fault::Decay(..)
            | Fault::Spoil(_)
            | Fault::Restore(_)
            | Fault::Backup(_)
            | Fault::OldDisk(_)
            | Fault::Swap(_)
            | Fault::Add
            | Fault::Remove(_)
            | Fault::RemoveDead(_)
            | Fault::RemoveParted(_)
            | Fault::Transfer(_)
            | Fault::Force(_)
            | Fault::ForceAlone(_)
            | Fault::Lies(_) => {}
        }
        Ok(())
    }

    /// The one that a fault is meant for; somebody who is up where that is possible.
    pub(super) fn meant(&self, who: Who) -> ReplicaId {
        let leads = |id: &ReplicaId| {
            let run = self.node(*id).run.as_ref();
            run.is_some_and(|run| run.process.replica().leads().is_some())
        };
        let any = match who {
            Who::Leader => self.ids().find(leads).unwrap_or(ReplicaId(0)),
            Who::Any(id) => ReplicaId(id.0 % self.replicas()),
        };
        let from_there =
            (0..self.replicas()).map(|step| ReplicaId((any.0 + step) % self.replicas()));
        from_there
            .into_iter()
            .find(|id| self.node(*id).is_up())
            .unwrap_or(any)
    }

    /// Restarts are no-ops for those who are up, so a crash that is still to come is followed by more of them.
    fn restart_later(&mut self, id: ReplicaId) {
        let grace = self.setup.settings.recovery_grace * TICK;
        let delay = match self.random.random_range(0..10) {
            0..6 => self.random.random_range(20_000..300_000),
            6..9 => self.random.random_range(300_000..1_500_000),
            _ => self.random.random_range(grace..grace * 2),
        };
        self.schedule(delay, Event::Restart(id));
        self.schedule(delay * 2 + grace, Event::Restart(id));
    }

    fn mend_later(&mut self, links: Vec<Link>) {
        let delay = self.random.random_range(50_000..2_500_000);
        self.schedule(delay, Event::Mend(links));
    }

    /// Cuts a replica off from everybody else for a while.
    pub(super) fn isolate(&mut self, id: ReplicaId) {
        self.tell_trace(format_args!("replica {id} is cut off"));
        let links = links_of(id, self.replicas());
        self.network.cut(&links);
        self.mend_later(links);
    }

    pub(super) fn mend(&mut self, links: &[Link]) {
        let cut: Vec<Link> = links
            .iter()
            .copied()
            .filter(|link| !self.network.passes(*link))
            .collect();
        self.network.mend(links);
        self.mended(&cut);
    }

    /// Some connections broke meanwhile and are made again, others never noticed.
    fn mended(&mut self, links: &[Link]) {
        self.tell_trace(format_args!("links are mended: {links:?}"));
        for (a, b) in links {
            if self.random.random_bool(0.5) && self.node(*b).is_up() {
                self.evidence(*a, *b, Evidence::Connected);
            }
        }
    }

    pub(super) fn resume(&mut self, id: ReplicaId, number: u32, notices: Notices) {
        let time = self.time;
        let suspect = self.setup.settings.suspect;
        let node = self.node_mut(id);
        let local = node.local(time);
        let Some(run) = node.run.as_mut().filter(|_| node.runs == number) else {
            return;
        };
        run.paused = false;
        if notices == Notices::No {
            run.clock = Clock::new(std::time::Duration::from_micros(TICK), suspect, local);
        }
        run.wake_at = None;
        self.tell_trace(format_args!("replica {id} goes on"));
        self.wake_soon(id);
    }

    /// Ends all trouble.
    fn heal(&mut self) -> Checked {
        self.tell_trace(format_args!("everything heals"));
        self.network.loss = self.network.loss.min(0.01);
        let cut = self.network.mend_all();
        self.mended(&cut);
        for id in self.ids() {
            let number = self.node(id).runs;
            let node = self.node_mut(id);
            node.slowness = 1;
            node.stall = 0;
            node.disk.fill(false);
            if !self.operator.works_on(id) {
                self.node_mut(id).held_down = false;
            }
            let node = self.node(id);
            match &node.run {
                Some(run) => {
                    run.process.board.disarm();
                    if run.paused {
                        self.resume(id, number, Notices::Yes);
                    }
                }
                None => {
                    let delay: Time = self.random.random_range(0..600_000);
                    self.schedule(delay, Event::Restart(id));
                }
            }
        }
        self.begin_healing();
        Ok(())
    }
}
