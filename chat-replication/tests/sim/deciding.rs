//! Which side of a partition may drop what absent replicas lack.

use std::collections::BTreeSet;

use chat_replication::types::{Configuration, Member, ReplicaId, StoreUuid};
use uuid::Uuid;

fn store(id: u32) -> StoreUuid {
    StoreUuid(Uuid::from_u128(u128::from(id) + 1))
}

fn member(id: u32) -> Member {
    Member {
        id: ReplicaId(id),
        store: store(id),
        peer_address: String::new(),
        client_address: String::new(),
    }
}

fn cluster(replicas: u32) -> Configuration {
    let mut known = Configuration {
        members: (0..replicas).map(member).collect(),
        ..Configuration::default()
    };
    known.base = known.disks();
    known
}

fn ids(ids: &[u32]) -> Vec<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

/// All views of a configuration that may drop.
fn droppers(known: &Configuration) -> Vec<Vec<ReplicaId>> {
    let all: Vec<ReplicaId> = known.members.iter().map(|member| member.id).collect();
    (0..1_u32 << all.len())
        .map(|chosen| {
            let chosen = all
                .iter()
                .enumerate()
                .filter(|(at, _)| chosen & (1 << at) != 0);
            chosen.map(|(_, id)| *id).collect()
        })
        .filter(|view: &Vec<ReplicaId>| known.may_drop(view))
        .collect()
}

fn share_disks(these: &Configuration, those: &Configuration) {
    for one in droppers(these) {
        for other in droppers(those) {
            let shared = one.iter().any(|id| {
                other.contains(id)
                    && these.member(*id).map(|it| it.store) == those.member(*id).map(|it| it.store)
            });
            assert!(shared, "{one:?} of {these:?} and {other:?} of {those:?}");
        }
    }
}

/// Two sides that both drop what the other lacks cannot be joined any more. So any two that may have a disk in common, also
/// while one knows of a change that the other does not, and of another one behind that.
#[test]
fn any_two_sides_that_may_drop_share_a_disk() {
    for replicas in 1..=5 {
        let known = cluster(replicas);
        share_disks(&known, &known);
        for gone in 0..replicas {
            let less = known.without_absent(ReplicaId(gone), 7, true);
            share_disks(&known, &less);
            let more = less.with(member(9));
            share_disks(&known, &more);
            share_disks(&less, &more);
            for next in (0..replicas).filter(|next| *next != gone) {
                let least = less.without_absent(ReplicaId(next), 7, true);
                share_disks(&known, &least);
                share_disks(&less, &least);
            }
        }
        let more = known.with(member(9));
        share_disks(&known, &more);
    }
}

#[test]
fn the_members_decide_once_all_know_of_them_that_may_come_back() {
    let mut known = cluster(3).without_absent(ReplicaId(2), 7, true);
    assert!(known.may_drop(&ids(&[0, 1])));
    // The third may be with either of them.
    assert!(!known.may_drop(&ids(&[0])) && !known.may_drop(&ids(&[1])));
    let both = BTreeSet::from([store(0), store(1)]);
    known.settle(&both);
    assert!(!known.may_drop(&ids(&[0])));
    let mut settled = known.without_absence(|absent| absent.replica == ReplicaId(2));
    settled.settle(&both);
    assert!(settled.may_drop(&ids(&[0])) && !settled.may_drop(&ids(&[1])));
    share_disks(&known, &settled);
    // A new disk in the place of a lost one: what the lost one had is gone with it.
    let mut replaced = cluster(2).with(Member {
        store: store(10),
        ..member(0)
    });
    replaced.settle(&BTreeSet::from([store(10), store(1)]));
    assert!(replaced.may_drop(&ids(&[0])));
}
