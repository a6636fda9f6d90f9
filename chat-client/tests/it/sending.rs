//! Many messages over one stream, which goes on at the next replica.

use std::time::Duration;

use chat_client::{ClientEvent, Error, Reason, Resent, Sending};
use tonic::Code;

use crate::fake::{Cluster, Step, no_leader, not_leader, refusal};

async fn hand_over(client: &chat_client::Client, bodies: &[&str]) -> Vec<Sending> {
    let sender = client.message_sender();
    let mut under_way = Vec::new();
    for body in bodies {
        under_way.push(sender.send("alice", body).await);
    }
    under_way
}

fn stored(cluster: &Cluster) -> Vec<String> {
    let store = cluster.store();
    store.messages.iter().map(|m| m.body.clone()).collect()
}

#[tokio::test]
async fn what_was_under_way_when_the_leader_died_is_sent_again() {
    let mut cluster = Cluster::start(3);
    let alice = cluster.user("alice").await;
    let mut events = alice.events();
    cluster.script(0, [Step::Answer, Step::CommitAndDie]);
    for sending in hand_over(&alice, &["one", "two", "three"]).await {
        sending.await.unwrap();
    }
    assert_eq!(stored(&cluster), ["one", "two", "three"]);
    match events.next().await {
        Some(ClientEvent::ReplicaSwitched { resent, .. }) => assert_eq!(resent, Resent::Message),
        other => panic!("{other:?}"),
    }
    cluster.buried(0);
}

#[tokio::test]
async fn a_replica_that_falls_silent_is_left() {
    let cluster = Cluster::start(3);
    let alice = cluster.user("alice").await;
    cluster.script(0, [Step::CommitAndHang]);
    cluster.script(1, [Step::Hang]);
    for sending in hand_over(&alice, &["one", "two"]).await {
        sending.await.unwrap();
    }
    assert_eq!(stored(&cluster), ["one", "two"]);
}

#[tokio::test]
async fn what_is_refused_for_the_moment_is_tried_again() {
    let cluster = Cluster::start(3);
    let alice = cluster.user("alice").await;
    cluster.script(0, [Step::Refuse(no_leader()), Step::Answer]);
    for sending in hand_over(&alice, &["one", "two"]).await {
        sending.await.unwrap();
    }
    let mut bodies = stored(&cluster);
    bodies.sort();
    assert_eq!(bodies, ["one", "two"]);
}

#[tokio::test]
async fn the_stream_moves_to_the_leader() {
    let cluster = Cluster::start(3);
    let alice = cluster.user("alice").await;
    cluster.script(0, [Step::Refuse(not_leader(&cluster, 2, 9))]);
    for sending in hand_over(&alice, &["one"]).await {
        sending.await.unwrap();
    }
    assert_eq!(cluster.met_by("SendMessage"), [0, 2]);
    assert_eq!(cluster.ids_of("SendMessage").len(), 1);
}

#[tokio::test]
async fn a_final_refusal_is_the_answer_to_that_message_alone() {
    let cluster = Cluster::start(3);
    let alice = cluster.user("alice").await;
    let refused = refusal(Code::NotFound, Reason::RecipientNotFound);
    cluster.script(0, [Step::Refuse(refused)]);
    let mut under_way = hand_over(&alice, &["one", "two"]).await.into_iter();
    let first = under_way.next().unwrap().await.unwrap_err();
    assert!(matches!(first, Error::NotFound(_)), "{first}");
    under_way.next().unwrap().await.unwrap();
    assert_eq!(cluster.met_by("SendMessage"), [0, 0], "nothing is repeated");
}

#[tokio::test]
async fn a_message_that_nobody_takes_is_given_up_with_its_id() {
    let mut cluster = Cluster::start(2);
    let alice = cluster
        .builder()
        .attempt_deadline(Duration::from_millis(50))
        .total_deadline(Duration::from_millis(200))
        .connect()
        .await
        .unwrap();
    cluster.kill(0);
    cluster.kill(1);
    let mut under_way = hand_over(&alice, &["one"]).await;
    let sending = under_way.remove(0);
    let id = sending.request_id();
    let error = sending.await.unwrap_err();
    assert_eq!(error.request_id(), Some(id), "{error}");
}
