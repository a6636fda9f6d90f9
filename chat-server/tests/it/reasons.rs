//! Each way to be refused, with its own reason and a word on what to do.

use std::time::Duration;

use chat_client::{
    Client, DeleteScope, Error, LogoutScope, MessageId, PageRequest, PageToken, Reason, RequestId,
    SessionToken, api,
};
use tonic_types::StatusExt;
use uuid::{Builder, Uuid};

use crate::support::{Cluster, Setup, by, reason_of};

const CHEAP: &str = "hash_memory_kib = 64\nhash_passes = 1";

fn refused<T: std::fmt::Debug>(what: &str, result: Result<T, Error>, expected: Reason) {
    let error = result.expect_err(what);
    assert_eq!(error.reason(), Some(expected), "{what}: {error}");
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains('\n'), "{what}: {text}");
}

/// A request id minted so long ago.
fn minted(ago: Duration) -> RequestId {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let millis = (now - ago).as_millis() as u64;
    Builder::from_unix_timestamp_millis(millis, &[7; 10])
        .into_uuid()
        .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_and_logging_in() {
    let cluster = Cluster::alone(CHEAP).await;
    let ada = cluster.user("ada").await;
    for (name, expected) in [
        ("", Reason::InvalidUsername),
        ("a b", Reason::InvalidUsername),
        ("-ada", Reason::InvalidUsername),
        ("ada~3f9a", Reason::InvalidUsername),
        (&"a".repeat(33), Reason::InvalidUsername),
        ("ada", Reason::NameTaken),
        ("ADA", Reason::NameTaken),
        ("аda", Reason::NameConfusable),
    ] {
        refused(name, ada.register(name, "password").await, expected);
    }
    refused(
        "short",
        ada.register("eve", "1234567").await,
        Reason::InvalidPassword,
    );
    refused(
        "long",
        ada.register("eve", &"x".repeat(2000)).await,
        Reason::InvalidPassword,
    );

    let unknown = ada
        .login("nobody", "password")
        .await
        .unwrap_err()
        .to_string();
    let wrong = ada.login("ada", "passwords").await.unwrap_err().to_string();
    assert_eq!(unknown, wrong, "who has an account is not told");
    refused(
        "wrong",
        ada.login("ada", "passwords").await,
        Reason::BadCredentials,
    );
    refused(
        "unknown",
        ada.login("nobody", "password").await,
        Reason::BadCredentials,
    );
    refused(
        "too short",
        ada.login("ada", "x").await,
        Reason::BadCredentials,
    );
    refused(
        "old",
        ada.change_password("passwords", "another password").await,
        Reason::BadCredentials,
    );
    refused(
        "new",
        ada.change_password("password", "x").await,
        Reason::InvalidPassword,
    );
    refused(
        "delete",
        ada.delete_account("passwords").await,
        Reason::BadCredentials,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions() {
    let cluster =
        Cluster::alone("hash_memory_kib = 64\nhash_passes = 1\nsession_lifetime = \"1s\"").await;
    let ada = cluster.client().await;
    refused("none", ada.who_am_i().await, Reason::Unauthenticated);
    for token in ["x", "é", &"A".repeat(86)] {
        ada.set_session_token(Some(SessionToken::new(token)));
        refused(
            token,
            ada.send_message("ada", "hello").await,
            Reason::Unauthenticated,
        );
    }
    ada.register("ada", "password").await.unwrap();
    ada.login("ada", "password").await.unwrap();
    let session = ada.session_token();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    refused("expired", ada.who_am_i().await, Reason::SessionExpired);
    refused(
        "expired",
        ada.send_message("ada", "hello").await,
        Reason::SessionExpired,
    );
    ada.login("ada", "password").await.unwrap();
    ada.logout(LogoutScope::ThisSession).await.unwrap();
    ada.set_session_token(session);
    refused(
        "expired",
        ada.list_inbox(PageRequest::default()).await,
        Reason::SessionExpired,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn messages() {
    let cluster = Cluster::alone("hash_memory_kib = 64\nhash_passes = 1\nbody_bytes = 100").await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let eve = cluster.user("eve").await;
    refused(
        "nobody",
        ada.send_message("nobody", "hello").await,
        Reason::RecipientNotFound,
    );
    refused(
        "no name",
        ada.send_message("a b", "hello").await,
        Reason::InvalidUsername,
    );
    refused(
        "empty",
        ada.send_message("bob", "").await,
        Reason::BodyEmpty,
    );
    refused(
        "long",
        ada.send_message("bob", &"x".repeat(101)).await,
        Reason::BodyTooLong,
    );
    let first = PageRequest::default;
    refused(
        "peer",
        ada.list_history("nobody", first()).await,
        Reason::PeerNotFound,
    );
    refused(
        "peer",
        ada.mark_conversation_read("nobody", None).await,
        Reason::PeerNotFound,
    );

    let sent = ada.send_message("bob", "hello").await.unwrap();
    let ids = [sent.message_id];
    refused(
        "not the sender",
        bob.delete_messages(&ids, DeleteScope::ForBoth).await,
        Reason::NotSender,
    );
    refused(
        "no party",
        eve.delete_messages(&ids, DeleteScope::ForMe).await,
        Reason::MessageNotFound,
    );
    let elsewhere = bob
        .mark_conversation_read("eve", Some(sent.message_id))
        .await;
    refused("other conversation", elsewhere, Reason::MessageNotFound);
    let many: Vec<MessageId> = (0..1001).map(|id| Uuid::from_u128(id).into()).collect();
    refused("many", bob.mark_read(&many).await, Reason::TooManyIds);
    refused(
        "many",
        bob.confirm_delivery(&many).await,
        Reason::TooManyIds,
    );
    refused(
        "many",
        bob.delete_messages(&many, DeleteScope::ForMe).await,
        Reason::TooManyIds,
    );
    refused("nothing", bob.mark_read(&[]).await, Reason::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists() {
    let cluster = Cluster::alone(CHEAP).await;
    let ada = cluster.user("ada").await;
    for name in ["bob", "carol", "dave"] {
        ada.register(name, "password").await.unwrap();
    }
    for pattern in ["[z-a]", "[", "regex:(", "regex:[z-a]"] {
        let found = ada.list_accounts(pattern, PageRequest::default()).await;
        refused(pattern, found, Reason::InvalidPattern);
    }
    let found = ada
        .list_accounts("regex:^(ada|bob)$", PageRequest::default())
        .await
        .unwrap();
    assert_eq!(found.items.len(), 2);

    let page = ada.list_accounts("", PageRequest::first(1)).await.unwrap();
    for (what, pattern, token) in [
        ("garbage", "", PageToken::new("garbage")),
        ("another query", "*", page.next.clone().unwrap()),
    ] {
        let next = PageRequest {
            size: 1,
            token: Some(token),
        };
        refused(
            what,
            ada.list_accounts(pattern, next).await,
            Reason::InvalidPageToken,
        );
    }
    let next = PageRequest {
        size: 1,
        token: page.next,
    };
    refused(
        "another list",
        ada.list_inbox(next).await,
        Reason::InvalidPageToken,
    );
    let negative = api::ListInboxRequest {
        page_size: -1,
        ..Default::default()
    };
    let status = cluster
        .raw(0)
        .messages()
        .list_inbox(by(&ada, negative))
        .await
        .unwrap_err();
    assert_eq!(reason_of(&status), Some(Reason::InvalidArgument));
    assert_eq!(
        status.get_details_bad_request().unwrap().field_violations[0].field,
        "page_size"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn request_ids() {
    let cluster = Cluster::alone(CHEAP).await;
    let ada = cluster.user("ada").await;
    let version_4 = Uuid::new_v4().to_string();
    for id in ["", "x", &version_4] {
        let status = cluster
            .raw(0)
            .register(id, "bob", "password")
            .await
            .unwrap_err();
        assert_eq!(reason_of(&status), Some(Reason::InvalidRequestId), "{id}");
    }
    let day = Duration::from_secs(24 * 60 * 60);
    let old = ada.with_request_id(minted(31 * day));
    refused(
        "old",
        old.send_message("ada", "note").await,
        Reason::RequestTooOld,
    );
    refused(
        "old",
        old.register("bob", "password").await,
        Reason::RequestTooOld,
    );
    let recent = ada.with_request_id(minted(29 * day));
    recent.send_message("ada", "note").await.unwrap();
    refused(
        "reused",
        recent.send_message("ada", "another").await,
        Reason::RequestIdReused,
    );
    refused(
        "reused",
        recent.logout(LogoutScope::AllSessions).await,
        Reason::RequestIdReused,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_others_there_is_no_leader_and_that_is_said() {
    let mut cluster = Cluster::new(&Setup {
        recovery_grace: "10min",
        ..Setup::default()
    });
    cluster.launch(0);
    let raw = cluster.raw(0);
    let id = RequestId::mint().to_string();
    let status = loop {
        let status = raw.register(&id, "ada", "password").await.unwrap_err();
        if status.get_details_error_info().is_some() {
            break status;
        }
        // It does not listen yet.
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(reason_of(&status), Some(Reason::NoLeader));
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.get_details_retry_info().is_some());
    // What it waits for can be asked all the same.
    let seen = cluster.status(0).await.unwrap();
    assert!(
        seen.leader.is_none() && !seen.waiting_for.is_empty(),
        "{seen:?}"
    );
    let request = api::WhoAmIRequest::default();
    let status = raw.auth().who_am_i(request).await.unwrap_err();
    assert_eq!(reason_of(&status), Some(Reason::NoLeader));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logins_is_refused_in_part_and_the_rest_is_answered() {
    let cluster =
        Cluster::alone("hash_workers = 1\nhash_memory_kib = 16384\nfailed_logins = 1000").await;
    let ada: Client = cluster.user("ada").await;
    let mut logins = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let raw = cluster.raw(0);
        logins.spawn(async move {
            raw.login(&RequestId::mint().to_string(), "ada", "password")
                .await
        });
    }
    let mut refusals = 0;
    let mut answers = 0;
    for login in logins.join_all().await {
        match login {
            Ok(_) => answers += 1,
            Err(status) => {
                assert_eq!(reason_of(&status), Some(Reason::Overloaded));
                assert!(status.get_details_retry_info().is_some());
                refusals += 1;
            }
        }
    }
    assert!(
        answers >= 33 && refusals >= 1,
        "{answers} answered, {refusals} refused"
    );
    ada.send_message("ada", "still served").await.unwrap();
}
