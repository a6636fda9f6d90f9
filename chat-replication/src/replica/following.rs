//! Promises given, entries taken, leaders gained and lost.

use std::collections::BTreeSet;

use super::judge::Waiting;
use super::state::{Following, State};
use super::{Mutation, Note, Outgoing, Replica};
use crate::message::Message;
use crate::types::{Configuration, Entry, Epoch, Index, Mode, Payload, Position, ReplicaId};

impl Replica {
    /// The leader or candidate, itself included, that this replica holds to.
    pub(super) fn live_leader(&self) -> Option<Epoch> {
        match &self.state {
            State::Seeking => None,
            State::Candidate(candidate) => Some(candidate.epoch),
            State::Leading(leading) => Some(leading.epoch),
            State::Following(following) => self.is_live(following).then_some(following.epoch),
        }
    }

    /// Its heartbeats arrive, it hears this replica, and it makes progress.
    fn is_live(&self, following: &Following) -> bool {
        let now = self.now;
        let refused = self
            .peers
            .get(&following.leader)
            .is_none_or(|peer| peer.refused);
        !refused
            && now - following.heard_at <= self.settings.suspect
            && now - following.echoed_at <= self.settings.suspect
            && following.stalled <= self.settings.view_timeout
    }

    pub(super) fn tick_following(&mut self) {
        self.renew();
        self.check_leader();
    }

    pub(super) fn check_leader(&mut self) {
        if let State::Following(following) = &self.state
            && !self.is_live(following)
        {
            self.seek("the leader is gone");
            self.schedule_ballot();
        }
    }

    /// Promises the epoch and takes its leader or candidate for its own.
    fn follow(&mut self, leader: ReplicaId, epoch: Epoch, members: Vec<ReplicaId>, known: bool) {
        let before = self.leader();
        if let State::Leading(leading) = std::mem::replace(&mut self.state, State::Seeking) {
            let epoch = leading.epoch;
            self.refuse_reads(&leading);
            self.note(Note::SteppedDown {
                epoch,
                why: "another leads or is about to",
            });
        }
        self.log.promise(epoch);
        self.offered_version = 0;
        for peer in self.peers.values_mut() {
            peer.lagging = false;
        }
        self.ballot = None;
        self.waiting = None;
        self.rival = None;
        self.drained.clear();
        self.stop_leading();
        self.state = State::Following(Following {
            leader,
            epoch,
            started: false,
            members,
            led: before.is_some_and(|before| before.replica == leader),
            verified: None,
            heard_at: self.now,
            echoed_at: self.now,
            known,
            stalled: 0,
            compact_to: 0,
            ack_due: false,
            parts_at: None,
        });
    }

    fn refuse(&mut self, to: ReplicaId, epoch: Epoch) {
        let leader = self.live_leader();
        let leader_started = match &self.state {
            State::Leading(leading) => leading.established_at.is_some(),
            State::Following(following) => following.started,
            State::Seeking | State::Candidate(_) => false,
        };
        let promised = self.log.promised;
        self.send_after(
            to,
            Message::Refuse {
                epoch,
                promised,
                leader,
                leader_started,
            },
        );
    }

    pub(super) fn on_prepare(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        members: Vec<ReplicaId>,
        ticket: Option<Epoch>,
    ) {
        self.seen_number = self.seen_number.max(epoch.number);
        if self.is_removed(epoch) {
            return self.refuse(from, epoch);
        }
        if let State::Following(following) = &self.state
            && following.epoch == epoch
            && !following.started
            && following.verified.is_none()
        {
            return self.answer_promise(from, epoch);
        }
        let newest = self
            .log
            .newest()
            .map(|(epoch, _)| epoch)
            .unwrap_or_default();
        let held = self
            .live_leader()
            .filter(|leader| leader.replica != from && *leader >= newest);
        let released = held.is_none()
            || self.gave_ticket(ticket, from)
            || (ticket == held && matches!(self.state, State::Following(_)));
        let gave_way = matches!(self.state, State::Seeking) && self.has_yielded_to_rival_of(from);
        if epoch <= self.log.promised || !released || gave_way {
            return self.refuse(from, epoch);
        }
        if !members.contains(&self.me()) && !self.is_broken(Mutation::UnnamedStaysInView) {
            self.in_view = None;
        }
        self.follow(from, epoch, members, true);
        self.answer_promise(from, epoch);
    }

    /// Whether this replica has led, and gave way to somebody whose log has to stay, on whose side another is not.
    fn has_yielded_to_rival_of(&self, other: ReplicaId) -> bool {
        let shares = |id| self.peers.get(&id).and_then(|peer| peer.shares);
        let beside = |rival| match (shares(other), shares(rival)) {
            // It parts from this log no later than the rival does.
            (Some(shared), Some(by_rival)) => shared > by_rival,
            _ => true,
        };
        let rival = self.rival.filter(|rival| *rival != other);
        rival.is_some_and(|rival| !self.suspects(rival) && beside(rival))
    }

    fn answer_promise(&mut self, to: ReplicaId, epoch: Epoch) {
        let standing = Box::new(self.standing());
        let promise = Message::Promise { epoch, standing };
        if self.is_broken(Mutation::PromiseBeforeSync) {
            self.send(to, Outgoing::Message(promise));
        } else {
            self.send_after(to, promise);
        }
    }

    /// A candidate asks for what this log holds behind a place. It takes nothing but what it was told of with the promise,
    /// so no harm is done if this replica has promised another since.
    pub(super) fn on_fetch(&mut self, from: ReplicaId, epoch: Epoch, after: Position) {
        let readable = self.log.unusable_up_to() <= after.index;
        if readable && self.log.branches.holds(after) {
            let through = self.log.last().index;
            let fetched = Outgoing::Fetched {
                epoch,
                previous: after,
                through,
                forced: self.log.newest_forced(),
            };
            self.ready.after.push((from, fetched));
        }
    }

    pub(super) fn on_append(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        previous: Position,
        entries: Vec<Entry>,
        commit: Index,
        forced: Index,
    ) {
        if epoch < self.log.promised && !self.is_broken(Mutation::TakesOldEpochs) {
            return self.refuse(from, epoch);
        }
        if !self.follows(epoch) {
            if self.is_removed(epoch) {
                return self.refuse(from, epoch);
            }
            if epoch < self.log.promised {
                // Only a broken rule comes here.
                if self.log.branches.holds(previous) {
                    self.take_all(entries, forced);
                }
                return;
            }
            self.follow(from, epoch, Vec::new(), false);
        }
        if !self.log.branches.holds(previous) || !self.log.can_take(&entries) {
            if self.log.branches.holds(previous) {
                let same = entries.iter().map(|entry| entry.position);
                let same = same.take_while(|position| self.log.branches.holds(*position));
                self.is_kept_out(same.last().unwrap_or(previous).index);
            }
            let branches = self.log.branches.clone();
            let compacted = self.log.compacted.index;
            if self.is_broken(Mutation::TruncatesByCommit) {
                self.log.cut(self.commit.max(self.log.unusable_up_to()));
            }
            self.heard_leader();
            let mismatch = Message::Mismatch {
                epoch,
                branches,
                compacted,
            };
            return self.send_after(from, mismatch);
        }
        let verified = entries
            .last()
            .map_or(previous.index, |entry| entry.position.index);
        let is_word_of_commit = entries.is_empty() && commit > self.commit;
        self.take_all(entries, forced);
        if self.is_broken(Mutation::LateAppendCuts) {
            self.log.cut(verified.max(self.log.unusable_up_to()));
        }
        self.heard_leader();
        let State::Following(following) = &mut self.state else {
            return;
        };
        let known = following.verified.is_some_and(|known| known >= verified);
        following.verified = following.verified.max(Some(verified));
        // Of mere word that something is committed nobody waits to hear. If what the leader waits for was lost, it asks
        // again, and then that is no news.
        following.ack_due |= !(known && is_word_of_commit);
        self.learn_commit(commit);
    }

    /// Whoever was removed leads nobody any more, whatever it thinks. But a removal that is not known to be committed
    /// yields to a view that came after it: that one was started without. So does one that the others may have made as
    /// well, of this side: what it is to keep for whom it removed is still there.
    pub(super) fn is_removed(&self, epoch: Epoch) -> bool {
        let Some((newest, start)) = self.log.newest() else {
            return false;
        };
        // A view that is about to start takes nothing back of those before.
        let known = self.commit.max(self.log.compacted.index);
        let view = self.log.branches.position_at(known);
        let started = view.and_then(|view| self.log.view_start(view.epoch));
        let decided = started.is_some_and(|(_, start)| {
            let known = &start.configuration;
            let decides = known.mode == Mode::Consistent || known.may_drop(&start.members);
            known.has_removed(epoch.store) && decides
        });
        start.configuration.has_removed(epoch.store)
            && (decided || epoch < newest)
            && !self.is_broken(Mutation::RemovedLeads)
    }

    /// The others know nothing of a removal, and follow whom it removed: it was made on a branch that loses, and is lost
    /// with it. They lack what this branch has, so none of that was dropped. Where they know of it, none of them would.
    /// Whoever has taken the leader's log follows it too, though its view may not have it: it was removed there as well. They
    /// have to say so themselves: the word of whoever was removed counts for nothing.
    pub(super) fn is_outdone(&self, leader: Epoch) -> bool {
        self.log.configuration().is_some_and(|known| {
            let mut others = self.peers.iter().filter(|(id, _)| **id != leader.replica);
            others.any(|(id, peer)| known.member(*id).is_some() && peer.follows == Some(leader))
        })
    }

    /// A disk that was removed says whom it leads: they are asked.
    fn ask_followers(&mut self, leader: Epoch, followers: &[ReplicaId]) {
        let me = self.me();
        let others = followers
            .iter()
            .filter(|id| ![leader.replica, me].contains(id));
        let known = self.log.configuration();
        let members = others.filter(|id| known.is_some_and(|known| known.member(**id).is_some()));
        for id in members.copied().collect::<Vec<_>>() {
            self.probe(id);
        }
    }

    fn follows(&self, epoch: Epoch) -> bool {
        matches!(&self.state, State::Following(following) if following.epoch == epoch)
    }

    fn heard_leader(&mut self) {
        if let State::Following(following) = &mut self.state {
            following.heard_at = self.now;
        }
        // It gives entries to those only whom it takes in.
        self.waiting = self
            .waiting
            .take()
            .filter(|waiting| *waiting != Waiting::NoMember);
    }

    /// What the leader has committed is committed here as far as this log is known to equal the leader's.
    fn learn_commit(&mut self, commit: Index) {
        let State::Following(following) = &self.state else {
            return;
        };
        let verified = if self.is_broken(Mutation::CommitUnverified) {
            self.log.last().index
        } else {
            following.verified.unwrap_or(0)
        };
        self.commit = self.commit.max(commit.min(verified));
    }

    /// Takes entries that stand behind one that this log holds, of a log whose newest forced view starts at `forced`. Where
    /// they differ from its own, its own are cut.
    pub(super) fn take_all(&mut self, entries: Vec<Entry>, forced: Index) {
        for entry in entries {
            let begins_view = matches!(entry.payload, Payload::ViewStart(_));
            let before = match self.log.holds_another(&entry) {
                true => self.log.configuration().cloned(),
                false => None,
            };
            if let Some(cut) = self.log.take(entry, forced) {
                self.note_lost_changes(before.as_ref());
                let ancestor = cut.ancestor;
                self.note(Note::Reconciled {
                    ancestor,
                    cut: cut.positions.len() as u64,
                });
                self.commit = self.commit.min(ancestor.index);
                let by_majority = before.is_some_and(|known| known.mode == Mode::Consistent);
                let lost = self.is_broken(Mutation::DropsOrphans)
                    || self.is_broken(Mutation::DropsForcedCuts) && by_majority;
                if !cut.may_be_acknowledged || lost {
                    self.log.pending.forget.extend(cut.positions);
                }
                self.rebuilt_at = self.rebuilt_at.map(|at| at.min(ancestor.index));
                if self
                    .in_view
                    .is_some_and(|epoch| self.log.view_start(epoch).is_none())
                {
                    self.in_view = None;
                }
            }
            if begins_view {
                if self.is_broken(Mutation::AdoptsReplayedView) {
                    self.in_view = self.log.newest().map(|(epoch, _)| epoch);
                }
                self.meet_peers();
            }
        }
    }

    /// An operator's work that was on the losing branch is lost with it.
    pub(super) fn note_lost_changes(&mut self, before: Option<&Configuration>) {
        let (Some(before), Some(after)) = (before, self.log.configuration()) else {
            return;
        };
        let ids = before.members.iter().chain(&after.members);
        let changed = |id: &ReplicaId| before.member(*id) != after.member(*id);
        let replicas: BTreeSet<ReplicaId> = ids.map(|member| member.id).filter(changed).collect();
        if !replicas.is_empty() {
            let replicas = replicas.into_iter().collect();
            self.note(Note::ChangesLost { replicas });
        }
    }

    /// Puts what was verified since the last time into one acknowledgement.
    pub(super) fn acknowledge(&mut self) {
        let me = self.me();
        let State::Following(following) = &mut self.state else {
            return;
        };
        let Some(verified) = following.verified else {
            return;
        };
        let (to, epoch) = (following.leader, following.epoch);
        let due = std::mem::take(&mut following.ack_due);
        let known = following.known;
        if self.in_view != Some(epoch) && known && self.log.promised == epoch {
            let joined = self
                .log
                .view_start(epoch)
                .is_some_and(|(start, view)| verified >= start && view.members.contains(&me));
            if joined {
                self.in_view = Some(epoch);
            }
        }
        if due {
            let store = self.identity.store;
            let ack = Message::AppendAck {
                epoch,
                store,
                verified,
            };
            if self.is_broken(Mutation::AcknowledgeBeforeSync) {
                self.send(to, Outgoing::Message(ack));
            } else {
                self.send_after(to, ack);
            }
        }
    }

    pub(super) fn on_heartbeat(&mut self, from: ReplicaId, message: Message) {
        let Message::Heartbeat {
            epoch,
            started,
            members,
            commit,
            last: _,
            echo,
            stalled,
            round,
            compact_to,
        } = message
        else {
            return;
        };
        if epoch < self.log.promised {
            return self.refuse(from, epoch);
        }
        if self.is_removed(epoch) && !(started && self.is_outdone(epoch)) {
            self.ask_followers(epoch, &members);
            return self.refuse(from, epoch);
        }
        if !self.follows(epoch) {
            // A view that has started is joined; one that has not must ask for a promise first.
            if !started && epoch > self.log.promised {
                return;
            }
            self.follow(from, epoch, members.clone(), false);
        }
        let (me, now, life) = (self.me(), self.now, self.life);
        let State::Following(following) = &mut self.state else {
            return;
        };
        following.heard_at = now;
        let echoed_at = life
            .filter(|life| (*life..=*life + now).contains(&echo))
            .map(|life| echo - life);
        // What was sent earlier and came later tells how it was then.
        let is_late = following.known && echoed_at.is_none_or(|at| at < following.echoed_at);
        if !is_late {
            following.stalled = stalled;
            following.compact_to = compact_to;
            following.members = members;
        }
        if let Some(echoed_at) = echoed_at {
            following.echoed_at = following.echoed_at.max(echoed_at);
            following.known = true;
        }
        if started && !following.started {
            following.started = true;
            self.note(Note::Following { epoch });
        }
        if started {
            // What an operator wanted forced has come by itself.
            self.settle_force();
            self.leaderless_since = None;
            let State::Following(following) = &self.state else {
                return;
            };
            if !following.members.contains(&me) && self.in_view.is_some_and(|view| view < epoch) {
                self.in_view = None;
            }
        }
        self.learn_commit(commit);
        self.answer_heartbeat(from, round);
    }

    fn answer_heartbeat(&mut self, to: ReplicaId, round: u64) {
        let State::Following(following) = &self.state else {
            return;
        };
        let verified = following.verified;
        let ack = Message::HeartbeatAck {
            epoch: following.epoch,
            store: self.identity.store,
            sent: self.life.map_or(0, |life| life + self.now),
            round,
            verified,
            branches: verified.is_none().then(|| self.log.branches.clone()),
            compacted: self.log.compacted.index,
            wants_snapshot: self.wants_snapshot,
            mends: self.mends(),
            progress: self.applied_report(),
        };
        self.send_after(to, ack);
    }

    pub(super) fn on_hand_over(&mut self, from: ReplicaId, epoch: Epoch, hold: u64) {
        let State::Following(following) = &self.state else {
            return;
        };
        let mine = following.leader == from
            && following.epoch == epoch
            && self.in_view == Some(epoch)
            && self.is_live(following);
        if mine && self.ballot.is_none() {
            self.begin_ballot(Some(epoch), hold.min(self.settings.hold));
        }
    }

    pub(super) fn on_refuse(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        promised: Epoch,
        leader: Option<Epoch>,
        leader_started: bool,
    ) {
        self.seen_number = self.seen_number.max(promised.number);
        self.note_follower(from, leader.filter(|_| leader_started));
        let other_leads = leader_started
            && leader.is_some_and(|leader| {
                let removed = self.is_removed(leader);
                leader > epoch && (!removed || self.is_outdone(leader))
            });
        match &mut self.state {
            State::Candidate(candidate) if candidate.epoch == epoch && candidate.needs(from) => {
                self.abandon("a replica that it needs refused");
            }
            // Forks meet: the higher epoch stays.
            State::Leading(leading) if leading.epoch == epoch && other_leads => {
                self.seek("another leads with a higher epoch");
                self.next_ballot = self.now + self.jitter(self.settings.suspect);
            }
            State::Leading(leading) if leading.epoch == epoch && promised > epoch => {
                if leading.established_at.is_some() {
                    leading.outpromised = true;
                    // Whoever has been elsewhere is not slow, and what it has there may have to be gone on from.
                    if let Some(peer) = self.peers.get_mut(&from) {
                        peer.lagging = false;
                    }
                    self.check_view();
                } else if leading.members.contains(&from) {
                    self.abandon("a member promised a higher epoch");
                }
            }
            // The candidate gave up.
            State::Following(following) if following.epoch == epoch && following.leader == from => {
                self.seek("the candidate gave up");
                self.schedule_ballot();
            }
            State::Seeking | State::Candidate(_) | State::Leading(_) | State::Following(_) => {}
        }
    }
}
