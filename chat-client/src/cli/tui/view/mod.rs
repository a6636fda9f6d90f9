//! Draws the model.

mod composer;
pub(in crate::cli::tui) mod layout;
mod list;
mod overlay;
mod status;
mod timeline;
mod wrap;

use ratatui::Frame;

use super::model::{Model, Overlay};

/// Draws everything. Of a window that is too small, as much as there is room for.
pub(in crate::cli::tui) fn draw(model: &Model, frame: &mut Frame<'_>) {
    let area = frame.area();
    // The size in the model may be a moment behind the terminal's.
    if (area.width, area.height) != model.size {
        return draw(&model.in_size((area.width, area.height)), frame);
    }
    if area.width < 4 || area.height < 1 {
        return;
    }
    let areas = layout::areas(model);
    if let Some(area) = areas.list {
        list::draw(model, area, frame);
    }
    timeline::title(model, areas.title, areas.list.is_some(), frame);
    timeline::draw(model, areas.timeline, frame);
    status::draw(model, areas.status, frame);
    composer::draw(model, areas.composer, frame);
    match &model.overlay {
        Overlay::Help => overlay::help(area, frame),
        Overlay::Picker(picker) => overlay::picker(picker, area, frame),
        Overlay::Login(login) => overlay::login(login, area, frame),
        Overlay::None | Overlay::Search(_) | Overlay::Selection(_) | Overlay::Confirm(_) => {}
    }
}
