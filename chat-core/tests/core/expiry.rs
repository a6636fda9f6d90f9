//! What is forgotten, when, and what protects it.

use chat_core::{
    Command, CommandBody, DeleteScope, EventKind, MessageId, Outcome, Progress, Rejection,
    SessionPolicy,
};

use crate::world::{DAY, HOUR, START, World, create, delete, write};

#[test]
fn sessions_end_by_themselves_and_their_account_hears_of_it() {
    let mut world = World::new();
    let ada = world.register("ada");
    let session = world.open(ada, SessionPolicy::Single);
    world.pass(HOUR * 2);
    // The clean-up's own clock is not trusted further than what clients' requests vouch for.
    world.send(ada, ada, "time goes by");
    let events = world.events(CommandBody::Expire {
        before: START,
        limit: 100,
    });
    assert!(matches!(
        events[..],
        [ref event] if event.account == ada
            && event.kind == EventKind::SessionClosed { session, reason: chat_core::CloseReason::Expired }
    ));
    assert_eq!(world.manager.stats().sessions, 0);
}

#[test]
fn nothing_that_a_retry_may_need_is_forgotten() {
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    let send = world.command(write(ada, bob, "regretted"));
    let message = MessageId::derive(ada, send.request);
    world.apply(&send).result.unwrap();
    world
        .run(delete(ada, &[message], DeleteScope::ForBoth))
        .unwrap();
    world.pass(DAY * 30);
    let retry = Command {
        at: send.request.time().saturating_add(DAY * 30),
        ..send.clone()
    };
    world.send(ada, bob, "newer");
    world
        .run(CommandBody::Expire {
            before: world.now,
            limit: 10_000,
        })
        .unwrap();
    // The window has closed by then, whether or not a clean-up has run.
    let result = world.apply(&retry).result;
    assert_eq!(result, Err(Rejection::RequestTooOld));
    assert_eq!(world.texts(bob, ada), ["newer"]);
}

const SEVERAL: SessionPolicy = SessionPolicy::Several {
    most: std::num::NonZeroU16::MAX,
};

#[test]
fn a_clock_that_is_wrong_by_years_cannot_make_the_state_forget() {
    let mut world = World::new();
    let ada = world.register("ada");
    let login = |world: &World, days| match world.login(ada, SEVERAL) {
        CommandBody::OpenSession {
            account,
            token,
            verified,
            policy,
            ..
        } => CommandBody::OpenSession {
            account,
            token,
            verified,
            expires_at: world.now.saturating_add(DAY * days),
            policy,
        },
        other => panic!("{other:?}"),
    };
    world.open(ada, SEVERAL);
    let long = login(&world, 2);
    world.run(long).unwrap();
    let send = world.command(write(ada, ada, "once"));
    world.apply(&send).result.unwrap();
    let right = world.now;
    world.pass(DAY * 3_650);
    world
        .run(CommandBody::Expire {
            before: world.now,
            limit: 10_000,
        })
        .unwrap();
    world.now = right;
    assert!(
        world.apply(&send).result.is_ok(),
        "a retry is still recognised"
    );
    assert_eq!(world.texts(ada, ada), ["once"]);
    world.send(ada, ada, "and new requests are accepted");
    // No session ends before its time by more than a clock may be wrong.
    let Ok(left) = world.manager.sessions(ada);
    let left: Vec<_> = left.iter().map(|session| session.expires_at).collect();
    assert_eq!(
        left.len(),
        1,
        "the one of an hour may have ended, the one of two days may not"
    );
    assert!(left[0] > world.now.saturating_add(DAY));
}

#[test]
fn the_horizon_refuses_what_was_forgotten_even_under_its_own_old_time() {
    // An orphan carries the time at which it was first taken: by that time, it is not too old.
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    let orphan = world.command(write(ada, bob, "from long ago"));
    world.apply(&orphan).result.unwrap();
    let message = MessageId::derive(ada, orphan.request);
    world
        .run(delete(ada, &[message], DeleteScope::ForBoth))
        .unwrap();
    world.pass(DAY * 40);
    world.send(ada, bob, "newer");
    world
        .run(CommandBody::Expire {
            before: world.now,
            limit: 10_000,
        })
        .unwrap();
    assert_eq!(
        world.repropose(&orphan).result,
        Err(Rejection::RequestTooOld)
    );
    assert_eq!(world.texts(bob, ada), ["newer"]);
}

#[test]
fn messages_outlive_their_requests() {
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    let message = world.send(ada, bob, "kept");
    world.pass(DAY * 40);
    world.send(bob, ada, "newer");
    world
        .run(CommandBody::Expire {
            before: world.now,
            limit: 10_000,
        })
        .unwrap();
    assert_eq!(world.texts(bob, ada), ["kept", "newer"]);
    assert_eq!(world.inbox(bob), ["kept"]);
    // Deleted now, it leaves nothing behind: no retry of it is accepted any more.
    let rows = world.manager.store().len();
    world
        .run(delete(ada, &[message], DeleteScope::ForBoth))
        .unwrap();
    assert_eq!(
        world.manager.store().len() + 2 - 1,
        rows,
        "the message and the inbox that it was alone in went, one answer came"
    );
}

#[test]
fn one_command_visits_no_more_rows_than_it_is_allowed() {
    let mut world = World::new();
    let ada = world.register("ada");
    for _ in 0..50 {
        let command = world.command(CommandBody::CloseAllSessions {
            account: ada,
            except: None,
        });
        world.apply(&command).result.unwrap();
    }
    world.pass(DAY * 31);
    world.send(ada, ada, "newer");
    let expire = CommandBody::Expire {
        before: world.now,
        limit: 20,
    };
    let outcomes = [(); 4].map(|()| world.run(expire.clone()).unwrap());
    let expired = |visited, progress| Outcome::Expired { visited, progress };
    assert_eq!(
        outcomes,
        [
            expired(20, Progress::More),
            expired(20, Progress::More),
            expired(11, Progress::Done), // the registration is one of them
            expired(0, Progress::Done),
        ]
    );
}

#[test]
fn what_was_said_of_things_that_never_came_is_forgotten() {
    let mut world = World::new();
    let ada = world.register("ada");
    let mut other = world.fork();
    let never = other.command(write(ada, ada, "never"));
    let message = MessageId::derive(ada, never.request);
    let session = chat_core::SessionId::derive(ada, never.request);
    let account = chat_core::AccountId::derive(never.request);
    let before = world.manager.store().len();
    world.run(crate::world::read(ada, &[message])).unwrap();
    world
        .run(CommandBody::CloseSession {
            account: ada,
            session,
        })
        .unwrap();
    world.run(CommandBody::DeleteAccount { account }).unwrap();
    assert_eq!(
        world.manager.store().len(),
        before + 3 * 3,
        "each: the row, its reminder, the answer"
    );
    world.pass(DAY * 31);
    world.run(create("late")).unwrap();
    world
        .run(CommandBody::Expire {
            before: world.now,
            limit: 10_000,
        })
        .unwrap();
    let of_late = 5 + 1;
    let registration_of_ada = 1;
    assert_eq!(
        world.manager.store().len(),
        before - registration_of_ada + of_late + 1
    );

    // Ids from outside the window are not waited for at all.
    let before = world.manager.store().len();
    world.run(crate::world::read(ada, &[message])).unwrap();
    assert_eq!(world.manager.store().len(), before + 1);
}
