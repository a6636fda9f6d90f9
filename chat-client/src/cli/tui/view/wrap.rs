//! Text in columns. A character is what the user takes for one; it takes none, one or two columns, or as many as its parts.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Blank, and not what a row is blanked with: drawn and wiped out like any other character.
const FILLER: char = '\u{a0}';

/// Stands between the parts of a composed emoji.
const JOINER: char = '\u{200d}';

/// As many columns as a family of four takes where each of them stands alone.
const WIDEST: usize = 8;

/// How many columns a text takes.
pub(super) fn width(text: &str) -> usize {
    text.graphemes(true).map(columns).sum()
}

/// The text in rows of at most so many columns, broken between words where that is possible. At least one row.
pub(super) fn wrap(text: &str, columns_per_row: usize) -> Vec<String> {
    let limit = columns_per_row.max(2);
    let mut rows = Vec::new();
    for line in text.split('\n') {
        wrap_line(line, limit, &mut rows);
    }
    rows
}

/// The text cut to so many columns, with a mark where something is missing.
pub(super) fn fit(text: &str, columns_at_most: usize) -> String {
    if width(text) <= columns_at_most {
        return text.to_owned();
    }
    let mut fitting = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        if used + columns(grapheme) + 1 > columns_at_most {
            break;
        }
        used += columns(grapheme);
        fitting.push_str(grapheme);
    }
    if columns_at_most > 0 {
        fitting.push('…');
    }
    fitting
}

/// The text with spaces behind it, so many columns wide.
pub(super) fn pad(text: &str, columns_wide: usize) -> String {
    let fitting = fit(text, columns_wide);
    let missing = columns_wide.saturating_sub(width(&fitting));
    fitting + &" ".repeat(missing)
}

/// Row and column of a place in a text, as [`wrap_exactly`] breaks it.
pub(super) fn place_of(text: &str, at: usize, columns_per_row: usize) -> (usize, usize) {
    let before = wrap_exactly(&text[..at], columns_per_row);
    let column = before.last().map_or(0, |row| width(row));
    // A full row has no place behind it.
    match column >= columns_per_row.max(2) {
        true => (before.len(), 0),
        false => (before.len() - 1, column),
    }
}

/// The text in rows that are filled to the edge, so that what is being written does not jump.
pub(super) fn wrap_exactly(text: &str, columns_per_row: usize) -> Vec<String> {
    let limit = columns_per_row.max(2);
    let mut rows = vec![String::new()];
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        let wide = columns(grapheme);
        if grapheme == "\n" || used + wide > limit {
            rows.push(String::new());
            used = 0;
        }
        if grapheme != "\n"
            && let Some(row) = rows.last_mut()
        {
            row.push_str(grapheme);
            used += wide;
        }
    }
    rows
}

fn wrap_line(line: &str, limit: usize, rows: &mut Vec<String>) {
    let mut row = String::new();
    let mut used = 0;
    for word in line.split_word_bounds() {
        let wide = width(word);
        if used + wide <= limit {
            row.push_str(word);
            used += wide;
            continue;
        }
        // The space at a break is the break.
        if word.trim().is_empty() {
            rows.push(std::mem::take(&mut row));
            used = 0;
            continue;
        }
        if used > 0 {
            rows.push(std::mem::take(&mut row).trim_end().to_owned());
            used = 0;
        }
        for grapheme in word.graphemes(true) {
            let wide = columns(grapheme);
            if used + wide > limit {
                rows.push(std::mem::take(&mut row));
                used = 0;
            }
            row.push_str(grapheme);
            used += wide;
        }
    }
    rows.push(row);
}

/// The row as it is drawn. Some terminals draw a composed emoji in two columns and others its parts one behind the other; so
/// there is room for the parts, which the fillers wipe out again where they were drawn.
pub(super) fn steady(row: &str) -> String {
    let mut drawn = String::with_capacity(row.len());
    for grapheme in row.graphemes(true) {
        match parts(grapheme) > WIDEST {
            true => drawn.push(char::REPLACEMENT_CHARACTER),
            false => {
                // One that is not written to its end would draw the next character into itself.
                let whole = grapheme.trim_end_matches(JOINER);
                drawn.push_str(whole);
                let missing = columns(grapheme).saturating_sub(whole.width());
                drawn.extend(std::iter::repeat_n(FILLER, missing));
            }
        }
    }
    drawn
}

fn columns(grapheme: &str) -> usize {
    match parts(grapheme) {
        // What would take a row for itself is not drawn.
        many if many > WIDEST => 1,
        many => grapheme.width().min(2).max(many),
    }
}

/// How many columns the parts of a character take that are drawn one by one.
fn parts(grapheme: &str) -> usize {
    grapheme.chars().filter_map(UnicodeWidthChar::width).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_break_between_words_and_never_in_a_character() {
        assert_eq!(
            wrap("good morning to you", 9),
            ["good", "morning", "to you"]
        );
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("世界你好", 5), ["世界", "你好"]);
        assert_eq!(wrap("👨‍👩‍👧👨‍👩‍👧👨‍👩‍👧", 12), ["👨‍👩‍👧👨‍👩‍👧", "👨‍👩‍👧"]);
        assert_eq!(wrap("a\n\nb", 9), ["a", "", "b"]);
        assert_eq!(wrap("", 9), [""]);
        assert_eq!(wrap("世", 1), ["世"], "too narrow for anything");
    }

    #[test]
    fn what_does_not_fit_is_marked() {
        assert_eq!(fit("alexandra", 5), "alex…");
        assert_eq!(fit("世界你好", 5), "世界…");
        assert_eq!(fit("世界你好", 4), "世…");
        assert_eq!(pad("世", 4), "世  ");
        assert_eq!(fit("x", 0), "");
    }

    #[test]
    fn there_is_room_for_an_emoji_whether_the_terminal_joins_its_parts_or_not() {
        for (text, drawn) in [
            ("👍🏽!", "👍🏽\u{a0}\u{a0}!"),
            ("👨‍👩‍👧", "👨‍👩‍👧\u{a0}\u{a0}\u{a0}\u{a0}"),
            ("👨\u{200d}", "👨"),
            ("🇫🇷 世 e\u{301} ❤\u{fe0f}", "🇫🇷 世 e\u{301} ❤\u{fe0f}"),
        ] {
            assert_eq!(steady(text), drawn);
            assert_eq!(
                drawn.graphemes(true).map(|g| g.width()).sum::<usize>(),
                width(text)
            );
        }
        let endless = "👩\u{200d}".repeat(1000);
        assert_eq!(
            (steady(&endless).as_str(), width(&endless)),
            ("\u{fffd}", 1)
        );
    }

    #[test]
    fn the_cursor_is_found() {
        assert_eq!(place_of("abcdef", 4, 3), (1, 1));
        assert_eq!(place_of("abc", 3, 3), (1, 0));
        assert_eq!(place_of("a\nb", 3, 9), (1, 1));
        assert_eq!(place_of("世界", 3, 9), (0, 2));
    }
}
