//! Every replica is restarted in turn, as for a new version, while users go on.

use std::time::Duration;

use examples::in_view;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::load::Load;
use crate::world::{World, run};

#[test]
fn a_rolling_restart_loses_and_doubles_nothing() {
    run(async {
        let mut world = World::start().await;
        let mut load = Load::start(&world).await;
        load.goes_on(60).await;
        for round in 0..2 {
            for id in [0, 1, 2] {
                // As `systemctl restart` does.
                let process = world.cluster.process(id).unwrap();
                kill(Pid::from_raw(process as i32), Signal::SIGTERM).unwrap();
                world.cluster.stop(id).unwrap();
                world.cluster.start(id).unwrap();
                in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
                load.goes_on(20).await;
                let log = world.cluster.log(id);
                let stops = log.lines().filter(|line| line.ends_with("stopped")).count();
                assert_eq!(stops, round + 1, "it stopped cleanly:\n{log}");
            }
        }
        load.stop().await;
        let mut times: Vec<_> = load
            .workers
            .iter()
            .flat_map(|worker| worker.promised.lock().unwrap().acknowledged_at.clone())
            .collect();
        times.sort_unstable();
        let gap = times
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or(Duration::ZERO);
        println!(
            "longest gap in two rolling restarts: {} ms ({} operations)",
            gap.as_millis(),
            times.len()
        );
        load.verify_everywhere(&world).await;
        world.finish();
    });
}
