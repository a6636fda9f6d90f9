//! Every finding, and the words for it.

use super::*;

const NOW: i64 = 1_700_000_000;

fn replica(replica_id: u32) -> Replica {
    Replica {
        replica_id,
        in_view: true,
        reachable: true,
        store_uuid: format!("disk-{replica_id}"),
        runs_with_store: format!("disk-{replica_id}"),
        applied_index: Some(10),
        applied_epoch: "3.0".into(),
        state_hash: "aa".into(),
        clock_ahead_ms: Some(3),
        disk_free_bytes: 90 << 30,
        disk_total_bytes: 100 << 30,
        certificate_ends_at: Some(NOW + 300 * DAY),
        program: "0.1.0".into(),
        ..Replica::default()
    }
}

/// Three that are well, of which replica 0 is asked and leads.
fn well() -> Seen {
    Seen {
        status: GetStatusResponse {
            leader_id: Some(0),
            mode: "available".into(),
            ..GetStatusResponse::default()
        },
        listed: ListReplicasResponse {
            replicas: vec![
                // It has nothing to compare its own clock with.
                Replica {
                    clock_ahead_ms: None,
                    ..replica(0)
                },
                replica(1),
                replica(2),
            ],
            ..ListReplicasResponse::default()
        },
        now: NOW,
    }
}

#[test]
fn a_cluster_that_is_well_has_no_findings() {
    assert_eq!(findings(&well()), []);
}

/// What is different from a cluster that is well, what is found then, and how it is put.
type Case = (fn(&mut Seen), Kind, &'static str, &'static str);

const CASES: &[Case] = &[
    (
        |seen| {
            seen.status.leader_id = None;
            seen.status.waiting_for = "waiting for a majority; start replica 1".into();
            seen.listed.replicas[0].waiting_for = "waiting for a majority; start replica 1".into();
        },
        Kind::NoLeader,
        "no replica leads, so that nothing can be written; replica 0: waiting for a majority",
        "start replica 1",
    ),
    (
        |seen| seen.listed.replicas[2].in_view = false,
        Kind::Degraded,
        "two of three live, replica 2 is not: the chat survives one more crash",
        "it is reached and catching up",
    ),
    (
        |seen| {
            for gone in [1, 2] {
                seen.listed.replicas[gone].in_view = false;
                seen.listed.replicas[gone].reachable = false;
            }
        },
        Kind::Degraded,
        "one of three live, replicas 1 and 2 are not: the next crash stops the chat",
        "start what is not running there",
    ),
    (
        |seen| {
            seen.status.mode = "consistent".into();
            seen.listed.replicas[0].in_view = false;
        },
        Kind::Degraded,
        "two of three live, replica 0 is not: the next crash stops the chat",
        "catching up",
    ),
    (
        |seen| {
            seen.listed.replicas.extend([3, 4].map(replica));
            seen.status.mode = "consistent".into();
            seen.listed.replicas[0].in_view = false;
        },
        Kind::Degraded,
        "four of five live, replica 0 is not: the chat survives one more crash",
        "catching up",
    ),
    (
        |seen| seen.status.forced = true,
        Kind::Forced,
        "the view was forced",
        "bring the others back",
    ),
    (
        |seen| seen.listed.replicas[1].state_hash = "bb".into(),
        Kind::Drifted,
        "replicas 0 and 1 have different states at the same entry, 10",
        "remove replica 1, and add it again with an empty data folder",
    ),
    (
        |seen| seen.listed.replicas[1].lag = Some(MUCH + 1),
        Kind::Behind,
        "replica 1 lacks 10001 entries",
        "look at its disk and its network",
    ),
    (
        |seen| seen.listed.replicas[2].orphans = 7,
        Kind::Orphans,
        "replica 2 has 7 commands of a lost history that are not committed again yet",
        "do not remove it before",
    ),
    (
        |seen| seen.listed.replicas[2].waiting_for = "waiting for a snapshot".into(),
        Kind::Waiting,
        "replica 2: waiting for a snapshot",
        "wait, and see its log",
    ),
    (
        |seen| seen.listed.replicas[2].waiting_for = "it was removed; stop it".into(),
        Kind::Waiting,
        "replica 2: it was removed",
        "stop it",
    ),
    (
        |seen| {
            seen.listed.replicas[2].runs_with_store = "old".into();
            seen.listed.removed.push(Replica {
                store_uuid: "old".into(),
                ..Replica::default()
            });
        },
        Kind::RemovedDisk,
        "replica 2 runs with a data folder that was removed from the cluster",
        "move its data folder away and start it again with an empty one",
    ),
    (
        // The one that is asked is no member any more.
        |seen| {
            seen.status.replica_id = 7;
            seen.status.store_uuid = "old".into();
            seen.listed.removed.push(Replica {
                store_uuid: "old".into(),
                ..Replica::default()
            });
        },
        Kind::RemovedDisk,
        "replica 7 runs with a data folder that was removed from the cluster",
        "stop it; if it is to be in the cluster",
    ),
    (
        |seen| seen.listed.returning.push(4),
        Kind::Away,
        "replica 4 was away for too long",
        "is added again by itself",
    ),
    (
        |seen| seen.listed.kept_for.push(4),
        Kind::KeepsLog,
        "the log is kept, and grows, until replica 4 comes back",
        "`chat-server replica remove 4 --destroyed`",
    ),
    (
        |seen| seen.listed.replicas[1].disk_free_bytes = 1 << 29,
        Kind::Disk,
        "the disk of replica 1 has 512 MiB of 102400 MiB left",
        "make room",
    ),
    (
        |seen| seen.listed.replicas[1].certificate_ends_at = Some(NOW + 12 * DAY + 5),
        Kind::Certificate,
        "the certificate of replica 1 ends in 12 days: nobody connects to it then",
        "`chat-server init DIR --renew 1`",
    ),
    (
        |seen| seen.listed.replicas[1].certificate_ends_at = Some(NOW - 2 * 3600),
        Kind::Certificate,
        "the certificate of replica 1 ended 2 h ago: nobody connects to it any more",
        "without a restart",
    ),
    (
        |seen| {
            seen.listed.replicas[1].clock_ahead_ms = Some(-1_500);
            seen.listed.replicas[2].clock_ahead_ms = Some(2_750);
        },
        Kind::Clock,
        "the clock of replica 2 is 2.7 s ahead of those of the others",
        "takes the time from the network",
    ),
    (
        // The clock of the one that is asked is the one that is off.
        |seen| {
            seen.listed.replicas[1].clock_ahead_ms = Some(400_000);
            seen.listed.replicas[2].clock_ahead_ms = Some(400_100);
        },
        Kind::Clock,
        "the clock of replica 0 is 6 min behind those of the others",
        "set the clock of that machine",
    ),
    (
        |seen| {
            seen.listed.replicas.pop();
            seen.listed.replicas[1].clock_ahead_ms = Some(-90_000);
        },
        Kind::Clock,
        "the clock of replica 0 is 90.0 s ahead of that of replica 1",
        "set the clocks of both machines",
    ),
    (
        |seen| {
            let words = "the file says this, and the cluster that; correct the file";
            seen.status.differences = vec![words.into()];
            for replica in &mut seen.listed.replicas[..2] {
                replica.differences = vec![words.into()];
            }
        },
        Kind::Difference,
        "the file says this, and the cluster that (by replicas 0 and 1)",
        "correct the file",
    ),
    (
        |seen| seen.listed.replicas[2].program = "0.2.0".into(),
        Kind::Versions,
        "the replicas run different versions: 0.1.0 on replicas 0 and 1, 0.2.0 on replica 2",
        "one after the other",
    ),
];

#[test]
fn each_thing_that_is_wrong_is_told_once_with_what_to_do() {
    for (change, kind, what, remedy) in CASES {
        let mut seen = well();
        change(&mut seen);
        let found = findings(&seen);
        assert_eq!(found.len(), 1, "{what}: {found:?}");
        assert_eq!(found[0].kind, *kind, "{found:?}");
        assert!(found[0].what.contains(what), "{what} in {found:?}");
        assert!(found[0].remedy.contains(remedy), "{remedy} in {found:?}");
    }
}

/// An alarm that rings for nothing is switched off.
#[test]
fn what_is_in_order_is_not_told() {
    let cases: &[fn(&mut Seen)] = &[
        // At different entries, or entries of different histories, states may differ.
        |seen| {
            seen.listed.replicas[1].applied_index = Some(9);
            seen.listed.replicas[1].state_hash = "bb".into();
        },
        |seen| {
            seen.listed.replicas[1].applied_epoch = "4.1".into();
            seen.listed.replicas[1].state_hash = "bb".into();
        },
        |seen| seen.listed.replicas[1].clock_ahead_ms = Some(APART as i64 - 1),
        |seen| seen.listed.replicas[1].lag = Some(MUCH),
        |seen| seen.listed.replicas[1].certificate_ends_at = None,
        |seen| seen.listed.replicas[1].certificate_ends_at = Some(NOW + NOTICE),
        // A version that says nothing of itself, or a disk that does not.
        |seen| {
            seen.listed.replicas[1] = Replica {
                replica_id: 1,
                in_view: true,
                reachable: true,
                ..Replica::default()
            };
        },
    ];
    for (number, change) in cases.iter().enumerate() {
        let mut seen = well();
        change(&mut seen);
        assert_eq!(findings(&seen), [], "case {number}");
    }
}

/// Who waited for a replica to catch up that never could was told to wait.
#[test]
fn a_replica_that_is_kept_out_is_not_waited_for() {
    let mut seen = well();
    seen.listed.replicas[2].in_view = false;
    seen.listed.replicas[2].runs_with_store = "old".into();
    seen.listed.removed.push(Replica {
        store_uuid: "old".into(),
        ..Replica::default()
    });
    let found = findings(&seen);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].remedy, "see below what keeps it out");
    assert_eq!(found[1].kind, Kind::RemovedDisk);
}

#[test]
fn the_worst_comes_first() {
    let mut seen = well();
    seen.listed.replicas[0].disk_free_bytes = 1;
    seen.listed.replicas[2].in_view = false;
    seen.status.forced = true;
    let kinds: Vec<_> = findings(&seen).into_iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [Kind::Degraded, Kind::Forced, Kind::Disk]);
}
