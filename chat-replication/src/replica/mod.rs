//! The protocol: inputs in, one [`Ready`] out.
//!
//! A [`Replica`] has no clock, no generator, no disk and no network. Time and jitter arrive as [`Replica::tick`], messages
//! as [`Replica::receive`]; what it wants done comes out of [`Replica::ready`], and [`Replica::persisted`] says that it is
//! durable. The same inputs in the same order give the same outputs.
//!
//! | file | what it holds |
//! |---|---|
//! | `absence` | who is away for too long, and how it comes back |
//! | `bounds` | what a peer may say: the gate that every message passes |
//! | `ballot` | whether a view may be started: asking around, which changes nothing |
//! | `judge` | the decision itself |
//! | `candidate` | promises, the newest log, the view start |
//! | `leading` | a leader's time: heartbeats, who leaves and joins the view, handing leadership back |
//! | `membership` | who the replicas are |
//! | `reads` | what makes a read linearizable |
//! | `progress` | appends and the commit index |
//! | `following` | promises given, entries taken, leaders gained and lost |
//! | `mending` | damaged entries, and whole ones of others in their place |
//! | `compaction` | which entries are dropped, and the snapshots that take their place |
//! | `outline` | what is kept in memory of the log |

mod absence;
mod ballot;
mod bounds;
mod candidate;
mod compaction;
mod damage;
mod following;
mod force;
mod judge;
mod leading;
mod membership;
mod mending;
mod mutation;
mod outline;
mod peer;
mod progress;
mod reads;
mod ready;
mod report;
mod settings;
mod state;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

pub use self::absence::AwayFor;
use self::ballot::Ballot;
pub(crate) use self::bounds::check_durable;
pub use self::bounds::{MAX_ADDRESS, MAX_CAST, MAX_EPOCHS, MAX_INDEX, MAX_MEMBERS};
pub use self::force::ForceRefusal;
pub use self::judge::Waiting;
pub use self::leading::TransferRefusal;
use self::membership::PendingChange;
pub use self::membership::{ChangeId, ChangeRefusal, MembershipChange};
use self::mending::Mending;
pub use self::mutation::Mutation;
use self::outline::Outline;
use self::peer::Peer;
pub(crate) use self::peer::PeersAsOf;
pub use self::ready::{Note, Outgoing, ProposalId, ReadId, Ready, Refusal};
pub use self::settings::Settings;
use self::state::State;
use crate::message::Message;
use crate::store::{Durable, Identity, Persisted};
use crate::types::{Epoch, Index, Member, Payload, PeerId, Position, ReplicaId, StoreUuid};

/// A replica as the configuration file names it, before the first start told its disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Seed {
    /// The replica.
    pub id: ReplicaId,
    /// Where peers reach it.
    pub peer_address: String,
    /// Where clients reach it.
    pub client_address: String,
}

/// One replica's side of the protocol.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Replica {
    identity: Identity,
    seeds: Vec<Seed>,
    settings: Settings,
    apply_version: u32,
    /// Ticks since the start.
    now: u64,
    /// Drawn at the first tick: tells this life's messages from those of an earlier one. Absent until then, and after
    /// ticks jumped.
    life: Option<u64>,
    /// The newest tick's randomness.
    random: u64,
    log: Outline,
    state: State,
    /// The view that this replica is in: it acknowledged that view's start to its leader, in this life.
    in_view: Option<Epoch>,
    commit: Index,
    /// Asking around, whatever the state.
    ballot: Option<Ballot>,
    /// When to begin asking, without a leader.
    next_ballot: u64,
    /// Since when there is no started leader.
    leaderless_since: Option<u64>,
    waiting: Option<Waiting>,
    /// The greatest promised number that anybody told.
    seen_number: u64,
    /// How far epochs were at the start, for what is believed of them.
    leaps: u64,
    peers: BTreeMap<ReplicaId, Peer>,
    /// The newest view of which anybody told, and the replicas of its configuration: where the histories have parted this
    /// log may not know them all.
    met: Option<(Epoch, Vec<Member>)>,
    /// Proposals that wait for a view to start or for a hand-over to fail.
    queued: VecDeque<(ProposalId, Bytes)>,
    /// What the leader is about to change in the configuration.
    change: Option<PendingChange>,
    /// For how many ticks members of the configuration have been away.
    away: BTreeMap<ReplicaId, u64>,
    /// How many bytes of the log are kept for them, as far as they were weighed.
    kept: BTreeMap<ReplicaId, u64>,
    /// Not before then is a replica removed by itself.
    next_removal: u64,
    /// Removed disks that have nothing that this history lacks.
    drained: BTreeSet<StoreUuid>,
    /// One that has dropped what this leader's history lacks: it is asked as well.
    rival: Option<ReplicaId>,
    /// Until when the next view is to start with whoever is there, if an operator wants that.
    force: Option<u64>,
    orphans: u64,
    /// When to offer orphans next.
    next_orphans: u64,
    applied: (Index, u128),
    /// The state machine's last durable checkpoint.
    checkpoint: Position,
    /// The state is lost and the log does not go back to the beginning: a snapshot of this index or a later one is needed.
    wants_snapshot: Option<Index>,
    /// The log holds everything, and rebuilds the state: once it shows this index, no snapshot is needed.
    rebuilt_at: Option<Index>,
    /// What was damaged of the state that it lost, in words.
    damage: Option<String>,
    /// Whom it asks for entries that are damaged in its log.
    mending: Mending,
    /// The version by which the snapshot was made that somebody offered.
    offered_version: u32,
    ready: Ready,
    broken: Option<Mutation>,
}

impl Replica {
    /// A replica that has just started on this store.
    pub fn new(
        durable: Durable,
        seeds: Vec<Seed>,
        apply_version: u32,
        settings: Settings,
    ) -> Replica {
        let identity = durable.identity;
        let orphans = durable.orphans;
        let seen_number = durable.promised.number;
        let leaps = bounds::leaps(durable.promised);
        let mut replica = Replica {
            identity,
            seeds,
            settings,
            apply_version,
            now: 0,
            life: None,
            random: 0,
            log: Outline::new(durable),
            state: State::Seeking,
            in_view: None,
            commit: 0,
            ballot: None,
            next_ballot: 1,
            leaderless_since: Some(0),
            waiting: None,
            seen_number,
            leaps,
            peers: BTreeMap::new(),
            met: None,
            queued: VecDeque::new(),
            change: None,
            away: BTreeMap::new(),
            kept: BTreeMap::new(),
            next_removal: 0,
            drained: BTreeSet::new(),
            rival: None,
            force: None,
            orphans,
            next_orphans: 0,
            applied: (0, 0),
            checkpoint: Position::default(),
            wants_snapshot: None,
            rebuilt_at: None,
            damage: None,
            mending: Mending::default(),
            offered_version: 0,
            ready: Ready::default(),
            broken: None,
        };
        replica.meet_peers();
        if let Some(damaged) = replica.damaged() {
            let (first, last) = damaged.into_inner();
            replica.note(Note::EntriesDamaged { first, last });
        }
        replica
    }

    /// The same replica after nothing of its last transaction was written, from what the disk holds: it knows nothing of its
    /// peers any more, as after a restart, but for what it knows of its own state and of damage.
    pub(crate) fn restarted(&self, durable: Durable) -> Replica {
        let seeds = self.seeds.clone();
        let mut replica = Replica::new(durable, seeds, self.apply_version, self.settings.clone());
        if replica.log.branches.holds(self.checkpoint) {
            replica.applied = self.applied;
            replica.checkpoint = self.checkpoint;
        }
        replica.wants_snapshot = self.wants_snapshot;
        replica.rebuilt_at = self.rebuilt_at;
        replica.damage.clone_from(&self.damage);
        replica.log.damage = self.log.damage.clone();
        let held = replica.log.compacted.index + 1..=replica.log.last().index;
        replica.log.damage.keep(held);
        replica.broken = self.broken;
        replica
    }

    /// One tick of time. `random` is fresh randomness, for jitter.
    pub fn tick(&mut self, random: u64) {
        self.now += 1;
        self.random = random;
        self.life.get_or_insert(random >> 1);
        self.note_silence();
        self.probe_the_quiet();
        self.count_absence();
        match self.state {
            State::Seeking => {}
            State::Candidate(_) => self.tick_candidate(),
            State::Leading(_) => self.tick_leading(),
            State::Following(_) => self.tick_following(),
        }
        self.tick_force();
        self.tick_mending();
        self.tick_ballot();
        self.offer_orphans();
    }

    /// Time passed that this replica did not see, as after a pause of its process or machine. Others may have gone on
    /// without it, so it treats itself as restarted.
    pub fn ticks_jumped(&mut self) {
        self.in_view = None;
        self.life = None;
        for peer in self.peers.values_mut() {
            peer.heard(self.now);
        }
        self.seek("time has passed unseen");
        self.next_ballot = self.now + 1;
    }

    /// A message from a peer that has shown who it is. Whatever it says, it cannot make this replica panic, nor promise what
    /// no other could follow. Returned is what is for the driver to do: it has passed the same gate.
    pub fn receive(&mut self, from: PeerId, message: Message) -> Option<Message> {
        if !self.admits(from, &message) {
            return None;
        }
        match message {
            Message::Cast(_) | Message::SnapshotChunk(_) | Message::SnapshotAck { .. } => {
                Some(message)
            }
            message => {
                self.take(from.replica, message);
                None
            }
        }
    }

    /// What this replica has to say to itself.
    pub fn receive_own(&mut self, message: Message) {
        self.take(self.me(), message);
    }

    fn take(&mut self, from: ReplicaId, message: Message) {
        match message {
            // Somebody looks for a leader.
            Message::PreBallot { round } => self.on_pre_ballot(from, round),
            Message::PreBallotAnswer { round, standing } => self.on_answer(from, round, *standing),

            // Somebody starts a view.
            Message::Prepare {
                epoch,
                members,
                ticket,
            } => {
                self.on_prepare(from, epoch, members, ticket);
            }
            Message::Promise { epoch, standing } => self.on_promise(from, epoch, *standing),
            Message::Fetch { epoch, after } => self.on_fetch(from, epoch, after),
            Message::Fetched {
                epoch,
                previous,
                entries,
                forced,
            } => {
                self.on_fetched(from, epoch, previous, entries, forced);
            }
            Message::Refuse {
                epoch,
                promised,
                leader,
                leader_started,
            } => {
                self.on_refuse(from, epoch, promised, leader, leader_started);
            }

            // A leader and its followers.
            Message::Append {
                epoch,
                previous,
                entries,
                commit,
                forced,
            } => {
                self.on_append(from, epoch, previous, entries, commit, forced);
            }
            Message::AppendAck {
                epoch,
                store,
                verified,
            } => {
                if self.may_acknowledge(from, store) {
                    self.on_append_ack(from, store, epoch, verified);
                }
            }
            Message::Mismatch {
                epoch,
                branches,
                compacted,
            } => self.on_mismatch(from, epoch, &branches, compacted),
            Message::Heartbeat { .. } => self.on_heartbeat(from, message),
            Message::HeartbeatAck { .. } => self.on_heartbeat_ack(from, message),
            Message::HandOver { epoch, hold } => self.on_hand_over(from, epoch, hold),
            Message::Orphans { epoch, orphans } => self.on_orphans(from, epoch, orphans),

            // Whoever they are, and whatever they do.
            Message::Mend {
                from: position,
                through,
            } => self.on_mend(from, position, through),
            Message::Mended {
                from: position,
                entries,
                compacted,
            } => self.on_mended(from, position, entries, compacted),

            // The driver's.
            Message::Cast(_) | Message::SnapshotChunk(_) | Message::SnapshotAck { .. } => {}
        }
    }

    /// A connection to the peer is up, after it was not.
    pub fn connected(&mut self, peer: ReplicaId) {
        let now = self.now;
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.heard(now);
        }
    }

    /// The peer's machine says that nothing listens there: its process is gone.
    pub fn refused(&mut self, id: ReplicaId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if !peer.refused {
            peer.refused = true;
            peer.suspicion_noted = true;
            self.note(Note::Suspected {
                peer: id,
                refused: true,
            });
        }
        match self.state {
            State::Seeking if self.ballot.is_some() => self.consider_ballot(),
            // One less to wait for.
            State::Seeking => {
                let before = self.next_ballot;
                self.schedule_ballot();
                self.next_ballot = self.next_ballot.min(before);
            }
            State::Candidate(_) => self.tick_candidate(),
            State::Leading(_) => self.check_view(),
            State::Following(_) => self.check_leader(),
        }
    }

    /// Wants a command appended. Its fate is in a later [`Ready`]: appended or refused.
    pub fn propose(&mut self, proposal: ProposalId, command: Bytes) {
        let State::Leading(leading) = &self.state else {
            // A leader that starts a new view takes no proposals away from it.
            let refusal = match self.state {
                State::Candidate(_)
                    if self.queued.len() < self.settings.max_uncommitted as usize =>
                {
                    self.queued.push_back((proposal, command));
                    return;
                }
                State::Candidate(_) => Refusal::Overloaded,
                _ => Refusal::NotLeader,
            };
            self.ready.refused.push((proposal, refusal));
            return;
        };
        let uncommitted = self.log.last().index - self.commit + self.queued.len() as u64;
        if uncommitted >= self.settings.max_uncommitted {
            self.ready.refused.push((proposal, Refusal::Overloaded));
        } else if !leading.takes_proposals() {
            self.queued.push_back((proposal, command));
        } else {
            let position = self.append_own(Payload::Command(command));
            self.ready.appended.push((proposal, position));
        }
    }

    /// A command that was cut from some log is committed again in this one, where it is about to be applied: an orphan of
    /// that origin is no longer needed here.
    pub fn forget_orphan(&mut self, origin: Position) {
        if self.orphans > 0 {
            self.log.pending.forget.push(origin);
        }
    }

    /// How far the state machine is.
    pub fn applied(&mut self, index: Index, state_hash: u128) {
        self.applied = (index, state_hash);
        if self.rebuilt_at.is_some_and(|at| index >= at) {
            self.state_is_whole();
            self.note(Note::Rebuilt { index });
        }
    }

    /// The state machine's last durable checkpoint.
    pub fn checkpointed(&mut self, position: Position) {
        self.checkpoint = position;
    }

    /// What is to be done now. Call [`Replica::persisted`] once its `persist` is durable, also where that is empty.
    pub fn ready(&mut self) -> Ready {
        self.confirm_reads();
        self.send_appends();
        self.acknowledge();
        let mut ready = std::mem::take(&mut self.ready);
        ready.persist = self.log.take_pending();
        ready
    }

    /// The last [`Ready`]'s `persist` is durable.
    pub fn persisted(&mut self, persisted: Persisted) {
        self.orphans = persisted.orphans;
        self.log.persisted();
        self.count_own();
    }

    /// Breaks one rule on purpose, so that whoever checks the rules can show that it would notice. For tests alone.
    pub fn break_rule(&mut self, mutation: Mutation) {
        self.broken = Some(mutation);
        if mutation == Mutation::RestartStaysInView {
            self.in_view = self.log.newest().map(|(epoch, _)| epoch);
        }
    }

    pub(crate) fn is_broken(&self, mutation: Mutation) -> bool {
        self.broken == Some(mutation)
    }

    fn me(&self) -> ReplicaId {
        self.identity.replica
    }

    fn note(&mut self, note: Note) {
        self.ready.notes.push(note);
    }

    /// Sends before anything is durable.
    fn send(&mut self, to: ReplicaId, outgoing: Outgoing) {
        self.ready.messages.push((to, outgoing));
    }

    /// Sends once everything up to now is durable.
    fn send_after(&mut self, to: ReplicaId, message: Message) {
        self.ready.after.push((to, Outgoing::Message(message)));
    }

    /// Leaves whatever it was and looks for a leader.
    fn seek(&mut self, why: &'static str) {
        match std::mem::replace(&mut self.state, State::Seeking) {
            State::Leading(leading) => {
                self.refuse_reads(&leading);
                self.note(Note::SteppedDown {
                    epoch: leading.epoch,
                    why,
                });
            }
            State::Following(following) if following.started => {
                self.note(Note::LeaderLost {
                    epoch: following.epoch,
                });
            }
            State::Following(_) | State::Candidate(_) | State::Seeking => {}
        }
        self.ballot = None;
        self.leaderless_since.get_or_insert(self.now);
        self.stop_leading();
    }

    /// Whoever waits for this replica as a leader waits in vain.
    fn stop_leading(&mut self) {
        self.end_change(Err(ChangeRefusal::NotLeader));
        let queued = self
            .queued
            .drain(..)
            .map(|(proposal, _)| (proposal, Refusal::NotLeader));
        self.ready.refused.extend(queued);
    }
}
