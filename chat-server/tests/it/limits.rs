//! Each limit: what is beyond it is refused with its own reason and a word on when to try again, and nobody else notices.

use std::fs;
use std::time::Duration;

use chat_client::api::send_result::Result as SendOutcome;
use chat_client::{Error, PageRequest, Reason, RequestId, api};
use nix::sys::signal::Signal;
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{Cluster, PATIENCE, RawClient, Setup, by, eventually, reason_of};

fn mint() -> String {
    RequestId::mint().to_string()
}

/// It says why, and when to try again.
fn is_refused_for_now(status: &Status, reason: Reason) {
    assert_eq!(reason_of(status), Some(reason), "{status:?}");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let wait = status.get_details_retry_info().unwrap().retry_delay;
    assert!(wait.is_some_and(|wait| !wait.is_zero()), "{status:?}");
    assert!(!status.message().is_empty());
}

fn message(recipient: &str, body: &str) -> api::SendMessageRequest {
    api::SendMessageRequest {
        request_id: mint(),
        recipient: recipient.into(),
        body: body.into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_a_longest() {
    let cluster = Cluster::alone("hash_memory_kib = 64\nhash_passes = 1\nbody_bytes = 100").await;
    let ada = cluster.user("ada").await;
    let (longest, longer) = ("x".repeat(100), "x".repeat(101));
    ada.send_message("ada", &longest).await.unwrap();
    let mut messages = cluster.raw(0).messages();
    let refused = messages.send_message(by(&ada, message("ada", &longer)));
    let status = refused.await.unwrap_err();
    assert_eq!(reason_of(&status), Some(Reason::BodyTooLong));
    assert_eq!(status.code(), Code::ResourceExhausted);
    // There is nothing to wait for.
    assert!(status.get_details_retry_info().is_none());
    let refused = ada.send_message("ada", &longer).await.unwrap_err();
    assert!(matches!(refused, Error::Invalid(_)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_makes_so_many_requests_and_the_library_rides_it_out() {
    let cluster =
        Cluster::alone("hash_memory_kib = 64\nhash_passes = 1\nrequests_per_account = 5").await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let raw = cluster.raw(0);
    let mut refused = 0;
    for _ in 0..100 {
        let request = by(&ada, api::WhoAmIRequest::default());
        if let Err(status) = raw.auth().who_am_i(request).await {
            is_refused_for_now(&status, Reason::RateLimited);
            refused += 1;
        }
    }
    assert!(refused > 0);
    // Writes count as well, and those of others do not.
    let mut is_write_refused = false;
    for _ in 0..100 {
        let request = by(&ada, message("bob", "hello"));
        if let Err(status) = raw.messages().send_message(request).await {
            is_refused_for_now(&status, Reason::RateLimited);
            is_write_refused = true;
        }
    }
    assert!(is_write_refused);
    bob.who_am_i().await.unwrap();
    for _ in 0..5 {
        ada.send_message("bob", "in the end").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_makes_so_many_requests_and_others_are_served() {
    let limits = "hash_memory_kib = 64\nhash_passes = 1\nrequests_per_address = 5\nregistrations_per_address = 2";
    let cluster = Cluster::alone(limits).await;
    let ada = cluster.user("ada").await;
    let one = RawClient::from("127.0.0.5", &cluster.address(0));
    let other = RawClient::from("127.0.0.6", &cluster.address(0));
    let mut refused = 0;
    for _ in 0..100 {
        // Also what is refused for another reason counts.
        let status = one.auth().who_am_i(api::WhoAmIRequest::default()).await;
        let status = status.unwrap_err();
        if reason_of(&status) != Some(Reason::Unauthenticated) {
            is_refused_for_now(&status, Reason::RateLimited);
            refused += 1;
        }
    }
    assert!(refused > 0);
    let request = || by(&ada, api::WhoAmIRequest::default());
    other.auth().who_am_i(request()).await.unwrap();
    for _ in 0..100 {
        cluster.raw(0).auth().who_am_i(request()).await.unwrap();
    }
    for name in ["bob", "carol"] {
        other.register(&mint(), name, "password").await.unwrap();
    }
    let third = other.register(&mint(), "dave", "password").await;
    is_refused_for_now(&third.unwrap_err(), Reason::RateLimited);
    cluster.user("dave").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_too_fast_is_slowed_down_and_loses_nothing() {
    let cluster =
        Cluster::alone("hash_memory_kib = 64\nhash_passes = 1\nrequests_per_account = 20").await;
    let ada = cluster.user("ada").await;
    let messages = (0..120).map(|n| message("ada", &n.to_string())).collect();
    let requests = tokio_stream::once(api::SendMessagesRequest { messages });
    let mut raw = cluster.raw(0).messages();
    let answers = raw.send_messages(by(&ada, requests)).await.unwrap();
    let mut answers = answers.into_inner();
    let mut sent = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        for result in answer.results {
            assert!(
                matches!(result.result, Some(SendOutcome::Sent(_))),
                "{result:?}"
            );
            sent += 1;
        }
    }
    assert_eq!(sent, 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_so_many_subscriptions() {
    let cluster =
        Cluster::alone("hash_memory_kib = 64\nhash_passes = 1\nsubscriptions_per_account = 2")
            .await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let raw = cluster.raw(0);
    let subscribe = async |user| {
        let request = by(user, api::SubscribeRequest::default());
        raw.events().subscribe(request).await
    };
    let first = subscribe(&ada).await.unwrap();
    let _second = subscribe(&ada).await.unwrap();
    let third = subscribe(&ada).await.unwrap_err();
    is_refused_for_now(&third, Reason::TooManySubscriptions);
    subscribe(&bob).await.unwrap();
    drop(first);
    eventually("a place is free", || async { subscribe(&ada).await.ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_who_does_not_read_is_let_go_and_misses_nothing() {
    let cluster =
        Cluster::alone("hash_memory_kib = 64\nhash_passes = 1\nevents_per_subscriber = 8").await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let endpoint = Endpoint::from_shared(format!("http://{}", cluster.address(0))).unwrap();
    let slow = RawClient {
        channel: endpoint.initial_stream_window_size(65_535).connect_lazy(),
    };
    let request = by(&bob, api::SubscribeRequest::default());
    let mut stream = slow.events().subscribe(request).await.unwrap().into_inner();
    let body = "x".repeat(30_000);
    for _ in 0..60 {
        ada.send_message("bob", &body).await.unwrap();
    }
    let mut received = 0;
    let end = loop {
        match timeout(PATIENCE, stream.message()).await.unwrap() {
            Ok(Some(_)) => received += 1,
            Ok(None) => panic!("it ended without a word after {received}"),
            Err(status) => break status,
        }
    };
    is_refused_for_now(&end, Reason::Overloaded);
    assert!(received < 60, "{received}");
    let inbox = bob.list_inbox(PageRequest::first(100)).await.unwrap();
    assert_eq!(inbox.items.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_messages_wait_for_a_recipient_and_no_more() {
    let cluster =
        Cluster::alone("hash_memory_kib = 64\nhash_passes = 1\nundelivered_per_recipient = 5")
            .await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    cluster.user("carol").await;
    let raw = cluster.raw(0);
    let send = async |request: api::SendMessageRequest| {
        raw.messages().send_message(by(&ada, request)).await
    };
    // All at once, so that those on their way count as well.
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (raw, request) = (raw.clone(), by(&ada, message("bob", "hello")));
        sending.spawn(async move { raw.messages().send_message(request).await });
    }
    let answers = sending.join_all().await;
    for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        is_refused_for_now(refused, Reason::RecipientFull);
    }
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 5);
    let refused = ada.send_message("bob", "hello").await.unwrap_err();
    assert!(matches!(refused, Error::Exhausted(_)), "{refused:?}");
    send(message("carol", "hello")).await.unwrap();

    // Room for two, once two are delivered; a retry of what has come is no message of its own.
    let inbox = bob.list_inbox(PageRequest::first(10)).await.unwrap().items;
    assert_eq!(inbox.len(), 5);
    bob.confirm_delivery(&[inbox[0].id, inbox[1].id])
        .await
        .unwrap();
    let next = message("bob", "after all");
    eventually("there is room again", || async {
        send(next.clone()).await.ok()
    })
    .await;
    send(message("bob", "the last")).await.unwrap();
    send(next.clone()).await.unwrap();
    let refused = send(message("bob", "too many")).await.unwrap_err();
    is_refused_for_now(&refused, Reason::RecipientFull);
    let inbox = bob.list_inbox(PageRequest::first(10)).await.unwrap().items;
    assert_eq!(inbox.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_a_largest_and_so_have_its_headers() {
    let limits = "hash_memory_kib = 64\nhash_passes = 1\nrequest_bytes = 2048\nheader_bytes = 2048";
    let cluster = Cluster::alone(limits).await;
    let ada = cluster.user("ada").await;
    let raw = cluster.raw(0);
    let message_ids = (0..100).map(|_| mint()).collect();
    let request = api::ConfirmDeliveryRequest {
        request_id: mint(),
        message_ids,
    };
    let refused = raw.messages().confirm_delivery(by(&ada, request)).await;
    let status = refused.unwrap_err();
    assert_eq!(reason_of(&status), Some(Reason::RequestTooLarge));
    assert_eq!(status.code(), Code::ResourceExhausted);

    // On a stream as well, where it is its end.
    let messages = (0..100).map(|_| message("ada", "hello")).collect();
    let requests = tokio_stream::once(api::SendMessagesRequest { messages });
    let answers = raw.messages().send_messages(by(&ada, requests)).await;
    let end = answers.unwrap().into_inner().message().await.unwrap_err();
    assert_eq!(reason_of(&end), Some(Reason::RequestTooLarge));

    let mut request = by(&ada, api::WhoAmIRequest::default());
    let long = "x".repeat(4096).parse().unwrap();
    request.metadata_mut().insert("x-long", long);
    raw.auth().who_am_i(request).await.unwrap_err();
    ada.who_am_i().await.unwrap();
}

/// The disk of a follower fills up: were it not for the reserve, its log could not be written, and it would have to go.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_disk_nearly_full_nothing_is_written_everything_read_and_nothing_lost() {
    let cluster = Cluster::start(Setup {
        limits: "hash_memory_kib = 64\nhash_passes = 1\ndisk_reserve_mib = 0",
        ..Setup::default()
    })
    .await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    for n in 0..10 {
        ada.send_message("bob", &n.to_string()).await.unwrap();
    }
    let leader = cluster.settled(3).await;
    let follower = (leader + 1) % 3;
    let text = fs::read_to_string(cluster.file()).unwrap();
    // No disk has a pebibyte to spare.
    let huge = text.replace("disk_reserve_mib = 0", "disk_reserve_mib = 1073741824");
    fs::write(cluster.file(), &huge).unwrap();
    cluster.signal(follower, Signal::SIGHUP);
    let raw = cluster.raw(leader);
    let send = async |text: &str| {
        let request = by(&ada, message("bob", text));
        raw.messages().send_message(request).await
    };
    let mut accepted = 0;
    let refused = eventually("the leader hears of it", || async {
        send("at the last moment").await.err()
    });
    let refused = refused.await;
    is_refused_for_now(&refused, Reason::DiskFull);
    assert!(refused.message().contains(&format!("replica {follower} ")));
    let inbox = bob
        .list_inbox(PageRequest::first(1000))
        .await
        .unwrap()
        .items;
    accepted += inbox.len();
    assert!(accepted >= 10);
    for id in 0..3 {
        cluster.at(id, &bob).await.who_am_i().await.unwrap();
        assert!(cluster.is_healthy(id).await);
    }
    for id in [leader, follower] {
        let (code, text) = cluster.page(id, "/readyz").unwrap();
        assert_eq!(code, 200);
        assert!(text.contains("nothing is written"), "{text}");
    }
    let (said, code) = cluster
        .program(&["status", "--id", &leader.to_string()])
        .await;
    assert_eq!(code, Some(1));
    assert!(
        said.contains("nothing is written, since the disk of"),
        "{said}"
    );

    fs::write(cluster.file(), &text).unwrap();
    cluster.signal(follower, Signal::SIGHUP);
    // The library waits until there is room.
    ada.send_message("bob", "there is room again")
        .await
        .unwrap();
    let inbox = bob
        .list_inbox(PageRequest::first(1000))
        .await
        .unwrap()
        .items;
    assert_eq!(inbox.len(), accepted + 1);
    assert_eq!(cluster.settled(3).await, leader);
    tokio::time::timeout(Duration::from_secs(30), ada.who_am_i())
        .await
        .unwrap()
        .unwrap();
}
