//! The line that is being written, with readline's keys.

use std::collections::VecDeque;

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};

/// How many lines can be called back.
const MOST_HISTORY: usize = 200;

#[derive(Clone, Debug, Default)]
pub(in crate::cli::tui) struct Composer {
    text: String,
    /// In bytes, between two characters as the user sees them.
    cursor: usize,
    /// What was cut last.
    cut: String,
    /// Oldest first.
    history: VecDeque<String>,
    /// Which line of the history is shown, counted from the newest, and what was being written before.
    recalled: Option<(usize, String)>,
}

/// A way to move through the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli::tui) enum Motion {
    Left,
    Right,
    WordLeft,
    WordRight,
    /// Back over everything that is no space, as Ctrl-W does.
    SpaceLeft,
    Start,
    End,
}

impl Composer {
    pub(in crate::cli::tui) fn text(&self) -> &str {
        &self.text
    }

    pub(in crate::cli::tui) fn cursor(&self) -> usize {
        self.cursor
    }

    pub(in crate::cli::tui) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(in crate::cli::tui) fn insert(&mut self, text: &str) {
        self.text.insert_str(self.cursor, text);
        self.cursor += text.len();
    }

    pub(in crate::cli::tui) fn set(&mut self, text: &str) {
        self.text = text.to_owned();
        self.cursor = self.text.len();
    }

    pub(in crate::cli::tui) fn clear(&mut self) {
        self.set("");
        self.recalled = None;
    }

    /// Takes the text out, and keeps it in the history.
    pub(in crate::cli::tui) fn take(&mut self) -> String {
        let text = std::mem::take(&mut self.text);
        self.clear();
        if !text.trim().is_empty() && self.history.back() != Some(&text) {
            self.history.push_back(text.clone());
        }
        if self.history.len() > MOST_HISTORY {
            self.history.pop_front();
        }
        text
    }

    pub(in crate::cli::tui) fn go(&mut self, motion: Motion) {
        self.cursor = self.target(motion);
    }

    /// Deletes without keeping.
    pub(in crate::cli::tui) fn delete(&mut self, motion: Motion) {
        self.remove(motion);
    }

    /// Deletes, and keeps what was deleted for [`Composer::paste`].
    pub(in crate::cli::tui) fn cut(&mut self, motion: Motion) {
        let cut = self.remove(motion);
        if !cut.is_empty() {
            self.cut = cut;
        }
    }

    pub(in crate::cli::tui) fn paste(&mut self) {
        let cut = self.cut.clone();
        self.insert(&cut);
    }

    /// Swaps the two characters before the cursor, or around it.
    pub(in crate::cli::tui) fn transpose(&mut self) {
        if self.cursor == self.text.len() {
            self.go(Motion::Left);
        }
        let (before, after) = (self.target(Motion::Left), self.target(Motion::Right));
        if before == self.cursor || after == self.cursor {
            return;
        }
        let swapped = format!(
            "{}{}",
            &self.text[self.cursor..after],
            &self.text[before..self.cursor]
        );
        self.text.replace_range(before..after, &swapped);
        self.cursor = after;
    }

    pub(in crate::cli::tui) fn older(&mut self) {
        let next = self.recalled.as_ref().map_or(0, |(n, _)| n + 1);
        let Some(line) = self.history.iter().rev().nth(next).cloned() else {
            return;
        };
        let draft = match self.recalled.take() {
            Some((_, draft)) => draft,
            None => self.text.clone(),
        };
        self.set(&line);
        self.recalled = Some((next, draft));
    }

    pub(in crate::cli::tui) fn newer(&mut self) {
        let Some((n, draft)) = self.recalled.take() else {
            return;
        };
        match n.checked_sub(1) {
            Some(newer) => {
                let line = self.history.iter().rev().nth(newer).cloned();
                self.set(&line.unwrap_or_default());
                self.recalled = Some((newer, draft));
            }
            None => self.set(&draft),
        }
    }

    fn remove(&mut self, motion: Motion) -> String {
        let target = self.target(motion);
        let (from, to) = (self.cursor.min(target), self.cursor.max(target));
        let removed = self.text[from..to].to_owned();
        self.text.replace_range(from..to, "");
        self.cursor = from;
        removed
    }

    fn target(&self, motion: Motion) -> usize {
        let (before, after) = self.text.split_at(self.cursor);
        match motion {
            Motion::Left => self.boundary(GraphemeCursor::prev_boundary),
            Motion::Right => self.boundary(GraphemeCursor::next_boundary),
            Motion::WordLeft => {
                let word = before.unicode_word_indices().next_back();
                word.map_or(0, |(at, _)| at)
            }
            Motion::WordRight => {
                let word = after.unicode_word_indices().next();
                word.map_or(self.text.len(), |(at, word)| self.cursor + at + word.len())
            }
            Motion::SpaceLeft => {
                let word = before.trim_end();
                let space = word.char_indices().rev().find(|(_, c)| c.is_whitespace());
                space.map_or(0, |(at, c)| at + c.len_utf8())
            }
            Motion::Start => 0,
            Motion::End => self.text.len(),
        }
    }

    fn boundary(
        &self,
        step: fn(
            &mut GraphemeCursor,
            &str,
            usize,
        ) -> Result<Option<usize>, unicode_segmentation::GraphemeIncomplete>,
    ) -> usize {
        let mut cursor = GraphemeCursor::new(self.cursor, self.text.len(), true);
        step(&mut cursor, &self.text, 0)
            .ok()
            .flatten()
            .unwrap_or(self.cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composer(text: &str) -> Composer {
        let mut composer = Composer::default();
        composer.insert(text);
        composer
    }

    #[test]
    fn one_key_deletes_one_character_as_the_user_sees_it() {
        // A family, a flag and a combined letter are each several code points.
        let mut composer = composer("a👨‍👩‍👧🇫🇷e\u{301}");
        for rest in ["a👨‍👩‍👧🇫🇷", "a👨‍👩‍👧", "a", "", ""] {
            composer.delete(Motion::Left);
            assert_eq!(composer.text(), rest);
        }
    }

    #[test]
    fn words_are_cut_and_pasted_as_in_a_shell() {
        let mut composer = composer("see /usr/share, now");
        composer.cut(Motion::SpaceLeft);
        composer.cut(Motion::SpaceLeft);
        assert_eq!(composer.text(), "see ");
        composer.paste();
        assert_eq!(composer.text(), "see /usr/share, ");
        composer.go(Motion::WordLeft);
        composer.cut(Motion::End);
        assert_eq!(composer.text(), "see /usr/");
        composer.go(Motion::Start);
        composer.go(Motion::WordRight);
        composer.paste();
        assert_eq!(composer.text(), "seeshare,  /usr/");
        composer.set("ab");
        composer.transpose();
        assert_eq!(composer.text(), "ba");
    }

    #[test]
    fn lines_are_called_back_and_the_draft_is_not_lost() {
        let mut composer = Composer::default();
        for line in ["one", "two", "two"] {
            composer.insert(line);
            assert_eq!(composer.take(), line);
        }
        composer.insert("draft");
        composer.older();
        composer.older();
        composer.older();
        assert_eq!(composer.text(), "one");
        composer.newer();
        assert_eq!(composer.text(), "two");
        composer.newer();
        assert_eq!(composer.text(), "draft");
        composer.newer();
        assert_eq!(composer.text(), "draft");
    }
}
