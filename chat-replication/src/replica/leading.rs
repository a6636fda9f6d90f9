//! A leader's time: heartbeats, who leaves the view and who joins it, and handing leadership back.

use std::collections::BTreeSet;

use super::state::{HandingOver, State};
use super::{Mutation, Note, Outgoing, Replica};
use crate::message::Message;
use crate::types::{Entry, Epoch, Lineage, Mode, Orphan, Payload, Position, ReplicaId};

/// Why leadership is not transferred.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TransferRefusal {
    /// This replica does not lead.
    NotLeader,
    /// The other is not in the view.
    NoMember,
}

/// Entries that a learner may still miss to be taken into the view.
const CAUGHT_UP: u64 = 256;

impl Replica {
    pub(super) fn tick_leading(&mut self) {
        let now = self.now;
        let State::Leading(leading) = &mut self.state else {
            return;
        };
        if leading.established_at.is_none() && now - leading.since > self.settings.view_timeout {
            return self.abandon("its start did not become durable in time");
        }
        if now >= leading.next_heartbeat {
            leading.next_heartbeat = now + self.settings.heartbeat;
            self.send_heartbeats();
        }
        self.repeat_lost_appends();
        self.judge_pace();
        self.tick_change();
        self.tick_absence();
        self.check_view();
        self.tick_hand_over();
    }

    /// To every configured replica, member of the view or not, for ever: that is how forks meet.
    pub(super) fn send_heartbeats(&mut self) {
        let now = self.now;
        let (epoch, started, members, stalled, round) = match &self.state {
            State::Candidate(candidate) => (
                candidate.epoch,
                false,
                candidate.members.clone(),
                candidate.waiting_for(now),
                0,
            ),
            State::Leading(leading) => {
                let stalled = match leading.established_at {
                    None => now - leading.since,
                    Some(_) if self.commit < self.log.last().index => now - leading.moved_at,
                    Some(_) => 0,
                };
                (
                    leading.epoch,
                    leading.established_at.is_some(),
                    leading.members.clone(),
                    stalled,
                    leading.round,
                )
            }
            State::Seeking | State::Following(_) => return,
        };
        // What a candidate knows to be committed stands in its own log, and it may have to take another.
        let commit = match &self.state {
            State::Candidate(_) if !self.is_broken(Mutation::CandidateTellsCommit) => 0,
            _ => self.commit,
        };
        let last = self.log.last().index;
        let compact_to = self.compaction_limit();
        for id in self.audience() {
            let echo = self.peers.get(&id).map_or(0, |peer| peer.sent);
            let members = members.clone();
            let heartbeat = Message::Heartbeat {
                epoch,
                started,
                members,
                commit,
                last,
                echo,
                stalled,
                round,
                compact_to,
            };
            self.send(id, Outgoing::Message(heartbeat));
        }
    }

    /// The view start is durable on all members: the view serves.
    pub(super) fn established(&mut self) {
        let State::Leading(leading) = &mut self.state else {
            return;
        };
        leading.established_at = Some(self.now);
        leading.next_heartbeat = self.now + self.settings.heartbeat;
        let note = Note::Leading {
            epoch: leading.epoch,
            members: leading.members.clone(),
            forced: leading.forced,
        };
        self.note(note);
        self.leaderless_since = None;
        self.waiting = None;
        self.ballot = None;
        self.settle_force();
        self.settle_change();
        self.send_heartbeats();
        self.append_queued();
    }

    fn append_queued(&mut self) {
        while let Some((proposal, command)) = self.queued.pop_front() {
            let position = self.append_own(Payload::Command(command));
            self.ready.appended.push((proposal, position));
        }
    }

    /// Appends in the epoch that this replica leads.
    pub(super) fn append_own(&mut self, payload: Payload) -> Position {
        let last = self.log.last().index;
        let idle = self.commit == last;
        let State::Leading(leading) = &mut self.state else {
            unreachable!("only a leader appends of its own");
        };
        if idle {
            leading.moved_at = self.now;
        }
        let position = Position {
            epoch: leading.epoch,
            index: last + 1,
        };
        self.log.append(Entry { position, payload });
        position
    }

    /// Members that make no progress are marked as lagging, and those that have kept up for a while are so no longer.
    fn judge_pace(&mut self) {
        let (now, last, durable) = (self.now, self.log.last().index, self.log.durable);
        let State::Leading(leading) = &mut self.state else {
            return;
        };
        for (id, progress) in &mut leading.progress {
            let Some(peer) = self.peers.get_mut(id) else {
                continue;
            };
            let verified = progress.verified.unwrap_or(0);
            let has_all = verified >= durable;
            if has_all {
                progress.moved_at = now;
            }
            let stateless = progress.wants_snapshot.is_some() || progress.mends;
            if progress.verified.is_some() && verified + CAUGHT_UP >= last && !stateless {
                progress.caught_up_since.get_or_insert(now);
            } else {
                progress.caught_up_since = None;
            }
            let member = leading.members.contains(id);
            // A log without the state that it continues is no copy of anything.
            if member && (stateless || now - progress.moved_at > self.settings.suspect) {
                peer.lagging = true;
            }
            let kept_up = progress
                .caught_up_since
                .is_some_and(|since| now - since >= self.settings.rejoin);
            // A member that lags is kept where there is no majority without it, and need not go once it has everything.
            if kept_up || member && has_all && !stateless {
                peer.lagging = false;
            }
        }
    }

    /// Begins a new view when the present one is not the right one any more.
    pub(super) fn check_view(&mut self) {
        let State::Leading(leading) = &self.state else {
            return;
        };
        let me = self.me();
        let gone = leading
            .members
            .iter()
            .any(|id| *id != me && self.suspects(*id));
        if leading.established_at.is_none() {
            if gone {
                self.abandon("a member is gone");
            }
            return;
        }
        let lagging = self.lagging();
        let slow = leading.members.iter().any(|id| lagging.contains(id))
            && self.can_do_without(&leading.members, &lagging);
        let joins = leading.progress.iter().any(|(id, progress)| {
            !leading.members.contains(id)
                && self
                    .log
                    .configuration()
                    .is_some_and(|known| known.member(*id).is_some())
                && self.joining() != Some(*id)
                && progress.has_caught_up()
                && !lagging.contains(id)
                && !self.suspects(*id)
        });
        let rival = self.rival.is_some_and(|rival| !self.suspects(rival));
        let wanted =
            gone || slow || joins || rival || leading.outpromised || self.ripe_change().is_some();
        if wanted && self.ballot.is_none() {
            self.begin_ballot(None, 0);
        } else if !wanted {
            self.ballot = None;
        }
    }

    /// Whether a view of these members is still one without some of them. Where it needs a majority, slow ones are better
    /// than none.
    fn can_do_without(&self, members: &[ReplicaId], some: &BTreeSet<ReplicaId>) -> bool {
        self.log.configuration().is_none_or(|known| {
            let rest = members.iter().copied().filter(|id| !some.contains(id));
            known.mode == Mode::Available || known.is_majority(rest)
        })
    }

    /// An operator wants another member to lead. Returns whether it will be tried.
    pub fn transfer_leadership(&mut self, to: ReplicaId) -> Result<(), TransferRefusal> {
        let me = self.me();
        let suspected = self.suspects(to);
        let State::Leading(leading) = &mut self.state else {
            return Err(TransferRefusal::NotLeader);
        };
        if leading.established_at.is_none() {
            return Err(TransferRefusal::NotLeader);
        }
        if !leading.members.contains(&to) || suspected {
            return Err(TransferRefusal::NoMember);
        }
        if to != me {
            leading.transfer = Some(to);
        }
        Ok(())
    }

    /// Hands leadership to whom an operator wants, or to the lowest id once it has been in the view for a while.
    fn tick_hand_over(&mut self) {
        let (now, me, last) = (self.now, self.me(), self.log.last().index);
        let State::Leading(leading) = &self.state else {
            return;
        };
        let Some(established_at) = leading.established_at else {
            return;
        };
        let Some(&preferred) = leading.members.first() else {
            return;
        };
        let epoch = leading.epoch;
        let verified = |id: ReplicaId| leading.progress.get(&id).and_then(|known| known.verified);
        let stateless = |id: ReplicaId| {
            let progress = leading.progress.get(&id);
            progress.is_some_and(|progress| progress.wants_snapshot.is_some() || progress.mends)
        };
        let well = |id: ReplicaId| !self.suspects(id) && self.ballot.is_none() && !stateless(id);
        let near =
            |id: ReplicaId| verified(id).is_some_and(|verified| verified + CAUGHT_UP >= last);
        match &leading.handing_over {
            None => {
                let time = now >= leading.next_hand_over
                    && now - established_at >= self.settings.hand_back;
                let (to, hold) = match leading.transfer {
                    Some(wanted) => (wanted, self.settings.hold),
                    None if time => (preferred, 0),
                    None => return,
                };
                if to != me && near(to) && well(to) {
                    self.note(Note::HandingOver { to });
                    let until = now + self.settings.hand_over;
                    self.set_handing_over(Some(HandingOver { to, until }));
                    self.send_after(to, Message::HandOver { epoch, hold });
                }
            }
            Some(HandingOver { to, until }) => {
                if now > *until || !well(*to) {
                    self.set_handing_over(None);
                    self.append_queued();
                }
            }
        }
    }

    fn set_handing_over(&mut self, handing_over: Option<HandingOver>) {
        let next = self.now + self.settings.hand_back;
        if let State::Leading(leading) = &mut self.state {
            if handing_over.is_none() {
                leading.next_hand_over = leading.next_hand_over.max(next);
                leading.transfer = None;
            }
            leading.handing_over = handing_over;
        }
    }

    /// Whether the leader has given this ticket away and waits for its bearer.
    pub(super) fn gave_ticket(&self, ticket: Option<Epoch>, to: ReplicaId) -> bool {
        let State::Leading(leading) = &self.state else {
            return false;
        };
        ticket == Some(leading.epoch)
            && leading
                .handing_over
                .as_ref()
                .is_some_and(|over| over.to == to)
    }

    /// Commands that lost their place come back: each is appended once in a reign. But if somebody is beyond that place
    /// and still has the command among its orphans, a snapshot took it there: then it needs to see the command once more.
    pub(super) fn on_orphans(&mut self, from: ReplicaId, epoch: Epoch, orphans: Vec<Orphan>) {
        let applied = match self.peers.get(&from) {
            Some(peer) => peer.report.applied,
            None => self.applied.0,
        };
        let (commit, most) = (self.commit, self.settings.max_uncommitted as usize);
        if let State::Leading(leading) = &mut self.state
            && leading.reproposed.len() > most
        {
            // Once more has no other effect than once, so it need not be known for ever.
            leading.reproposed.retain(|_, index| *index > commit);
        }
        for orphan in orphans {
            let origin = orphan.origin;
            let State::Leading(leading) = &self.state else {
                return;
            };
            if leading.epoch != epoch || !leading.takes_proposals() {
                return;
            }
            let stands = leading.reproposed.get(&origin);
            let under_way = stands
                .is_some_and(|index| *index > applied || self.is_broken(Mutation::OrphansOnce));
            let uncommitted = self.log.last().index - self.commit;
            let below = self.is_broken(Mutation::OrphansByMark)
                && leading
                    .reproposed
                    .last_key_value()
                    .is_some_and(|(last, _)| *last >= origin);
            if under_way || below || uncommitted >= self.settings.max_uncommitted {
                continue;
            }
            let lineage = match self.is_broken(Mutation::ForgetsLineage) {
                true => Lineage::alone(origin),
                false => orphan.lineage,
            };
            let position = self.append_own(Payload::Reproposed {
                origin,
                lineage,
                command: orphan.command,
            });
            if let State::Leading(leading) = &mut self.state {
                leading.reproposed.insert(origin, position.index);
            }
        }
    }

    /// Offers the orphans of this store to the leader until they are committed again.
    pub(super) fn offer_orphans(&mut self) {
        let at_once = self.is_broken(Mutation::OrphansTooEarly);
        if self.orphans == 0 || self.now < self.next_orphans && !at_once {
            return;
        }
        let (to, epoch) = match &self.state {
            State::Leading(leading) if leading.takes_proposals() => (self.me(), leading.epoch),
            // While there are entries that the leader has not verified, they may yet be cut, and the orphans' lineages
            // with them.
            State::Following(following)
                if following.started
                    && (at_once || following.verified == Some(self.log.last().index)) =>
            {
                (following.leader, following.epoch)
            }
            _ => return,
        };
        self.next_orphans = self.now + 4 * self.settings.heartbeat;
        self.ready.after.push((to, Outgoing::Orphans { epoch }));
    }
}
