//! What stands in front of everything else.

use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line as Row, Text};
use ratatui::widgets::{Block, Clear};

use super::composer::{put_cursor, window};
use super::wrap;
use crate::cli::text::harmless;
use crate::cli::tui::model::{Accounts, Composer, Field, Login, LoginState, Picker};

const HELP: &str = "\
Enter           send             Alt-Enter  new line
Ctrl-N, Ctrl-P  next, previous   Alt-1 ...  conversation 1 ...
Alt-A           next with unread messages
Ctrl-O, F2      talk with somebody else
PgUp, PgDn      scroll           Esc        to the newest
Ctrl-Home       to the oldest    Ctrl-R     search
Ctrl-X, Alt-Up  point at a message, then
                d delete for you, D delete for both
Ctrl-A E B F    move             Up, Down   lines sent before
Ctrl-W U K      cut              Ctrl-Y     paste
Ctrl-L          draw again       Ctrl-D     leave
/to /msg /search /delete /users /logout /help /quit
// begins a message with /
* online   x deleted   the number: unread";

pub(super) fn help(area: Rect, frame: &mut Frame<'_>) {
    let inside = window_over(area, 62, 14, "help", frame);
    frame.render_widget(Text::from(HELP), inside);
}

pub(super) fn picker(picker: &Picker, area: Rect, frame: &mut Frame<'_>) {
    let inside = window_over(area, 40, 14, "talk with", frame);
    field(frame, inside, 0, "name: ", &picker.filter);
    put_field_cursor(frame, inside, 0, "name: ", &picker.filter);
    let below = Rect {
        y: inside.y + 1.min(inside.height),
        height: inside.height.saturating_sub(1),
        ..inside
    };
    let (width, height) = (usize::from(below.width), usize::from(below.height));
    let offered = picker.offered();
    let mut rows: Vec<Row<'_>> = Vec::new();
    match &picker.accounts {
        Accounts::Loading => rows.push(Row::from("loading ...")),
        Accounts::Failed(why) => {
            let text = format!("{why}; Enter takes the name as it is");
            rows.extend(wrap::wrap(&text, width).into_iter().map(Row::from));
        }
        Accounts::Found(_) if offered.is_empty() => rows.push(Row::from("nobody has such a name")),
        Accounts::Found(_) => {
            let skip = (picker.chosen + 1).saturating_sub(height);
            let shown = offered.iter().enumerate().skip(skip).take(height);
            rows.extend(shown.map(|(n, account)| {
                let gutter = if n == picker.chosen { ">" } else { " " };
                let presence = if account.online { "*" } else { " " };
                let name = wrap::fit(&harmless(&account.name), width.saturating_sub(2));
                let style = match n == picker.chosen {
                    true => Style::new().add_modifier(Modifier::REVERSED),
                    false => Style::new(),
                };
                Row::styled(format!("{gutter}{presence}{name}"), style)
            }));
        }
    }
    frame.render_widget(Text::from(rows), below);
}

pub(super) fn login(login: &Login, area: Rect, frame: &mut Frame<'_>) {
    let inside = window_over(area, 50, 7, "log in", frame);
    let mut hidden = Composer::default();
    hidden.insert(&"*".repeat(login.password.text().chars().count()));
    field(frame, inside, 0, "name:     ", &login.name);
    field(frame, inside, 1, "password: ", &hidden);
    match login.field {
        Field::Name => put_field_cursor(frame, inside, 0, "name:     ", &login.name),
        Field::Password => put_field_cursor(frame, inside, 1, "password: ", &hidden),
    }
    let width = usize::from(inside.width);
    let state = match &login.state {
        LoginState::Asking => String::new(),
        LoginState::UnderWay => "one moment ...".into(),
        LoginState::Failed(why) => why.clone(),
    };
    let mut rows = vec!["Enter: log in   Ctrl-R: register   Esc: leave".to_owned()];
    rows.extend(wrap::wrap(&state, width));
    let rows: Vec<Row<'_>> = rows.into_iter().map(Row::from).collect();
    let below = Rect {
        y: inside.y + 3.min(inside.height),
        height: inside.height.saturating_sub(3),
        ..inside
    };
    frame.render_widget(Text::from(rows), below);
}

/// Clears a window in the middle, and returns what is inside its border.
fn window_over(area: Rect, width: u16, height: u16, title: &str, frame: &mut Frame<'_>) -> Rect {
    let (width, height) = ((width + 2).min(area.width), (height + 2).min(area.height));
    let window = Rect::new(
        area.x + (area.width - width) / 2,
        area.y + (area.height - height) / 2,
        width,
        height,
    );
    frame.render_widget(Clear, window);
    frame.render_widget(Block::bordered().title(format!(" {title} ")), window);
    window.inner(Margin::new(1, 1))
}

fn field(frame: &mut Frame<'_>, inside: Rect, row: u16, label: &str, field: &Composer) {
    if row >= inside.height {
        return;
    }
    let (text, _) = window(field, usize::from(inside.width).saturating_sub(label.len()));
    let line = Rect::new(inside.x, inside.y + row, inside.width, 1);
    frame.render_widget(Row::from(format!("{label}{}", wrap::steady(&text))), line);
}

fn put_field_cursor(
    frame: &mut Frame<'_>,
    inside: Rect,
    row: usize,
    label: &str,
    field: &Composer,
) {
    let (_, column) = window(field, usize::from(inside.width).saturating_sub(label.len()));
    put_cursor(frame, inside, label.len() + column, row);
}
