//! Reading messages.

use std::ops::ControlFlow;

use super::{MAX_PAGE_BYTES, MAX_VISITED, Page, Profiles, page_size};
use crate::{
    manager::AccountManager,
    message::{Content, Message, MessageState, Sequence},
    rows::{
        chunk::Chunk,
        conversation::{ConversationKey, ConversationRow, Entry, Pair},
        inbox::{Inbox, InboxKey},
        message::{MessageEntry, MessageKey, Stored},
        series::{Between, Series},
    },
    store::{KeyValue, Order},
    values::id::{AccountId, MessageId},
};

/// Where a page of history begins, and which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryFrom {
    /// At the newest message, backwards.
    Newest,
    /// Behind this one towards older messages, backwards.
    Before(Sequence),
    /// Behind this one towards newer messages, forwards.
    After(Sequence),
}

impl<S: KeyValue> AccountManager<S> {
    /// A message that the account sees.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn message(&self, account: AccountId, id: MessageId) -> Result<Option<Message>, S::Error> {
        let Some(number) = self.reader(account)? else {
            return Ok(None);
        };
        let Some(MessageEntry::Stored(stored)) = self.rows.read(&MessageKey(id))? else {
            return Ok(None);
        };
        let place = stored.place;
        if number != place.sender && number != place.recipient {
            return Ok(None);
        }
        let pair = Pair::of(place.sender, place.recipient);
        let row = self.rows.require(&ConversationKey(pair))?;
        let entry = self
            .rows
            .require_record(&pair, &row.newest, place.sequence)?;
        if entry.is_deleted_by(pair.side(number)) {
            return Ok(None);
        }
        let state = state_of(&pair, &row, entry, place.sequence);
        self.show(id, stored, state, &mut Profiles::default())
            .map(Some)
    }

    /// What the account sees of its conversation with `peer`, in pages. `next` goes into
    /// [`HistoryFrom::Before`] or [`HistoryFrom::After`], whichever way the page went. `limit` is held between 1 and
    /// [`MAX_PAGE`](crate::MAX_PAGE).
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn history(
        &self,
        account: AccountId,
        peer: AccountId,
        from: HistoryFrom,
        limit: usize,
    ) -> Result<Page<Message, Sequence>, S::Error> {
        let (Some(number), Some(peer)) = (self.reader(account)?, self.number(peer)?) else {
            return Ok(Page::empty());
        };
        let pair = Pair::of(number, peer);
        let Some(row) = self.rows.read(&ConversationKey(pair))? else {
            return Ok(Page::empty());
        };
        let side = pair.side(number);
        let between = |after, before| Between { after, before };
        let (between, order) = match from {
            HistoryFrom::Newest => (between(None, None), Order::Descending),
            HistoryFrom::Before(sequence) => (between(None, Some(sequence)), Order::Descending),
            HistoryFrom::After(sequence) => (between(Some(sequence), None), Order::Ascending),
        };
        let look = |sequence, entry: Entry| {
            let state = state_of(&pair, &row, entry, sequence);
            (!entry.is_deleted_by(side)).then_some((entry.id(), state))
        };
        let found = self.gather(&pair, &row.newest, between, order, limit, look)?;
        self.fill(found)
    }

    /// The messages that wait to be delivered to the account, oldest first, from behind `after`. `limit` is held
    /// between 1 and [`MAX_PAGE`](crate::MAX_PAGE).
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn inbox(
        &self,
        account: AccountId,
        after: Option<Sequence>,
        limit: usize,
    ) -> Result<Page<Message, Sequence>, S::Error> {
        let Some(recipient) = self.reader(account)? else {
            return Ok(Page::empty());
        };
        let Some(row) = self.rows.read(&InboxKey(recipient))? else {
            return Ok(Page::empty());
        };
        let between = Between {
            after,
            before: None,
        };
        let found = self.gather(
            &Inbox(recipient),
            &row.newest,
            between,
            Order::Ascending,
            limit,
            |_, id| Some((id, MessageState::Queued)),
        )?;
        self.fill(found)
    }

    /// The last message of a conversation that one side sees, unless very many behind it were deleted.
    pub(super) fn last_seen(
        &self,
        pair: &Pair,
        row: &ConversationRow,
        reader: crate::rows::account::AccountNumber,
        profiles: &mut Profiles,
    ) -> Result<Option<Message>, S::Error> {
        const MAX_LOOK_BACK: usize = 64;
        let side = pair.side(reader);
        let mut looked_at = 0;
        let mut last = None;
        self.rows.walk(
            pair,
            &row.newest,
            Between::default(),
            Order::Descending,
            |sequence, entry| {
                looked_at += 1;
                if !entry.is_deleted_by(side) {
                    last = Some((sequence, entry));
                }
                match last.is_some() || looked_at >= MAX_LOOK_BACK {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            },
        )?;
        let Some((sequence, entry)) = last else {
            return Ok(None);
        };
        let state = state_of(pair, row, entry, sequence);
        self.load(entry.id(), state, profiles).map(Some)
    }

    /// Collects what to show of a series: of each record, `look` says the message and its state if it is to be shown.
    fn gather<Q: Series>(
        &self,
        series: &Q,
        newest: &Chunk<Q::Record>,
        between: Between,
        order: Order,
        limit: usize,
        look: impl Fn(Sequence, Q::Record) -> Option<(MessageId, MessageState)>,
    ) -> Result<Found, S::Error> {
        let limit = page_size(limit);
        let mut found = Found {
            messages: Vec::new(),
            last: None,
            is_cut: false,
        };
        let mut visited = 0;
        self.rows
            .walk(series, newest, between, order, |sequence, record| {
                if found.messages.len() >= limit || visited >= MAX_VISITED {
                    found.is_cut = true;
                    return ControlFlow::Break(());
                }
                visited += 1;
                found.messages.extend(look(sequence, record));
                found.last = Some(sequence);
                ControlFlow::Continue(())
            })?;
        Ok(found)
    }

    /// Loads the messages, as many as fit on a page.
    fn fill(&self, found: Found) -> Result<Page<Message, Sequence>, S::Error> {
        let mut profiles = Profiles::default();
        let mut items: Vec<Message> = Vec::with_capacity(found.messages.len());
        let mut bytes = 0;
        for (id, state) in found.messages {
            let message = self.load(id, state, &mut profiles)?;
            bytes += match &message.content {
                Content::Text(text) => text.len(),
                Content::Notice(_) => 0,
            };
            if let Some(last) = items.last()
                && bytes > MAX_PAGE_BYTES
            {
                let next = Some(last.sequence);
                return Ok(Page { items, next });
            }
            items.push(message);
        }
        Ok(Page {
            items,
            next: found.last.filter(|_| found.is_cut),
        })
    }

    fn load(
        &self,
        id: MessageId,
        state: MessageState,
        profiles: &mut Profiles,
    ) -> Result<Message, S::Error> {
        let stored = self.rows.require_stored(id)?;
        self.show(id, stored, state, profiles)
    }

    fn show(
        &self,
        id: MessageId,
        stored: Stored,
        state: MessageState,
        profiles: &mut Profiles,
    ) -> Result<Message, S::Error> {
        let place = stored.place;
        Ok(Message {
            id,
            sequence: place.sequence,
            sender: profiles.of(self, place.sender)?,
            recipient: profiles.of(self, place.recipient)?,
            content: stored.content,
            at: stored.at,
            state,
        })
    }
}

/// What a page shows, before the texts are loaded.
struct Found {
    messages: Vec<(MessageId, MessageState)>,
    /// The last record that was looked at.
    last: Option<Sequence>,
    /// Whether there are more.
    is_cut: bool,
}

fn state_of(pair: &Pair, row: &ConversationRow, entry: Entry, sequence: Sequence) -> MessageState {
    let reader = entry.sender().other();
    let is_read = entry.is_marked_read()
        || (!pair.is_with_oneself() && sequence <= row.side(reader).read_through);
    match (is_read, entry.is_delivered()) {
        (true, _) => MessageState::Read,
        (false, true) => MessageState::Delivered,
        (false, false) => MessageState::Queued,
    }
}
