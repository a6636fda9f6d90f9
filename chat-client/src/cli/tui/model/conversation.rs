//! A conversation: the other party, its messages, and where the user stands in it.

use super::line::{Place, Side};
use super::timeline::Timeline;
use crate::ids::{AccountId, MessageId};
use crate::types::{Account, Message};

#[derive(Clone, Debug)]
pub(in crate::cli::tui) struct Conversation {
    /// Not known while the name was only typed.
    pub(in crate::cli::tui) id: Option<AccountId>,
    pub(in crate::cli::tui) name: String,
    pub(in crate::cli::tui) deleted: bool,
    pub(in crate::cli::tui) online: bool,
    pub(in crate::cli::tui) unread: u64,
    pub(in crate::cli::tui) timeline: Timeline,
    /// The first message that was new when the conversation was opened.
    pub(in crate::cli::tui) divider: Option<u64>,
    pub(in crate::cli::tui) scroll: Scroll,
    /// How many messages arrived below what is shown.
    pub(in crate::cli::tui) below: usize,
    /// The messages up to this one are in `unread`, or were read.
    pub(super) counted_through: u64,
    /// When `unread` was changed last, in the model's count of changes.
    pub(super) changed_at: u64,
    /// The last message that the service was told to be read.
    pub(super) told_read: Option<MessageId>,
    /// The divider is wanted as soon as the messages are there.
    pub(super) wants_divider: bool,
}

/// Which part of the timeline is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::tui) enum Scroll {
    /// The newest messages, also those to come.
    #[default]
    Bottom,
    /// The lowest line shown, and how many of its rows are hidden below the edge.
    At { place: Place, hidden: usize },
}

impl Conversation {
    pub(super) fn with(name: &str) -> Self {
        Self {
            id: None,
            name: name.to_owned(),
            deleted: false,
            online: false,
            unread: 0,
            timeline: Timeline::default(),
            divider: None,
            scroll: Scroll::Bottom,
            below: 0,
            counted_through: 0,
            changed_at: 0,
            told_read: None,
            wants_divider: false,
        }
    }

    pub(super) fn of(account: &Account) -> Self {
        let mut conversation = Self::with(&account.name);
        conversation.learn(account);
        conversation
    }

    /// How the service is to be told of the other party.
    pub(in crate::cli::tui) fn address(&self) -> String {
        match (self.deleted, self.id) {
            (true, Some(id)) => id.to_string(),
            _ => self.name.clone(),
        }
    }

    pub(super) fn is_with(&self, account: &Account) -> bool {
        match self.id {
            Some(id) => id == account.id,
            None => self.name == account.name && !account.deleted,
        }
    }

    pub(super) fn learn(&mut self, account: &Account) {
        self.id = Some(account.id);
        self.name.clone_from(&account.name);
        self.deleted = account.deleted;
        self.online = account.online;
    }

    pub(super) fn is_at_bottom(&self) -> bool {
        self.scroll == Scroll::Bottom
    }

    pub(super) fn go_to_bottom(&mut self) {
        self.scroll = Scroll::Bottom;
        self.below = 0;
    }

    /// The line at the lower edge.
    pub(in crate::cli::tui) fn edge(&self) -> Option<(Place, usize)> {
        match self.scroll {
            // The line may have been deleted, and what stands above it takes its place.
            Scroll::At { place, hidden } => match self.timeline.line(place) {
                Some(_) => Some((place, hidden)),
                None => self
                    .timeline
                    .upwards(place)
                    .next()
                    .map(|(place, _)| (place, 0))
                    .or_else(|| self.timeline.last().map(|place| (place, 0))),
            },
            Scroll::Bottom => self.timeline.last().map(|place| (place, 0)),
        }
    }

    /// The divider goes before the oldest unread message, once that is known.
    pub(super) fn divide(&mut self) {
        if self.wants_divider
            && let Some(first) = self.timeline.first_unread()
        {
            self.divider = Some(first);
        }
    }
}

/// Who wrote a message, as seen by an account.
pub(super) fn side(me: AccountId, message: &Message) -> Side {
    match message.sender.id == me {
        true => Side::Mine,
        false => Side::Theirs,
    }
}
