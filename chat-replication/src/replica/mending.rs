//! Damaged entries, and how they become whole again.
//!
//! Where an entry stands, and of which epoch it is, the branch table says; what it says, any replica can tell whose log
//! holds that position: an epoch has one leader, who appends each index once. So a replica asks the others for exactly what
//! it lacks, whatever they and it are doing, and writes what comes in the place of what rotted.
//!
//! A damaged log still counts for what it is known to hold: others do not go on without it. But what it holds can be
//! neither applied nor given to others, nor be kept as orphans if its branch loses. So until it is whole again, a replica
//! whose state does not show the damaged entries neither leads nor is a member of a view; nobody takes those entries from
//! it; and its log is not cut below them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::state::State;
use super::{Note, Outgoing, Replica};
use crate::message::Message;
use crate::types::{Entry, Index, Payload, Position, ReplicaId};

/// Whom a replica asks for what it lacks.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Mending {
    /// When to ask next.
    ask_at: u64,
    /// Who was asked last: the next one is another.
    asked: Option<ReplicaId>,
    /// Who does not have it.
    without: BTreeSet<ReplicaId>,
    /// Since when nothing has come.
    since: u64,
}

impl Replica {
    /// The store finds entries damaged that the log holds.
    pub fn entries_damaged(&mut self, entries: RangeInclusive<Index>) {
        let held = self.log.compacted.index + 1..=self.log.last().index;
        let first = *entries.start().max(held.start());
        let last = *entries.end().min(held.end());
        let is_news = (first..=last).any(|index| !self.log.damage.contains(index));
        if first > last || !is_news {
            return;
        }
        self.note(Note::EntriesDamaged { first, last });
        self.log.damage.add(first..=last);
        self.mending = Mending {
            ask_at: self.now,
            since: self.now,
            ..Mending::default()
        };
        if self.mends() {
            self.cease_to_lead("its log is damaged");
        }
    }

    /// Whether entries are damaged that the state does not show.
    pub(super) fn mends(&self) -> bool {
        self.log.damage.last() > self.applied.0
    }

    /// The damaged entries, from the first to the last; `None` in a whole log.
    pub fn damaged(&self) -> Option<RangeInclusive<Index>> {
        let first = *self.log.damage.first()?.start();
        Some(first..=self.log.damage.last())
    }

    /// The last entry before the first damaged one from an index on: so far the log can be read.
    pub fn readable_from(&self, index: Index) -> Index {
        let damaged = self.log.damage.next_from(index);
        damaged.map_or(Index::MAX, |damaged| damaged - 1)
    }

    /// Nobody who is there has had what this replica lacks, for a while.
    pub(super) fn mends_in_vain(&self) -> bool {
        !self.log.damage.is_empty() && self.now - self.mending.since > self.settings.suspect
    }

    /// What stands in the log of the leader that it follows cannot be taken, as it is another one behind this index.
    pub(super) fn is_kept_out(&mut self, parts_at: Index) {
        let by_damage = self.log.damage.last() > parts_at;
        if let State::Following(following) = &mut self.state {
            following.parts_at = Some(parts_at).filter(|_| by_damage);
        }
    }

    /// Up to where the log of the leader that it follows is its own, if it cannot take the rest: that cuts entries that are
    /// damaged, which nobody has and which could not be kept as orphans.
    pub(super) fn kept_out_at(&self) -> Option<Index> {
        let State::Following(following) = &self.state else {
            return None;
        };
        let parts_at = following.parts_at.filter(|_| following.verified.is_none());
        parts_at.filter(|at| self.log.damage.last() > *at && self.mends_in_vain())
    }

    /// Whether an operator's word alone can help: nobody has what is damaged, and it can neither be applied nor be cut.
    pub fn is_stuck_by_damage(&self) -> bool {
        let is_needed = match &self.state {
            State::Seeking => self.mends(),
            State::Following(_) => self.kept_out_at().is_some() || self.mends(),
            State::Candidate(_) | State::Leading(_) => false,
        };
        is_needed && self.mends_in_vain()
    }

    pub(super) fn tick_mending(&mut self) {
        if self.log.damage.is_empty() {
            return;
        }
        self.mend_view_starts();
        if self.now >= self.mending.ask_at {
            self.ask_to_mend();
        }
    }

    /// What a view start says is known beside the log.
    fn mend_view_starts(&mut self) {
        let damage = &self.log.damage;
        let starts = self
            .log
            .view_starts()
            .filter(|(index, _)| damage.contains(*index));
        let known: Vec<Entry> = starts
            .filter_map(|(index, start)| {
                let position = self.log.branches.position_at(index)?;
                let payload = Payload::ViewStart(start.clone());
                Some(Entry { position, payload })
            })
            .collect();
        let mended = known
            .into_iter()
            .filter(|entry| self.mend(entry.clone()))
            .count();
        if mended > 0 && self.log.damage.is_empty() {
            self.is_mended();
        }
    }

    /// Who tells what stands in the log: everybody with a vote or about to get one, and whoever was removed for a long absence,
    /// and comes in again by itself.
    fn menders(&self) -> BTreeSet<ReplicaId> {
        let mut ids = self.concerned();
        let electors = self.electors();
        let known = self.log.configuration();
        ids.retain(|id| electors.contains(id) || known.is_some_and(|known| known.takes_in(*id)));
        ids
    }

    /// Asks one of the others, each time another.
    fn ask_to_mend(&mut self) {
        self.mending.ask_at = self.now + self.settings.ballot;
        let Some(stretch) = self.log.damage.first() else {
            return;
        };
        let mut others = self.menders();
        others.retain(|id| !self.suspects(*id));
        let next = self
            .mending
            .asked
            .and_then(|asked| others.iter().find(|id| **id > asked));
        let Some(to) = next.or(others.first()).copied() else {
            return;
        };
        self.mending.asked = Some(to);
        self.ask_for(to, stretch);
    }

    fn ask_for(&mut self, to: ReplicaId, stretch: RangeInclusive<Index>) {
        let Some(from) = self.log.branches.position_at(*stretch.start()) else {
            return;
        };
        let of_epoch = self.log.branches.last_of(from.epoch).unwrap_or(from.index);
        let through = of_epoch.min(*stretch.end());
        let mend = Message::Mend { from, through };
        self.send(to, Outgoing::Message(mend));
    }

    pub(super) fn on_mend(&mut self, from: ReplicaId, position: Position, through: Index) {
        if !self.audience().contains(&from) && !self.menders().contains(&from) {
            return;
        }
        let is_held =
            self.log.branches.holds(position) && position.index > self.log.compacted.index;
        // What nobody can read any more, but the state shows, is as good as dropped: a snapshot brings it.
        let gone = match self.log.damage.contains(position.index) && !self.mends() {
            true => self.unservable_up_to(),
            false => self.log.compacted.index,
        };
        let compacted = self.log.branches.position_at(gone);
        let compacted = compacted.unwrap_or(self.log.compacted);
        let last = self.log.branches.last_of(position.epoch);
        match last.filter(|_| is_held && through >= position.index) {
            // Once it is on this disk.
            Some(last) => {
                let through = last.min(through).min(self.readable_from(position.index));
                let mended = Outgoing::Mended {
                    from: position,
                    through,
                    compacted,
                };
                self.ready.after.push((from, mended));
            }
            None => {
                let mended = Message::Mended {
                    from: position,
                    entries: Vec::new(),
                    compacted,
                };
                self.send_after(from, mended);
            }
        }
    }

    pub(super) fn on_mended(
        &mut self,
        from: ReplicaId,
        position: Position,
        entries: Vec<Entry>,
        compacted: Position,
    ) {
        if self.log.damage.is_empty() || !self.menders().contains(&from) {
            return;
        }
        let mut mended = 0;
        for entry in entries {
            mended += u64::from(self.mend(entry));
        }
        if mended > 0 {
            self.mending.since = self.now;
            self.mending.without.clear();
            match self.log.damage.first() {
                None => self.is_mended(),
                Some(stretch) => self.ask_for(from, stretch),
            }
            return;
        }
        let first = self.log.damage.first().map(|stretch| *stretch.start());
        if first == Some(position.index) {
            self.mending.without.insert(from);
            self.want_snapshot_past(compacted);
        }
    }

    /// The log is whole again.
    fn is_mended(&mut self) {
        self.note(Note::EntriesMended);
        self.forgo_snapshot();
    }

    /// If the log goes on from what the state shows, no snapshot is needed in place of what was damaged, once that is mended
    /// or given up.
    pub(super) fn forgo_snapshot(&mut self) {
        let begins_anew = self.rebuilt_at.is_some() || self.damage.is_some();
        if !begins_anew && self.applied.0 >= self.log.compacted.index {
            self.wants_snapshot = None;
        }
    }

    /// Takes an entry in the place of a damaged one, if it is the one that stood there.
    fn mend(&mut self, entry: Entry) -> bool {
        let Position { epoch, index } = entry.position;
        let stood_there = self.log.damage.contains(index)
            && self.log.branches.holds(entry.position)
            && match (&entry.payload, self.log.view_start(epoch)) {
                (Payload::ViewStart(start), Some((first, known))) => {
                    first == index && start == known
                }
                (Payload::ViewStart(_), None) => self.log.branches.first_of(epoch) == Some(index),
                (Payload::Command(_) | Payload::Reproposed { .. }, _) => {
                    self.log.branches.first_of(epoch) != Some(index)
                }
            };
        if stood_there {
            self.log.damage.remove(index);
            self.log.pending.mend.push(entry);
        }
        stood_there
    }

    /// What nobody has any more as entries, those who dropped them show in their states: a snapshot brings that.
    fn want_snapshot_past(&mut self, compacted: Position) {
        let first = self.log.damage.first().map(|stretch| *stretch.start());
        let is_past = first.is_some_and(|first| first <= compacted.index);
        let is_needed = self.mends() && self.mends_in_vain() && self.wants_snapshot.is_none();
        if is_past && is_needed && self.log.branches.holds(compacted) {
            self.note(Note::StateLost);
            self.wants_snapshot = Some(compacted.index);
            self.cease_to_lead("entries that it is to apply are damaged, and gone elsewhere");
        }
    }

    /// An operator's word: damaged entries that nobody has are given up. What stands behind them stays, as orphans.
    pub(super) fn give_up_damaged(&mut self) {
        let (needed_from, goes_on) = match (&self.state, self.kept_out_at()) {
            // What the state shows is not lost.
            (State::Seeking, _) => (self.applied.0 + 1, true),
            // Its branch loses, and what was damaged on it cannot be kept.
            (State::Following(_), Some(parts_at)) => (parts_at + 1, false),
            (State::Following(_) | State::Candidate(_) | State::Leading(_), _) => return,
        };
        let Some(first) = self.log.damage.next_from(needed_from) else {
            return;
        };
        self.note(Note::EntriesGivenUp {
            first,
            last: self.log.damage.last(),
        });
        self.log.give_up_behind(first - 1, goes_on);
        self.commit = self.commit.min(first - 1);
        if self
            .in_view
            .is_some_and(|epoch| self.log.view_start(epoch).is_none())
        {
            self.in_view = None;
        }
        self.meet_peers();
    }
}
