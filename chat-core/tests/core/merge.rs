//! One test per rule for commands of a branch that lost.

use chat_core::{
    CommandBody, Content,
    DeleteScope::{ForBoth, ForMe},
    EventKind, MessageId, MessageState, Notice, Outcome, Rejection, SessionCheck, SessionPolicy,
    Username,
};

use crate::world::{World, create, delete, delivered, hash, heard, name, read, sent, token, write};

#[test]
fn create_account_the_winner_keeps_the_name_and_the_loser_lives_on_under_another() {
    let mut winner = World::new();
    let mut loser = winner.fork();
    let first = winner.register("bob");
    let register = loser.command(create("Bob"));
    let second = match loser.apply(&register).result.unwrap() {
        Outcome::AccountCreated { account, .. } => account,
        other => panic!("{other:?}"),
    };
    let login = loser.login(second, SessionPolicy::Single);
    let login = loser.command(login);
    let Outcome::SessionOpened { session, .. } = loser.apply(&login).result.unwrap() else {
        unreachable!()
    };
    let to_self = loser.command(write(second, second, "mine"));
    loser.apply(&to_self).result.unwrap();

    let applied = winner.repropose(&register);
    let digits = second.as_uuid().simple().to_string();
    let given = Username::parse_existing(&format!("bob~{}", &digits[28..])).unwrap();
    assert!(
        matches!(applied.result, Ok(Outcome::AccountCreated { account, name, .. }) if account == second && name == given)
    );
    assert_eq!(heard(&applied.events, second), ["renamed", "received"]);
    assert!(winner.repropose(&login).result.is_ok());
    assert!(winner.repropose(&to_self).result.is_ok());

    assert_eq!(
        (winner.name(first), winner.name(second)),
        ("bob".to_owned(), given.to_string())
    );
    let Ok(found) = winner.manager.account_by_name(&given);
    assert_eq!(found.unwrap().id, second);
    // The session that was opened on the other branch is still good.
    let secret = token(1);
    let Ok(check) = winner.manager.verify_session(session, &secret, winner.now);
    assert!(matches!(check, SessionCheck::Valid(session) if session.account == second));
    let Ok(inbox) = winner.manager.inbox(second, None, 10);
    let notice = Notice::Renamed {
        from: name("bob"),
        to: given,
    };
    assert_eq!(inbox.items[0].content, Content::Notice(notice));
    assert_eq!(winner.texts(second, second), ["mine"]);
    // The notice is a message like others: it is delivered, read and deleted.
    let notice = inbox.items[0].id;
    assert_eq!(winner.unread(second, chat_core::AccountId::SYSTEM), 1);
    winner.run(delivered(second, &[notice])).unwrap();
    winner
        .run(CommandBody::ReadThrough {
            account: second,
            peer: chat_core::AccountId::SYSTEM,
            message: notice,
        })
        .unwrap();
    assert_eq!(winner.unread(second, chat_core::AccountId::SYSTEM), 0);
    winner.run(delete(second, &[notice], ForMe)).unwrap();
    assert_eq!(winner.manager.stats().messages, 1);
    // Its retry, now by a client, tells the new name.
    assert!(
        matches!(winner.apply(&register).result, Ok(Outcome::AccountCreated { name, .. }) if name.as_str().starts_with("bob~"))
    );
}

#[test]
fn create_account_a_name_that_looks_like_the_winners_is_lost_as_well() {
    let mut winner = World::new();
    let mut loser = winner.fork();
    winner.register("paypal");
    let register = loser.command(create("раураl"));
    let applied = winner.repropose(&register);
    assert!(
        matches!(applied.result, Ok(Outcome::AccountCreated { name, .. }) if name.as_str().starts_with("раураl~"))
    );
}

#[test]
fn create_account_a_client_is_refused_where_a_merge_renames() {
    let mut world = World::new();
    world.register("bob");
    let register = world.command(create("bob"));
    assert_eq!(
        world.apply(&register).result,
        Err(Rejection::NameTaken { name: name("bob") })
    );
    assert!(world.repropose(&register).result.is_ok());
}

#[test]
fn send_the_message_is_there_once_deleted_it_stays_deleted_and_without_recipient_it_is_refused() {
    let mut winner = World::new();
    let (ada, bob) = (winner.register("ada"), winner.register("bob"));
    let mut loser = winner.fork();
    let orphan = loser.command(write(ada, bob, "from the other side"));
    loser.apply(&orphan).result.unwrap();
    // The client did not wait, and sent it again to the new leader.
    let first = winner.apply(&orphan).result.unwrap();
    assert_eq!(winner.repropose(&orphan).result, Ok(first.clone()));
    assert_eq!(winner.texts(bob, ada), ["from the other side"]);

    winner
        .run(delete(ada, &[sent(first.clone())], ForBoth))
        .unwrap();
    assert_eq!(winner.repropose(&orphan).result, Ok(first));
    assert!(winner.texts(bob, ada).is_empty());

    let second = loser.command(write(ada, bob, "too late"));
    winner
        .run(CommandBody::DeleteAccount { account: bob })
        .unwrap();
    assert_eq!(
        winner.repropose(&second).result,
        Err(Rejection::RecipientNotFound { recipient: bob })
    );
}

#[test]
fn delete_message_wins_over_a_send_that_comes_after_it() {
    let mut winner = World::new();
    let (ada, bob) = (winner.register("ada"), winner.register("bob"));
    let mut loser = winner.fork();
    let orphans = ["for both", "for ada", "for bob", "by each"].map(|text| {
        let command = loser.command(write(ada, bob, text));
        loser.apply(&command).result.unwrap();
        command
    });
    let ids = orphans
        .clone()
        .map(|command| MessageId::derive(ada, command.request));
    winner.now = loser.now;
    winner.run(delete(ada, &ids[..1], ForBoth)).unwrap();
    winner.run(delete(ada, &[ids[1], ids[3]], ForMe)).unwrap();
    winner.run(delete(bob, &[ids[2], ids[3]], ForMe)).unwrap();
    // Deleting what somebody else wrote, for both, is not for the recipient to say.
    let unseen = loser.command(write(ada, bob, "not his to delete"));
    winner
        .run(delete(
            bob,
            &[MessageId::derive(ada, unseen.request)],
            ForBoth,
        ))
        .unwrap();

    for orphan in orphans.iter().chain([&unseen]) {
        assert!(winner.repropose(orphan).result.is_ok());
    }
    assert_eq!(winner.texts(ada, bob), ["for bob", "not his to delete"]);
    assert_eq!(winner.texts(bob, ada), ["for ada", "not his to delete"]);
    assert_eq!(winner.inbox(bob), ["for ada", "not his to delete"]);
    assert_eq!(winner.manager.stats().messages, 3);
    // And a retry still finds that it was sent.
    assert!(matches!(
        winner.apply(&orphans[0]).result,
        Ok(Outcome::MessageSent { .. })
    ));
    assert_eq!(winner.manager.stats().messages, 3);
}

#[test]
fn delete_session_wins_over_a_login_that_comes_after_it() {
    let mut winner = World::new();
    let ada = winner.register("ada");
    let mut loser = winner.fork();
    let login = loser.login(ada, SessionPolicy::Single);
    let logins = [(); 2].map(|()| loser.command(login.clone()));
    let sessions = logins
        .clone()
        .map(|command| chat_core::SessionId::derive(ada, command.request));
    winner.now = loser.now;
    let close = CommandBody::CloseSession {
        account: ada,
        session: sessions[0],
    };
    assert_eq!(winner.run(close), Ok(Outcome::SessionsClosed { count: 0 }));
    assert_eq!(
        winner.repropose(&logins[0]).result,
        Err(Rejection::SessionClosed {
            session: sessions[0]
        })
    );
    winner
        .run(CommandBody::CloseAllSessions {
            account: ada,
            except: None,
        })
        .unwrap();
    assert_eq!(
        winner.repropose(&logins[1]).result,
        Err(Rejection::SessionClosed {
            session: sessions[1]
        })
    );
    assert!(winner.sessions(ada).is_empty());
    // A login that a client asks for now is later than that.
    winner.open(ada, SessionPolicy::Single);
}

#[test]
fn nobody_closes_the_sessions_of_others_before_they_open() {
    let mut winner = World::new();
    let (ada, eve) = (winner.register("ada"), winner.register("eve"));
    let mut loser = winner.fork();
    let login = loser.login(ada, SessionPolicy::Single);
    let login = loser.command(login);
    let session = chat_core::SessionId::derive(ada, login.request);
    winner.now = loser.now;
    winner
        .run(CommandBody::CloseSession {
            account: eve,
            session,
        })
        .unwrap();
    winner.repropose(&login).result.unwrap();
    assert_eq!(winner.sessions(ada), [session]);
}

#[test]
fn delete_account_wins_over_everything_and_twice_is_once() {
    let mut winner = World::new();
    let mut loser = winner.fork();
    let ada = winner.register("ada");
    loser.now = winner.now;
    let register = loser.command(create("bob"));
    loser.apply(&register).result.unwrap();
    let bob = chat_core::AccountId::derive(register.request);
    let leave = loser.command(CommandBody::DeleteAccount { account: bob });
    // The deletion arrives before the registration.
    assert_eq!(winner.repropose(&leave).result, Ok(Outcome::AccountDeleted));
    assert_eq!(
        winner.repropose(&register).result,
        Err(Rejection::AccountDeleted { account: bob })
    );
    let Ok(found) = winner.manager.account_by_name(&name("bob"));
    assert_eq!(found, None);

    winner
        .run(CommandBody::DeleteAccount { account: ada })
        .unwrap();
    let again = loser.command(CommandBody::DeleteAccount { account: ada });
    assert_eq!(winner.repropose(&again).result, Ok(Outcome::AccountDeleted));
    assert_eq!(winner.manager.stats().accounts, 0);
}

#[test]
fn mark_delivered_and_read_are_unions_in_any_order() {
    let mut winner = World::new();
    let (ada, bob) = (winner.register("ada"), winner.register("bob"));
    let mut loser = winner.fork();
    let orphans = ["one", "two", "three"].map(|text| loser.command(write(ada, bob, text)));
    let ids = orphans
        .clone()
        .map(|command| MessageId::derive(ada, command.request));
    winner.now = loser.now;
    // Bob's client had them, and confirms to the new leader, which does not know them yet.
    winner.run(delivered(bob, &ids[..2])).unwrap();
    winner.run(read(bob, &ids[1..2])).unwrap();
    winner.run(delivered(ada, &ids[2..])).unwrap(); // has no say in it
    let events: Vec<_> = orphans
        .iter()
        .flat_map(|orphan| winner.repropose(orphan).events)
        .collect();
    assert_eq!(
        heard(&events, bob),
        ["received"],
        "what his client has is not delivered again"
    );
    let states: Vec<_> = winner
        .history(bob, ada)
        .iter()
        .map(|message| message.state)
        .collect();
    assert_eq!(
        states,
        [
            MessageState::Delivered,
            MessageState::Read,
            MessageState::Queued
        ]
    );
    assert_eq!(
        (winner.unread(bob, ada), winner.inbox(bob)),
        (2, vec!["three".into()])
    );
}

#[test]
fn change_password_the_later_change_wins_whichever_comes_first() {
    let mut origin = World::new();
    let ada = origin.register("ada");
    let change = |world: &mut World| {
        let verified = world.credential(ada);
        let command = world.command(CommandBody::ChangePassword {
            account: ada,
            verified,
            password: hash(),
            keep: None,
        });
        world.apply(&command).result.unwrap();
        command
    };
    let (mut early, mut late) = (origin.fork(), origin.fork().fork());
    late.pass(crate::world::HOUR);
    let (first, second) = (change(&mut early), change(&mut late));
    let login = early.login(ada, SessionPolicy::Single);
    let login = early.command(login);
    early.apply(&login).result.unwrap();
    let newest = late.credential(ada);

    // The earlier one loses, and so does the login with its password.
    let result = late.repropose(&first).result;
    assert_eq!(result, Ok(Outcome::PasswordChanged { credential: newest }));
    assert_eq!(
        late.repropose(&login).result,
        Err(Rejection::StaleCredential)
    );
    // The later one wins, and closes what the earlier one's password opened.
    let applied = early.repropose(&second);
    assert_eq!(
        applied.result,
        Ok(Outcome::PasswordChanged { credential: newest })
    );
    assert!(
        matches!(applied.events[..], [ref event] if matches!(event.kind, EventKind::SessionClosed { .. }))
    );
    assert_eq!(
        (early.credential(ada), late.credential(ada)),
        (newest, newest)
    );
}

#[test]
fn change_password_a_client_wins_even_where_the_clock_is_behind() {
    let mut world = World::new();
    let ada = world.register("ada");
    let mut newest = world.credential(ada);
    for _ in 0..3 {
        world.now = crate::world::START.saturating_sub(crate::world::HOUR);
        let verified = world.credential(ada);
        let change = CommandBody::ChangePassword {
            account: ada,
            verified,
            password: hash(),
            keep: None,
        };
        world.run(change).unwrap();
        assert_ne!(world.credential(ada), newest);
        newest = world.credential(ada);
    }
}

#[test]
fn a_name_that_was_lost_twice_takes_more_digits() {
    // The second account's four digits are taken when an account is called so already.
    let mut winner = World::new();
    winner.register("bob");
    let mut others = winner.fork();
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..600 {
        let register = others.command(create("bob"));
        let Ok(applied) = winner.manager.apply_reproposed(register);
        match applied.result.unwrap() {
            Outcome::AccountCreated { name, .. } => assert!(names.insert(name)),
            other => panic!("{other:?}"),
        }
    }
    winner.check();
    assert!(
        names
            .iter()
            .any(|name| name.as_str().len() == "bob~".len() + 8),
        "none had to take eight"
    );
}
