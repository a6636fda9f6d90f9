//! Replicas inside the process of those who use them.

use chat_client::{Client, PageRequest};
use chat_replication::types::{Mode, ReplicaId};
use chat_server::{Cluster, ClusterError};
use tempfile::TempDir;

const CHEAP: &str = "[limits]\nhash_memory_kib = 64\nhash_passes = 1";

async fn user(cluster: &Cluster, name: &str) -> Client {
    let client = cluster.client().connect().await.unwrap();
    client.register(name, "password").await.unwrap();
    client.login(name, "password").await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_in_one_process_survives_a_crash_and_a_stop_of_its_leader() {
    let mut cluster = Cluster::builder().settings(CHEAP).start().await.unwrap();
    let (ada, bob) = (user(&cluster, "ada").await, user(&cluster, "bob").await);
    let mut expected = Vec::new();
    for turn in 0..4 {
        let leader = cluster.leader().expect("settled");
        match turn % 2 {
            0 => cluster.kill(leader).await,
            _ => cluster.stop(leader).await.unwrap(),
        }
        ada.send_message("bob", &format!("turn {turn}"))
            .await
            .unwrap();
        expected.push(format!("turn {turn}"));
        cluster.start(leader).await.unwrap();
        cluster.settled().await.unwrap();
    }
    let inbox = bob.list_inbox(PageRequest::default()).await.unwrap().items;
    let bodies: Vec<_> = inbox.into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, expected);
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_stopped_hands_over_before_it_goes() {
    // Were it to go first, the others would wait for the suspicion limit, or a refused connection, and the epoch that
    // follows would be one that the old leader never promised.
    let mut cluster = Cluster::builder().settings(CHEAP).start().await.unwrap();
    let leader = cluster.leader().expect("settled");
    let mut changes = cluster.replica(leader).expect("runs").status_changes();
    let watched = tokio::spawn(async move {
        let mut leaders = Vec::new();
        loop {
            leaders.push(changes.borrow_and_update().leader);
            if changes.changed().await.is_err() {
                return leaders;
            }
        }
    });
    cluster.stop(leader).await.unwrap();
    let leaders = watched.await.unwrap();
    let last = leaders.into_iter().flatten().last().expect("one led");
    assert_ne!(last, leader, "it followed its successor before it ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_used_again_with_its_data_and_its_ports() {
    let folder = TempDir::new().unwrap();
    let builder = Cluster::builder()
        .replicas(1)
        .mode(Mode::Consistent)
        .settings(CHEAP)
        .folder(folder.path());
    let cluster = builder.clone().start().await.unwrap();
    let endpoints = cluster.endpoints();
    let ada = user(&cluster, "ada").await;
    cluster.shutdown().await.unwrap();

    let mut cluster = builder.start().await.unwrap();
    assert_eq!(cluster.endpoints(), endpoints);
    assert_eq!(ada.who_am_i().await.unwrap().account.name, "ada");
    let again = cluster.start(ReplicaId(0)).await;
    assert!(matches!(again, Err(ClusterError::Running(ReplicaId(0)))));
    let missing = cluster.start(ReplicaId(7)).await.unwrap_err();
    assert!(missing.to_string().contains("no replica 7"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_cluster_makes_its_own_certificates_and_keeps_them() {
    let folder = TempDir::new().unwrap();
    let builder = Cluster::builder()
        .encrypted()
        .settings(CHEAP)
        .folder(folder.path());
    let cluster = builder.clone().start().await.unwrap();
    let ada = user(&cluster, "ada").await;
    let bob = user(&cluster, "bob").await;
    ada.send_message("bob", "a note").await.unwrap();
    cluster.shutdown().await.unwrap();

    // Its file says that it is encrypted, whoever starts it.
    let builder = Cluster::builder().folder(folder.path());
    let mut cluster = builder.start().await.unwrap();
    assert!(cluster.endpoints()[0].starts_with("https://"));
    let leader = cluster.leader().expect("settled");
    cluster.kill(leader).await;
    let inbox = bob.list_inbox(PageRequest::default()).await.unwrap().items;
    assert_eq!(inbox[0].body, "a note");
}

#[tokio::test]
async fn a_cluster_of_nobody_is_refused() {
    let refused = Cluster::builder().replicas(0).start().await.unwrap_err();
    assert!(refused.to_string().contains("3 is usual"), "{refused}");
}
