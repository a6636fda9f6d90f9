//! Three replicas serve, lose their leader, and take it back.

use std::time::Duration;

use bytes::Bytes;
use chat_replication::handle::Handle;
use chat_replication::memory_transport::MemoryNetwork;
use chat_replication::types::ReplicaId;
use tempfile::TempDir;

use crate::cluster::{Cluster, Made, propose};
use crate::kv::put;

/// Has many commands proposed at once; each must be done.
async fn propose_many(handles: &[Handle<Option<String>>], name: &str, count: usize) {
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            let handles = handles.to_vec();
            let command = put(
                &format!("{name}-{number}"),
                &format!("{name}{}", number % 97),
                name,
            );
            tokio::spawn(async move { propose(&handles, command).await })
        })
        .collect();
    for task in tasks {
        let committed = task.await.unwrap();
        assert!(committed.durable_on >= 1 && committed.durable_on <= committed.replicas);
        assert_eq!(committed.replicas, 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_on_redb_and_grpc_survive_their_leader() {
    let mut cluster = Cluster::start(Made::Real(TempDir::new().unwrap()));
    cluster.wait_until_well().await;
    propose_many(&cluster.handles(), "first", 1000).await;
    cluster.wait_until_well().await;
    let committed = propose(&cluster.handles(), put("all", "key", "value")).await;
    assert_eq!((committed.durable_on, committed.replicas), (3, 3));

    // The leader dies while commands are on their way: each is done all the same, and once.
    let survivors: Vec<_> = cluster.handles().into_iter().skip(1).collect();
    let during = tokio::spawn({
        let handles = cluster.handles();
        async move { propose_many(&handles, "during", 300).await }
    });
    cluster.kill(0).await;
    during.await.unwrap();
    propose_many(&survivors, "without", 100).await;
    cluster.wait_until_well().await;

    cluster.start_one(0);
    cluster.wait_until_well().await;
    let committed = propose(&cluster.handles(), put("again", "key", "other")).await;
    assert_eq!(committed.response.as_deref(), Some("value"));
    assert_eq!(committed.durable_on, 3);

    // All of them stop cleanly, and find everything again.
    cluster.wait_until_well_at(committed.position.index).await;
    let (applied, hash) = (cluster.status(0).applied, cluster.status(0).state_hash);
    for id in 0..3 {
        cluster.stop(id).await;
    }
    for id in [2, 0, 1] {
        cluster.start_one(id);
    }
    cluster.wait_until_well().await;
    assert!(cluster.status(1).applied >= applied);
    assert_eq!(cluster.status(1).state_hash, hash);
}

#[tokio::test]
async fn replicas_in_memory_serve_and_talk() {
    let mut cluster = Cluster::start(Made::Memory(MemoryNetwork::new()));
    cluster.wait_until_well().await;
    propose_many(&cluster.handles(), "first", 200).await;
    // A message of the application's own arrives as it is.
    cluster.handles()[1].cast(ReplicaId(2), Bytes::from_static(b"hello"));
    while cluster.casts.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let casts = cluster.casts.lock().unwrap().clone();
    assert_eq!(casts, [(ReplicaId(1), Bytes::from_static(b"hello"))]);
    cluster.stop(0).await;
    propose_many(&cluster.handles(), "second", 200).await;
    cluster.wait_until_well().await;
}

/// Whoever asks a follower is sent to the leader.
#[tokio::test]
async fn a_follower_names_the_leader() {
    use chat_replication::handle::ProposeError;
    let cluster = Cluster::start(Made::Memory(MemoryNetwork::new()));
    cluster.wait_until_well().await;
    let refused = cluster.handles()[2].propose(put("x", "y", "z")).await;
    let Err(ProposeError::NotLeader {
        leader: Some(leader),
    }) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(leader.id, ReplicaId(0));
    assert_eq!(leader.client_address, "clients-of-0");
}
