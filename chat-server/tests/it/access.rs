//! Who gets in: passwords that are guessed, sessions that are ended, accounts that the operator makes.

use chat_client::{
    Client, Error, Event, LogoutScope, Reason, RequestId, SessionToken, SubscribeOptions, api,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::support::{Cluster, RawClient, Setup, by, eventually, figure, reason_of, with_token};

const CHEAP: &str = "hash_memory_kib = 64\nhash_passes = 1";

fn mint() -> String {
    RequestId::mint().to_string()
}

async fn wrong(raw: &RawClient, name: &str) -> Status {
    raw.login(&mint(), name, "wrong password")
        .await
        .unwrap_err()
}

fn is_limited(status: &Status) -> bool {
    let is_limited = reason_of(status) == Some(Reason::TooManyLogins);
    if is_limited {
        assert_eq!(status.code(), Code::ResourceExhausted);
        let wait = status.get_details_retry_info().unwrap().retry_delay;
        assert!(wait.is_some_and(|wait| !wait.is_zero()));
    }
    is_limited
}

/// Somebody who guesses at ada's password would lock her out if only the account were counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_guesses_is_stopped_and_locks_nobody_out() {
    let cluster = Cluster::alone(
        "hash_memory_kib = 64\nhash_passes = 1\nfailed_logins = 3\nfailed_logins_per_address = 6",
    )
    .await;
    let owner = cluster.user("ada").await;
    let stranger = RawClient::from("127.0.0.66", &cluster.address(0));
    let ada = RawClient::from("127.0.0.3", &cluster.address(0));
    for _ in 0..3 {
        let status = wrong(&stranger, "ada").await;
        assert_eq!(reason_of(&status), Some(Reason::BadCredentials));
    }
    let (_, before) = cluster.page(0, "/metrics").unwrap();
    // Other spellings are the same account, and the right password is not looked at either.
    assert!(is_limited(&wrong(&stranger, "ADA").await));
    let right = stranger.login(&mint(), "ada", "password").await;
    assert!(is_limited(&right.unwrap_err()));
    let (_, after) = cluster.page(0, "/metrics").unwrap();
    let hashed = |page: &str| figure(page, "chat_passwords_hashed_total");
    assert_eq!(hashed(&before), hashed(&after));

    // Neither is one after another account from there.
    let mut looked_at = 0;
    for n in 0..10 {
        let status = wrong(&stranger, &format!("user{n}")).await;
        looked_at += usize::from(!is_limited(&status));
    }
    assert_eq!(looked_at, 3);

    // The owner elsewhere notices nothing, and right passwords use nothing up.
    for _ in 0..10 {
        ada.login(&mint(), "ada", "password").await.unwrap();
    }
    // Nor does it help to have stolen a session.
    let thief = RawClient::from("127.0.0.67", &cluster.address(0));
    let mut refusals = Vec::new();
    for _ in 0..4 {
        let change = api::ChangePasswordRequest {
            request_id: mint(),
            old_password: "wrong password".into(),
            new_password: "another password".into(),
        };
        let refused = thief.auth().change_password(by(&owner, change)).await;
        refusals.push(is_limited(&refused.unwrap_err()));
    }
    assert_eq!(refusals, [false, false, false, true]);
    let delete = api::DeleteAccountRequest {
        request_id: mint(),
        password: "password".into(),
    };
    let refused = thief.accounts().delete_account(by(&owner, delete)).await;
    assert!(is_limited(&refused.unwrap_err()));
    owner
        .change_password("password", "another password")
        .await
        .unwrap();
}

/// The time of an answer is that of the hashing in it, so that the number of hashes must not tell who has an account.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_account_and_a_wrong_password_take_the_same_work_and_get_the_same_answer() {
    let cluster =
        Cluster::alone("hash_memory_kib = 64\nhash_passes = 1\nfailed_logins = 1000").await;
    let ada = cluster.user("ada").await;
    let gone = cluster.user("gone").await;
    gone.delete_account("password").await.unwrap();
    let raw = cluster.raw(0);
    let hashed = || {
        let (_, page) = cluster.page(0, "/metrics").unwrap();
        figure(&page, "chat_passwords_hashed_total")
    };
    let mut answers = Vec::new();
    for (name, password) in [
        ("ada", "wrong password"),
        ("nobody", "wrong password"),
        ("gone", "password"),
        ("ada", "short"),
        ("nobody", "short"),
    ] {
        let before = hashed();
        for _ in 0..5 {
            let status = raw.login(&mint(), name, password).await.unwrap_err();
            answers.push((
                status.code(),
                status.message().to_owned(),
                status.details().to_vec(),
            ));
        }
        // What can be no password is nobody's, which it takes no hash to see.
        let expected = if password == "short" { 0.0 } else { 5.0 };
        assert_eq!(hashed() - before, expected, "{name} {password}");
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let before = hashed();
    raw.login(&mint(), "ada", "password").await.unwrap();
    assert_eq!(hashed() - before, 1.0);
    ada.who_am_i().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_by_their_owner_alone() {
    let cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    let phone = cluster.client().await;
    phone.login("ada", "password").await.unwrap();
    let bob = cluster.user("bob").await;

    let own = ada.who_am_i().await.unwrap().id;
    let of_phone = phone.who_am_i().await.unwrap();
    let listed = ada.list_sessions().await.unwrap();
    let shown: Vec<_> = listed.iter().map(|one| (one.id, one.is_this)).collect();
    assert_eq!(shown, [(own, true), (of_phone.id, false)]);
    assert_eq!(listed[1].expires, of_phone.expires);
    assert!(listed[0].opened <= listed[1].opened);

    // Another one's session, and one that is not there, look alike.
    let of_bob = bob.who_am_i().await.unwrap().id;
    for id in [of_bob.to_string(), Uuid::new_v4().to_string()] {
        let error = ada.revoke_session(id.parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, Error::NotFound(_)), "{error:?}");
        assert_eq!(error.reason(), Some(Reason::SessionNotFound));
    }
    bob.who_am_i().await.unwrap();

    let mut events = phone.subscribe(SubscribeOptions::default()).await.unwrap();
    loop {
        if let Some(Ok(Event::Connected { .. })) = events.next().await {
            break;
        }
    }
    let once = ada.with_request_id(RequestId::mint());
    once.revoke_session(of_phone.id).await.unwrap();
    // The answer was lost, and the call is made again.
    once.revoke_session(of_phone.id).await.unwrap();
    loop {
        match events.next().await {
            Some(Ok(Event::SessionClosed { .. })) => break,
            Some(Ok(_)) => {}
            other => panic!("the stream ended without a word: {other:?}"),
        }
    }
    for id in 0..3 {
        let phone = cluster.at(id, &phone).await;
        let refused = phone.who_am_i().await.unwrap_err();
        assert!(matches!(refused, Error::Unauthenticated(_)), "{refused:?}");
    }
    let left = ada.list_sessions().await.unwrap();
    assert_eq!(left.len(), 1);

    // One's own session ends like a logout, with an answer also to the retry.
    let once = ada.with_request_id(RequestId::mint());
    let token = ada.session_token();
    once.revoke_session(own).await.unwrap();
    once.set_session_token(token);
    once.revoke_session(own).await.unwrap();
    let refused = ada.who_am_i().await.unwrap_err();
    assert!(matches!(refused, Error::Unauthenticated(_)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_the_other_sessions_and_no_others() {
    let cluster = Cluster::alone(CHEAP).await;
    let ada = cluster.user("ada").await;
    let bob = cluster.user("bob").await;
    let others: Vec<Client> = vec![cluster.client().await, cluster.client().await];
    for other in &others {
        other.login("ada", "password").await.unwrap();
    }
    ada.change_password("password", "another password")
        .await
        .unwrap();
    for other in &others {
        let refused = other.who_am_i().await.unwrap_err();
        assert!(matches!(refused, Error::Unauthenticated(_)), "{refused:?}");
    }
    assert_eq!(ada.list_sessions().await.unwrap().len(), 1);
    bob.who_am_i().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_registration_is_closed_the_operator_makes_accounts_at_any_replica() {
    let mut cluster = Cluster::new(&Setup::default());
    for id in 0..3 {
        cluster.launch_with(id, &["--set", "accounts.registration=closed"]);
    }
    let leader = cluster.settled(3).await;
    let client = cluster.client().await;
    let refused = client.register("eve", "password").await.unwrap_err();
    assert!(matches!(refused, Error::Denied(_)), "{refused:?}");
    assert_eq!(refused.reason(), Some(Reason::RegistrationClosed));

    // The one that leads, and one that does not.
    for (name, id) in [("ada", leader), ("bob", (leader + 1) % 3)] {
        let id = id.to_string();
        let (said, code) = cluster
            .program(&["account", "create", name, "--id", &id])
            .await;
        assert_eq!(code, Some(0), "{said}");
        let password = password_in(&said);
        client.login(name, &password).await.unwrap();
        client.who_am_i().await.unwrap();

        let session = client.session_token();
        let (said, code) = cluster
            .program(&["account", "reset-password", name, "--id", &id])
            .await;
        assert_eq!(code, Some(0), "{said}");
        assert_ne!(password_in(&said), password);
        client.set_session_token(session);
        let refused = client.who_am_i().await.unwrap_err();
        assert!(matches!(refused, Error::Unauthenticated(_)), "{refused:?}");
        client.login(name, &password).await.unwrap_err();
        client.login(name, &password_in(&said)).await.unwrap();
    }
    for (arguments, words) in [
        (vec!["create", "ADA"], "is taken"),
        (vec!["create", "a b"], "user name"),
        (vec!["reset-password", "nobody"], "there is no account"),
        (vec!["delete", "nobody"], "there is no account"),
    ] {
        let arguments = [vec!["account"], arguments].concat();
        let (said, code) = cluster.program(&arguments).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    let (said, _) = cluster.program(&["account", "list"]).await;
    let names: Vec<_> = said
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(names, ["NAME", "ada", "bob"]);
    let (said, code) = cluster.program(&["account", "delete", "ada"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (said, _) = cluster.program(&["account", "list"]).await;
    assert!(!said.contains("ada"), "{said}");
    // What the log says of it holds no password and no hash.
    for id in 0..3 {
        assert!(!cluster.log_of(id).contains("argon2"));
    }
}

fn password_in(said: &str) -> String {
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("password: "));
    line.unwrap_or_else(|| panic!("{said}")).to_owned()
}

/// A token of a session that has ended, or of none, opens nothing; nor does one with a bit changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_as_it_is_and_while_its_session_lasts() {
    let cluster = Cluster::alone(CHEAP).await;
    let ada = cluster.user("ada").await;
    let token = ada.session_token().unwrap();
    let raw = cluster.raw(0);
    let ask = async |token: &str| {
        let request = with_token(token, api::WhoAmIRequest::default());
        raw.auth().who_am_i(request).await
    };
    ask(token.expose()).await.unwrap();
    let text = token.expose();
    for at in 0..text.len() {
        let mut forged = text.as_bytes().to_vec();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let refused = ask(std::str::from_utf8(&forged).unwrap())
            .await
            .unwrap_err();
        assert_eq!(reason_of(&refused), Some(Reason::Unauthenticated), "{at}");
    }
    ada.logout(LogoutScope::ThisSession).await.unwrap();
    let refused = ask(text).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(Reason::Unauthenticated));
    ada.set_session_token(Some(SessionToken::new(text)));
    eventually("the refusal through the library", || async {
        ada.who_am_i().await.is_err().then_some(())
    })
    .await;
}
