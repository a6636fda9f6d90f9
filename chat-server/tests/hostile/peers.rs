//! A peer that lies: it says to be the replica that is missing, and knows the cluster's name.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat_client::PageRequest;
use chat_replication::branch::BranchTable;
use chat_replication::grpc::{GrpcSettings, GrpcTransport};
use chat_replication::message::{AppliedReport, Message};
use chat_replication::store::Identity;
use chat_replication::transport::{Inbox, Transport};
use chat_replication::types::{
    ClusterId, Entry, Epoch, Lineage, Orphan, Payload, PeerId, Position, ReplicaId, StoreUuid,
};
use chat_server::config::ClusterConfig;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use crate::bystander::{ALLOWED, memory_of};
use crate::support::{Cluster, Setup, eventually};

/// It need not listen in order to lie.
struct Deaf;

impl Inbox for Deaf {
    fn received(&self, _: PeerId, _: Message) {}
    fn connected(&self, _: ReplicaId) {}
    fn refused(&self, _: ReplicaId) {}
}

/// What somebody may say who knows the protocol, and what is true of none of it.
fn lie(rng: &mut ChaCha8Rng, store: StoreUuid) -> Message {
    let mut random = |most: u64| rng.random_range(0..=most);
    let epoch = Epoch {
        number: random(1),
        replica: ReplicaId(random(3) as u32),
        store,
    };
    let index = match random(2) {
        0 => random(20),
        1 => u64::MAX,
        _ => random(u64::MAX),
    };
    let position = Position { epoch, index };
    let bytes = Bytes::from((0..random(300)).map(|n| (n * 31) as u8).collect::<Vec<_>>());
    let entries: Vec<Entry> = (0..random(5))
        .map(|n| Entry {
            position: Position {
                epoch,
                index: index.wrapping_add(n + random(1)),
            },
            payload: Payload::Command(bytes.clone()),
        })
        .collect();
    match random(10) {
        0 => Message::Append {
            epoch,
            previous: position,
            entries,
            commit: index,
            forced: index,
        },
        1 => Message::Fetched {
            epoch,
            previous: position,
            entries,
            forced: index,
        },
        2 => Message::Fetch {
            epoch,
            after: position,
        },
        3 => Message::AppendAck {
            epoch,
            store,
            verified: index,
        },
        4 => Message::Heartbeat {
            epoch,
            started: random(1) == 0,
            members: vec![ReplicaId(2)],
            commit: index,
            last: index,
            echo: index,
            stalled: index,
            round: index,
            compact_to: index,
        },
        5 => Message::HeartbeatAck {
            epoch,
            store,
            sent: index,
            round: index,
            verified: Some(index),
            branches: Some(BranchTable::default()),
            compacted: index,
            wants_snapshot: Some(index),
            mends: index.is_multiple_of(2),
            progress: AppliedReport {
                applied: index,
                state_hash: 7,
                orphans: index,
            },
        },
        6 => Message::Mismatch {
            epoch,
            branches: BranchTable::default(),
            compacted: index,
        },
        7 => Message::HandOver { epoch, hold: index },
        8 => Message::Orphans {
            epoch,
            orphans: vec![Orphan {
                origin: position,
                lineage: Lineage {
                    fork: 0,
                    epochs: vec![(position.epoch, position.index)],
                },
                command: bytes,
            }],
        },
        9 => Message::Cast(bytes),
        _ => Message::PreBallot { round: index },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_lies_changes_nothing() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let ada = cluster.user("ada").await;
    for n in 0..20 {
        ada.send_message("ada", &n.to_string()).await.unwrap();
    }
    cluster.kill(2);
    cluster.settled(2).await;
    let config = ClusterConfig::load(&cluster.file()).unwrap();
    let seeds: Vec<_> = (0..2)
        .map(|id| (ReplicaId(id), cluster.peer_address(id as usize)))
        .collect();
    let before = memory_of(&cluster, 0);
    // The second one is of another cluster, and is not even heard.
    for (seed, of) in [(1, config.id), (2, ClusterId(Uuid::from_u128(9)))] {
        let me = Identity {
            cluster: of,
            replica: ReplicaId(2),
            store: StoreUuid(Uuid::from_u128(4)),
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = GrpcSettings::default();
        let mut liar =
            GrpcTransport::start(listener, me, settings, Arc::new(Deaf), &seeds).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for n in 20..60 {
            for _ in 0..100 {
                for (peer, _) in &seeds {
                    liar.send(*peer, lie(&mut rng, me.store));
                }
            }
            ada.send_message("ada", &n.to_string()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(memory_of(&cluster, 0) < before + ALLOWED);
    let notes = ada.list_history("ada", PageRequest::first(1000)).await;
    let mut notes = notes.unwrap().items;
    notes.sort_by_key(|note| note.sequence);
    let bodies: Vec<_> = notes.into_iter().map(|note| note.body).collect();
    let written = (0..60).chain(20..60).map(|n: u32| n.to_string());
    assert_eq!(bodies, written.collect::<Vec<_>>());

    // The one whose place it took comes back, and all have the same state.
    cluster.launch(2);
    cluster.settled(3).await;
    eventually("one state everywhere", || async {
        let mut states = Vec::new();
        for id in 0..3 {
            let status = cluster.status(id).await?;
            let mut replicas = status.replicas.into_iter();
            let me = replicas.find(|replica| replica.replica_id == id as u32)?;
            states.push((me.applied_index, me.state_hash));
        }
        (states[0] == states[1] && states[1] == states[2]).then_some(())
    })
    .await;
}

/// It had the operator's power for as long as its certificate was good, or whoever had taken its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_removed_gives_no_orders() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let data = cluster.data(0);
    let list = ["replica", "list", "--data-dir", data.to_str().unwrap()];
    let (listed, _) = cluster.bare(&list).await;
    let mut lines = listed.lines().map(str::split_whitespace);
    let store = lines.find_map(|mut words| (words.next() == Some("2")).then(|| words.last()));
    let store = store.flatten().unwrap().parse().unwrap();
    cluster.kill(2);
    cluster.settled(2).await;
    let me = Identity {
        cluster: ClusterConfig::load(&cluster.file()).unwrap().id,
        replica: ReplicaId(2),
        store: StoreUuid(store),
    };
    let seeds: Vec<_> = (0..2)
        .map(|id| (ReplicaId(id), cluster.peer_address(id as usize)))
        .collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = GrpcSettings::default();
    let mut former = GrpcTransport::start(listener, me, settings, Arc::new(Deaf), &seeds).unwrap();
    // An order under this number, that a replica lead.
    let mut order = |number: u8, leader: u8| {
        for (peer, _) in &seeds {
            let word = Bytes::from(vec![2, 0, number, 2, leader]);
            former.send(*peer, Message::Cast(word));
        }
    };
    let leads = async |id: u8| {
        let (listed, _) = cluster.bare(&list).await;
        listed
            .contains(&format!("replica {id} leads"))
            .then_some(())
    };
    // A member's are carried out.
    for _ in 0..200 {
        order(1, 1);
        if leads(1).await.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(leads(1).await, Some(()));
    let remove = [
        "replica",
        "remove",
        "2",
        "--data-dir",
        data.to_str().unwrap(),
    ];
    let (_, code) = cluster.bare(&remove).await;
    assert_eq!(code, Some(0));
    for number in 2..22 {
        order(number, 0);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(leads(1).await, Some(()));
}
