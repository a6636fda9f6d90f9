//! Each message once and in the conversation's order, in whatever order it is heard of.

use proptest::prelude::*;

use super::{User, account, from_bob, from_me, id, read, request};
use crate::cli::tui::model::{Effect, Input, LineState, StoredOn};
use crate::ids::MessageId;
use crate::outbox::OutboxEvent;
use crate::subscription::Event;

fn state_of(user: &User, body: &str) -> LineState {
    let open = user.model.open().unwrap();
    let mut lines = open.timeline.lines();
    lines
        .find(|(_, line)| line.body == body)
        .unwrap()
        .1
        .state
        .clone()
}

const STORED: LineState = LineState::Stored(Some(StoredOn { replicas: 3, of: 3 }));

#[test]
fn an_own_message_is_shown_once_whether_its_event_or_its_answer_comes_first() {
    for event_first in [true, false] {
        let mut user = User::with_bob((60, 8), Vec::new());
        let waiting = user.sends(3, "once");
        let event = || Event::MessageSent(from_me(3, "once"));
        if event_first {
            user.happens(event());
            assert_eq!(user.bodies(), ["once"]);
        }
        user.is_answered(&waiting, 3);
        if !event_first {
            user.happens(event());
        }
        assert_eq!(user.bodies(), ["once"]);
        assert_eq!(state_of(&user, "once"), STORED);
    }
}

#[test]
fn the_same_words_twice_are_two_messages() {
    let mut user = User::with_bob((60, 8), vec![from_me(1, "ok")]);
    let waiting = user.sends(3, "ok");
    // An older message with the same words is not the one under way.
    user.happens(Event::MessageSent(from_me(2, "ok")));
    assert_eq!(user.bodies(), ["ok", "ok", "ok"]);
    // One of another device may be, until the answer tells.
    user.happens(Event::MessageSent(from_me(4, "ok")));
    assert_eq!(user.bodies(), ["ok", "ok", "ok"]);
    user.is_answered(&waiting, 3);
    assert_eq!(user.bodies(), ["ok", "ok", "ok", "ok"]);
}

#[test]
fn what_is_told_before_the_answer_is_not_forgotten() {
    let mut user = User::with_bob((60, 8), Vec::new());
    let waiting = user.sends(3, "quick");
    user.happens(Event::MessagesDelivered {
        messages: vec![id(3)],
        recipient: account("bob"),
    });
    user.is_answered(&waiting, 3);
    assert_eq!(state_of(&user, "quick"), LineState::Delivered);
    let waiting = user.sends(4, "gone");
    user.happens(Event::MessagesDeleted {
        messages: vec![id(4)],
        peer: account("bob"),
    });
    user.is_answered(&waiting, 4);
    assert_eq!(user.bodies(), ["quick"]);
}

#[test]
fn a_refused_message_stays_until_it_is_dismissed() {
    let mut user = User::with_bob((60, 8), Vec::new());
    let waiting = user.sends(3, "too long");
    user.gets(Input::Outbox(OutboxEvent::Refused {
        message: waiting,
        error: crate::Error::Protocol("x".into()),
    }));
    assert!(matches!(state_of(&user, "too long"), LineState::Refused(_)));
    user.control('x');
    user.types("dy");
    assert!(user.bodies().is_empty());
}

#[test]
fn messages_before_a_gap_are_left_out_until_it_is_filled() {
    let mut user = User::with_bob((60, 8), vec![read(from_bob(1, "1"))]);
    // Events were missed; the newest page begins far behind what is known.
    user.happens(Event::Reset);
    user.loads(
        "bob",
        vec![from_bob(8, "8"), from_bob(9, "9")],
        Some("older"),
    );
    assert_eq!(user.bodies(), ["8", "9"]);
    user.key(ratatui::crossterm::event::KeyCode::PageUp);
    assert!(matches!(
        user.effects.pop(),
        Some(Effect::LoadHistory { .. })
    ));
    user.loads(
        "bob",
        (1..8).map(|n| from_bob(n, &n.to_string())).collect(),
        None,
    );
    assert_eq!(user.bodies().len(), 9);
}

#[test]
fn unread_messages_are_counted_once() {
    let mut user = User::with_bob((60, 8), Vec::new());
    let carol = |n, body| super::message(n, "carol", "alice", body);
    user.receives(carol(1, "a"));
    // The list was asked for before the second message came, and knows only one.
    let as_of = 1;
    user.receives(carol(2, "b"));
    user.gets(Input::Conversations {
        as_of,
        result: Ok(vec![crate::types::Conversation {
            peer: account("carol"),
            unread: 1,
            last_message: Some(carol(1, "a")),
        }]),
    });
    assert_eq!(user.model.conversations[1].unread, 2);
    // After a reset the same messages come again.
    user.receives(carol(1, "a"));
    assert_eq!(user.model.conversations[1].unread, 2);
}

#[test]
fn messages_of_the_inbox_are_not_counted_on_top_of_the_list() {
    let mut user = User::with_bob((60, 8), Vec::new());
    let carol = |n| super::message(n, "carol", "alice", "x");
    user.gets(Input::Conversations {
        as_of: 9,
        result: Ok(vec![crate::types::Conversation {
            peer: account("carol"),
            unread: 2,
            last_message: Some(carol(2)),
        }]),
    });
    user.receives(carol(1));
    user.receives(carol(2));
    user.receives(carol(3));
    assert_eq!(user.model.conversations[1].unread, 3);
}

/// What a user may hear of a conversation.
#[derive(Clone, Debug)]
enum Word {
    Event(u64),
    Page(u64, u64),
    Answer(u64),
    Delivered(u64),
    Reset,
}

fn word() -> impl Strategy<Value = Word> {
    prop_oneof![
        4 => (1..30u64).prop_map(Word::Event),
        2 => (1..30u64, 1..10u64).prop_map(|(from, count)| Word::Page(from, count)),
        3 => (1..30u64).prop_map(Word::Answer),
        2 => (1..30u64).prop_map(Word::Delivered),
        1 => Just(Word::Reset),
    ]
}

proptest! {
    /// Messages with even numbers are the user's own and were put into the outbox; all have the same words, which is the
    /// hardest case. Whatever is heard in whatever order, nothing is shown twice or out of order, and at the end, when all
    /// was heard, nothing is missing.
    #[test]
    fn whatever_is_heard_in_whatever_order(words in prop::collection::vec(word(), 0..60)) {
        let message = |n: u64| match n % 2 {
            0 => from_me(n, "same"),
            _ => from_bob(n, "same"),
        };
        let mut user = User::with_bob((60, 8), Vec::new());
        user.happens(Event::Reset);
        let outgoing: Vec<_> = (1..30).filter(|n| n % 2 == 0).map(|n| user.sends(n, "same")).collect();
        let mut answered = Vec::new();
        let answer = |user: &mut User, n: u64| {
            if let Some(one) = outgoing.iter().find(|m| m.id == request(n)) {
                user.is_answered(one, n);
            }
        };
        for word in words {
            match word {
                Word::Event(n) if n % 2 == 0 => user.happens(Event::MessageSent(message(n))),
                Word::Event(n) => user.receives(message(n)),
                Word::Page(from, count) => {
                    let to = (from + count).min(29);
                    user.loads("bob", (from..=to).map(message).collect(), Some("more"));
                }
                Word::Answer(n) => {
                    answer(&mut user, n);
                    answered.push(n);
                }
                Word::Delivered(n) => user.happens(Event::MessagesDelivered {
                    messages: vec![id(n)],
                    recipient: account("bob"),
                }),
                Word::Reset => user.happens(Event::Reset),
            }
            check(&user);
        }
        for n in 1..30 {
            answer(&mut user, n);
        }
        user.loads("bob", (1..30).map(message).collect(), None);
        let all: Vec<MessageId> = (1..30).map(id).collect();
        prop_assert_eq!(shown(&user), all);
    }
}

fn shown(user: &User) -> Vec<MessageId> {
    let open = user.model.open().unwrap();
    open.timeline
        .lines()
        .filter_map(|(_, line)| line.id)
        .collect()
}

fn check(user: &User) {
    let shown = shown(user);
    let mut sorted = shown.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(shown, sorted, "each once, in order");
    // An own message is there or under way, never both.
    let open = user.model.open().unwrap();
    let own = open
        .timeline
        .lines()
        .filter(|(_, l)| l.side == crate::cli::tui::Side::Mine)
        .count();
    assert!(own <= 14, "{own} own lines of 14 messages");
}
