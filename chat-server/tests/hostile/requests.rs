//! Requests that are well formed below and wrong above: bytes, tokens, and ids of others.

use chat_client::{DeleteScope, MessageId, PageRequest, Reason, RequestId, SessionToken, api};
use prost::Message;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::bystander::{ALLOWED, Scene};
use crate::raw::{Connection, end_of, framed};
use crate::support::{by, reason_of, with_token};

const CHEAP: &str = "hash_memory_kib = 64\nhash_passes = 1";

const METHODS: &[&str] = &[
    "chat.v1.AuthService/Register",
    "chat.v1.AuthService/Login",
    "chat.v1.AuthService/Logout",
    "chat.v1.AuthService/WhoAmI",
    "chat.v1.AuthService/ChangePassword",
    "chat.v1.AuthService/ListSessions",
    "chat.v1.AuthService/RevokeSession",
    "chat.v1.AccountService/ListAccounts",
    "chat.v1.AccountService/DeleteAccount",
    "chat.v1.MessageService/SendMessage",
    "chat.v1.MessageService/SendMessages",
    "chat.v1.MessageService/ListInbox",
    "chat.v1.MessageService/ListHistory",
    "chat.v1.MessageService/ListConversations",
    "chat.v1.MessageService/ConfirmDelivery",
    "chat.v1.MessageService/MarkRead",
    "chat.v1.MessageService/DeleteMessages",
    "chat.v1.EventService/Subscribe",
    "chat.v1.ClusterService/GetClusterStatus",
];

async fn call(
    connection: &mut Connection,
    method: &str,
    token: &str,
    bytes: &[u8],
) -> Option<Reason> {
    let (answer, mut body) = connection.call(method, Some(token)).await.unwrap();
    let _ = body.send_data(framed(bytes), true);
    let ended = tokio::time::timeout(std::time::Duration::from_millis(500), end_of(answer)).await;
    reason_of(&ended.ok()??.0)
}

/// Random bytes at every method of a user who is logged in. Whatever they happen to mean, the replica goes on.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message() {
    let scene = Scene::new(CHEAP).await;
    let mallory = scene.cluster.user("mallory").await;
    let token = mallory.session_token().unwrap().expose().to_owned();
    let mut connection = Connection::open(&scene.address()).await;
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut malformed = 0;
    for method in METHODS {
        for _ in 0..20 {
            let mut bytes = vec![0; rng.random_range(0..200)];
            rng.fill_bytes(&mut bytes);
            let reason = call(&mut connection, method, &token, &bytes).await;
            malformed += usize::from(reason == Some(Reason::MalformedRequest));
        }
        // A string that is no UTF-8, in the first field of all.
        let reason = call(&mut connection, method, &token, &[0x0a, 2, 0xc3, 0x28]).await;
        let takes_text = !method.ends_with("GetClusterStatus") && !method.ends_with("Subscribe");
        if takes_text {
            assert_eq!(reason, Some(Reason::MalformedRequest), "{method}");
        }
    }
    assert!(malformed > 100, "{malformed}");
    scene.ends_well("bytes that are no message", ALLOWED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_are_in_no_name_and_come_back_in_a_body_as_they_were() {
    let scene = Scene::new(CHEAP).await;
    let bob = scene.cluster.user("bob").await;
    for name in [
        "a\0b",
        "a\u{1b}[2Jb",
        "a\u{202e}b",
        "a\nb",
        "a\u{200b}b",
        "\u{feff}ab",
        "a\u{7f}",
    ] {
        let refused = bob.register(name, "password").await.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::InvalidUsername), "{name:?}");
        let refused = bob.login(name, "password").await.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::InvalidUsername), "{name:?}");
        let refused = bob.send_message(name, "hello").await.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::InvalidUsername), "{name:?}");
    }
    let body = "\0\u{1b}[2J\u{202e}\u{9b}31m\r\n\u{7f}";
    bob.send_message("bob", body).await.unwrap();
    let notes = bob
        .list_history("bob", PageRequest::first(1))
        .await
        .unwrap();
    assert_eq!(notes.items[0].body, body);
    // Nothing of it has come into the log, where a terminal would obey it.
    assert!(!scene.cluster.log_of(0).contains('\u{1b}'));
    scene.ends_well("control characters", ALLOWED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_were_never_issued() {
    let scene = Scene::new(CHEAP).await;
    let (bob, mallory) = (
        scene.cluster.user("bob").await,
        scene.cluster.user("mallory").await,
    );
    let tokens = [&bob, &mallory].map(|user| user.session_token().unwrap().expose().to_owned());
    let raw = scene.cluster.raw(0);
    // The head of bob's token, with account and session, and the secret of mallory's.
    let spliced = format!("{}{}", &tokens[0][..44], &tokens[1][44..]);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut forged = vec![spliced, String::new(), "A".repeat(86), "A".repeat(8000)];
    for _ in 0..500 {
        let at = rng.random_range(0..tokens[0].len());
        let mut bytes = tokens[0].clone().into_bytes();
        bytes[at] = b"ABCDEFGHijklmnop0123-_"[rng.random_range(0..22)];
        forged.push(String::from_utf8(bytes).unwrap());
    }
    for token in forged.iter().filter(|token| **token != tokens[0]) {
        let request = with_token(token, api::WhoAmIRequest::default());
        let refused = raw.auth().who_am_i(request).await.unwrap_err();
        assert_eq!(
            reason_of(&refused),
            Some(Reason::Unauthenticated),
            "{token}"
        );
    }
    // Of a replica that was passed a forged read token nothing is learnt, and it goes on.
    let mut request = by(&bob, api::WhoAmIRequest::default());
    let read_token = (0..64).map(|_| rng.random()).collect::<Vec<u8>>();
    let value = tonic::metadata::MetadataValue::from_bytes(&read_token);
    request
        .metadata_mut()
        .insert_bin("x-chat-read-token-bin", value);
    let refused = raw.auth().who_am_i(request).await.unwrap_err();
    assert!(reason_of(&refused).is_some(), "{refused:?}");
    mallory.set_session_token(Some(SessionToken::new(&forged[0])));
    mallory.who_am_i().await.unwrap_err();
    scene.ends_well("forged tokens", ALLOWED).await;
}

/// What mallory knows of others' messages, she can neither read nor change.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_others_and_requests_of_others() {
    let scene = Scene::new(CHEAP).await;
    let (bob, carol, mallory) = (
        scene.cluster.user("bob").await,
        scene.cluster.user("carol").await,
        scene.cluster.user("mallory").await,
    );
    let request = RequestId::mint();
    let sent = bob
        .with_request_id(request)
        .send_message("carol", "secret")
        .await
        .unwrap();
    let theirs: [MessageId; 1] = [sent.message_id];
    let _ = mallory.mark_read(&theirs).await;
    let _ = mallory.confirm_delivery(&theirs).await;
    for scope in [DeleteScope::ForMe, DeleteScope::ForBoth] {
        let refused = mallory.delete_messages(&theirs, scope).await.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::MessageNotFound));
    }
    let history = mallory
        .list_history("bob", PageRequest::first(10))
        .await
        .unwrap();
    assert!(history.items.is_empty());
    let inbox = carol
        .list_inbox(PageRequest::first(10))
        .await
        .unwrap()
        .items;
    assert_eq!(inbox.len(), 1);
    assert!(!inbox[0].read && !inbox[0].delivered, "{inbox:?}");

    // Bob's request, sent again by mallory, is hers; sent again by bob, it is the one that it was.
    let replayed = mallory.with_request_id(request);
    replayed.send_message("carol", "secret").await.unwrap();
    for _ in 0..10 {
        let again = bob
            .with_request_id(request)
            .send_message("carol", "secret")
            .await;
        assert_eq!(again.unwrap().message_id, sent.message_id);
    }
    let inbox = carol
        .list_inbox(PageRequest::first(10))
        .await
        .unwrap()
        .items;
    let senders: Vec<_> = inbox
        .iter()
        .map(|message| message.sender.name.as_str())
        .collect();
    assert_eq!(senders, ["bob", "mallory"]);
    let other = bob
        .with_request_id(request)
        .send_message("carol", "other")
        .await;
    assert_eq!(other.unwrap_err().reason(), Some(Reason::RequestIdReused));

    // A login that was listened to opens no second session for the listener.
    let login = api::LoginRequest {
        request_id: RequestId::mint().to_string(),
        username: "bob".into(),
        password: "wrong password".into(),
    };
    assert!(!login.encode_to_vec().is_empty());
    let refused = scene.cluster.raw(0).auth().login(login).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(Reason::BadCredentials));
    scene.ends_well("messages of others", ALLOWED).await;
}
