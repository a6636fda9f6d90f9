//! Whether a view may start, and with whom.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::membership::Change;
use super::{Mutation, Seed};
use crate::message::Standing;
use crate::types::{Configuration, Epoch, Index, Member, Mode, ReplicaId, StoreUuid, ViewStart};

/// All that the decision depends on.
pub(super) struct Case<'a> {
    pub(super) me: ReplicaId,
    /// Who answered and from where, the asker included.
    pub(super) standings: &'a BTreeMap<ReplicaId, Standing>,
    pub(super) seeds: &'a [Seed],
    /// Believed dead.
    pub(super) suspected: &'a BTreeSet<ReplicaId>,
    /// Alive, but too slow to be a member.
    pub(super) lagging: &'a BTreeSet<ReplicaId>,
    /// Whether the replica has been without a leader for longer than the recovery grace.
    pub(super) grace_over: bool,
    pub(super) catch_up_limit: u64,
    /// Cut to below this index, the log does not rebuild the asker's state any more.
    pub(super) state_base: Index,
    /// Once promises were asked for: the members that were named.
    pub(super) named: Option<&'a [ReplicaId]>,
    /// What the view is to change in the configuration.
    pub(super) change: Option<&'a Change>,
    /// An operator wants to go on with whoever is there.
    pub(super) forced: bool,
    /// What views of a new cluster need.
    pub(super) mode: Mode,
    pub(super) broken: Option<Mutation>,
}

impl Case<'_> {
    fn is_broken(&self, mutation: Mutation) -> bool {
        self.broken == Some(mutation)
    }

    /// Those who answered and have a vote in a configuration.
    fn voters_in(&self, configuration: &Configuration) -> BTreeMap<ReplicaId, &Standing> {
        let votes = |id: &ReplicaId, standing: &Standing| {
            configuration.votes(*id, standing.store)
                || self.is_broken(Mutation::WipedDiskVotes) && configuration.member(*id).is_some()
                || self.is_broken(Mutation::RemovedLeads)
                    && configuration.has_removed(standing.store)
        };
        self.standings
            .iter()
            .filter(|(id, standing)| votes(id, standing))
            .map(|(id, standing)| (*id, standing))
            .collect()
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Go(Plan),
    Wait(Waiting),
}

/// A view that may start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Plan {
    pub(super) members: Vec<ReplicaId>,
    pub(super) configuration: Configuration,
    pub(super) forced: bool,
    /// The replica with the newest log; the asker itself where it has that one too.
    pub(super) donor: ReplicaId,
}

/// What a replica without a leader waits for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Waiting {
    /// Replicas that are not suspected have not answered yet.
    Answers(Vec<ReplicaId>),
    /// A new cluster begins when all its replicas are there.
    Seeds(Vec<ReplicaId>),
    /// The replica with the lowest id begins a new cluster.
    Lowest(ReplicaId),
    /// All are empty, and one of them has promised this epoch to somebody else: there is a cluster already.
    Begun(Epoch),
    /// Members of the last view may hold newer commands.
    Members {
        /// The view.
        view: Epoch,
        /// Who is missing.
        missing: Vec<ReplicaId>,
    },
    /// More than half of the replicas are needed.
    Majority {
        /// Who is missing.
        missing: Vec<ReplicaId>,
    },
    /// To be one more takes all that there are.
    Everybody {
        /// Who is missing.
        missing: Vec<ReplicaId>,
    },
    /// The cluster does not know this replica.
    NoMember,
    /// The cluster has removed this replica.
    Removed,
    /// The cluster has removed this replica because it was away for long, and adds it again.
    Returning,
    /// This disk has no vote in the cluster's configuration.
    NoVote,
    /// This replica misses too much to be a member.
    Behind,
    /// This replica has lost its state, and needs another one's.
    State {
        /// What was damaged of it, where it was not just missing.
        damage: Option<String>,
        /// The log holds all of it, and rebuilds it.
        rebuilds: bool,
        /// Somebody leads, and gives it a snapshot.
        led: bool,
    },
    /// Entries of the log are damaged, and nobody who is there has them. The state has what they did.
    Damaged {
        /// The first of them.
        first: Index,
        /// The last of them.
        last: Index,
    },
    /// The newest log is damaged, and what is damaged of it has to be mended first.
    Mending {
        /// Whose log it is.
        replica: ReplicaId,
        /// The last damaged entry.
        last: Index,
    },
    /// Somebody else leads or is about to.
    Leader(Epoch),
    /// The log is applied by rules that this replica's software does not know yet.
    Upgrade {
        /// The version of the rules.
        needed: u32,
        /// The newest that it knows.
        known: u32,
    },
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waiting::Answers(ids) => write!(f, "waiting for replicas {} to answer", Ids(ids)),
            Waiting::Seeds(ids) => {
                write!(
                    f,
                    "a new cluster begins when all its replicas are up; waiting for {}",
                    Ids(ids)
                )
            }
            Waiting::Lowest(id) => write!(f, "waiting for replica {id} to begin the new cluster"),
            Waiting::Begun(epoch) => write!(
                f,
                "all known replicas are empty, but replica {} has led a cluster in {epoch}; start it, or begin anew with \
                 empty data folders everywhere",
                epoch.replica
            ),
            Waiting::Members { view, missing } => write!(
                f,
                "waiting for replicas {}, which were in view {view} and may hold newer messages; start them, or wait for \
                 the recovery grace to end; if they are lost for good, `chat-server force-view --id N` lets replica N go on \
                 without them at once",
                Ids(missing)
            ),
            Waiting::Majority { missing } => write!(
                f,
                "waiting for a majority; start one of the replicas {}; if they are lost for good, `chat-server force-view --id N` \
                 lets replica N go on without them",
                Ids(missing)
            ),
            Waiting::Everybody { missing } => write!(
                f,
                "a replica is added once all are there; start replicas {}, or remove them first",
                Ids(missing)
            ),
            Waiting::NoMember => write!(
                f,
                "the cluster does not know this replica; add it with `chat-server replica add`"
            ),
            Waiting::Removed => write!(
                f,
                "this replica was removed from the cluster; stop it, or add it again with an empty data folder"
            ),
            Waiting::Returning => write!(
                f,
                "this replica was away for too long, so that the others went on without it; it hands over what only it \
                 has, and is added again by itself"
            ),
            Waiting::NoVote => write!(
                f,
                "this data folder is not the one that the cluster knows this replica by; waiting for the leader to \
                 take it in"
            ),
            Waiting::State {
                damage,
                rebuilds,
                led,
            } => {
                match damage {
                    Some(damage) => write!(f, "its state was damaged ({damage}) and is set aside")?,
                    None => write!(f, "the state is lost and the log does not hold all of it")?,
                }
                match (rebuilds, led) {
                    (true, _) => write!(f, "; wait, it is made again from the log"),
                    (false, true) => write!(
                        f,
                        "; wait, it takes a snapshot from the leader and comes back by itself"
                    ),
                    (false, false) => write!(
                        f,
                        "; start the other replicas, of which one that leads gives it a snapshot; if none of them has a \
                         state any more, restore a backup"
                    ),
                }
            }
            Waiting::Behind => write!(f, "waiting for a replica with newer messages to lead"),
            Waiting::Damaged { first, last } => write!(
                f,
                "entries {first} to {last} of its log are damaged, and no other replica that is up has them; start all the \
                 others; its state has what they did, so that nothing is missing while its data folder is whole"
            ),
            Waiting::Mending { replica, last } => write!(
                f,
                "entries up to {last} of the log of replica {replica}, the newest, are damaged, and it waits for another \
                 replica to give it whole ones; start all the others; if those entries are lost everywhere, \
                 `chat-server force-view --id {replica}` goes on without them"
            ),
            Waiting::Leader(epoch) => write!(f, "waiting to hear from the leader of {epoch}"),
            Waiting::Upgrade { needed, known } => write!(
                f,
                "the others apply commands by version {needed}, and this program knows no later one than {known}; start a \
                 newer program on this data folder"
            ),
        }
    }
}

struct Ids<'a>(&'a [ReplicaId]);

impl fmt::Display for Ids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, id) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{id}")?;
        }
        Ok(())
    }
}

/// The view start that the history begins with which is gone on from, and its epoch: the newest that anybody's log holds,
/// unless another's has to stay.
pub(super) fn newest_start(
    standings: &BTreeMap<ReplicaId, Standing>,
    broken: Option<Mutation>,
) -> Option<(Epoch, &ViewStart)> {
    standings
        .values()
        .filter_map(|standing| Some((standing, standing.newest.as_ref()?)))
        .max_by(|(one, _), (other, _)| precedence(standings, one, other, broken))
        .map(|(standing, start)| (standing.branches.last().epoch, start))
}

/// Of two logs the newer one is gone on from. But one of which entries were dropped that the other lacks has to stay,
/// however new the other is: nobody could hand over what it has dropped. Where both have, the one that dropped last has
/// from one of its disks what the other had dropped before. Whoever had no say in it where its log ends has dropped nothing
/// for the others: it took a snapshot in place of what they hold. A log is all that are on its side of the fork, whichever of
/// them is asked: not all of them have dropped as much. Nor does what a removed replica dropped count once all that could
/// lead on its side are on the other, where what they had is their orphans, or have lost their disk or their state.
fn precedence(
    standings: &BTreeMap<ReplicaId, Standing>,
    one: &Standing,
    other: &Standing,
    broken: Option<Mutation>,
) -> Ordering {
    let newer = one.branches.last().cmp(&other.branches.last());
    let by_majority = |standing: &Standing| {
        let newest = standing.newest.as_ref();
        newest.is_none_or(|start| start.configuration.mode == Mode::Consistent)
    };
    if by_majority(one) || by_majority(other) || broken == Some(Mutation::NewerAlwaysStays) {
        return newer;
    }
    let common = one.branches.common_ancestor(&other.branches).index;
    let same_side = |one: &Standing, other: &Standing| {
        one.branches.common_ancestor(&other.branches).index > common
    };
    let dropped = |side: &Standing| {
        standings.values().any(|standing| {
            let newest = standing.newest.as_ref();
            let dropped = |start: &ViewStart| {
                let known = &start.configuration;
                // One whose log does not go back to the beginning cannot rebuild its state.
                let may_lead = |member: &Member| {
                    let answered = standings.get(&member.id);
                    let is_here =
                        |it: &Standing| it.store == member.store && same_side(it, standing);
                    let has_state = |it: &Standing| !it.state_lost || it.compacted == 0;
                    answered.is_none_or(|it| is_here(it) && has_state(it))
                };
                known.may_have_dropped(standing.store, &standing.branches, common)
                    && known.members.iter().any(may_lead)
            };
            newest.is_some_and(dropped) && standing.compacted > common && same_side(side, standing)
        })
    };
    match (dropped(one), dropped(other)) {
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (true, true) => {
            let dropped = |side: &Standing| side.branches.dropped_behind(common);
            dropped(one).cmp(&dropped(other)).then(newer)
        }
        (false, false) => newer,
    }
}

/// Decides from answers, and again from promises.
///
/// Let W be the newest view start among the answers. Going on without members of W is allowed (a) to one who is in W, or
/// has the promise of one who is, when the missing are suspected: whoever started a newer view needed the promise of a
/// member of W, and a promise to a view that does not name the promiser ends its being in W. Or (b), restarted or not,
/// when nobody of W is missing, nor the leader of a view that somebody promised since. A new view shares a member with W,
/// which has promised it, so that (b) cannot overlook a view newer than W.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    match newest_start(case.standings, case.broken) {
        Some(history) => judge_in(case, history, false),
        None => bootstrap(case),
    }
}

/// Decides in the history of a view start; `keeps_own` where that is the asker's own, though another one has precedence.
fn judge_in(case: &Case<'_>, (view, start): (Epoch, &ViewStart), keeps_own: bool) -> Verdict {
    let configuration = &start.configuration;
    let target = match case.change {
        Some(change) => change.applied_to(configuration),
        None => configuration.clone(),
    };
    let voters = case.voters_in(configuration);
    if !voters.contains_key(&case.me) {
        return Verdict::Wait(voteless(case, configuration));
    }
    // Whoever answers with another disk has lost the one that had the vote.
    let lost_its_disk = |id: &ReplicaId| {
        let answered = case.standings.get(id);
        answered.is_some_and(|standing| !configuration.votes(*id, standing.store))
    };
    let given_up = |id: &ReplicaId| {
        case.suspected.contains(id) || case.lagging.contains(id) || lost_its_disk(id)
    };
    let unanswered: Vec<ReplicaId> = configuration
        .members
        .iter()
        .map(|member| member.id)
        .filter(|id| !case.standings.contains_key(id) && !given_up(id))
        .collect();
    // A promise is needed from those only whom the rules below name.
    if case.named.is_none() && !unanswered.is_empty() {
        return Verdict::Wait(Waiting::Answers(unanswered));
    }

    let mine = &case.standings[&case.me];
    // Damaged entries are as good as gone: they cannot be given to others, nor kept as orphans if they are cut.
    let unusable = |standing: &Standing| standing.compacted.max(standing.damaged);
    let serves_me = |standing: &Standing| {
        standing.branches.common_ancestor(&mine.branches).index >= unusable(standing)
    };
    // Of logs that are as new, one that is whole where it matters. No other is taken by an operator who goes on whatever is
    // lost; nor where those that are whole are a majority, one of which then has whatever was committed.
    let whole = voters.iter().filter(|(_, standing)| serves_me(standing));
    let are_enough = configuration.mode == Mode::Consistent
        && configuration.is_majority(whole.map(|(id, _)| *id));
    let takes_whole = case.forced || are_enough;
    let (donor, newest_log) = voters
        .iter()
        .filter(|(id, standing)| match keeps_own {
            true => **id == case.me,
            false => !takes_whole || serves_me(standing),
        })
        .max_by(|(id, one), (_, other)| {
            let tie = || match **id == case.me {
                true => Ordering::Greater,
                false => Ordering::Less,
            };
            let whole = || serves_me(one).cmp(&serves_me(other));
            precedence(case.standings, one, other, case.broken)
                .then_with(whole)
                .then_with(tie)
        })
        .map(|(id, standing)| (*id, &standing.branches))
        .expect("the asker has a vote, and what it holds it has");
    // Whoever goes on without what is damaged in the newest log loses it.
    let newest = &case.standings[&donor];
    let is_damaged = newest.damaged > newest.compacted && !serves_me(newest);
    if is_damaged || mine.mends {
        let (replica, last) = match is_damaged {
            true => (donor, newest.damaged),
            false => (case.me, mine.damaged),
        };
        return Verdict::Wait(Waiting::Mending { replica, last });
    }
    // Versions only grow along a log, and whoever cannot apply all of it can serve nobody.
    let newest_start = case.standings[&donor].newest.as_ref();
    let needed = newest_start.map_or(0, |start| start.apply_version);
    let knows = |standing: &Standing| {
        standing.apply_version >= needed || case.is_broken(Mutation::OldVersionJoins)
    };
    let too_old = Verdict::Wait(Waiting::Upgrade {
        needed,
        known: mine.apply_version,
    });
    // A leader without a state would serve nobody, and the next one that takes that log would lose its own. Whoever led
    // the newest log has its state; only if that one does not come is another branch gone on from.
    let kept = newest_log.common_ancestor(&mine.branches).index;
    if kept < case.state_base && !keeps_own {
        // Who holds that log, with a state, leads once its own grace is over: to go on beside it would only put that off.
        let newest_leads = donor != case.me && !newest.state_lost && !newest.mends && knows(newest);
        let waited = case.grace_over && configuration.mode == Mode::Available && !newest_leads;
        return match &mine.newest {
            // With its own log goes its own configuration.
            Some(own) if waited || case.forced => {
                judge_in(case, (mine.branches.last().epoch, own), true)
            }
            _ if !knows(mine) => too_old,
            _ => Verdict::Wait(Waiting::Behind),
        };
    }
    if !knows(mine) {
        return too_old;
    }
    let in_view = |standing: &Standing| standing.in_view == Some(view);
    let gone = unusable(&case.standings[&donor]);
    let common = |standing: &Standing| newest_log.common_ancestor(&standing.branches).index;
    // Whoever lacks entries that are gone, or would have to cut below what is gone, needs a snapshot.
    let by_log = |standing: &Standing| common(standing) >= gone.max(unusable(standing));
    let near = |standing: &Standing| {
        newest_log.last_index() - common(standing) <= case.catch_up_limit && by_log(standing)
    };
    // Somebody nearer should lead. If nobody has, because all of them have lost their state, say, a long way is better than
    // none.
    let may_catch_up = case.grace_over && by_log(mine);
    // With the one that is about to join, without the one that is about to leave.
    let mut candidates = case.voters_in(&target);
    candidates.retain(|_, standing| knows(standing));
    let mut members: Vec<ReplicaId> = match case.named {
        Some(named) => named.to_vec(),
        None => candidates
            .iter()
            .filter(|(id, standing)| {
                !case.lagging.contains(id)
                    && !standing.state_lost
                    && !standing.mends
                    && (in_view(standing) || near(standing) || **id == case.me && may_catch_up)
            })
            .map(|(id, _)| *id)
            .collect(),
    };
    if configuration.mode == Mode::Consistent && !target.is_majority(members.iter().copied()) {
        // Slow ones are better than no majority.
        members = candidates.keys().copied().collect();
    }
    // The configuration counts on whoever joins from now on, so its own log says so from the first: it may be the last one
    // that is left.
    if let Some(Change::Join(member)) = case.change
        && !members.contains(&member.id)
    {
        return Verdict::Wait(Waiting::Answers(vec![member.id]));
    }
    if !members.contains(&case.me) || !by_log(&case.standings[&case.me]) {
        return Verdict::Wait(Waiting::Behind);
    }
    let unpromised: Vec<ReplicaId> = members
        .iter()
        .copied()
        .filter(|id| !candidates.contains_key(id))
        .collect();
    if !unpromised.is_empty() {
        return Verdict::Wait(Waiting::Answers(unpromised));
    }

    if configuration.mode == Mode::Consistent {
        return judge_by_majority(case, &voters, configuration, target, members, donor);
    }

    // Whoever is on the other side of a partition goes on with the replicas that it knows, and drops what all of those
    // have. One more that only this side knows might come with a branch from before.
    let absent: Vec<ReplicaId> = case
        .change
        .map(|change| change.needs(configuration))
        .unwrap_or_default()
        .into_iter()
        .filter(|id| !voters.contains_key(id))
        .collect();
    if !absent.is_empty() && !case.forced {
        return Verdict::Wait(Waiting::Everybody { missing: absent });
    }

    let missing: Vec<ReplicaId> = start
        .members
        .iter()
        .copied()
        .filter(|id| !voters.contains_key(id))
        .collect();
    // One that is merely slow is left out only with its promise: else it would believe to be in the view, and go on from
    // there once the others are gone.
    let dead = |id: &ReplicaId| case.suspected.contains(id) || lost_its_disk(id);
    let witnessed = voters.values().any(|standing| in_view(standing)) && missing.iter().all(dead);
    // Who promised a newer view may not know whether it started. Its leader does, as it was the first to write it down.
    let has_told = |promised: &Epoch| {
        let leader = case.standings.get(&promised.replica);
        voters.contains_key(&promised.replica)
            || leader.is_some_and(|leader| leader.store == promised.store)
    };
    let unknown: Vec<ReplicaId> = voters
        .values()
        .map(|standing| standing.promised)
        .filter(|promised| *promised > view && !has_told(promised))
        .map(|promised| promised.replica)
        .collect();
    let complete = missing.is_empty() && (unknown.is_empty() || case.named.is_some());
    let overlaps = members
        .iter()
        .any(|id| start.members.contains(id) && voters.contains_key(id));
    let allowed = (witnessed || complete) && overlaps;
    if !allowed && !case.grace_over && !case.forced {
        let missing = missing.into_iter().chain(unknown).collect::<BTreeSet<_>>();
        let missing = missing.into_iter().collect();
        return Verdict::Wait(Waiting::Members { view, missing });
    }
    Verdict::Go(Plan {
        members,
        configuration: target,
        forced: !allowed || keeps_own,
        donor,
    })
}

/// Any two majorities share a replica. So among those who promised there is one that has whatever was committed, and the
/// greatest log among them holds it; and whoever led before no longer has a majority that acknowledges. Of two
/// configurations that follow each other, both must agree. Of the one before, half is enough to acknowledge, as every
/// majority that might promise to somebody else shares a replica with it: so one of two can be removed.
fn judge_by_majority(
    case: &Case<'_>,
    voters: &BTreeMap<ReplicaId, &Standing>,
    configuration: &Configuration,
    target: Configuration,
    members: Vec<ReplicaId>,
    donor: ReplicaId,
) -> Verdict {
    let promised = || case.standings.iter();
    let old = configuration.is_majority(voters.keys().copied())
        && configuration.is_half(members.iter().copied().filter(|id| voters.contains_key(id)));
    let new = target.is_majority(
        promised()
            .filter(|(id, standing)| target.votes(**id, standing.store))
            .map(|(id, _)| *id),
    ) && target.is_majority(members.iter().copied());
    let allowed = old && new || case.is_broken(Mutation::MinorityIsEnough);
    if !allowed && !case.forced {
        // Also those that are there, and know no version of the rules that is new enough.
        let takes_part = |id: &ReplicaId| voters.contains_key(id) && members.contains(id);
        let missing = configuration
            .members
            .iter()
            .map(|member| member.id)
            .filter(|id| !takes_part(id))
            .collect();
        return Verdict::Wait(Waiting::Majority { missing });
    }
    Verdict::Go(Plan {
        members,
        configuration: target,
        forced: !allowed,
        donor,
    })
}

/// What a removed disk waits for.
pub(super) fn removed(configuration: &Configuration, store: StoreUuid) -> Waiting {
    match configuration.returns(store) {
        true => Waiting::Returning,
        false => Waiting::Removed,
    }
}

fn voteless(case: &Case<'_>, configuration: &Configuration) -> Waiting {
    let store = case.standings[&case.me].store;
    if configuration.has_removed(store) {
        removed(configuration, store)
    } else if configuration.member(case.me).is_some() {
        Waiting::NoVote
    } else {
        Waiting::NoMember
    }
}

/// A cluster without any history begins when all its replicas have answered, all empty: the lowest gathers their disks.
fn bootstrap(case: &Case<'_>) -> Verdict {
    let absent: Vec<ReplicaId> = case
        .seeds
        .iter()
        .map(|seed| seed.id)
        .filter(|id| !case.standings.contains_key(id))
        .collect();
    if !absent.is_empty() {
        return Verdict::Wait(Waiting::Seeds(absent));
    }
    // A disk is empty as well when it has taken the place of one that was lost. Whoever died while it began a cluster has
    // promised itself, or another of these.
    let known = |promised: &Epoch| {
        let by = case.standings.get(&promised.replica);
        *promised == Epoch::default() || by.is_some_and(|by| by.store == promised.store)
    };
    let promised = case.standings.values().map(|standing| standing.promised);
    if let Some(begun) = promised.into_iter().find(|promised| !known(promised)) {
        return Verdict::Wait(Waiting::Begun(begun));
    }
    let lowest = case
        .seeds
        .iter()
        .map(|seed| seed.id)
        .min()
        .unwrap_or(case.me);
    if lowest != case.me {
        return Verdict::Wait(Waiting::Lowest(lowest));
    }
    let mut members: Vec<Member> = case
        .seeds
        .iter()
        .map(|seed| Member {
            id: seed.id,
            store: case.standings[&seed.id].store,
            peer_address: seed.peer_address.clone(),
            client_address: seed.client_address.clone(),
        })
        .collect();
    members.sort_by_key(|member| member.id);
    let ids = members.iter().map(|member| member.id).collect();
    let mut configuration = Configuration {
        members,
        mode: case.mode,
        ..Configuration::default()
    };
    configuration.base = configuration.disks();
    Verdict::Go(Plan {
        members: ids,
        configuration,
        forced: false,
        donor: case.me,
    })
}

#[cfg(test)]
mod tests;
