//! The open conversation.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line as Row, Text};

use super::layout::{self, Mark};
use super::wrap;
use crate::cli::text::harmless;
use crate::cli::tui::model::{Conversation, History, Model, Overlay, Place, Scroll};

/// With whom one talks. Where there is no list, also what waits elsewhere.
pub(super) fn title(model: &Model, area: Rect, has_list: bool, frame: &mut Frame<'_>) {
    let Some(open) = model.open() else {
        return;
    };
    let presence = match (open.deleted, open.online) {
        (true, _) => "account deleted",
        (false, true) => "online",
        (false, false) => "offline",
    };
    let mut title = format!("{} - {presence}", harmless(&open.name));
    let elsewhere: u64 = model.conversations.iter().map(|c| c.unread).sum();
    let elsewhere = elsewhere - open.unread;
    if !has_list && elsewhere > 0 {
        title = format!("{title} (+{elsewhere})");
    }
    let title = wrap::pad(&title, usize::from(area.width));
    let style = Style::new().add_modifier(Modifier::UNDERLINED);
    frame.render_widget(Row::styled(title, style), area);
}

const NOBODY: &str = "You talk with nobody yet. Ctrl-O shows who is there, and F1 the keys.";

pub(super) fn draw(model: &Model, area: Rect, frame: &mut Frame<'_>) {
    let Some(open) = model.open() else {
        if model.me.is_some() {
            let rows = wrap::wrap(NOBODY, usize::from(area.width));
            let rows: Vec<Row<'_>> = rows.into_iter().map(Row::from).collect();
            frame.render_widget(Text::from(rows), area);
        }
        return;
    };
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let pointed = match &model.overlay {
        Overlay::Selection(place) => Some(*place),
        Overlay::Search(search) => search.found,
        _ => None,
    };
    let mut rows = upwards(open, width, height, pointed);
    // With the earliest message there is, what comes before it is said.
    if rows.len() < height {
        match open.timeline.history() {
            History::Loading(_) => rows.push(Row::from("loading ...")),
            History::Complete if rows.is_empty() => rows.push(Row::from("no messages yet")),
            History::Complete | History::Unknown | History::From(..) => {}
        }
    }
    rows.truncate(height);
    let empty = height - rows.len();
    rows.reverse();
    let lower = Rect {
        y: area.y + empty as u16,
        height: rows.len() as u16,
        ..area
    };
    frame.render_widget(Text::from(rows), lower);
    draw_more(open, area, frame);
}

/// As many rows as fit, the lowest first.
fn upwards(
    open: &Conversation,
    width: usize,
    height: usize,
    pointed: Option<Place>,
) -> Vec<Row<'static>> {
    let Some((edge, hidden)) = open.edge() else {
        return Vec::new();
    };
    let mut upwards = Vec::new();
    let mut lines = open.timeline.upwards(edge).peekable();
    while let Some((place, line)) = lines.next() {
        let previous = lines.peek().map(|(_, line)| line.sent);
        let mark = match pointed == Some(place) {
            true => Mark::Pointed,
            false => Mark::None,
        };
        let rows = layout::rows(open, place, line, previous, width, mark);
        upwards.extend(rows.into_iter().rev());
        if upwards.len() >= height + hidden {
            break;
        }
    }
    upwards.drain(..hidden.min(upwards.len()));
    upwards
}

/// A word in the corner about what stands below the edge.
fn draw_more(open: &Conversation, area: Rect, frame: &mut Frame<'_>) {
    let word = match (open.scroll, open.below) {
        (Scroll::Bottom, _) => return,
        (Scroll::At { .. }, 0) => " ↓ more ".to_owned(),
        (Scroll::At { .. }, n) => format!(" ↓ {n} new "),
    };
    let word = wrap::fit(&word, usize::from(area.width));
    let wide = wrap::width(&word) as u16;
    if area.height == 0 {
        return;
    }
    let corner = Rect::new(area.right() - wide, area.bottom() - 1, wide, 1);
    let style = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Row::styled(word, style), corner);
}
