//! Too much of what is right.

use std::collections::BTreeMap;

use chat_client::{Reason, RequestId, api};
use tokio::task::JoinSet;

use crate::bystander::{ALLOWED, Scene};
use crate::support::{RawClient, by, reason_of};

fn mint() -> String {
    RequestId::mint().to_string()
}

/// From many addresses, at many names: only the hashing is the limit, and that is bounded.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logins() {
    let limits = "hash_workers = 1\nhash_memory_kib = 4096\nhash_passes = 1";
    let scene = Scene::new(limits).await;
    let mut attacks = JoinSet::new();
    for n in 0..40_u32 {
        let raw = RawClient::from(&format!("127.0.1.{}", n + 1), &scene.address());
        attacks.spawn(async move {
            let mut logins = JoinSet::new();
            for m in 0..25 {
                let (raw, name) = (raw.clone(), format!("user{m}"));
                logins.spawn(async move {
                    let refused = raw.login(&mint(), &name, "wrong password").await;
                    reason_of(&refused.unwrap_err()).unwrap()
                });
            }
            logins.join_all().await
        });
    }
    let mut reasons = BTreeMap::new();
    for reason in attacks.join_all().await.into_iter().flatten() {
        *reasons.entry(reason).or_insert(0) += 1;
    }
    let known = [
        Reason::BadCredentials,
        Reason::Overloaded,
        Reason::TooManyLogins,
    ];
    assert!(
        reasons.keys().all(|reason| known.contains(reason)),
        "{reasons:?}"
    );
    assert!(reasons.contains_key(&Reason::Overloaded), "{reasons:?}");
    scene.ends_well("a flood of logins", ALLOWED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_registrations() {
    let scene = Scene::new("hash_memory_kib = 64\nhash_passes = 1").await;
    let mut attacks = JoinSet::new();
    for n in 0..10_u32 {
        let raw = RawClient::from(&format!("127.0.2.{}", n + 1), &scene.address());
        attacks.spawn(async move {
            let mut made = 0;
            for m in 0..100 {
                let name = format!("user-{n}-{m}");
                match raw.register(&mint(), &name, "password").await {
                    Ok(_) => made += 1,
                    Err(status) => assert_eq!(reason_of(&status), Some(Reason::RateLimited)),
                }
            }
            made
        });
    }
    let made: u32 = attacks.join_all().await.into_iter().sum();
    // Sixty for each address, and one a second more.
    assert!((600..700).contains(&made), "{made}");
    scene.ends_well("a flood of registrations", ALLOWED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_streams() {
    let scene = Scene::new("hash_memory_kib = 64\nhash_passes = 1").await;
    let mallory = scene.cluster.user("mallory").await;
    let mut open = Vec::new();
    let mut refused = 0;
    for n in 0..1000 {
        // A few connections, as each has a limit of its own.
        let raw = match n % 200 {
            0 => RawClient::new(&scene.address()),
            _ => open
                .last()
                .map(|(raw, _): &(RawClient, _)| raw.clone())
                .unwrap(),
        };
        let request = by(&mallory, api::SubscribeRequest::default());
        match raw.events().subscribe(request).await {
            Ok(stream) => open.push((raw, Some(stream))),
            Err(status) => {
                assert_eq!(reason_of(&status), Some(Reason::TooManySubscriptions));
                refused += 1;
                open.push((raw, None));
            }
        }
    }
    assert_eq!(refused, 1000 - 64);
    scene.ends_well("a flood of streams", ALLOWED).await;
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_messages_to_one_recipient() {
    let limits = "hash_memory_kib = 64\nhash_passes = 1\nundelivered_per_recipient = 500";
    let scene = Scene::new(limits).await;
    let mallory = scene.cluster.user("mallory").await;
    scene.cluster.user("bob").await;
    let messages = (0..1000).map(|n| api::SendMessageRequest {
        request_id: mint(),
        recipient: "bob".into(),
        body: format!("buy {n}"),
    });
    let requests = tokio_stream::once(api::SendMessagesRequest {
        messages: messages.collect(),
    });
    let mut raw = scene.cluster.raw(0).messages();
    let answers = raw.send_messages(by(&mallory, requests)).await.unwrap();
    let mut answers = answers.into_inner();
    let (mut sent, mut refused) = (0, 0);
    while let Some(answer) = answers.message().await.unwrap() {
        for result in answer.results {
            match result.result.unwrap() {
                api::send_result::Result::Sent(_) => sent += 1,
                api::send_result::Result::Refused(_) => refused += 1,
            }
        }
    }
    assert_eq!((sent, refused), (500, 500));
    scene.ends_well("a flood of messages", ALLOWED).await;
}
