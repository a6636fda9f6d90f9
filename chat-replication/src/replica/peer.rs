//! What a replica knows of the others.

use std::collections::BTreeSet;

use super::bounds::{Bounds, speaker};
use super::state::State;
use super::{Mutation, Note, Outgoing, Replica};
use crate::message::{AppliedReport, Message, Standing};
use crate::types::{Epoch, Index, Member, PeerId, ReplicaId, StoreUuid};

/// The round of questions whose only purpose is that somebody answers.
pub(super) const PROBE: u64 = u64::MAX;

/// The epoch of the log, the one met, and who joins.
pub(crate) type PeersAsOf = (Epoch, Option<Epoch>, Option<Member>);

/// Ticks between two notes of what a peer says that makes no sense: a minute, where a tick is 10 ms.
const NOTED_AGAIN: u64 = 6000;

/// One of the others.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Peer {
    /// The tick of its last message.
    pub(super) heard_at: u64,
    /// Its machine said that nothing listens there, and nothing was heard since.
    pub(super) refused: bool,
    pub(super) suspicion_noted: bool,
    /// When it was last asked to say something.
    probed_at: u64,
    /// Alive, but left out of the view because it could not keep up.
    pub(super) lagging: bool,
    /// The newest `sent` of its heartbeat acknowledgements.
    pub(super) sent: u64,
    pub(super) report: AppliedReport,
    /// The leader of a started view that it has said to follow, or whose log it has said to hold, at last.
    pub(super) follows: Option<Epoch>,
    /// The disk that spoke in its name last, where that one was removed.
    pub(super) removed: Option<StoreUuid>,
    /// Its log parts from this replica's before the end of what is dropped here, its disk is another than the one with the
    /// vote, or it has lost its state.
    has_parted: bool,
    /// The last entry that its log has in common with this one's, as it answered last.
    pub(super) shares: Option<Index>,
    /// Messages that made no sense since the last note of them, and when that was.
    ignored: u64,
    ignored_noted_at: Option<u64>,
}

impl Peer {
    fn new(now: u64) -> Peer {
        Peer {
            heard_at: now,
            refused: false,
            suspicion_noted: false,
            probed_at: now,
            lagging: false,
            sent: 0,
            report: AppliedReport::default(),
            follows: None,
            removed: None,
            has_parted: false,
            shares: None,
            ignored: 0,
            ignored_noted_at: None,
        }
    }

    pub(super) fn heard(&mut self, now: u64) {
        self.heard_at = now;
        self.refused = false;
        self.suspicion_noted = false;
    }

    /// It said something that makes no sense. How often it did since that was noted last, if it is to be noted again.
    fn ignore(&mut self, now: u64) -> Option<u64> {
        self.ignored += 1;
        let due = self
            .ignored_noted_at
            .is_none_or(|at| now - at >= NOTED_AGAIN);
        due.then(|| {
            self.ignored_noted_at = Some(now);
            std::mem::take(&mut self.ignored)
        })
    }
}

impl Replica {
    /// Somebody says whom it follows, in a view that has started or by whose log its own ends. It matters only where one was
    /// removed that may lead.
    pub(super) fn note_follower(&mut self, id: ReplicaId, follows: Option<Epoch>) {
        let configuration = self.log.configuration();
        let matters = configuration.is_some_and(|known| !known.removed.is_empty());
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.follows = follows.filter(|_| matters);
        }
    }

    /// The gate: whether anything that a peer says is looked at. What makes no sense is no sign of life either.
    pub(super) fn admits(&mut self, from: PeerId, message: &Message) -> bool {
        let from = speaker(from, message);
        let known = self.log.configuration();
        let removed = known.is_some_and(|known| known.has_removed(from.store));
        let replaced = removed && known.is_some_and(|known| known.member(from.replica).is_some());
        let mode = known.map(|known| known.mode);
        // Not one of this cluster's, or an old one: nothing that it says matters.
        let Some(peer) = self.peers.get_mut(&from.replica) else {
            return false;
        };
        peer.removed = removed.then_some(from.store);
        let bounds = Bounds::new(self.leaps, self.now, mode);
        if let Err(why) = bounds.check(from, message)
            && self.broken != Some(Mutation::BelievesAnything)
        {
            let (now, peer_id) = (self.now, from.replica);
            if let Some(times) = peer.ignore(now) {
                self.note(Note::Ignored {
                    peer: peer_id,
                    why,
                    times,
                });
            }
            return false;
        }
        // Whose place another disk has taken must not make that one look alive.
        if !replaced {
            peer.heard(self.now);
        }
        self.counts(from, message) || self.is_broken(Mutation::RemovedSpeaks)
    }

    /// Whether what a peer says counts, that makes sense.
    ///
    /// The application hears of replicas of the present configuration alone, and is told by which disk. A disk that was removed
    /// is nobody. It is told so, and hands over what it holds; no more than that is taken from it, unless the removal is lost
    /// with its branch.
    fn counts(&self, from: PeerId, message: &Message) -> bool {
        let Some(known) = self.log.configuration() else {
            return !matches!(message, Message::Cast(_));
        };
        if known.votes(from.replica, from.store) {
            return true;
        }
        let configured = known.member(from.replica).is_some();
        if !known.has_removed(from.store) {
            return configured || !matches!(message, Message::Cast(_));
        }
        match message {
            // It asks, and the answer says that it was removed.
            Message::PreBallot { .. } | Message::HeartbeatAck { .. } => true,
            // It believes to lead, and is refused.
            Message::Prepare { .. } | Message::Append { .. } | Message::Heartbeat { .. } => true,
            // It follows, until its orphans are committed, and needs a whole log to hand them over.
            Message::Refuse { .. }
            | Message::Mend { .. }
            | Message::AppendAck { .. }
            | Message::Mismatch { .. }
            | Message::Orphans { .. }
            | Message::SnapshotAck { .. } => !configured,
            // Others, who count, have a newer history in which it is a member.
            Message::PreBallotAnswer { .. } | Message::Promise { .. } | Message::Fetched { .. } => {
                self.asks(from)
            }
            // It leads in that history.
            Message::Fetch { .. } | Message::HandOver { .. } | Message::SnapshotChunk(_) => self
                .followed()
                .is_some_and(|epoch| epoch.store == from.store),
            // Nobody removed it for what it may say, but for its absence.
            Message::Mended { .. } => known.returns(from.store),
            // It is given nothing of what is said since, nor is what it gives taken.
            Message::Cast(_) => false,
        }
    }

    /// Everybody of the configuration; everybody of the file before there is one.
    fn configured(&self) -> BTreeSet<ReplicaId> {
        match self.log.configuration() {
            Some(configuration) => configuration
                .members
                .iter()
                .map(|member| member.id)
                .collect(),
            None => self.seeds.iter().map(|seed| seed.id).collect(),
        }
    }

    /// Whom a ballot asks: everybody who has a vote, or is about to get one, but this replica.
    pub(super) fn electors(&self) -> BTreeSet<ReplicaId> {
        let mut ids = self.configured();
        ids.extend(self.joining());
        ids.remove(&self.me());
        ids
    }

    /// Everybody who is listened to. Those of the configuration file too, whatever the log says: one that catches up
    /// passes through configurations that do not know its leader yet.
    fn others(&self) -> BTreeSet<ReplicaId> {
        let mut ids = self.concerned();
        ids.extend(self.seeds.iter().map(|seed| seed.id));
        ids.extend(self.met().iter().map(|member| member.id));
        ids.remove(&self.me());
        ids
    }

    /// Everybody of the cluster, as far as is known here: those who were removed are told so.
    pub(super) fn concerned(&self) -> BTreeSet<ReplicaId> {
        let mut ids = self.electors();
        if let Some(configuration) = self.log.configuration() {
            ids.extend(configuration.removed.iter().map(|member| member.id));
        }
        ids.remove(&self.me());
        ids
    }

    /// Whom a leader tells that it is there: everybody with a vote or about to get one, and those who were removed until
    /// they know it and have handed over what they held.
    pub(super) fn audience(&self) -> BTreeSet<ReplicaId> {
        let mut ids = self.electors();
        if let (State::Leading(leading), Some(configuration)) =
            (&self.state, self.log.configuration())
        {
            let removed = configuration.removed.iter().map(|member| member.id);
            ids.extend(removed.filter(|id| !leading.retired.contains(id)));
            // These are to come in again.
            let absent = configuration.absent.iter();
            ids.extend(absent.filter(|it| it.returns).map(|it| it.replica));
        }
        ids.remove(&self.me());
        ids
    }

    /// Those of a newer history than this log's.
    fn met(&self) -> &[Member] {
        let newest = self.log.last().epoch;
        match &self.met {
            Some((epoch, members)) if *epoch > newest => members,
            _ => &[],
        }
    }

    /// Somebody tells where it stands. If that is in a newer history, its replicas have to be reached: any of them may have
    /// to be waited for.
    pub(super) fn meet(&mut self, from: ReplicaId, standing: &Standing) {
        let common = self.log.branches.common_ancestor(&standing.branches).index;
        let stateless = standing.state_lost && standing.compacted > 0;
        let parts =
            common < self.log.compacted.index || stateless || !self.has_vote(from, standing.store);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.has_parted = parts;
            peer.shares = Some(common);
        }
        let Some(start) = &standing.newest else {
            return;
        };
        let epoch = standing.branches.last().epoch;
        let newest = self.log.last().epoch;
        let known = self
            .met
            .as_ref()
            .map_or(newest, |(met, _)| newest.max(*met));
        if epoch > known && !self.has_removed(from, standing.store) {
            self.met = Some((epoch, start.configuration.members.clone()));
            self.meet_peers();
        }
    }

    /// Whether all that could lead where its log ends have gone over to another one, that of the leader it follows, or have
    /// lost their disk or their state: what this replica has dropped they had.
    pub(super) fn is_abandoned(&self) -> bool {
        let (me, lost) = (self.me(), self.wants_snapshot.is_some());
        let leader = self.followed().map(|epoch| epoch.replica);
        let parted = |id| match id == me {
            true => lost && self.log.compacted.index > 0,
            false => leader == Some(id) || self.peers.get(&id).is_some_and(|peer| peer.has_parted),
        };
        let known = self.log.configuration();
        known.is_some_and(|known| known.members.iter().all(|member| parted(member.id)))
    }

    /// Keeps a record for each of the others. One that is new counts as just heard of.
    pub(super) fn meet_peers(&mut self) {
        let others = self.others();
        let now = self.now;
        self.peers.retain(|id, _| others.contains(id));
        for id in others {
            self.peers.entry(id).or_insert_with(|| Peer::new(now));
        }
    }

    pub(super) fn suspects(&self, id: ReplicaId) -> bool {
        id != self.me()
            && self
                .peers
                .get(&id)
                .is_none_or(|peer| peer.refused || self.silent(peer))
    }

    fn silent(&self, peer: &Peer) -> bool {
        self.now - peer.heard_at > self.settings.suspect
    }

    pub(super) fn suspected(&self) -> BTreeSet<ReplicaId> {
        self.peers
            .keys()
            .copied()
            .filter(|id| self.suspects(*id))
            .collect()
    }

    pub(super) fn lagging(&self) -> BTreeSet<ReplicaId> {
        self.peers
            .iter()
            .filter(|(_, peer)| peer.lagging)
            .map(|(id, _)| *id)
            .collect()
    }

    /// How many are silent although nobody says that they are gone: they may be on the other side of a partition.
    pub(super) fn silent_count(&self) -> u64 {
        let electors = self.electors();
        self.peers
            .iter()
            .filter(|(id, peer)| electors.contains(id) && !peer.refused && self.silent(peer))
            .count() as u64
    }

    /// How many others with a lower id seem to be alive.
    pub(super) fn rank(&self) -> u64 {
        let me = self.me();
        self.configured()
            .iter()
            .filter(|id| **id < me && !self.suspects(**id))
            .count() as u64
    }

    /// Followers have nothing to say to each other. They ask now and then all the same: else their silence would look like
    /// death once the leader, who talks to everybody, is gone.
    pub(super) fn probe_the_quiet(&mut self) {
        let now = self.now;
        let State::Following(following) = &self.state else {
            return;
        };
        let (leader, pause) = (following.leader, self.settings.suspect / 4);
        let mut quiet = Vec::new();
        for (id, peer) in &mut self.peers {
            if *id != leader && now - peer.heard_at.max(peer.probed_at) >= pause {
                peer.probed_at = now;
                quiet.push(*id);
            }
        }
        for id in quiet {
            self.probe(id);
        }
    }

    /// Asks a peer where it stands, for no ballot.
    pub(super) fn probe(&mut self, id: ReplicaId) {
        let question = Message::PreBallot { round: PROBE };
        self.send(id, Outgoing::Message(question));
    }

    pub(super) fn note_silence(&mut self) {
        let silent: Vec<ReplicaId> = self
            .electors()
            .into_iter()
            .filter(|id| {
                self.peers
                    .get(id)
                    .is_some_and(|peer| !peer.suspicion_noted && self.silent(peer))
            })
            .collect();
        for id in silent {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.suspicion_noted = true;
            }
            self.note(Note::Suspected {
                peer: id,
                refused: false,
            });
        }
    }

    /// Whether an acknowledgement of this disk counts for anything: it has a vote, is about to get one, or had one.
    pub(super) fn may_acknowledge(&mut self, id: ReplicaId, store: StoreUuid) -> bool {
        self.has_vote(id, store)
            || self.is_joining(id, store)
            || self.has_removed(id, store)
            || self.is_broken(Mutation::WipedDiskVotes)
    }

    pub(super) fn has_removed(&self, id: ReplicaId, store: StoreUuid) -> bool {
        self.log.configuration().is_some_and(|configuration| {
            configuration.member(id).is_none() && configuration.has_removed(store)
        })
    }

    /// Everybody whose connections are taken, and where they are reached.
    pub fn known_peers(&self) -> Vec<Member> {
        let me = self.me();
        let Some(configuration) = self.log.configuration() else {
            return Vec::new();
        };
        let mut known = configuration.members.clone();
        known.extend(self.joining_member());
        known.extend(self.met().iter().cloned());
        known.extend(configuration.removed.iter().rev().cloned());
        known.extend(self.seeds.iter().map(|seed| Member {
            id: seed.id,
            store: StoreUuid::default(),
            peer_address: seed.peer_address.clone(),
            client_address: seed.client_address.clone(),
        }));
        // Of those with the same id, the first.
        let mut ids = BTreeSet::from([me]);
        known.retain(|member| ids.insert(member.id));
        known.sort_by_key(|member| member.id);
        known
    }

    /// While this is the same, so is [`Replica::known_peers`]: an epoch names its configuration.
    pub(crate) fn known_peers_as_of(&self) -> PeersAsOf {
        let met = self.met.as_ref().map(|(epoch, _)| *epoch);
        (self.log.last().epoch, met, self.joining_member())
    }

    /// Whether the configuration knows this replica by this store.
    pub(super) fn has_vote(&self, id: ReplicaId, store: StoreUuid) -> bool {
        self.log
            .configuration()
            .is_some_and(|configuration| configuration.votes(id, store))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::branch::BranchTable;
    use crate::replica::{Seed, Settings};
    use crate::store::{Durable, Identity};
    use crate::types::{ClusterId, Configuration, Position, ViewStart};

    fn member(n: u32) -> Member {
        Member {
            id: ReplicaId(n),
            store: StoreUuid(Uuid::from_u128(u128::from(n) + 1)),
            peer_address: format!("peer{n}"),
            client_address: format!("client{n}"),
        }
    }

    fn view(number: u64, members: &[u32]) -> (BranchTable, ViewStart) {
        let epoch = Epoch {
            number,
            replica: ReplicaId(0),
            store: member(0).store,
        };
        let mut branches = BranchTable::default();
        branches.append(Position { epoch, index: 1 });
        let members: Vec<Member> = members.iter().copied().map(member).collect();
        let start = ViewStart {
            members: members.iter().map(|member| member.id).collect(),
            configuration: Configuration {
                members,
                ..Configuration::default()
            },
            forced: false,
            apply_version: 1,
        };
        (branches, start)
    }

    /// A replica was added on one side of a partition, and the leader of the other waited for its answer without end: it had
    /// no connection to it, as its own log did not know it.
    #[test]
    fn replicas_of_a_newer_history_are_connected_to() {
        let (branches, start) = view(2, &[0, 1]);
        let seed = |n| Seed {
            id: ReplicaId(n),
            peer_address: member(n).peer_address,
            client_address: member(n).client_address,
        };
        let durable = Durable {
            identity: Identity {
                cluster: ClusterId::default(),
                replica: ReplicaId(0),
                store: member(0).store,
            },
            promised: branches.last().epoch,
            branches,
            compacted: Position::default(),
            view_starts: vec![(1, start)],
            damaged: Vec::new(),
            orphans: 0,
        };
        let mut replica = Replica::new(durable, vec![seed(0), seed(1)], 1, Settings::default());
        assert_eq!(replica.known_peers(), [member(1)]);
        let before = replica.known_peers_as_of();
        let (branches, newest) = view(5, &[0, 1, 4]);
        replica.receive(
            PeerId {
                replica: ReplicaId(1),
                store: member(1).store,
            },
            Message::PreBallotAnswer {
                round: 0,
                standing: Box::new(Standing {
                    store: member(1).store,
                    promised: branches.last().epoch,
                    branches,
                    compacted: 0,
                    newest: Some(newest),
                    in_view: None,
                    leader: None,
                    apply_version: 1,
                    state_lost: false,
                    damaged: 0,
                    mends: false,
                }),
            },
        );
        assert_ne!(replica.known_peers_as_of(), before);
        assert_eq!(replica.known_peers(), [member(1), member(4)]);
        assert!(!replica.suspects(ReplicaId(4)), "it was just heard of");
    }
}
