//! A cluster in virtual time: one queue of events, one seed.

mod clients;
mod liars;
mod operator;
mod replicas;
mod stages;
mod trouble;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use self::operator::Operator;
use self::stages::Stage;
use super::check::{Check, Checked};
use super::client::{Client, ClientId};
use super::disk::Disk;
use super::ledger::Ledger;
use super::network::{Link, Network, Order};
use super::node::{Node, Time};
use super::options::{self, Profile, SimOptions};
use super::process::Setup;
use super::report::Report;
use super::trace::Trace;
use crate::driver::Limits;
use crate::message::Message;
use crate::replica::{Seed, Settings};
use crate::types::{ClusterId, Epoch, Mode, PeerId, ReplicaId};

/// What is to happen at some time.
enum Event {
    /// A run looks at its queue and its clock.
    Wake(ReplicaId, u32),
    /// A message that left a run at a time arrives.
    Deliver {
        from: PeerId,
        run: u32,
        left: Time,
        to: ReplicaId,
        message: Box<Message>,
    },
    /// The transport of a run tells what it has learnt about a peer.
    Evidence {
        at: ReplicaId,
        run: u32,
        peer: ReplicaId,
        evidence: Evidence,
    },
    /// A run's state machine gets time.
    Apply(ReplicaId, u32),
    /// A client makes its next attempt, unless it has made another since.
    Attempt(ClientId, u64),
    /// A client gives up on an attempt.
    GiveUp(ClientId, u64),
    /// Somebody reads.
    Read,
    Fault,
    /// Each leader is told to remove somebody who is not in its view.
    Estranged,
    /// There is room on a disk again.
    Room(Disk),
    /// An operator puts a disk into a replica's machine, and starts it.
    Replace(ReplicaId, Replacement),
    Crash(ReplicaId, u32),
    /// The next step of having a replica go on alone.
    ForceAlone(ReplicaId, Alone),
    Restart(ReplicaId),
    Mend(Vec<Link>),
    Resume(ReplicaId, u32, super::faults::Notices),
    /// A disk is as fast as usual again.
    Quicken(ReplicaId),
    /// Those whose connections are refused try again.
    Retry,
    /// Is everything well yet?
    Look,
}

/// How one comes to go on alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Alone {
    /// The others have gone on without it, and die; it starts.
    Starts,
    /// It is forced, and so often again.
    Forced(u32),
    /// It dies and starts, to be forced so often.
    StartsAgain(u32),
    /// The others come back.
    Over,
}

/// What takes the place of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Replacement {
    /// An empty one.
    Empty,
    /// A copy of what was there once.
    Backup,
    /// Its own, while that of another was in the machine.
    Own,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Evidence {
    Connected,
    Refused,
}

/// Everything there is.
pub(super) struct World {
    seed: u64,
    random: ChaCha8Rng,
    time: Time,
    queue: BTreeMap<(Time, u64), Event>,
    scheduled: u64,
    setup: Setup,
    profile: Profile,
    mode: Mode,
    cluster: ClusterId,
    disk: options::Disk,
    nodes: Vec<Node>,
    disks: BTreeMap<ReplicaId, Disk>,
    network: Network,
    /// What a replica learns about a peer's connection it learns in order.
    last_evidence: BTreeMap<Link, Time>,
    /// Some of what was said lately, where somebody may say it again.
    said: VecDeque<(PeerId, Message)>,
    clients: Vec<Client>,
    next_command: u64,
    operator: Operator,
    /// Replicas come back with newer software, one after the other.
    rolls_out: bool,
    stage: Stage,
    faults_left: u32,
    check: Check,
    trace: Trace,
    counts: BTreeMap<&'static str, u64>,
}

impl World {
    pub(super) fn new(seed: u64, options: &SimOptions, trace_lines: usize) -> World {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // Everything is drawn, whether it is used or not, so that an option changes nothing else.
        let drawn = match random.random_range(0..20) {
            0 => Profile::Calm,
            1..5 => Profile::Crashes,
            5..7 => Profile::Outages,
            7..11 => Profile::Members,
            11..14 => Profile::Partitions,
            19 => Profile::Hostile,
            _ => Profile::Everything,
        };
        let profile = options.profile.unwrap_or(drawn);
        let drawn = match random.random_range(0..20) {
            0 => 1,
            1..4 => 2,
            4..17 => 3,
            _ => 5,
        };
        let replicas = options.replicas.unwrap_or(drawn).max(1);
        let drawn = match random.random_range(0..20) {
            0 => options::Disk::Files,
            _ => options::Disk::Memory,
        };
        let disk = options.disk.unwrap_or(drawn);
        let drawn = match random.random_bool(0.5) {
            true => Mode::Available,
            false => Mode::Consistent,
        };
        let mode = options.mode.unwrap_or(drawn);
        let cluster = ClusterId(Uuid::from_u128(random.random()));
        let setup = Setup {
            cluster,
            settings: Settings {
                mode,
                ..settings(&mut random)
            },
            limits: limits(&mut random),
            mutation: options.mutation,
        };
        let nodes: Vec<Node> = (0..replicas)
            .map(|id| node(ReplicaId(id), disk, cluster, &mut random))
            .collect();
        let client = |_| Client {
            command: None,
            target: ReplicaId(0),
            attempt: 0,
        };
        let loss = match profile {
            Profile::Calm => 0.0,
            Profile::Everything => random.random_range(0.0..0.1),
            _ => 0.01,
        };
        let order = match random.random_bool(0.5) {
            true => Order::Kept,
            false => Order::Lost,
        };
        let rolls_out = random.random_bool(0.3) && profile.crashes();
        let mut world = World {
            seed,
            time: 0,
            queue: BTreeMap::new(),
            scheduled: 0,
            profile,
            mode,
            cluster,
            disk,
            disks: nodes
                .iter()
                .map(|node| (node.id, node.disk.clone()))
                .collect(),
            nodes,
            setup,
            network: Network::new(loss, 0.02, order),
            last_evidence: BTreeMap::new(),
            said: VecDeque::new(),
            clients: (0..random.random_range(1..5)).map(client).collect(),
            next_command: 1,
            operator: Operator::default(),
            rolls_out,
            stage: Stage::Faults,
            faults_left: options.steps,
            check: Check::new(mode, profile.suspects_falsely()),
            trace: Trace::new(trace_lines),
            counts: BTreeMap::new(),
            random,
        };
        world.begin();
        world
    }

    /// Runs the schedule to its end.
    pub(super) fn run(&mut self) -> Result<Report, String> {
        while !self.is_over() {
            let Some(((time, _), event)) = self.queue.pop_first() else {
                return Err("nothing is left to happen".to_owned());
            };
            self.time = time;
            self.happen(event)?;
        }
        self.count("acknowledged", self.check.acknowledgements() as u64);
        self.count("views", self.check.views() as u64);
        Ok(Report {
            seed: self.seed,
            profile: self.profile,
            mode: self.mode,
            replicas: self.replicas(),
            disk: self.disk,
            counts: std::mem::take(&mut self.counts),
            time: self.time,
            trace: self.trace.hash(),
        })
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.trace.lines()
    }

    pub(super) fn profile(&self) -> Profile {
        self.profile
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Who leads, as they believe.
    fn leaders(&self) -> impl Iterator<Item = Epoch> {
        let running = self.nodes.iter().filter_map(|node| node.run.as_ref());
        running.filter_map(|run| run.process.replica().leads())
    }

    fn begin(&mut self) {
        for id in 0..self.replicas() {
            let at = self.random.random_range(0..60_000);
            self.schedule(at, Event::Restart(ReplicaId(id)));
        }
        for client in 0..self.clients.len() {
            let at = self.random.random_range(0..400_000);
            self.schedule(at, Event::Attempt(client, 0));
        }
        let first = self.random.random_range(0..800_000);
        self.schedule(first, Event::Fault);
        self.schedule(0, Event::Read);
        self.schedule(0, Event::Retry);
        self.schedule(0, Event::Look);
    }

    fn happen(&mut self, event: Event) -> Checked {
        match event {
            Event::Wake(id, run) => self.wake(id, run),
            Event::Deliver {
                from,
                run,
                left,
                to,
                message,
            } => self.deliver(from, run, left, to, message),
            Event::Evidence {
                at,
                run,
                peer,
                evidence,
            } => {
                self.tell(at, run, peer, evidence);
                Ok(())
            }
            Event::Apply(id, run) => self.apply(id, run),
            Event::Attempt(client, attempt) => {
                self.attempt(client, attempt);
                Ok(())
            }
            Event::GiveUp(client, attempt) => {
                self.give_up(client, attempt);
                Ok(())
            }
            Event::Read => {
                self.read();
                Ok(())
            }
            Event::Fault => self.next_fault(),
            Event::Estranged => {
                self.remove_estranged();
                Ok(())
            }
            Event::Room(disk) => {
                disk.fill(false);
                Ok(())
            }
            Event::Replace(id, replacement) => self.replace(id, replacement),
            Event::Crash(id, run) => match self.node(id).is_up() && self.node(id).runs == run {
                true => self.crash(id),
                false => Ok(()),
            },
            Event::ForceAlone(id, step) => self.force_alone(id, step),
            Event::Restart(id) => self.restart(id),
            Event::Mend(links) => {
                self.mend(&links);
                Ok(())
            }
            Event::Resume(id, run, notices) => {
                self.resume(id, run, notices);
                Ok(())
            }
            Event::Quicken(id) => {
                self.node_mut(id).slowness = 1;
                Ok(())
            }
            Event::Retry => {
                self.retry_refused();
                Ok(())
            }
            Event::Look => self.look(),
        }
    }

    fn replicas(&self) -> u32 {
        u32::try_from(self.nodes.len()).expect("there are few replicas")
    }

    fn ids(&self) -> impl Iterator<Item = ReplicaId> + use<> {
        (0..self.replicas()).map(ReplicaId)
    }

    fn node(&self, id: ReplicaId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn node_mut(&mut self, id: ReplicaId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    fn schedule(&mut self, delay: Time, event: Event) {
        self.scheduled += 1;
        self.queue
            .insert((self.time + delay, self.scheduled), event);
    }

    fn count(&mut self, what: &'static str, times: u64) {
        *self.counts.entry(what).or_default() += times;
    }

    fn tell_trace(&mut self, what: fmt::Arguments<'_>) {
        self.trace.line(self.time, what);
    }
}

pub(in crate::sim) fn seed_of(id: u32) -> Seed {
    Seed {
        id: ReplicaId(id),
        peer_address: format!("replica-{id}:7500"),
        client_address: format!("replica-{id}:7400"),
    }
}

fn node(id: ReplicaId, disk: options::Disk, cluster: ClusterId, random: &mut ChaCha8Rng) -> Node {
    Node {
        id,
        disk: Disk::new(disk, cluster, id, random.random()),
        version: 1,
        ledger: Ledger::default(),
        run: None,
        runs: 0,
        deaths: Vec::new(),
        held_down: false,
        backup: None,
        silent: true,
        ahead: 0,
        pace: random.random_range(970..1030),
        slowness: 1,
        stall: 0,
    }
}

/// The usual times, but shorter: what takes seconds in life takes hundreds of milliseconds here.
pub(in crate::sim) fn brisk() -> Settings {
    Settings {
        heartbeat: 2,
        suspect: 20,
        view_timeout: 40,
        stagger: 3,
        ballot: 5,
        recovery_grace: 200,
        rejoin: 40,
        hand_back: 40,
        hand_over: 10,
        hold: 80,
        change: 100,
        ..Settings::default()
    }
}

/// Limits so low that they are reached, or so high that they are not.
fn settings(random: &mut ChaCha8Rng) -> Settings {
    let mut pick = |low, high| match random.random_bool(0.5) {
        true => low,
        false => high,
    };
    Settings {
        catch_up_limit: pick(8, 4096),
        window: pick(4, 1024),
        max_uncommitted: pick(8, 1024),
        log_keep: pick(4, 10_000),
        log_cap: pick(20, 200_000),
        absent_bytes: pick(2000, 1 << 30),
        absent_ticks: pick(150, 1 << 40),
        absent_views: pick(8, 4096),
        max_epochs: pick(6, 1024) as usize,
        ..brisk()
    }
}

fn limits(random: &mut ChaCha8Rng) -> Limits {
    let mut pick = |low, high| match random.random_bool(0.5) {
        true => low,
        false => high,
    };
    Limits {
        message_bytes: pick(1500, 1 << 20),
        batch_bytes: pick(300, 1 << 20),
        batch_entries: pick(3, 1024) as u64,
        batches: pick(1, 4),
        tail_bytes: pick(200, 1 << 20),
    }
}
