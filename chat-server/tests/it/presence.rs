//! Who is online, whichever replica one asks.

use chat_client::{Client, DeliveryState, PageRequest, SubscribeOptions};

use crate::support::{Cluster, eventually};

/// Waits until all these replicas say so.
async fn told(cluster: &Cluster, replicas: &[usize], asks: &Client, name: &str, online: bool) {
    for id in replicas {
        let here = cluster.at(*id, asks).await;
        eventually(
            &format!("replica {id} says that {name} is online: {online}"),
            || async {
                let found = here
                    .list_accounts(name, PageRequest::default())
                    .await
                    .unwrap();
                (found.items[0].online == online).then_some(())
            },
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_anywhere_is_known_everywhere() {
    let mut cluster = Cluster::three().await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    told(&cluster, &[0, 1, 2], &ada, "bob", false).await;
    for id in 0..3 {
        let here = cluster.at(id, &bob).await;
        let stream = here.subscribe(SubscribeOptions::default()).await.unwrap();
        told(&cluster, &[0, 1, 2], &ada, "bob", true).await;
        let sent = ada.send_message("bob", "hello").await.unwrap();
        assert_eq!(sent.state, DeliveryState::Delivering);
        stream.close().await;
        told(&cluster, &[0, 1, 2], &ada, "bob", false).await;
        let sent = ada.send_message("bob", "hello").await.unwrap();
        assert_eq!(sent.state, DeliveryState::Queued);
    }
    // A second device keeps one online; and so does a stream at a replica that comes late.
    let leader = cluster.settled(3).await;
    let (late, other) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.kill(late);
    cluster.settled(2).await;
    let here = cluster.at(other, &bob).await;
    let first = here.subscribe(SubscribeOptions::default()).await.unwrap();
    let second = here.subscribe(SubscribeOptions::default()).await.unwrap();
    cluster.launch(late);
    cluster.settled(3).await;
    told(&cluster, &[0, 1, 2], &ada, "bob", true).await;
    second.close().await;
    told(&cluster, &[0, 1, 2], &ada, "bob", true).await;
    drop(first);
    told(&cluster, &[0, 1, 2], &ada, "bob", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_stays_online_at_a_replica_that_is_dead() {
    let mut cluster = Cluster::three().await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let leader = cluster.settled(3).await;
    let victim = (leader + 1) % 3;
    let raw = cluster.raw(victim);
    let request = crate::support::by(&bob, chat_client::api::SubscribeRequest::default());
    let stream = raw.events().subscribe(request).await.unwrap();
    told(&cluster, &[0, 1, 2], &ada, "bob", true).await;
    cluster.kill(victim);
    told(&cluster, &[leader, (leader + 2) % 3], &ada, "bob", false).await;
    drop(stream);
}
