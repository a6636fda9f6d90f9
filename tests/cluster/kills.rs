//! Two of three replicas die, each subset in each order.

use examples::in_view;

use crate::load::Load;
use crate::world::{World, run};

#[test]
fn any_two_may_die_in_any_order_under_load() {
    run(async {
        let mut world = World::start().await;
        let mut load = Load::start(&world).await;
        load.goes_on(100).await;
        for (first, second, third) in [
            (0, 1, 2),
            (0, 2, 1),
            (1, 0, 2),
            (1, 2, 0),
            (2, 0, 1),
            (2, 1, 0),
        ] {
            world.cluster.kill(first).unwrap();
            load.goes_on(60).await;
            world.cluster.kill(second).unwrap();
            load.goes_on(60).await;
            // What was done under the leaders before is there under the last one.
            load.stop_and_go(&world, third).await;
            world.cluster.start(second).unwrap();
            world.cluster.start(first).unwrap();
            in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
            load.goes_on(30).await;
            println!(
                "killed {first}, then {second}; {} operations so far",
                load.acknowledged()
            );
        }
        load.stop().await;
        load.verify_everywhere(&world).await;
        world.finish();
    });
}

#[test]
fn two_may_die_at_once_under_load() {
    run(async {
        let mut world = World::start().await;
        let mut load = Load::start(&world).await;
        load.goes_on(50).await;
        for pair in [[0, 1], [0, 2], [1, 2]] {
            world.cluster.kill_at_once(&pair).unwrap();
            load.goes_on(60).await;
            for id in pair {
                world.cluster.start(id).unwrap();
            }
            in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
            load.goes_on(30).await;
        }
        load.stop().await;
        load.verify_everywhere(&world).await;
        world.finish();
    });
}
