//! Registering, changing passwords, deleting.

use chat_core::{
    AccountStatus, CommandBody, Outcome, Progress, Rejection, SessionPolicy, Username,
};

use crate::world::{World, create, delivered, hash, heard, name, write};

#[test]
fn a_taken_name_and_a_name_that_looks_like_one_are_refused() {
    let mut world = World::new();
    let maria = world.register("maria");
    let before = world.manager.state_hash();
    assert_eq!(
        world.run(create("MARIA")),
        Err(Rejection::NameTaken {
            name: name("maria")
        })
    );
    assert_eq!(
        world.run(create("mаria")), // with a Cyrillic а
        Err(Rejection::NameConfusable {
            name: name("mаria"),
            with: name("maria")
        })
    );
    assert_eq!(world.manager.state_hash(), before);
    let Ok(found) = world.manager.account_by_name(&name("Maria"));
    assert_eq!(found.unwrap().id, maria);
    assert_eq!(world.manager.stats().accounts, 1);
}

#[test]
fn a_name_of_the_form_that_the_server_gives_is_refused_even_from_a_careless_edge() {
    let mut world = World::new();
    let forged = Username::parse_existing("maria~3f9a").unwrap();
    let body = CommandBody::CreateAccount {
        name: forged.clone(),
        skeleton: name("maria").skeleton(),
        password: hash(),
    };
    assert_eq!(
        world.run(body),
        Err(Rejection::NameReserved { name: forged })
    );
}

#[test]
fn a_changed_password_closes_the_other_sessions_and_outdates_what_was_verified_before() {
    let mut world = World::new();
    let maria = world.register("maria");
    let several = SessionPolicy::Several {
        most: 5.try_into().unwrap(),
    };
    let (phone, laptop) = (world.open(maria, several), world.open(maria, several));
    let late_login = world.login(maria, several);
    let verified = world.credential(maria);
    let change = CommandBody::ChangePassword {
        account: maria,
        verified,
        password: hash(),
        keep: Some(phone),
    };
    let events = world.events(change.clone());
    assert_eq!(heard(&events, maria), ["session closed"]);
    assert_eq!(world.sessions(maria), [phone]);
    assert_ne!(laptop, phone);
    assert_ne!(world.credential(maria), verified);
    assert_eq!(world.run(late_login), Err(Rejection::StaleCredential));
    assert_eq!(world.run(change), Err(Rejection::StaleCredential));
}

#[test]
fn a_deleted_account_leaves_its_messages_and_its_name() {
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    world.send(ada, bob, "still here");
    world.send(bob, ada, "never delivered");
    let session = world.open(ada, SessionPolicy::Single);
    let events = world.events(CommandBody::DeleteAccount { account: ada });
    assert_eq!(heard(&events, ada), ["session closed", "account deleted"]);
    assert_eq!(heard(&events, bob), ["account deleted"]);

    let Ok(gone) = world.manager.account(ada);
    assert_eq!(gone.unwrap().status, AccountStatus::Deleted);
    let Ok(check) = world
        .manager
        .verify_session(session, &crate::world::token(0), world.now);
    assert_eq!(check, chat_core::SessionCheck::Unknown);
    let kept = world.history(bob, ada);
    assert_eq!(kept[0].sender.status, AccountStatus::Deleted);
    assert_eq!(kept[0].sender.name.as_str(), "ada");
    assert_eq!(world.inbox(bob), ["still here"]);
    assert_eq!(
        world.run(write(bob, ada, "?")),
        Err(Rejection::RecipientNotFound { recipient: ada })
    );
    assert_eq!(
        world.run(write(ada, bob, "!")),
        Err(Rejection::AccountDeleted { account: ada })
    );
    assert_eq!(
        world.run(CommandBody::DeleteAccount { account: ada }),
        Ok(Outcome::AccountDeleted)
    );

    // Whoever takes the name inherits nothing.
    let second = world.register("ada");
    assert_ne!(second, ada);
    assert!(world.inbox(second).is_empty());
    assert!(world.history(second, bob).is_empty());
    assert_eq!(world.texts(bob, ada), ["still here", "never delivered"]);
    assert_eq!(world.manager.stats().accounts, 2);
}

#[test]
fn what_nobody_sees_any_more_is_swept_away() {
    let mut world = World::new();
    let empty = world.manager.store().len();
    let names = ["ada", "bob", "cem"];
    let accounts = names.map(|name| world.register(name));
    for round in 0..20 {
        for from in accounts {
            for to in accounts {
                let message = world.send(from, to, &format!("round {round}"));
                if round % 3 == 0 {
                    world.run(delivered(to, &[message])).unwrap();
                }
            }
        }
    }
    assert_eq!(world.manager.stats().messages, 180);
    for account in accounts {
        world.run(CommandBody::DeleteAccount { account }).unwrap();
    }
    // Small steps, so that each begins where the last one stopped.
    let steps = clean_up(&mut world, 7);
    assert!(steps > 20, "{steps}");
    assert_eq!(world.manager.stats().messages, 0);

    // In time, retries are forgotten as well. What stays is who the accounts were.
    world.pass(crate::world::DAY * 31);
    let late = world.register("late");
    world
        .run(CommandBody::DeleteAccount { account: late })
        .unwrap();
    world.pass(crate::world::DAY * 31);
    world.register("later");
    clean_up(&mut world, 10_000);
    let per_account = 2;
    let of_later = 5 + 1; // its rows, and the answer to its registration
    let of_expiries = 1 + 1; // the counters, and the answer to the last clean-up
    let rows = world.manager.store().len();
    assert_eq!(
        rows,
        empty + 4 * per_account + of_later + of_expiries,
        "{rows} rows"
    );
}

/// Cleans up until nothing is left to do; says in how many steps.
fn clean_up(world: &mut World, limit: u32) -> usize {
    for step in 0..1_000 {
        let before = world.now;
        match world.run(CommandBody::Expire { before, limit }).unwrap() {
            Outcome::Expired {
                visited,
                progress: Progress::More,
            } => assert_eq!(visited, limit),
            Outcome::Expired {
                visited,
                progress: Progress::Done,
            } => {
                assert!(visited < limit);
                return step + 1;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("the clean-up never ends");
}
