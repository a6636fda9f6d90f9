//! One test per rule for commands of a branch that lost.

use chat_core::{
    Command, CommandBody, Content,
    DeleteScope::{ForBoth, ForMe},
    EventKind, Lineage, MessageId, MessageState, Notice, Outcome, Rejection, Sequence,
    SessionCheck, SessionPolicy, Username,
};

use crate::world::{
    HOUR, World, create, delete, delivered, hash, heard, name, read, sent, token, write,
};

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
fn send_the_message_is_there_once_and_deleted_it_stays_deleted() {
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
}

#[test]
fn send_what_was_sent_before_either_side_left_stays_with_the_other() {
    for is_sender in [true, false] {
        let mut winner = World::new();
        let (ada, bob) = (winner.register("ada"), winner.register("bob"));
        let mut loser = winner.fork();
        let send = loser.command(write(ada, bob, "before you go"));
        loser.apply(&send).result.unwrap();
        let (gone, other) = if is_sender { (ada, bob) } else { (bob, ada) };
        let leave = CommandBody::DeleteAccount { account: gone };
        winner.run(leave.clone()).unwrap();
        let events = winner.repropose(&send).events;
        assert_eq!(winner.texts(other, gone), ["before you go"]);
        assert!(heard(&events, gone).is_empty());
        assert_eq!(winner.inbox(bob).len(), usize::from(is_sender));
        // What the branch itself refused is refused again.
        loser.run(leave).unwrap();
        let late = loser.command(write(ada, bob, "too late"));
        assert!(loser.apply(&late).result.is_err());
        let leave = loser.command(CommandBody::DeleteAccount { account: gone });
        winner.repropose(&leave).result.unwrap();
        let late = loser.command(write(ada, bob, "too late"));
        assert!(winner.repropose(&late).result.is_err());
        // The last copy takes the message with it.
        let message = MessageId::derive(ada, send.request);
        winner.run(delete(other, &[message], ForMe)).unwrap();
        assert_eq!(winner.manager.stats().messages, 0);
    }
}

#[test]
fn delete_message_of_an_account_that_is_gone_elsewhere_stays_deleted() {
    let mut winner = World::new();
    let (ada, bob) = (winner.register("ada"), winner.register("bob"));
    let message = winner.send(ada, bob, "never mind");
    let mut loser = winner.fork();
    let withdraw = loser.command(delete(ada, &[message], ForBoth));
    loser.apply(&withdraw).result.unwrap();
    winner
        .run(CommandBody::DeleteAccount { account: ada })
        .unwrap();
    winner.repropose(&withdraw).result.unwrap();
    assert!(winner.texts(bob, ada).is_empty());
}

#[test]
fn delete_message_what_one_branch_did_not_know_does_not_save_the_rest() {
    let mut winner = World::new();
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|name| winner.register(name));
    let own = winner.send(ada, bob, "mine");
    let mut loser = winner.fork();
    let others = winner.send(bob, eve, "not hers");
    let withdraw = loser.command(delete(ada, &[others, own], ForBoth));
    loser.apply(&withdraw).result.unwrap();
    winner.repropose(&withdraw).result.unwrap();
    assert!(winner.texts(bob, ada).is_empty());
    assert_eq!(winner.texts(eve, bob), ["not hers"]);
}

/// Rob reads through a message of his branch. On the other one, messages that he never saw stand before it.
#[test]
fn read_through_reads_what_its_reader_saw_and_nothing_else() {
    let mut winner = World::new();
    let (pat, rob) = (winner.register("pat"), winner.register("rob"));
    let old = winner.send(pat, rob, "old");
    let seen = winner.send(pat, rob, "had by rob's client");
    winner.run(delivered(rob, &[seen])).unwrap();
    let mut loser = winner.fork();
    let unseen = winner.send(pat, rob, "unseen");
    let shown = winner.send(pat, rob, "unseen, but shown to another client of his");
    winner.run(delivered(rob, &[shown])).unwrap();
    let sends = ["first", "second", "third"].map(|text| {
        let command = loser.command(write(pat, rob, text));
        loser.apply(&command).result.unwrap();
        command
    });
    let [first, second, third] =
        [0, 1, 2].map(|which: usize| MessageId::derive(pat, sends[which].request));
    let mark = loser.command(CommandBody::ReadThrough {
        account: rob,
        peer: pat,
        message: second,
    });
    loser.apply(&mark).result.unwrap();
    assert_eq!(loser.unread(rob, pat), 1);

    for send in &sends {
        winner.repropose(send).result.unwrap();
    }
    let applied = winner.repropose(&mark);
    assert!(matches!(
        applied.result,
        Ok(Outcome::MarkedRead { count: 4, .. })
    ));
    assert_eq!(
        winner.inbox(rob),
        ["unseen", "third"],
        "what he has not seen waits for him"
    );
    assert_eq!(winner.unread(rob, pat), 3);
    for account in [pat, rob] {
        let told = applied
            .events
            .iter()
            .filter(|event| event.account == account);
        let told: Vec<_> = told.map(|event| event.kind.clone()).collect();
        assert!(
            matches!(&told[..], [EventKind::Read { messages, .. }] if **messages == [old, seen, first, second]),
            "{told:?}"
        );
    }
    let is_read = |world: &World| -> Vec<MessageId> {
        let history = world.history(rob, pat).into_iter();
        let read = history.filter(|message| message.state == MessageState::Read);
        read.map(|message| message.id).collect()
    };
    assert_eq!(is_read(&winner), [old, seen, first, second]);
    // Now he sees all of it, and says so.
    let all = CommandBody::ReadThrough {
        account: rob,
        peer: pat,
        message: third,
    };
    let events = winner.events(all);
    assert_eq!(heard(&events, pat), ["read through"]);
    assert_eq!((winner.unread(rob, pat), winner.inbox(rob).len()), (0, 0));
    assert!(is_read(&winner).contains(&unseen));
}

#[test]
fn read_through_without_a_lineage_reads_the_message_that_it_names() {
    let mut world = World::new();
    let (pat, rob) = (world.register("pat"), world.register("rob"));
    world.send(pat, rob, "unseen");
    let send = world.command(write(pat, rob, "seen"));
    let message = MessageId::derive(pat, send.request);
    let mark = world.command(CommandBody::ReadThrough {
        account: rob,
        peer: pat,
        message,
    });
    for command in [send, mark] {
        let Ok(applied) = world.manager.apply_reproposed(command, Lineage::default());
        applied.result.unwrap();
        world.check();
    }
    assert_eq!(
        (world.inbox(rob), world.unread(rob, pat)),
        (vec!["unseen".into()], 1)
    );
}

#[test]
fn read_through_goes_by_the_order_of_its_own_branch() {
    // Pat's client sent "both" to either side. On rob's, "before" stood before it, and "behind" behind it.
    let mut winner = World::new();
    let (pat, rob) = (winner.register("pat"), winner.register("rob"));
    let mut loser = winner.fork();
    let [before, both, behind, mark] = ["before", "both", "behind", "mark"].map(|text| {
        let body = write(pat, rob, text);
        loser.command(body)
    });
    let mark = Command {
        body: CommandBody::ReadThrough {
            account: rob,
            peer: pat,
            message: MessageId::derive(pat, both.request),
        },
        ..mark
    };
    winner.now = loser.now;
    winner.apply(&behind).result.unwrap();
    winner.apply(&both).result.unwrap();
    for command in [&before, &both, &behind] {
        winner.repropose(command).result.unwrap();
    }
    winner.repropose(&mark).result.unwrap();
    let unread = winner.history(rob, pat).into_iter();
    let unread = unread.filter(|message| message.state != MessageState::Read);
    let unread: Vec<_> = unread.map(|message| crate::world::text(&message)).collect();
    assert_eq!(unread, ["behind"]);
}

#[test]
fn read_through_knows_what_stood_in_earlier_epochs_of_its_branch() {
    let mut world = World::new();
    let (pat, rob) = (world.register("pat"), world.register("rob"));
    world.run(write(pat, rob, "unseen")).unwrap();
    let fork = Sequence::new(2);
    let place = Sequence::new;
    // Epochs 5 and 7 of one branch; epoch 6 began where 5 was at 12, and is another branch.
    let sends = [(5, 11), (5, 13), (6, 12), (7, 14)].map(|(epoch, at)| {
        let send = world.command(write(pat, rob, &format!("{at} in {epoch}")));
        let epochs = match epoch {
            5 => vec![(5, place(10))],
            6 => vec![(5, place(10)), (6, place(12))],
            _ => vec![(5, place(10)), (7, place(14))],
        };
        let at = place(at);
        let lineage = Lineage { fork, epochs, at };
        let Ok(applied) = world.manager.apply_reproposed(send.clone(), lineage);
        applied.result.unwrap();
        MessageId::derive(pat, send.request)
    });
    let mark = world.command(CommandBody::ReadThrough {
        account: rob,
        peer: pat,
        message: sends[3],
    });
    let lineage = Lineage {
        fork,
        epochs: vec![(5, place(10)), (7, place(14))],
        at: place(15),
    };
    let Ok(applied) = world.manager.apply_reproposed(mark, lineage);
    applied.result.unwrap();
    world.check();
    assert_eq!(world.inbox(rob), ["unseen", "12 in 6"]);
}

#[test]
fn read_through_knows_eight_branches_on_which_a_message_stood() {
    let mut world = World::new();
    let (pat, rob) = (world.register("pat"), world.register("rob"));
    let lineage = |branch: u128, at| Lineage {
        fork: Sequence::new(2),
        epochs: vec![(branch, Sequence::new(10))],
        at: Sequence::new(at),
    };
    let repropose = |world: &mut World, command: &Command, lineage| {
        let Ok(applied) = world.manager.apply_reproposed(command.clone(), lineage);
        applied.result.unwrap();
        world.check();
    };
    let first = world.command(write(pat, rob, "first"));
    for branch in 0..9 {
        repropose(&mut world, &first, lineage(branch, 10));
    }
    for (branch, left) in [(7, vec![]), (8, vec!["first"])] {
        let mut world = world.fork();
        let second = world.command(write(pat, rob, "second"));
        repropose(&mut world, &second, lineage(branch, 11));
        let message = MessageId::derive(pat, second.request);
        let mark = world.command(CommandBody::ReadThrough {
            account: rob,
            peer: pat,
            message,
        });
        repropose(&mut world, &mark, lineage(branch, 12));
        // Of a branch too many it is not known that the reader saw it: it stays unread, and is not lost.
        assert_eq!(world.inbox(rob), left, "a mark of branch {branch}");
    }
}

#[test]
fn mark_delivered_eight_have_a_say_in_a_message_that_is_not_there_yet() {
    for (strangers, left) in [(7, vec![]), (8, vec!["late"])] {
        let mut world = World::new();
        let (pat, rob) = (world.register("pat"), world.register("rob"));
        let late = world.command(write(pat, rob, "late"));
        let id = MessageId::derive(pat, late.request);
        let names = (0..strangers).map(|number| format!("stranger{number}"));
        for name in names.collect::<Vec<_>>() {
            let stranger = world.register(&name);
            world.run(delivered(stranger, &[id])).unwrap();
        }
        world.run(delivered(rob, &[id])).unwrap();
        world.repropose(&late).result.unwrap();
        // Delivered once more at worst.
        assert_eq!(world.inbox(rob), left, "after {strangers} strangers");
    }
}

#[test]
fn close_all_sessions_closes_those_that_its_branch_had() {
    let mut winner = World::new();
    let ada = winner.register("ada");
    let most = std::num::NonZeroU16::new(3).unwrap();
    let several = SessionPolicy::Several { most };
    let before = winner.open(ada, several);
    let mut loser = winner.fork();
    let unseen = winner.open(ada, several);
    let login = loser.login(ada, several);
    let login = loser.command(login);
    loser.apply(&login).result.unwrap();
    loser.pass(HOUR / 2);
    let close = loser.command(CommandBody::CloseAllSessions {
        account: ada,
        except: None,
    });
    loser.apply(&close).result.unwrap();
    assert!(loser.sessions(ada).is_empty());

    winner.repropose(&login).result.unwrap();
    assert_eq!(winner.sessions(ada).len(), 3);
    let closed = winner.repropose(&close).result;
    assert_eq!(closed, Ok(Outcome::SessionsClosed { count: 2 }));
    assert_eq!(winner.sessions(ada), [unseen]);
    assert_ne!(unseen, before);
}

#[test]
fn open_session_takes_the_place_of_those_that_its_branch_had() {
    let mut winner = World::new();
    let ada = winner.register("ada");
    winner.open(ada, SessionPolicy::Single);
    let mut loser = winner.fork();
    let login = loser.login(ada, SessionPolicy::Single);
    let login = loser.command(login);
    loser.apply(&login).result.unwrap();
    let [first, second] = [&winner, &loser].map(|world| world.sessions(ada)[0]);
    let most = std::num::NonZeroU16::new(2).unwrap();
    let unseen = winner.open(ada, SessionPolicy::Several { most });
    winner.repropose(&login).result.unwrap();
    let left = winner.sessions(ada);
    assert!(!left.contains(&first) && left.contains(&unseen) && left.contains(&second));
    // The next login on one history makes one of them again.
    winner.open(ada, SessionPolicy::Single);
    assert_eq!(winner.sessions(ada).len(), 1);
}

#[test]
fn change_password_what_was_refused_for_an_old_password_is_not_made_up_for_by_a_merge() {
    let mut winner = World::new();
    let ada = winner.register("ada");
    let mut loser = winner.fork();
    let stolen = loser.credential(ada);
    let change = |world: &mut World, verified| {
        world.command(CommandBody::ChangePassword {
            account: ada,
            verified,
            password: hash(),
            keep: None,
        })
    };
    let owners = change(&mut loser, stolen);
    loser.apply(&owners).result.unwrap();
    let thiefs = change(&mut loser, stolen);
    assert_eq!(loser.apply(&thiefs).result, Err(Rejection::StaleCredential));
    winner.repropose(&owners).result.unwrap();
    assert_eq!(
        winner.repropose(&thiefs).result,
        Err(Rejection::StaleCredential)
    );
    assert_eq!(winner.credential(ada), loser.credential(ada));
}

#[test]
fn create_account_what_was_refused_for_a_name_is_not_made_up_for_by_a_merge() {
    let mut winner = World::new();
    winner.register("bob");
    let mut loser = winner.fork();
    let refused = loser.command(create("bob"));
    let taken = Err(Rejection::NameTaken { name: name("bob") });
    assert_eq!(loser.apply(&refused).result, taken);
    assert_eq!(winner.repropose(&refused).result, taken);
    assert_eq!(winner.manager.stats().accounts, 1);
}

#[test]
fn housekeeping_of_the_other_branch_forgets_nothing_here() {
    let mut winner = World::new();
    let (ada, bob) = (winner.register("ada"), winner.register("bob"));
    let mut loser = winner.fork();
    let orphan = loser.command(write(ada, bob, "from long ago"));
    winner.pass(crate::world::DAY * 40);
    winner.send(ada, bob, "newer");
    loser.now = winner.now;
    let expire = loser.command(CommandBody::Expire {
        before: loser.now,
        limit: 10_000,
    });
    winner.repropose(&expire).result.unwrap();
    winner.repropose(&orphan).result.unwrap();
    assert_eq!(winner.inbox(bob), ["newer", "from long ago"]);
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
        let Ok(applied) = winner
            .manager
            .apply_reproposed(register, Lineage::default());
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
