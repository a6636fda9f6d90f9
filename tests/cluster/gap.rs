//! How long a client notices the leader's death.

use std::time::{Duration, Instant};

use examples::{in_view, led_by};
use tokio::task::JoinSet;

use crate::world::{World, run};

/// Eight users send without a pause while the leader is killed. What is printed is the longest time in which none of
/// them got an answer; nothing in it waits for a timeout, so it is far below the suspicion limit of a second.
#[test]
fn the_leaders_death_is_hardly_noticed() {
    run(async {
        let mut world = World::start().await;
        let sender = world.user("sender").await;
        world.user("receiver").await;
        let mut gaps = Vec::new();
        for round in 0..5 {
            let end = Instant::now() + Duration::from_millis(1200);
            let mut senders = JoinSet::new();
            for user in 0..8 {
                let client = world.client().await.with_session(sender.session_token());
                senders.spawn(async move {
                    let mut acknowledged = Vec::new();
                    for number in 0.. {
                        if Instant::now() > end {
                            break;
                        }
                        let body = format!("round {round}, user {user}, number {number}");
                        client.send_message("receiver", &body).await.unwrap();
                        acknowledged.push(Instant::now());
                    }
                    acknowledged
                });
            }
            tokio::time::sleep(Duration::from_millis(400)).await;
            world.cluster.kill(0).unwrap();
            let killed = Instant::now();
            let mut times: Vec<Instant> = senders.join_all().await.concat();
            times.sort_unstable();
            assert!(
                times.last().is_some_and(|last| *last > killed),
                "nothing was acknowledged any more"
            );
            let gap = times
                .windows(2)
                .map(|pair| pair[1] - pair[0])
                .max()
                .unwrap_or_default();
            println!(
                "longest gap after kill -9 of the leader: {} ms ({} sends)",
                gap.as_millis(),
                times.len()
            );
            gaps.push(gap);
            world.cluster.start(0).unwrap();
            in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
            led_by(&world.cluster, 0).await.unwrap();
        }
        gaps.sort_unstable();
        println!(
            "median of the longest gaps: {} ms",
            gaps[gaps.len() / 2].as_millis()
        );
        world.finish();
    });
}
