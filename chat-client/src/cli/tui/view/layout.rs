//! Where things stand, and how many rows they take.

use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line as Row, Span};

use super::wrap;
use crate::cli::text::{harmless, harmless_lines};
use crate::cli::tui::model::{Conversation, Line, LineState, Model, Overlay, Place, Side};
use crate::timestamp::Timestamp;

/// Below this, the list of conversations makes way.
const WIDE: u16 = 60;
/// Below this, the time makes way, and names stand before the text instead of beside it.
const ROOMY: usize = 36;
const NAME: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Areas {
    pub(super) list: Option<Rect>,
    pub(super) title: Rect,
    pub(super) timeline: Rect,
    pub(super) status: Rect,
    pub(super) composer: Rect,
}

pub(super) fn areas(model: &Model) -> Areas {
    let (width, height) = model.size;
    // What matters most is served first: the composer, then the timeline.
    let composer = composer_rows(model).min((height / 3).max(1)).min(height);
    let status = u16::from(height > composer + 1);
    let title = u16::from(height > composer + status + 3);
    let above = height - composer - status;
    let list = (width >= WIDE).then(|| (width / 4).clamp(16, 28));
    // One column stands between list and timeline.
    let left = list.map_or(0, |list| list + 1);
    Areas {
        list: list.map(|list| Rect::new(0, 0, list, above)),
        title: Rect::new(left, 0, width - left, title),
        timeline: Rect::new(left, title, width - left, above - title),
        status: Rect::new(0, above, width, status),
        composer: Rect::new(0, above + status, width, composer),
    }
}

/// Columns and rows of the timeline.
pub(in crate::cli::tui) fn timeline_size(model: &Model) -> (usize, usize) {
    let area = areas(model).timeline;
    (usize::from(area.width), usize::from(area.height).max(1))
}

/// How many columns the composer's text has.
pub(super) fn composer_width(model: &Model) -> usize {
    usize::from(model.size.0)
        .saturating_sub(super::composer::PROMPT.len())
        .max(2)
}

fn composer_rows(model: &Model) -> u16 {
    if !matches!(model.overlay, Overlay::None) {
        return 1;
    }
    let (text, width) = (model.composer.text(), composer_width(model));
    let rows = wrap::wrap_exactly(text, width).len();
    let (row, _) = wrap::place_of(text, model.composer.cursor(), width);
    u16::try_from(rows.max(row + 1)).unwrap_or(u16::MAX)
}

/// How many rows a line takes. `previous` is when the line above it was sent.
pub(in crate::cli::tui) fn height(
    conversation: &Conversation,
    place: Place,
    line: &Line,
    previous: Option<Timestamp>,
    width: usize,
) -> usize {
    rows(conversation, place, line, previous, width, Mark::None).len()
}

/// Whether a line is pointed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    None,
    Pointed,
}

/// A line as rows, with whatever stands between it and the line above.
pub(super) fn rows(
    conversation: &Conversation,
    place: Place,
    line: &Line,
    previous: Option<Timestamp>,
    width: usize,
    mark: Mark,
) -> Vec<Row<'static>> {
    let mut rows = Vec::new();
    let (day, time) = day_and_time(line.sent);
    if previous.is_none_or(|previous| day_and_time(previous).0 != day) {
        rows.push(rule(
            &format!("{day} UTC"),
            width,
            Style::new().add_modifier(Modifier::DIM),
        ));
    }
    if let (Some(divider), Place::Stored(sequence)) = (conversation.divider, place)
        && divider == sequence
    {
        rows.push(rule(
            "new",
            width,
            Style::new().add_modifier(Modifier::BOLD),
        ));
    }
    let pointed = match mark {
        Mark::Pointed => Style::new().add_modifier(Modifier::REVERSED),
        Mark::None => Style::new(),
    };
    let name = match line.side {
        Side::Mine => "you".into(),
        Side::Theirs => harmless(&conversation.name).into_owned(),
    };
    let gutter = match mark {
        Mark::Pointed => ">",
        Mark::None => " ",
    };
    let first = match width >= ROOMY {
        true => {
            let name = wrap::fit(&name, NAME);
            let space = " ".repeat(NAME - wrap::width(&name));
            format!("{gutter}{time} {space}{name} ")
        }
        false => format!("{gutter}{}: ", wrap::fit(&name, NAME)),
    };
    let indent = match width >= ROOMY {
        true => wrap::width(&first),
        false => 2,
    };
    let body = shown_body(&line.body);
    // In a narrow window the name takes room from the first row only.
    let texts = match width >= ROOMY {
        true => wrap::wrap(&body, width.saturating_sub(indent)),
        false => wrap::wrap(&format!("{first}{body}"), width.saturating_sub(indent)),
    };
    let bold = pointed.add_modifier(Modifier::BOLD);
    for (n, text) in texts.into_iter().enumerate() {
        rows.push(match (n, width >= ROOMY) {
            (0, true) => Row::from(vec![
                Span::styled(first.clone(), bold),
                Span::styled(text, pointed),
            ]),
            (0, false) => Row::from(Span::styled(text, pointed)),
            _ => Row::from(vec![
                Span::raw(" ".repeat(indent)),
                Span::styled(text, pointed),
            ]),
        });
    }
    if let Some(state) = state(line) {
        put_state(&mut rows, &state, width, indent);
    }
    for span in rows.iter_mut().flat_map(|row| &mut row.spans) {
        span.content = wrap::steady(&span.content).into();
    }
    rows
}

/// What a message says, without anything that a terminal would obey. Every line but the first is set in.
fn shown_body(body: &str) -> String {
    harmless_lines(body).replace("\n    | ", "\n| ")
}

/// The state stands behind the text where there is room, and on a row of its own otherwise.
fn put_state(rows: &mut Vec<Row<'static>>, state: &str, width: usize, indent: usize) {
    let dim = Style::new().add_modifier(Modifier::DIM);
    let taken = wrap::width(state) + 2;
    if let Some(last) = rows.last_mut()
        && last
            .spans
            .iter()
            .map(|s| wrap::width(&s.content))
            .sum::<usize>()
            + taken
            <= width
    {
        last.spans.push(Span::styled(format!("  {state}"), dim));
        return;
    }
    for text in wrap::wrap(state, width.saturating_sub(indent)) {
        let space = Span::raw(" ".repeat(indent));
        rows.push(Row::from(vec![space, Span::styled(text, dim)]));
    }
}

fn state(line: &Line) -> Option<String> {
    if line.side == Side::Theirs {
        return None;
    }
    Some(match &line.state {
        LineState::Pending => "pending".into(),
        LineState::Refused(reason) => format!("not sent: {reason}"),
        LineState::Stored(None) => "stored".into(),
        LineState::Stored(Some(on)) => format!("stored on {} of {}", on.replicas, on.of),
        LineState::Delivered => "delivered".into(),
        LineState::Read => "read".into(),
    })
}

/// A word in a line across the window.
fn rule(word: &str, width: usize, style: Style) -> Row<'static> {
    let word = wrap::fit(&format!(" {word} "), width);
    let left = width.saturating_sub(wrap::width(&word)) / 2;
    let right = width.saturating_sub(wrap::width(&word) + left);
    Row::styled(
        format!("{}{word}{}", "─".repeat(left), "─".repeat(right)),
        style,
    )
}

fn day_and_time(at: Timestamp) -> (String, String) {
    let text = at.to_string();
    match text.split_once(' ') {
        Some((day, time)) => (day.to_owned(), time.chars().take(5).collect()),
        None => (text, String::new()),
    }
}
