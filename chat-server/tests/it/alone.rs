//! One replica is a whole service.

use std::time::Duration;

use chat_client::{ClusterStatus, DeleteScope, DeliveryState, LogoutScope, PageRequest};

use crate::support::{Cluster, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_an_account_can_do_works_on_a_single_replica() {
    let cluster = Cluster::one().await;
    let (ada, bob) = (cluster.user("Ada").await, cluster.user("bob").await);
    let me = ada.who_am_i().await.unwrap();
    assert_eq!(me.account.name, "ada");

    let sent = ada.send_message("BOB", "hello").await.unwrap();
    assert_eq!(sent.state, DeliveryState::Queued);
    assert_eq!(sent.durability.to_string(), "1 of 1");
    let inbox = bob.list_inbox(PageRequest::default()).await.unwrap().items;
    assert_eq!(inbox.len(), 1);
    assert_eq!(
        (inbox[0].id, inbox[0].sequence),
        (sent.message_id, sent.sequence)
    );
    assert_eq!(
        (inbox[0].body.as_str(), inbox[0].sender.name.as_str()),
        ("hello", "ada")
    );

    bob.confirm_delivery(&[sent.message_id]).await.unwrap();
    assert!(
        bob.list_inbox(PageRequest::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let conversations = bob
        .list_conversations(PageRequest::default())
        .await
        .unwrap()
        .items;
    assert_eq!((conversations.len(), conversations[0].unread), (1, 1));
    assert_eq!(bob.mark_conversation_read("ada", None).await.unwrap(), 1);
    let history = ada
        .list_history("bob", PageRequest::default())
        .await
        .unwrap()
        .items;
    assert!(history[0].delivered && history[0].read);

    let deleted = ada
        .delete_messages(&[sent.message_id], DeleteScope::ForBoth)
        .await
        .unwrap();
    assert_eq!(deleted.count, 1);
    assert!(
        bob.list_history("ada", PageRequest::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );

    bob.change_password("password", "another password")
        .await
        .unwrap();
    bob.login("bob", "password").await.unwrap_err();
    bob.login("bob", "another password").await.unwrap();
    assert_eq!(bob.logout(LogoutScope::AllSessions).await.unwrap(), 2);
    ada.delete_account("password").await.unwrap();
    ada.register("ada", "password").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_after_a_kill_or_a_clean_stop_shows_the_same_state() {
    let mut cluster = Cluster::one().await;
    let ada = cluster.user("ada").await;
    cluster.user("bob").await;
    for number in 0..20 {
        ada.send_message("bob", &format!("message {number}"))
            .await
            .unwrap();
    }
    let before = at_rest(&cluster).await;
    cluster.kill(0);
    cluster.launch(0);
    cluster.settled(1).await;
    assert_eq!(
        ada.list_history("bob", PageRequest::default())
            .await
            .unwrap()
            .items
            .len(),
        20
    );
    assert!(cluster.stop(0).success());
    cluster.launch(0);
    cluster.settled(1).await;
    let history = ada
        .list_history("bob", PageRequest::default())
        .await
        .unwrap()
        .items;
    assert_eq!(history.first().unwrap().body, "message 19");
    let after = cluster.status(0).await.unwrap();
    assert_eq!(
        (before.accounts, before.messages),
        (after.accounts, after.messages)
    );
    assert_eq!(before.replicas[0].state_hash, after.replicas[0].state_hash);
}

/// The status once it no longer moves: it is published a moment after the writes that it shows.
async fn at_rest(cluster: &Cluster) -> ClusterStatus {
    eventually("a status that stays", || async {
        let first = cluster.status(0).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let second = cluster.status(0).await?;
        (first == second).then_some(second)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_everything_once() {
    let cluster = Cluster::one().await;
    let ada = cluster.user("ada").await;
    for number in 0..23 {
        let name = format!("friend{number:02}");
        ada.register(&name, "password").await.unwrap();
        ada.send_message(&name, "hello").await.unwrap();
        ada.send_message("friend00", &number.to_string())
            .await
            .unwrap();
    }
    let page = |size, token| PageRequest { size, token };
    let (mut names, mut token) = (Vec::new(), None);
    loop {
        let found = ada.list_accounts("friend*", page(5, token)).await.unwrap();
        names.extend(found.items.into_iter().map(|account| account.name));
        token = found.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(
        names,
        (0..23)
            .map(|number| format!("friend{number:02}"))
            .collect::<Vec<_>>()
    );
    let (mut bodies, mut token) = (Vec::new(), None);
    loop {
        let found = ada.list_history("friend00", page(4, token)).await.unwrap();
        bodies.extend(found.items.into_iter().map(|message| message.body));
        token = found.next;
        if token.is_none() {
            break;
        }
    }
    let expected = (0..23).rev().map(|number| number.to_string());
    let expected: Vec<_> = expected.chain(["hello".to_owned()]).collect();
    assert_eq!(bodies, expected);
    let (mut peers, mut token) = (0, None);
    loop {
        let found = ada.list_conversations(page(4, token)).await.unwrap();
        peers += found.items.len();
        token = found.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(peers, 23);
}
