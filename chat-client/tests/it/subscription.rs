//! The stream of events goes on at another replica without a gap and without a repetition.

use std::time::Duration;

use chat_client::{
    Client, ClientEvent, Confirmation, Error, Event, LogoutScope, Reason, Resent, ResumeToken,
    SubscribeOptions, Subscription,
};
use tonic::Code;

use crate::fake::{Cluster, Step, StreamStep, no_leader, refusal};

async fn subscribe(client: &Client) -> Subscription {
    client.subscribe(SubscribeOptions::default()).await.unwrap()
}

/// The bodies of the next messages received, whatever else comes between.
async fn bodies(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        if let Event::MessageReceived(message) = next(subscription).await {
            bodies.push(message.body);
        }
    }
    bodies
}

async fn next(subscription: &mut Subscription) -> Event {
    let next = tokio::time::timeout(Duration::from_secs(20), subscription.next());
    next.await
        .expect("an event in time")
        .expect("an open stream")
        .expect("an event")
}

/// Asserts that nothing comes but what says nothing about messages.
async fn nothing_more(subscription: &mut Subscription) {
    let quiet = Duration::from_millis(200);
    while let Ok(event) = tokio::time::timeout(quiet, subscription.next()).await {
        match event.unwrap().unwrap() {
            Event::Connected { .. } | Event::Reset | Event::MessageSent(_) => {}
            Event::MessagesDelivered { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

async fn two(count: usize) -> (Cluster, Client) {
    let cluster = Cluster::start(count);
    cluster.user("bob").await;
    let alice = cluster.user("alice").await;
    (cluster, alice)
}

#[tokio::test]
async fn it_resumes_behind_the_last_event_whatever_ends_the_stream() {
    for ending in [
        StreamStep::EndAfter(2),
        StreamStep::DrainAfter(2),
        StreamStep::DieAfter(2),
        StreamStep::SilentAfter(2),
    ] {
        let (cluster, alice) = two(2).await;
        cluster.script_streams(0, [ending.clone()]);
        for n in 0..5 {
            cluster.post("bob", "alice", &n.to_string());
        }
        // Only the silent one may need the deadline.
        let silence_deadline = match ending {
            StreamStep::SilentAfter(_) => Duration::from_millis(300),
            _ => Duration::from_secs(3600),
        };
        let options = SubscribeOptions {
            silence_deadline,
            ..Default::default()
        };
        let mut subscription = alice.subscribe(options).await.unwrap();
        assert_eq!(
            bodies(&mut subscription, 5).await,
            numbers(0..5),
            "{ending:?}"
        );
        cluster.post("bob", "alice", "5");
        assert_eq!(bodies(&mut subscription, 1).await, ["5"], "{ending:?}");
        nothing_more(&mut subscription).await;
        assert_eq!(cluster.met_by("Subscribe")[..2], [0, 1], "{ending:?}");
        let tokens = cluster.ids_of("Subscribe");
        assert!(tokens[0].is_empty() && !tokens[1].is_empty(), "{tokens:?}");
    }
}

#[tokio::test]
async fn after_a_reset_each_message_is_still_yielded_once() {
    let (mut cluster, alice) = two(2).await;
    for n in 0..5 {
        cluster.post("bob", "alice", &n.to_string());
    }
    // Nothing is confirmed, so that the reset brings everything again.
    let options = SubscribeOptions {
        confirmation: Confirmation::Manual,
        ..Default::default()
    };
    let mut subscription = alice.subscribe(options).await.unwrap();
    assert_eq!(bodies(&mut subscription, 3).await, numbers(0..3));
    cluster.script_streams(1, [StreamStep::Reset]);
    cluster.kill(0);
    cluster.post("bob", "alice", "5");
    assert_eq!(bodies(&mut subscription, 3).await, numbers(3..6));
    nothing_more(&mut subscription).await;
    assert!(cluster.store().confirmations.is_empty());
}

#[tokio::test]
async fn events_that_come_twice_are_yielded_once() {
    let (cluster, alice) = two(1).await;
    cluster.script_streams(0, [StreamStep::Twice]);
    for n in 0..5 {
        cluster.post("bob", "alice", &n.to_string());
    }
    let mut subscription = subscribe(&alice).await;
    assert_eq!(bodies(&mut subscription, 5).await, numbers(0..5));
    nothing_more(&mut subscription).await;
}

#[tokio::test]
async fn messages_are_confirmed_in_batches_and_each_once() {
    let (cluster, alice) = two(3).await;
    for n in 0..250 {
        cluster.post("bob", "alice", &n.to_string());
    }
    // The first batch is committed by a replica that does not answer.
    cluster.script(0, [Step::CommitAndHang]);
    let mut subscription = subscribe(&alice).await;
    bodies(&mut subscription, 250).await;
    subscription.close().await;
    let store = cluster.store();
    assert!(store.inbox("alice").is_empty());
    assert_eq!(store.confirmations.concat().len(), 250, "none twice");
    assert!(
        store.confirmations.len() <= 10,
        "{} batches",
        store.confirmations.len()
    );
    drop(store);
    let met = cluster.met_by("ConfirmDelivery");
    assert_eq!(met[..2], [0, 1]);
    assert_eq!(
        cluster.ids_of("ConfirmDelivery").len(),
        met.len() - 1,
        "repeated under its id"
    );
}

#[tokio::test]
async fn a_message_in_hand_is_not_confirmed() {
    let (cluster, alice) = two(1).await;
    cluster.post("bob", "alice", "handled");
    cluster.post("bob", "alice", "in hand");
    let mut subscription = subscribe(&alice).await;
    assert_eq!(bodies(&mut subscription, 2).await, ["handled", "in hand"]);
    // The reader crashes here.
    drop(subscription);
    while cluster.store().confirmations.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let inbox = cluster.store().inbox("alice");
    assert_eq!(
        inbox.iter().map(|m| m.body.as_str()).collect::<Vec<_>>(),
        ["in hand"]
    );
    assert_eq!(bodies(&mut subscribe(&alice).await, 1).await, ["handled"]);
}

#[tokio::test]
async fn a_confirmation_that_was_lost_with_a_history_is_repeated() {
    let (mut cluster, alice) = two(2).await;
    cluster.post("bob", "alice", "once");
    let mut subscription = subscribe(&alice).await;
    assert_eq!(bodies(&mut subscription, 1).await, ["once"]);
    nothing_more(&mut subscription).await;
    assert!(cluster.store().inbox("alice").is_empty());
    cluster.store().messages[0].delivered = false;
    cluster.script_streams(1, [StreamStep::Reset]);
    cluster.kill(0);
    nothing_more(&mut subscription).await;
    subscription.close().await;
    assert!(cluster.store().inbox("alice").is_empty());
}

#[tokio::test]
async fn a_later_subscription_goes_on_with_the_token_of_the_last_event() {
    let (cluster, alice) = two(1).await;
    for n in 0..4 {
        cluster.post("bob", "alice", &n.to_string());
    }
    let mut options = SubscribeOptions {
        confirmation: Confirmation::Manual,
        ..Default::default()
    };
    let mut first = alice.subscribe(options.clone()).await.unwrap();
    assert_eq!(bodies(&mut first, 2).await, numbers(0..2));
    options.resume = ResumeToken::from_bytes(first.resume_token().as_bytes());
    drop(first);
    let mut second = alice.subscribe(options).await.unwrap();
    assert_eq!(bodies(&mut second, 2).await, numbers(2..4));
}

#[tokio::test]
async fn a_switch_of_the_replica_is_told() {
    let (mut cluster, alice) = two(2).await;
    alice.cluster_status_everywhere().await;
    let mut subscription = subscribe(&alice).await;
    assert!(matches!(
        next(&mut subscription).await,
        Event::Connected { replica_id: 0, .. }
    ));
    let mut events = alice.events();
    cluster.kill(0);
    assert!(matches!(
        next(&mut subscription).await,
        Event::Connected { replica_id: 1, .. }
    ));
    match events.next().await {
        Some(ClientEvent::ReplicaSwitched {
            from,
            to,
            resent: Resent::Nothing,
        }) => {
            assert_eq!(format!("{from}, {to}"), "replica 0, replica 1");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn streams_that_keep_ending_do_not_spin() {
    let (cluster, alice) = two(1).await;
    cluster.script_streams(0, vec![StreamStep::EndAfter(0); 100_000]);
    let mut subscription = subscribe(&alice).await;
    cluster.post("bob", "alice", "patience");
    let reading = bodies(&mut subscription, 1);
    assert!(
        tokio::time::timeout(Duration::from_millis(500), reading)
            .await
            .is_err()
    );
    // Pauses that double from 10 ms leave room for less than ten; without them there would be hundreds.
    let attempts = cluster.met_by("Subscribe").len();
    assert!((2..50).contains(&attempts), "{attempts}");
    cluster.script_clear(0);
    assert_eq!(bodies(&mut subscription, 1).await, ["patience"]);
}

#[tokio::test]
async fn a_confirmation_outlives_the_deadline_of_a_call_under_its_request_id() {
    let cluster = Cluster::start(1);
    let client = cluster
        .builder()
        .total_deadline(Duration::from_millis(50))
        .connect()
        .await;
    let alice = client.unwrap();
    alice.register("alice", "password").await.unwrap();
    alice.login("alice", "password").await.unwrap();
    cluster.post("alice", "alice", "once");
    cluster.script(0, vec![Step::Refuse(no_leader()); 20]);
    let mut subscription = subscribe(&alice).await;
    assert_eq!(bodies(&mut subscription, 1).await, ["once"]);
    nothing_more(&mut subscription).await;
    while cluster.store().confirmations.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(cluster.met_by("ConfirmDelivery").len(), 21);
    assert_eq!(cluster.ids_of("ConfirmDelivery").len(), 1);
}

#[tokio::test]
async fn it_ends_with_the_session() {
    let (cluster, alice) = two(2).await;
    let mut subscription = subscribe(&alice).await;
    assert!(matches!(
        next(&mut subscription).await,
        Event::Connected { .. }
    ));
    let status = refusal(Code::Unauthenticated, Reason::SessionExpired);
    cluster.script_streams(1, [StreamStep::Refuse(status)]);
    let mut cluster = cluster;
    cluster.kill(0);
    let error = subscription.next().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::SessionExpired));
    assert!(subscription.next().await.is_none());
}

#[tokio::test]
async fn without_a_session_there_is_no_subscription() {
    let (cluster, alice) = two(1).await;
    alice.logout(LogoutScope::AllSessions).await.unwrap();
    let error = alice
        .subscribe(SubscribeOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unauthenticated(_)), "{error:?}");
    drop(cluster);
}

#[tokio::test]
async fn a_replica_that_does_not_know_a_new_session_yet_is_given_time() {
    // A follower that lagged by a moment refused the subscription of somebody who had just logged in.
    let (cluster, alice) = two(1).await;
    let unknown = || StreamStep::Refuse(refusal(Code::Unauthenticated, Reason::Unauthenticated));
    cluster.script_streams(0, [unknown(), unknown()]);
    let mut subscription = subscribe(&alice).await;
    assert!(matches!(
        next(&mut subscription).await,
        Event::Connected { .. }
    ));
    assert_eq!(cluster.met_by("Subscribe").len(), 3);
}
