//! Deleting messages. What one side deletes disappears for it; what nobody sees any more leaves the store.

use std::collections::BTreeMap;

use super::{
    AccountManager, Call, Fault, Party, deliver::digest_of, marks::check_batch,
    open::OpenConversation,
};
use crate::{
    command::DeleteScope,
    event::EventKind,
    message::Sequence,
    outcome::Outcome,
    rejection::Rejection,
    rows::{
        account::{AccountKey, AccountNumber},
        conversation::{Entry, Pair, RecentKey, Side},
        message::{MarkKind, MessageEntry, MessageKey, Place, Stored},
        request::Forget,
    },
    store::KeyValue,
    values::id::{AccountId, MessageId},
};

/// Messages that disappeared for an account, by account and the other side of their conversation.
type ByConversation = BTreeMap<(AccountNumber, AccountNumber), Vec<MessageId>>;

impl<S: KeyValue> AccountManager<S> {
    pub(super) fn delete_messages(
        &mut self,
        call: &mut Call,
        account: AccountId,
        messages: &[MessageId],
        scope: DeleteScope,
    ) -> Result<Outcome, Fault<S::Error>> {
        check_batch(messages)?;
        let party = self.author(call, account)?;
        let mut allowed = Vec::with_capacity(messages.len());
        for message in messages.iter().copied() {
            if self.check_may_delete(call, &party, message, scope)? {
                allowed.push(message);
            }
        }
        let mut gone = ByConversation::new();
        for message in allowed {
            match self.rows.read(&MessageKey(message))? {
                Some(MessageEntry::Stored(Stored { place, .. })) => {
                    let pair = Pair::of(place.sender, place.recipient);
                    for number in self.hide(message, place, &party, scope)? {
                        let peer = pair.peer(pair.side(number));
                        gone.entry((number, peer)).or_default().push(message);
                    }
                }
                Some(MessageEntry::Deleted { .. }) => {}
                Some(MessageEntry::Awaited(marks)) => {
                    self.await_message(
                        call,
                        message,
                        Some(marks),
                        account,
                        MarkKind::Deleted(scope),
                    )?;
                }
                None => {
                    self.await_message(call, message, None, account, MarkKind::Deleted(scope))?
                }
            }
        }
        let own = gone
            .iter()
            .filter(|((number, _), _)| *number == party.number);
        let count = own.map(|(_, messages)| messages.len() as u32).sum();
        for ((number, peer), messages) in gone {
            if let Some(listener) = self.active_id(number)? {
                let peer = self.party_id(peer)?;
                call.emit(
                    listener,
                    EventKind::MessagesDeleted {
                        by: account,
                        peer,
                        messages: messages.into(),
                        scope,
                    },
                );
            }
        }
        Ok(Outcome::MessagesDeleted { count })
    }

    /// The id of an account that was registered once, or of the service.
    fn party_id(&self, number: AccountNumber) -> Result<AccountId, S::Error> {
        if number == AccountNumber::SYSTEM {
            return Ok(AccountId::SYSTEM);
        }
        Ok(self.rows.require(&AccountKey(number))?.id)
    }

    /// Refuses what only others may delete. A command that is proposed again may have been accepted by a branch that did not
    /// have the message: then it just leaves that one alone.
    fn check_may_delete(
        &self,
        call: &Call,
        party: &Party,
        message: MessageId,
        scope: DeleteScope,
    ) -> Result<bool, Fault<S::Error>> {
        let Some(MessageEntry::Stored(Stored { place, .. })) =
            self.rows.read(&MessageKey(message))?
        else {
            return Ok(true);
        };
        let rejection = match scope {
            _ if place.sender == party.number => return Ok(true),
            _ if place.recipient != party.number => Rejection::MessageNotFound { message },
            DeleteScope::ForBoth => Rejection::NotSender { message },
            DeleteScope::ForMe => return Ok(true),
        };
        match self.place_there(call, place.sequence, message)? {
            Some(_) => Err(Fault::Rejected(rejection)),
            None => Ok(false),
        }
    }

    fn hide(
        &mut self,
        message: MessageId,
        place: Place,
        party: &Party,
        scope: DeleteScope,
    ) -> Result<Vec<AccountNumber>, S::Error> {
        let pair = Pair::of(place.sender, place.recipient);
        match scope {
            DeleteScope::ForMe => self.hide_from(message, place, &[pair.side(party.number)]),
            DeleteScope::ForBoth => self.hide_from(message, place, pair.sides()),
        }
    }

    /// Makes a message disappear for these sides, and from the store when nobody is left who sees it. Says who saw it.
    pub(super) fn hide_from(
        &mut self,
        message: MessageId,
        place: Place,
        sides: &[Side],
    ) -> Result<Vec<AccountNumber>, S::Error> {
        let pair = Pair::of(place.sender, place.recipient);
        let sequence = place.sequence;
        let mut open = self.open_conversation(pair)?;
        let before = self.entry(&mut open, sequence)?;
        let mut entry = before;
        let mut saw_it = Vec::new();
        for side in sides
            .iter()
            .copied()
            .filter(|side| !before.is_deleted_by(*side))
        {
            self.count_out(&mut open, sequence, entry, side)?;
            entry = entry.deleted(side);
            saw_it.push(pair.account(side));
        }
        if self.is_seen(&pair, entry)? {
            self.set_entry(&mut open, sequence, Some(entry))?;
        } else {
            // Accounts that were deleted see nothing, but are still counted.
            for side in pair
                .sides()
                .iter()
                .copied()
                .filter(|side| !entry.is_deleted_by(*side))
            {
                self.count_out(&mut open, sequence, entry, side)?;
            }
            self.set_entry(&mut open, sequence, None)?;
            self.discard(message, place)?;
        }
        self.close_conversation(open)?;
        Ok(saw_it)
    }

    /// Takes a message out of what one side counts, lists and waits for.
    fn count_out(
        &mut self,
        open: &mut OpenConversation,
        sequence: Sequence,
        entry: Entry,
        side: Side,
    ) -> Result<(), S::Error> {
        let pair = open.pair;
        let account = pair.account(side);
        let is_unread = open.row.is_unread(&pair, entry, sequence, side);
        let counts = open.row.side_mut(side);
        counts.count_out(is_unread);
        if counts.visible == 0
            && let Some(rank) = counts.rank.take()
        {
            self.recall.fronts.forget(&account);
            self.rows
                .remove(&RecentKey { account, rank }, &pair.peer(side))?;
        }
        if !entry.is_delivered() && entry.sender() != side {
            let mut inbox = self.open_inbox(account)?;
            self.take_from_inbox(&mut inbox, sequence)?;
            self.close_inbox(inbox)?;
        }
        Ok(())
    }

    fn is_seen(&mut self, pair: &Pair, entry: Entry) -> Result<bool, S::Error> {
        for side in pair
            .sides()
            .iter()
            .copied()
            .filter(|side| !entry.is_deleted_by(*side))
        {
            if self.active_id(pair.account(side))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the text, and leaves what a retry of the send is answered with for as long as there may be one.
    fn discard(&mut self, message: MessageId, place: Place) -> Result<(), S::Error> {
        let stored = self.rows.require_stored(message)?;
        self.meta.messages = self
            .meta
            .messages
            .checked_sub(1)
            .expect("a message that is discarded was counted");
        if message.time() < self.meta.horizon {
            let stored = MessageEntry::Stored(stored);
            return self.rows.remove(&MessageKey(message), &stored);
        }
        let recipient = self.rows.require(&AccountKey(place.recipient))?.id;
        let deleted = MessageEntry::Deleted {
            place: Some(place),
            digest: digest_of(recipient, &stored.content),
            at: stored.at,
        };
        let stored = MessageEntry::Stored(stored);
        self.rows.replace(&MessageKey(message), &stored, &deleted)?;
        self.forget_later(*message.as_uuid(), Forget::Message)
    }
}
