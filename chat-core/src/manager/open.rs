//! Rows that one command changes several times: read once and written once.

use super::AccountManager;
use crate::{
    message::Sequence,
    rows::{
        account::AccountNumber,
        conversation::{ConversationKey, ConversationRow, Entry, Pair},
        inbox::{Inbox, InboxKey, InboxRow},
        series::{Edit, Series},
    },
    store::KeyValue,
};

/// A conversation while it is being changed.
pub(super) struct OpenConversation {
    pub(super) pair: Pair,
    before: ConversationRow,
    pub(super) row: ConversationRow,
    history: Edit<Pair>,
}

/// An inbox while it is being changed.
pub(super) struct OpenInbox {
    recipient: AccountNumber,
    before: Option<InboxRow>,
    row: InboxRow,
    waiting: Edit<Inbox>,
}

impl<S: KeyValue> AccountManager<S> {
    /// A conversation, if it is there.
    pub(super) fn find_conversation(
        &self,
        pair: Pair,
    ) -> Result<Option<OpenConversation>, S::Error> {
        let before = self.rows.read(&ConversationKey(pair))?;
        Ok(before.map(|before| OpenConversation {
            pair,
            row: before.clone(),
            before,
            history: Edit::of(pair),
        }))
    }

    /// A conversation that is there.
    pub(super) fn open_conversation(&self, pair: Pair) -> Result<OpenConversation, S::Error> {
        let open = self.find_conversation(pair)?;
        open.ok_or_else(|| self.rows.missing(&ConversationKey(pair)))
    }

    /// What an open conversation has of a message that says that it is there.
    pub(super) fn entry(
        &mut self,
        open: &mut OpenConversation,
        sequence: Sequence,
    ) -> Result<Entry, S::Error> {
        let entry = open
            .history
            .find(&mut self.rows, &open.row.newest, sequence)?;
        entry.ok_or_else(|| self.rows.missing(&open.pair.key(sequence)))
    }

    /// Writes over what an open conversation has of a message, or removes it.
    pub(super) fn set_entry(
        &mut self,
        open: &mut OpenConversation,
        sequence: Sequence,
        entry: Option<Entry>,
    ) -> Result<(), S::Error> {
        let OpenConversation { row, history, .. } = open;
        match history.change(&mut self.rows, &mut row.newest, sequence, entry)? {
            true => Ok(()),
            false => Err(self.rows.missing(&open.pair.key(sequence))),
        }
    }

    /// Writes what has changed. A conversation that nobody sees any more is gone.
    pub(super) fn close_conversation(&mut self, open: OpenConversation) -> Result<(), S::Error> {
        let OpenConversation {
            pair,
            before,
            row,
            mut history,
        } = open;
        history.finish(&mut self.rows)?;
        let key = ConversationKey(pair);
        match pair.sides().iter().all(|side| row.side(*side).visible == 0) {
            true => self.rows.remove(&key, &before),
            false => self.rows.replace(&key, &before, &row),
        }
    }

    /// An inbox, there or not.
    pub(super) fn open_inbox(&self, recipient: AccountNumber) -> Result<OpenInbox, S::Error> {
        let before = self.rows.read(&InboxKey(recipient))?;
        Ok(OpenInbox {
            recipient,
            row: before.clone().unwrap_or_default(),
            before,
            waiting: Edit::of(Inbox(recipient)),
        })
    }

    /// Removes a message from an open inbox, where it is unless its recipient's account was deleted and cleared up after.
    pub(super) fn take_from_inbox(
        &mut self,
        open: &mut OpenInbox,
        sequence: Sequence,
    ) -> Result<(), S::Error> {
        let OpenInbox { row, waiting, .. } = open;
        let was_there = waiting.change(&mut self.rows, &mut row.newest, sequence, None)?;
        row.count_out(usize::from(was_there));
        Ok(())
    }

    /// Writes what has changed. An empty inbox is gone.
    pub(super) fn close_inbox(&mut self, mut open: OpenInbox) -> Result<(), S::Error> {
        open.waiting.finish(&mut self.rows)?;
        let key = InboxKey(open.recipient);
        match (open.before, open.row.waiting) {
            (None, _) => Ok(()),
            (Some(before), 0) => self.rows.remove(&key, &before),
            (Some(before), _) => self.rows.replace(&key, &before, &open.row),
        }
    }
}
