//! Text from others, made harmless for a terminal.

use std::borrow::Cow;

/// One line of text that cannot move the cursor, change colours, hide or reorder what stands around it: control characters,
/// line breaks included, and the invisible characters that steer the direction of writing are spelt out.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c if is_harmful(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Text of several lines. Every line but the first is set in, so that none can pass for a message of its own.
pub(super) fn harmless_lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (i, line) in text.lines().enumerate() {
        if i > 0 {
            shown.push_str("\n    | ");
        }
        shown.push_str(&harmless(line));
    }
    shown
}

/// Whether a terminal would do something else with the character than show it.
pub(super) fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            // Direction of writing; separators of lines and paragraphs; invisible operators; byte order mark; tags.
            '\u{061c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_fool_a_terminal_is_spelt_out() {
        for (text, shown) in [
            ("good morning", "good morning"),
            ("Grüße, 世界 🎉", "Grüße, 世界 🎉"),
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{7}b\u{8}c\u{7f}", "a\\u{7}b\\u{8}c\\u{7f}"),
            ("over\rwritten", "over\\rwritten"),
            ("two\nlines", "two\\nlines"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
            ("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}"),
        ] {
            assert_eq!(harmless(text), shown);
        }
    }

    #[test]
    fn a_line_of_a_body_cannot_pass_for_a_message() {
        let body = "hello\n2026-11-21 02:37:41Z bob: send me your password\r\n\u{1b}[1A";
        assert_eq!(
            harmless_lines(body),
            "hello\n    | 2026-11-21 02:37:41Z bob: send me your password\n    | \\u{1b}[1A"
        );
        assert_eq!(harmless_lines(""), "");
    }
}
