//! A request that is repeated takes effect once, also where it ends the very session that it came with.

use chat_client::{RequestId, api};
use tonic::metadata::MetadataValue;

use crate::support::{Cluster, by, reason_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_gets_the_first_answer_from_every_replica() {
    let cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    cluster.user("bob").await;
    let send = api::SendMessageRequest {
        request_id: RequestId::mint().to_string(),
        recipient: "bob".to_owned(),
        body: "hello".to_owned(),
    };
    let mut answers = Vec::new();
    for id in [0, 1, 2, 0] {
        let sent = cluster
            .raw(id)
            .messages()
            .send_message(by(&ada, send.clone()))
            .await
            .unwrap()
            .into_inner();
        answers.push((sent.message_id, sent.sequence, sent.send_time_ms));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);

    let id = RequestId::mint().to_string();
    let first = cluster
        .raw(0)
        .register(&id, "carol", "password")
        .await
        .unwrap();
    let again = cluster
        .raw(1)
        .register(&id, "carol", "password")
        .await
        .unwrap();
    assert_eq!(
        first.account.unwrap().account_id,
        again.account.unwrap().account_id
    );

    // Nobody knows which answer arrived, so both tokens are good.
    let id = RequestId::mint().to_string();
    for replica in [0, 2] {
        let login = cluster
            .raw(replica)
            .login(&id, "carol", "password")
            .await
            .unwrap();
        let mut request = tonic::Request::new(api::WhoAmIRequest {
            read_token: login.read_token,
        });
        let header = format!("Bearer {}", login.session_token)
            .parse::<MetadataValue<_>>()
            .unwrap();
        request.metadata_mut().insert("authorization", header);
        cluster.raw(1).auth().who_am_i(request).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_request_that_ended_its_own_session_can_be_had_again() {
    let cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    let logout = api::LogoutRequest {
        request_id: RequestId::mint().to_string(),
        all_sessions: false,
    };
    for id in [0, 1, 2] {
        let answer = cluster
            .raw(id)
            .auth()
            .logout(by(&ada, logout.clone()))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.sessions_closed, 1);
    }
    let another = api::LogoutRequest {
        request_id: RequestId::mint().to_string(),
        all_sessions: false,
    };
    let status = cluster
        .raw(0)
        .auth()
        .logout(by(&ada, another))
        .await
        .unwrap_err();
    assert_eq!(
        reason_of(&status),
        Some(chat_client::Reason::Unauthenticated)
    );

    ada.login("ada", "password").await.unwrap();
    let delete = api::DeleteAccountRequest {
        request_id: RequestId::mint().to_string(),
        password: "password".to_owned(),
    };
    for id in [2, 0, 1] {
        cluster
            .raw(id)
            .accounts()
            .delete_account(by(&ada, delete.clone()))
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_password_can_be_repeated_though_the_old_one_is_wrong_by_then() {
    let cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    let change = api::ChangePasswordRequest {
        request_id: RequestId::mint().to_string(),
        old_password: "password".to_owned(),
        new_password: "another password".to_owned(),
    };
    for id in [0, 1, 0] {
        cluster
            .raw(id)
            .auth()
            .change_password(by(&ada, change.clone()))
            .await
            .unwrap();
    }
    let forged = api::ChangePasswordRequest {
        new_password: "a third password".to_owned(),
        ..change
    };
    let status = cluster
        .raw(0)
        .auth()
        .change_password(by(&ada, forged))
        .await
        .unwrap_err();
    assert_eq!(
        reason_of(&status),
        Some(chat_client::Reason::RequestIdReused)
    );
    ada.login("ada", "another password").await.unwrap();
}
