//! Clusters that would rather stop than have two histories.

use std::time::Duration;

use chat_client::{Client, Mode};
use examples::{in_view, until};

use crate::load::Load;
use crate::world::{World, run};

#[test]
fn without_a_majority_nothing_is_acknowledged_and_nothing_is_lost() {
    run(async {
        let mut world = World::start_in(Mode::Consistent, "").await;
        let mut load = Load::start(&world).await;
        for (survivor, returns) in [(0, 1), (1, 0), (2, 1)] {
            load.goes_on(60).await;
            let others: Vec<u32> = (0..3).filter(|id| *id != survivor).collect();
            world.cluster.kill_at_once(&others).unwrap();
            // Whatever was on its way has come back once another call has failed.
            refused(&world, survivor, &load.workers[0].client).await;
            let acknowledged = load.acknowledged();
            refused(&world, survivor, &load.workers[0].client).await;
            assert_eq!(load.acknowledged(), acknowledged);
            world.cluster.start(returns).unwrap();
            let mut majority = [survivor, returns];
            majority.sort_unstable();
            in_view(&world.cluster, &majority).await.unwrap();
            load.goes_on(30).await;
            let last = others.iter().find(|id| **id != returns).unwrap();
            world.cluster.start(*last).unwrap();
            let status = in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
            assert_eq!(status.mode, Mode::Consistent);
            assert!(!status.forced);
        }
        load.stop().await;
        load.verify_everywhere(&world).await;
        world.finish();
    });
}

/// Tries to write at a replica that is all alone.
async fn refused(world: &World, id: u32, user: &Client) {
    let client = Client::builder()
        .endpoints([world.cluster.endpoint(id)])
        .total_deadline(Duration::from_secs(3))
        .connect()
        .await
        .unwrap()
        .with_session(user.session_token());
    let sent = client.send_message("alice", "nobody hears this").await;
    let error = sent.expect_err("one of three must not acknowledge anything");
    println!("alone, replica {id} refuses: {error}");
}

/// Two disks are lost for good. The operator decides that what is left is the cluster.
#[test]
fn an_operator_lets_a_minority_go_on() {
    run(async {
        let mut world = World::start_in(Mode::Consistent, "recovery_grace = \"10min\"").await;
        let mut load = Load::start(&world).await;
        load.goes_on(60).await;
        world.cluster.kill_at_once(&[0, 1]).unwrap();
        let lonely = world.client_of(2).await;
        until("replica 2 has noticed", async || {
            let Ok(status) = lonely.cluster_status().await else {
                return Ok(None);
            };
            Ok(status.leader.is_none().then_some(()))
        })
        .await
        .unwrap();
        world.operator(&["force-view", "--id", "2"]).await.unwrap();
        let status = in_view(&world.cluster, &[2]).await.unwrap();
        assert!(status.forced);
        load.goes_on(30).await;
        for id in [0, 1] {
            world.cluster.start(id).unwrap();
        }
        in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
        load.goes_on(30).await;
        load.stop().await;
        load.verify_everywhere(&world).await;
        world.finish();
    });
}

/// A read that must show everything that was acknowledged before it, at whichever replica.
#[test]
fn linearizable_reads_show_what_was_acknowledged_at_another_replica() {
    run(async {
        let world = World::start_in(Mode::Consistent, "").await;
        let alice = world.user("alice").await;
        for round in 0..60_usize {
            alice.send_message("alice", "again").await.unwrap();
            let id = (round % 3) as u32;
            // A client that has seen nothing yet.
            let reader = Client::builder()
                .endpoints([world.cluster.endpoint(id)])
                .linearizable_reads()
                .connect()
                .await
                .unwrap()
                .with_session(alice.session_token());
            let seen = crate::world::history(&reader, "alice").await.unwrap();
            assert_eq!(seen.len(), round + 1, "at replica {id}");
        }
        world.finish();
    });
}
