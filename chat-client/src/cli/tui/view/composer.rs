//! The row, or the few rows, at the bottom: where one writes.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line as Row, Text};

use super::layout;
use super::wrap;
use crate::cli::text::harmless;
use crate::cli::tui::model::{Composer, Doomed, Model, Overlay, Searching};
use crate::types::DeleteScope;

pub(super) const PROMPT: &str = "> ";

pub(super) fn draw(model: &Model, area: Rect, frame: &mut Frame<'_>) {
    match &model.overlay {
        Overlay::Search(search) => {
            let state = match search.state {
                Searching::Idle => "Enter: older, Down: newer, Esc: done",
                Searching::Older => "looking further back ...",
                Searching::NoMore => "no more matches",
            };
            line(frame, area, "search: ", &search.query, state);
        }
        Overlay::Selection(_) => hint(
            frame,
            area,
            "Up, Down: choose   d: delete for you   D: delete for both   Esc: back",
        ),
        Overlay::Confirm(deletion) => {
            let whom = match (deletion.what, deletion.scope) {
                (Doomed::Refused(_), _) => "",
                (_, DeleteScope::ForMe) => " for you",
                (_, DeleteScope::ForBoth) => " for both",
            };
            let body = wrap::fit(&harmless(&deletion.body), 30);
            hint(
                frame,
                area,
                &format!("delete \"{body}\"{whom}? y, or any other key for no"),
            );
        }
        Overlay::None => draw_text(model, area, frame),
        // They have fields of their own.
        Overlay::Help | Overlay::Picker(_) | Overlay::Login(_) => {}
    }
}

fn draw_text(model: &Model, area: Rect, frame: &mut Frame<'_>) {
    let width = layout::composer_width(model);
    let (text, cursor) = (model.composer.text(), model.composer.cursor());
    let (row, column) = wrap::place_of(text, cursor, width);
    let height = usize::from(area.height);
    // The cursor stays in view.
    let skip = (row + 1).saturating_sub(height);
    let rows = wrap::wrap_exactly(text, width);
    let rows = rows.into_iter().enumerate().skip(skip).take(height);
    let text: Vec<Row<'_>> = rows
        .map(|(n, row)| {
            let prompt = if n == 0 { PROMPT } else { "  " };
            Row::from(format!("{prompt}{}", wrap::steady(&one_for_one(&row))))
        })
        .collect();
    frame.render_widget(Text::from(text), area);
    put_cursor(frame, area, PROMPT.len() + column, row - skip);
}

/// A field with a word before it and a hint at the right.
fn line(frame: &mut Frame<'_>, area: Rect, label: &str, field: &Composer, after: &str) {
    let (text, column) = window(field, usize::from(area.width).saturating_sub(label.len()));
    let left = format!("{label}{text}");
    let room = usize::from(area.width).saturating_sub(wrap::width(&left) + 2);
    let after = if wrap::width(after) <= room {
        after
    } else {
        ""
    };
    let space =
        " ".repeat(usize::from(area.width).saturating_sub(wrap::width(&left) + wrap::width(after)));
    let row = wrap::steady(&format!("{left}{space}{after}"));
    frame.render_widget(Row::from(row), area);
    put_cursor(frame, area, label.len() + column, 0);
}

fn hint(frame: &mut Frame<'_>, area: Rect, text: &str) {
    let row = wrap::steady(&wrap::fit(text, usize::from(area.width)));
    frame.render_widget(Row::from(row), area);
}

/// The part of a field that fits, with the cursor in it, and the cursor's column.
pub(super) fn window(field: &Composer, width: usize) -> (String, usize) {
    let shown = one_for_one(field.text());
    let before = wrap::width(&field.text()[..field.cursor()]);
    if before < width {
        let fitting = wrap::wrap_exactly(&shown, width.max(2)).swap_remove(0);
        return (fitting, before);
    }
    // The end of what stands before the cursor.
    let mut text = one_for_one(&field.text()[..field.cursor()]);
    while wrap::width(&text) >= width.max(2) {
        let first = text.chars().next().map_or(0, char::len_utf8);
        text.replace_range(..first, "");
    }
    let column = wrap::width(&text);
    (text, column)
}

/// What is being written, with a mark for each character that a terminal would obey.
fn one_for_one(text: &str) -> String {
    let mark = |c: char| match c.is_control()
        || harmless(c.encode_utf8(&mut [0; 4])).len() != c.len_utf8()
    {
        true => '\u{fffd}',
        false => c,
    };
    text.chars().map(mark).collect()
}

pub(super) fn put_cursor(frame: &mut Frame<'_>, area: Rect, column: usize, row: usize) {
    let column = u16::try_from(column).unwrap_or(u16::MAX);
    let row = u16::try_from(row).unwrap_or(u16::MAX);
    if column < area.width && row < area.height {
        frame.set_cursor_position(Position::new(area.x + column, area.y + row));
    }
}
