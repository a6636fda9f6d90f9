//! One replica with its disk: an input, and everything that the driver would do about it, up to a crash in between.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use chat_replication::branch::BranchTable;
use chat_replication::memory_store::MemoryStore;
use chat_replication::message::Message;
use chat_replication::replica::{Mutation, Outgoing, ProposalId, Ready, Replica, Seed, Settings};
use chat_replication::store::{Identity, Persist, Persisted, Store};
use chat_replication::types::{
    ClusterId, Entry, Epoch, Index, Payload, PeerId, Position, ReplicaId, StoreUuid,
};
use uuid::Uuid;

use crate::canon::{self, Clock, LIFE};

/// Timeouts that never end within the bounds.
pub(crate) const ENDLESS: u64 = 1 << 30;
/// Ticks without anything to do after which a replica is left alone.
const IDLE: u64 = 12;

/// A replica's disk, running or not.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    store: MemoryStore,
    pub(crate) promised: Epoch,
    pub(crate) branches: BranchTable,
    pub(crate) log: Vec<Entry>,
    pub(crate) orphans: Vec<Bytes>,
    pub(crate) digest: u64,
}

impl Disk {
    pub(crate) fn new(at: usize) -> Disk {
        let identity = Identity {
            cluster: ClusterId::default(),
            replica: name(at),
            store: peer_id(name(at)).store,
        };
        Disk::of(MemoryStore::new(identity))
    }

    fn of(mut store: MemoryStore) -> Disk {
        let durable = store.load().expect("memory does not fail");
        let log = store
            .entries(1, durable.branches.last_index(), usize::MAX)
            .expect("nothing is compacted");
        let orphans = store
            .orphans(None, usize::MAX)
            .expect("memory does not fail");
        let orphans = orphans.into_iter().map(|orphan| orphan.command).collect();
        Disk {
            digest: canon::digest(&store, Clock::default()),
            promised: durable.promised,
            branches: durable.branches,
            log,
            orphans,
            store,
        }
    }

    fn with(&self, batch: &Persist) -> (Disk, Persisted) {
        let mut store = self.store.clone();
        let persisted = store.persist(batch).expect("memory does not fail");
        (Disk::of(store), persisted)
    }

    /// Commands of the log and among the orphans.
    pub(crate) fn commands(&self) -> BTreeSet<u8> {
        let log = self.log.iter().filter_map(|entry| match &entry.payload {
            Payload::Command(command) | Payload::Reproposed { command, .. } => Some(command),
            Payload::ViewStart(_) => None,
        });
        log.chain(&self.orphans)
            .filter_map(|command| command.first().copied())
            .collect()
    }
}

pub(crate) fn name(at: usize) -> ReplicaId {
    ReplicaId(at as u32 + 1)
}

/// No disk is ever lost here.
fn peer_id(replica: ReplicaId) -> PeerId {
    PeerId {
        replica,
        store: StoreUuid(Uuid::from_u128(u128::from(replica.0))),
    }
}

/// What replicas are started with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seeds: Vec<Seed>,
    pub(crate) settings: Settings,
    pub(crate) mutation: Option<Mutation>,
}

/// A running replica.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) replica: Replica,
    life: u64,
    pub(crate) now: u64,
    /// Whom it knows to be gone.
    pub(crate) suspects: u8,
    /// The round of its newest ballot.
    pub(crate) round: u64,
    persisted: Persisted,
    /// How much of the log was given to the state machine.
    applied: Position,
    /// Whose client waits, and where the command stands.
    waiting: Vec<(u8, Position)>,
    pub(crate) digest: u64,
}

/// What happens to a replica.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Message(ReplicaId, Arc<Message>),
    /// Time passes until there is something to do.
    Time,
    Gone(usize),
    Propose(u8),
}

/// Where a process dies: at which write of a turn, and on which side of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Death {
    Before(u8),
    After(u8),
}

/// What came of an input.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) sent: Vec<(usize, Message)>,
    pub(crate) acknowledged: Vec<u8>,
    pub(crate) died: bool,
    /// It died after a write, and would have had something to say about it.
    pub(crate) silenced: bool,
}

impl Process {
    pub(crate) fn start(disk: &Disk, life: u64, setup: &Setup) -> Process {
        let durable = disk.store.clone().load().expect("memory does not fail");
        let persisted = Persisted {
            orphans: durable.orphans,
        };
        let mut replica = Replica::new(durable, setup.seeds.clone(), 1, setup.settings.clone());
        if let Some(mutation) = setup.mutation {
            replica.break_rule(mutation);
        }
        let mut process = Process {
            replica,
            life,
            now: 0,
            suspects: 0,
            round: 0,
            persisted,
            applied: Position::default(),
            waiting: Vec::new(),
            digest: 0,
        };
        process.note_digest();
        process
    }

    /// Which life of the replica this is, whether its clock has begun, and whether its newest ballot began just now.
    pub(crate) fn standing(&self) -> (u64, bool, bool) {
        (self.life, self.now > 0, self.round == self.round_now())
    }

    fn note_digest(&mut self) {
        let settings = self.replica.settings();
        let capped = |limit: u64| if limit >= ENDLESS { 0 } else { limit };
        let clock = Clock {
            now: self.now,
            rejoin: capped(settings.rejoin),
            hand_back: capped(settings.hand_back),
        };
        let replica = canon::digest(&self.replica, clock);
        self.digest = canon::digest(&(replica, self.applied, &self.waiting), clock);
    }

    /// Such that jitter is always the least there is, and that lives and ballots are told apart.
    fn random(&self) -> u64 {
        (self.life << (LIFE + 1)) + ((ENDLESS - self.now) << 8)
    }

    fn round_now(&self) -> u64 {
        self.random().wrapping_add(self.now)
    }

    /// Takes an input and does everything that it calls for. Returns nothing where nothing comes of it.
    pub(crate) fn take(
        &mut self,
        input: Input,
        disk: &mut Arc<Disk>,
        death: Option<Death>,
    ) -> Option<Outcome> {
        let mut outcome = Outcome::default();
        let mut first = None;
        match input {
            Input::Message(from, message) => {
                self.suspects &= !(1 << (from.0 - 1));
                self.replica.receive(peer_id(from), (*message).clone());
            }
            Input::Gone(peer) => {
                self.suspects |= 1 << peer;
                self.replica.refused(name(peer));
            }
            Input::Propose(command) => self
                .replica
                .propose(ProposalId(command.into()), Bytes::from(vec![command])),
            Input::Time => first = Some(self.wait()?),
        }
        self.settle(first, disk, death, &mut outcome);
        self.note_digest();
        Some(outcome)
    }

    fn wait(&mut self) -> Option<Ready> {
        for _ in 0..IDLE {
            self.now += 1;
            self.replica.tick(self.random());
            let ready = self.replica.ready();
            if !ready.is_empty() {
                return Some(ready);
            }
        }
        None
    }

    fn settle(
        &mut self,
        mut first: Option<Ready>,
        disk: &mut Arc<Disk>,
        death: Option<Death>,
        outcome: &mut Outcome,
    ) {
        let me = self.replica.identity().replica;
        let mut writes = 0;
        loop {
            let ready = first.take().unwrap_or_else(|| self.replica.ready());
            if ready.is_empty() {
                self.apply(disk, outcome);
                let forgetting = self.replica.ready();
                if forgetting.is_empty() {
                    return;
                }
                first = Some(forgetting);
                continue;
            }
            let mut own = Vec::new();
            let (written, persisted) = if ready.persist.is_empty() {
                (disk.clone(), self.persisted)
            } else {
                let (written, persisted) = disk.with(&ready.persist);
                (Arc::new(written), persisted)
            };
            for (to, outgoing) in ready.messages {
                self.send(me, to, outgoing, &written, &mut own, outcome);
            }
            if !ready.persist.is_empty() {
                if death == Some(Death::Before(writes)) {
                    outcome.died = true;
                    return;
                }
                *disk = written.clone();
                self.persisted = persisted;
                if death == Some(Death::After(writes)) {
                    outcome.died = true;
                    outcome.silenced = !ready.after.is_empty();
                    return;
                }
                writes += 1;
            }
            self.replica.persisted(self.persisted);
            for (to, outgoing) in ready.after {
                self.send(me, to, outgoing, &written, &mut own, outcome);
            }
            for (id, position) in ready.appended {
                self.waiting.push((id.0 as u8, position));
            }
            for message in own {
                self.replica.receive_own(message);
            }
        }
    }

    /// Completes a message from the log and sends it.
    fn send(
        &mut self,
        me: ReplicaId,
        to: ReplicaId,
        outgoing: Outgoing,
        disk: &Disk,
        own: &mut Vec<Message>,
        outcome: &mut Outcome,
    ) {
        let branches = self.replica.branches();
        let range = |epoch: Epoch, previous: Position, through: Index| {
            let held = branches.holds(previous) && through <= branches.last_index();
            let newest = branches.epoch_at(through).unwrap_or_default();
            (held && newest <= epoch).then(|| {
                let entries = disk.log.iter();
                let behind = entries
                    .filter(|entry| (previous.index + 1..=through).contains(&entry.position.index));
                behind.cloned().collect()
            })
        };
        let message = match outgoing {
            Outgoing::Message(message) => Some(message),
            Outgoing::Append {
                epoch,
                previous,
                through,
                commit,
                forced,
                ..
            } => range(epoch, previous, through).map(|entries| Message::Append {
                epoch,
                previous,
                entries,
                commit,
                forced,
            }),
            Outgoing::Fetched {
                epoch,
                previous,
                through,
                forced,
            } => range(epoch, previous, through).map(|entries| Message::Fetched {
                epoch,
                previous,
                entries,
                forced,
            }),
            Outgoing::Orphans { epoch } => {
                let orphans = disk.store.orphans(None, usize::MAX);
                let orphans = orphans.expect("memory does not fail");
                (!orphans.is_empty()).then_some(Message::Orphans { epoch, orphans })
            }
            Outgoing::Snapshot { .. } => unreachable!("nothing is compacted"),
            Outgoing::Mended { .. } => unreachable!("nothing is damaged"),
        };
        let Some(message) = message else { return };
        if let Message::PreBallot { round } = message {
            self.round = round;
        }
        if to == me {
            own.push(message);
        } else {
            outcome.sent.push((to.0 as usize - 1, message));
        }
    }

    /// Gives the state machine what is committed, and answers those who waited for it.
    fn apply(&mut self, disk: &Disk, outcome: &mut Outcome) {
        let branches = self.replica.branches().clone();
        self.waiting
            .retain(|(_, position)| branches.holds(*position));
        if !branches.holds(self.applied) {
            // The state machine goes back, here as far as it can: nothing depends on how far.
            self.applied = Position::default();
        }
        let commit = self.replica.commit();
        for entry in &disk.log {
            let index = entry.position.index;
            if index <= self.applied.index || index > commit {
                continue;
            }
            if let Payload::Reproposed { origin, .. } = &entry.payload {
                self.replica.forget_orphan(*origin);
            }
            self.applied = entry.position;
        }
        self.replica.applied(self.applied.index, 0);
        let applied = self.applied.index;
        let answered = self
            .waiting
            .extract_if(.., |(_, position)| position.index <= applied);
        outcome
            .acknowledged
            .extend(answered.map(|(command, _)| command));
    }
}
