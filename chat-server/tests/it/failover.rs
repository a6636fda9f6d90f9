//! Replicas die, and what was promised holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chat_client::{Client, Event, PageRequest, RequestId, SubscribeOptions, api};

use crate::support::{Cluster, PATIENCE, RawClient, by, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_survives_the_replica_that_opened_it() {
    let mut cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    let first = cluster.settled(3).await;
    cluster.kill(first);
    ada.who_am_i().await.unwrap();
    ada.send_message("ada", "under the second leader")
        .await
        .unwrap();
    let second = cluster.settled(2).await;
    cluster.kill(second);
    ada.send_message("ada", "under the third leader")
        .await
        .unwrap();
    let history = ada
        .list_history("ada", PageRequest::default())
        .await
        .unwrap()
        .items;
    assert_eq!(history.len(), 2);
    cluster.launch(first);
    cluster.launch(second);
    cluster.settled(3).await;
    for id in 0..3 {
        let here = cluster.at(id, &ada).await;
        assert_eq!(
            here.list_history("ada", PageRequest::default())
                .await
                .unwrap()
                .items
                .len(),
            2
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_through_a_follower_go_on_while_the_leader_is_killed() {
    let mut cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    let leader = cluster.settled(3).await;
    let here = cluster.at((leader + 1) % 3, &ada).await;
    let writing = tokio::spawn(async move {
        let mut sent = Vec::new();
        for number in 0..200 {
            sent.push(
                here.send_message("ada", &number.to_string())
                    .await
                    .unwrap()
                    .message_id,
            );
        }
        sent
    });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    cluster.kill(leader);
    let sent = writing.await.unwrap();
    let history = ada
        .list_history("ada", PageRequest::first(1000))
        .await
        .unwrap()
        .items;
    let mut found: Vec<_> = history.iter().map(|message| message.id).collect();
    found.reverse();
    assert_eq!(found, sent, "each message is there once, in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_misses_nothing_when_its_replica_is_killed() {
    let mut cluster = Cluster::three().await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let mut stream = bob.subscribe(SubscribeOptions::default()).await.unwrap();
    let sending = tokio::spawn(async move {
        for number in 0..200 {
            ada.send_message("bob", &number.to_string()).await.unwrap();
        }
    });
    let mut bodies = Vec::new();
    let mut victim = Some(0);
    while bodies.len() < 200 {
        // The one that clients try first, once the stream is well under way.
        if let Some(id) = victim.take_if(|_| bodies.len() == 50) {
            cluster.kill(id);
        }
        let event = tokio::time::timeout(PATIENCE, stream.next()).await;
        let event = event
            .expect("an event")
            .expect("the stream goes on")
            .unwrap();
        if let Event::MessageReceived(message) = event {
            bodies.push(message.body);
        }
    }
    sending.await.unwrap();
    assert_eq!(
        bodies,
        (0..200)
            .map(|number| number.to_string())
            .collect::<Vec<_>>()
    );
}

/// Sends until `enough` says so, one attempt each, at one replica. Says how many were sent.
async fn send_until(raw: &RawClient, user: &Client, mut enough: impl FnMut(u32) -> bool) -> u32 {
    let mut sent = 0;
    while !enough(sent) {
        let request = api::SendMessageRequest {
            request_id: RequestId::mint().to_string(),
            recipient: "ada".to_owned(),
            body: sent.to_string(),
        };
        let answer = raw.messages().send_message(by(user, request)).await;
        answer.unwrap_or_else(|status| panic!("send {sent} is refused: {status}"));
        sent += 1;
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_hides_the_death_of_the_leader_from_its_callers() {
    let mut cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    let leader = cluster.settled(3).await;
    let raw = cluster.raw((leader + 1) % 3);
    let (halfway, is_halfway) = tokio::sync::oneshot::channel();
    let mut halfway = Some(halfway);
    let sending = tokio::spawn({
        let ada = ada.clone();
        async move {
            send_until(&raw, &ada, |sent| {
                if sent == 50 {
                    halfway.take().unwrap().send(()).unwrap();
                }
                sent == 100
            })
            .await
        }
    });
    is_halfway.await.unwrap();
    cluster.kill(leader);
    assert_eq!(sending.await.unwrap(), 100);
    let history = ada
        .list_history("ada", PageRequest::first(1000))
        .await
        .unwrap()
        .items;
    assert_eq!(history.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hands_over_hides_that_from_its_callers() {
    let mut cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    let first = cluster.settled(3).await;
    cluster.kill(first);
    let second = cluster.settled(2).await;
    let raw = cluster.raw(second);
    cluster.launch(first);
    let handed_over = Arc::new(AtomicBool::new(false));
    let sending = tokio::spawn({
        let (ada, handed_over) = (ada.clone(), Arc::clone(&handed_over));
        async move { send_until(&raw, &ada, |_| handed_over.load(Ordering::Relaxed)).await }
    });
    eventually("the preferred replica leads again", || async {
        (cluster.settled(3).await == first).then_some(())
    })
    .await;
    handed_over.store(true, Ordering::Relaxed);
    let sent = sending.await.unwrap();
    let mut found = 0;
    let mut token = None;
    loop {
        let page = PageRequest { size: 1000, token };
        let page = ada.list_history("ada", page).await.unwrap();
        found += page.items.len();
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(found, sent as usize);
}
