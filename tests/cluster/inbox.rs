//! Large inboxes, and what a message costs when there are many.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use chat_client::{Event, PageRequest, SubscribeOptions};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::world::{World, run};

/// An inbox of many times what one answer may hold was sent in one piece once, and could never be read again.
#[test]
fn an_inbox_of_thirty_megabytes_is_read() {
    run(async {
        let world = World::start().await;
        world.user("bob").await;
        let alice = world.user("alice").await;
        let count = 1500;
        let mut senders = JoinSet::new();
        for sender in 0..10 {
            let alice = alice.clone();
            senders.spawn(async move {
                for number in (sender..count).step_by(10) {
                    let body = format!("{number:>5} {}", "x".repeat(20_000));
                    alice.send_message("bob", &body).await.unwrap();
                }
            });
        }
        senders.join_all().await;

        let bob = world.client().await;
        bob.login("bob", crate::world::PASSWORD).await.unwrap();
        let mut listed = BTreeSet::new();
        let mut request = Some(PageRequest::first(1000));
        while let Some(page) = request {
            let page = bob.list_inbox(page).await.unwrap();
            listed.extend(
                page.items
                    .iter()
                    .map(|message| message.body[..5].to_owned()),
            );
            request = page.next_request(1000);
        }
        assert_eq!(listed.len(), count, "the whole inbox, by pages");

        let mut events = bob.subscribe(SubscribeOptions::default()).await.unwrap();
        let mut received = BTreeSet::new();
        while received.len() < count {
            let event = timeout(Duration::from_secs(30), events.next())
                .await
                .expect("the inbox goes on");
            if let Event::MessageReceived(message) = event.unwrap().unwrap() {
                assert!(
                    received.insert(message.body[..5].to_owned()),
                    "a message came twice"
                );
            }
        }
        events.close().await;
        let page = bob.list_inbox(PageRequest::first(10)).await.unwrap();
        assert!(
            page.items.is_empty(),
            "what was received is no longer waiting"
        );
        world.finish();
    });
}

/// Each send once rewrote everything that was stored. What a batch of sends costs the leader's processor is compared with
/// what the same batch cost when next to nothing was stored.
#[test]
fn a_send_costs_the_same_however_much_is_stored() {
    run(async {
        let world = World::start().await;
        world.user("bob").await;
        let alice = world.user("alice").await;
        let leader = world.cluster.process(0).unwrap();
        let mut number = 0;
        let mut batch = async |size: u64| {
            let before = processor_ticks(leader);
            let mut senders = JoinSet::new();
            for _ in 0..16 {
                let alice = alice.clone();
                senders.spawn(async move {
                    for n in 0..size / 16 {
                        alice.send_message("bob", &format!("{n}")).await.unwrap();
                    }
                });
            }
            senders.join_all().await;
            number += size;
            (processor_ticks(leader) - before) as f64 / size as f64
        };
        // The first ones pay for starting up.
        batch(1600).await;
        let few = batch(4000).await;
        batch(20_000).await;
        let many = batch(4000).await;
        println!(
            "processor time per send with {number} stored, as a ratio to that with 2 %: {:.2}",
            many / few
        );
        assert!(many < few * 3.0, "{many} ticks per send became of {few}");
        world.finish();
    });
}

/// User and system time of a process so far, in ticks of the system's clock.
fn processor_ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
