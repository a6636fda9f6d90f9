//! The keys of readline and of irssi.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{User, from_bob, read};
use crate::cli::tui::model::{Effect, Input, Overlay, Scroll};

#[test]
fn conversations_are_switched_and_drafts_stay_with_theirs() {
    let mut user = User::with_bob((72, 10), Vec::new());
    user.lists(vec![("bob", 0), ("carol", 0), ("dora", 2)]);
    let name = |user: &User| user.model.open().unwrap().name.clone();
    user.types("to bob");
    user.control('n');
    assert_eq!(
        (name(&user).as_str(), user.model.composer.text()),
        ("carol", "")
    );
    user.presses(KeyCode::Char('a'), KeyModifiers::ALT);
    assert_eq!(name(&user), "dora", "the next with unread messages");
    user.control('n');
    assert_eq!(
        (name(&user).as_str(), user.model.composer.text()),
        ("bob", "to bob")
    );
    user.control('p');
    assert_eq!(name(&user), "dora");
    user.presses(KeyCode::Char('2'), KeyModifiers::ALT);
    assert_eq!(name(&user), "carol");
    user.presses(KeyCode::Char('9'), KeyModifiers::ALT);
    assert_eq!(name(&user), "carol", "there are only three");
}

#[test]
fn the_line_is_edited_as_in_a_shell() {
    let mut user = User::with_bob((72, 10), Vec::new());
    user.types("see you tomorrow");
    user.control('w');
    user.types("today");
    user.control('a');
    user.presses(KeyCode::Char('d'), KeyModifiers::ALT);
    user.control('y');
    user.control('e');
    user.control('h');
    assert_eq!(user.model.composer.text(), "see you toda");
    user.control('u');
    assert!(user.model.composer.is_empty());
    user.control('d');
    assert_eq!(
        user.effects,
        [Effect::Quit],
        "as in a shell, on an empty line"
    );
}

#[test]
fn a_key_that_is_let_go_is_no_key() {
    let mut user = User::with_bob((72, 10), Vec::new());
    let mut key = KeyEvent::new(KeyCode::Char('x'), KeyModifiers::NONE);
    key.kind = KeyEventKind::Release;
    user.gets(Input::Key(key));
    assert!(user.model.composer.is_empty());
}

#[test]
fn pasted_lines_are_one_message() {
    let mut user = User::with_bob((72, 10), Vec::new());
    user.gets(Input::Paste("one\r\ntwo\rthree".into()));
    user.key(KeyCode::Enter);
    let body = "one\ntwo\nthree".to_owned();
    let recipient = "bob".to_owned();
    assert_eq!(user.effects, [Effect::Put { recipient, body }]);
}

#[test]
fn commands_are_understood_and_typing_errors_corrected() {
    let mut user = User::with_bob((100, 10), Vec::new());
    user.types("/msg carol hello there");
    user.key(KeyCode::Enter);
    let body = "hello there".to_owned();
    let put = Effect::Put {
        recipient: "carol".into(),
        body,
    };
    assert_eq!(user.effects.pop(), Some(put));
    assert_eq!(user.model.open().unwrap().name, "carol");
    user.types("/serach x");
    user.key(KeyCode::Enter);
    assert!(
        user.screen().contains("did you mean /search?"),
        "{}",
        user.screen()
    );
    assert_eq!(user.model.composer.text(), "/serach x", "to be corrected");
    user.control('u');
    user.types("//etc");
    user.key(KeyCode::Enter);
    let body = "/etc".to_owned();
    let put = Effect::Put {
        recipient: "carol".into(),
        body,
    };
    assert_eq!(user.effects.pop(), Some(put));
    user.types("/help");
    user.key(KeyCode::Enter);
    assert!(matches!(user.model.overlay, Overlay::Help));
}

#[test]
fn scrolling_keeps_its_place_when_the_window_changes() {
    let long = "word ".repeat(30);
    let past = (1..=30)
        .map(|n| read(from_bob(n, &format!("{n} {long}"))))
        .collect();
    let mut user = User::with_bob((80, 12), past);
    let all = user.screen();
    for _ in 0..200 {
        user.key(KeyCode::PageUp);
    }
    assert!(
        user.screen().contains("2026-11-21 UTC"),
        "the top: {}",
        user.screen()
    );
    let top = user.screen();
    user.key(KeyCode::PageUp);
    assert_eq!(user.screen(), top, "and no further");
    let Scroll::At { place, .. } = user.model.open().unwrap().scroll else {
        panic!("at the bottom");
    };
    user.gets(Input::Resize(60, 9));
    user.gets(Input::Resize(80, 12));
    assert_eq!(user.model.open().unwrap().edge().unwrap().0, place);
    for _ in 0..200 {
        user.key(KeyCode::PageDown);
    }
    assert_eq!(user.screen(), all, "and back");
    assert_eq!(user.model.open().unwrap().scroll, Scroll::Bottom);
}
