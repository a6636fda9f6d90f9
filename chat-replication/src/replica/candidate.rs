//! From the decision to start a view to its first entry: promises, then the newest log.
//!
//! Prepare names the members, and the view starts with exactly those or not at all. So a replica that promised a view
//! without itself knows that it is out, and one that promised a view with itself knows that nothing can be acknowledged
//! there without it: should the candidate die, it is still in the view that it was in.

use std::collections::{BTreeMap, BTreeSet};

use super::ballot::Ballot;
use super::judge::{Plan, Verdict, newest_start};
use super::membership::Change;
use super::progress::Progress;
use super::state::{Leading, State};
use super::{Mutation, Note, Outgoing, Replica};
use crate::branch::BranchTable;
use crate::message::{Message, Standing};
use crate::types::{
    Configuration, Entry, Epoch, Index, Payload, Position, ReplicaId, StoreUuid, ViewStart,
};

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Candidate {
    pub(super) epoch: Epoch,
    pub(super) members: Vec<ReplicaId>,
    /// It led before, and only changes its view.
    pub(super) led: bool,
    /// Who answered the ballot, this replica excluded: asked for a promise, members to be or not.
    asked: BTreeSet<ReplicaId>,
    /// Whose promise counts for the decision.
    awaited: Vec<ReplicaId>,
    ticket: Option<Epoch>,
    hold: u64,
    change: Option<Change>,
    forced: bool,
    /// When the ballot began.
    balloted: u64,
    promises: BTreeMap<ReplicaId, Standing>,
    /// When it began, or got another piece of the log.
    since: u64,
    ask_again: u64,
    next_heartbeat: u64,
    catching_up: Option<CatchingUp>,
}

/// All promises are there; the donor's log is on its way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct CatchingUp {
    donor: ReplicaId,
    branches: BranchTable,
    configuration: Configuration,
    forced: bool,
    ask_again: u64,
}

impl Candidate {
    /// For how many ticks it has been gathering.
    pub(super) fn waiting_for(&self, now: u64) -> u64 {
        now - self.since
    }

    /// Whether it asked this one for its promise.
    pub(super) fn asked(&self, id: ReplicaId) -> bool {
        self.asked.contains(&id)
    }

    pub(super) fn needs(&self, id: ReplicaId) -> bool {
        self.members.contains(&id) || self.awaited.contains(&id)
    }
}

impl Replica {
    /// Promises itself the epoch and asks the others to.
    pub(super) fn stand(&mut self, ballot: Ballot, plan: Plan) {
        let answers = ballot.standings.len() as u64;
        let promised = ballot
            .standings
            .values()
            .map(|standing| standing.promised.number)
            .fold(self.seen_number.max(self.log.promised.number), u64::max);
        let epoch = Epoch {
            number: promised.saturating_add(answers),
            replica: self.me(),
            store: self.identity.store,
        };
        self.seen_number = epoch.number;
        let me = self.me();
        let asked: BTreeSet<ReplicaId> = ballot
            .standings
            .keys()
            .copied()
            .filter(|id| *id != me)
            .collect();
        let view = newest_start(&ballot.standings, self.broken)
            .map(|(_, start)| start.members.clone())
            .unwrap_or_default();
        let adds = match (&ballot.change, self.log.configuration()) {
            (Some(change), Some(known)) => change.needs(known),
            _ => Vec::new(),
        };
        let awaited: Vec<ReplicaId> = asked
            .iter()
            .copied()
            .filter(|id| plan.members.contains(id) || view.contains(id) || adds.contains(id))
            .collect();

        self.note(Note::Preparing {
            epoch,
            members: plan.members.clone(),
        });
        self.log.promise(epoch);
        self.waiting = None;
        let led = self.leads().is_some();
        let forced = self.force.is_some();
        if let State::Leading(leading) = std::mem::replace(&mut self.state, State::Seeking) {
            self.refuse_reads(&leading);
        }
        self.state = State::Candidate(Box::new(Candidate {
            epoch,
            members: plan.members,
            led,
            asked,
            awaited,
            ticket: ballot.ticket,
            hold: ballot.hold,
            change: ballot.change,
            forced,
            balloted: ballot.since,
            promises: BTreeMap::new(),
            since: self.now,
            ask_again: self.now + self.settings.ballot,
            next_heartbeat: self.now,
            catching_up: None,
        }));
        self.ask_for_promises();
        self.consider_promises();
    }

    fn ask_for_promises(&mut self) {
        let State::Candidate(candidate) = &self.state else {
            return;
        };
        let missing: Vec<(ReplicaId, Message)> = candidate
            .asked
            .iter()
            .filter(|id| !candidate.promises.contains_key(id))
            .map(|id| {
                let prepare = Message::Prepare {
                    epoch: candidate.epoch,
                    members: candidate.members.clone(),
                    ticket: candidate.ticket,
                };
                (*id, prepare)
            })
            .collect();
        for (id, prepare) in missing {
            if self.is_broken(Mutation::PrepareBeforeSync) {
                self.send(id, Outgoing::Message(prepare));
            } else {
                self.send_after(id, prepare);
            }
        }
    }

    pub(super) fn on_promise(&mut self, from: ReplicaId, epoch: Epoch, standing: Standing) {
        let State::Candidate(candidate) = &mut self.state else {
            return;
        };
        if candidate.epoch == epoch && candidate.asked(from) && candidate.catching_up.is_none() {
            candidate.promises.insert(from, standing);
            self.consider_promises();
        }
    }

    /// Goes on once everybody who matters has promised, and what they say with the promise still allows it.
    fn consider_promises(&mut self) {
        let own = self.standing();
        let me = self.me();
        let State::Candidate(candidate) = &self.state else {
            return;
        };
        let enough = if self.is_broken(Mutation::OnePromiseIsEnough) {
            candidate.awaited.is_empty() || !candidate.promises.is_empty()
        } else {
            candidate
                .awaited
                .iter()
                .all(|id| candidate.promises.contains_key(id))
        };
        if !enough {
            return;
        }
        let mut standings = candidate.promises.clone();
        standings.insert(me, own);
        let members = candidate.members.clone();
        let (change, forced) = (candidate.change.clone(), candidate.forced);
        let since = Some(candidate.balloted);
        let plan = match self.judge(&standings, Some(&members), change.as_ref(), forced, since) {
            Verdict::Go(plan) => plan,
            Verdict::Wait(_) => return self.abandon("what was promised does not allow it"),
        };
        let donor = if self.is_broken(Mutation::DonorByPromise) {
            // Whoever answers for the highest epoch, whatever its log holds.
            me
        } else {
            plan.donor
        };
        let branches = standings[&donor].branches.clone();
        let mut configuration = plan.configuration;
        // Who knows of the configuration as it is knows who decides from now on, once all do.
        let newest = newest_start(&standings, self.broken).map(|(_, start)| &start.configuration);
        if newest.is_some_and(|before| before.members == configuration.members) {
            let knows = |standing: &&Standing| {
                let known = standing.newest.as_ref().map(|start| &start.configuration);
                known.is_some_and(|known| {
                    (&known.members, &known.removed)
                        == (&configuration.members, &configuration.removed)
                })
            };
            let known_to = standings.values().filter(knows);
            let known_to: BTreeSet<StoreUuid> = known_to.map(|standing| standing.store).collect();
            configuration.settle(&known_to);
        }
        configuration
            .absent
            .retain(|absent| absent.returns || !self.drained.contains(&absent.store));
        let away = self.away.iter().map(|(id, ticks)| (*id, *ticks));
        configuration.away = away
            .filter(|(id, _)| configuration.member(*id).is_some() && !members.contains(id))
            .collect();
        let now = self.now;
        let State::Candidate(candidate) = &mut self.state else {
            return;
        };
        candidate.catching_up = Some(CatchingUp {
            donor,
            branches,
            configuration,
            forced: plan.forced,
            ask_again: now,
        });
        self.catch_up();
    }

    /// Starts the view if the donor's whole log is here, else asks for what is missing.
    fn catch_up(&mut self) {
        let now = self.now;
        let retry = self.settings.ballot * 2;
        let base = self.state_base();
        let State::Candidate(candidate) = &mut self.state else {
            return;
        };
        let epoch = candidate.epoch;
        let Some(catching_up) = &mut candidate.catching_up else {
            return;
        };
        if self.log.branches.holds(catching_up.branches.last()) {
            return self.start_view();
        }
        // A checkpoint may have been made since the decision.
        let kept = self.log.branches.common_ancestor(&catching_up.branches);
        if kept.index < base {
            return self.abandon("the newest log would cost it its state");
        }
        if now >= catching_up.ask_again {
            catching_up.ask_again = now + retry;
            let donor = catching_up.donor;
            let after = self.log.branches.common_ancestor(&catching_up.branches);
            self.send_after(donor, Message::Fetch { epoch, after });
        }
    }

    pub(super) fn on_fetched(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        previous: Position,
        entries: Vec<Entry>,
        forced: Index,
    ) {
        let now = self.now;
        let State::Candidate(candidate) = &mut self.state else {
            return;
        };
        let Some(catching_up) = &mut candidate.catching_up else {
            return;
        };
        let expected = candidate.epoch == epoch && catching_up.donor == from;
        if !expected || !self.log.branches.holds(previous) {
            return;
        }
        // Only what the promise told of: nothing else is part of the decision.
        let target = catching_up.branches.clone();
        if entries.iter().any(|entry| !target.holds(entry.position)) || !self.log.can_take(&entries)
        {
            return;
        }
        // A log that comes in is worth waiting for, and the next piece is asked for when this one is there.
        let news = entries
            .last()
            .is_some_and(|entry| !self.log.branches.holds(entry.position));
        if news {
            candidate.since = now;
            catching_up.ask_again = now;
        }
        self.take_all(entries, forced);
        self.catch_up();
    }

    fn start_view(&mut self) {
        let State::Candidate(candidate) = std::mem::replace(&mut self.state, State::Seeking) else {
            return;
        };
        let Candidate {
            epoch,
            members,
            led,
            promises,
            catching_up,
            hold,
            ..
        } = *candidate;
        let Some(CatchingUp {
            configuration,
            forced,
            ..
        }) = catching_up
        else {
            return;
        };
        let apply_version = promises
            .iter()
            .filter(|(id, _)| members.contains(id))
            .map(|(_, standing)| standing.apply_version)
            .fold(self.apply_version, u32::min);
        // What is not in the log yet cannot have been verified, so the branches tell where to begin with each.
        let progress = promises
            .iter()
            .filter(|(id, standing)| {
                members.contains(id) && configuration.votes(**id, standing.store)
            })
            .map(|(id, standing)| {
                let ancestor = self.log.branches.common_ancestor(&standing.branches);
                let disk = (standing.store, true);
                (*id, Progress::from(disk, ancestor.index, self.now))
            })
            .collect();
        let start = self.log.last().index + 1;
        let payload = Payload::ViewStart(ViewStart {
            members: members.clone(),
            configuration,
            forced,
            apply_version,
        });
        self.log.append(Entry {
            position: Position {
                epoch,
                index: start,
            },
            payload,
        });
        self.meet_peers();
        self.state = State::Leading(Box::new(Leading {
            epoch,
            members,
            start,
            forced,
            led,
            established_at: None,
            since: self.now,
            progress,
            next_heartbeat: self.now,
            moved_at: self.now,
            handing_over: None,
            next_hand_over: self.now + hold,
            reproposed: Default::default(),
            outpromised: false,
            round: 0,
            reads: Vec::new(),
            retired: Default::default(),
            transfer: None,
        }));
    }

    pub(super) fn tick_candidate(&mut self) {
        let now = self.now;
        let State::Candidate(candidate) = &mut self.state else {
            return;
        };
        if now - candidate.since > self.settings.view_timeout {
            return self.abandon("it took too long");
        }
        let beat = now >= candidate.next_heartbeat;
        if beat {
            candidate.next_heartbeat = now + self.settings.heartbeat;
        }
        let again = now >= candidate.ask_again;
        if again {
            candidate.ask_again = now + self.settings.ballot;
        }
        let needed: Vec<ReplicaId> = candidate
            .members
            .iter()
            .chain(&candidate.awaited)
            .copied()
            .collect();
        if needed.iter().any(|id| self.suspects(*id)) {
            return self.abandon("a replica that it needs is gone");
        }
        if beat {
            self.send_heartbeats();
        }
        if again {
            self.ask_for_promises();
        }
        self.catch_up();
    }

    /// Gives up the epoch, tells those who promised it, and begins anew.
    pub(super) fn abandon(&mut self, why: &'static str) {
        let (epoch, told) = match &self.state {
            State::Candidate(candidate) => {
                (candidate.epoch, candidate.asked.iter().copied().collect())
            }
            State::Leading(leading) => (leading.epoch, leading.members.clone()),
            State::Seeking | State::Following(_) => return,
        };
        self.note(Note::Abandoned { epoch, why });
        self.tell_given_up(epoch, told);
        self.state = State::Seeking;
        self.ballot = None;
        self.leaderless_since.get_or_insert(self.now);
        self.stop_leading();
        self.next_ballot = self.now + self.jitter(self.settings.ballot) * (1 + self.rank());
    }

    /// Those who follow in an epoch need not wait until they miss its leader or candidate.
    pub(super) fn tell_given_up(&mut self, epoch: Epoch, followers: Vec<ReplicaId>) {
        let me = self.me();
        let promised = self.log.promised;
        for id in followers.into_iter().filter(|id| *id != me) {
            let refuse = Message::Refuse {
                epoch,
                promised,
                leader: None,
                leader_started: false,
            };
            self.send_after(id, refuse);
        }
    }
}
