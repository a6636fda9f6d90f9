//! What a replica says of itself.

use super::judge::removed;
use super::state::State;
use super::{Mutation, Replica, Waiting};
use crate::branch::BranchTable;
use crate::message::AppliedReport;
use crate::status::{PeerStatus, Role, Status};
use crate::store::Identity;
use crate::types::{Configuration, Epoch, Index, ReplicaId, ViewStart};

impl Replica {
    /// Whose replica this is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// What it does.
    pub fn role(&self) -> Role {
        match &self.state {
            State::Seeking => Role::Seeking,
            State::Candidate(_) => Role::Candidate,
            State::Leading(leading) if leading.established_at.is_none() => Role::Candidate,
            State::Leading(_) => Role::Leader,
            // One without a state has nothing to serve, though its log counts.
            State::Following(_)
                if self.in_view.is_some() && self.wants_snapshot.is_none() && !self.mends() =>
            {
                Role::Follower
            }
            State::Following(_) => Role::Learner,
        }
    }

    /// Committed here: on this disk once the present transaction is durable, and safe to apply then.
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// Committed, and by rules that this software knows: what the state machine may be given.
    pub fn appliable(&self) -> Index {
        if self.is_broken(Mutation::OldVersionJoins) {
            return self.commit;
        }
        self.log.known_up_to(self.commit, self.apply_version)
    }

    /// The version by which the others apply the log, if this software does not know it.
    pub fn needs_version(&self) -> Option<u32> {
        let logged = self
            .log
            .newest()
            .map_or(0, |(_, start)| start.apply_version);
        let told = match self.waiting {
            Some(Waiting::Upgrade { needed, .. }) => needed,
            _ => 0,
        };
        let needed = logged.max(self.offered_version).max(told);
        (needed > self.apply_version).then_some(needed)
    }

    /// How far the state machine is, as it said last.
    pub fn applied_index(&self) -> Index {
        self.applied.0
    }

    /// The log in outline.
    pub fn branches(&self) -> &BranchTable {
        &self.log.branches
    }

    /// The highest epoch that it promised or accepted.
    pub fn promised(&self) -> Epoch {
        self.log.promised
    }

    /// The view that it is in.
    pub fn in_view(&self) -> Option<Epoch> {
        self.in_view
    }

    /// The epoch that it leads, in a started view.
    pub fn leads(&self) -> Option<Epoch> {
        match &self.state {
            State::Leading(leading) if leading.established_at.is_some() => Some(leading.epoch),
            _ => None,
        }
    }

    /// The leader of a started view, itself included. One that changes its view stays the leader meanwhile.
    pub fn leader(&self) -> Option<Epoch> {
        match &self.state {
            State::Seeking => None,
            State::Candidate(candidate) => candidate.led.then_some(candidate.epoch),
            State::Leading(leading) => {
                (leading.led || leading.established_at.is_some()).then_some(leading.epoch)
            }
            State::Following(following) => {
                (following.led || following.started).then_some(following.epoch)
            }
        }
    }

    /// The view start of an epoch, if the log holds it.
    pub fn view_start(&self, epoch: Epoch) -> Option<&ViewStart> {
        self.log.view_start(epoch).map(|(_, start)| start)
    }

    /// The view that has committed an entry, or of those that may have the one with the fewest members: each of its members
    /// has the entry.
    pub(crate) fn committed_by(&self, index: Index) -> Option<&ViewStart> {
        let views = self.log.views_since(index);
        views.min_by_key(|start| start.members.len())
    }

    /// The newest configuration of the log.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.log.configuration()
    }

    /// What it waits for, without a leader.
    pub fn waiting(&self) -> Option<&Waiting> {
        self.waiting.as_ref()
    }

    /// Everything that it says of itself and its peers.
    pub fn status(&self) -> Status {
        let epoch = self.live_leader().unwrap_or(self.log.promised);
        Status {
            identity: self.identity,
            role: self.role(),
            epoch,
            leader: self.leader().map(|epoch| epoch.replica),
            view: self.view().to_vec(),
            view_start: self.began_at(),
            configuration: self.log.configuration().cloned().unwrap_or_default(),
            forced: self.log.newest().is_some_and(|(_, start)| start.forced),
            epochs: self.log.branches.epochs().into(),
            last: self.log.last(),
            compacted: self.log.compacted.index,
            durable: self.log.durable,
            commit: self.commit,
            applied: self.applied.0,
            state_hash: self.applied.1,
            orphans: self.orphans,
            state_lost: self.wants_snapshot.is_some(),
            damaged: self.damaged(),
            waiting_for: self.waiting_for(),
            peers: self
                .concerned()
                .into_iter()
                .map(|id| self.peer_status(id))
                .collect(),
        }
    }

    /// Whether its status differs from this one in more than how far everybody is. Cheap: it is asked after every step.
    pub(crate) fn differs_from(&self, known: &Status) -> bool {
        let configuration = self.log.configuration();
        let peers = self.concerned();
        (known.role, known.leader) != (self.role(), self.leader().map(|epoch| epoch.replica))
            || known.epoch != self.live_leader().unwrap_or(self.log.promised)
            || known.view != *self.view()
            || known.view_start != self.began_at()
            || known.epochs[..] != *self.log.branches.epochs()
            || configuration.map_or_else(
                || known.configuration != Configuration::default(),
                |configuration| known.configuration != *configuration,
            )
            || known.damaged != self.damaged()
            || known.state_lost != self.wants_snapshot.is_some()
            || known.waiting_for != self.waiting_for()
            || known.peers.len() != peers.len()
            || known
                .peers
                .iter()
                .any(|peer| !peers.contains(&peer.id) || peer.reachable == self.suspects(peer.id))
    }

    /// The members of the view that it leads or follows in.
    fn view(&self) -> &[ReplicaId] {
        match &self.state {
            State::Leading(leading) => &leading.members,
            State::Following(following) if following.started => &following.members,
            State::Seeking | State::Candidate(_) | State::Following(_) => &[],
        }
    }

    /// Where the view that it is in began.
    fn began_at(&self) -> Index {
        match &self.state {
            State::Leading(leading) => leading.start,
            _ => {
                let epochs = self.log.branches.epochs().iter().rev();
                let mut views = epochs.filter(|(epoch, _)| self.in_view == Some(*epoch));
                views.next().map_or(0, |(_, start)| *start)
            }
        }
    }

    pub(super) fn waiting_for(&self) -> String {
        if let Some(needed) = self.needs_version() {
            let known = self.apply_version;
            return Waiting::Upgrade { needed, known }.to_string();
        }
        match (&self.state, &self.waiting) {
            (State::Seeking, Some(waiting)) => waiting.to_string(),
            // It follows all the same, in order to hand over what it still holds.
            (State::Following(_), Some(waiting @ (Waiting::Removed | Waiting::Returning))) => {
                waiting.to_string()
            }
            (State::Following(_), _) if self.removed_here().is_some() => self
                .removed_here()
                .map_or(String::new(), |it| it.to_string()),
            (State::Following(_), _) if self.wants_snapshot.is_some() => {
                self.waiting_for_state().to_string()
            }
            (State::Following(following), _)
                if self.mends() || following.verified.is_none() && self.mends_in_vain() =>
            {
                let (replica, last) = (self.me(), self.log.damage.last());
                Waiting::Mending { replica, last }.to_string()
            }
            (State::Following(_) | State::Leading(_), _) if self.mends_in_vain() => {
                let (first, last) = self.damaged().unwrap_or(0..=0).into_inner();
                Waiting::Damaged { first, last }.to_string()
            }
            // It cannot go on: without a majority, say.
            (State::Leading(_), Some(waiting)) if self.ballot.is_some() => waiting.to_string(),
            _ => String::new(),
        }
    }

    /// What it waits for while its state is lost.
    pub(super) fn waiting_for_state(&self) -> Waiting {
        Waiting::State {
            damage: self.damage.clone(),
            rebuilds: self.rebuilt_at.is_some(),
            led: matches!(self.state, State::Following(_)),
        }
    }

    /// What it waits for if its own log says that its disk was removed.
    fn removed_here(&self) -> Option<Waiting> {
        let known = self.log.configuration()?;
        let store = self.identity.store;
        known.has_removed(store).then(|| removed(known, store))
    }

    fn peer_status(&self, id: ReplicaId) -> PeerStatus {
        let verified = match &self.state {
            State::Leading(leading) => leading.progress.get(&id).and_then(|peer| peer.verified),
            State::Seeking | State::Candidate(_) | State::Following(_) => None,
        };
        let report = self
            .peers
            .get(&id)
            .map(|peer| peer.report)
            .unwrap_or_default();
        PeerStatus {
            id,
            reachable: !self.suspects(id),
            verified,
            applied: report.applied,
            state_hash: report.state_hash,
            orphans: report.orphans,
            removed: self.peers.get(&id).and_then(|peer| peer.removed),
        }
    }

    pub(super) fn applied_report(&self) -> AppliedReport {
        let (applied, state_hash) = self.applied;
        AppliedReport {
            applied,
            state_hash,
            orphans: self.orphans,
        }
    }
}
