use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::*;
use crate::branch::BranchTable;
use crate::types::{Index, Position, StoreUuid, ViewStart};

fn id(n: u32) -> ReplicaId {
    ReplicaId(n)
}

fn ids(ns: &[u32]) -> Vec<ReplicaId> {
    ns.iter().copied().map(ReplicaId).collect()
}

fn store(n: u32) -> StoreUuid {
    StoreUuid(Uuid::from_u128(u128::from(n) + 1))
}

fn epoch(number: u64, leader: u32) -> Epoch {
    Epoch {
        number,
        replica: id(leader),
        store: store(leader),
    }
}

fn cluster(replicas: u32) -> Configuration {
    let member = |n| Member {
        id: id(n),
        store: store(n),
        peer_address: format!("peer{n}"),
        client_address: format!("client{n}"),
    };
    Configuration {
        members: (0..replicas).map(member).collect(),
        mode: Mode::Available,
        ..Configuration::default()
    }
}

/// A replica of a cluster of three whose log ends with a view: its epoch, leader and members, and the log's last index.
struct Log(u64, u32, &'static [u32], Index);

fn standing(n: u32, Log(number, leader, members, last): Log) -> Standing {
    let mut branches = BranchTable::default();
    for index in 1..=last {
        branches.append(Position {
            epoch: epoch(number, leader),
            index,
        });
    }
    Standing {
        store: store(n),
        promised: epoch(number, leader),
        branches,
        compacted: 0,
        newest: Some(ViewStart {
            members: ids(members),
            configuration: cluster(3),
            forced: false,
            apply_version: 1,
        }),
        in_view: None,
        leader: None,
        apply_version: 1,
        state_lost: false,
        damaged: 0,
        mends: false,
    }
}

/// The same, and in that view.
fn in_view(n: u32, log: Log) -> Standing {
    let view = epoch(log.0, log.1);
    Standing {
        in_view: Some(view),
        ..standing(n, log)
    }
}

fn empty(n: u32) -> Standing {
    Standing {
        store: store(n),
        promised: Epoch::default(),
        branches: BranchTable::default(),
        compacted: 0,
        newest: None,
        in_view: None,
        leader: None,
        apply_version: 1,
        state_lost: false,
        damaged: 0,
        mends: false,
    }
}

#[derive(Default)]
struct Around {
    suspected: &'static [u32],
    lagging: &'static [u32],
    grace_over: bool,
    state_base: Index,
    change: Option<Change>,
}

/// What the first of these decides.
fn decide(standings: Vec<(u32, Standing)>, around: Around) -> Verdict {
    let me = id(standings[0].0);
    let standings: BTreeMap<ReplicaId, Standing> =
        standings.into_iter().map(|(n, s)| (id(n), s)).collect();
    let seeds: Vec<Seed> = cluster(3)
        .members
        .into_iter()
        .map(|member| Seed {
            id: member.id,
            peer_address: member.peer_address,
            client_address: member.client_address,
        })
        .collect();
    judge(&Case {
        me,
        standings: &standings,
        seeds: &seeds,
        suspected: &ids(around.suspected).into_iter().collect::<BTreeSet<_>>(),
        lagging: &ids(around.lagging).into_iter().collect::<BTreeSet<_>>(),
        grace_over: around.grace_over,
        catch_up_limit: 10,
        state_base: around.state_base,
        named: None,
        change: around.change.as_ref(),
        forced: false,
        mode: Mode::Available,
        broken: None,
    })
}

/// Members, donor and whether it is forced, of a view that may start.
fn goes(verdict: Verdict) -> (Vec<u32>, u32, bool) {
    match verdict {
        Verdict::Go(plan) => {
            let members = plan.members.iter().map(|member| member.0).collect();
            (members, plan.donor.0, plan.forced)
        }
        Verdict::Wait(waiting) => panic!("it waits: {waiting}"),
    }
}

fn waits(verdict: Verdict) -> Waiting {
    match verdict {
        Verdict::Wait(waiting) => waiting,
        Verdict::Go(plan) => panic!("it goes: {plan:?}"),
    }
}

const DEAD_0: Around = Around {
    suspected: &[0],
    lagging: &[],
    grace_over: false,
    state_base: 0,
    change: None,
};

#[test]
fn a_new_cluster_begins_when_all_are_there_and_the_lowest_begins_it() {
    let two = decide(vec![(0, empty(0)), (1, empty(1))], Around::default());
    assert_eq!(waits(two), Waiting::Seeds(ids(&[2])));
    let all = |first: u32| {
        let rest = (0..3).filter(|n| *n != first);
        let standings = std::iter::once(first).chain(rest).map(|n| (n, empty(n)));
        decide(standings.collect(), Around::default())
    };
    assert_eq!(waits(all(1)), Waiting::Lowest(id(0)));
    assert_eq!(goes(all(0)), (vec![0, 1, 2], 0, false));
}

#[test]
fn the_dead_leader_is_left_behind_by_one_who_was_in_its_view() {
    let log = || Log(3, 0, &[0, 1, 2], 5);
    let verdict = decide(vec![(1, in_view(1, log())), (2, in_view(2, log()))], DEAD_0);
    assert_eq!(goes(verdict), (vec![1, 2], 1, false));
    // One of the two is enough.
    let verdict = decide(
        vec![(1, standing(1, log())), (2, in_view(2, log()))],
        DEAD_0,
    );
    assert_eq!(goes(verdict), (vec![1, 2], 1, false));
}

#[test]
fn after_a_restart_of_everybody_all_of_the_last_view_must_be_there() {
    let log = || Log(3, 0, &[0, 1, 2], 5);
    let two = || vec![(1, standing(1, log())), (2, standing(2, log()))];
    let missing = Waiting::Members {
        view: epoch(3, 0),
        missing: ids(&[0]),
    };
    assert_eq!(waits(decide(two(), DEAD_0)), missing);
    let forced = Around {
        grace_over: true,
        ..DEAD_0
    };
    assert_eq!(goes(decide(two(), forced)), (vec![1, 2], 1, true));
    let all = vec![
        (1, standing(1, log())),
        (0, standing(0, log())),
        (2, standing(2, log())),
    ];
    assert_eq!(
        goes(decide(all, Around::default())),
        (vec![0, 1, 2], 1, false)
    );
}

#[test]
fn nobody_outside_the_last_view_starts_one_without_its_members() {
    // 2 was left behind in view 3, and views went on without it.
    let verdict = decide(
        vec![(2, standing(2, Log(5, 0, &[0, 1], 7)))],
        Around {
            suspected: &[0, 1],
            ..Around::default()
        },
    );
    let missing = Waiting::Members {
        view: epoch(5, 0),
        missing: ids(&[0, 1]),
    };
    assert_eq!(waits(verdict), missing);
}

#[test]
fn the_newest_log_is_the_donors_whatever_was_promised() {
    let mut behind = in_view(1, Log(3, 0, &[0, 1, 2], 4));
    behind.promised = epoch(9, 1);
    let ahead = in_view(2, Log(3, 0, &[0, 1, 2], 6));
    // Its epoch is this replica's own, so nobody else knows more of it.
    let (_, donor, _) = goes(decide(vec![(1, behind), (2, ahead)], DEAD_0));
    assert_eq!(donor, 2);
}

#[test]
fn a_promise_to_somebody_who_is_missing_may_hide_a_newer_view() {
    let log = || Log(3, 0, &[1, 2], 5);
    let mut promised = standing(2, log());
    promised.promised = epoch(7, 0);
    let verdict = decide(vec![(1, standing(1, log())), (2, promised)], DEAD_0);
    let missing = Waiting::Members {
        view: epoch(3, 0),
        missing: ids(&[0]),
    };
    assert_eq!(waits(verdict), missing);
}

#[test]
fn whoever_may_still_answer_is_waited_for() {
    let log = Log(3, 0, &[0, 1, 2], 5);
    let verdict = decide(vec![(1, in_view(1, log))], DEAD_0);
    assert_eq!(waits(verdict), Waiting::Answers(ids(&[2])));
}

#[test]
fn one_far_behind_is_no_member_and_does_not_start_a_view() {
    let near = || in_view(1, Log(3, 0, &[0, 1], 50));
    let far = || standing(2, Log(3, 0, &[0, 1], 39));
    let (members, _, _) = goes(decide(vec![(1, near()), (2, far())], DEAD_0));
    assert_eq!(members, [1]);
    assert_eq!(
        waits(decide(vec![(2, far()), (1, near())], DEAD_0)),
        Waiting::Behind
    );
}

#[test]
fn one_that_lags_is_left_out_though_it_is_alive() {
    let log = || Log(3, 0, &[0, 1, 2], 5);
    let standings = vec![
        (0, in_view(0, log())),
        (1, in_view(1, log())),
        (2, in_view(2, log())),
    ];
    let around = Around {
        lagging: &[2],
        ..Around::default()
    };
    assert_eq!(goes(decide(standings, around)), (vec![0, 1], 0, false));
}

#[test]
fn another_disk_under_a_known_id_has_no_vote() {
    let log = || Log(3, 0, &[0, 1, 2], 5);
    let mut swapped = standing(1, log());
    swapped.store = store(77);
    let verdict = decide(vec![(1, swapped.clone()), (2, standing(2, log()))], DEAD_0);
    assert_eq!(waits(verdict), Waiting::NoVote);
    let verdict = decide(vec![(2, standing(2, log())), (1, swapped)], DEAD_0);
    let missing = Waiting::Members {
        view: epoch(3, 0),
        missing: ids(&[0, 1]),
    };
    assert_eq!(waits(verdict), missing);
}

/// Nobody is a member who cannot apply the newest log, and nobody starts a view that it cannot apply.
#[test]
fn software_that_is_too_old_is_no_member() {
    let view = || Log(3, 0, &[0, 1, 2], 7);
    let newer = |n| {
        let mut standing = in_view(n, view());
        standing.apply_version = 2;
        if let Some(start) = &mut standing.newest {
            start.apply_version = 2;
        }
        standing
    };
    let older = |n| in_view(n, Log(2, 0, &[0, 1, 2], 6));
    let verdict = decide(
        vec![(0, newer(0)), (1, newer(1)), (2, older(2))],
        Around::default(),
    );
    assert_eq!(goes(verdict), (vec![0, 1], 0, false));
    let verdict = decide(
        vec![(2, older(2)), (0, newer(0)), (1, newer(1))],
        Around::default(),
    );
    let expected = Waiting::Upgrade {
        needed: 2,
        known: 1,
    };
    assert_eq!(waits(verdict), expected);
    // Also where that log would cost it its state: nobody else there can lead, so its own program is what to mend.
    let verdict = decide(
        vec![(2, older(2)), (0, newer(0)), (1, older(1))],
        Around {
            state_base: 5,
            ..Around::default()
        },
    );
    assert_eq!(waits(verdict), expected);
}

/// A log that would cost the asker its state is not taken while whoever led it may come; after that its own is gone on
/// from, unless somebody is there who has that log and its state, and leads once it has waited as long.
#[test]
fn nobody_leads_without_a_state() {
    let branches = |state_lost| {
        let other = Standing {
            state_lost,
            ..in_view(1, Log(4, 2, &[1, 2], 9))
        };
        vec![(0, in_view(0, Log(3, 0, &[0], 7))), (1, other)]
    };
    let around = |grace_over, state_base| Around {
        suspected: &[2],
        grace_over,
        state_base,
        ..Around::default()
    };
    assert_eq!(goes(decide(branches(false), around(false, 0))).1, 1);
    let behind = Verdict::Wait(Waiting::Behind);
    assert_eq!(decide(branches(true), around(false, 5)), behind);
    assert_eq!(decide(branches(false), around(true, 5)), behind);
    let (_, donor, forced) = goes(decide(branches(true), around(true, 5)));
    assert_eq!((donor, forced), (0, true));
}

/// Whom the log that is gone on from has removed stays removed, though a newer log knows nothing of it.
#[test]
fn with_its_own_log_a_replica_goes_on_in_its_own_configuration() {
    let mut own = in_view(0, Log(3, 0, &[0], 7));
    let start = own.newest.as_mut().expect("a view has started");
    start.configuration = cluster(2);
    let mut newer = in_view(1, Log(4, 2, &[1, 2], 9));
    newer.state_lost = true;
    let around = Around {
        suspected: &[2],
        grace_over: true,
        state_base: 5,
        ..Around::default()
    };
    match decide(vec![(0, own), (1, newer)], around) {
        Verdict::Go(plan) => assert_eq!((plan.configuration, plan.donor), (cluster(2), id(0))),
        Verdict::Wait(waiting) => panic!("it waits: {waiting}"),
    }
}

/// Empty disks begin a cluster, unless one of them has promised an epoch to a replica, or a disk, that is not among them.
#[test]
fn empty_disks_in_the_place_of_lost_ones_begin_nothing() {
    let promised = |to: Epoch| {
        let mut second = empty(1);
        second.promised = to;
        decide(
            vec![(0, empty(0)), (1, second), (2, empty(2))],
            Around::default(),
        )
    };
    assert_eq!(goes(promised(Epoch::default())).0, vec![0, 1, 2]);
    assert_eq!(goes(promised(epoch(2, 0))).0, vec![0, 1, 2]);
    let lost = Epoch {
        store: store(7),
        ..epoch(2, 0)
    };
    for other in [epoch(9, 4), lost] {
        assert_eq!(promised(other), Verdict::Wait(Waiting::Begun(other)));
    }
}

/// A log without a state is no copy, and its replica no member; whoever has the state may take a long way to that log, once
/// nobody nearer has come.
#[test]
fn whoever_lost_its_state_is_no_member() {
    let branches = || {
        let mut second = in_view(1, Log(4, 2, &[1, 2], 90));
        second.state_lost = true;
        vec![(0, standing(0, Log(4, 2, &[1, 2], 9))), (1, second)]
    };
    let around = |grace_over| Around {
        suspected: &[2],
        grace_over,
        ..Around::default()
    };
    assert_eq!(
        decide(branches(), around(false)),
        Verdict::Wait(Waiting::Behind)
    );
    let (members, donor, _) = goes(decide(branches(), around(true)));
    assert_eq!((members, donor), (vec![0], 1));
}

/// A replica was added by a view without itself. When the only disk that knew of that was lost, it held everything, and could
/// not go on.
#[test]
fn who_joins_is_a_member_from_the_first() {
    let log = || Log(5, 0, &[0, 1, 2], 9);
    let joins = || Around {
        change: Some(Change::Join(Member {
            id: id(3),
            store: store(3),
            peer_address: "peer3".to_owned(),
            client_address: "client3".to_owned(),
        })),
        ..Around::default()
    };
    let all = || {
        vec![
            (0, in_view(0, log())),
            (1, in_view(1, log())),
            (2, in_view(2, log())),
        ]
    };
    assert_eq!(
        decide(all(), joins()),
        Verdict::Wait(Waiting::Answers(ids(&[3])))
    );
    let with_it = || all().into_iter().chain([(3, standing(3, log()))]).collect();
    let (members, ..) = goes(decide(with_it(), joins()));
    assert_eq!(members, [0, 1, 2, 3]);
}

/// Two sides of a partition meet. The older log has dropped what the newer one lacks, so nobody could hand that over.
#[test]
fn a_log_that_has_dropped_what_the_other_lacks_stays() {
    let meet = |voted: bool| {
        let mut dropped = standing(1, Log(4, 1, &[1], 90));
        dropped.compacted = 50;
        if !voted {
            dropped.store = store(7);
        }
        let asker = in_view(0, Log(5, 0, &[0, 2], 9));
        let third = in_view(2, Log(5, 0, &[0, 2], 9));
        decide(
            vec![(0, asker), (1, dropped), (2, third)],
            Around::default(),
        )
    };
    assert_eq!(meet(true), Verdict::Wait(Waiting::Behind));
    // A disk that never had a vote took a snapshot of what its leader holds still.
    let (members, donor, _) = goes(meet(false));
    assert_eq!((members, donor), (vec![0, 2], 0));
}

/// A partition of three removed each other, and the one that could lead on a side went over to another one: what a disk
/// that it had removed before has dropped kept all of them from leading.
#[test]
fn nobody_waits_for_a_log_on_which_nobody_can_lead() {
    let removed = || {
        let mut removed = standing(1, Log(4, 2, &[2], 90));
        removed.compacted = 50;
        removed.branches.note_drop(Position {
            epoch: epoch(4, 2),
            index: 50,
        });
        let known = &mut removed.newest.as_mut().expect("it has one").configuration;
        known.members.retain(|member| member.id == id(2));
        known.base = vec![(id(1), store(1)), (id(2), store(2))];
        removed
    };
    let asker = || {
        let mut asker = in_view(0, Log(5, 0, &[0], 9));
        let known = &mut asker.newest.as_mut().expect("it has one").configuration;
        known.members.retain(|member| member.id == id(0));
        asker
    };
    let meet = |voter: Option<Standing>| {
        let voter = voter.map(|voter| (2, voter));
        let all = [(0, asker()), (1, removed())].into_iter().chain(voter);
        decide(all.collect(), Around::default())
    };
    // It may be on the side of the removed one still.
    assert_eq!(waits(meet(None)), Waiting::NoMember);
    let there = Standing {
        store: store(2),
        compacted: 0,
        ..removed()
    };
    assert_eq!(waits(meet(Some(there))), Waiting::NoMember);
    // It has come over, or has lost its disk.
    let over = Standing {
        store: store(2),
        ..asker()
    };
    let lost = Standing {
        store: store(7),
        ..empty(2)
    };
    for gone in [over, lost] {
        assert_eq!(goes(meet(Some(gone))), (vec![0], 0, false));
    }
}

/// Two logs were damaged where their states did not reach, and the third went on without what only those two had.
#[test]
fn nobody_goes_on_without_what_is_damaged_in_the_newest_log() {
    const BOTH: Log = Log(5, 0, &[0, 1], 60);
    let damaged = |n: u32, last: Index, mends: bool| Standing {
        damaged: last,
        mends,
        ..standing(n, BOTH)
    };
    let stale = || standing(2, Log(5, 0, &[0, 1], 20));
    let grace_over = || Around {
        grace_over: true,
        ..Around::default()
    };
    // The third, and the damaged ones themselves, wait.
    let all = |first: u32, mends: bool| {
        let mut all = vec![
            (0, damaged(0, 50, mends)),
            (1, damaged(1, 40, mends)),
            (2, stale()),
        ];
        all.rotate_left(first as usize);
        decide(all, grace_over())
    };
    for (first, replica, last) in [(0, 0, 50), (1, 1, 40)] {
        let expected = Waiting::Mending {
            replica: id(replica),
            last,
        };
        assert_eq!(waits(all(first, true)), expected);
    }
    assert!(matches!(waits(all(2, true)), Waiting::Mending { .. }));
    // What their states show they can do without. The third needs a snapshot then.
    assert_eq!(goes(all(0, false)), (vec![0, 1], 0, false));
    assert!(matches!(waits(all(2, false)), Waiting::Mending { .. }));
    // One whose log is as new and whole goes on, and leaves the damaged one out until it is mended.
    let whole = vec![
        (1, standing(1, BOTH)),
        (0, damaged(0, 50, true)),
        (2, stale()),
    ];
    assert_eq!(goes(decide(whole, grace_over())), (vec![1], 1, false));
    // Damage below what is needed is nobody's matter.
    let deep = vec![
        (2, standing(2, Log(5, 0, &[0, 1], 55))),
        (0, damaged(0, 10, false)),
        (1, damaged(1, 10, false)),
    ];
    assert_eq!(goes(decide(deep, grace_over())).0, vec![0, 1, 2]);
}
