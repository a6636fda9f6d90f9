//! Exactly once: retries, ids that are used again, ids that are too old.

use std::time::Duration;

use chat_core::{
    Applied, Command, CommandBody, DeleteScope, Lineage, Outcome, Rejection, RequestId,
    SessionPolicy,
};

use crate::world::{DAY, START, World, create, delete, delivered, hash, read, write};

/// From a branch of which nothing is known, so that nothing of it is remembered.
fn repropose(world: &mut World, command: &Command) -> Applied {
    let Ok(applied) = (world.manager).apply_reproposed(command.clone(), Lineage::default());
    applied
}

#[test]
fn a_retry_gives_the_original_outcome_and_changes_nothing() {
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    let session = world.open(ada, SessionPolicy::Single);
    let message = world.send(bob, ada, "hello");
    let verified = world.credential(ada);
    let login = world.login(ada, SessionPolicy::Single);
    for body in [
        create("cem"),
        login,
        write(ada, bob, "once"),
        delivered(ada, &[message]),
        read(ada, &[message]),
        CommandBody::ReadThrough {
            account: ada,
            peer: bob,
            message,
        },
        delete(ada, &[message], DeleteScope::ForMe),
        CommandBody::CloseSession {
            account: ada,
            session,
        },
        CommandBody::ChangePassword {
            account: ada,
            verified,
            password: hash(),
            keep: None,
        },
        CommandBody::CloseAllSessions {
            account: ada,
            except: None,
        },
        CommandBody::DeleteAccount { account: ada },
        CommandBody::Expire {
            before: START,
            limit: 10,
        },
    ] {
        // The login's session is closed by what follows; its own retry comes before.
        let command = world.command(body);
        let first = world.apply(&command);
        let outcome = first.result.unwrap();
        let after = world.manager.state_hash();
        // Later, at another edge, and once more as an orphan.
        let later = Command {
            at: world.now.saturating_add(Duration::from_secs(60)),
            ..command.clone()
        };
        for applied in [
            world.apply(&command),
            world.apply(&later),
            repropose(&mut world, &command),
        ] {
            assert_eq!(applied.result.as_ref(), Ok(&outcome), "{command:?}");
            assert!(applied.events.is_empty(), "{command:?}");
        }
        assert_eq!(world.manager.state_hash(), after, "{command:?}");
        // It can also be looked up, by its own account and no other.
        let Ok(found) = world.manager.outcome(command.account(), command.request);
        let is_sent = matches!(outcome, Outcome::MessageSent { .. });
        assert_eq!(found, (!is_sent).then_some(outcome), "{command:?}");
        let Ok(of_another) = world.manager.outcome(bob, command.request);
        assert_eq!(of_another, None, "{command:?}");
    }
    assert_eq!(world.texts(bob, ada), ["hello", "once"]);
}

#[test]
fn an_id_that_is_used_again_for_something_else_is_refused() {
    let mut world = World::new();
    let [ada, bob, cem] = ["ada", "bob", "cem"].map(|name| world.register(name));
    let message = world.send(bob, ada, "hello");
    let other = world.send(bob, ada, "hello again");
    let close = |except| CommandBody::CloseAllSessions {
        account: ada,
        except,
    };
    let login = world.login(ada, SessionPolicy::Single);
    for (body, others) in [
        (
            write(ada, bob, "one"),
            vec![
                write(ada, bob, "two"),
                write(ada, cem, "one"),
                close(None),
                login.clone(),
            ],
        ),
        (
            delivered(ada, &[message]),
            vec![
                delivered(ada, &[other]),
                read(ada, &[message]),
                write(ada, bob, "one"),
            ],
        ),
        (
            delete(ada, &[message], DeleteScope::ForMe),
            vec![
                delete(ada, &[message], DeleteScope::ForBoth),
                delete(ada, &[], DeleteScope::ForMe),
            ],
        ),
        (close(None), vec![login.clone(), write(ada, bob, "one")]),
        (login, vec![close(None), write(ada, ada, "x")]),
    ] {
        let command = world.command(body);
        world.apply(&command).result.unwrap();
        let after = world.manager.state_hash();
        for body in others {
            let reused = Command {
                body,
                ..command.clone()
            };
            assert_eq!(
                world.apply(&reused).result,
                Err(Rejection::RequestIdReused),
                "{command:?} {reused:?}"
            );
        }
        assert_eq!(world.manager.state_hash(), after);
        // The same id of another account is another request.
        let elsewhere = Command {
            body: write(cem, bob, "mine"),
            ..command.clone()
        };
        world.apply(&elsewhere).result.unwrap();
    }
    let command = world.command(create("dan"));
    world.apply(&command).result.unwrap();
    let reused = Command {
        body: create("eva"),
        ..command
    };
    assert_eq!(world.apply(&reused).result, Err(Rejection::RequestIdReused));
}

#[test]
fn a_retry_with_another_password_tells_nothing_about_the_first() {
    let mut world = World::new();
    let command = world.command(create("ada"));
    let first = world.apply(&command).result.unwrap();
    let mut again = command;
    if let CommandBody::CreateAccount { password, .. } = &mut again.body {
        *password = chat_core::password::PasswordHash::parse(
            "$argon2id$v=19$m=16,t=1,p=1$AgICAgICAgI$AgICAgICAgICAgICAgICAg",
        )
        .unwrap();
    }
    assert_eq!(world.apply(&again).result, Ok(first));
}

#[test]
fn a_message_that_was_deleted_is_not_sent_again_by_a_retry() {
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    let command = world.command(write(ada, bob, "regretted"));
    let applied = world.apply(&command);
    let message = crate::world::sent(applied.result.clone().unwrap());
    world
        .run(delete(ada, &[message], DeleteScope::ForBoth))
        .unwrap();
    let again = world.apply(&command);
    assert_eq!(again.result, applied.result);
    assert!(again.events.is_empty());
    assert!(world.texts(bob, ada).is_empty());
    let other = Command {
        body: write(ada, bob, "something else"),
        ..command
    };
    assert_eq!(world.apply(&other).result, Err(Rejection::RequestIdReused));
}

#[test]
fn a_refused_request_may_succeed_later() {
    let mut world = World::new();
    let ada = world.register("ada");
    let command = world.command(create("ada"));
    assert!(world.apply(&command).result.is_err());
    world
        .run(CommandBody::DeleteAccount { account: ada })
        .unwrap();
    assert!(world.apply(&command).result.is_ok());
}

#[test]
fn requests_are_neither_too_old_nor_from_the_future() {
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    let at = START.saturating_add(DAY * 100);
    let mut minted = |time| {
        let command = Command {
            request: RequestId::from_parts(time, [9; 10]),
            at,
            body: write(ada, bob, "when?"),
        };
        world.apply(&command).result.map(|_| ())
    };
    let tick = Duration::from_millis(1);
    assert_eq!(
        minted(at.saturating_sub(DAY * 30 + tick)),
        Err(Rejection::RequestTooOld)
    );
    assert_eq!(minted(at.saturating_sub(DAY * 30)), Ok(()));
    assert_eq!(minted(at.saturating_add(DAY)), Ok(()));
    assert_eq!(
        minted(at.saturating_add(DAY + tick)),
        Err(Rejection::RequestFromFuture)
    );
}

#[test]
fn an_unknown_account_can_do_nothing() {
    let mut world = World::new();
    let ada = world.register("ada");
    let ghost = chat_core::AccountId::derive(RequestId::from_parts(START, [3; 10]));
    let system = chat_core::AccountId::SYSTEM;
    let message = world.send(ada, ada, "mine");
    let missing = |account| Err(Rejection::AccountNotFound { account });
    for account in [ghost, system] {
        for body in [
            write(account, ada, "boo"),
            delivered(account, &[message]),
            read(account, &[message]),
            delete(account, &[message], DeleteScope::ForMe),
            CommandBody::ReadThrough {
                account,
                peer: ada,
                message,
            },
            CommandBody::CloseAllSessions {
                account,
                except: None,
            },
        ] {
            assert_eq!(world.run(body), missing(account));
        }
        assert_eq!(
            world.run(write(ada, account, "boo")),
            Err(Rejection::RecipientNotFound { recipient: account })
        );
        let Ok(page) = world.manager.inbox(account, None, 10);
        assert!(page.items.is_empty());
    }
    assert_eq!(
        world.run(CommandBody::DeleteAccount { account: system }),
        missing(system)
    );
    assert_eq!(
        world.run(CommandBody::DeleteAccount { account: ghost }),
        Ok(Outcome::AccountDeleted)
    );
    assert_eq!(
        world.run(write(ghost, ada, "boo")),
        Err(Rejection::AccountDeleted { account: ghost })
    );
}
