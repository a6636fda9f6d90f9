//! The list of all reasons, walked: each is given over the wire to somebody who does what it is for.

use std::collections::BTreeSet;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use chat_client::{Client, Reason, RequestId, api};
use nix::sys::signal::Signal;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;
use uuid::Builder;

use crate::support::{Cluster, RawClient, Setup, by, eventually, reason_of, with_token};

const LIMITS: &str = "\
hash_workers = 1
hash_memory_kib = 16384
hash_passes = 1
session_lifetime = \"1d\"
body_bytes = 100
request_bytes = 4096
longest_call = \"1s\"
requests_per_address = 5
failed_logins = 2
subscriptions_per_account = 1
undelivered_per_recipient = 3
disk_reserve_mib = 0";

/// The reasons that were given.
#[derive(Default)]
struct Walk(BTreeSet<Reason>);

impl Walk {
    /// A refusal has this reason, in words as well, and with the time to wait where waiting helps.
    fn saw<T>(&mut self, expected: Reason, answer: Result<T, Status>) {
        let status = match answer {
            Ok(_) => panic!("{expected} was not given"),
            Err(status) => status,
        };
        assert_eq!(reason_of(&status), Some(expected), "{status:?}");
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.domain, "chat");
        assert!(!status.message().is_empty() && !status.message().contains('\n'));
        let helps_to_wait = match status.code() {
            Code::ResourceExhausted => {
                !matches!(expected, Reason::BodyTooLong | Reason::RequestTooLarge)
            }
            Code::Unavailable | Code::DeadlineExceeded => true,
            _ => false,
        };
        let wait = status.get_details_retry_info();
        assert_eq!(wait.is_some(), helps_to_wait, "{status:?}");
        self.0.insert(expected);
    }
}

fn mint() -> String {
    RequestId::mint().to_string()
}

fn minted_long_ago() -> String {
    Builder::from_unix_timestamp_millis(1_000_000, &[7; 10])
        .into_uuid()
        .to_string()
}

fn message(recipient: &str, body: &str) -> api::SendMessageRequest {
    api::SendMessageRequest {
        request_id: mint(),
        recipient: recipient.into(),
        body: body.into(),
    }
}

/// A method by its path, with whatever message.
async fn method<T: prost::Message + 'static>(
    channel: &Channel,
    path: &'static str,
    request: T,
) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    let codec = ProstCodec::<T, api::WhoAmIResponse>::default();
    client
        .ready()
        .await
        .map_err(|error| Status::unknown(error.to_string()))?;
    let path = PathAndQuery::from_static(path);
    client.unary(Request::new(request), path, codec).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_of_the_list_is_given_to_somebody() {
    let mut walk = Walk::default();
    let cluster = Cluster::start(Setup {
        limits: LIMITS,
        ..Setup::default()
    })
    .await;
    let leader = cluster.settled(3).await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let carol = cluster.user("carol").await;
    let raw = cluster.raw(leader);
    accounts(&mut walk, &raw, &ada).await;
    messages(&mut walk, &raw, [&ada, &bob, &carol]).await;
    lists(&mut walk, &raw, &ada).await;
    bytes(&mut walk, &raw, &ada).await;
    floods(&mut walk, &cluster, leader, &ada).await;

    let mut request = by(&ada, message("bob", "hello"));
    let declined = MetadataValue::from_static("1");
    request.metadata_mut().insert("x-chat-no-proxy", declined);
    let follower = cluster.raw((leader + 1) % 3);
    let answer = follower.messages().send_message(request).await;
    walk.saw(Reason::NotLeader, answer);

    // What the file says is read again at a signal, by the leader alone.
    let text = fs::read_to_string(cluster.file()).unwrap();
    let full = text.replace("disk_reserve_mib = 0", "disk_reserve_mib = 1073741824");
    for (changed, reason) in [
        (
            text.clone() + "\n[accounts]\nregistration = \"closed\"\n",
            Reason::RegistrationClosed,
        ),
        (full, Reason::DiskFull),
    ] {
        fs::write(cluster.file(), changed).unwrap();
        cluster.signal(leader, Signal::SIGHUP);
        let refused = eventually("the file is read", || async {
            let refused = raw.register(&mint(), "-", "password").await.unwrap_err();
            (reason_of(&refused) == Some(reason)).then_some(refused)
        });
        walk.saw::<()>(reason, Err(refused.await));
        fs::write(cluster.file(), &text).unwrap();
        cluster.signal(leader, Signal::SIGHUP);
        eventually("the file is read", || async {
            let refused = raw.register(&mint(), "-", "password").await.unwrap_err();
            (reason_of(&refused) == Some(Reason::InvalidUsername)).then_some(())
        })
        .await;
    }

    fs::write(cluster.file(), text.replace("\"1d\"", "\"1s\"")).unwrap();
    cluster.signal(leader, Signal::SIGHUP);
    let brief = eventually("the file is read", || async {
        let opened = raw.login(&mint(), "ada", "password").await.unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let soon = now.as_millis() as i64 + 60_000;
        (opened.expire_time_ms < soon).then_some(opened.session_token)
    })
    .await;
    let ended = eventually("the session's end", || async {
        let request = with_token(&brief, api::WhoAmIRequest::default());
        raw.auth().who_am_i(request).await.err()
    });
    walk.saw::<()>(Reason::SessionExpired, Err(ended.await));

    // Whoever has a stream open is told when the replica goes away.
    let (_more, requests) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let stream = raw.messages().send_messages(by(&ada, requests)).await;
    let mut stream = stream.unwrap().into_inner();
    cluster.signal(leader, Signal::SIGTERM);
    walk.saw(Reason::ShuttingDown, stream.message().await);
    drop(cluster);

    let mut alone = Cluster::new(&Setup {
        recovery_grace: "10min",
        ..Setup::default()
    });
    alone.launch(0);
    let refused = eventually("it listens", || async {
        let refused = alone.raw(0).register(&mint(), "ada", "password").await;
        let refused = refused.unwrap_err();
        refused.get_details_error_info().map(|_| refused)
    });
    walk.saw::<()>(Reason::NoLeader, Err(refused.await));

    let missing: Vec<_> = Reason::ALL
        .iter()
        .filter(|one| !walk.0.contains(one))
        .collect();
    // A defect that a test knew of would be mended.
    // What a damaged state makes of calls is shown where one is made.
    assert_eq!(missing, [&Reason::StateDamaged, &Reason::Internal]);
}

async fn accounts(walk: &mut Walk, raw: &RawClient, ada: &Client) {
    for (name, password, reason) in [
        ("a b", "password", Reason::InvalidUsername),
        ("eve", "short", Reason::InvalidPassword),
        ("ADA", "password", Reason::NameTaken),
        ("аda", "password", Reason::NameConfusable),
    ] {
        walk.saw(reason, raw.register(&mint(), name, password).await);
    }
    for (id, reason) in [
        ("", Reason::InvalidRequestId),
        (&minted_long_ago(), Reason::RequestTooOld),
    ] {
        walk.saw(reason, raw.register(id, "eve", "password").await);
    }
    let wrong = async || raw.login(&mint(), "eve", "wrong password").await;
    walk.saw(Reason::BadCredentials, wrong().await);
    walk.saw(Reason::BadCredentials, wrong().await);
    walk.saw(Reason::TooManyLogins, wrong().await);
    let stranger = raw.auth().who_am_i(api::WhoAmIRequest::default()).await;
    walk.saw(Reason::Unauthenticated, stranger);
    let revoke = api::RevokeSessionRequest {
        request_id: mint(),
        session_id: mint(),
    };
    let answer = raw.auth().revoke_session(by(ada, revoke)).await;
    walk.saw(Reason::SessionNotFound, answer);
}

async fn messages(walk: &mut Walk, raw: &RawClient, [ada, bob, carol]: [&Client; 3]) {
    let long = "x".repeat(101);
    for (recipient, body, reason) in [
        ("nobody", "hello", Reason::RecipientNotFound),
        ("bob", "", Reason::BodyEmpty),
        ("bob", &long, Reason::BodyTooLong),
    ] {
        let request = by(ada, message(recipient, body));
        walk.saw(reason, raw.messages().send_message(request).await);
    }
    let sent = message("bob", "hello");
    let answer = raw.messages().send_message(by(ada, sent.clone())).await;
    let id = answer.unwrap().into_inner().message_id;
    let other = api::SendMessageRequest {
        body: "another".into(),
        ..sent
    };
    let answer = raw.messages().send_message(by(ada, other)).await;
    walk.saw(Reason::RequestIdReused, answer);
    for _ in 0..2 {
        let request = by(ada, message("bob", "more"));
        raw.messages().send_message(request).await.unwrap();
    }
    let request = by(ada, message("bob", "too much"));
    let answer = raw.messages().send_message(request).await;
    walk.saw(Reason::RecipientFull, answer);
    let delete = |message_ids, scope: api::DeleteScope| api::DeleteMessagesRequest {
        request_id: mint(),
        message_ids,
        scope: scope.into(),
    };
    let request = by(bob, delete(vec![id.clone()], api::DeleteScope::ForBoth));
    let answer = raw.messages().delete_messages(request).await;
    walk.saw(Reason::NotSender, answer);
    let request = by(carol, delete(vec![id], api::DeleteScope::ForMe));
    let answer = raw.messages().delete_messages(request).await;
    walk.saw(Reason::MessageNotFound, answer);
    // As short as an id can be said, so that the request is not too long.
    let request = by(
        bob,
        delete(vec![String::new(); 1001], api::DeleteScope::ForMe),
    );
    let answer = raw.messages().delete_messages(request).await;
    walk.saw(Reason::TooManyIds, answer);
    let request = by(bob, delete(vec![mint(); 1000], api::DeleteScope::ForMe));
    let answer = raw.messages().delete_messages(request).await;
    walk.saw(Reason::RequestTooLarge, answer);
}

async fn lists(walk: &mut Walk, raw: &RawClient, ada: &Client) {
    for (pattern, page_size, page_token, reason) in [
        ("[", 0, "", Reason::InvalidPattern),
        ("", 0, "garbage", Reason::InvalidPageToken),
        ("", -1, "", Reason::InvalidArgument),
    ] {
        let request = api::ListAccountsRequest {
            pattern: pattern.into(),
            page_size,
            page_token: page_token.into(),
            read_token: None,
        };
        let answer = raw.accounts().list_accounts(by(ada, request)).await;
        walk.saw(reason, answer);
    }
    let history = api::ListHistoryRequest {
        peer: "nobody".into(),
        ..Default::default()
    };
    let answer = raw.messages().list_history(by(ada, history)).await;
    walk.saw(Reason::PeerNotFound, answer);

    // A place far ahead, and one that no history ever had.
    let request = by(ada, api::WhoAmIRequest::default());
    let seen = raw.auth().who_am_i(request).await.unwrap().into_inner();
    let seen = seen.read_token.unwrap().value;
    let mut ahead = seen.clone();
    let last = ahead.len();
    ahead[last - 8..].copy_from_slice(&u64::from(u32::MAX).to_be_bytes());
    let mut elsewhere = seen;
    elsewhere[1..9].copy_from_slice(&0_u64.to_be_bytes());
    for (value, reason) in [
        (ahead, Reason::StaleRead),
        (elsewhere, Reason::HistoryChanged),
    ] {
        let read_token = Some(api::ReadToken { value });
        let request = by(ada, api::WhoAmIRequest { read_token });
        walk.saw(reason, raw.auth().who_am_i(request).await);
    }
}

async fn bytes(walk: &mut Walk, raw: &RawClient, ada: &Client) {
    // Where a text should be, there is a message with a byte that is in no UTF-8.
    let value = vec![0xff];
    let request = api::WhoAmIRequest {
        read_token: Some(api::ReadToken { value }),
    };
    let answer = method(&raw.channel, "/chat.v1.AuthService/Login", request).await;
    walk.saw(Reason::MalformedRequest, answer);
    for path in ["/chat.v1.AuthService/BecomeRoot", "/no.Service/Method"] {
        let answer = method(&raw.channel, path, api::WhoAmIRequest::default()).await;
        walk.saw(Reason::UnknownMethod, answer);
    }
    // One message is expected, and none ever comes.
    let mut client = Grpc::new(raw.channel.clone());
    client.ready().await.unwrap();
    let codec = ProstCodec::<api::LoginRequest, api::LoginResponse>::default();
    let path = PathAndQuery::from_static("/chat.v1.AuthService/Login");
    let token = ada.session_token().unwrap();
    let request = with_token(token.expose(), tokio_stream::pending());
    let answer = client.client_streaming(request, path, codec).await;
    walk.saw(Reason::CallTooLong, answer);
}

async fn floods(walk: &mut Walk, cluster: &Cluster, leader: usize, ada: &Client) {
    let stranger = RawClient::from("127.0.0.9", &cluster.address(leader));
    let mut refused = Ok(());
    for _ in 0..200 {
        let request = by(ada, api::WhoAmIRequest::default());
        if let Err(status) = stranger.auth().who_am_i(request).await {
            refused = Err(status);
        }
    }
    walk.saw(Reason::RateLimited, refused);

    let raw = cluster.raw(leader);
    let subscribe = async || {
        let request = by(ada, api::SubscribeRequest::default());
        raw.events().subscribe(request).await
    };
    let _one = subscribe().await.unwrap();
    walk.saw(Reason::TooManySubscriptions, subscribe().await);

    // More passwords than can be hashed in any time that somebody would wait.
    let mut flood = tokio::task::JoinSet::new();
    for n in 0..150 {
        let raw = raw.clone();
        let name = format!("user{n}");
        flood.spawn(async move { raw.register(&mint(), &name, "password").await });
    }
    let refused = flood.join_all().await.into_iter().find_map(Result::err);
    walk.saw(Reason::Overloaded, refused.map_or(Ok(()), Err));
}
