//! Two histories become one.

use std::time::Duration;

use examples::{in_view, led_by, same_state};
use tokio::time::sleep;

use crate::world::{World, history, run};

/// Replica 2 dies; the others go on, die, and stay away for longer than the grace, in which replica 2 waits for them. Then
/// it goes on without what they had acknowledged. When they are back, everything is there once, on all three.
#[test]
fn what_two_sides_acknowledged_is_there_once_when_they_meet() {
    run(async {
        let mut world = World::start_with("recovery_grace = \"1s\"").await;
        let alice = world.user("alice").await;
        world.user("bob").await;
        let mut expected = Vec::new();
        for (chapter, lost) in [("all", 2), ("without 2", 0)] {
            for number in 0..20 {
                let body = format!("{chapter} {number}");
                alice.send_message("bob", &body).await.unwrap();
                expected.push(body);
            }
            world.cluster.kill(lost).unwrap();
        }
        world.cluster.kill(1).unwrap();

        world.cluster.start(2).unwrap();
        led_by(&world.cluster, 2).await.unwrap();
        let there = world.at(2, &alice).await;
        for number in 0..20 {
            let body = format!("alone {number}");
            there.send_message("bob", &body).await.unwrap();
            expected.push(body);
        }
        // Some that the other side will have to take back are acknowledged here as late as possible.
        sleep(Duration::from_millis(100)).await;
        world.cluster.start(0).unwrap();
        world.cluster.start(1).unwrap();
        in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
        let (index, hash) = settled(&world).await;
        println!("merged: state {hash} at index {index}");
        expected.sort();
        for id in world.cluster.ids() {
            let mut found = history(&world.at(id, &alice).await, "bob").await.unwrap();
            found.sort();
            assert_eq!(found, expected, "at replica {id}");
        }
        world.finish();
    });
}

/// Waits until no orphans are left and all replicas agree.
async fn settled(world: &World) -> (u64, String) {
    let client = world.client().await;
    examples::until("no orphans are left", async || {
        for (_, status) in client.cluster_status_everywhere().await {
            let Ok(status) = status else { return Ok(None) };
            if status.replicas.iter().any(|one| one.orphans > 0) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
    .unwrap();
    same_state(&world.cluster).await.unwrap()
}
