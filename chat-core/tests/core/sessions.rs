//! Opening, checking and closing sessions.

use chat_core::{
    CloseReason, Command, CommandBody, EventKind, Outcome, Rejection, SessionCheck, SessionId,
    SessionPolicy,
};

use crate::world::{HOUR, World, heard, token};

const SEVERAL: SessionPolicy = SessionPolicy::Several {
    most: std::num::NonZeroU16::new(3).unwrap(),
};

fn check(world: &World, session: SessionId, number: u8) -> SessionCheck {
    let Ok(check) = world
        .manager
        .verify_session(session, &token(number), world.now);
    check
}

#[test]
fn a_session_opens_with_its_secret_until_it_ends() {
    let mut world = World::new();
    let ada = world.register("ada");
    let CommandBody::OpenSession {
        verified,
        expires_at,
        ..
    } = world.login(ada, SEVERAL)
    else {
        unreachable!()
    };
    let login = CommandBody::OpenSession {
        account: ada,
        token: token(9),
        verified,
        expires_at,
        policy: SEVERAL,
    };
    let Outcome::SessionOpened { session, .. } = world.run(login).unwrap() else {
        unreachable!()
    };

    let SessionCheck::Valid(valid) = check(&world, session, 9) else {
        panic!("the secret is right")
    };
    assert_eq!(
        (valid.id, valid.account, valid.expires_at),
        (session, ada, expires_at)
    );
    assert_eq!(check(&world, session, 8), SessionCheck::Unknown);
    assert_eq!(
        check(&world, SessionId::from_uuid(*ada.as_uuid()), 9),
        SessionCheck::Unknown
    );
    world.now = expires_at;
    assert_eq!(check(&world, session, 9), SessionCheck::Expired);
    assert_eq!(check(&world, session, 8), SessionCheck::Unknown);
}

#[test]
fn one_session_per_account_or_several_up_to_a_limit() {
    let mut world = World::new();
    let ada = world.register("ada");
    let sessions = [(); 4].map(|()| world.open(ada, SEVERAL));
    assert_eq!(world.sessions(ada), sessions[1..], "the oldest made room");
    let login = world.login(ada, SessionPolicy::Single);
    let events = world.events(login);
    assert_eq!(events.len(), 3);
    assert!(events.iter().all(|event| matches!(
        event.kind,
        EventKind::SessionClosed {
            reason: CloseReason::Replaced,
            ..
        }
    )));
    assert_eq!(world.sessions(ada).len(), 1);
    assert_eq!(world.manager.stats().sessions, 1);
}

#[test]
fn closing_one_and_closing_all_but_one() {
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    let [first, second, third] = [(); 3].map(|()| world.open(ada, SEVERAL));
    let of_bob = world.open(bob, SEVERAL);
    let close = |session| CommandBody::CloseSession {
        account: ada,
        session,
    };
    assert_eq!(
        world.run(close(of_bob)),
        Err(Rejection::SessionNotFound { session: of_bob })
    );
    assert_eq!(
        world.run(close(first)),
        Ok(Outcome::SessionsClosed { count: 1 })
    );
    assert_eq!(
        world.run(close(first)),
        Ok(Outcome::SessionsClosed { count: 0 })
    );
    let events = world.events(CommandBody::CloseAllSessions {
        account: ada,
        except: Some(third),
    });
    assert_eq!(heard(&events, ada), ["session closed"]);
    assert_eq!(world.sessions(ada), [third]);
    assert_ne!(second, third);
    let all = CommandBody::CloseAllSessions {
        account: ada,
        except: None,
    };
    assert_eq!(world.run(all), Ok(Outcome::SessionsClosed { count: 1 }));
    assert_eq!(world.sessions(bob), [of_bob]);
}

#[test]
fn every_retry_of_a_login_brings_a_secret_that_works() {
    // Each replica that is asked makes a secret, and nobody knows whose answer reaches the client.
    let mut world = World::new();
    let ada = world.register("ada");
    let login = world.login(ada, SessionPolicy::Single);
    let login = world.command(login);
    let with = |number| {
        let mut again = login.clone();
        if let CommandBody::OpenSession {
            token: secret,
            expires_at,
            ..
        } = &mut again.body
        {
            *secret = token(number);
            *expires_at = expires_at.saturating_add(HOUR);
        }
        again
    };
    let first = world.apply(&with(0)).result.unwrap();
    for number in 1..Command::MAX_TOKENS as u8 {
        assert_eq!(world.apply(&with(number)).result.as_ref(), Ok(&first));
    }
    assert_eq!(
        world.apply(&with(3)).result.as_ref(),
        Ok(&first),
        "a secret that is known needs no room"
    );
    assert_eq!(world.apply(&with(99)).result, Err(Rejection::TooManyTokens));
    let Outcome::SessionOpened { session, .. } = first else {
        unreachable!()
    };
    for number in 0..Command::MAX_TOKENS as u8 {
        assert!(
            matches!(check(&world, session, number), SessionCheck::Valid(_)),
            "secret {number}"
        );
    }
    assert_eq!(check(&world, session, 99), SessionCheck::Unknown);

    world
        .run(CommandBody::CloseSession {
            account: ada,
            session,
        })
        .unwrap();
    assert_eq!(
        world.apply(&with(0)).result,
        Err(Rejection::SessionClosed { session })
    );
}

#[test]
fn a_session_that_would_have_ended_is_not_opened() {
    let mut world = World::new();
    let ada = world.register("ada");
    let login = world.login(ada, SEVERAL);
    world.pass(HOUR);
    assert_eq!(world.run(login), Err(Rejection::ExpiryInPast));
}
