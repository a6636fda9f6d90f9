//! The conversations, with who is online and what is unread.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Line as Row;

use super::wrap;
use crate::cli::text::harmless;
use crate::cli::tui::model::{Conversation, Model};

pub(super) fn draw(model: &Model, area: Rect, frame: &mut Frame<'_>) {
    let height = usize::from(area.height);
    let width = usize::from(area.width);
    // The open one stays in view.
    let skip = (model.current.unwrap_or(0) + 1).saturating_sub(height);
    let shown = model
        .conversations
        .iter()
        .enumerate()
        .skip(skip)
        .take(height);
    for (n, (at, conversation)) in shown.enumerate() {
        let row = row(conversation, model.current == Some(at), width);
        let line = Rect::new(area.x, area.y + n as u16, area.width, 1);
        frame.render_widget(row, line);
    }
    for y in area.top()..area.bottom() {
        frame.render_widget("│", Rect::new(area.right(), y, 1, 1));
    }
}

fn row(conversation: &Conversation, is_open: bool, width: usize) -> Row<'static> {
    let presence = match (conversation.deleted, conversation.online) {
        (true, _) => "x",
        (false, true) => "*",
        (false, false) => " ",
    };
    let unread = match conversation.unread {
        0 => String::new(),
        n => format!(" {n}"),
    };
    let gutter = if is_open { ">" } else { " " };
    let room = width.saturating_sub(2 + unread.len());
    let name = wrap::pad(&harmless(&conversation.name), room);
    let style = match (is_open, conversation.unread > 0) {
        (true, _) => Style::new().add_modifier(Modifier::REVERSED),
        (false, true) => Style::new().add_modifier(Modifier::BOLD),
        (false, false) => Style::new(),
    };
    Row::styled(format!("{gutter}{presence}{name}{unread}"), style)
}
