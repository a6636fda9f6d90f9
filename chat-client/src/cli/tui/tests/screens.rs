//! What the window looks like, as pictures.

use ratatui::crossterm::event::{KeyCode, KeyModifiers};

use super::{User, account, at, from_bob, from_me, id, leader, message, read, request, status};
use crate::cli::tui::model::{Focus, Input, Login, LoginState, Overlay};
use crate::error::{Error, GaveUp, Refusal};
use crate::events::{ClientEvent, Replica, Resent};
use crate::outbox::OutboxEvent;
use crate::subscription::Event;

const SIZE: (u16, u16) = (72, 10);

fn past() -> Vec<crate::types::Message> {
    vec![
        read(from_bob(1, "good morning")),
        read(from_me(2, "hello, how are you?")),
    ]
}

#[test]
fn a_conversation() {
    let mut user = User::with_bob(SIZE, past());
    user.lists(vec![("bob", 0), ("carol", 3), ("世界", 0)]);
    user.types("well");
    user.sees(
        "
>*bob             │bob - online
  carol          3│
  世界            │
                  │
                  │
                  │────────────────── 2026-11-21 UTC ───────────────────
                  │ 09:01        bob good morning
                  │ 09:02        you hello, how are you?  read
 node 0 | leader 0 | epoch 3 | 3 of 3 live              alice | F1 help
> well",
    );
}

#[test]
fn what_becomes_of_a_message() {
    let mut user = User::with_bob((60, 8), Vec::new());
    let waiting = user.sends(3, "one");
    assert!(
        user.screen().contains("you one  pending"),
        "{}",
        user.screen()
    );
    user.is_answered(&waiting, 3);
    assert!(
        user.screen().contains("you one  stored on 3 of 3"),
        "{}",
        user.screen()
    );
    user.happens(Event::MessagesDelivered {
        messages: vec![id(3)],
        recipient: account("bob"),
    });
    assert!(
        user.screen().contains("you one  delivered"),
        "{}",
        user.screen()
    );
    user.happens(Event::MessagesRead {
        messages: vec![id(3)],
        reader: account("bob"),
    });
    assert!(user.screen().contains("you one  read"), "{}", user.screen());
    let refused = user.sends(4, "two");
    user.gets(Input::Outbox(OutboxEvent::Refused {
        message: refused,
        error: Error::Invalid(Refusal {
            reason: None,
            message: "the body is too long".into(),
            fields: Vec::new(),
        }),
    }));
    user.sees(
        "
>*bob           │bob - online
                │───────────── 2026-11-21 UTC ──────────────
                │ 09:03        you one  read
                │ 09:04        you two
                │                  not sent: the body is too
                │                  long
 node 0 | leader 0 | epoch 3 | 3 of 3 live  alice | F1 help
>",
    );
}

#[test]
fn unread_messages_stand_below_a_divider() {
    let mut user = User::at(SIZE);
    user.lists(vec![("carol", 0), ("bob", 2)]);
    user.control('n');
    user.loads(
        "bob",
        vec![
            read(from_bob(1, "old")),
            from_bob(2, "news"),
            from_bob(3, "more news"),
        ],
        None,
    );
    user.sees(
        "
  carol           │bob - online
>*bob             │
                  │
                  │────────────────── 2026-11-21 UTC ───────────────────
                  │ 09:01        bob old
                  │──────────────────────── new ────────────────────────
                  │ 09:02        bob news
                  │ 09:03        bob more news
 node 0 | leader 0 | epoch 3 | 3 of 3 live              alice | F1 help
>",
    );
    // Whoever answers has read them.
    user.sends(4, "I see");
    assert!(!user.screen().contains("new ─"), "{}", user.screen());
}

#[test]
fn a_message_while_the_user_looks_elsewhere_is_new() {
    let mut user = User::with_bob(SIZE, past());
    user.gets(Input::Focus(Focus::Elsewhere));
    user.receives(from_bob(3, "are you there?"));
    assert!(user.screen().contains(" new ─"), "{}", user.screen());
    assert!(
        user.screen().contains(">*bob            1"),
        "{}",
        user.screen()
    );
    assert!(user.effects.is_empty(), "not read: {:?}", user.effects);
    user.gets(Input::Focus(Focus::Here));
    assert_eq!(user.effects.len(), 1, "{:?}", user.effects);
}

#[test]
fn what_arrives_below_the_edge_is_counted() {
    let past = (1..=20)
        .map(|n| read(from_bob(n, &format!("message {n}"))))
        .collect();
    let mut user = User::with_bob((72, 8), past);
    user.key(KeyCode::PageUp);
    user.receives(from_bob(21, "one"));
    user.receives(from_bob(22, "two"));
    user.sees(
        "
>*bob            2│bob - online
                  │ 09:13        bob message 13
                  │ 09:14        bob message 14
                  │ 09:15        bob message 15
                  │ 09:16        bob message 16
                  │ 09:17        bob message 17                 ↓ 2 new
 node 0 | leader 0 | epoch 3 | 3 of 3 live              alice | F1 help
>",
    );
    user.key(KeyCode::Esc);
    assert!(
        user.screen().contains("two") && !user.screen().contains("↓"),
        "{}",
        user.screen()
    );
}

#[test]
fn the_leaders_death_is_a_word_in_the_status_line() {
    let mut user = User::with_bob((100, 8), past());
    let waiting = user.sends(3, "still there?");
    let replica = |id| Replica {
        endpoint: format!("h:{}", 7400 + id).parse().unwrap(),
        id: Some(id),
    };
    user.gets(Input::Client(ClientEvent::ReplicaSwitched {
        from: replica(0),
        to: replica(1),
        resent: Resent::Message,
    }));
    user.happens(Event::Connected {
        replica_id: 1,
        leader: Some(leader(1, 4)),
    });
    // The event of the message comes before its answer, and its answer twice as an event.
    user.happens(Event::MessageSent(from_me(3, "still there?")));
    user.is_answered(&waiting, 3);
    user.happens(Event::MessageSent(from_me(3, "still there?")));
    user.gets(Input::Status(Ok(status(1, 4, 2))));
    user.sees(
        "
>*bob                    │bob - online
                         │
                         │───────────────────────────── 2026-11-21 UTC ─────────────────────────────
                         │ 09:01        bob good morning
                         │ 09:02        you hello, how are you?  read
                         │ 09:03        you still there?  stored on 3 of 3
 2/3 live | degraded | replica 0 lost, now on replica 1; your message was resent    alice | F1 help
>",
    );
    for _ in 0..8 {
        user.gets(Input::Tick);
    }
    assert!(user.screen().contains("degraded ") && user.screen().contains("alice | F1 help"));
}

#[test]
fn while_nobody_can_be_reached_messages_wait() {
    let mut user = User::with_bob((72, 7), past());
    user.gets(Input::Client(ClientEvent::Waiting {
        attempts: Vec::new(),
    }));
    let waiting = user.sends(3, "later");
    user.sees(
        "
>*bob             │bob - online
                  │────────────────── 2026-11-21 UTC ───────────────────
                  │ 09:01        bob good morning
                  │ 09:02        you hello, how are you?  read
                  │ 09:03        you later  pending
 no replica can serve; trying on | 1 waiting to be sent alice | F1 help
>",
    );
    user.is_answered(&waiting, 3);
    assert!(user.screen().contains("node 0"), "{}", user.screen());
}

#[test]
fn a_narrow_window_leaves_the_list_out() {
    let mut user = User::with_bob((28, 10), past());
    user.lists(vec![("bob", 0), ("carol", 3)]);
    user.sees(
        "
bob - online (+3)



────── 2026-11-21 UTC ──────
 bob: good morning
 you: hello, how are you?
  read
 3/3 live | node 0, leader 0
>",
    );
}

#[test]
fn search_finds_older_messages_too() {
    let past = (11..=30)
        .map(|n| read(from_bob(n, &format!("message {n}"))))
        .collect();
    let mut user = User::at((72, 8));
    user.lists(vec![("bob", 0)]);
    user.loads("bob", past, Some("older"));
    user.effects.clear();
    user.control('r');
    user.types("MESSAGE 2");
    user.key(KeyCode::Enter);
    user.sees(
        "
>*bob             │bob - online
                  │ 09:26        bob message 26
                  │ 09:27        bob message 27
                  │>09:28        bob message 28
                  │ 09:29        bob message 29
                  │ 09:30        bob message 30
 node 0 | leader 0 | epoch 3 | 3 of 3 live              alice | F1 help
search: MESSAGE 2                   Enter: older, Down: newer, Esc: done",
    );
    user.control('u');
    user.types("needle");
    assert!(
        user.screen().contains("looking further back"),
        "{}",
        user.screen()
    );
    let mut older = vec![read(from_bob(5, "the needle"))];
    older.extend((6..=10).map(|n| read(from_bob(n, "hay"))));
    user.loads("bob", older, None);
    assert!(
        user.screen().contains(">09:05        bob the needle"),
        "{}",
        user.screen()
    );
    user.key(KeyCode::Enter);
    assert!(
        user.screen().contains("no more matches"),
        "{}",
        user.screen()
    );
}

#[test]
fn somebody_is_chosen_from_those_who_match() {
    let mut user = User::with_bob((60, 12), past());
    user.control('o');
    let accounts = vec![account("carol"), account("bob"), account("carla")];
    let filter = String::new();
    user.gets(Input::Accounts {
        filter,
        result: Ok(accounts),
    });
    user.sees(
        "
>*bob    ┌ talk with ─────────────────────────────┐
         │name:                                   │
         │>*bob                                   │
         │  carla                                 │
         │  carol                                 │
         │                                        │
         │                                        │
         │                                        │─────────
         │                                        │
         │                                        │ou?  read
 node 0 |│                                        │ F1 help
         └────────────────────────────────────────┘",
    );
    user.types("car");
    user.key(KeyCode::Down);
    assert!(user.screen().contains("│> carol"), "{}", user.screen());
    user.key(KeyCode::Enter);
    assert!(
        user.screen().contains("carol - offline"),
        "{}",
        user.screen()
    );
}

#[test]
fn a_message_is_deleted_when_the_user_means_it() {
    let mut user = User::with_bob(SIZE, past());
    user.control('x');
    user.types("D");
    assert!(
        user.screen()
            .ends_with("delete \"hello, how are you?\" for both? y, or any other key for no")
    );
    user.types("y");
    assert_eq!(user.effects.len(), 1, "{:?}", user.effects);
    user.gets(Input::Deleted {
        what: id(2),
        result: Ok(()),
    });
    assert_eq!(user.bodies(), ["good morning"]);
    // The event tells the same; a late page does not bring it back.
    user.happens(Event::MessagesDeleted {
        messages: vec![id(2)],
        peer: account("bob"),
    });
    user.happens(Event::MessageSent(from_me(2, "hello, how are you?")));
    assert_eq!(user.bodies(), ["good morning"]);
    user.control('x');
    user.types("D");
    assert!(
        user.screen().contains("only your own messages"),
        "{}",
        user.screen()
    );
}

#[test]
fn who_talks_with_nobody_is_told_what_to_do() {
    let user = User::at((60, 6));
    user.sees(
        "
                │
                │You talk with nobody yet. Ctrl-O shows who
                │is there, and F1 the keys.
                │
 node 0 | leader 0 | epoch 3 | 3 of 3 live  alice | F1 help
>",
    );
}

#[test]
fn a_word_for_the_user_is_cut_off_last() {
    let mut user = User::with_bob((62, 8), past());
    user.types("/serach x");
    user.key(KeyCode::Enter);
    let screen = user.screen();
    let wanted = " there is no command /serach; did you mean /search?";
    assert!(screen.contains(wanted), "{screen}");
}

#[test]
fn help_stands_in_front() {
    let mut user = User::with_bob((72, 18), past());
    user.key(KeyCode::F(1));
    assert!(user.screen().contains("┌ help ─"), "{}", user.screen());
    // Nothing of it is cut off.
    for end in ["conversation 1 ...│", "lines sent before │", "unread  "] {
        assert!(user.screen().contains(end), "{}", user.screen());
    }
    user.key(KeyCode::Char('x'));
    assert!(!user.screen().contains("help ─"), "{}", user.screen());
}

#[test]
fn whoever_is_not_logged_in_is_asked() {
    let mut user = User::at((60, 11));
    user.gets(Input::LoggedOut);
    user.types("alice");
    user.key(KeyCode::Tab);
    user.types("secret");
    let screen = user.screen();
    assert!(
        !screen.contains("secret") && screen.contains("password: ******"),
        "{screen}"
    );
    user.key(KeyCode::Enter);
    assert_eq!(user.effects.len(), 1);
    user.gets(Input::LoginFailed(Error::Unauthenticated(Refusal {
        reason: None,
        message: "wrong name or password".into(),
        fields: Vec::new(),
    })));
    user.sees(
        "

                │
    ┌ log in ──────────────────────────────────────────┐
    │name:     alice                                   │
    │password:                                         │
    │                                                  │
    │Enter: log in   Ctrl-R: register   Esc: leave     │
    │wrong name or password                            │
    │                                                  │
    │                                                  │
 nod└──────────────────────────────────────────────────┘",
    );
}

#[test]
fn the_end_of_the_session_asks_for_a_login_and_keeps_the_name() {
    let mut user = User::with_bob(SIZE, past());
    user.gets(Input::StreamEnded(None));
    let Overlay::Login(Login { name, state, .. }) = &user.model.overlay else {
        panic!("{:?}", user.model.overlay);
    };
    assert_eq!(name.text(), "alice");
    assert!(matches!(state, LoginState::Failed(_)));
    // An outage is no end.
    let mut user = User::with_bob(SIZE, past());
    let gave_up = GaveUp {
        attempts: Vec::new(),
        after: std::time::Duration::ZERO,
        request_id: Some(request(1)),
    };
    user.gets(Input::StreamEnded(Some(Error::NothingListens(gave_up))));
    assert!(matches!(user.model.overlay, Overlay::None));
    assert_eq!(user.effects.len(), 1, "tried again: {:?}", user.effects);
}

#[test]
fn days_are_told_apart() {
    let mut late = read(from_bob(1, "good night"));
    late.sent = at(14 * 60 + 59);
    let mut early = read(from_bob(2, "good morning"));
    early.sent = at(15 * 60);
    let user = User::with_bob((40, 8), vec![late, early]);
    user.sees(
        "
bob - online

──────────── 2026-11-21 UTC ────────────
 23:59        bob good night
──────────── 2026-11-22 UTC ────────────
 00:00        bob good morning
 3/3 live | node 0, leader 0
>",
    );
}

#[test]
fn another_device_sends_and_reads_too() {
    let mut user = User::with_bob(SIZE, past());
    user.happens(Event::MessageSent(from_me(3, "from my phone")));
    user.happens(Event::MessageSent(message(4, "alice", "carol", "hi")));
    assert_eq!(
        user.bodies(),
        ["good morning", "hello, how are you?", "from my phone"]
    );
    user.receives(message(5, "carol", "alice", "hi, too"));
    assert!(
        user.screen().contains("carol          1"),
        "{}",
        user.screen()
    );
    user.happens(Event::MessagesRead {
        messages: vec![id(5)],
        reader: account("alice"),
    });
    user.lists(vec![("bob", 0), ("carol", 0)]);
    assert!(
        !user.screen().contains("carol          1"),
        "{}",
        user.screen()
    );
    user.presses(KeyCode::Char('2'), KeyModifiers::ALT);
    assert_eq!(user.bodies(), ["hi", "hi, too"]);
}
