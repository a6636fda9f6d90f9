//! All replicas die, and come back.

use std::time::Duration;

use examples::{in_view, until};
use tokio::time::sleep;

use crate::load::Load;
use crate::world::{World, run};

#[test]
fn all_may_die_under_load_and_come_back_in_any_order() {
    run(async {
        let mut world = World::start().await;
        let mut load = Load::start(&world).await;
        for order in [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ] {
            load.goes_on(60).await;
            world.cluster.kill_at_once(&[0, 1, 2]).unwrap();
            for id in order {
                world.cluster.start(id).unwrap();
                sleep(Duration::from_millis(150)).await;
            }
            in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
        }
        load.goes_on(60).await;
        load.stop().await;
        load.verify_everywhere(&world).await;
        world.finish();
    });
}

/// A replica that comes back alone does not know what the others have acknowledged since. It waits for them, and says so.
#[test]
fn one_that_comes_back_alone_waits_for_the_others() {
    run(async {
        let mut world = World::start().await;
        let mut load = Load::start(&world).await;
        load.goes_on(60).await;
        world.cluster.kill_at_once(&[0, 1, 2]).unwrap();
        world.cluster.start(1).unwrap();
        let lonely = world.client_of(1).await;
        let waiting = until("replica 1 says what it waits for", async || {
            let Ok(status) = lonely.cluster_status().await else {
                return Ok(None);
            };
            assert_eq!(status.leader, None, "it does not know enough to lead");
            Ok(Some(status.waiting_for).filter(|waiting| waiting.contains("replicas 0, 2")))
        })
        .await
        .unwrap();
        println!("alone, replica 1 is {waiting}");
        for id in [0, 2] {
            world.cluster.start(id).unwrap();
        }
        in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
        load.goes_on(60).await;
        load.stop().await;
        load.verify_everywhere(&world).await;
        world.finish();
    });
}
