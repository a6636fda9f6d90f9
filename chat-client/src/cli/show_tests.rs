use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::cluster::{Leader, Mode, ReplicaStatus, Role};
use crate::error::GaveUp;
use crate::timestamp::Timestamp;

fn someone(name: &str) -> Account {
    Account {
        id: Uuid::from_u128(1).into(),
        name: name.into(),
        online: false,
        created: Timestamp::from_unix_ms(0),
        deleted: false,
    }
}

fn replica(id: u32, role: Role) -> ReplicaStatus {
    ReplicaStatus {
        replica_id: id,
        client_address: format!("h:740{id}"),
        peer_address: String::new(),
        role,
        in_view: role != Role::Seeking,
        durable_index: 120,
        commit_index: 110,
        applied_index: 110,
        lag: u64::from(id) * 10,
        state_hash: "c0ffee".into(),
        orphans: 0,
    }
}

fn status_of(id: u32, leader: Option<u32>, role: Role) -> ClusterStatus {
    let leads = |id: u32| {
        if Some(id) == leader {
            Role::Leader
        } else {
            role
        }
    };
    ClusterStatus {
        cluster_id: "abc".into(),
        replica_id: id,
        leader: leader.map(|l| Leader {
            replica_id: l,
            client_address: format!("h:740{l}"),
            epoch: 7,
        }),
        epoch: 7,
        replicas: (0..3).map(|id| replica(id, leads(id))).collect(),
        waiting_for: String::new(),
        accounts: 2,
        messages: 100,
        mode: Mode::Consistent,
        forced: false,
    }
}

fn endpoint(id: u32) -> Endpoint {
    format!("h:740{id}").parse().expect("an address")
}

#[test]
fn a_status_shows_each_replica_as_it_sees_itself() {
    let seeking = ClusterStatus {
        waiting_for: "replica 0".into(),
        ..status_of(1, None, Role::Seeking)
    };
    let gave_up = GaveUp {
        attempts: vec![(endpoint(2), "Connection refused".into())],
        after: Duration::ZERO,
        request_id: None,
    };
    let answers = [
        (endpoint(1), Ok(seeking)),
        (endpoint(0), Ok(status_of(0, Some(0), Role::Follower))),
        (endpoint(2), Err(Error::NothingListens(gave_up))),
    ];
    let expected = "\
leader: replica 0 at h:7400, epoch 7
cluster: abc, consistent mode, 2 accounts, 100 messages
REPLICA  ADDRESS  ROLE         IN VIEW  DURABLE  COMMIT  APPLIED  LAG  STATE   ORPHANS
0        h:7400   leader       yes      120      110     110      0    c0ffee  0
1        h:7401   seeking      no       120      110     110      10   c0ffee  0
2        h:7402   unreachable  -        -        -       -        -    -       -
replica 1 waits: replica 0
replica 1 sees no leader
h:7402: Connection refused";
    assert_eq!(status(&answers).join("\n"), expected);
}

#[test]
fn names_and_bodies_are_shown_harmless() {
    let message = Message {
        id: Uuid::from_u128(2).into(),
        sequence: 1,
        sender: someone("bob\u{1b}[2J"),
        recipient: Account {
            deleted: true,
            ..someone("alice")
        },
        body: "one\n\u{7}two".into(),
        sent: Timestamp::from_unix_ms(0),
        delivered: true,
        read: false,
    };
    assert_eq!(
        super::message(&message),
        "1970-01-01 00:00:00Z 00000000-0000-0000-0000-000000000002 \
         bob\\u{1b}[2J to alice (deleted, 00000000-0000-0000-0000-000000000001): \
         one\n    | \\u{7}two (delivered)"
    );
    let conversation = Conversation {
        peer: someone("b\rob"),
        unread: 2,
        last_message: Some(message),
    };
    assert!(!super::conversation(&conversation).contains(['\n', '\r', '\u{7}', '\u{1b}']));
}

#[test]
fn a_switch_is_one_line() {
    let replica = |id| Replica {
        endpoint: endpoint(id),
        id: Some(id),
    };
    assert_eq!(
        switch(&replica(0), &replica(1), Resent::Message),
        "replica 0 lost, now on replica 1; your message was resent"
    );
    let unknown = Replica {
        id: None,
        ..replica(1)
    };
    assert_eq!(
        switch(&replica(0), &unknown, Resent::Nothing),
        "replica 0 lost, now on the replica at h:7401"
    );
}
