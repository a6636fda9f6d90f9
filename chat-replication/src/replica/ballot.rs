//! Asking around whether a view may be started. Nothing changes by it, here or there, so all waiting is done here.

use std::collections::BTreeMap;

use super::judge::{Case, Plan, Verdict, Waiting, judge, newest_start, removed};
use super::membership::Change;
use super::state::State;
use super::{Mutation, Replica};
use crate::message::{Message, Standing};
use crate::types::{Epoch, PeerId, ReplicaId};

/// A question to all replicas, and the answers so far.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Ballot {
    round: u64,
    pub(super) standings: BTreeMap<ReplicaId, Standing>,
    pub(super) since: u64,
    ask_again: u64,
    /// The epoch of the leader that wants this replica to lead.
    pub(super) ticket: Option<Epoch>,
    /// For how long leadership is to stay here then.
    pub(super) hold: u64,
    /// What the view is to change.
    pub(super) change: Option<Change>,
}

impl Replica {
    /// Where this replica stands.
    pub(super) fn standing(&self) -> Standing {
        let standing = self.true_standing();
        match self.is_broken(Mutation::ForgetsDamaged) && standing.mends {
            true => self.without_damaged(standing),
            false => standing,
        }
    }

    /// As if the log ended before what is damaged.
    fn without_damaged(&self, mut standing: Standing) -> Standing {
        let readable = self.readable_from(self.applied.0 + 1);
        standing.branches.truncate(readable);
        let newest = self.log.view_start(standing.branches.last().epoch);
        standing.newest = newest.map(|(_, start)| start.clone());
        (standing.damaged, standing.mends) = (0, false);
        standing
    }

    fn true_standing(&self) -> Standing {
        Standing {
            store: self.identity.store,
            promised: self.log.promised,
            branches: self.log.branches.clone(),
            compacted: self.log.compacted.index,
            newest: self.log.newest().map(|(_, start)| start.clone()),
            in_view: self.in_view,
            leader: self.live_leader(),
            apply_version: self.apply_version,
            state_lost: self.wants_snapshot.is_some(),
            damaged: self.log.damage.last(),
            mends: self.mends(),
        }
    }

    /// Whether a disk was asked where it stands, or for its promise, though it may have been removed: somebody else said that
    /// it is a member, or what it knows matters all the same.
    pub(super) fn asks(&self, disk: PeerId) -> bool {
        if let State::Candidate(candidate) = &self.state
            && candidate.asked(disk.replica)
        {
            return true;
        }
        // It has dropped what this history lacks; or it was promised a view, and alone knows whether that has started.
        let promised = self.log.promised;
        if self.rival == Some(disk.replica)
            || (promised.replica, promised.store) == (disk.replica, disk.store)
        {
            return true;
        }
        self.ballot.as_ref().is_some_and(|ballot| {
            let others = ballot
                .standings
                .iter()
                .filter(|(id, _)| **id != disk.replica);
            others
                .filter_map(|(_, standing)| standing.newest.as_ref())
                .any(|start| start.configuration.votes(disk.replica, disk.store))
        })
    }

    pub(super) fn on_pre_ballot(&mut self, from: ReplicaId, round: u64) {
        let standing = Box::new(self.standing());
        self.send_after(from, Message::PreBallotAnswer { round, standing });
    }

    /// Asks everybody. A leader does it to change its view, a replica without a leader to become one.
    pub(super) fn begin_ballot(&mut self, ticket: Option<Epoch>, hold: u64) {
        if self.wants_snapshot.is_some() {
            // Without a state there is nothing to serve. But it is to hear of a leader that it takes for removed.
            self.waiting = Some(self.waiting_for_state());
            self.next_ballot = self.now + self.settings.ballot;
            for id in self.electors() {
                self.probe(id);
            }
            return;
        }
        let round = self.random.wrapping_add(self.now);
        self.ballot = Some(Ballot {
            round,
            standings: BTreeMap::new(),
            since: self.now,
            ask_again: self.now + self.settings.ballot,
            ticket,
            hold,
            change: None,
        });
        self.ask();
        self.consider_ballot();
    }

    fn ask(&mut self) {
        let Some(ballot) = &mut self.ballot else {
            return;
        };
        let round = ballot.round;
        // Those too whom only others know, or know again: their branch may be the one to go on from.
        let others = newest_start(&ballot.standings, self.broken)
            .map(|(_, start)| start.configuration.members.clone())
            .unwrap_or_default();
        let me = self.me();
        let mut ids = self.electors();
        ids.extend(others.iter().map(|member| member.id).filter(|id| *id != me));
        ids.extend(self.rival);
        // Whoever was promised something knows what came of it.
        let promised = self.log.promised;
        let somebody = promised.number > 0 && promised.replica != me;
        ids.extend(somebody.then_some(promised.replica));
        for id in ids {
            self.send_after(id, Message::PreBallot { round });
        }
    }

    pub(super) fn on_answer(&mut self, from: ReplicaId, round: u64, standing: Standing) {
        self.seen_number = self.seen_number.max(standing.promised.number);
        self.meet(from, &standing);
        if matches!(self.state, State::Leading(_)) {
            self.take_over_drops(&standing.branches);
        }
        // It may have come over since, or have taken a snapshot in place of what others hold.
        let common = self.log.branches.common_ancestor(&standing.branches).index;
        let has_dropped = standing.newest.as_ref().is_some_and(|start| {
            let (disk, log) = (standing.store, &standing.branches);
            start.configuration.may_have_dropped(disk, log, common)
        });
        let yields = self
            .log
            .has_to_yield_to(&standing.branches, standing.compacted);
        let stays = |rival: &ReplicaId| *rival != from || yields && has_dropped;
        self.rival = self.rival.filter(stays);
        let last = standing.branches.last().epoch;
        let follows = self.has_vote(from, standing.store).then_some(last);
        self.note_follower(from, follows);
        // A leader says to whom it leads, and gives nothing, why that is.
        if let State::Following(following) = &self.state
            && following.leader == from
            && let Some(newest) = &standing.newest
        {
            let (known, store) = (&newest.configuration, self.identity.store);
            if known.has_removed(store) {
                self.waiting = Some(removed(known, store));
            } else if !known.takes_in(self.me()) {
                self.waiting = Some(Waiting::NoMember);
            }
        }
        let Some(ballot) = &mut self.ballot else {
            return;
        };
        if ballot.round == round {
            ballot.standings.insert(from, standing);
            self.consider_ballot();
        }
    }

    pub(super) fn tick_ballot(&mut self) {
        let now = self.now;
        if self.wants_snapshot.is_some() && matches!(self.state, State::Seeking) {
            // The state was found to be lost after the ballot had begun, which waits for something else.
            self.ballot = None;
        }
        let Some(ballot) = &mut self.ballot else {
            if matches!(self.state, State::Seeking) && now >= self.next_ballot {
                self.begin_ballot(None, 0);
            }
            return;
        };
        if ballot.ticket.is_some() && now - ballot.since > self.settings.hand_over {
            self.ballot = None;
            return;
        }
        if now >= ballot.ask_again {
            ballot.ask_again = now + self.settings.ballot;
            self.ask();
        }
        self.consider_ballot();
    }

    /// Decides from the answers so far, and goes on to ask for promises where they allow it.
    pub(super) fn consider_ballot(&mut self) {
        let Some(mut ballot) = self.ballot.take() else {
            return;
        };
        ballot.standings.retain(|id, _| !self.suspects(*id));
        ballot.standings.insert(self.me(), self.standing());
        // Their logs may be the ones to go on from. Without their word this one would go on, or end, and meet them again.
        if self
            .rival
            .is_some_and(|rival| self.awaits_word(&ballot, rival))
        {
            self.ballot = Some(ballot);
            return;
        }

        let entitled = matches!(self.state, State::Leading(_)) || ballot.ticket.is_some();
        if !entitled && let Some((epoch, gone)) = self.other_leader(&ballot.standings) {
            self.waiting = Some(self.waiting_for_leader(epoch, &ballot.standings));
            // Those who do not know yet that it is gone will in a moment.
            self.next_ballot = self.now
                + if gone {
                    1
                } else {
                    self.jitter(self.settings.ballot)
                };
            return;
        }
        ballot.change = self.ripe_change();
        let since = Some(ballot.since);
        let judged =
            |change| self.judge(&ballot.standings, None, change, self.force.is_some(), since);
        let mut verdict = judged(ballot.change.as_ref());
        // A change that cannot be made now is not in the way of a view that is needed.
        if matches!(verdict, Verdict::Wait(_))
            && ballot.change.is_some()
            && let Verdict::Go(plan) = judged(None)
            && !self.gains_nothing(&plan)
        {
            ballot.change = None;
            verdict = Verdict::Go(plan);
        }
        match verdict {
            // Forks met, and this leader's is not the one that stays, and too far from it to go on from there at once.
            Verdict::Wait(Waiting::Behind) if matches!(self.state, State::Leading(_)) => {
                self.seek("another has newer entries, too many to catch up with in a moment");
                self.next_ballot = self.now + self.jitter(self.settings.suspect);
            }
            // They met as well, and on the one that stays this disk has no vote. Whoever has one is kept from leading by
            // those who follow here.
            Verdict::Wait(
                Waiting::Removed | Waiting::Returning | Waiting::NoMember | Waiting::NoVote,
            ) if matches!(self.state, State::Leading(_)) && !self.awaits_voter(&ballot) => {
                self.seek("another history is newer, and this disk has no vote in it");
                self.next_ballot = self.now + self.jitter(self.settings.suspect);
            }
            Verdict::Wait(waiting) => {
                self.waiting = Some(waiting);
                self.ballot = Some(ballot);
            }
            // It would be the same view again, for the price of a pause.
            Verdict::Go(plan) if self.gains_nothing(&plan) => self.ballot = Some(ballot),
            Verdict::Go(plan) => self.stand(ballot, plan),
        }
    }

    /// Whether the log that is to be gone on from is that of a removed replica, and somebody who could lead on it has not
    /// answered yet and may: or it has gone over to this one.
    fn awaits_voter(&self, ballot: &Ballot) -> bool {
        let Some((_, start)) = newest_start(&ballot.standings, self.broken) else {
            return false;
        };
        let known = &start.configuration;
        let is_led = ballot.standings.iter().any(|(id, standing)| {
            standing.newest.as_ref() == Some(start) && known.votes(*id, standing.store)
        });
        let is_missing = |id| !ballot.standings.contains_key(&id) && !self.suspects(id);
        !is_led && known.members.iter().any(|member| is_missing(member.id))
    }

    /// Whether the rival, or somebody of the view that this replica leads, has not answered yet and may.
    fn awaits_word(&self, ballot: &Ballot, rival: ReplicaId) -> bool {
        let led = match &self.state {
            State::Leading(leading) => leading.members.as_slice(),
            State::Seeking | State::Candidate(_) | State::Following(_) => &[],
        };
        let lagging = self.lagging();
        let mut ids = led.iter().chain([&rival]);
        ids.any(|id| {
            let answered = ballot.standings.contains_key(id);
            let lags = *id != rival && lagging.contains(id);
            !answered && !lags && !self.suspects(*id)
        })
    }

    fn gains_nothing(&self, plan: &Plan) -> bool {
        matches!(&self.state, State::Leading(leading)
            if leading.members == plan.members && !leading.outpromised && !plan.forced)
            && plan.donor == self.me()
            && self.log.configuration() == Some(&plan.configuration)
    }

    /// A live leader or candidate that somebody else knows of, and whether there is evidence here that it is gone.
    fn other_leader(&self, standings: &BTreeMap<ReplicaId, Standing>) -> Option<(Epoch, bool)> {
        let newest = self
            .log
            .newest()
            .map(|(epoch, _)| epoch)
            .unwrap_or_default();
        standings
            .values()
            .filter_map(|standing| standing.leader)
            .filter(|epoch| epoch.replica != self.me() && *epoch >= newest)
            // This one would not follow it, so nothing comes of waiting.
            .filter(|epoch| !self.is_removed(*epoch) || self.is_outdone(*epoch))
            .max()
            .map(|epoch| {
                let gone = self
                    .peers
                    .get(&epoch.replica)
                    .is_some_and(|peer| peer.refused);
                (epoch, gone)
            })
    }

    /// What it waits for while another leads: with too old a program in vain.
    fn waiting_for_leader(
        &self,
        epoch: Epoch,
        standings: &BTreeMap<ReplicaId, Standing>,
    ) -> Waiting {
        let known = self.apply_version;
        let newest = newest_start(standings, self.broken);
        let needed = newest.map_or(0, |(_, start)| start.apply_version);
        match needed > known {
            true => Waiting::Upgrade { needed, known },
            false => Waiting::Leader(epoch),
        }
    }

    pub(super) fn judge(
        &self,
        standings: &BTreeMap<ReplicaId, Standing>,
        named: Option<&[ReplicaId]>,
        change: Option<&Change>,
        forced: bool,
        since: Option<u64>,
    ) -> Verdict {
        // A leader has met another branch, and waits as long as if it led nobody.
        let waits_since = match self.state {
            State::Leading(_) => since,
            _ => self.leaderless_since.or(since),
        };
        let grace_over = waits_since
            .is_some_and(|since| self.now - since > self.settings.recovery_grace)
            || self.is_broken(Mutation::NeverWaits);
        judge(&Case {
            me: self.me(),
            standings,
            seeds: &self.seeds,
            suspected: &self.suspected(),
            lagging: &self.lagging(),
            grace_over,
            catch_up_limit: self.settings.catch_up_limit,
            state_base: self.state_base(),
            named,
            change,
            forced,
            mode: self.settings.mode,
            broken: self.broken,
        })
    }

    /// The leader is gone or was never there: sets when to ask around. The preferred replica asks at once if everybody
    /// who is missing is known to be gone; the more are merely silent the longer it waits, so that of two sides of a
    /// partition the larger one goes first.
    pub(super) fn schedule_ballot(&mut self) {
        let silent = self.silent_count() * self.settings.ballot;
        let wait = self.rank() * self.settings.stagger + silent;
        let jitter = if wait == 0 {
            0
        } else {
            self.jitter(self.settings.stagger)
        };
        self.next_ballot = self.now + wait + jitter;
        if self.next_ballot == self.now {
            self.begin_ballot(None, 0);
        }
    }

    /// Some ticks, at least one and at most `most`.
    pub(super) fn jitter(&self, most: u64) -> u64 {
        1 + (self.random >> 8).wrapping_add(self.now) % most.max(1)
    }
}
