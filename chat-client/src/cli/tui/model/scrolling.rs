//! Moving through the timeline, row by row.

use super::conversation::{Conversation, Scroll};
use super::line::Place;
use super::{Effect, Model};
use crate::cli::tui::view::layout;

impl Model {
    /// Towards the past.
    pub(super) fn scroll_up(&mut self, rows: usize) -> Vec<Effect> {
        let (width, height) = layout::timeline_size(self);
        let Some(conversation) = self.open_mut() else {
            return Vec::new();
        };
        match conversation.up(rows, width, height) {
            Reached::Further => Vec::new(),
            // Whoever is at the top wants more of it.
            Reached::Top => conversation.want_more().into_iter().collect(),
        }
    }

    /// Towards the newest message.
    pub(super) fn scroll_down(&mut self, rows: usize) {
        let (width, _) = layout::timeline_size(self);
        if let Some(conversation) = self.open_mut() {
            conversation.down(rows, width);
        }
    }

    pub(super) fn page(&self) -> usize {
        layout::timeline_size(self).1.saturating_sub(2).max(1)
    }

    /// Brings a line into view, with some of what stands around it.
    pub(super) fn show_place(&mut self, place: Place) {
        let (width, height) = layout::timeline_size(self);
        let Some(conversation) = self.open_mut() else {
            return;
        };
        let Some((edge, hidden)) = conversation.edge() else {
            return;
        };
        let mut rows = 0;
        for (at, heights) in heights(conversation, edge, width) {
            rows += heights;
            if at == place && rows.saturating_sub(hidden) <= height && place <= edge {
                return;
            }
            if at == place || rows > height + hidden {
                break;
            }
        }
        conversation.scroll = Scroll::At { place, hidden: 0 };
        conversation.down(height / 3, width);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    Top,
    Further,
}

impl Conversation {
    fn up(&mut self, rows: usize, width: usize, height: usize) -> Reached {
        let Some((edge, hidden)) = self.edge() else {
            return Reached::Top;
        };
        let wanted = height + rows + hidden;
        let mut above: Vec<(Place, usize)> = Vec::new();
        let mut total = 0;
        for (place, height) in heights(self, edge, width) {
            above.push((place, height));
            total += height;
            if total >= wanted {
                break;
            }
        }
        let reached = match total >= wanted {
            true => Reached::Further,
            false => Reached::Top,
        };
        // So many rows disappear below the edge that a full screen is left above it.
        let mut below = (hidden + rows).min(total.saturating_sub(height));
        if below <= hidden {
            return reached;
        }
        for (place, height) in above {
            if below < height {
                self.scroll = Scroll::At {
                    place,
                    hidden: below,
                };
                break;
            }
            below -= height;
        }
        reached
    }

    fn down(&mut self, rows: usize, width: usize) {
        let Scroll::At { .. } = self.scroll else {
            return;
        };
        let Some((edge, hidden)) = self.edge() else {
            return;
        };
        if let Some(hidden) = hidden.checked_sub(rows) {
            self.scroll = Scroll::At {
                place: edge,
                hidden,
            };
            self.at_bottom_after_all();
            return;
        }
        let mut rows = rows - hidden;
        let mut previous = self.timeline.line(edge).map(|line| line.sent);
        let mut scroll = Scroll::Bottom;
        for (place, line) in self.timeline.below(edge) {
            let height = layout::height(self, place, line, previous, width);
            previous = Some(line.sent);
            if rows <= height {
                let hidden = height - rows;
                scroll = Scroll::At { place, hidden };
                break;
            }
            rows -= height;
        }
        self.scroll = scroll;
        self.at_bottom_after_all();
    }

    /// The lowest row of the newest message is the bottom.
    fn at_bottom_after_all(&mut self) {
        if let Scroll::At { place, hidden: 0 } = self.scroll
            && self.timeline.last() == Some(place)
        {
            self.go_to_bottom();
        }
        if self.is_at_bottom() {
            self.below = 0;
        }
    }
}

/// The lines from one upwards, with the rows that each takes.
fn heights(
    conversation: &Conversation,
    from: Place,
    width: usize,
) -> impl Iterator<Item = (Place, usize)> {
    let mut lines = conversation.timeline.upwards(from).peekable();
    std::iter::from_fn(move || {
        let (place, line) = lines.next()?;
        let previous = lines.peek().map(|(_, line)| line.sent);
        Some((
            place,
            layout::height(conversation, place, line, previous, width),
        ))
    })
}
