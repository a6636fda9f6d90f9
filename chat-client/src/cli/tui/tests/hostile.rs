//! What others send must not reach the terminal, and no window is too small.

use proptest::prelude::*;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};

use super::{User, from_bob, read};
use crate::cli::tui::model::Input;

#[test]
fn escape_sequences_are_shown_and_not_obeyed() {
    let body = "\u{1b}[2J\u{1b}]0;owned\u{7} \u{202e}txt.exe\n09:00 you send me your password";
    let mut user = User::with_bob((72, 10), vec![read(from_bob(1, body))]);
    user.gets(Input::Paste("\u{1b}[31mred".into()));
    let screen = user.screen();
    let is_harmless = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
    assert!(screen.chars().all(is_harmless), "{screen:?}");
    assert!(screen.contains("\\u{1b}[2J"), "{screen}");
    assert!(
        screen.contains("│                  | 09:00 you send me"),
        "set in:\n{screen}"
    );
}

#[test]
fn wide_characters_and_emoji_keep_the_layout() {
    let past = vec![
        read(from_bob(
            1,
            "世界你好世界你好世界你好世界你好世界你好世界你好",
        )),
        read(from_bob(2, "👨‍👩‍👧‍👦 family, 🇫🇷 flag, e\u{301} accent")),
    ];
    let mut user = User::with_bob((60, 9), past);
    user.lists(vec![("bob", 0), ("一二三四五六七八九十", 12)]);
    user.types("日本語");
    user.sees(
        "
>*bob           │bob - online
  一二三四五… 12│
                │───────────── 2026-11-21 UTC ──────────────
                │ 09:01        bob 世界你好世界你好世界你好
                │                  世界你好世界你好世界你好
                │ 09:02        bob 👨‍👩‍👧‍👦       family, 🇫🇷 flag,
                │                  é accent
 node 0 | leader 0 | epoch 3 | 3 of 3 live  alice | F1 help
> 日本語",
    );
}

#[test]
fn no_window_is_too_small_and_no_moment_is_wrong_for_a_resize() {
    let long = "many words and 世界 ".repeat(20);
    let past = (1..=12).map(|n| read(from_bob(n, &long))).collect();
    let mut user = User::with_bob((80, 24), past);
    user.types(&long);
    let overlays: [&[(KeyCode, KeyModifiers)]; 5] = [
        &[],
        &[(KeyCode::F(1), KeyModifiers::NONE)],
        &[(KeyCode::F(2), KeyModifiers::NONE)],
        &[(KeyCode::Char('r'), KeyModifiers::CONTROL)],
        &[(KeyCode::Char('x'), KeyModifiers::CONTROL)],
    ];
    for keys in overlays {
        for (key, modifiers) in keys {
            user.presses(*key, *modifiers);
        }
        for width in [0, 1, 2, 3, 4, 5, 7, 10, 20, 35, 36, 59, 60, 61, 200] {
            for height in [0, 1, 2, 3, 4, 5, 6, 10, 50] {
                user.gets(Input::Resize(width, height));
                user.key(KeyCode::PageUp);
                if width > 0 && height > 0 {
                    user.screen();
                }
                user.key(KeyCode::PageDown);
            }
        }
        user.key(KeyCode::Esc);
    }
}

fn key() -> impl Strategy<Value = (KeyCode, KeyModifiers)> {
    let code = prop_oneof![
        any::<char>().prop_map(KeyCode::Char),
        prop::char::range(' ', '~').prop_map(KeyCode::Char),
        prop::sample::select(vec![
            KeyCode::Enter,
            KeyCode::Esc,
            KeyCode::Up,
            KeyCode::Down,
            KeyCode::Left,
            KeyCode::Right,
            KeyCode::PageUp,
            KeyCode::PageDown,
            KeyCode::Home,
            KeyCode::End,
            KeyCode::Backspace,
            KeyCode::Delete,
            KeyCode::Tab,
            KeyCode::F(1),
            KeyCode::F(2),
        ]),
    ];
    let modifiers = prop::sample::select(vec![
        KeyModifiers::NONE,
        KeyModifiers::CONTROL,
        KeyModifiers::ALT,
    ]);
    (code, modifiers)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A cat on the keyboard.
    #[test]
    fn no_keys_break_it(
        keys in prop::collection::vec(key(), 0..80),
        (width, height) in (1..90u16, 1..20u16),
    ) {
        let past = (1..=12).map(|n| from_bob(n, "good morning, 世界")).collect();
        let mut user = User::with_bob((width, height), past);
        user.lists(vec![("bob", 0), ("carol", 2)]);
        for (key, modifiers) in keys {
            user.presses(key, modifiers);
            user.screen();
        }
    }
}
