//! Sending, confirming, reading and deleting.

use chat_core::{
    CommandBody,
    DeleteScope::{ForBoth, ForMe},
    EventKind, MessageId, MessageState, Outcome, Progress, Rejection,
};

use crate::world::{World, delete, delivered, heard, read, write};

#[test]
fn a_message_is_queued_then_delivered_then_read() {
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    let command = world.command(write(ada, bob, "hello"));
    let applied = world.apply(&command);
    assert_eq!(heard(&applied.events, ada), ["sent"]);
    assert_eq!(heard(&applied.events, bob), ["received"]);
    let message = MessageId::derive(ada, command.request);
    let state = |world: &World| world.history(ada, bob)[0].state;
    assert_eq!(
        (world.inbox(bob), world.unread(bob, ada), state(&world)),
        (vec!["hello".into()], 1, MessageState::Queued)
    );
    assert_eq!(
        (world.unread(ada, bob), world.inbox(ada).len()),
        (0, 0),
        "what one writes is not unread"
    );

    assert_eq!(
        heard(&world.events(delivered(bob, &[message])), ada),
        ["delivered"]
    );
    assert_eq!(
        (
            world.inbox(bob).len(),
            world.unread(bob, ada),
            state(&world)
        ),
        (0, 1, MessageState::Delivered)
    );
    let events = world.events(read(bob, &[message]));
    assert_eq!(
        (heard(&events, ada), heard(&events, bob)),
        (vec!["read"], vec!["read"])
    );
    assert_eq!(
        (world.unread(bob, ada), state(&world)),
        (0, MessageState::Read)
    );
    // Once more changes nothing and nobody hears of it.
    assert!(world.events(delivered(bob, &[message])).is_empty());
    assert!(world.events(read(bob, &[message])).is_empty());
}

#[test]
fn what_was_read_was_delivered() {
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    let messages = ["one", "two", "three"].map(|text| world.send(ada, bob, text));
    world.run(read(bob, &messages[..1])).unwrap();
    assert_eq!(world.inbox(bob), ["two", "three"]);
    let through = CommandBody::ReadThrough {
        account: bob,
        peer: ada,
        message: messages[1],
    };
    assert_eq!(
        world.run(through),
        Ok(Outcome::MarkedRead {
            count: 1,
            progress: Progress::Done
        })
    );
    assert_eq!(
        (world.inbox(bob), world.unread(bob, ada)),
        (vec!["three".to_owned()], 1)
    );
    let states: Vec<_> = world
        .history(ada, bob)
        .iter()
        .map(|message| message.state)
        .collect();
    assert_eq!(
        states,
        [MessageState::Read, MessageState::Read, MessageState::Queued]
    );
}

#[test]
fn only_its_recipient_marks_a_message() {
    let mut world = World::new();
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|name| world.register(name));
    let message = world.send(ada, bob, "hello");
    for account in [ada, eve] {
        assert_eq!(
            world.run(delivered(account, &[message])),
            Ok(Outcome::MarkedDelivered { count: 0 })
        );
        let nothing = Outcome::MarkedRead {
            count: 0,
            progress: Progress::Done,
        };
        assert_eq!(world.run(read(account, &[message])), Ok(nothing));
    }
    let through = CommandBody::ReadThrough {
        account: eve,
        peer: ada,
        message,
    };
    assert_eq!(
        world.run(through),
        Err(Rejection::MessageNotFound { message })
    );
    for scope in [ForMe, ForBoth] {
        assert_eq!(
            world.run(delete(eve, &[message], scope)),
            Err(Rejection::MessageNotFound { message })
        );
    }
    let Ok(seen) = world.manager.message(eve, message);
    assert!(seen.is_none());
    assert_eq!(world.unread(bob, ada), 1);
    assert_eq!(world.inbox(bob), ["hello"]);
}

#[test]
fn deleting_for_oneself_leaves_the_other_side_alone() {
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    let messages = ["one", "two"].map(|text| world.send(ada, bob, text));
    assert_eq!(
        world.run(delete(bob, &messages[..1], ForMe)),
        Ok(Outcome::MessagesDeleted { count: 1 })
    );
    assert_eq!(
        world.run(delete(bob, &messages[..1], ForMe)),
        Ok(Outcome::MessagesDeleted { count: 0 })
    );
    assert_eq!(
        (
            world.texts(bob, ada),
            world.inbox(bob),
            world.unread(bob, ada)
        ),
        (vec!["two".into()], vec!["two".into()], 1)
    );
    assert_eq!(world.texts(ada, bob), ["one", "two"]);
    assert_eq!(world.manager.stats().messages, 2);
    // The other side follows: nobody sees it, so it is gone.
    world.run(delete(ada, &messages[..1], ForMe)).unwrap();
    assert_eq!(world.manager.stats().messages, 1);
    world.run(delete(bob, &messages[1..], ForMe)).unwrap();
    let Ok(conversation) = world.manager.conversation(bob, ada);
    assert_eq!(conversation, None, "an empty conversation leaves the list");
    let Ok(page) = world.manager.conversations(bob, None, 10);
    assert!(page.items.is_empty());
    world.send(ada, bob, "three");
    assert_eq!(
        (world.texts(bob, ada), world.unread(bob, ada)),
        (vec!["three".into()], 1)
    );
}

#[test]
fn only_the_sender_deletes_for_both() {
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    let of_ada = world.send(ada, bob, "from ada");
    let of_bob = world.send(bob, ada, "from bob");
    let before = world.manager.state_hash();
    let refused = world.run(delete(bob, &[of_bob, of_ada], ForBoth));
    assert_eq!(refused, Err(Rejection::NotSender { message: of_ada }));
    assert_eq!(
        world.manager.state_hash(),
        before,
        "not even the one of his own is deleted"
    );
    let events = world.events(delete(ada, &[of_ada], ForBoth));
    assert_eq!(
        (heard(&events, ada), heard(&events, bob)),
        (vec!["deleted"], vec!["deleted"])
    );
    assert_eq!(
        (
            world.texts(bob, ada),
            world.inbox(bob).len(),
            world.unread(bob, ada)
        ),
        (vec!["from bob".into()], 0, 0)
    );
}

#[test]
fn notes_to_oneself_are_never_unread() {
    let mut world = World::new();
    let ada = world.register("ada");
    let events = world.events(write(ada, ada, "milk"));
    assert_eq!(heard(&events, ada), ["sent"]);
    assert_eq!(
        (
            world.texts(ada, ada),
            world.inbox(ada).len(),
            world.unread(ada, ada)
        ),
        (vec!["milk".into()], 0, 0)
    );
    assert_eq!(world.history(ada, ada)[0].state, MessageState::Read);
    let message = world.history(ada, ada)[0].id;
    let Ok(page) = world.manager.conversations(ada, None, 10);
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0].peer.id, ada);
    world.run(read(ada, &[message])).unwrap();
    world
        .run(CommandBody::ReadThrough {
            account: ada,
            peer: ada,
            message,
        })
        .unwrap();
    world.run(delete(ada, &[message], ForMe)).unwrap();
    assert_eq!(world.manager.stats().messages, 0);
}

#[test]
fn conversations_are_listed_by_their_last_message() {
    let mut world = World::new();
    let [ada, bob, cem, dan] = ["ada", "bob", "cem", "dan"].map(|name| world.register(name));
    let peers = |world: &World| -> Vec<(String, u32, String)> {
        let Ok(page) = world.manager.conversations(ada, None, 10);
        let row = |conversation: chat_core::Conversation| {
            let last = conversation.last.as_ref().map(crate::world::text);
            (
                conversation.peer.name.to_string(),
                conversation.unread,
                last.unwrap(),
            )
        };
        page.items.into_iter().map(row).collect()
    };
    for (from, to, text) in [
        (bob, ada, "b1"),
        (cem, ada, "c1"),
        (cem, ada, "c2"),
        (ada, dan, "d1"),
        (bob, ada, "b2"),
        (ada, bob, "b3"),
    ] {
        world.send(from, to, text);
    }
    let row = |name: &str, unread, last: &str| (name.to_owned(), unread, last.to_owned());
    assert_eq!(
        peers(&world),
        [
            row("bob", 2, "b3"),
            row("dan", 0, "d1"),
            row("cem", 2, "c2")
        ]
    );
    world.send(cem, ada, "c3");
    assert_eq!(
        peers(&world),
        [
            row("cem", 3, "c3"),
            row("bob", 2, "b3"),
            row("dan", 0, "d1")
        ]
    );
}

#[test]
fn an_event_carries_the_message_and_shares_its_text() {
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    let events = world.events(write(ada, bob, "hello"));
    let messages: Vec<_> = events
        .iter()
        .map(|event| match &event.kind {
            EventKind::MessageSent { message } | EventKind::MessageReceived { message } => message,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(std::sync::Arc::ptr_eq(messages[0], messages[1]));
    let Ok(stored) = world.manager.message(bob, messages[0].id);
    assert_eq!(stored.as_ref(), Some(&**messages[0]));
}

#[test]
fn a_batch_has_a_limit() {
    let mut world = World::new();
    let ada = world.register("ada");
    let message = world.send(ada, ada, "x");
    let batch = vec![message; 1_001];
    for body in [
        delivered(ada, &batch),
        read(ada, &batch),
        delete(ada, &batch, ForMe),
    ] {
        assert_eq!(
            world.run(body),
            Err(Rejection::BatchTooLarge { count: 1_001 })
        );
    }
    assert_eq!(
        world.run(delete(ada, &batch[..1_000], ForMe)),
        Ok(Outcome::MessagesDeleted { count: 1 })
    );
}

#[test]
fn reading_a_very_long_conversation_takes_several_commands() {
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    let mut last = None;
    for number in 0..10_000 {
        let command = world.command(write(ada, bob, &format!("{number}")));
        let Ok(applied) = world.manager.apply(command);
        last = applied.result.ok().map(crate::world::sent);
    }
    world.check();
    let through = CommandBody::ReadThrough {
        account: bob,
        peer: ada,
        message: last.unwrap(),
    };
    let mut steps = Vec::new();
    loop {
        match world.run(through.clone()).unwrap() {
            Outcome::MarkedRead {
                count,
                progress: Progress::More,
            } => steps.push(count),
            Outcome::MarkedRead {
                count,
                progress: Progress::Done,
            } => break steps.push(count),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(steps, [4_096, 4_096, 1_808]);
    assert_eq!((world.unread(bob, ada), world.inbox(bob).len()), (0, 0));
}

#[test]
fn a_deletion_is_told_by_conversation() {
    let mut world = World::new();
    let [ada, bob, cem] = ["ada", "bob", "cem"].map(|name| world.register(name));
    let messages = [
        world.send(ada, bob, "to bob"),
        world.send(ada, cem, "to cem"),
        world.send(ada, ada, "a note"),
        world.send(ada, bob, "to bob again"),
    ];
    let command = world.command(delete(ada, &messages, ForBoth));
    let applied = world.apply(&command);
    assert_eq!(
        applied.result,
        Ok(Outcome::MessagesDeleted { count: 4 }),
        "each counts once for the one who deletes"
    );
    let told: Vec<_> = applied
        .events
        .iter()
        .map(|event| match &event.kind {
            EventKind::MessagesDeleted {
                by, peer, messages, ..
            } if *by == ada => (event.account, *peer, messages.to_vec()),
            other => panic!("{other:?}"),
        })
        .collect();
    let [one, two, note, three] = messages;
    for expected in [
        (ada, bob, vec![one, three]),
        (bob, ada, vec![one, three]),
        (ada, cem, vec![two]),
        (cem, ada, vec![two]),
        (ada, ada, vec![note]),
    ] {
        assert!(told.contains(&expected), "{expected:?} in {told:?}");
    }
    assert_eq!(told.len(), 5);
}
