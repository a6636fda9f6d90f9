//! Searching in the conversation.

use super::line::Place;
use super::overlay::{Overlay, Searching};
use super::{Effect, History, Model};

/// Which way to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toward {
    /// Older messages, the one found last left out.
    Older,
    Newer,
    /// The query has changed: from the one found last, itself included.
    Here,
}

impl Model {
    pub(super) fn search(&mut self, toward: Toward) -> Vec<Effect> {
        let Some(open) = self.open() else {
            return Vec::new();
        };
        let Overlay::Search(search) = &self.overlay else {
            return Vec::new();
        };
        let query = search.query.text().to_lowercase();
        if query.is_empty() {
            return Vec::new();
        }
        let timeline = &open.timeline;
        let matches = |line: &super::Line| line.body.to_lowercase().contains(&query);
        let start = search.found.or_else(|| open.edge().map(|(place, _)| place));
        let found: Option<Place> = match (toward, start) {
            (_, None) => None,
            (Toward::Newer, Some(start)) => timeline
                .below(start)
                .find(|(_, line)| matches(line))
                .map(|(place, _)| place),
            (_, Some(start)) => timeline
                .upwards(start)
                .find(|(place, line)| {
                    let is_last = search.found == Some(*place) && toward == Toward::Older;
                    !is_last && matches(line)
                })
                .map(|(place, _)| place),
        };
        match found {
            Some(place) => {
                self.found(Some(place), Searching::Idle);
                self.show_place(place);
                Vec::new()
            }
            None if toward == Toward::Newer => self.found(None, Searching::NoMore),
            None => self.search_older(),
        }
    }

    /// Nothing was found in what is there: what is sought may be further back.
    fn search_older(&mut self) -> Vec<Effect> {
        let Some(conversation) = self.open_mut() else {
            return Vec::new();
        };
        if *conversation.timeline.history() == History::Complete {
            return self.found(None, Searching::NoMore);
        }
        let effect = conversation.want_more();
        self.found(None, Searching::Older);
        effect.into_iter().collect()
    }

    /// A page has come that was asked for by the search.
    pub(super) fn search_on(&mut self) -> Vec<Effect> {
        match &self.overlay {
            Overlay::Search(search) if search.state == Searching::Older => {
                self.search(Toward::Older)
            }
            _ => Vec::new(),
        }
    }

    fn found(&mut self, place: Option<Place>, state: Searching) -> Vec<Effect> {
        if let Overlay::Search(search) = &mut self.overlay {
            search.state = state;
            search.found = place.or(search.found);
        }
        Vec::new()
    }
}
