//! Many messages under way over one stream, while replicas die.

use std::collections::BTreeSet;
use std::time::Duration;

use chat_client::Client;
use examples::{in_view, same_state};
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::world::{World, history, run};

/// The stream goes on at the next leader; what was under way is stored once, and everything that was acknowledged is
/// there.
#[test]
fn streams_survive_their_leaders() {
    run(async {
        let mut world = World::start().await;
        let alice = world.user("alice").await;
        world.user("bob").await;
        let senders: Vec<_> = (0..4)
            .map(|sender| tokio::spawn(send_many(alice.clone(), sender)))
            .collect();
        for leader in [0, 1] {
            let before = history(&alice, "bob").await.unwrap().len();
            while history(&alice, "bob").await.unwrap().len() < before + 200 {
                sleep(Duration::from_millis(5)).await;
            }
            world.cluster.kill(leader).unwrap();
        }
        let acknowledged: Vec<String> = join_all(senders)
            .await
            .into_iter()
            .flat_map(Result::unwrap)
            .collect();
        for id in [0, 1] {
            world.cluster.start(id).unwrap();
        }
        in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
        same_state(&world.cluster).await.unwrap();
        for id in world.cluster.ids() {
            let stored = history(&world.at(id, &alice).await, "bob").await.unwrap();
            let distinct: BTreeSet<&String> = stored.iter().collect();
            assert_eq!(distinct.len(), stored.len(), "none twice");
            assert_eq!(distinct, acknowledged.iter().collect(), "none is missing");
        }
        world.finish();
    });
}

/// Every message is acknowledged in the end, whoever dies.
async fn send_many(alice: Client, sender: u32) -> Vec<String> {
    let stream = alice.message_sender();
    let mut acknowledged = Vec::new();
    for round in 0..60 {
        let bodies: Vec<String> = (0..100).map(|n| format!("{sender}.{round}.{n}")).collect();
        let mut under_way = Vec::new();
        for body in &bodies {
            under_way.push(stream.send("bob", body).await);
        }
        for (sent, body) in join_all(under_way).await.into_iter().zip(bodies) {
            sent.unwrap();
            acknowledged.push(body);
        }
    }
    acknowledged
}
