//! Subscriptions, at any replica.

use std::collections::{BTreeMap, BTreeSet};

use chat_client::api::subscribe_response::Event as Wire;
use chat_client::{
    Client, Confirmation, DeleteScope, Event, LogoutScope, ResumeToken, SubscribeOptions,
    Subscription, api,
};
use tokio::time::timeout;
use tonic::Streaming;

use crate::support::{Cluster, PATIENCE, by, eventually};

async fn next(stream: &mut Subscription) -> Event {
    timeout(PATIENCE, stream.next())
        .await
        .expect("an event")
        .expect("the stream goes on")
        .unwrap()
}

/// The next event that is not about the cluster.
async fn next_own(stream: &mut Subscription) -> Event {
    loop {
        match next(stream).await {
            Event::Connected { .. } | Event::LeaderChanged(_) => {}
            event => return event,
        }
    }
}

async fn next_body(stream: &mut Subscription) -> String {
    match next_own(stream).await {
        Event::MessageReceived(message) => message.body,
        other => panic!("not a message: {other:?}"),
    }
}

fn by_hand(resume: ResumeToken) -> SubscribeOptions {
    SubscribeOptions {
        resume,
        confirmation: Confirmation::Manual,
        ..SubscribeOptions::default()
    }
}

async fn subscribe(client: &Client) -> Subscription {
    client.subscribe(SubscribeOptions::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_to_both_sides_at_other_replicas() {
    let cluster = Cluster::three().await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let (ada_at_1, bob_at_2) = (cluster.at(1, &ada).await, cluster.at(2, &bob).await);
    let mut told_ada = subscribe(&ada_at_1).await;
    let mut told_bob = subscribe(&bob_at_2).await;
    assert!(matches!(
        next(&mut told_bob).await,
        Event::Connected {
            replica_id: 2,
            leader: Some(_)
        }
    ));

    let sent = ada.send_message("bob", "hello").await.unwrap();
    assert!(
        matches!(next_own(&mut told_ada).await, Event::MessageSent(message) if message.id == sent.message_id)
    );
    let Event::MessageReceived(message) = next_own(&mut told_bob).await else {
        panic!("no message");
    };
    assert_eq!(
        (message.id, message.sequence),
        (sent.message_id, sent.sequence)
    );
    // Asking for the next event confirms this one.
    let bob_next = tokio::spawn(async move {
        let event = next_own(&mut told_bob).await;
        (told_bob, event)
    });
    match next_own(&mut told_ada).await {
        Event::MessagesDelivered {
            messages,
            recipient,
        } => {
            assert_eq!(
                (messages, recipient.name.as_str()),
                (vec![sent.message_id], "bob")
            );
        }
        other => panic!("not delivered: {other:?}"),
    }
    bob.mark_read(&[sent.message_id]).await.unwrap();
    assert!(matches!(
        next_own(&mut told_ada).await,
        Event::MessagesRead { messages, reader } if messages == [sent.message_id] && reader.name == "bob"
    ));
    let (mut told_bob, event) = bob_next.await.unwrap();
    assert!(matches!(event, Event::MessagesRead { .. }), "{event:?}");

    ada.delete_messages(&[sent.message_id], DeleteScope::ForBoth)
        .await
        .unwrap();
    assert!(matches!(
        next_own(&mut told_ada).await,
        Event::MessagesDeleted { messages, peer } if messages == [sent.message_id] && peer.name == "bob"
    ));
    assert!(matches!(
        next_own(&mut told_bob).await,
        Event::MessagesDeleted { messages, peer } if messages == [sent.message_id] && peer.name == "ada"
    ));
    bob.send_message("ada", "bye").await.unwrap();
    assert!(matches!(
        next_own(&mut told_bob).await,
        Event::MessageSent(_)
    ));
    ada.delete_account("password").await.unwrap();
    assert!(matches!(next_own(&mut told_bob).await, Event::PeerDeleted(peer) if peer.deleted));
    assert!(matches!(
        next_own(&mut told_ada).await,
        Event::MessageReceived(_)
    ));
    assert!(matches!(
        next_own(&mut told_ada).await,
        Event::SessionClosed { .. }
    ));
    assert!(
        told_ada.next().await.is_none(),
        "the stream of a session that has ended ends"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_at_another_replica_right_behind_the_last_event() {
    let cluster = Cluster::three().await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let mut stream = cluster
        .at(0, &bob)
        .await
        .subscribe(by_hand(ResumeToken::default()))
        .await
        .unwrap();
    ada.send_message("bob", "one").await.unwrap();
    assert_eq!(next_body(&mut stream).await, "one");
    let resume = stream.resume_token().clone();
    assert!(!resume.is_start());
    drop(stream);
    ada.send_message("bob", "two").await.unwrap();
    ada.send_message("bob", "three").await.unwrap();
    for id in [1, 2, 0] {
        let mut stream = cluster
            .at(id, &bob)
            .await
            .subscribe(by_hand(resume.clone()))
            .await
            .unwrap();
        // No reset, and no `one`, though nobody has confirmed it.
        assert!(matches!(next(&mut stream).await, Event::Connected { .. }));
        assert_eq!(next_body(&mut stream).await, "two");
        assert_eq!(next_body(&mut stream).await, "three");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_known_gets_a_reset_and_all_that_is_not_confirmed() {
    let mut cluster = Cluster::three().await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let mut stream = bob
        .subscribe(by_hand(ResumeToken::default()))
        .await
        .unwrap();
    for body in ["one", "two"] {
        ada.send_message("bob", body).await.unwrap();
        assert_eq!(next_body(&mut stream).await, body);
    }
    let old = stream.resume_token().clone();
    drop(stream);
    ada.send_message("bob", "three").await.unwrap();
    for id in 0..3 {
        cluster.stop(id);
    }
    for id in 0..3 {
        cluster.launch(id);
    }
    cluster.settled(3).await;
    // After a clean stop the events before it are in nobody's memory.
    for token in [old, ResumeToken::from_bytes(*b"garbage")] {
        let mut stream = bob.subscribe(by_hand(token)).await.unwrap();
        assert_eq!(next(&mut stream).await, Event::Reset);
        for body in ["one", "two", "three"] {
            assert_eq!(next_body(&mut stream).await, body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_elsewhere_or_a_logout_ends_the_stream_of_that_session_only() {
    let cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    let phone = cluster.client().await;
    phone.login("ada", "password").await.unwrap();
    let mut at_desk = subscribe(&ada).await;
    let mut on_phone = subscribe(&phone).await;
    phone.logout(LogoutScope::ThisSession).await.unwrap();
    assert!(matches!(
        next_own(&mut on_phone).await,
        Event::SessionClosed { .. }
    ));
    ada.send_message("ada", "still here").await.unwrap();
    assert!(matches!(
        next_own(&mut at_desk).await,
        Event::MessageSent(_)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stops_sends_its_subscribers_elsewhere_first() {
    let mut cluster = Cluster::three().await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let leader = cluster.settled(3).await;
    let leaving = (leader + 1) % 3;
    let mut wire = raw_stream(&cluster, leaving, &bob).await;
    let mut stream = cluster
        .at(leaving, &bob)
        .await
        .subscribe(by_hand(ResumeToken::default()))
        .await
        .unwrap();
    assert!(matches!(next(&mut stream).await, Event::Connected { .. }));
    assert!(cluster.stop(leaving).success());
    let mut is_draining = false;
    while let Ok(Some(response)) = wire.message().await {
        is_draining = matches!(response.event, Some(Wire::Draining(_)));
    }
    assert!(is_draining, "the last word is that the replica goes away");
    assert!(cluster.log_of(leaving).contains("stopped"));
    cluster.launch(leaving);
    cluster.settled(3).await;
    ada.send_message("bob", "hello").await.unwrap();
    assert_eq!(next_body(&mut stream).await, "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_leader_is_told() {
    let mut cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    let leader = cluster.settled(3).await;
    let follower = (leader + 1) % 3;
    let mut stream = subscribe(&cluster.at(follower, &ada).await).await;
    assert!(matches!(next(&mut stream).await, Event::Connected { .. }));
    cluster.kill(leader);
    match next(&mut stream).await {
        Event::LeaderChanged(now) => {
            assert_ne!(now.replica_id as usize, leader);
            assert_eq!(now.client_address, cluster.address(now.replica_id as usize));
        }
        other => panic!("no change of leader: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_is_cut_off_and_the_sender_never_waits() {
    let cluster = Cluster::three().await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let mut wire = raw_stream(&cluster, 1, &bob).await;
    // More than its queue and the connection's window hold together.
    let body = "x".repeat(16 * 1024);
    let mut sends = tokio::task::JoinSet::new();
    for sender in 0..8 {
        let (ada, body) = (ada.clone(), body.clone());
        sends.spawn(async move {
            for _ in 0..200 {
                ada.send_message("bob", &body).await.unwrap();
            }
            sender
        });
    }
    sends.join_all().await;
    let mut received = 0;
    let end = loop {
        match timeout(PATIENCE, wire.message())
            .await
            .expect("the stream ends")
        {
            Ok(Some(_)) => received += 1,
            Ok(None) => break None,
            Err(status) => break Some(status),
        }
        assert!(received < 1600, "{received} events were kept for it");
    };
    if let Some(status) = end {
        assert_eq!(
            crate::support::reason_of(&status),
            Some(chat_client::Reason::Overloaded)
        );
    }
    // All of it is in the inbox.
    let mut stream = bob
        .subscribe(by_hand(ResumeToken::default()))
        .await
        .unwrap();
    for _ in 0..1600 {
        assert_eq!(next_body(&mut stream).await.len(), body.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_inbox_arrives_once_while_more_comes_in() {
    let cluster = Cluster::three().await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let mut sends = tokio::task::JoinSet::new();
    for sender in 0..32 {
        let ada = ada.clone();
        sends.spawn(async move {
            for number in 0..50 {
                let body = format!("{sender}: {number}");
                ada.send_message("bob", &body).await.unwrap();
            }
        });
    }
    // Some are in the inbox by now, and others come while it is read.
    eventually("an inbox of several pages", || async {
        let status = cluster.status(2).await?;
        (status.messages > 400).then_some(())
    })
    .await;
    let mut wire = raw_stream(&cluster, 2, &bob).await;
    let mut received = BTreeMap::new();
    while received.len() < 1600 {
        let response = timeout(PATIENCE, wire.message())
            .await
            .expect("an event")
            .unwrap()
            .unwrap();
        if let Some(Wire::MessageReceived(event)) = response.event {
            let message = event.message.unwrap();
            let earlier = received.insert(message.sequence, message.body);
            assert_eq!(earlier, None, "a message came twice");
            assert_eq!(
                received.last_key_value().unwrap().0,
                &message.sequence,
                "they come in order"
            );
        }
    }
    sends.join_all().await;
    let bodies: BTreeSet<_> = received.values().collect();
    assert_eq!(bodies.len(), 1600);
}

async fn raw_stream(
    cluster: &Cluster,
    id: usize,
    user: &Client,
) -> Streaming<api::SubscribeResponse> {
    eventually("a stream", || async {
        let request = by(user, api::SubscribeRequest::default());
        Some(
            cluster
                .raw(id)
                .events()
                .subscribe(request)
                .await
                .ok()?
                .into_inner(),
        )
    })
    .await
}
