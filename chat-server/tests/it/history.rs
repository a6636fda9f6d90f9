//! What a client saw of a history that lost.

use chat_client::{
    Client, Confirmation, Event, PageRequest, ReadToken, Reason, ResumeToken, SubscribeOptions,
    Subscription, api,
};
use tokio::time::timeout;
use tonic::metadata::MetadataValue;

use crate::support::{Cluster, PATIENCE, Setup, by, eventually, reason_of};

/// A client that had seen messages of the other side was shown, without a word, a conversation in which they were missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_lost_is_never_left_silently() {
    let mut cluster = Cluster::start(Setup {
        recovery_grace: "1s",
        ..Setup::default()
    })
    .await;
    let ada = cluster.user("ada").await;
    ada.send_message("ada", "all").await.unwrap();
    cluster.kill(2);
    cluster.settled(2).await;
    for number in 0..5 {
        ada.send_message("ada", &format!("without 2: {number}"))
            .await
            .unwrap();
    }
    cluster.kill(0);
    cluster.kill(1);

    // It waits for the others, then goes on without what they had. Whoever saw more is referred to others.
    cluster.launch(2);
    cluster.settled(1).await;
    let refused = read_at_2(&cluster, &ada, &ada.read_token().unwrap())
        .await
        .unwrap_err();
    assert_eq!(reason_of(&refused), Some(Reason::StaleRead), "{refused:?}");
    let lonely = cluster.client_of(2).await;
    lonely.set_session_token(ada.session_token());
    let mut stream = lonely
        .subscribe(by_hand(ResumeToken::default()))
        .await
        .unwrap();
    lonely.send_message("ada", "alone").await.unwrap();
    while next_body(&mut stream).await != "alone" {}
    let resume = stream.resume_token().clone();
    assert_eq!(bodies(&lonely).await, ["all", "alone"]);
    let seen = lonely.read_token().unwrap();
    read_at_2(&cluster, &lonely, &seen).await.unwrap();
    let seen = &seen;

    // What the others have is the longer history, into which this one is taken.
    for id in [0, 1] {
        cluster.launch(id);
    }
    cluster.settled(3).await;
    let refused = eventually("the other history has taken its place", || async {
        let refused = read_at_2(&cluster, &lonely, seen).await.err()?;
        (reason_of(&refused) != Some(Reason::StaleRead)).then_some(refused)
    })
    .await;
    assert_eq!(
        (refused.code(), reason_of(&refused)),
        (tonic::Code::Aborted, Some(Reason::HistoryChanged)),
        "{refused:?}"
    );
    // The library drops what it has seen, and reads anew; a stream says that it begins anew, the one that was open too.
    eventually("both histories are one", || async {
        let mut bodies = bodies(&lonely).await;
        bodies.sort_unstable();
        let first = ["all", "alone", "without 2: 0"];
        (bodies.len() == 7 && bodies[..3] == first).then_some(())
    })
    .await;
    assert_ne!(lonely.read_token().as_ref(), Some(seen));
    while next(&mut stream).await != Event::Reset {}
    let mut again = lonely.subscribe(by_hand(resume)).await.unwrap();
    while next(&mut again).await != Event::Reset {}
}

/// One attempt at replica 2, of somebody who has seen what this client has.
async fn read_at_2(
    cluster: &Cluster,
    client: &Client,
    seen: &ReadToken,
) -> Result<(), tonic::Status> {
    let mut request = by(
        client,
        api::ListHistoryRequest {
            peer: "ada".into(),
            page_size: 100,
            ..api::ListHistoryRequest::default()
        },
    );
    let token = MetadataValue::from_bytes(seen.as_bytes());
    request
        .metadata_mut()
        .insert_bin("x-chat-read-token-bin", token);
    let raw = cluster.raw(2);
    raw.messages().list_history(request).await?;
    Ok(())
}

async fn bodies(client: &Client) -> Vec<String> {
    let page = client.list_history("ada", PageRequest::first(100)).await;
    let items = page.unwrap().items.into_iter();
    items.rev().map(|message| message.body).collect()
}

fn by_hand(resume: ResumeToken) -> SubscribeOptions {
    SubscribeOptions {
        resume,
        confirmation: Confirmation::Manual,
        ..SubscribeOptions::default()
    }
}

async fn next(stream: &mut Subscription) -> Event {
    timeout(PATIENCE, stream.next())
        .await
        .expect("an event")
        .expect("the stream goes on")
        .unwrap()
}

async fn next_body(stream: &mut Subscription) -> String {
    loop {
        if let Event::MessageSent(message) = next(stream).await {
            return message.body;
        }
    }
}
