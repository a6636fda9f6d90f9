//! What replicas answer that were away, to clients that keep no read token.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chat_client::api::subscribe_response::Event as Wire;
use chat_client::{Client, Reason, RequestId, api};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};

use crate::support::{Cluster, PATIENCE, RawClient, by, reason_of, with_token};

const INBOX: api::ListInboxRequest = api::ListInboxRequest {
    page_size: 1000,
    page_token: String::new(),
    read_token: None,
};

async fn inbox(replica: &RawClient, user: &Client) -> Result<usize, Status> {
    let page = replica.messages().list_inbox(by(user, INBOX)).await?;
    Ok(page.into_inner().messages.len())
}

fn is_unavailable(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}

/// After a total outage a follower served as soon as it was in a view, though it knew of little that was committed: a session
/// was unknown, and half of an inbox was missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_replica_shows_everything_that_was_acknowledged_before() {
    let mut cluster = Cluster::three().await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let mut acknowledged = 0;
    for _ in 0..3 {
        let sender = ada.message_sender();
        let mut under_way = Vec::new();
        for n in 0..300 {
            under_way.push(sender.send("bob", &n.to_string()).await);
        }
        for sent in under_way {
            sent.await.unwrap();
            acknowledged += 1;
        }
        for id in 0..3 {
            cluster.kill(id);
        }
        for id in 0..3 {
            cluster.launch(id);
        }
        let asked = (0..3).map(|id| {
            let (replica, bob) = (cluster.raw(id), bob.clone());
            tokio::spawn(async move {
                let until = Instant::now() + PATIENCE;
                let mut answers = 0;
                while answers < 5 {
                    assert!(Instant::now() < until, "replica {id} does not come back");
                    match inbox(&replica, &bob).await {
                        Ok(found) => {
                            assert_eq!(found, acknowledged, "at replica {id}");
                            answers += 1;
                        }
                        Err(status) => is_unavailable(&status),
                    }
                    let request = by(&bob, api::SubscribeRequest::default());
                    if let Err(status) = replica.events().subscribe(request).await {
                        is_unavailable(&status);
                    }
                }
            })
        });
        for asked in asked.collect::<Vec<_>>() {
            asked.await.unwrap();
        }
        cluster.settled(3).await;
    }
}

/// A follower is a message behind its leader, always.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_a_moment_ago_is_not_denied_elsewhere() {
    let cluster = Cluster::three().await;
    let leader = cluster.settled(3).await;
    let replicas: Vec<RawClient> = (0..3).map(|id| cluster.raw(id)).collect();
    for round in 0..20 {
        let (name, id) = (format!("user{round}"), || RequestId::mint().to_string());
        let at_leader = &replicas[leader];
        at_leader.register(&id(), &name, "password").await.unwrap();
        let session = at_leader.login(&id(), &name, "password").await.unwrap();
        let token = session.session_token;
        for replica in &replicas {
            let request = with_token(&token, api::WhoAmIRequest::default());
            let me = replica.auth().who_am_i(request).await.unwrap().into_inner();
            assert_eq!(me.account.unwrap().username, name);
        }
        let other = format!("other{round}");
        at_leader.register(&id(), &other, "password").await.unwrap();
        for replica in &replicas {
            let request = api::ListHistoryRequest {
                peer: other.clone(),
                ..api::ListHistoryRequest::default()
            };
            let request = with_token(&token, request);
            replica.messages().list_history(request).await.unwrap();
        }
    }
    // What is not there is denied all the same.
    for replica in &replicas {
        let refused = replica
            .auth()
            .who_am_i(with_token(&"A".repeat(86), api::WhoAmIRequest::default()))
            .await
            .unwrap_err();
        assert_eq!(reason_of(&refused), Some(Reason::Unauthenticated));
    }
}

/// The threads that answer woke before the one that notices that the others have gone on.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_paused_does_not_answer_from_before() {
    let cluster = Cluster::three().await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let others: Vec<usize> = vec![0, 1];
    for round in 0..3 {
        ada.send_message("bob", "before").await.unwrap();
        let replica = cluster.raw(2);
        inbox(&replica, &bob).await.unwrap();
        cluster.signal(2, Signal::SIGSTOP);
        cluster.settled_among(&others, 2).await;
        ada.send_message("bob", "while it was paused")
            .await
            .unwrap();
        let asked: Vec<_> = (0..8)
            .map(|_| {
                let (replica, bob) = (replica.clone(), bob.clone());
                tokio::spawn(async move { inbox(&replica, &bob).await })
            })
            .collect();
        // They wait in its socket.
        sleep(Duration::from_millis(200)).await;
        cluster.signal(2, Signal::SIGCONT);
        for asked in asked {
            match asked.await.unwrap() {
                Ok(found) => assert_eq!(found, 2 * (round + 1)),
                Err(status) => is_unavailable(&status),
            }
        }
        cluster.settled(3).await;
    }
}

/// What one subscriber was told since its last reset.
#[derive(Default)]
struct Told {
    bodies: BTreeMap<String, u32>,
    token: Vec<u8>,
}

/// Events were told again where a stream was resumed at a replica that was catching up: its state showed them before its
/// subscribers were told.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_resumed_right_behind_its_token_at_a_replica_that_catches_up() {
    const SUBSCRIBERS: usize = 8;
    let mut cluster = Cluster::three().await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let at = Arc::new(Mutex::new(1));
    let over = Arc::new(AtomicBool::new(false));
    let subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|_| {
            let (bob, at, over) = (bob.clone(), Arc::clone(&at), Arc::clone(&over));
            let replicas: Vec<RawClient> = (0..3).map(|id| cluster.raw(id)).collect();
            tokio::spawn(async move {
                let mut told = Told::default();
                while !over.load(Ordering::Relaxed) {
                    let id = *at.lock().unwrap_or_else(PoisonError::into_inner);
                    listen(&replicas[id], &bob, &mut told).await;
                    sleep(Duration::from_millis(5)).await;
                }
                told.bodies
            })
        })
        .collect();
    let writer = {
        let (ada, over) = (ada.clone(), Arc::clone(&over));
        tokio::spawn(async move {
            let mut sent = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                let body = sent.len().to_string();
                ada.send_message("bob", &body).await.unwrap();
                sent.insert(body);
            }
            sent
        })
    };
    for round in 0..4 {
        let (from, to) = [(1, 2), (2, 1)][round % 2];
        sleep(Duration::from_millis(700)).await;
        cluster.kill(to);
        sleep(Duration::from_millis(300)).await;
        cluster.launch(to);
        sleep(Duration::from_millis(50 + 40 * round as u64)).await;
        *at.lock().unwrap() = to;
        cluster.kill(from);
        sleep(Duration::from_millis(400)).await;
        cluster.launch(from);
        cluster.settled(3).await;
    }
    // The last of them is told once nothing more comes.
    over.store(true, Ordering::Relaxed);
    let sent = writer.await.unwrap();
    for subscriber in subscribers {
        let bodies = timeout(PATIENCE, subscriber).await.unwrap().unwrap();
        let twice: Vec<_> = bodies.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "told again without a reset: {twice:?}");
        // Without a gap, as far as it came.
        let told: BTreeSet<usize> = bodies.keys().map(|body| body.parse().unwrap()).collect();
        let (first, last) = (*told.first().unwrap(), *told.last().unwrap());
        assert_eq!(told.len(), last - first + 1, "{:?} of {}", told, sent.len());
    }
}

async fn listen(replica: &RawClient, bob: &Client, told: &mut Told) {
    if told.token.is_empty() {
        // It begins with the inbox, however far the one before came.
        told.bodies.clear();
    }
    let request = api::SubscribeRequest {
        resume_token: told.token.clone(),
        ..api::SubscribeRequest::default()
    };
    let Ok(stream) = replica.events().subscribe(by(bob, request)).await else {
        return;
    };
    let mut stream = stream.into_inner();
    while let Ok(Ok(Some(response))) = timeout(Duration::from_secs(1), stream.message()).await {
        match response.event {
            Some(Wire::Reset(_)) => told.bodies.clear(),
            Some(Wire::MessageReceived(received)) => {
                let body = received.message.unwrap().body;
                *told.bodies.entry(body).or_default() += 1;
            }
            _ => {}
        }
        if !response.resume_token.is_empty() {
            told.token = response.resume_token;
        }
    }
}
