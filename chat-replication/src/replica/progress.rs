//! What has been sent to whom, what is durable there, and what is committed by that.

use std::collections::VecDeque;

use super::peer::PROBE;
use super::state::{Leading, State};
use super::{Mutation, Outgoing, Replica};
use crate::branch::BranchTable;
use crate::message::Message;
use crate::types::{Epoch, Index, ReplicaId, StoreUuid};

/// How far one follower or learner is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Progress {
    /// The next entry to send.
    next: Index,
    /// What it holds for certain, durable or not.
    floor: Index,
    /// Entries sent and not confirmed: up to which index, in how many bytes.
    in_flight: VecDeque<(Index, usize)>,
    /// The sum of these bytes.
    bytes_in_flight: usize,
    /// What it has said to be on its disk, in this epoch.
    pub(super) verified: Option<Index>,
    /// The commit index that it was sent last.
    sent_commit: Index,
    /// When `verified` grew last, or had no need to.
    pub(super) moved_at: u64,
    /// When to send again what has not been confirmed, and how long to wait the time after.
    repeat_at: u64,
    repeat_after: u64,
    /// When it was last sent the same entries again because it missed some.
    rewound_at: u64,
    /// Since when it misses next to nothing.
    pub(super) caught_up_since: Option<u64>,
    /// Something is to be sent even if there are no entries for it.
    poke: bool,
    /// The newest round that it has confirmed.
    pub(super) round: u64,
    /// Of which disk all this is.
    disk: StoreUuid,
    /// The disk has a vote. What another says in its place, one that is about to join, counts for nothing: the promises of
    /// the one before went with it.
    votes: bool,
    /// Its log parts from the leader's below what it still holds: it cannot be cut there.
    stuck: bool,
    /// Its state is lost: it needs a snapshot, of this index or a later one.
    pub(super) wants_snapshot: Option<Index>,
    /// Entries of its log are damaged, and not in its state.
    pub(super) mends: bool,
    /// When a snapshot for it was asked for, or got on, last.
    pub(super) snapshot_at: Option<u64>,
}

impl Progress {
    /// This disk, which has a vote or is about to join, holds everything up to this index.
    pub(super) fn from((disk, votes): (StoreUuid, bool), floor: Index, now: u64) -> Progress {
        Progress {
            next: floor + 1,
            floor,
            in_flight: VecDeque::new(),
            bytes_in_flight: 0,
            verified: None,
            sent_commit: 0,
            moved_at: now,
            repeat_at: 0,
            repeat_after: 0,
            rewound_at: 0,
            caught_up_since: None,
            poke: true,
            round: 0,
            disk,
            votes,
            stuck: false,
            wants_snapshot: None,
            mends: false,
            snapshot_at: None,
        }
    }

    /// Whether the entries that it needs next are gone, or are of no use to it.
    pub(super) fn is_beyond(&self, compacted: Index) -> bool {
        self.stuck || self.next - 1 < compacted
    }

    /// What a member has on the disk that makes it one.
    pub(super) fn acknowledged(&self) -> Option<Index> {
        self.verified.filter(|_| self.votes)
    }

    /// The newest round that the member has confirmed.
    pub(super) fn confirmed(&self) -> u64 {
        if self.votes { self.round } else { 0 }
    }

    /// What it holds for certain.
    pub(super) fn holds(&self) -> Index {
        self.verified.unwrap_or(self.floor)
    }

    /// A snapshot for it makes its way, as far as that is known.
    fn takes_snapshot(&self, now: u64, suspect: u64) -> bool {
        self.snapshot_at.is_some_and(|at| now - at <= suspect)
    }

    /// Where its log and the leader's part, and what is gone from its own.
    fn learn_outline(&mut self, ancestor: Index, its_compacted: Index) {
        self.stuck = ancestor < its_compacted;
    }

    pub(super) fn has_caught_up(&self) -> bool {
        self.caught_up_since.is_some()
    }

    /// Entries were sent, in so many bytes.
    fn note_sent(&mut self, through: Index, bytes: usize) {
        self.in_flight.push_back((through, bytes));
        self.bytes_in_flight += bytes;
    }

    /// What it has confirmed takes no room any more.
    fn note_confirmed(&mut self, verified: Index) {
        while let Some((through, bytes)) = self.in_flight.front()
            && *through <= verified
        {
            self.bytes_in_flight -= bytes;
            self.in_flight.pop_front();
        }
    }

    /// How many bytes of entries may be sent now.
    fn room(&self, window: usize) -> usize {
        window.saturating_sub(self.bytes_in_flight)
    }

    /// Sends again from behind what it holds; at most once in a tick, since each append behind a lost one is complained
    /// about.
    fn rewind(&mut self, holds: Index, now: u64) {
        if self.rewound_at == now {
            return;
        }
        self.rewound_at = now;
        self.floor = holds.max(self.verified.unwrap_or(0));
        self.next = self.floor + 1;
        self.in_flight.clear();
        self.bytes_in_flight = 0;
        self.poke = true;
    }
}

impl Leading {
    /// What is known of a replica is of the disk that it had when it said so.
    fn forget_other_disks(&mut self, id: ReplicaId, disk: StoreUuid) {
        if self
            .progress
            .get(&id)
            .is_some_and(|known| known.disk != disk)
        {
            self.progress.remove(&id);
        }
    }
}

impl Replica {
    /// Sends what is new to everybody who has room for it.
    pub(super) fn send_appends(&mut self) {
        let unservable = self.unservable_up_to();
        let damaged = self.log.damage.last();
        let State::Leading(leading) = &mut self.state else {
            return;
        };
        // A view start leaves only once it is on the leader's own disk: a member that has it may go on from that view
        // alone, and the leader, restarted, must know of the view then.
        if self.log.durable < leading.start && self.broken != Some(Mutation::StartBeforeSync) {
            return;
        }
        let (now, commit, last) = (self.now, self.commit, self.log.last().index);
        for (id, progress) in &mut leading.progress {
            let member = leading.members.contains(id);
            let gone = self
                .peers
                .get(id)
                .is_none_or(|peer| peer.refused || now - peer.heard_at > self.settings.suspect);
            if gone || !(member || leading.established_at.is_some()) {
                continue;
            }
            let beyond = progress.is_beyond(unservable);
            // There is none of what is not committed yet.
            let wanted = progress.wants_snapshot.is_some_and(|least| least <= commit);
            if (beyond || wanted) && !progress.takes_snapshot(now, self.settings.suspect) {
                progress.snapshot_at = Some(now);
                let snapshot = Outgoing::Snapshot {
                    epoch: leading.epoch,
                    at_least: progress.floor.max(progress.wants_snapshot.unwrap_or(0)),
                };
                self.ready.messages.push((*id, snapshot));
            }
            // What is damaged is about to be mended.
            if beyond || progress.next <= damaged {
                continue;
            }
            let through = last.min(progress.floor + self.settings.window);
            let room = progress.room(self.settings.window_bytes);
            let entries = progress.next <= through && room > 0;
            let through = if entries { through } else { progress.next - 1 };
            // Followers learn at once what is committed: they show it to their clients.
            let news = progress.verified.is_some() && progress.sent_commit < commit;
            if !(entries || news || progress.poke) {
                continue;
            }
            let previous = self
                .log
                .branches
                .position_at(progress.next - 1)
                .expect("what was sent is in the log");
            if progress.next > progress.floor + 1 || entries {
                // Something is on its way from now on, if it was not before.
                if progress.repeat_at <= now {
                    progress.repeat_after = self.settings.heartbeat * 4;
                    progress.repeat_at = now + progress.repeat_after;
                }
            }
            progress.next = through + 1;
            progress.sent_commit = commit;
            progress.poke = false;
            let epoch = leading.epoch;
            let append = Outgoing::Append {
                epoch,
                previous,
                through,
                room,
                commit,
                forced: self.log.newest_forced(),
            };
            self.ready.messages.push((*id, append));
        }
    }

    /// Of the entries that were to be sent to a replica, these have been, in so many bytes. The rest is sent once there
    /// is room for it.
    pub fn sent(&mut self, to: ReplicaId, through: Index, bytes: usize) {
        let State::Leading(leading) = &mut self.state else {
            return;
        };
        if let Some(progress) = leading.progress.get_mut(&to) {
            progress.next = progress.next.min(through + 1);
            progress.note_sent(through, bytes);
        }
    }

    /// What stays unconfirmed for long was lost, or waits for a slow disk or network: the replica is asked, ever more
    /// rarely. What it misses it says, and only then that is sent again.
    pub(super) fn repeat_lost_appends(&mut self) {
        let now = self.now;
        let State::Leading(leading) = &mut self.state else {
            return;
        };
        for progress in leading.progress.values_mut() {
            let held = progress.verified.unwrap_or(progress.floor);
            let outstanding = progress.next > held + 1 || progress.verified.is_none();
            if outstanding && progress.repeat_at <= now {
                // Often enough that bad luck alone does not make a member look slow.
                let least = self.settings.heartbeat * 4;
                let most = least.max(self.settings.suspect / 4);
                progress.repeat_after = (progress.repeat_after * 2).clamp(least, most);
                progress.repeat_at = now + progress.repeat_after;
                progress.poke = true;
            }
        }
    }

    pub(super) fn on_append_ack(
        &mut self,
        from: ReplicaId,
        store: StoreUuid,
        epoch: Epoch,
        verified: Index,
    ) {
        let (now, last) = (self.now, self.log.last().index);
        let State::Leading(leading) = &mut self.state else {
            return;
        };
        let Some(progress) = leading.progress.get_mut(&from) else {
            return;
        };
        if leading.epoch != epoch || verified > last || progress.disk != store {
            return;
        }
        if progress.verified.is_none_or(|before| before < verified) {
            progress.verified = Some(verified);
            progress.floor = progress.floor.max(verified);
            progress.next = progress.next.max(verified + 1);
            progress.note_confirmed(verified);
            progress.moved_at = now;
            progress.repeat_after = self.settings.heartbeat * 4;
            progress.repeat_at = now + progress.repeat_after;
            self.advance_commit();
        }
    }

    pub(super) fn on_mismatch(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        branches: &BranchTable,
        its_compacted: Index,
    ) {
        let now = self.now;
        let ancestor = self.log.branches.common_ancestor(branches).index;
        let State::Leading(leading) = &mut self.state else {
            return;
        };
        if leading.epoch != epoch {
            return;
        }
        if let Some(progress) = leading.progress.get_mut(&from) {
            progress.learn_outline(ancestor, its_compacted);
            if ancestor + 1 < progress.next {
                progress.rewind(ancestor, now);
            }
        }
    }

    /// A disk that was removed, and whose place another one has, never comes in, nor does one that nobody added. It is to
    /// know that it is heard, or it would take its leader for gone, and find it again at the next heartbeat, for ever; and
    /// why it gets nothing.
    fn tell_why(&mut self, id: ReplicaId, sent: u64) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.sent = sent;
        }
        self.on_pre_ballot(id, PROBE);
    }

    /// Notes that somebody's log dropped what this one lacks, so that it is asked before this replica goes on; also once it
    /// leads no more.
    fn note_rival(&mut self, from: ReplicaId, log: Option<&BranchTable>, compacted: Index) {
        let yields = log.is_some_and(|log| self.log.has_to_yield_to(log, compacted));
        if yields && self.broken != Some(Mutation::NewerAlwaysStays) {
            self.rival = Some(from);
        }
    }

    /// Who has come over to this leader's log from another side brought what that had dropped along.
    pub(super) fn take_over_drops(&mut self, theirs: &BranchTable) {
        if self.log.branches.holds(theirs.last()) {
            self.log.note_drop(theirs.dropped());
        }
    }

    pub(super) fn on_heartbeat_ack(&mut self, from: ReplicaId, message: Message) {
        let Message::HeartbeatAck {
            epoch,
            store,
            sent,
            round,
            verified,
            branches,
            compacted,
            wants_snapshot,
            mends,
            progress,
        } = message
        else {
            return;
        };
        let now = self.now;
        let mine = match &self.state {
            State::Candidate(candidate) => candidate.epoch,
            State::Leading(leading) => leading.epoch,
            State::Seeking | State::Following(_) => return,
        };
        if epoch != mine {
            return;
        }
        if !self.may_acknowledge(from, store) {
            let known = self.log.configuration().cloned();
            let known = known.as_ref();
            let nobody_added_it = known.is_some_and(|known| known.member(from).is_none());
            if known.is_some_and(|known| known.has_removed(store)) {
                return self.tell_why(from, sent);
            }
            // What was known is of a disk that is no more. This one gets nothing until somebody wants it in.
            if let State::Leading(leading) = &mut self.state {
                leading.progress.remove(&from);
            }
            if nobody_added_it {
                self.tell_why(from, sent);
            }
            if known.is_some_and(|known| known.takes_in(from)) {
                self.note_rival(from, branches.as_ref(), compacted);
            }
            self.join_with(from, store);
            return self.notice_new_disk(from, store);
        }
        let disk = (
            store,
            self.has_vote(from, store) || self.is_broken(Mutation::WipedDiskVotes),
        );
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.sent = sent;
            peer.report = progress;
        }
        let gone = self.unservable_up_to();
        if verified.is_none() {
            self.note_rival(from, branches.as_ref(), compacted);
            branches
                .iter()
                .for_each(|theirs| self.take_over_drops(theirs));
        }
        let State::Leading(leading) = &mut self.state else {
            return;
        };
        leading.forget_other_disks(from, store);
        match (verified, branches) {
            (Some(verified), _) => {
                self.rival = self.rival.filter(|rival| *rival != from);
                let new = || Progress::from(disk, verified.min(self.log.last().index), now);
                leading.progress.entry(from).or_insert_with(new);
                self.on_append_ack(from, store, epoch, verified);
            }
            // It has nothing verified in this epoch: it is new, or was restarted.
            (None, Some(branches)) => {
                let ancestor = self.log.branches.common_ancestor(&branches).index;
                let new = || Progress::from(disk, ancestor, now);
                let known = leading.progress.contains_key(&from);
                let progress = leading.progress.entry(from).or_insert_with(new);
                // One that has taken a snapshot meanwhile can be sent entries again.
                let beyond = progress.is_beyond(gone);
                progress.learn_outline(ancestor, compacted);
                if known && (progress.verified.is_some() || (beyond && progress.floor < ancestor)) {
                    // Of whoever has no vote nothing was counted, and anybody may have spoken in its name.
                    progress.verified = progress.acknowledged();
                    progress.rewind(ancestor, now);
                }
            }
            (None, None) => {}
        }
        let State::Leading(leading) = &mut self.state else {
            return;
        };
        if let Some(progress) = leading.progress.get_mut(&from) {
            // Nobody confirms what was not asked yet.
            progress.round = progress.round.max(round.min(leading.round));
            progress.wants_snapshot = wants_snapshot;
            progress.mends = mends;
        }
        self.retire(from, store);
    }

    /// A removed replica that knows it, and has handed over what it held, is left alone, unless it is to come in again.
    fn retire(&mut self, id: ReplicaId, store: StoreUuid) {
        let removed = self.has_removed(id, store);
        let configuration = self.log.configuration();
        let returns = configuration.is_some_and(|known| known.returns(store));
        let drained = self
            .peers
            .get(&id)
            .is_some_and(|peer| peer.report.orphans == 0);
        let State::Leading(leading) = &mut self.state else {
            return;
        };
        let verified = leading
            .progress
            .get(&id)
            .and_then(|progress| progress.verified);
        if removed && drained && verified.is_some_and(|verified| verified >= leading.start) {
            self.drained.insert(store);
            if !returns {
                leading.retired.insert(id);
                leading.progress.remove(&id);
            }
        }
    }

    /// The leader's own log is on its disk up to here.
    pub(super) fn count_own(&mut self) {
        let State::Leading(leading) = &self.state else {
            return;
        };
        if self.log.durable >= leading.start {
            self.in_view = Some(leading.epoch);
        }
        self.advance_commit();
    }

    /// Committed is what is durable on every member, once that includes the view's own start.
    fn advance_commit(&mut self) {
        let me = self.me();
        let State::Leading(leading) = &mut self.state else {
            return;
        };
        let mut verified: Vec<Index> = leading
            .members
            .iter()
            .map(|id| {
                let progress = leading.progress.get(id);
                if *id == me {
                    self.log.durable
                } else {
                    progress.and_then(Progress::acknowledged).unwrap_or(0)
                }
            })
            .collect();
        verified.sort_unstable();
        let half = verified.len() / 2;
        let broken = self.broken;
        let committed = match broken {
            Some(Mutation::HalfIsCommitted) => verified[half],
            _ => verified[0],
        };
        let started = committed >= leading.start || broken == Some(Mutation::CommitBeforeStart);
        if !started || committed <= self.commit {
            return;
        }
        self.commit = committed;
        leading.moved_at = self.now;
        if leading.established_at.is_none() && committed >= leading.start {
            self.established();
        }
    }
}
