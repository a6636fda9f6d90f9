//! Faults that systems of this kind have had.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use chat_client::{Client, Event, SubscribeOptions};
use examples::{in_view, led_by, same_state, until};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::world::{World, history, run};

/// Senders raced, and the leader sent each message on by itself: some followers got them in another order, or not at all.
#[test]
fn racing_senders_leave_the_same_log_everywhere() {
    run(async {
        let world = World::start().await;
        world.user("hub").await;
        let mut senders = JoinSet::new();
        for sender in 0..12 {
            let client = world.user(&format!("sender{sender}")).await;
            senders.spawn(async move {
                for number in 0..50 {
                    client
                        .send_message("hub", &format!("{number}"))
                        .await
                        .unwrap();
                }
                (sender, client)
            });
        }
        let senders = senders.join_all().await;
        same_state(&world.cluster).await.unwrap();
        let expected: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        for id in world.cluster.ids() {
            for (sender, client) in &senders {
                let found = history(&world.at(id, client).await, "hub").await.unwrap();
                assert_eq!(found, expected, "of sender {sender} at replica {id}");
            }
        }
        world.finish();
    });
}

/// A replica that was restarted under load came up empty, since it loaded its state before the others had written theirs.
#[test]
fn a_follower_restarted_under_load_has_everything() {
    run(async {
        let mut world = World::start().await;
        let mut load = crate::load::Load::start(&world).await;
        for _ in 0..4 {
            load.goes_on(50).await;
            world.cluster.kill(2).unwrap();
            load.goes_on(20).await;
            world.cluster.start(2).unwrap();
            in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
        }
        load.stop().await;
        load.verify_everywhere(&world).await;
        world.finish();
    });
}

/// A leader that came back led again, but its followers did not listen to it, so that nothing reached them any more.
#[test]
fn a_leader_that_comes_back_leads_with_followers() {
    run(async {
        let mut world = World::start().await;
        let alice = world.user("alice").await;
        world.user("bob").await;
        world.cluster.kill(0).unwrap();
        alice.send_message("bob", "without you").await.unwrap();
        world.cluster.start(0).unwrap();
        in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
        led_by(&world.cluster, 0).await.unwrap();
        let sent = alice.send_message("bob", "welcome back").await.unwrap();
        assert_eq!(sent.durability.to_string(), "3 of 3");
        same_state(&world.cluster).await.unwrap();
        for id in world.cluster.ids() {
            let found = history(&world.at(id, &alice).await, "bob").await.unwrap();
            assert_eq!(found, ["without you", "welcome back"], "at replica {id}");
        }
        world.finish();
    });
}

/// A follower that came back got everything and was never counted on again: when the others died, the chat was dead.
#[test]
fn a_follower_that_comes_back_carries_the_chat_alone() {
    run(async {
        let mut world = World::start().await;
        let alice = world.user("alice").await;
        world.user("bob").await;
        world.cluster.kill(2).unwrap();
        alice
            .send_message("bob", "while it was away")
            .await
            .unwrap();
        world.cluster.start(2).unwrap();
        in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
        world.cluster.kill_at_once(&[0, 1]).unwrap();
        let sent = alice.send_message("bob", "it is alone").await.unwrap();
        assert_eq!(sent.durability.to_string(), "1 of 3");
        let found = history(&alice, "bob").await.unwrap();
        assert_eq!(found, ["while it was away", "it is alone"]);
        world.finish();
    });
}

/// A leader that came back took some of the clients, while the others stayed with the one in its place: two chats.
#[test]
fn a_leader_that_comes_back_does_not_split_the_clients() {
    run(async {
        let mut world = World::start().await;
        world.user("alice").await;
        let bob = world.user("bob").await;
        let mut events = bob.subscribe(SubscribeOptions::default()).await.unwrap();
        world.cluster.kill(0).unwrap();
        in_view(&world.cluster, &[1, 2]).await.unwrap();
        world.cluster.start(0).unwrap();
        // Right away, before it is in the view, through each replica.
        let mut expected = Vec::new();
        for round in 0..30 {
            for id in world.cluster.ids() {
                let client = Client::connect([world.cluster.endpoint(id)]).await.unwrap();
                client.login("alice", crate::world::PASSWORD).await.unwrap();
                let body = format!("{round} through {id}");
                client.send_message("bob", &body).await.unwrap();
                expected.push(body);
            }
        }
        in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
        led_by(&world.cluster, 0).await.unwrap();
        let all = world.client().await;
        until("everybody names the same leader", async || {
            let seen: Vec<_> = all
                .cluster_status_everywhere()
                .await
                .into_iter()
                .filter_map(|(_, status)| Some(status.ok()?.leader?.replica_id))
                .collect();
            Ok((seen == [0, 0, 0]).then_some(()))
        })
        .await
        .unwrap();
        let mut received = Vec::new();
        while received.len() < expected.len() {
            let event = timeout(Duration::from_secs(10), events.next())
                .await
                .expect("nothing is missing");
            if let Event::MessageReceived(message) = event.unwrap().unwrap() {
                received.push(message.body);
            }
        }
        assert_eq!(
            received, expected,
            "each once, in order, whichever replica took it"
        );
        world.finish();
    });
}

/// Whoever spoke to the port for replicas was believed: a stranger could write into the log.
#[test]
fn a_stranger_is_not_taken_for_a_replica() {
    run(async {
        let world = World::start().await;
        let alice = world.user("alice").await;
        world.user("bob").await;
        alice.send_message("bob", "before").await.unwrap();
        let (index, hash) = same_state(&world.cluster).await.unwrap();
        for id in world.cluster.ids() {
            let address = world.cluster.peer_endpoint(id);
            for noise in [
                &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
                &[0xff; 4096],
                &[],
            ] {
                let mut stream = TcpStream::connect(&address).unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_millis(200)))
                    .unwrap();
                // It may hang up at any moment.
                let _ = stream.write_all(noise);
                let _ = stream.read(&mut [0; 64]);
            }
            // The public API does not answer there.
            let client = Client::builder()
                .endpoints([&address])
                .total_deadline(Duration::from_millis(300))
                .connect()
                .await
                .unwrap();
            client
                .cluster_status()
                .await
                .expect_err("the port is for replicas");
        }
        assert_eq!(
            same_state(&world.cluster).await.unwrap(),
            (index, hash),
            "nothing was written"
        );
        alice.send_message("bob", "after").await.unwrap();
        assert_eq!(history(&alice, "bob").await.unwrap(), ["before", "after"]);
        world.finish();
    });
}
