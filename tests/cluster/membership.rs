//! Replicas come and go while everybody goes on.

use std::fs;

use examples::{in_view, led_by, same_state_of, until};

use crate::load::Load;
use crate::world::{World, program, run};

#[test]
fn a_fourth_replica_is_added_under_load_and_carries_the_chat_alone() {
    run(async {
        let mut world = World::start().await;
        let mut load = Load::start(&world).await;
        load.listen().await;
        load.goes_on(60).await;
        let id = world.cluster.add().unwrap();
        let unreachable = world
            .operator(&[
                "replica",
                "add",
                "9",
                "--id",
                "2",
                "--peer",
                "x",
                "--client",
                "127.0.0.1:1",
            ])
            .await
            .unwrap_err();
        assert!(unreachable.contains("peer_address"), "{unreachable}");
        world.cluster.start(id).unwrap();
        until("replica 3 says that it cannot add itself", async || {
            let itself = world.operator(&["replica", "add", "3", "--id", "3"]).await;
            let refused = itself.unwrap_err().contains("cannot add itself");
            Ok(refused.then_some(()))
        })
        .await
        .unwrap();
        // Through a follower, which passes the order on.
        let added = world.operator(&["replica", "add", "3", "--id", "2"]).await;
        println!("{}", added.unwrap());
        in_view(&world.cluster, &[0, 1, 2, 3]).await.unwrap();
        world
            .operator(&["replica", "add", "3"])
            .await
            .expect("what is so already is done");
        load.goes_on(60).await;
        clients_know(&load, 4).await;

        world.cluster.kill_at_once(&[0, 1, 2]).unwrap();
        load.goes_on(60).await;
        load.stop_and_go(&world, 3).await;
        for id in [0, 1, 2] {
            world.cluster.start(id).unwrap();
        }
        in_view(&world.cluster, &[0, 1, 2, 3]).await.unwrap();
        load.goes_on(30).await;
        load.stop().await;
        load.verify_everywhere(&world).await;
        files_agree(&mut world, &[0, 1, 2, 3]).await;
        world.finish();
    });
}

#[test]
fn replicas_are_removed_under_load_the_leader_too() {
    run(async {
        let mut world = World::start().await;
        let mut load = Load::start(&world).await;
        load.goes_on(60).await;
        let unknown = world.operator(&["replica", "remove", "7"]).await;
        assert!(unknown.unwrap_err().contains("has no replica 7"));
        for _ in 0..2 {
            // The second time it is done already.
            world.operator(&["replica", "remove", "2"]).await.unwrap();
        }
        in_view(&world.cluster, &[0, 1]).await.unwrap();
        load.goes_on(30).await;
        until("the removed replica knows it", async || {
            let lonely = world.client_of(2).await;
            let Ok(status) = lonely.cluster_status().await else {
                return Ok(None);
            };
            Ok(status.waiting_for.contains("was removed").then_some(()))
        })
        .await
        .unwrap();
        led_by(&world.cluster, 0).await.unwrap();
        // It leads, so that another one takes over first; the order goes through the one that is to go.
        world
            .operator(&["replica", "remove", "0", "--id", "0"])
            .await
            .unwrap();
        in_view(&world.cluster, &[1]).await.unwrap();
        load.goes_on(30).await;
        let last = world
            .operator(&["replica", "remove", "1", "--id", "1"])
            .await;
        assert!(last.unwrap_err().contains("is the last one"));
        world.cluster.stop(0).unwrap();
        world.cluster.stop(2).unwrap();
        load.goes_on(30).await;
        let list = world.operator(&["replica", "list"]).await.unwrap();
        println!("{list}");
        assert!(list.contains("replica 1 leads"), "{list}");
        assert_eq!(list.matches("removed").count(), 2, "{list}");
        load.stop().await;
        load.verify_on(&world, &[1]).await;
        world.finish();
    });
}

/// A disk was replaced, and the replica voted with it for what the old one had promised otherwise.
#[test]
fn a_wiped_replica_is_swapped_in_under_load() {
    run(async {
        let mut world = World::start().await;
        let mut load = Load::start(&world).await;
        // A follower, then the leader.
        for id in [2, 0] {
            load.goes_on(60).await;
            world.cluster.kill(id).unwrap();
            load.goes_on(30).await;
            let disk = disk_of(&world, id).await;
            fs::remove_dir_all(world.cluster.data_dir(id)).unwrap();
            world.cluster.start(id).unwrap();
            in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
            assert_ne!(
                disk_of(&world, id).await,
                disk,
                "its vote is the new disk's"
            );
        }
        load.goes_on(30).await;
        load.stop().await;
        load.verify_everywhere(&world).await;
        files_agree(&mut world, &[0, 1, 2]).await;
        world.finish();
    });
}

#[test]
fn a_replica_is_replaced_by_a_new_one() {
    run(async {
        let mut world = World::start().await;
        let mut load = Load::start(&world).await;
        load.goes_on(60).await;
        world.cluster.kill(1).unwrap();
        world.operator(&["replica", "remove", "1"]).await.unwrap();
        load.goes_on(30).await;
        fs::remove_dir_all(world.cluster.data_dir(1)).unwrap();
        world.cluster.start(1).unwrap();
        world.operator(&["replica", "add", "1"]).await.unwrap();
        in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
        load.goes_on(30).await;
        world.cluster.kill_at_once(&[0, 2]).unwrap();
        load.goes_on(30).await;
        for id in [0, 2] {
            world.cluster.start(id).unwrap();
        }
        in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
        load.stop().await;
        load.verify_everywhere(&world).await;
        world.finish();
    });
}

#[test]
fn leadership_is_transferred_under_load() {
    run(async {
        let mut world = World::start().await;
        let mut load = Load::start(&world).await;
        for (to, through) in [("2", "1"), ("1", "1"), ("2", "0"), ("2", "2")] {
            load.goes_on(30).await;
            world
                .operator(&["transfer-leadership", to, "--id", through])
                .await
                .unwrap();
            led_by(&world.cluster, to.parse().unwrap()).await.unwrap();
        }
        let unknown = world.operator(&["transfer-leadership", "5"]).await;
        assert!(unknown.unwrap_err().contains("has no replica 5"));
        world.cluster.kill(1).unwrap();
        in_view(&world.cluster, &[0, 2]).await.unwrap();
        let away = world.operator(&["transfer-leadership", "1"]).await;
        assert!(away.unwrap_err().contains("is not in the view"));
        world.cluster.start(1).unwrap();
        in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
        load.stop().await;
        load.verify_everywhere(&world).await;
        world.finish();
    });
}

/// One that comes back alone waits for the others. Its operator knows that they will not come, and says so.
#[test]
fn an_operator_lets_a_replica_go_on_alone() {
    run(async {
        let mut world = World::start_with("recovery_grace = \"10min\"").await;
        let mut load = Load::start(&world).await;
        load.goes_on(60).await;
        let serving = world.operator(&["force-view", "--id", "1"]).await;
        assert!(serving.unwrap_err().contains("nothing to force"));
        load.stop().await;
        world.cluster.kill_at_once(&[0, 1, 2]).unwrap();
        world.cluster.start(1).unwrap();
        let lonely = world.client_of(1).await;
        until("replica 1 says what it waits for", async || {
            let Ok(status) = lonely.cluster_status().await else {
                return Ok(None);
            };
            Ok(status.waiting_for.contains("replicas 0, 2").then_some(()))
        })
        .await
        .unwrap();
        world.operator(&["force-view", "--id", "1"]).await.unwrap();
        let status = in_view(&world.cluster, &[1]).await.unwrap();
        assert!(status.forced, "whoever looks is told that it was forced");
        let list = world.operator(&["replica", "list"]).await.unwrap();
        assert!(list.contains("the view was forced"), "{list}");
        load.go();
        load.goes_on(30).await;
        for id in [0, 2] {
            world.cluster.start(id).unwrap();
        }
        let status = in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
        assert!(
            !status.forced,
            "with everybody there nothing had to be forced"
        );
        load.goes_on(30).await;
        load.stop().await;
        load.verify_everywhere(&world).await;
        world.finish();
    });
}

/// The disk that has a replica's vote.
async fn disk_of(world: &World, id: u32) -> String {
    let list = world.operator(&["replica", "list"]).await.unwrap();
    let row = list
        .lines()
        .find(|line| line.starts_with(&format!("{id} ")));
    let disk = row.and_then(|row| row.split_whitespace().next_back());
    disk.unwrap().to_owned()
}

/// Waits until every user's client has heard of so many replicas.
async fn clients_know(load: &Load, replicas: usize) {
    until("the clients know all replicas", async || {
        let mut workers = load.workers.iter();
        let all = workers.all(|worker| worker.client.endpoints().len() == replicas);
        Ok(all.then_some(()))
    })
    .await
    .unwrap();
}

/// Stops the replicas, and has each one's files checked and its state built anew from its log: all come to the same.
pub(crate) async fn files_agree(world: &mut World, ids: &[u32]) {
    same_state_of(&world.cluster, ids).await.unwrap();
    let folder = world.cluster.data_dir(ids[0]);
    let running = program(&["verify", folder.to_str().unwrap()]).await;
    assert!(running.unwrap_err().contains("in use by a running replica"));
    // All at once, or those who are left would start another view.
    world.cluster.kill_at_once(ids).unwrap();
    let mut ends = Vec::new();
    for id in ids {
        let folder = world.cluster.data_dir(*id);
        let folder = folder.to_str().unwrap();
        let found = program(&["verify", folder, "--replay"]).await.unwrap();
        println!("replica {id}:\n{found}");
        let end = found.lines().next_back().unwrap().to_owned();
        assert!(end.starts_with("replay: at "), "{found}");
        ends.push(end);
        let log = program(&["log", folder]).await.unwrap();
        assert!(log.contains("view start: members"), "{log}");
        assert!(log.contains("create account alice"), "{log}");
        assert!(!log.contains("says"), "what people wrote is not shown");
        let bodies = program(&["log", folder, "--bodies", "--limit", "200"]).await;
        assert!(bodies.unwrap().contains("alice says 1"));
    }
    ends.dedup();
    assert_eq!(ends.len(), 1, "{ends:?}");
}
