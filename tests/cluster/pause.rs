//! A process that stands still and goes on does not know that time has passed.

use chat_client::Mode;
use examples::{in_view, led_by};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::load::Load;
use crate::world::{World, run};

fn a_leader_stands_still(mode: Mode) {
    run(async {
        let world = World::start_in(mode, "").await;
        let mut load = Load::start(&world).await;
        for round in 0..3 {
            led_by(&world.cluster, 0).await.unwrap();
            load.goes_on(60).await;
            let process = world.cluster.process(0).unwrap();
            let process = Pid::from_raw(process.try_into().unwrap());
            kill(process, Signal::SIGSTOP).unwrap();
            in_view_without_0(&world).await;
            load.goes_on(60).await;
            kill(process, Signal::SIGCONT).unwrap();
            in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
            load.goes_on(30).await;
            println!("round {round}: {} operations", load.acknowledged());
        }
        load.stop().await;
        load.verify_everywhere(&world).await;
        world.finish();
    });
}

async fn in_view_without_0(world: &World) {
    in_view(&world.cluster, &[1, 2]).await.unwrap();
}

#[test]
fn a_leader_that_stood_still_acknowledges_nothing_more_in_available_mode() {
    a_leader_stands_still(Mode::Available);
}

#[test]
fn a_leader_that_stood_still_acknowledges_nothing_more_in_consistent_mode() {
    a_leader_stands_still(Mode::Consistent);
}
