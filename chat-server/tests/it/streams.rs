//! Sending much over one stream.

use chat_client::{DeliveryState, Error, PageRequest, Reason, RequestId, api};
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::support::{Cluster, by, reason_of};

#[tokio::test(flavor = "multi_thread")]
async fn many_messages_are_stored_once_in_the_order_of_the_stream() {
    let cluster = Cluster::three().await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let sender = ada.message_sender();
    let mut under_way = Vec::new();
    for n in 0..3_000 {
        under_way.push(sender.send("bob", &n.to_string()).await);
    }
    drop(sender);
    let mut last = 0;
    for sent in join_all(under_way).await {
        let sent = sent.unwrap();
        assert!(sent.sequence > last, "in order");
        last = sent.sequence;
        assert_eq!(sent.state, DeliveryState::Queued);
        assert_eq!(sent.durability.durable_on, 3);
    }
    let mut bodies = Vec::new();
    let mut request = Some(PageRequest::first(1000));
    while let Some(page) = request {
        let page = bob.list_inbox(page).await.unwrap();
        bodies.extend(page.items.iter().map(|message| message.body.clone()));
        request = page.next_request(1000);
    }
    let expected: Vec<String> = (0..3_000).map(|n| n.to_string()).collect();
    assert_eq!(bodies, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refusal_does_not_stop_the_others() {
    let cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    cluster.user("bob").await;
    let sender = ada.message_sender();
    let good = sender.send("bob", "before").await;
    let nobody = sender.send("nobody", "hello?").await;
    let empty = sender.send("bob", "").await;
    let id = RequestId::mint();
    let first = sender.send_as(id, "bob", "one").await;
    let same = sender.send_as(id, "bob", "one").await;
    let other = sender.send_as(id, "bob", "two").await;
    let after = sender.send("bob", "after").await;
    good.await.unwrap();
    let refused = nobody.await.unwrap_err();
    assert!(matches!(refused, Error::NotFound(_)), "{refused}");
    assert_eq!(refused.reason(), Some(Reason::RecipientNotFound));
    let refused = empty.await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::BodyEmpty));
    assert_eq!(
        first.await.unwrap().message_id,
        same.await.unwrap().message_id
    );
    let refused = other.await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::RequestIdReused));
    after.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_passes_on_and_says_who_leads() {
    let cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    cluster.user("bob").await;
    let (requests, outgoing) = mpsc::channel(1);
    let outgoing = by(&ada, ReceiverStream::new(outgoing));
    let mut messages = cluster.raw(2).messages();
    let mut answers = messages.send_messages(outgoing).await.unwrap().into_inner();
    let mut leaders = Vec::new();
    for n in 0..3 {
        let message = api::SendMessageRequest {
            request_id: RequestId::mint().to_string(),
            recipient: "bob".to_owned(),
            body: n.to_string(),
        };
        let request_id = message.request_id.clone();
        let messages = vec![message];
        requests
            .send(api::SendMessagesRequest { messages })
            .await
            .unwrap();
        let answer = answers.message().await.unwrap().unwrap();
        leaders.extend(answer.leader.map(|leader| leader.replica_id));
        assert_eq!(answer.results.len(), 1);
        assert_eq!(answer.results[0].request_id, request_id);
        let result = answer.results[0].result.clone();
        assert!(matches!(result, Some(api::send_result::Result::Sent(_))));
    }
    assert_eq!(leaders, [0], "said once");
    drop(requests);
    assert!(answers.message().await.unwrap().is_none(), "a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_large_ends_the_stream_with_a_reason() {
    let cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    let messages = vec![api::SendMessageRequest::default(); 1001];
    let outgoing = tokio_stream::once(api::SendMessagesRequest { messages });
    let mut service = cluster.raw(0).messages();
    let answers = service.send_messages(by(&ada, outgoing)).await.unwrap();
    let status = answers.into_inner().message().await.unwrap_err();
    assert_eq!(reason_of(&status), Some(Reason::TooManyIds));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_nothing_is_stored() {
    let cluster = Cluster::three().await;
    cluster.user("bob").await;
    let nobody = cluster.client().await;
    let refused = nobody.message_sender().send("bob", "hello").await.await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::Unauthenticated), "{refused}");
}
