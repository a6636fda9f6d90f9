//! Giving a message its place: one row for the text, the rest small.

use std::sync::Arc;

use super::{AccountManager, Call, Party};
use crate::{
    command::{DeleteScope, digest_of_sent},
    event::EventKind,
    message::{AccountStatus, Content, Message, MessageState, Profile, Sequence},
    rows::{
        Span,
        account::AccountNumber,
        conversation::{ConversationKey, ConversationRow, Entry, Pair, RecentKey, Side},
        inbox::{Inbox, InboxKey},
        message::{Mark, MarkKind, MessageEntry, MessageKey, Place, Stored},
        request::Forget,
        stood::StoodKey,
    },
    store::{KeyValue, Order},
    values::id::{AccountId, MessageId},
};

impl<S: KeyValue> AccountManager<S> {
    /// Stores a message whose id is not in use; `marks` is what was said of it before it came.
    pub(super) fn store_message(
        &mut self,
        call: &mut Call,
        id: MessageId,
        marks: Option<Vec<Mark>>,
        from: &Party,
        to: &Party,
        content: Content,
    ) -> Result<(), S::Error> {
        let pair = Pair::of(from.number, to.number);
        let entry = first_entry(id, &pair, from, to, marks.as_deref().unwrap_or_default());
        let before = marks.map(MessageEntry::Awaited);
        self.take_place(call);
        if pair.sides().iter().all(|side| entry.is_deleted_by(*side)) {
            let digest = digest_of(to.id, &content);
            let gone = MessageEntry::Deleted {
                place: None,
                digest,
                at: call.at,
            };
            self.rows.set(&MessageKey(id), before.as_ref(), &gone)?;
            return self.forget_later(*id.as_uuid(), Forget::Message);
        }

        let sequence = call.place;
        self.meta.messages += 1;
        self.note_stood(call, id)?;
        let place = Place {
            sequence,
            sender: from.number,
            recipient: to.number,
        };
        self.rows.set(
            &MessageKey(id),
            before.as_ref(),
            &MessageEntry::Stored(Stored {
                place,
                at: call.at,
                content: content.clone(),
            }),
        )?;
        let is_waiting = !entry.is_delivered() && !entry.is_deleted_by(pair.side(to.number));
        if is_waiting {
            self.let_wait(to.number, sequence, id)?;
        }
        self.list(&pair, entry, sequence)?;

        let message = Arc::new(Message {
            id,
            sequence,
            sender: from.profile(),
            recipient: to.profile(),
            content,
            at: call.at,
            state: state_of(entry),
        });
        if from.status == AccountStatus::Active {
            call.emit(
                from.id,
                EventKind::MessageSent {
                    message: message.clone(),
                },
            );
        }
        if is_waiting {
            call.emit(to.id, EventKind::MessageReceived { message });
        }
        Ok(())
    }

    /// Remembers where a message stood on a branch of history that lost: marks from there may follow, whose author saw it.
    pub(super) fn note_stood(&mut self, call: &Call, id: MessageId) -> Result<(), S::Error> {
        if !call.is_reproposed() {
            return Ok(());
        }
        let before = self.rows.read(&StoodKey(id))?;
        let mut placed = before.clone().unwrap_or_default();
        if placed.note(call.stood()) {
            self.rows.set(&StoodKey(id), before.as_ref(), &placed)?;
        }
        Ok(())
    }

    /// Puts a message into its recipient's inbox.
    fn let_wait(
        &mut self,
        recipient: AccountNumber,
        sequence: Sequence,
        id: MessageId,
    ) -> Result<(), S::Error> {
        let key = InboxKey(recipient);
        let before = self.rows.read(&key)?;
        let mut row = before.clone().unwrap_or_default();
        row.waiting += 1;
        self.rows
            .append(&Inbox(recipient), &mut row.newest, sequence, id)?;
        self.rows.set(&key, before.as_ref(), &row)
    }

    /// Puts a new message into its conversation, counts it for whoever sees it, and puts the conversation in front of their
    /// lists.
    fn list(&mut self, pair: &Pair, entry: Entry, sequence: Sequence) -> Result<(), S::Error> {
        let key = ConversationKey(*pair);
        let before = self.rows.read(&key)?;
        let mut row = before.clone().unwrap_or_default();
        self.rows.append(pair, &mut row.newest, sequence, entry)?;
        for side in pair
            .sides()
            .iter()
            .copied()
            .filter(|side| !entry.is_deleted_by(*side))
        {
            let is_unread = row.is_unread(pair, entry, sequence, side);
            let rank = self.bring_to_front(pair, &row, side, sequence)?;
            let counts = row.side_mut(side);
            counts.visible += 1;
            counts.unread += u32::from(is_unread);
            counts.rank = Some(rank);
        }
        self.rows.set(&key, before.as_ref(), &row)
    }

    /// The conversation's rank once it is in front.
    fn bring_to_front(
        &mut self,
        pair: &Pair,
        row: &ConversationRow,
        side: Side,
        sequence: Sequence,
    ) -> Result<u64, S::Error> {
        let account = pair.account(side);
        let peer = pair.peer(side);
        if let Some(rank) = row.side(side).rank {
            if self.front(account)? == Some(rank) {
                return Ok(rank);
            }
            self.rows.remove(&RecentKey { account, rank }, &peer)?;
        }
        let rank = sequence.number();
        self.rows.insert(&RecentKey { account, rank }, &peer)?;
        self.recall.fronts.learn(account, rank);
        Ok(rank)
    }

    /// The rank of the conversation at the front of the account's list.
    fn front(&mut self, account: AccountNumber) -> Result<Option<u64>, S::Error> {
        if let Some(rank) = self.recall.fronts.recall(&account) {
            return Ok(Some(*rank));
        }
        let span = Span::prefix::<RecentKey>(|key| account.write(key));
        let front = self.rows.list::<RecentKey>(&span, Order::Descending, 1)?;
        let rank = front.first().map(|(key, _)| key.rank);
        if let Some(rank) = rank {
            self.recall.fronts.learn(account, rank);
        }
        Ok(rank)
    }
}

impl Party {
    fn profile(&self) -> Profile {
        Profile {
            id: self.id,
            name: self.name.clone(),
            status: self.status,
        }
    }
}

/// A message as it begins, given what was said of it before it came.
fn first_entry(id: MessageId, pair: &Pair, from: &Party, to: &Party, marks: &[Mark]) -> Entry {
    let (sender, recipient) = (pair.side(from.number), pair.side(to.number));
    let mut entry = Entry::from_side(sender, id);
    if pair.is_with_oneself() {
        entry = entry.read();
    }
    if from.status != AccountStatus::Active {
        // The service keeps no copy of what it says, and a deleted account has nowhere to keep one.
        entry = entry.deleted(sender);
    }
    if to.status != AccountStatus::Active {
        entry = entry.deleted(recipient);
    }
    for mark in marks {
        entry = match mark.kind {
            MarkKind::Delivered if mark.by == to.id => entry.delivered(),
            MarkKind::Read if mark.by == to.id => entry.read(),
            MarkKind::Deleted(DeleteScope::ForMe) if mark.by == to.id => entry.deleted(recipient),
            MarkKind::Deleted(DeleteScope::ForMe) if mark.by == from.id => entry.deleted(sender),
            MarkKind::Deleted(DeleteScope::ForBoth) if mark.by == from.id => {
                entry.deleted(sender).deleted(recipient)
            }
            // Said by somebody who had no say in it.
            _ => entry,
        };
    }
    entry
}

fn state_of(entry: Entry) -> MessageState {
    match (entry.is_marked_read(), entry.is_delivered()) {
        (true, _) => MessageState::Read,
        (false, true) => MessageState::Delivered,
        (false, false) => MessageState::Queued,
    }
}

/// What a retry of the message's send is compared with.
pub(super) fn digest_of(recipient: AccountId, content: &Content) -> crate::command::Digest {
    match content {
        Content::Text(text) => digest_of_sent(recipient, text),
        // Nobody sends a notice again.
        Content::Notice(_) => digest_of_sent(recipient, ""),
    }
}
