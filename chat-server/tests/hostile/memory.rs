//! Requests that are never whole, and answers that nobody takes.

use bytes::Bytes;
use chat_client::{Reason, api};
use prost::Message;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bystander::{ALLOWED, Scene};
use crate::raw::{Connection, end_of, framed};
use crate::support::{PATIENCE, reason_of};

/// What 64 connections may send before it is read, and what of it may be held until it is whole.
const HELD: u64 = (64 + 32) << 10;

/// Each of 64 connections begins 64 calls of nearly 4 MiB, 16 GiB in all, and ends none.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_never_whole_take_bounded_memory() {
    let limits =
        "hash_memory_kib = 64\nhash_passes = 1\nrequest_memory_mib = 32\nlongest_call = \"5s\"";
    let scene = Scene::new(limits).await;
    let mut attacks = JoinSet::new();
    for _ in 0..64 {
        let address = scene.address();
        attacks.spawn(async move {
            let mut connection = Connection::open(&address).await;
            let mut calls = JoinSet::new();
            for _ in 0..64 {
                let call = connection.call("chat.v1.AuthService/Login", None).await;
                let Ok((answer, mut body)) = call else {
                    continue;
                };
                calls.spawn(async move {
                    let mut head = vec![0];
                    head.extend((4_000_000_u32).to_be_bytes());
                    let _ = body.send_data(head.into(), false);
                    for _ in 0..60 {
                        body.reserve_capacity(64 << 10);
                        let room = std::future::poll_fn(|cx| body.poll_capacity(cx));
                        let Some(Ok(room)) = room.await else { break };
                        if body.send_data(vec![0; room].into(), false).is_err() {
                            break;
                        }
                    }
                    let ended = end_of(answer).await;
                    drop(body);
                    ended.and_then(|(status, _)| reason_of(&status))
                });
            }
            timeout(PATIENCE, calls.join_all()).await.expect("all end")
        });
    }
    let ends: Vec<_> = attacks.join_all().await.into_iter().flatten().collect();
    let count = |reason| ends.iter().filter(|end| **end == Some(reason)).count();
    let (refused, given_up) = (count(Reason::Overloaded), count(Reason::CallTooLong));
    assert!(refused > 1000, "{refused} refused, {given_up} given up");
    scene
        .ends_well("requests that are never whole", HELD + ALLOWED)
        .await;
}

/// Pages of two mebibytes each are asked for on a connection that takes none of them.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_takes_are_not_made_without_end() {
    let scene = Scene::new("hash_memory_kib = 64\nhash_passes = 1").await;
    let bob = scene.cluster.user("bob").await;
    let body = "x".repeat(60_000);
    for _ in 0..30 {
        scene.ada.send_message("bob", &body).await.unwrap();
    }
    let token = bob.session_token().unwrap().expose().to_owned();
    let mut connections = Vec::new();
    for _ in 0..4 {
        let mut connection = Connection::open(&scene.address()).await;
        let mut answers = Vec::new();
        for _ in 0..60 {
            let call = connection.call("chat.v1.MessageService/ListInbox", Some(&token));
            let Ok((answer, mut request)) = call.await else {
                break;
            };
            let page = api::ListInboxRequest {
                page_size: 1000,
                ..Default::default()
            };
            let _ = request.send_data(framed(&page.encode_to_vec()), true);
            answers.push(answer);
        }
        connections.push((connection, answers));
    }
    // Those that are answered are; nothing of their bodies is taken.
    let (mut begun, mut refused) = (Vec::new(), 0);
    for (_, answers) in &mut connections {
        for answer in answers.drain(..) {
            let Ok(Ok(response)) = timeout(PATIENCE, answer).await else {
                continue;
            };
            match tonic::Status::from_header_map(response.headers()) {
                Some(status) => {
                    assert_eq!(reason_of(&status), Some(Reason::RateLimited));
                    refused += 1;
                }
                None => begun.push(response),
            }
        }
    }
    // One answer more for each connection is out of the services' hands.
    assert!((16..=20).contains(&begun.len()), "{} answers", begun.len());
    assert_eq!(begun.len() + refused, 4 * 60);
    scene.ends_well("answers that nobody takes", ALLOWED).await;
    drop((begun, connections));
}

/// A call that is begun and then left alone is given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_never_whole_is_given_up() {
    let scene = Scene::new("hash_memory_kib = 64\nhash_passes = 1\nlongest_call = \"1s\"").await;
    let mut connection = Connection::open(&scene.address()).await;
    let call = connection.call("chat.v1.AuthService/Login", None).await;
    let (answer, mut body) = call.unwrap();
    body.send_data(Bytes::from_static(&[0, 0, 0, 1, 0]), false)
        .unwrap();
    let ended = timeout(PATIENCE, end_of(answer)).await.expect("an end");
    assert_eq!(reason_of(&ended.unwrap().0), Some(Reason::CallTooLong));
    scene.ends_well("a call that is never whole", ALLOWED).await;
}
