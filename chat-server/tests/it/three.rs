//! Three replicas, of which any may be asked.

use chat_client::api;
use chat_client::{PageRequest, Proxying, Reason, RequestId};
use tonic::metadata::MetadataValue;
use tonic_types::StatusExt;

use crate::support::{Cluster, by, eventually, reason_of};

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_takes_writes_and_shows_them_to_the_writer() {
    let cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    cluster.user("bob").await;
    for id in 0..3 {
        let here = cluster.at(id, &ada).await;
        let sent = here
            .send_message("bob", &format!("by way of {id}"))
            .await
            .unwrap();
        assert_eq!(sent.durability.to_string(), "3 of 3");
        let history = here
            .list_history("bob", PageRequest::default())
            .await
            .unwrap()
            .items;
        assert_eq!(
            history[0].id, sent.message_id,
            "a write is read back at replica {id}"
        );
    }
    // Without a word of how far the writer is, a follower shows it in a moment.
    for id in 0..3 {
        let stranger = cluster.client_of(id).await;
        stranger.set_session_token(ada.session_token());
        eventually("three messages", || async {
            let page = stranger
                .list_history("bob", PageRequest::default())
                .await
                .unwrap();
            (page.items.len() == 3).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_replicas_come_to_the_same_state() {
    let cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    for _ in 0..30 {
        ada.send_message("ada", "a note").await.unwrap();
    }
    let leader = cluster.settled(3).await;
    eventually("one state", || async {
        let mut seen = Vec::new();
        for id in 0..3 {
            let status = cluster.status(id).await?;
            let me = status
                .replicas
                .into_iter()
                .find(|replica| replica.replica_id == id as u32)?;
            seen.push((me.applied_index, me.state_hash, status.messages));
        }
        (seen[0] == seen[1] && seen[1] == seen[2] && seen[0].2 == 30).then_some(())
    })
    .await;
    // The leader knows the others' as well.
    eventually("the leader's word on all", || async {
        let status = cluster.status(leader).await?;
        let first = status.replicas[0].clone();
        let is_one = status.replicas.iter().all(|replica| {
            (replica.applied_index, replica.lag) == (first.applied_index, 0)
                && replica.state_hash == first.state_hash
        });
        is_one.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_wants_no_proxy_is_told_who_leads() {
    let cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    let leader = cluster.settled(3).await;
    let follower = (leader + 1) % 3;
    let request = api::SendMessageRequest {
        request_id: RequestId::mint().to_string(),
        recipient: "ada".to_owned(),
        body: "note".to_owned(),
    };
    let mut request = by(&ada, request);
    request
        .metadata_mut()
        .insert("x-chat-no-proxy", MetadataValue::from_static("1"));
    let status = cluster
        .raw(follower)
        .messages()
        .send_message(request)
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, Reason::NotLeader.as_str());
    assert_eq!(info.metadata["leader_id"], leader.to_string());
    assert_eq!(info.metadata["leader_address"], cluster.address(leader));
    assert!(info.metadata["epoch"].parse::<u64>().unwrap() > 0);
    // The library goes there by itself.
    let by_client = cluster
        .builder()
        .proxying(Proxying::ByClient)
        .connect()
        .await
        .unwrap();
    by_client.set_session_token(ada.session_token());
    by_client.send_message("ada", "note").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_leader_says_arrives_unchanged_through_a_follower() {
    let cluster = Cluster::three().await;
    let leader = cluster.settled(3).await;
    let id = RequestId::mint().to_string();
    let mut answers = Vec::new();
    for replica in [leader, (leader + 1) % 3, (leader + 2) % 3] {
        let raw = cluster.raw(replica);
        let status = raw
            .register(&id, "no good name", "password")
            .await
            .unwrap_err();
        assert_eq!(reason_of(&status), Some(Reason::InvalidUsername));
        answers.push((
            status.code(),
            status.message().to_owned(),
            status.details().to_vec(),
        ));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[1], answers[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_has_seen_more_than_the_replica_is_refused_and_not_answered_from_the_past() {
    let cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    let mut token = ada.read_token().unwrap().as_bytes().to_vec();
    // The index, in the last eight bytes: one that nobody has reached.
    let end = token.len();
    token[end - 8..].copy_from_slice(&u64::MAX.to_be_bytes());
    let request = api::WhoAmIRequest {
        read_token: Some(api::ReadToken { value: token }),
    };
    let status = cluster
        .raw(1)
        .auth()
        .who_am_i(by(&ada, request))
        .await
        .unwrap_err();
    assert_eq!(reason_of(&status), Some(Reason::StaleRead));
    assert!(status.get_details_retry_info().is_some());
}
