//! A call goes on at the next replica, under the same request id, and only where that is right.

use std::time::Duration;

use chat_client::{ClientEvent, Error, LogoutScope, PageRequest, Proxying, Reason, Resent};
use tonic::Code;

use crate::fake::{Cluster, Step, no_leader, not_leader, refusal};

#[tokio::test]
async fn a_leader_that_dies_after_the_commit_costs_neither_loss_nor_double() {
    let mut cluster = Cluster::start(3);
    let alice = cluster.user("alice").await;
    let mut events = alice.events();
    cluster.script(0, [Step::CommitAndDie]);
    let sent = alice.send_message("alice", "once").await.unwrap();
    assert_eq!(cluster.met_by("SendMessage"), [0, 1]);
    assert_eq!(
        cluster.ids_of("SendMessage").len(),
        1,
        "the same request id"
    );
    assert_eq!(cluster.store().messages.len(), 1);
    assert_eq!(
        cluster.store().messages[0].message_id,
        sent.message_id.to_string()
    );
    match events.next().await {
        Some(ClientEvent::ReplicaSwitched {
            from,
            to,
            resent: Resent::Message,
        }) => {
            assert_eq!(from.endpoint.to_string(), cluster.addresses()[0]);
            assert_eq!(to.endpoint.to_string(), cluster.addresses()[1]);
        }
        other => panic!("{other:?}"),
    }
    cluster.buried(0);
}

#[tokio::test]
async fn each_attempt_has_its_own_deadline() {
    let cluster = Cluster::start(3);
    let alice = cluster.user("alice").await;
    cluster.script(0, [Step::CommitAndHang]);
    cluster.script(1, [Step::Hang]);
    alice.send_message("alice", "once").await.unwrap();
    assert_eq!(cluster.met_by("SendMessage"), [0, 1, 2]);
    assert_eq!(cluster.ids_of("SendMessage").len(), 1);
    assert_eq!(cluster.store().messages.len(), 1);
    // The silent ones are not asked first again.
    alice.send_message("alice", "twice").await.unwrap();
    assert_eq!(cluster.met_by("SendMessage"), [0, 1, 2, 2]);
}

#[tokio::test]
async fn who_refuses_the_connection_is_left_at_once() {
    // With a deadline of a minute, any waiting for a refused replica would show as a test that does not end.
    let mut cluster = Cluster::start(3);
    let minute = Duration::from_secs(60);
    let client = cluster
        .builder()
        .attempt_deadline(minute)
        .total_deadline(minute)
        .connect()
        .await
        .unwrap();
    client.register("alice", "password").await.unwrap();
    client.login("alice", "password").await.unwrap();
    cluster.kill(0);
    cluster.kill(1);
    cluster.forget();
    for n in 0..20 {
        client.send_message("alice", &n.to_string()).await.unwrap();
    }
    assert_eq!(cluster.met_by("SendMessage"), [2; 20]);
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_call_is_left_at_once() {
    let cluster = Cluster::start(2);
    let minute = Duration::from_secs(60);
    let client = cluster
        .builder()
        .attempt_deadline(minute)
        .total_deadline(minute)
        .connect()
        .await
        .unwrap();
    cluster.script(0, [Step::Die]);
    client.register("alice", "password").await.unwrap();
    assert_eq!(cluster.met_by("Register"), [0, 1]);
}

#[tokio::test]
async fn what_the_service_refuses_is_not_asked_again() {
    let cluster = Cluster::start(3);
    let alice = cluster.user("alice").await;
    for (code, reason) in [
        (Code::NotFound, Reason::RecipientNotFound),
        (Code::InvalidArgument, Reason::BodyTooLong),
        (Code::Unauthenticated, Reason::SessionExpired),
        (Code::AlreadyExists, Reason::NameTaken),
        (Code::PermissionDenied, Reason::NotSender),
        (Code::FailedPrecondition, Reason::RequestIdReused),
        (Code::Internal, Reason::Internal),
    ] {
        cluster.forget();
        cluster.script(0, [Step::Refuse(refusal(code, reason))]);
        let error = alice.send_message("alice", "x").await.unwrap_err();
        assert_eq!(cluster.met_by("SendMessage"), [0], "{error}");
        match reason {
            Reason::Internal => assert!(matches!(error, Error::Server { .. })),
            _ => assert_eq!(error.reason(), Some(reason)),
        }
        assert!(!error.is_transient());
    }
    assert!(cluster.store().messages.is_empty());
}

#[tokio::test]
async fn without_a_leader_everybody_is_asked_until_there_is_one() {
    let cluster = Cluster::start(3);
    let alice = cluster.user("alice").await;
    for replica in 0..3 {
        cluster.script(
            replica,
            [Step::Refuse(no_leader()), Step::Refuse(no_leader())],
        );
    }
    alice.send_message("alice", "at last").await.unwrap();
    assert_eq!(cluster.met_by("SendMessage"), [0, 1, 2, 0, 1, 2, 0]);
    assert_eq!(cluster.ids_of("SendMessage").len(), 1);
}

#[tokio::test]
async fn a_call_ends_with_its_total_deadline_and_can_be_repeated() {
    let cluster = Cluster::start(2);
    let total = Duration::from_millis(300);
    let client = cluster
        .builder()
        .total_deadline(total)
        .connect()
        .await
        .unwrap();
    client.register("alice", "password").await.unwrap();
    client.login("alice", "password").await.unwrap();
    for replica in 0..2 {
        cluster.script(replica, vec![Step::Refuse(no_leader()); 1000]);
    }
    let error = client.send_message("alice", "x").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("no leader is known"), "{error}");
    let id = error.request_id().unwrap();
    for replica in 0..2 {
        cluster.script_clear(replica);
    }
    let repeated = client.with_request_id(id);
    let first = repeated.send_message("alice", "x").await.unwrap();
    let second = repeated.send_message("alice", "x").await.unwrap();
    assert_eq!(first.message_id, second.message_id);
    assert_eq!(cluster.ids_of("SendMessage"), [id.to_string()]);
}

#[tokio::test]
async fn writes_follow_the_leader_where_replicas_do_not_pass_them_on() {
    let cluster = Cluster::start(3);
    let client = cluster
        .builder()
        .proxying(Proxying::ByClient)
        .connect()
        .await
        .unwrap();
    client.register("alice", "password").await.unwrap();
    client.login("alice", "password").await.unwrap();
    cluster.forget();
    cluster.script(0, [Step::Refuse(not_leader(&cluster, 2, 5))]);
    client.send_message("alice", "one").await.unwrap();
    client.send_message("alice", "two").await.unwrap();
    assert_eq!(cluster.met_by("SendMessage"), [0, 2, 2]);
    assert!(cluster.met().iter().all(|m| m.no_proxy));
    // Reads need no leader, and stay.
    client.list_inbox(PageRequest::default()).await.unwrap();
    assert_eq!(cluster.met_by("ListInbox").len(), 1);
}

#[tokio::test]
async fn a_replica_that_lags_behind_what_was_seen_is_passed_over() {
    let cluster = Cluster::start(3);
    let alice = cluster.user("alice").await;
    cluster.script(
        0,
        [Step::Refuse(refusal(
            Code::FailedPrecondition,
            Reason::StaleRead,
        ))],
    );
    alice.who_am_i().await.unwrap();
    assert_eq!(cluster.met_by("WhoAmI"), [0, 1]);
}

#[tokio::test]
async fn a_replica_that_comes_back_is_used_again() {
    let mut cluster = Cluster::start(2);
    let alice = cluster.user("alice").await;
    cluster.kill(0);
    alice.who_am_i().await.unwrap();
    cluster.restart(0);
    cluster.kill(1);
    alice.who_am_i().await.unwrap();
    cluster.restart(1);
    cluster.kill(0);
    alice.who_am_i().await.unwrap();
    assert_eq!(cluster.met_by("WhoAmI"), [1, 0, 1]);
}

#[tokio::test]
async fn many_calls_that_meet_one_loss_tell_it_once() {
    let mut cluster = Cluster::start(2);
    let alice = cluster.user("alice").await;
    alice.cluster_status_everywhere().await;
    let mut events = alice.events();
    cluster.script(0, vec![Step::Hang; 20]);
    let sends: Vec<_> = (0..20)
        .map(|n| {
            let alice = alice.clone();
            tokio::spawn(async move { alice.send_message("alice", &n.to_string()).await })
        })
        .collect();
    while cluster.met_by("SendMessage").len() < 20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    cluster.kill(0);
    for send in sends {
        send.await.unwrap().unwrap();
    }
    let mut switches = 0;
    while let Some(event) = events.try_next() {
        if let ClientEvent::ReplicaSwitched { from, to, .. } = event {
            assert_eq!(
                (from.to_string(), to.to_string()),
                ("replica 0".into(), "replica 1".into())
            );
            switches += 1;
        }
    }
    assert_eq!(switches, 1);
    assert_eq!(cluster.store().messages.len(), 20);
}

#[tokio::test]
async fn a_session_that_has_ended_does_not_stand_in_the_way_of_a_new_one() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice").await;
    alice.register("bob", "password").await.unwrap();
    alice.login("alice", "password").await.unwrap();
    assert!(
        cluster.met().iter().all(|m| !m.authorized),
        "a login carries no session"
    );
    alice.logout(LogoutScope::AllSessions).await.unwrap();
    assert_eq!(alice.session_token(), None);
    let error = alice.who_am_i().await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated(_)), "{error:?}");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let cluster = Cluster::start(1);
    let alice = cluster.user("alice").await;
    for n in 0..25 {
        cluster.post("alice", "alice", &n.to_string());
    }
    let mut request = Some(PageRequest::first(10));
    let mut bodies = Vec::new();
    while let Some(page) = request {
        let page = alice.list_inbox(page).await.unwrap();
        bodies.extend(page.items.iter().map(|m| m.body.clone()));
        request = page.next_request(10);
    }
    assert_eq!(bodies, (0..25).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_seen_of_a_history_that_lost_is_read_anew() {
    // A client that insisted on a place that no replica will ever come to could read nothing any more.
    let cluster = Cluster::start(3);
    let alice = cluster.user("alice").await;
    alice.send_message("alice", "once").await.unwrap();
    let seen = alice.read_token().expect("a write was answered");
    let lost = || refusal(Code::Aborted, Reason::HistoryChanged);
    cluster.script(0, [Step::Refuse(lost())]);
    let page = alice
        .list_history("alice", PageRequest::first(10))
        .await
        .unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(cluster.met_by("ListHistory"), [0, 0]);

    // Without anything to drop there is nothing to try again.
    alice.set_read_token(None);
    cluster.script(0, [Step::Refuse(lost())]);
    let error = alice
        .list_history("alice", PageRequest::first(10))
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Some(Reason::HistoryChanged));
    alice.set_read_token(Some(seen));
}
