//! Which entries are dropped, and the snapshots that take their place.
//!
//! An entry is dropped once every configured replica has it, or has a snapshot of what it did. So whoever is away finds
//! what it misses when it comes back, and a branch that loses still has all that has to be kept of it. Where a view needs
//! a majority, and so no branch is lost that mattered, a replica that is away for long is not waited for.

use super::progress::Progress;
use super::state::{Leading, State};
use super::{Mutation, Note, Replica, Settings};
use crate::store::Reset;
use crate::types::{Epoch, Index, Mode, Position, ReplicaId};

impl Replica {
    /// Up to where entries may be dropped here. What the state holds durably is for the caller to know.
    pub fn compaction_limit(&self) -> Index {
        let limit = match &self.state {
            State::Leading(leading) if leading.established_at.is_some() => {
                self.matched_everywhere(leading)
            }
            State::Following(following) => {
                let verified = following.verified.unwrap_or(0);
                // Where the log does not end in this view yet, what was dropped of it would be taken for newer than it is.
                let start = self.log.branches.first_of(following.epoch);
                let is_here = start.is_some_and(|start| verified >= start);
                match is_here && verified >= following.compact_to {
                    true => following.compact_to,
                    false => 0,
                }
            }
            State::Seeking | State::Candidate(_) | State::Leading(_) => 0,
        };
        limit.min(self.commit).min(self.log.durable)
    }

    /// The protocol's times and limits.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The epoch that it leads or is about to lead: its members have promised it.
    pub(crate) fn leading_or_about_to(&self) -> Option<Epoch> {
        match &self.state {
            State::Leading(leading) => Some(leading.epoch),
            State::Seeking | State::Candidate(_) | State::Following(_) => None,
        }
    }

    /// What the log of a replica is that takes a snapshot of this position, if this log holds it.
    pub(crate) fn reset_at(&self, position: Position) -> Option<Reset> {
        if position.index == 0 || !self.log.branches.holds(position) {
            return None;
        }
        let mut branches = self.log.branches.clone();
        branches.truncate(position.index);
        let (index, start) = self.log.view_start(position.epoch)?;
        Some(Reset {
            newest: (index, start.clone()),
            branches,
        })
    }

    /// The last position whose entry is gone.
    pub fn compacted(&self) -> Position {
        self.log.compacted
    }

    /// Drops entries up to an index, as far as [`Replica::compaction_limit`] allows.
    pub fn compact(&mut self, through: Index) {
        let through = through.min(self.compaction_limit());
        if through > self.log.compacted.index {
            // What is dropped otherwise, all have that may come back.
            let decided = match &self.state {
                State::Leading(leading) => self.decide(&leading.members),
                State::Following(following) => self.decide(&following.members),
                State::Seeking | State::Candidate(_) => false,
            };
            self.log.compact(through, decided);
            self.log.forget_epochs(self.settings.max_epochs / 2);
        }
    }

    /// Up to where every configured replica has said, in this epoch, to have the log on disk.
    fn matched_everywhere(&self, leading: &Leading) -> Index {
        let Some(configuration) = self.log.configuration() else {
            return 0;
        };
        if self.is_broken(Mutation::CompactsAtOnce) {
            return self.commit;
        }
        let me = self.me();
        let verified = |id| leading.progress.get(&id).and_then(Progress::acknowledged);
        let matched = configuration
            .members
            .iter()
            .filter(|member| member.id != me)
            .map(|member| verified(member.id).unwrap_or(0))
            .fold(self.log.durable, Index::min);
        let not_waited_for = match configuration.mode {
            Mode::Available => 0,
            Mode::Consistent => self.commit.saturating_sub(self.settings.log_cap),
        };
        // Whoever is being brought forward, member or not, is not left behind half-way.
        let compacted = self.log.compacted.index;
        let served = leading
            .progress
            .iter()
            .filter(|(id, progress)| !self.suspects(**id) && !progress.is_beyond(compacted))
            .map(|(_, progress)| progress.holds())
            .fold(self.log.durable, Index::min);
        let owed = self.owed_from(&leading.members);
        matched.max(not_waited_for).min(served).min(owed)
    }

    /// Cut to below this index, the log does not rebuild the state any more.
    pub(super) fn state_base(&self) -> Index {
        let rebuilt = self.log.compacted.index == 0;
        match !rebuilt && self.log.branches.holds(self.checkpoint) {
            true => self.checkpoint.index,
            false => 0,
        }
    }

    /// The state is lost, and what is left of the log does not rebuild it. One that leads ceases to: it has nothing to
    /// serve, and can take a snapshot only from another leader.
    pub fn state_lost(&mut self) {
        if self.wants_snapshot.is_none() {
            self.note(Note::StateLost);
        }
        self.wants_snapshot = Some(self.log.compacted.index);
        self.rebuilt_at = None;
        self.cease_to_lead("its state is lost");
    }

    /// The state was found to be damaged, and begins anew. Until it is whole again, from a snapshot or from the log if that
    /// goes back to the beginning, it is as good as lost. The log is as good as before.
    pub fn state_damaged(&mut self, damage: String) {
        self.damage = Some(damage.clone());
        self.note(Note::StateDamaged { damage });
        let compacted = self.log.compacted.index;
        self.wants_snapshot = Some(compacted);
        // Shown again before anything is answered is what was committed in this process's life. Of a log that nothing is
        // known of yet, as at a start, a view of its own commits all.
        self.rebuilt_at = (compacted == 0).then_some(self.commit);
        self.cease_to_lead("its state is damaged");
        if self.rebuilt_at == Some(0) {
            self.state_is_whole();
        }
    }

    pub(super) fn state_is_whole(&mut self) {
        self.wants_snapshot = None;
        self.rebuilt_at = None;
        self.damage = None;
    }

    /// Has another lead, if this one does or is about to. Those who follow hear of it at once.
    pub(super) fn cease_to_lead(&mut self, why: &'static str) {
        match &self.state {
            State::Leading(leading) if leading.established_at.is_some() => {
                let (epoch, members) = (leading.epoch, leading.members.clone());
                self.seek(why);
                self.tell_given_up(epoch, members);
            }
            State::Leading(_) | State::Candidate(_) => self.abandon(why),
            State::Seeking | State::Following(_) => {}
        }
    }

    /// The leader or candidate whose epoch this replica has promised and follows.
    pub fn followed(&self) -> Option<Epoch> {
        match &self.state {
            State::Following(following) => Some(following.epoch),
            State::Seeking | State::Candidate(_) | State::Leading(_) => None,
        }
    }

    /// The epoch whose leader or candidate may send a snapshot.
    ///
    /// It need not be live: it may have stalled for want of just this replica, and then nothing else brings it forward.
    pub fn takes_snapshots_of(&self) -> Option<Epoch> {
        match &self.state {
            State::Following(following) => Some(following.epoch),
            State::Seeking => Some(self.log.promised),
            State::Candidate(_) | State::Leading(_) => None,
        }
    }

    /// Whether a snapshot is of use here. Not one of a history that lacks what this replica has dropped: nobody could hand
    /// that over any more. Where this disk had no say it has dropped nothing, but taken a snapshot of what others hold.
    pub fn needs_snapshot(&self, reset: &Reset) -> bool {
        let position = reset.branches.last();
        let own = &self.log.branches;
        let common = own.common_ancestor(&reset.branches).index;
        let may_have = self.log.configuration().is_some_and(|known| {
            let store = self.identity.store;
            known.mode == Mode::Available && known.may_have_dropped(store, own, common)
        });
        let drops = may_have && self.log.compacted.index > common;
        let theirs = (reset.branches.dropped_behind(common), position);
        let stays = drops
            && !self.is_abandoned()
            && theirs <= (own.dropped_behind(common), own.last())
            && !self.is_broken(Mutation::NewerAlwaysStays);
        let behind = !own.holds(position) && !stays;
        // Behind what was dropped since it was wanted, the log does not go on.
        let least = |wanted: Index| wanted.max(self.log.compacted.index);
        behind
            || self
                .wants_snapshot
                .is_some_and(|wanted| position.index >= least(wanted))
    }

    /// Whether the log can become that of a snapshot: nothing damaged would have to be cut for it.
    pub(crate) fn may_adopt(&mut self, reset: &Reset) -> bool {
        let parts_at = self.parts_from(reset);
        let may =
            self.log.branches.holds(reset.branches.last()) || self.log.damage.last() <= parts_at;
        if !may {
            self.is_kept_out(parts_at);
        }
        may
    }

    /// The last entry that the log has in common with that of a snapshot.
    pub(crate) fn parts_from(&self, reset: &Reset) -> Index {
        self.log.branches.common_ancestor(&reset.branches).index
    }

    /// Whether a snapshot that was made by this version is of use here, as far as that goes. If not, the status says so.
    pub(crate) fn knows_version(&mut self, version: u32) -> bool {
        let known = version <= self.apply_version || self.is_broken(Mutation::OldVersionJoins);
        if !known {
            self.offered_version = self.offered_version.max(version);
        }
        known
    }

    /// The last entry that others cannot be given: it is gone, or it is damaged and nobody mends it.
    pub(super) fn unservable_up_to(&self) -> Index {
        match self.mends_in_vain() {
            true => self.log.unusable_up_to(),
            false => self.log.compacted.index,
        }
    }

    /// Whether a replica needs a snapshot of this leader's state, as far as it has said where it is.
    pub(crate) fn awaits_snapshot(&self, id: ReplicaId) -> bool {
        let State::Leading(leading) = &self.state else {
            return true;
        };
        let gone = self.unservable_up_to();
        match leading.progress.get(&id) {
            Some(known) => known.is_beyond(gone) || known.wants_snapshot.is_some(),
            // After a new view has started it is soon heard of, if it is to be served at all.
            None => leading
                .established_at
                .is_none_or(|at| self.now - at <= self.settings.suspect),
        }
    }

    /// A snapshot for a replica gets on: that is progress of its own kind.
    pub fn snapshot_moved(&mut self, to: ReplicaId) {
        let now = self.now;
        let State::Leading(leading) = &mut self.state else {
            return;
        };
        if let Some(progress) = leading.progress.get_mut(&to) {
            progress.snapshot_at = Some(now);
            progress.moved_at = now;
            if leading.established_at.is_none() {
                leading.since = now;
            }
        }
    }

    /// The state is now the one of a snapshot. The log follows with the next [`Ready`](super::Ready), unless it holds that
    /// position already.
    pub fn installed(&mut self, reset: Reset) {
        let position = reset.branches.last();
        self.state_is_whole();
        let goes_on =
            self.log.branches.holds(position) && position.index >= self.log.compacted.index;
        if goes_on {
            self.commit = self.commit.max(position.index);
            return self.note(Note::Installed { position, cut: 0 });
        }
        if position.epoch > self.log.promised {
            // Where the log was lost, and the state was not: what it shows was accepted once.
            self.log.promise(position.epoch);
        }
        let ancestor = self.log.branches.common_ancestor(&reset.branches).index;
        let lost = self.log.behind(ancestor);
        let before = self.log.configuration().cloned();
        self.log.reset(ancestor, reset);
        if !lost.is_empty() {
            self.note_lost_changes(before.as_ref());
        }
        // Of the branch that won no more is known than its epochs: any of them may have been forced, so all is kept.
        self.commit = position.index;
        if self
            .in_view
            .is_some_and(|epoch| self.log.view_start(epoch).is_none())
        {
            self.in_view = None;
        }
        if let State::Following(following) = &mut self.state {
            following.verified = None;
            following.ack_due = false;
            following.compact_to = 0;
        }
        self.meet_peers();
        let cut = lost.len() as u64;
        self.note(Note::Installed { position, cut });
    }
}
