//! Nobody there, in all its forms.

use std::net::TcpListener;
use std::time::Duration;

use chat_client::{Client, Error};

use crate::fake::Cluster;

/// An address at which nobody listens.
fn vacant() -> String {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

#[tokio::test]
async fn nobody_listening_is_told_from_nobody_answering() {
    let refused = Client::builder()
        .endpoints([vacant(), vacant()])
        .refusal_patience(Duration::ZERO)
        .connect()
        .await
        .unwrap();
    let error = refused.register("alice", "password").await.unwrap_err();
    let Error::NothingListens(gave_up) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(gave_up.attempts.len(), 2, "{error}");
    assert!(
        gave_up.request_id.is_some(),
        "a write can be repeated under its id"
    );
    assert!(error.to_string().contains("refused"), "{error}");

    // Accepts connections, and says nothing: the kernel completes the handshake for it.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = Client::builder()
        .endpoints([mute.local_addr().unwrap()])
        .attempt_deadline(Duration::from_millis(50))
        .total_deadline(Duration::from_millis(200))
        .connect()
        .await
        .unwrap();
    let error = silent.cluster_status().await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error:?}");
}

#[tokio::test]
async fn refusals_are_put_up_with_until_the_cluster_is_back() {
    let mut cluster = Cluster::start(2);
    let alice = cluster.user("alice").await;
    cluster.kill(0);
    cluster.kill(1);
    let asking = tokio::spawn(async move { alice.who_am_i().await });
    cluster.restart(1);
    assert_eq!(asking.await.unwrap().unwrap().account.name, "alice");
}

#[tokio::test]
async fn one_address_is_enough_to_find_the_others() {
    let mut cluster = Cluster::start(3);
    let client = Client::connect([cluster.addresses()[0].clone()])
        .await
        .unwrap();
    client.cluster_status().await.unwrap();
    assert_eq!(client.endpoints().len(), 3);
    cluster.kill(0);
    client.register("alice", "password").await.unwrap();
}
