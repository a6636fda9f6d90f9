//! The only place where protocol, disk and network meet.
//!
//! [`start`] runs a replica on threads of its own: one for the protocol, the log's disk and the network, one for the state
//! machine. [`Driver`] is what the first of them turns; it knows neither threads nor time, so that a simulation can turn it
//! as well.

mod apply;
mod apply_thread;
mod batching;
mod clock;
mod input;
mod orders;
mod outgoing;
mod pile;
mod proposals;
mod queue;
mod running;
mod runtime;
mod snapshot;
mod tail;
mod tidy;

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use bytes::Bytes;

pub use self::apply::{
    Applier, Finished, Install, InstallStep, Outcome, Report, Waiting, Work, perform,
};
use self::batching::Batching;
pub(crate) use self::clock::{Awake, Clock, Due};
pub(crate) use self::input::{Input, Proposal};
pub use self::orders::Order;
pub(crate) use self::orders::{OrderAnswer, ReadAnswer};
use self::orders::{Orders, Reads, refused_change, refused_transfer};
pub(crate) use self::pile::{Pile, Wake};
pub use self::proposals::Answer;
use self::proposals::Proposals;
pub(crate) use self::proposals::Room;
pub(crate) use self::queue::Sender;
pub use self::running::{Options, ReplicaError, Running, StartError, start};
pub use self::snapshot::{Read, Reading, TransferId};
use self::snapshot::{Servings, Taking};
use self::tail::Tail;
use crate::handle::{LeaderHint, OrderError, ProposeError};
use crate::message::Message;
use crate::replica::{MAX_CAST, Mutation, Note, Outgoing, PeersAsOf, Ready, Refusal, Replica};
use crate::status::Status;
use crate::store::{Persisted, Reset, Store, StoreError};
use crate::transport::Transport;
use crate::types::{Index, Member, Payload, PeerId, Position, ReplicaId};

/// Sizes that a driver keeps to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of commands in one message to a peer; 1 MiB by default. A larger command goes alone.
    pub message_bytes: usize,
    /// Bytes of commands handed to the state machine at once; 1 MiB by default.
    pub batch_bytes: usize,
    /// Entries handed to the state machine at once; 1,024 by default.
    pub batch_entries: u64,
    /// Batches that the state machine may have before it; 4 by default.
    pub batches: usize,
    /// Bytes of the newest commands that are kept in memory; 8 MiB by default.
    pub tail_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message_bytes: 1 << 20,
            batch_bytes: 1 << 20,
            batch_entries: 1024,
            batches: 4,
            tail_bytes: 8 << 20,
        }
    }
}

/// A replica with its disk, its network and its state machine.
///
/// Inputs only change the replica in memory. [`Driver::turn`] then does what the replica wants done, in the only safe
/// order: send what may leave, write, send what had to wait for the write, apply.
pub struct Driver<S, T, A, R> {
    replica: Replica,
    store: S,
    transport: T,
    applier: A,
    limits: Limits,
    tail: Tail,
    proposals: Proposals<R>,
    batching: Batching,
    reads: Reads,
    orders: Orders,
    /// What the last write left.
    persisted: Persisted,
    /// The last entry handed to the state machine.
    handed: Position,
    /// Pieces of work that the state machine has not reported yet.
    in_flight: usize,
    /// The state machine was told to go back, and has not said yet where it is.
    rolling_back: bool,
    /// It was told to start over.
    starting_over: bool,
    /// On how many replicas, and of how many, entries up to an index are durable: for those not handed over yet.
    copies: VecDeque<(Index, (u32, u32))>,
    /// What the transport was told last, and in which state of affairs.
    peers: Vec<Member>,
    peers_as_of: Option<PeersAsOf>,
    casts: VecDeque<(PeerId, Bytes)>,
    /// Ticks so far, and how many of them are a silence.
    now: u64,
    suspect: u64,
    /// The state machine's last durable checkpoint.
    durable: Position,
    /// A tick has passed since the log was last made shorter.
    tidy_due: bool,
    servings: Servings,
    taking: Option<Taking>,
    /// Snapshots whose beginning the state machine has before it.
    begins: usize,
    /// A snapshot is taking the place of state and log. Until it has, nothing else happens: this replica stands in two
    /// places.
    swapping: bool,
    /// The state machine is to be told once the log is durable.
    settle_due: bool,
}

/// What is left of a step: to write, and what has to wait for that.
pub(crate) struct Step {
    ready: Ready,
    /// What the replica has to say to itself.
    own: Vec<Message>,
    /// There were such messages.
    sent: bool,
}

impl Step {
    /// Whether peers wait for what was sent while this replica writes.
    pub(crate) fn overlaps(&self) -> bool {
        self.sent && !self.ready.persist.is_empty()
    }
}

impl<S: Store, T: Transport, A: Applier<R>, R> Driver<S, T, A, R> {
    /// A driver of a replica that was made from this store. `state` is where the state machine stands.
    pub fn new(
        replica: Replica,
        store: S,
        transport: T,
        applier: A,
        limits: Limits,
        state: Report,
    ) -> Driver<S, T, A, R> {
        let mut driver = Driver {
            persisted: Persisted {
                orphans: replica.status().orphans,
            },
            replica,
            store,
            transport,
            applier,
            tail: Tail::new(limits.tail_bytes),
            limits,
            proposals: Proposals::new(),
            batching: Batching::default(),
            reads: Reads::default(),
            orders: Orders::default(),
            handed: state.applied,
            in_flight: 0,
            rolling_back: false,
            starting_over: false,
            copies: VecDeque::new(),
            peers: Vec::new(),
            peers_as_of: None,
            casts: VecDeque::new(),
            now: 0,
            suspect: 0,
            durable: state.durable,
            tidy_due: false,
            servings: Servings::default(),
            taking: None,
            begins: 0,
            swapping: false,
            settle_due: false,
        };
        driver.suspect = driver.replica.settings().suspect;
        if driver.replica.branches().holds(state.applied) {
            driver
                .replica
                .applied(state.applied.index, state.state_hash);
        }
        driver.tell_peers();
        driver
    }

    /// One tick of time, with fresh randomness.
    pub fn tick(&mut self, random: u64) {
        self.now += 1;
        if self.swapping {
            return;
        }
        self.tidy_due = true;
        self.replica.tick(random);
        self.tick_servings();
    }

    /// The state machine shows a snapshot, and the process died before the log knew. To be called before anything else.
    pub fn complete_install(&mut self, reset: Reset) {
        self.adopt(reset);
    }

    /// Time has passed unseen.
    pub fn ticks_jumped(&mut self) {
        self.replica.ticks_jumped();
    }

    /// A message came from a peer.
    pub fn receive(&mut self, from: PeerId, message: Message) {
        if self.swapping && !matches!(message, Message::Cast(_)) {
            // Messages may be lost.
            return;
        }
        match self.replica.receive(from, message) {
            Some(Message::Cast(bytes)) => self.casts.push_back((from, bytes)),
            Some(Message::SnapshotChunk(chunk)) => self.take_chunk(from.replica, *chunk),
            Some(Message::SnapshotAck { id, received, .. }) => {
                self.snapshot_acknowledged(from.replica, id, received);
            }
            _ => {}
        }
    }

    /// A connection to the peer is up.
    pub fn connected(&mut self, peer: ReplicaId) {
        self.replica.connected(peer);
    }

    /// The peer's process is gone.
    pub fn refused(&mut self, peer: ReplicaId) {
        // It is told again with the next attempt.
        if !self.swapping {
            self.replica.refused(peer);
        }
    }

    /// Somebody wants a command replicated.
    pub fn propose(&mut self, command: Bytes, answer: Answer<R>) {
        let id = self.proposals.add(answer);
        self.batching.add(id, command);
    }

    /// Somebody wants to read what was acknowledged before now, for certain.
    pub(crate) fn read(&mut self, answer: ReadAnswer) {
        let id = self.reads.add(answer);
        self.replica.read(id);
    }

    /// An operator wants something.
    pub(crate) fn order(&mut self, order: Order, answer: OrderAnswer) {
        let outcome = match order {
            Order::Change(change) => {
                let id = self.orders.add(answer);
                return self.replica.change_members(id, change);
            }
            Order::Transfer(to) => self
                .replica
                .transfer_leadership(to)
                .map_err(|refusal| refused_transfer(refusal, || self.not_leader())),
            Order::ForceView => match self.replica.force_view() {
                Ok(()) => return self.orders.force(answer),
                Err(refusal) => Err(OrderError::NotForced(refusal)),
            },
        };
        // An operator that no longer waits has decided so.
        let _ = answer.send(outcome);
    }

    /// Sends an application's own message.
    pub fn cast(&mut self, to: ReplicaId, message: Bytes) {
        if message.len() <= MAX_CAST {
            self.transport.send(to, Message::Cast(message));
        }
    }

    /// The next message of a peer's application.
    pub fn next_cast(&mut self) -> Option<(PeerId, Bytes)> {
        self.casts.pop_front()
    }

    /// The state machine has done a piece of work.
    pub fn finished(&mut self, finished: Finished) {
        let Finished { report, outcome } = finished;
        match outcome {
            Outcome::Applied => {
                self.in_flight -= 1;
                if report.rolled_back {
                    self.rolling_back = false;
                    self.starting_over = false;
                    self.handed = report.applied;
                }
            }
            Outcome::Snapshot { transfer, reader } => self.opened_snapshot(transfer, reader),
            Outcome::Installed(step, result) => self.install_step(step, result),
        }
        self.checkpointed(report.durable);
        // What is said of a branch that was left says nothing about the log.
        if self.replica.branches().holds(report.applied) {
            self.replica
                .applied(report.applied.index, report.state_hash);
            self.reads.applied(report.applied.index);
        }
    }

    /// A checkpoint of the state machine has become durable.
    pub fn checkpointed(&mut self, durable: Position) {
        // That of a damaged state is worth nothing: the log is kept for the next one.
        if !self.starting_over {
            self.durable = durable;
        }
    }

    /// The state is damaged, and begins anew with the empty one; what of it, in words. Until it is whole again this replica
    /// answers nothing, leads nobody, and gives nobody a snapshot. Its log counts as before.
    pub fn state_damaged(&mut self, damage: String) {
        let kept = self.replica.is_broken(Mutation::KeepsDamagedState);
        if kept || std::mem::replace(&mut self.starting_over, true) {
            return;
        }
        self.servings.give_up();
        self.durable = Position::default();
        self.replica.state_damaged(damage);
        // What comes of commands that were not applied yet, those learn who ask a replica with a state.
        self.proposals.skip(Index::MAX - 1);
        self.rolling_back = true;
        self.in_flight += 1;
        self.applier.hand(Work::StartOver);
    }

    /// Does everything that the inputs since the last turn call for, and returns what is worth telling.
    ///
    /// After an error the replica must not be used any more: nobody knows what is on its disk.
    pub fn turn(&mut self) -> Result<Vec<Note>, StoreError> {
        let mut notes = Vec::new();
        self.begin_turn();
        while let Some(step) = self.begin_step()? {
            self.end_step(step, &mut notes)?;
        }
        self.end_turn()?;
        Ok(notes)
    }

    /// A turn in its parts, for a thread that has the network to see to between them: this, then steps until there is none,
    /// then [`Driver::end_turn`].
    pub(crate) fn begin_turn(&mut self) {
        self.replica.checkpointed(self.durable);
        self.compact();
    }

    /// Does what need not wait for this replica's disk, if there is anything to do.
    pub(crate) fn begin_step(&mut self) -> Result<Option<Step>, StoreError> {
        let most = self.limits.message_bytes;
        self.batching.release(&mut self.replica, most);
        let mut ready = self.replica.ready();
        if ready.is_empty() {
            return Ok(None);
        }
        self.tail.record(&ready.persist);
        let mut own = Vec::new();
        let sent = !ready.messages.is_empty();
        for (to, outgoing) in std::mem::take(&mut ready.messages) {
            self.send(to, outgoing, &mut own)?;
        }
        if !ready.persist.is_empty() && self.replica.leads().is_some() {
            // What a leader committed is on its disk. Those who wait for it do not wait for the next write as well.
            self.note_commit();
            self.hand_over()?;
        }
        Ok(Some(Step { ready, own, sent }))
    }

    /// Writes, and does what had to wait for that.
    pub(crate) fn end_step(&mut self, step: Step, notes: &mut Vec<Note>) -> Result<(), StoreError> {
        let Step { ready, mut own, .. } = step;
        if !ready.persist.is_empty() {
            match self.store.persist(&ready.persist) {
                Ok(persisted) => self.persisted = persisted,
                Err(StoreError::DamagedEntries { entries, .. }) if !self.swapping => {
                    notes.extend(ready.notes);
                    return self.begin_anew(entries);
                }
                Err(error) => return Err(error),
            }
            if let Some(store) = ready.persist.rename {
                self.transport.renamed(store);
            }
            self.tail.evict();
        }
        self.replica.persisted(self.persisted);
        for (to, outgoing) in ready.after {
            self.send(to, outgoing, &mut own)?;
        }
        for (id, position) in ready.appended {
            self.proposals.appended(id, position);
        }
        for (id, refusal) in ready.refused {
            let error = match refusal {
                Refusal::NotLeader => ProposeError::NotLeader {
                    leader: self.leader_hint(),
                },
                Refusal::Overloaded => ProposeError::Overloaded,
            };
            self.proposals.refuse(id, error);
        }
        for (id, index) in ready.reads {
            self.reads.confirm(id, index);
        }
        self.reads.applied(self.replica.applied_index());
        for id in ready.reads_refused {
            let leader = self.leader_hint();
            self.reads.refuse(id, ProposeError::NotLeader { leader });
        }
        for (id, fate) in ready.changes {
            let fate = fate.map_err(|refusal| refused_change(refusal, || self.not_leader()));
            self.orders.settle(id, fate);
        }
        if let Some(fate) = ready.forced {
            self.orders
                .settle_force(fate.map_err(OrderError::NotForced));
        }
        self.proposals.cut(self.replica.branches());
        self.note_commit();
        self.roll_back_if_cut();
        for message in own {
            self.replica.receive_own(message);
        }
        notes.extend(ready.notes);
        Ok(())
    }

    /// Hands over what was committed.
    pub(crate) fn end_turn(&mut self) -> Result<(), StoreError> {
        self.settle();
        self.tell_peers();
        self.hand_over()
    }

    /// The replica.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Where the replica and its peers stand.
    pub fn status(&self) -> Status {
        self.replica.status()
    }

    /// Whether commands that come now have to wait for those on their way.
    pub(crate) fn holds_proposals(&self) -> bool {
        self.batching.holds(&self.replica)
    }

    /// Whether the next step waits for the state machine: somebody reads what it is about to show, or it has so much before
    /// it that it is given no more.
    pub(crate) fn awaits_applied(&self) -> bool {
        self.rolling_back
            || self.reads.await_applied()
            || (self.in_flight >= self.limits.batches
                && self.handed.index < self.replica.appliable())
    }

    /// Whether nobody waits for an answer, and the state machine has nothing before it.
    pub fn is_idle(&self) -> bool {
        self.proposals.is_empty() && self.in_flight == 0
    }

    /// How many proposals wait for others to join them; `None` while none do. Only after [`Driver::gather`].
    pub(crate) fn gathered(&self) -> Option<usize> {
        let gathering = self.batching.is_gathering(&self.replica);
        gathering.then(|| self.batching.held())
    }

    /// Whether proposals of a busy time wait for others to join them. Whoever has them wait ends it soon.
    pub(crate) fn gather(&mut self, gathers: bool) {
        self.batching.gather(gathers);
    }

    pub(crate) fn applier_mut(&mut self) -> &mut A {
        &mut self.applier
    }

    /// The parts again.
    pub(crate) fn into_parts(self) -> (S, T, A) {
        (self.store, self.transport, self.applier)
    }

    fn send(
        &mut self,
        to: ReplicaId,
        outgoing: Outgoing,
        own: &mut Vec<Message>,
    ) -> Result<(), StoreError> {
        let me = self.replica.identity().replica;
        if let Outgoing::Snapshot { at_least, .. } = outgoing {
            self.serve_snapshot(to, at_least);
            return Ok(());
        }
        let appends = matches!(outgoing, Outgoing::Append { .. });
        let transport = &mut self.transport;
        let completed = outgoing::complete(
            outgoing,
            self.replica.branches(),
            self.replica.compacted().index,
            &self.tail,
            &self.store,
            self.limits.message_bytes,
            |message| match to == me {
                true => own.push(message),
                false => transport.send(to, message),
            },
        );
        match completed {
            Ok(sent) => {
                if let Some(sent) = sent.filter(|_| appends) {
                    self.replica.sent(to, sent.through, sent.bytes);
                }
                Ok(())
            }
            Err(error) => self.bear_damage(error),
        }
    }

    /// Damaged entries are no reason to end: they are mended. Says what else went wrong.
    fn bear_damage(&mut self, error: StoreError) -> Result<(), StoreError> {
        let StoreError::DamagedEntries { entries, .. } = error else {
            return Err(error);
        };
        let last = *entries.end();
        self.replica.entries_damaged(entries);
        if last <= self.handed.index && last > self.durable.index && !self.rolling_back {
            // Until they are whole again the state alone has what they did.
            self.in_flight += 1;
            self.applier.hand(Work::Checkpoint);
        }
        Ok(())
    }

    /// Nothing of the last step was written, since it would have cut damaged entries. As after a crash, the replica begins
    /// anew from what the disk holds.
    fn begin_anew(&mut self, entries: RangeInclusive<Index>) -> Result<(), StoreError> {
        let durable = self.store.load()?;
        self.persisted = Persisted {
            orphans: durable.orphans,
        };
        self.replica = self.replica.restarted(durable);
        self.replica.entries_damaged(entries);
        self.tail = Tail::new(self.limits.tail_bytes);
        self.batching = Batching::default();
        self.proposals.give_up();
        self.reads = Reads::default();
        self.orders = Orders::default();
        self.servings.give_up();
        self.copies.clear();
        Ok(())
    }

    /// Whether all entries behind an index can be read, so that they can be cut.
    fn can_read_behind(&mut self, index: Index) -> bool {
        let last = self.replica.branches().last_index();
        let mut next = index.max(self.replica.compacted().index) + 1;
        while next <= last {
            match self.store.entries(next, last, self.limits.message_bytes) {
                Ok(entries) if entries.is_empty() => return true,
                Ok(entries) => next += entries.len() as u64,
                Err(error) => {
                    // What is worse shows again with the next write.
                    let _ = self.bear_damage(error);
                    return false;
                }
            }
        }
        true
    }

    fn not_leader(&self) -> OrderError {
        OrderError::NotLeader {
            leader: self.leader_hint(),
        }
    }

    fn leader_hint(&self) -> Option<LeaderHint> {
        let epoch = self.replica.leader()?;
        let member = self.replica.configuration()?.member(epoch.replica)?;
        let other = epoch.replica != self.replica.identity().replica;
        other.then(|| LeaderHint {
            id: epoch.replica,
            epoch,
            client_address: member.client_address.clone(),
        })
    }

    fn tell_peers(&mut self) {
        if self.replica.configuration().is_none() {
            // Before there is one, the transport knows those of the file.
            return;
        }
        let as_of = Some(self.replica.known_peers_as_of());
        if self.peers_as_of == as_of {
            return;
        }
        self.peers_as_of = as_of;
        let peers = self.replica.known_peers();
        if self.peers != peers {
            self.transport.peers_changed(&peers);
            self.peers = peers;
        }
    }

    /// Where the log was cut below what the state machine was given, it has to go back before it gets anything more.
    fn roll_back_if_cut(&mut self) {
        if !self.rolling_back && !self.swapping && !self.replica.branches().holds(self.handed) {
            self.rolling_back = true;
            self.in_flight += 1;
            let branches = self.replica.branches().clone();
            self.applier.hand(Work::RollBack(branches));
        }
    }

    /// Hands committed entries to the state machine, as far as it keeps up.
    fn hand_over(&mut self) -> Result<(), StoreError> {
        if self.swapping {
            // What is handed now would come behind the snapshot, where it has no place.
            return Ok(());
        }
        // The state machine may have gone back to a place that was cut off meanwhile.
        self.roll_back_if_cut();
        // A learner whose software is too old for the log holds the log, and stops here.
        let commit = self.replica.appliable();
        if !self.rolling_back && self.handed.index < self.replica.compacted().index {
            // What would rebuild it is gone from the log.
            self.replica.state_lost();
            return Ok(());
        }
        while !self.rolling_back
            && self.in_flight < self.limits.batches
            && self.handed.index < commit
        {
            let from = self.handed.index + 1;
            let through = commit
                .min(self.handed.index + self.limits.batch_entries)
                .min(self.replica.readable_from(from));
            if through < from {
                // It is mended first.
                break;
            }
            let most = self.limits.batch_bytes;
            let entries = match self.tail.read(&self.store, from, through, most) {
                Ok(entries) => entries,
                Err(error) => {
                    self.bear_damage(error)?;
                    break;
                }
            };
            let Some(last) = entries.last().map(|entry| entry.position) else {
                break;
            };
            for entry in &entries {
                if let Payload::Reproposed { origin, .. } = &entry.payload {
                    self.replica.forget_orphan(*origin);
                }
            }
            let waiting = self
                .proposals
                .take(&entries)
                .into_iter()
                .map(|(at, answer)| {
                    let (durable_on, replicas) = self.copies_of(entries[at].position.index);
                    Waiting {
                        at,
                        durable_on,
                        replicas,
                        answer,
                    }
                })
                .collect();
            while self
                .copies
                .front()
                .is_some_and(|(through, _)| *through < last.index)
            {
                self.copies.pop_front();
            }
            self.handed = last;
            self.in_flight += 1;
            self.applier.hand(Work::Apply { entries, waiting });
        }
        Ok(())
    }

    /// Notes on how many replicas is durable what was just committed.
    fn note_commit(&mut self) {
        let commit = self.replica.commit();
        while self
            .copies
            .back()
            .is_some_and(|(through, _)| *through > commit)
        {
            self.copies.pop_back();
        }
        let known = self.copies.back().map_or(0, |(through, _)| *through);
        if known < commit {
            let start = self.replica.committed_by(commit);
            let count = |ids: usize| u32::try_from(ids).unwrap_or(u32::MAX);
            let copies = start.map_or((1, 1), |start| {
                (
                    count(start.members.len()),
                    count(start.configuration.members.len()),
                )
            });
            self.copies.push_back((commit, copies));
        }
    }

    /// On how many replicas a committed entry is durable, and how many there are.
    fn copies_of(&self, index: Index) -> (u32, u32) {
        let at = self.copies.partition_point(|(through, _)| *through < index);
        self.copies.get(at).map_or((1, 1), |(_, copies)| *copies)
    }
}
